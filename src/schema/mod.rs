//! What a change of a table's columns means for its target. Pure: from the target's columns, the
//! columns before and after, and what the statement said, to what has to change at the target, to where
//! each column's values go from there on, and to whether rows that exist have values of which no row
//! event will ever tell.
//!
//! A row is written through the [`Projection`] that is valid at its place of the log, so that replaying
//! an old log after a rename or a drop neither bends a row nor undoes the change.

use serde::{Deserialize, Serialize};

use crate::event::{Column, ColumnName, ColumnType, TableLayout};

mod history;
mod plan;
mod preserve;

pub use history::{Happened, KeptChange, SchemaChange};
pub use plan::{Evolution, Planned, Unfit, let_in, opening, plan};

/// A column of a target, in the source's terms: what is a legal name and a type in the target is the
/// target's affair.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TargetColumn {
    /// The name under which it was made, usually the source column's.
    pub name: ColumnName,
    /// What its values mean; widened as the source's column is.
    #[serde(rename = "type")]
    pub kind: ColumnType,
    /// Whether it belongs to the key.
    pub key: bool,
}

impl TargetColumn {
    /// The column that a new target gets for a column of the source.
    pub fn of(column: &Column) -> TargetColumn {
        TargetColumn {
            name: column.name.clone(),
            kind: column.kind,
            key: column.key.is_some(),
        }
    }
}

/// A table's columns at a place of the log, and where each one's values go.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Projection {
    /// The columns, in the order of the row images.
    pub layout: TableLayout,
    /// For each of them the target's column; `None`: its values are not written.
    pub columns: Vec<Option<TargetColumn>>,
}

impl Projection {
    /// Every column to one of its own name.
    pub fn identity(layout: &TableLayout) -> Projection {
        Projection {
            layout: layout.clone(),
            columns: layout
                .columns
                .iter()
                .map(|column| Some(TargetColumn::of(column)))
                .collect(),
        }
    }

    /// The target's column for a column of the source.
    pub fn column(&self, name: &ColumnName) -> Option<&TargetColumn> {
        let index = self
            .layout
            .columns
            .iter()
            .position(|column| column.name == *name)?;
        self.columns.get(index)?.as_ref()
    }
}

/// Whether a target's column can hold values of another type, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// As it is.
    Same,
    /// Once its type is widened.
    Widen,
    /// Never: it takes a column of its own.
    Never,
}

/// Says how a target's column of one type takes values of another; `key` for key columns.
pub type Fits<'a> = &'a dyn Fn(ColumnType, ColumnType, bool) -> Fit;

#[cfg(test)]
mod tests;
