//! A checkpoint as one object in a bucket, for places where no disk outlives the process. Object stores
//! have no locks, so the object itself says who owns the pipeline, and every write demands that the object is
//! still the one that this process wrote last: whoever took over has replaced it, and the old owner's
//! next write fails. See `docs/adr/014-checkpoint-in-a-bucket.md` for why that suffices.

use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, UpdateVersion};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::form::{Document, Lease, Of};
use super::{Checkpoint, CheckpointError};
use crate::clock::Clock;
use crate::failpoint;
use crate::task::{self, Task};

/// The owner writes at least this often.
pub(super) const RENEWED: Duration = Duration::from_secs(5);

/// A lease that stays as it is for so long, by the clock of who looks, is nobody's: six renewals.
pub const ABANDONED: Duration = Duration::from_secs(30);

/// How long a write is repeated before the process gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// An object that holds a pipeline's checkpoint.
#[derive(Debug, Clone)]
pub struct Bucket {
    objects: Arc<dyn ObjectStore>,
    path: Path,
    place: String,
    pipeline: String,
    /// Names this process among all that ever own the pipeline.
    owner: String,
    clock: Clock,
}

/// What came of a write.
enum Put {
    Done(UpdateVersion),
    /// The object is not the one that was to be replaced; who has it now.
    Conflict(Option<Lease>),
}

impl Bucket {
    /// The object `{folder}/{pipeline}.json`; `place` names it in messages.
    pub fn new(
        objects: Arc<dyn ObjectStore>,
        folder: &Path,
        place: String,
        pipeline: &str,
        clock: Clock,
    ) -> Bucket {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let (process, random) = (std::process::id(), fastrand::u64(..));
        Bucket {
            objects,
            path: folder.clone().join(format!("{pipeline}.json")),
            place,
            pipeline: pipeline.to_owned(),
            owner: format!("{} process {process} ({random:016x})", host.trim()),
            clock,
        }
    }

    fn of(&self) -> Of<'_> {
        Of {
            place: &self.place,
            pipeline: &self.pipeline,
        }
    }

    async fn get(&self) -> Result<Option<(Document, UpdateVersion)>, CheckpointError> {
        let failed = |error| CheckpointError::remote("read", &self.place, error);
        let found = match self.objects.get(&self.path).await {
            Ok(found) => found,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let version = UpdateVersion {
            e_tag: found.meta.e_tag.clone(),
            version: found.meta.version.clone(),
        };
        let bytes = found.bytes().await.map_err(failed)?;
        let document = Document::from_text(self.of(), &bytes)?;
        Ok(Some((document, version)))
    }

    /// What is there, whoever owns it.
    pub(super) async fn peek(&self) -> Result<Option<Checkpoint>, CheckpointError> {
        let found = self.get().await?;
        Ok(found.and_then(|(document, _version)| document.checkpoint))
    }

    /// Writes a document if the object still is what `mode` says. An answer that does not come leaves
    /// open whether it was written, so the object is looked at: no two writes have the same lease.
    async fn put(&self, document: &Document, mut mode: PutMode) -> Result<Put, CheckpointError> {
        let text = bytes::Bytes::from(document.to_text(self.of())?);
        let began = self.clock.now();
        let mut delays = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(200))
            .with_max_delay(Duration::from_secs(5))
            .with_jitter()
            .without_max_times()
            .build();
        loop {
            failpoint::hit(failpoint::CHECKPOINT_BEFORE_WRITE);
            let options = PutOptions::from(mode.clone());
            let error = match self
                .objects
                .put_opts(&self.path, text.clone().into(), options)
                .await
            {
                Ok(done) => return Ok(Put::Done(done.into())),
                Err(error) => error,
            };
            let refused = matches!(error, Error::Precondition { .. } | Error::AlreadyExists { .. });
            match self.get().await {
                Ok(Some((found, version))) if found.lease == document.lease => return Ok(Put::Done(version)),
                Ok(Some((found, version)))
                    if found
                        .lease
                        .as_ref()
                        .is_some_and(|lease| lease.owner == self.owner) =>
                {
                    // A write of ours that nobody waited for came through after all.
                    mode = PutMode::Update(version);
                }
                Ok(found) if refused => {
                    return Ok(Put::Conflict(found.and_then(|(document, _)| document.lease)));
                }
                Ok(_) | Err(_) => {}
            }
            let hopeless = matches!(
                error,
                Error::PermissionDenied { .. } | Error::Unauthenticated { .. } | Error::NotFound { .. }
            );
            if hopeless || self.clock.now().saturating_duration_since(began) >= PATIENCE {
                return Err(CheckpointError::remote("write", &self.place, error));
            }
            let delay = delays.next().unwrap_or(PATIENCE);
            tracing::warn!(error = %error, delay_ms = delay.as_millis(), "checkpoint not written, trying again");
            self.clock.sleep(delay).await;
        }
    }
}

/// Somebody else's lease, watched.
#[derive(Debug)]
pub struct Standby {
    bucket: Bucket,
    seen: Option<(Lease, Instant)>,
}

impl Standby {
    /// Begins to look at an object.
    pub fn new(bucket: Bucket) -> Standby {
        Standby { bucket, seen: None }
    }

    /// Who owns the pipeline, as last seen.
    pub fn holder(&self) -> Option<&Lease> {
        self.seen.as_ref().map(|(lease, _)| lease)
    }

    /// The error of who does not wait.
    pub fn in_use(&self) -> CheckpointError {
        CheckpointError::InUse {
            place: self.bucket.place.clone(),
            holder: self
                .holder()
                .map_or_else(|| "another process".to_owned(), |lease| lease.owner.clone()),
        }
    }

