//! The one way for the rest of the program to a checkpoint, wherever it is kept.

use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;

use super::bucket::{Bucket, BucketStore, RENEWED, Standby};
use super::{Checkpoint, CheckpointError, FileStore, file};
use crate::clock::Clock;
use crate::config::{BucketKind, CheckpointPlace};
use crate::task;

/// A pipeline's checkpoint, owned by this process.
#[derive(Debug, Clone)]
pub enum Store {
    /// A file.
    File(Arc<FileStore>),
    /// An object in a bucket.
    Bucket(Arc<BucketStore>),
}

/// What came of asking for a checkpoint.
#[derive(Debug)]
pub enum Opening {
    /// It is ours.
    Owned(Store),
    /// Somebody else may own it; for who wants to wait.
    Standby(Standby),
}

impl Store {
    /// Takes a pipeline's checkpoint.
    ///
    /// # Errors
    /// [`CheckpointError`]: another process has the file, or the place cannot be read or written.
    pub async fn open(
        place: &CheckpointPlace,
        pipeline: &str,
        clock: Clock,
    ) -> Result<Opening, CheckpointError> {
        let bucket = match place {
            CheckpointPlace::Directory(directory) => {
                let store = FileStore::open(directory, pipeline)?;
                return Ok(Opening::Owned(Store::File(Arc::new(store))));
            }
            CheckpointPlace::Bucket { kind, url, folder } => {
                in_bucket((*kind, url, folder), pipeline, clock)?
            }
        };
        let mut standby = Standby::new(bucket);
        Ok(match standby.attempt().await? {
            Some(store) => Opening::Owned(store.into()),
            None => Opening::Standby(standby),
        })
    }

    /// Reads a pipeline's checkpoint, whoever owns it; `None` if there is none yet.
    ///
    /// # Errors
    /// [`CheckpointError`]: the place cannot be read, or what is there is none of this version's.
    pub async fn peek(
        place: &CheckpointPlace,
        pipeline: &str,
        clock: Clock,
    ) -> Result<Option<Checkpoint>, CheckpointError> {
        match place {
            CheckpointPlace::Directory(directory) => {
                let (directory, pipeline) = (directory.clone(), pipeline.to_owned());
                let reading = task::blocking("checkpoint", move || file::peek(&directory, &pipeline));
                reading.join().await?
            }
            CheckpointPlace::Bucket { kind, url, folder } => {
                in_bucket((*kind, url, folder), pipeline, clock)?.peek().await
            }
        }
    }

    /// The checkpoint; `None` if there is none yet.
    ///
    /// # Errors
    /// [`CheckpointError`] if there is one that this process must not or cannot use.
    pub async fn load(&self) -> Result<Option<Checkpoint>, CheckpointError> {
        match self {
            Store::File(file) => {
                let file = Arc::clone(file);
                task::blocking("checkpoint", move || file.load()).join().await?
            }
            Store::Bucket(bucket) => Ok(bucket.load().await),
        }
    }

    /// Replaces the checkpoint: when this returns, the new one is kept; whenever it is cut short, the
    /// old one or the new one is.
    ///
    /// # Errors
    /// [`CheckpointError`]: it cannot be written, or another process owns the pipeline by now.
    pub async fn save(&self, checkpoint: Checkpoint) -> Result<(), CheckpointError> {
        match self {
            Store::File(file) => {
                let file = Arc::clone(file);
                task::blocking("checkpoint", move || file.save(checkpoint))
                    .join()
                    .await?
            }
            Store::Bucket(bucket) => bucket.save(checkpoint).await,
        }
    }

    /// How often it may be written without a special reason: each write to a bucket is billed.
    pub fn pace(&self) -> Duration {
        match self {
            Store::File(_) => Duration::from_secs(1),
            Store::Bucket(_) => RENEWED,
        }
    }

    /// Waits until another process has taken the pipeline over; for a file, that cannot be.
    pub async fn lost(&self) -> CheckpointError {
        match self {
            Store::File(_) => std::future::pending().await,
            Store::Bucket(bucket) => bucket.lost().await,
        }
    }

    /// Lets another process have it at once.
    pub async fn release(&self) {
        if let Store::Bucket(bucket) = self
            && let Err(error) = bucket.release().await
        {
            tracing::warn!(error = %crate::fault::chain(&error), "the checkpoint's lease was not given up: it ends by itself");
        }
    }
}

impl From<BucketStore> for Store {
    fn from(store: BucketStore) -> Store {
        Store::Bucket(Arc::new(store))
    }
}

fn in_bucket(
    (kind, url, folder): (BucketKind, &str, &str),
    pipeline: &str,
    clock: Clock,
) -> Result<Bucket, CheckpointError> {
    let place = format!("{}/{pipeline}.json", url.trim_end_matches('/'));
    let objects = client(kind, url).map_err(|error| CheckpointError::remote("open", &place, error))?;
    Ok(Bucket::new(objects, &Path::from(folder), place, pipeline, clock))
}

/// A client that finds its credentials as the cloud's own tools do.
fn client(kind: BucketKind, url: &str) -> Result<Arc<dyn ObjectStore>, object_store::Error> {
    // Another part of the process may have chosen a provider before; either serves.
    let _chosen = rustls::crypto::ring::default_provider().install_default();
    Ok(match kind {
        BucketKind::S3 => {
            let builder = AmazonS3Builder::from_env().with_url(url);
            // Only a server named by the environment can be without TLS: one that stands in for S3.
            Arc::new(builder.with_allow_http(true).build()?)
        }
        BucketKind::Gcs => Arc::new(GoogleCloudStorageBuilder::from_env().with_url(url).build()?),
    })
}
