//! Why a table was parked, in words that name the cure.

use crate::event::{Break, BreakCause};
use crate::fault::{Classify, chain};
use crate::schema::Unfit;

/// The one way back for a parked table as long as layouts are not followed.
const RESYNC: &str = "to follow it again, stop the replicator, drop the target table, remove the table from the checkpoint's list and start: it is copied anew";

/// Describes a break found in the log.
pub fn describe(one: &Break) -> String {
    let what = match &one.cause {
        BreakCause::LayoutChanged(text) => format!("its columns changed: {text}"),
        BreakCause::LayoutUnknown(text) => format!("its columns cannot be told from the log: {text}"),
        BreakCause::StatementFormat => {
            "a session wrote to it with binlog_format other than ROW: the log has the statement, not the rows"
                .to_owned()
        }
        BreakCause::PartialImage => {
            "a session wrote to it without full row images (binlog_row_image)"
                .to_owned()
        }
        BreakCause::Xa => {
            "an XA transaction was committed whose rows are not in the server's log any more; it may have written to it"
                .to_owned()
        }
        BreakCause::NoKey => "it has no primary key".to_owned(),
    };
    format!("{what}; {RESYNC}")
}

/// Describes a change of columns that no target can follow.
pub fn unfit(unfit: &Unfit) -> String {
    format!("{unfit}; {RESYNC}")
}

/// Describes a failure that concerns one table.
pub fn explain(error: &(dyn Classify + Send + Sync)) -> String {
    let hint = error.hint().unwrap_or_else(|| RESYNC.to_owned());
    format!("{}; {hint}", chain(error))
}
