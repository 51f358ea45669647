//! What is wrong with a rows event, and what may be done about it.

use crate::event::TableId;
use crate::fault::{Classify, Fault};
use crate::source::mysql::cursor::Truncated;

/// Why a rows event cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowsError {
    /// It ends before its head does.
    #[error("the rows event is truncated")]
    Head,
    /// Its bytes do not fit the table's layout.
    #[error("a rows event of {table} does not fit the table's layout: {reason}")]
    Malformed {
        /// Which table.
        table: TableId,
        /// What does not fit.
        reason: String,
    },
    /// Its images lack columns.
    #[error("a rows event of {table} lacks columns")]
    PartialImage {
        /// Which table.
        table: TableId,
    },
    /// The transaction has more row bytes than can be numbered.
    #[error("a transaction has more rows than can be numbered")]
    TooLong,
}

impl Classify for RowsError {
    fn fault(&self) -> Fault {
        match self {
            RowsError::Head | RowsError::TooLong => Fault::Fatal,
            RowsError::Malformed { table, .. } | RowsError::PartialImage { table } => {
                Fault::Table(table.clone())
            }
        }
    }

    fn hint(&self) -> Option<String> {
        let cure = match self {
            RowsError::Head | RowsError::TooLong => return None,
            RowsError::Malformed { .. } => "copy the table again, and report this: log and layout disagree",
            RowsError::PartialImage { .. } => {
                "find the session that sets binlog_row_image to MINIMAL or NOBLOB, set it to FULL, copy the table again"
            }
        };
        Some(cure.to_owned())
    }
}

impl From<Truncated> for RowsError {
    fn from(_: Truncated) -> RowsError {
        RowsError::Head
    }
}
