//! Why a checkpoint cannot be read, written or owned, and what to do about it.

use std::path::{Path, PathBuf};

use super::VERSION;
use crate::fault::{Classify, Fault};

/// Why a checkpoint could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Another process owns the pipeline.
    #[error("checkpoint {place} is in use by {holder}")]
    InUse {
        /// The lock file or the object.
        place: String,
        /// Who has it.
        holder: String,
    },
    /// Another process took the pipeline over while this one was silent.
    #[error("checkpoint {place} was taken over by {holder}: this process must not go on")]
    Lost {
        /// The object.
        place: String,
        /// Who has it now.
        holder: String,
    },
    /// Written by a version that knows more than this one.
    #[error("checkpoint {place} has version {found}; this replicator reads version {VERSION}")]
    Version {
        /// The checkpoint.
        place: String,
        /// Its version.
        found: u64,
    },
    /// Belongs to another pipeline.
    #[error("checkpoint {place} belongs to pipeline {found}")]
    Pipeline {
        /// The checkpoint.
        place: String,
        /// Whose it is.
        found: String,
    },
    /// Not a checkpoint.
    #[error("checkpoint {place} cannot be understood: {reason}")]
    Malformed {
        /// The checkpoint.
        place: String,
        /// Where and why.
        reason: String,
    },
    /// The file system refused.
    #[error("cannot {action} checkpoint {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
    /// The object store refused, or could not be asked.
    #[error("cannot {action} checkpoint {place}")]
    Remote {
        /// What was tried.
        action: &'static str,
        /// The object.
        place: String,
        /// The reason.
        #[source]
        source: Box<object_store::Error>,
    },
    /// The work on the file panicked.
    #[error(transparent)]
    Panicked(#[from] crate::task::Panicked),
}

impl CheckpointError {
    pub(super) fn io(action: &'static str, path: &Path, source: std::io::Error) -> CheckpointError {
        CheckpointError::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    pub(super) fn remote(action: &'static str, place: &str, source: object_store::Error) -> CheckpointError {
        CheckpointError::Remote {
            action,
            place: place.to_owned(),
            source: Box::new(source),
        }
    }
}

impl Classify for CheckpointError {
    fn fault(&self) -> Fault {
        Fault::Fatal
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            CheckpointError::InUse { .. } => {
                "stop the other replicator of this pipeline, or give this one a pipeline name or checkpoint directory of its own".to_owned()
            }
            CheckpointError::Lost { .. } => {
                "nothing is lost: the other instance goes on from the checkpoint. Run one instance for each pipeline, and see why this one could not reach the object store".to_owned()
            }
            CheckpointError::Version { .. } => "run the replicator version that wrote it, or a newer one".to_owned(),
            CheckpointError::Pipeline { .. } => "give each pipeline a name of its own in the configuration".to_owned(),
            CheckpointError::Malformed { place, .. } => format!(
                "restore {place} from a backup; without one, remove it together with the target tables and start over"
            ),
            CheckpointError::Io { path, .. } => format!(
                "make sure that {} exists, is writable for this user and has free space",
                path.parent().unwrap_or(path).display()
            ),
            CheckpointError::Remote { place, .. } => format!(
                "see that the bucket of {place} exists and that the credentials may read and write the object (S3: s3:GetObject, s3:PutObject; Cloud Storage: roles/storage.objectUser)"
            ),
            CheckpointError::Panicked(_) => return None,
        })
    }
}
