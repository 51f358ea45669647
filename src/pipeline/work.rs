//! What is to be done about a table beside reading the log.

use std::sync::Arc;

use crate::event::{AlterSaid, RowChanges, TableLayout, TxnStart};

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// The table's columns changed: it is held until the target has what it needs.
    Change(Box<Change>),
    /// Its durable state, or there being none, says what is due.
    Look,
}

/// A change of columns, as the log shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The transaction that the columns are valid from.
    pub at: TxnStart,
    /// The columns.
    pub layout: Arc<TableLayout>,
    /// What the statement said, if one was seen.
    pub said: AlterSaid,
    /// The statement, if one was seen.
    pub statement: Arc<str>,
    /// Whether the columns may be those after several statements: what became of values is not known then.
    pub late: bool,
}

impl Change {
    /// A change of which the rows are the first sign: no statement was seen.
    pub fn seen_in(changes: &RowChanges) -> Change {
        Change {
            at: changes.txn,
            layout: Arc::clone(&changes.layout),
            said: AlterSaid::default(),
            statement: Arc::from(""),
            late: false,
        }
    }
}
