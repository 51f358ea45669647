//! A table as `information_schema` describes it. Plain data: who reads it and who turns it into a
//! layout are elsewhere.

use crate::event::{ColumnName, TableId};

/// A table of the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogTable {
    /// Which table.
    pub id: TableId,
    /// Its columns in the order of its row images (`ORDINAL_POSITION`), invisible and generated ones included.
    pub columns: Vec<CatalogColumn>,
}

impl CatalogTable {
    /// The column of a name, as the source spells it.
    pub fn column(&self, name: &ColumnName) -> Option<&CatalogColumn> {
        self.columns.iter().find(|column| column.name == *name)
    }

    /// Whether the table has a primary key.
    pub fn is_keyed(&self) -> bool {
        self.columns.iter().any(|column| column.key.is_some())
    }
}

/// A column of the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogColumn {
    /// `COLUMN_NAME`.
    pub name: ColumnName,
    /// `COLUMN_TYPE`: `bigint unsigned`, `enum('a','b')`, `datetime(6)`.
    pub column_type: String,
    /// `DATA_TYPE`: `bigint`, `enum`, `datetime`.
    pub data_type: String,
    /// `CHARACTER_SET_NAME`; `None` where the type has no character set.
    pub charset: Option<String>,
    /// `COLLATION_NAME`.
    pub collation: Option<String>,
    /// `IS_NULLABLE`.
    pub nullable: bool,
    /// Place in the primary key, from 0, in key order.
    pub key: Option<u16>,
    /// Whether the value is computed (`EXTRA` says `VIRTUAL GENERATED` or `STORED GENERATED`).
    pub generated: bool,
    /// Whether `SELECT *` leaves it out (`EXTRA` says `INVISIBLE`).
    pub invisible: bool,
}
