//! What ends a pipeline.

use crate::checkpoint::CheckpointError;
use crate::event::TableId;
use crate::fault::{Classify, Fault, chain};
use crate::sink::SinkError;
use crate::source::SourceError;
use crate::task::Panicked;

/// Why a pipeline stopped.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The source failed for good.
    #[error("{}", chain(&**.0))]
    Source(SourceError),
    /// The target failed for good.
    #[error("{}", chain(&**.0))]
    Sink(SinkError),
    /// Durable state could not be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The last checkpoint could not be written in the time that a stop has.
    #[error("the last checkpoint was not written in time")]
    Unsaved,
    /// A part of the pipeline ended by a programming error.
    #[error(transparent)]
    Panicked(#[from] Panicked),
    /// A part of the pipeline that others wait for is gone.
    #[error("the pipeline's {0} ended unexpectedly")]
    Gone(&'static str),
    /// Target tables hold rows that no checkpoint knows of.
    #[error("target tables hold rows already, and there is no checkpoint that says which: {}", list(.0))]
    NotEmpty(Vec<TableId>),
    /// Target tables that were made are not there.
    #[error("target tables are gone, and with them the rows that the checkpoint says are copied: {}", list(.0))]
    TargetGone(Vec<TableId>),
    /// The copy ended, and these tables are parked.
    #[error("tables are parked and not copied: {}", list(.0))]
    NotCopied(Vec<TableId>),
    /// Nothing to copy.
    #[error("no table of the source matches the configured patterns")]
    NoTables,
}

fn list(tables: &[TableId]) -> String {
    tables
        .iter()
        .map(TableId::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

impl Classify for PipelineError {
    fn fault(&self) -> Fault {
        match self {
            PipelineError::Source(error) => error.fault(),
            PipelineError::Sink(error) => error.fault(),
            PipelineError::Checkpoint(error) => error.fault(),
            PipelineError::Unsaved
            | PipelineError::Panicked(_)
            | PipelineError::Gone(_)
            | PipelineError::NotEmpty(_)
            | PipelineError::TargetGone(_)
            | PipelineError::NotCopied(_)
            | PipelineError::NoTables => Fault::Fatal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            PipelineError::Source(error) => error.hint(),
            PipelineError::Sink(error) => error.hint(),
            PipelineError::Checkpoint(error) => error.hint(),
            PipelineError::Unsaved => Some(
                "nothing is lost: what was acknowledged since the one before is sent again; see why the place of the checkpoint does not answer".to_owned(),
            ),
            PipelineError::Panicked(_) | PipelineError::Gone(_) => {
                Some("report this with the log; a restart goes on from the last checkpoint".to_owned())
            }
            PipelineError::NotEmpty(_) => Some(
                "restore the checkpoint that belongs to them, or drop these target tables, or name others in sink.bigquery.dataset or sink.bigquery.table".to_owned(),
            ),
            PipelineError::TargetGone(_) => Some(
                "if sink.bigquery names other targets than before, undo that; else restore them, or run `replicator resync` with the name of each, which makes and copies it anew".to_owned(),
            ),
            PipelineError::NotCopied(_) => Some("the log says of each why it is parked, and the cure".to_owned()),
            PipelineError::NoTables => {
                Some("correct sources[0].mysql.tables, or create the tables first".to_owned())
            }
        }
    }

    fn position_lost(&self) -> bool {
        matches!(self, PipelineError::Source(error) if error.position_lost())
    }
}
