//! What ends the reading of streams, and what to do about it.

use super::api::CallError;
use super::lineage::Disorder;
use crate::event::TableId;
use crate::fault::{Classify, Fault};

/// Why streams cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// A call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// Changes of a table may be lost.
    #[error("changes of {table} may be lost: {why}")]
    Lost {
        /// Whose.
        table: TableId,
        /// Why.
        why: String,
        /// Whether the table is copied again by itself.
        reload: bool,
    },
    /// Numbers are not in order, which a new generation mends or nothing does.
    #[error("the stream of {table} is not in order: {disorder}")]
    Disorder {
        /// Whose.
        table: TableId,
        /// What was found.
        disorder: Box<Disorder>,
    },
    /// A copy of a table waits for a new generation.
    #[error("a new generation of numbers begins, for a copy of a table to lie above what was read before")]
    Anew,
    /// A table has no stream, or it is off.
    #[error("the stream of {0} is off")]
    Off(TableId),
    /// A stream tells too little.
    #[error(
        "the stream of {table} has {view} in its records, which do not tell how an item is after a change"
    )]
    View {
        /// Whose.
        table: TableId,
        /// Its view type.
        view: String,
    },
    /// A table has no key.
    #[error("the table {0} has no key")]
    Key(TableId),
    /// The checkpoint is of another source.
    #[error("the checkpoint is of another kind of source: {0}")]
    Foreign(String),
}

impl Classify for StreamError {
    fn fault(&self) -> Fault {
        match self {
            StreamError::Call(error) => error.fault(),
            StreamError::Lost { reload: true, .. } | StreamError::Anew => Fault::RETRY,
            StreamError::Disorder { disorder, .. } => match **disorder {
                Disorder::Child { .. } => Fault::RETRY,
                Disorder::Record { .. } => Fault::Fatal,
            },
            StreamError::Lost { reload: false, .. }
            | StreamError::Off(_)
            | StreamError::Key(_)
            | StreamError::View { .. }
            | StreamError::Foreign(_) => Fault::Fatal,
        }
    }

    fn position_lost(&self) -> bool {
        matches!(self, StreamError::Lost { reload: false, .. })
    }

    fn hint(&self) -> Option<String> {
        let again = "stop the replicator, remove the checkpoint and the target's tables and start: everything is \
                     copied anew";
        Some(match self {
            StreamError::Call(error) => return error.hint(),
            StreamError::Lost { reload: true, .. } | StreamError::Anew => return None,
            StreamError::Lost { reload: false, .. } => {
                format!(
                    "a stream keeps a day: see why the replicator was behind; then write on_position_lost: resnapshot, or {again}"
                )
            }
            StreamError::Disorder { .. } => {
                "report this with the numbers; nothing is copied out of order".to_owned()
            }
            StreamError::Off(table) => format!(
                "turn it on: aws dynamodb update-table --table-name {} --stream-specification \
                 StreamEnabled=true,StreamViewType=NEW_AND_OLD_IMAGES",
                table.name()
            ),
            StreamError::View { table, .. } => format!(
                "a stream's view cannot be changed: turn the stream off, then on with NEW_AND_OLD_IMAGES (aws dynamodb \
                 update-table --table-name {} --stream-specification …)",
                table.name()
            ),
            StreamError::Key(table) => format!(
                "see what aws dynamodb describe-table --table-name {} says",
                table.name()
            ),
            StreamError::Foreign(_) => again.to_owned(),
        })
    }
}