    /// Looks once, and takes the pipeline if nobody has it, or if who has it showed no life for
    /// [`ABANDONED`] since this process first saw that.
    ///
    /// # Errors
    /// [`CheckpointError`]: the object cannot be read or written, or is none of ours.
    pub async fn attempt(&mut self) -> Result<Option<BucketStore>, CheckpointError> {
        let (found, mode) = match self.bucket.get().await? {
            None => (Document::default(), PutMode::Create),
            Some((document, version)) => (document, PutMode::Update(version)),
        };
        let now = self.bucket.clock.now();
        if let Some(lease) = &found.lease {
            match &self.seen {
                Some((seen, since)) if seen == lease => {
                    if now.saturating_duration_since(*since) < ABANDONED {
                        return Ok(None);
                    }
                    tracing::warn!(
                        owner = lease.owner,
                        "the checkpoint's owner shows no life: taking over"
                    );
                }
                Some(_) | None => {
                    self.seen = Some((lease.clone(), now));
                    return Ok(None);
                }
            }
        }
        let lease = Lease {
            owner: self.bucket.owner.clone(),
            counter: found.lease.map_or(0, |lease| lease.counter) + 1,
            taken: self.bucket.clock.unix_micros().div_euclid(1_000_000),
        };
        let document = Document {
            checkpoint: found.checkpoint,
            lease: Some(lease),
        };
        match self.bucket.put(&document, mode).await? {
            Put::Done(version) => Ok(Some(BucketStore::start(self.bucket.clone(), document, version))),
            // Somebody was faster; the next look says who.
            Put::Conflict(_) => Ok(None),
        }
    }
}

/// A checkpoint in a bucket, owned.
#[derive(Debug)]
pub struct BucketStore {
    held: Arc<Held>,
    _renewing: Task<()>,
}

#[derive(Debug)]
struct Held {
    bucket: Bucket,
    state: Mutex<State>,
    /// Cancelled once somebody else has the pipeline.
    taken_over: CancellationToken,
}

#[derive(Debug)]
struct State {
    document: Document,
    /// The lease's last counter, also of writes that nobody waited for.
    counter: u64,
    version: UpdateVersion,
    written: Instant,
    /// Who has it now, after `taken_over`.
    by: Option<Lease>,
}

impl BucketStore {
    fn start(bucket: Bucket, document: Document, version: UpdateVersion) -> BucketStore {
        let written = bucket.clock.now();
        let held = Arc::new(Held {
            bucket,
            state: Mutex::new(State {
                counter: document.lease.as_ref().map_or(0, |lease| lease.counter),
                document,
                version,
                written,
                by: None,
            }),
            taken_over: CancellationToken::new(),
        });
        BucketStore {
            _renewing: task::spawn("lease", renew(Arc::clone(&held))),
            held,
        }
    }

    /// The checkpoint as it was found or last written.
    pub async fn load(&self) -> Option<Checkpoint> {
        self.held.state.lock().await.document.checkpoint.clone()
    }

    /// Replaces the checkpoint; when this returns, the new one is kept.
    ///
    /// # Errors
    /// [`CheckpointError::Lost`] if somebody took over, [`CheckpointError::Remote`] if it cannot be written.
    pub async fn save(&self, checkpoint: Checkpoint) -> Result<(), CheckpointError> {
        let mut state = self.held.state.lock().await;
        let lease = state.document.lease.clone();
        let document = Document {
            checkpoint: Some(checkpoint),
            lease,
        };
        self.held.write(&mut state, document).await
    }

    /// Waits until somebody else has the pipeline.
    pub async fn lost(&self) -> CheckpointError {
        self.held.taken_over.cancelled().await;
        let state = self.held.state.lock().await;
        self.held.lost(state.by.as_ref())
    }

    /// Gives the pipeline up, so that whoever waits need not wait for the lease's end.
    ///
    /// # Errors
    /// As [`BucketStore::save`].
    pub async fn release(&self) -> Result<(), CheckpointError> {
        let mut state = self.held.state.lock().await;
        let document = Document {
            checkpoint: state.document.checkpoint.clone(),
            lease: None,
        };
        self.held.write(&mut state, document).await
    }
}

impl Held {
    async fn write(&self, state: &mut State, mut document: Document) -> Result<(), CheckpointError> {
        if self.taken_over.is_cancelled() {
            return Err(self.lost(state.by.as_ref()));
        }
        if let Some(lease) = &mut document.lease {
            state.counter += 1;
            lease.counter = state.counter;
        }
        let mode = PutMode::Update(state.version.clone());
        match self.bucket.put(&document, mode).await? {
            Put::Done(version) => {
                state.version = version;
                state.document = document;
                state.written = self.bucket.clock.now();
                Ok(())
            }
            Put::Conflict(by) => {
                state.by = by;
                self.taken_over.cancel();
                Err(self.lost(state.by.as_ref()))
            }
        }
    }

    fn lost(&self, by: Option<&Lease>) -> CheckpointError {
        CheckpointError::Lost {
            place: self.bucket.place.clone(),
            holder: by.map_or_else(
                || "nobody who is named in it".to_owned(),
                |lease| lease.owner.clone(),
            ),
        }
    }
}

/// Writes the object anew while nothing else does, until it is given up or lost.
async fn renew(held: Arc<Held>) {
    loop {
        held.bucket.clock.sleep(RENEWED).await;
        let mut state = held.state.lock().await;
        if state.document.lease.is_none() || held.taken_over.is_cancelled() {
            return;
        }
        if held.bucket.clock.now().saturating_duration_since(state.written) < RENEWED {
            continue;
        }
        let document = state.document.clone();
        if let Err(error) = held.write(&mut state, document).await {
            tracing::error!(error = %crate::fault::chain(&error), "the checkpoint's lease was not renewed");
        }
    }
}

#[cfg(test)]
mod tests;
