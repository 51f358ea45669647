//! The bucket that exports are written to.

use std::sync::Arc;

use aws_config::SdkConfig;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt};

use super::error::LoadError;
use super::manifest::{self, ManifestError};
use crate::aws::ObjectCredentials;
use crate::clock::Clock;
use crate::config::DynamodbSource;

/// The longest manifest: a line for each of the files of 100 TB.
const MANIFEST: u64 = 512 * 1024 * 1024;

/// A bucket, read only.
#[derive(Debug, Clone)]
pub(super) struct Objects {
    store: Arc<dyn ObjectStore>,
    bucket: String,
}

impl Objects {
    /// The bucket, reached with the source's credentials and at its endpoint.
    ///
    /// # Errors
    /// The settings make no client.
    pub(super) fn new(
        source: &DynamodbSource,
        bucket: &str,
        aws: &SdkConfig,
        clock: Clock,
    ) -> Result<Objects, LoadError> {
        // Another part of the process may have chosen a provider before; either serves.
        let _chosen = rustls::crypto::ring::default_provider().install_default();
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(&source.region);
        if let Some(credentials) = ObjectCredentials::new(aws, clock) {
            builder = builder.with_credentials(credentials);
        }
        if let Some(endpoint) = &source.endpoint {
            builder = builder.with_endpoint(endpoint).with_allow_http(true);
        }
        let store = builder.build().map_err(|source| LoadError::Object {
            bucket: bucket.to_owned(),
            key: String::new(),
            source,
        })?;
        Ok(Objects {
            store: Arc::new(store),
            bucket: bucket.to_owned(),
        })
    }

    fn failed(&self, key: &str, source: Error) -> LoadError {
        LoadError::Object {
            bucket: self.bucket.clone(),
            key: key.to_owned(),
            source,
        }
    }

    /// A manifest, as a whole, held against the checksum beside it if there is one.
    ///
    /// # Errors
    /// It cannot be read, is too large for one, or is not what was written.
    pub(super) async fn manifest(&self, key: &str) -> Result<Bytes, LoadError> {
        let bytes = self.whole(key).await?;
        let checksum = format!("{}.checksum", key.trim_end_matches(".json"));
        let refused = |source| LoadError::Manifest {
            key: key.to_owned(),
            source,
        };
        match self.whole(&checksum).await {
            Ok(sum) => manifest::verify(&bytes, &sum).map_err(refused)?,
            Err(LoadError::Object {
                source: Error::NotFound { .. },
                ..
            }) => tracing::warn!(
                key,
                "the manifest has no checksum; its counts are held against each other"
            ),
            Err(error) => return Err(error),
        }
        Ok(bytes)
    }

    async fn whole(&self, key: &str) -> Result<Bytes, LoadError> {
        let failed = |error| self.failed(key, error);
        let found = self.store.get(&Path::from(key)).await.map_err(failed)?;
        if found.meta.size > MANIFEST {
            return Err(LoadError::Manifest {
                key: key.to_owned(),
                source: ManifestError::Malformed(format!("{} bytes are too many", found.meta.size)),
            });
        }
        found.bytes().await.map_err(failed)
    }

    /// An object piece by piece.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) async fn pieces(
        &self,
        key: &str,
    ) -> Result<BoxStream<'static, Result<Bytes, LoadError>>, LoadError> {
        let found = self
            .store
            .get(&Path::from(key))
            .await
            .map_err(|error| self.failed(key, error))?;
        let (this, key) = (self.clone(), key.to_owned());
        Ok(found
            .into_stream()
            .map(move |piece| piece.map_err(|error| this.failed(&key, error)))
            .boxed())
    }

    /// Whether the bucket can be listed, which tells apart what is not there from what may not be read.
    ///
    /// # Errors
    /// It cannot.
    pub(super) async fn reach(&self, prefix: &str) -> Result<(), LoadError> {
        let folder = Path::from(prefix);
        let first = self.store.list(Some(&folder)).next().await;
        match first {
            None | Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(self.failed(prefix, error)),
        }
    }
}
