//! The file store: one JSON document in a directory, replaced by rename, synced before and after, and
//! locked for as long as a process owns the pipeline.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::form::{Document, Of};
use super::{Checkpoint, CheckpointError};
use crate::failpoint;

/// An exclusively owned checkpoint file.
#[derive(Debug)]
pub struct FileStore {
    directory: PathBuf,
    pipeline: String,
    /// Held, not read: the lock ends with the process, however it ends.
    _lock: File,
}

impl FileStore {
    /// Creates the directory if need be and takes the pipeline's lock.
    ///
    /// # Errors
    /// [`CheckpointError::InUse`] if another process holds it, or [`CheckpointError::Io`].
    pub fn open(directory: &Path, pipeline: &str) -> Result<FileStore, CheckpointError> {
        std::fs::create_dir_all(directory)
            .map_err(|source| CheckpointError::io("create", directory, source))?;
        let path = directory.join(format!("{pipeline}.lock"));
        let options = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path);
        let lock = options.map_err(|source| CheckpointError::io("lock", &path, source))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(CheckpointError::InUse {
                    place: path.display().to_string(),
                    holder: "another process".to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(CheckpointError::io("lock", &path, source)),
        }
        Ok(FileStore {
            directory: directory.to_owned(),
            pipeline: pipeline.to_owned(),
            _lock: lock,
        })
    }

    /// The checkpoint's file.
    pub fn path(&self) -> PathBuf {
        path(&self.directory, &self.pipeline)
    }

    /// Reads the checkpoint; `None` if there is none yet.
    ///
    /// # Errors
    /// [`CheckpointError`] if there is one that this process must not or cannot use.
    pub fn load(&self) -> Result<Option<Checkpoint>, CheckpointError> {
        peek(&self.directory, &self.pipeline)
    }

    /// Replaces the checkpoint: when this returns, the new one survives a power cut; whenever it is cut
    /// short, the old one does. Blocks on the disk.
    ///
    /// # Errors
    /// [`CheckpointError::Io`].
    pub fn save(&self, checkpoint: Checkpoint) -> Result<(), CheckpointError> {
        let (path, temporary) = (
            self.path(),
            self.directory.join(format!("{}.json.new", self.pipeline)),
        );
        let document = Document {
            checkpoint: Some(checkpoint),
            lease: None,
        };
        let text = document.to_text(self.of(&path.display().to_string()))?;
        failpoint::hit(failpoint::CHECKPOINT_BEFORE_WRITE);
        let write = || {
            let mut file = File::create(&temporary)?;
            file.write_all(&text)?;
            file.sync_all()
        };
        write().map_err(|source| CheckpointError::io("write", &temporary, source))?;
        failpoint::hit(failpoint::CHECKPOINT_BEFORE_RENAME);
        std::fs::rename(&temporary, &path).map_err(|source| CheckpointError::io("replace", &path, source))?;
        // The rename itself is durable once the directory is.
        File::open(&self.directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|source| CheckpointError::io("sync", &self.directory, source))
    }

    fn of<'a>(&'a self, place: &'a str) -> Of<'a> {
        Of {
            place,
            pipeline: &self.pipeline,
        }
    }
}

fn path(directory: &Path, pipeline: &str) -> PathBuf {
    directory.join(format!("{pipeline}.json"))
}

/// Reads a checkpoint, whoever owns it.
pub(super) fn peek(directory: &Path, pipeline: &str) -> Result<Option<Checkpoint>, CheckpointError> {
    let path = path(directory, pipeline);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(CheckpointError::io("read", &path, source)),
    };
    let place = &path.display().to_string();
    Ok(Document::from_text(Of { place, pipeline }, &bytes)?.checkpoint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{Lease, Phase, SnapshotState, TableState, VERSION};
    use crate::event::{
        BinlogCoord, Bound, Chunk, Column, ColumnName, ColumnType, Epoch, LastEvent, LogPosition, TableId,
        TableLayout, TxnStart,
    };

    /// A column of each form that a checkpoint knows.
    fn columns() -> Vec<Column> {
        let column = |name: &str, kind, declared: &str, key: Option<u16>| Column {
            name: ColumnName::new(name),
            kind,
            declared: declared.to_owned(),
            nullable: key.is_none(),
            key,
        };
        vec![
            column("id", ColumnType::Int64, "int", Some(0)),
            column("code", ColumnType::Text, "varchar(9) charset latin1", Some(1)),
            column("at", ColumnType::DateTime, "datetime(6)", None),
        ]
    }

    /// Each release adds what it writes here, and none is ever changed: all must load.
    const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/checkpoints");

    #[test]
    fn what_this_version_writes_is_kept_as_a_fixture() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::open(folder.path(), "shop").unwrap();
        store.save(sample()).unwrap();
        let kept = std::fs::read_to_string(format!("{FIXTURES}/v{VERSION}.json")).unwrap();
        let written = std::fs::read_to_string(store.path()).unwrap();
        assert_eq!(written, kept.trim_end(), "a changed form needs a new version");
    }

    #[test]
    fn every_checkpoint_that_was_ever_written_loads() {
        let mut loaded = 0;
        for entry in std::fs::read_dir(FIXTURES).unwrap() {
            let folder = tempfile::tempdir().unwrap();
            let store = FileStore::open(folder.path(), "shop").unwrap();
            std::fs::copy(entry.unwrap().path(), store.path()).unwrap();
            assert_eq!(store.load().unwrap(), Some(sample()));
            loaded += 1;
        }
        assert!(loaded > 0);
    }

    #[test]
    fn a_copy_from_a_bucket_loads() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::open(folder.path(), "shop").unwrap();
        let place = store.path().display().to_string();
        let document = Document {
            checkpoint: Some(sample()),
            lease: Some(Lease {
                owner: "somebody".to_owned(),
                counter: 7,
                taken: 1,
            }),
        };
        std::fs::write(store.path(), document.to_text(store.of(&place)).unwrap()).unwrap();
        assert_eq!(store.load().unwrap(), Some(sample()));
    }

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
            domains: None,
            last_event: Some(LastEvent {
                start: next.coord,
                crc: u32::MAX,
            }),
            prepared: Vec::new(),
            streams: Vec::new(),
        };
        let mut checkpoint = Checkpoint::new("shop", position);
        let mut snapshot = SnapshotState::new(next, checkpoint.position.seen());
        let bound = |text: &str| Some(Bound(vec![text.to_owned(), "'x'".to_owned()]));
        for (lower, upper) in [(None, bound("1")), (bound("1"), bound("22"))] {
            snapshot.planned(Chunk { lower, upper });
        }
        snapshot.acknowledged(&snapshot.open[0].clone(), 50_000);
        for (name, phase) in [
            ("a.b", Phase::Streaming),
            ("b", Phase::Opening),
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
                columns: columns(),
            };
            let table = layout.table.clone();
            checkpoint
                .tables
                .insert(table, TableState::new(layout, next, phase));
        }
        checkpoint
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::open(folder.path(), "shop").unwrap();
        assert_eq!(store.load().unwrap(), None);
        store.save(sample()).unwrap();
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
        std::fs::write(store.path(), r#"{"version": 99, "anything": []}"#).unwrap();
        let error = store.load().unwrap_err();
        assert!(
            matches!(error, CheckpointError::Version { found: 99, .. }),
            "{error}"
        );
    }

    #[test]
    fn another_pipelines_or_a_broken_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::open(folder.path(), "shop").unwrap();
        let mut other = sample();
        other.pipeline = "toys".to_owned();
        store.save(other).unwrap();
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
