//! The file store: one JSON document in a directory, replaced by rename, synced before and after, and
//! locked for as long as a process owns the pipeline. The format is text on purpose: an operator may
//! have to read it at three in the morning.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::{Checkpoint, VERSION};
use crate::failpoint;
use crate::fault::{Classify, Fault};

/// An exclusively owned checkpoint file.
#[derive(Debug)]
pub struct FileStore {
    directory: PathBuf,
    pipeline: String,
    /// Held, not read: the lock ends with the process, however it ends.
    _lock: File,
}

/// Why a checkpoint could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Another process owns the pipeline.
    #[error("checkpoint {path} is in use by another process")]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// Written by a version that knows more than this one.
    #[error("checkpoint {path} has version {found}; this replicator reads version {VERSION}")]
    Version {
        /// The checkpoint.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
    /// Belongs to another pipeline.
    #[error("checkpoint {path} belongs to pipeline {found}")]
    Pipeline {
        /// The checkpoint.
        path: PathBuf,
        /// Whose it is.
        found: String,
    },
    /// Not a checkpoint.
    #[error("checkpoint {path} cannot be understood: {reason}")]
    Malformed {
        /// The checkpoint.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
    /// The file system refused.
    #[error("cannot {action} checkpoint {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
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
            CheckpointError::Version { .. } => "run the replicator version that wrote it, or a newer one".to_owned(),
            CheckpointError::Pipeline { .. } => "give each pipeline a name of its own in the configuration".to_owned(),
            CheckpointError::Malformed { path, .. } => format!(
                "restore {} from a backup; without one, remove it together with the target tables and start over",
                path.display()
            ),
            CheckpointError::Io { path, .. } => format!(
                "make sure that {} exists, is writable for this user and has free space",
                path.parent().unwrap_or(path).display()
            ),
        })
    }
}

