//! A table's layout with the prepared plan by which its rows are read. It comes from the log where the log
//! says everything (FULL metadata), from the catalog where rows are selected, and from the catalog checked
//! against the log otherwise; for one table all three give layouts that are equal by value.

use std::sync::Arc;

use super::catalog::{CatalogColumn, CatalogTable};
use super::cell::{Cell, PREFIXED};
use super::table_map::{MapColumn, TableMap};
use super::types::{self, SqlType, TypeError};
use crate::event::{Column, ColumnName, TableId, TableLayout};
use crate::fault::{Classify, Fault};

/// Why a table's layout cannot be known, or its rows not be read exactly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// One column.
    #[error("column `{column}` of {table}: {cause}")]
    Column {
        /// Which table.
        table: TableId,
        /// Which column.
        column: ColumnName,
        /// Why.
        #[source]
        cause: TypeError,
    },
    /// The log does not name the columns.
    #[error("the log does not name the columns of {table}")]
    NotFull {
        /// Which table.
        table: TableId,
    },
    /// Log and catalog speak of different tables or numbers of columns.
    #[error("{table}: the log has {log} columns, the catalog {catalog}")]
    Columns {
        /// Which table.
        table: TableId,
        /// Columns in the log.
        log: usize,
        /// Columns in the catalog.
        catalog: usize,
    },
}

impl LayoutError {
    /// Which table.
    pub fn table(&self) -> &TableId {
        match self {
            LayoutError::Column { table, .. }
            | LayoutError::NotFull { table }
            | LayoutError::Columns { table, .. } => table,
        }
    }
}

impl Classify for LayoutError {
    fn fault(&self) -> Fault {
        Fault::Table(self.table().clone())
    }

    fn hint(&self) -> Option<String> {
        const FULL: &str =
            "set the server's binlog_row_metadata to FULL, so that the log describes its tables";
        let cure = match self {
            LayoutError::NotFull { .. } | LayoutError::Columns { .. } => FULL.to_owned(),
            LayoutError::Column { cause, column, table } => match cause {
                TypeError::Missing(_) | TypeError::Differs { .. } => FULL.to_owned(),
                TypeError::Labels => format!("{FULL}; a column of the key must not have such labels at all"),
                TypeError::Charset(_) => format!(
                    "convert the column to utf8mb4: ALTER TABLE {table} MODIFY {column} … CHARACTER SET utf8mb4"
                ),
                TypeError::Collation(_)
                | TypeError::Code(_)
                | TypeError::Declared(_)
                | TypeError::Metadata(_) => "exclude the table, or change the column's type".to_owned(),
            },
        };
        Some(cure)
    }
}

/// A layout and the plan of its cells.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoder {
    layout: Arc<TableLayout>,
    pub(crate) cells: Box<[Cell]>,
    /// Each cell's width, apart, for the walk that only measures.
    pub(crate) widths: Box<[u8]>,
    /// The cells of an image without NULLs: so many bytes of fixed width, then a length of so many bytes
    /// (0 after the last).
    pub(crate) runs: Box<[(usize, u8)]>,
    /// Indexes of the key columns, ascending.
    pub(crate) keys: Box<[usize]>,
}

impl Decoder {
    /// From a table map with FULL metadata, and what `catalog` knows of types that no log names.
    ///
    /// # Errors
    /// [`LayoutError::NotFull`], or [`LayoutError::Column`] for a column that cannot be read exactly.
    pub fn from_table_map(map: &TableMap, catalog: Option<&CatalogTable>) -> Result<Decoder, LayoutError> {
        let mut columns = Vec::with_capacity(map.columns.len());
        for column in &map.columns {
            let Some(name) = column.name.clone() else {
                let table = map.table.clone();
                return Err(LayoutError::NotFull { table });
            };
            let named = catalog.and_then(|catalog| catalog.column(&name));
            let kind = SqlType::from_log(column)
                .map(|kind| kind.named_by_catalog(named.map(|column| column.column_type.as_str())));
            let kind = readable(kind, &map.table, &name)?;
            columns.push(Planned {
                cell: Cell::new(&kind, Some(column), column.key.is_some()),
                column: layout_column(name, &kind, column.nullable, column.key),
            });
        }
        if columns.is_empty() {
            let table = map.table.clone();
            return Err(LayoutError::NotFull { table });
        }
        Ok(Decoder::new(map.table.clone(), columns))
    }

