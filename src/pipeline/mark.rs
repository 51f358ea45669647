//! What is decided of a table at a place of the log, other than sending its rows. A mark travels with the
//! flush of its place, so that it is durable in the very write that lets the position pass it.

use crate::event::{Break, TableId, TxnStart};

/// A decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// The table cannot be followed: a person has to decide.
    Park(Break),
    /// The table is to be copied again: what happened to it is not in the log, or cannot be read from it.
    Reopen {
        /// Which table.
        table: TableId,
        /// Why.
        cause: String,
        /// Since which transaction.
        at: TxnStart,
        /// Whether only up to the size that the configuration allows.
        bounded: bool,
    },
    /// All rows before this place are gone.
    Truncated {
        /// Which table.
        table: TableId,
        /// The transaction.
        at: TxnStart,
    },
    /// The source dropped the table.
    Dropped {
        /// Which table.
        table: TableId,
        /// The transaction.
        at: TxnStart,
    },
}