impl FileStore {
    /// Creates the directory if need be and takes the pipeline's lock.
    ///
    /// # Errors
    /// [`CheckpointError::InUse`] if another process holds it, or [`CheckpointError::Io`].
    pub fn open(directory: &Path, pipeline: &str) -> Result<FileStore, CheckpointError> {
        std::fs::create_dir_all(directory).map_err(|source| io("create", directory, source))?;
        let path = directory.join(format!("{pipeline}.lock"));
        let options = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path);
        let lock = options.map_err(|source| io("lock", &path, source))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(CheckpointError::InUse { path }),
            Err(TryLockError::Error(source)) => return Err(io("lock", &path, source)),
        }
        Ok(FileStore {
            directory: directory.to_owned(),
            pipeline: pipeline.to_owned(),
            _lock: lock,
        })
    }

    /// The checkpoint's file.
    pub fn path(&self) -> PathBuf {
        self.directory.join(format!("{}.json", self.pipeline))
    }

    /// Reads the checkpoint; `None` if there is none yet.
    ///
    /// # Errors
    /// [`CheckpointError`] if there is one that this process must not or cannot use.
    pub fn load(&self) -> Result<Option<Checkpoint>, CheckpointError> {
        let path = self.path();
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(io("read", &path, source)),
        };
        parse(&path, &self.pipeline, &bytes).map(Some)
    }

    /// Replaces the checkpoint: when this returns, the new one survives a power cut; whenever it is cut
    /// short, the old one does. Blocks on the disk.
    ///
    /// # Errors
    /// [`CheckpointError::Io`].
    pub fn save(&self, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
        let (path, temporary) = (
            self.path(),
            self.directory.join(format!("{}.json.new", self.pipeline)),
        );
        let text = serde_json::to_vec_pretty(checkpoint).map_err(|error| CheckpointError::Malformed {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        failpoint::hit(failpoint::CHECKPOINT_BEFORE_WRITE);
        let write = || {
            let mut file = File::create(&temporary)?;
            file.write_all(&text)?;
            file.sync_all()
        };
        write().map_err(|source| io("write", &temporary, source))?;
        failpoint::hit(failpoint::CHECKPOINT_BEFORE_RENAME);
        std::fs::rename(&temporary, &path).map_err(|source| io("replace", &path, source))?;
        // The rename itself is durable once the directory is.
        File::open(&self.directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|source| io("sync", &self.directory, source))
    }
}

fn parse(path: &Path, pipeline: &str, bytes: &[u8]) -> Result<Checkpoint, CheckpointError> {
    let malformed = |reason: String| CheckpointError::Malformed {
        path: path.to_owned(),
        reason,
    };
    // The version first: a newer form need not fit this version's fields.
    let value: serde_json::Value =
        serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
    match value.get("version").and_then(serde_json::Value::as_u64) {
        Some(found) if found == u64::from(VERSION) => {}
        Some(found) => {
            return Err(CheckpointError::Version {
                path: path.to_owned(),
                found,
            });
        }
        None => return Err(malformed("it has no version".to_owned())),
    }
    let checkpoint: Checkpoint =
        serde_json::from_value(value).map_err(|error| malformed(error.to_string()))?;
    if checkpoint.pipeline != pipeline {
        return Err(CheckpointError::Pipeline {
            path: path.to_owned(),
            found: checkpoint.pipeline,
        });
    }
    Ok(checkpoint)
}

fn io(action: &'static str, path: &Path, source: std::io::Error) -> CheckpointError {
    CheckpointError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{Phase, SnapshotState, TableState};
    use crate::event::{BinlogCoord, Chunk, Epoch, LastEvent, LogPosition, TableId, TableLayout, TxnStart};

    fn sample() -> Checkpoint {
        let next = TxnStart {
            epoch: Epoch(7),
            coord: BinlogCoord { file: 3, offset: 197 },
        };
        let position = LogPosition {
            server: "s".into(),
            file_name: "binlog.000003".into(),
            file_born: 1_700_000_000,
            next,
            gtids: Some("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:t:2".parse().unwrap()),
            last_event: Some(LastEvent {
                start: next.coord,
                crc: u32::MAX,
            }),
        };
        let mut checkpoint = Checkpoint::new("shop", position);
        let mut snapshot = SnapshotState::new(next, None);
        snapshot.planned(Chunk {
            lower: None,
            upper: None,
        });
        for (name, phase) in [
            ("a.b", Phase::Streaming),
            ("c", Phase::Snapshot(snapshot)),
            (
                "d",
                Phase::Parked {
                    cause: "x".into(),
                    at: "y".into(),
                },
            ),
        ] {
            let layout = TableLayout {
                table: TableId::new("shop", name),
                columns: vec![],
            };
            checkpoint.tables.insert(
                layout.table.clone(),
                TableState {
                    layout,
                    floor: next,
                    phase,
                },
            );
        }
        checkpoint
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::open(folder.path(), "shop").unwrap();
        assert_eq!(store.load().unwrap(), None);
        store.save(&sample()).unwrap();
        assert_eq!(store.load().unwrap(), Some(sample()));
    }

    #[test]
    fn a_second_owner_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let first = FileStore::open(folder.path(), "shop").unwrap();
        let error = FileStore::open(folder.path(), "shop").unwrap_err();
        assert!(matches!(error, CheckpointError::InUse { .. }), "{error}");
        FileStore::open(folder.path(), "other").unwrap();
        drop(first);
        FileStore::open(folder.path(), "shop").unwrap();
    }

    #[test]
    fn a_newer_version_is_refused_whatever_its_fields() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::open(folder.path(), "shop").unwrap();
        std::fs::write(store.path(), r#"{"version": 2, "anything": []}"#).unwrap();
        let error = store.load().unwrap_err();
        assert!(
            matches!(error, CheckpointError::Version { found: 2, .. }),
            "{error}"
        );
    }

    #[test]
    fn another_pipelines_or_a_broken_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::open(folder.path(), "shop").unwrap();
        let mut other = sample();
        other.pipeline = "toys".to_owned();
        store.save(&other).unwrap();
        assert!(matches!(
            store.load().unwrap_err(),
            CheckpointError::Pipeline { .. }
        ));
        let text = std::fs::read(store.path()).unwrap();
        std::fs::write(store.path(), &text[..text.len() / 2]).unwrap();
        assert!(matches!(
            store.load().unwrap_err(),
            CheckpointError::Malformed { .. }
        ));
    }
}
