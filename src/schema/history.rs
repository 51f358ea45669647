//! What is kept of each change that a source's DDL brought to a target.

use std::time::Duration;

use serde::Serialize;

use crate::event::{TableId, TxnStart};

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    /// The target's columns were changed as the table's were.
    Columns,
    /// The table was opened, with the columns that it had by then: it is new, came back, or is copied again as a whole.
    Opened,
    /// Rows that are gone from the source without row events were deleted.
    Swept,
    /// The table is not followed any more.
    Parked,
}

impl Happened {
    /// As the history says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Happened::Columns => "columns",
            Happened::Opened => "opened",
            Happened::Swept => "swept",
            Happened::Parked => "parked",
        }
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaChange {
    /// Whose.
    pub table: TableId,
    /// What was done.
    pub happened: Happened,
    /// The transaction of the source at which it holds, if there is one.
    pub at: Option<TxnStart>,
    /// The source's statement, if one was seen.
    pub statement: String,
    /// Why, where the statement does not say it: why rows are read again, why a table is parked.
    pub cause: String,
    /// The statements that ran at the target, in their order.
    pub ran: Vec<String>,
    /// How long the target took.
    pub took: Duration,
}

/// One change as it was kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptChange {
    /// When it was done, microseconds since 1970.
    pub happened_at_micros: i64,
    /// The same for the same change: a restart may have written it twice.
    pub id: String,
    /// The source's table, `database.table`.
    pub table: String,
    /// The target's table.
    pub target: String,
    /// What was done, as [`Happened::as_str`] says it.
    pub happened: String,
    /// The source's transaction.
    pub position: Option<String>,
    /// The source's statement.
    pub statement: Option<String>,
    /// Why.
    pub cause: Option<String>,
    /// What ran at the target, one statement a line.
    pub ran: Option<String>,
    /// How long that took, milliseconds.
    pub took_ms: i64,
}