    /// From the catalog, for rows of the log: only if each column's storage type, metadata, signedness,
    /// character set and NULL bit in the log agree with it. Names and labels are the catalog's word.
    ///
    /// # Errors
    /// [`LayoutError`].
    pub fn from_table_map_and_catalog(
        map: &TableMap,
        catalog: &CatalogTable,
    ) -> Result<Decoder, LayoutError> {
        if map.columns.len() != catalog.columns.len() || map.table != catalog.id {
            return Err(LayoutError::Columns {
                table: map.table.clone(),
                log: map.columns.len(),
                catalog: catalog.columns.len(),
            });
        }
        let mut columns = Vec::with_capacity(map.columns.len());
        for (logged, known) in map.columns.iter().zip(&catalog.columns) {
            let kind = catalog_type(known, &map.table)?;
            let labelled = kind.check_labels();
            labelled
                .and_then(|()| agree(&kind, logged, known))
                .map_err(|cause| LayoutError::Column {
                    table: map.table.clone(),
                    column: known.name.clone(),
                    cause,
                })?;
            columns.push(Planned {
                cell: Cell::new(&kind, Some(logged), known.key.is_some()),
                column: layout_column(known.name.clone(), &kind, known.nullable, known.key),
            });
        }
        Ok(Decoder::new(map.table.clone(), columns))
    }

    /// From the catalog, for rows that are selected.
    ///
    /// # Errors
    /// [`LayoutError::Column`].
    pub fn from_catalog(catalog: &CatalogTable) -> Result<Decoder, LayoutError> {
        let mut columns = Vec::with_capacity(catalog.columns.len());
        for known in &catalog.columns {
            let kind = catalog_type(known, &catalog.id)?;
            if known.key.is_some() {
                kind.check_labels().map_err(|cause| LayoutError::Column {
                    table: catalog.id.clone(),
                    column: known.name.clone(),
                    cause,
                })?;
            }
            columns.push(Planned {
                cell: Cell::new(&kind, None, known.key.is_some()),
                column: layout_column(known.name.clone(), &kind, known.nullable, known.key),
            });
        }
        Ok(Decoder::new(catalog.id.clone(), columns))
    }

    fn new(table: TableId, planned: Vec<Planned>) -> Decoder {
        let (cells, columns): (Vec<Cell>, Vec<Column>) =
            planned.into_iter().map(|plan| (plan.cell, plan.column)).unzip();
        let layout = TableLayout { table, columns };
        let mut keys = layout.key_columns();
        keys.sort_unstable();
        Decoder {
            widths: cells.iter().map(|cell| cell.width).collect(),
            runs: runs(&cells),
            cells: cells.into(),
            keys: keys.into(),
            layout: Arc::new(layout),
        }
    }

    /// The layout; the same `Arc` for the decoder's life.
    pub fn layout(&self) -> &Arc<TableLayout> {
        &self.layout
    }

    /// The same plan under a layout that is equal by value, so that one `Arc` serves all who compare it.
    #[must_use]
    pub fn with_layout(self, layout: &Arc<TableLayout>) -> Decoder {
        if *self.layout != **layout {
            return self;
        }
        Decoder {
            layout: Arc::clone(layout),
            ..self
        }
    }
}

struct Planned {
    cell: Cell,
    column: Column,
}

fn runs(cells: &[Cell]) -> Box<[(usize, u8)]> {
    let mut runs = Vec::new();
    let mut fixed = 0;
    for cell in cells {
        if cell.width & PREFIXED == 0 {
            fixed += usize::from(cell.width);
        } else {
            runs.push((fixed, cell.width));
            fixed = 0;
        }
    }
    runs.push((fixed, 0));
    runs.into()
}

fn layout_column(name: ColumnName, kind: &SqlType, nullable: bool, key: Option<u16>) -> Column {
    Column {
        name,
        kind: kind.kind(),
        declared: kind.declared(),
        nullable,
        key,
    }
}

fn readable(
    kind: Result<SqlType, TypeError>,
    table: &TableId,
    column: &ColumnName,
) -> Result<SqlType, LayoutError> {
    kind.and_then(|kind| kind.check().map(|()| kind))
        .map_err(|cause| LayoutError::Column {
            table: table.clone(),
            column: column.clone(),
            cause,
        })
}

fn catalog_type(column: &CatalogColumn, table: &TableId) -> Result<SqlType, LayoutError> {
    let parsed = types::parse(&column.column_type, column.charset.as_deref());
    readable(parsed, table, &column.name)
}

fn agree(kind: &SqlType, logged: &MapColumn, known: &CatalogColumn) -> Result<(), TypeError> {
    kind.agrees(logged)?;
    let nullable = |is: bool| {
        if is {
            "a column that may be NULL"
        } else {
            "a NOT NULL column"
        }
        .to_owned()
    };
    if logged.nullable != known.nullable {
        return Err(TypeError::Differs {
            log: nullable(logged.nullable),
            catalog: nullable(known.nullable),
        });
    }
    if logged.name.as_ref().is_some_and(|name| *name != known.name) {
        return Err(TypeError::Differs {
            log: "a column of another name".to_owned(),
            catalog: known.name.to_string(),
        });
    }
    Ok(())
}
