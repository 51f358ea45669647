//! What every call to AWS begins with, whichever module makes it: the process's credentials and region as the
//! AWS SDK's default chain finds them (environment, profile, web identity, container, instance), and the time.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;

use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use tokio::sync::Mutex;

use crate::clock::Clock;
use crate::config::DynamodbSource;

/// Credentials that end are asked for anew so long before.
const MARGIN: Duration = Duration::from_secs(300);

/// What the AWS SDK finds in the process's surroundings, over the one TLS and the proxy that all else goes
/// through.
pub async fn configuration() -> SdkConfig {
    surroundings().load().await
}

fn surroundings() -> ConfigLoader {
    let client = aws_smithy_http_client::Builder::new().build_with_connector_fn(|settings, components| {
        let mut builder = Connector::builder()
            .proxy_config(ProxyConfig::from_env())
            .tls_provider(Provider::Rustls(CryptoMode::Ring));
        builder.set_connector_settings(settings.cloned());
        builder.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
        builder.build()
    });
    aws_config::defaults(BehaviorVersion::latest()).http_client(client)
}

/// The clock's time, as signatures want it.
pub fn time(clock: &Clock) -> SystemTime {
    let micros = u64::try_from(clock.unix_micros()).unwrap_or_default();
    UNIX_EPOCH + Duration::from_micros(micros)
}

/// What every call for a source begins with: its region, its endpoint, and the role that it assumes, if it does.
pub async fn of_source(source: &DynamodbSource) -> SdkConfig {
    // Given before the rest is looked for: where nothing names a region, it would be asked of the instance.
    let found = surroundings().region(Region::new(source.region.clone()));
    let mut builder = found.load().await.into_builder();
    if let Some(endpoint) = &source.endpoint {
        builder = builder.endpoint_url(endpoint);
    }
    let configuration = builder.build();
    let Some(role) = &source.role else {
        return configuration;
    };
    let mut assuming = AssumeRoleProvider::builder(&role.arn)
        .session_name("replicator")
        .configure(&configuration);
    if let Some(id) = &role.external_id {
        assuming = assuming.external_id(id);
    }
    let provider = SharedCredentialsProvider::new(assuming.build().await);
    configuration
        .into_builder()
        .credentials_provider(provider)
        .build()
}

/// A provider's credentials, kept until shortly before they end: it may ask a service of AWS at every call.
#[derive(Debug)]
pub struct KeptCredentials {
    provider: SharedCredentialsProvider,
    clock: Clock,
    kept: Mutex<Option<Credentials>>,
}

impl KeptCredentials {
    /// Those that a configuration stands for; `None` if it has no provider.
    pub fn new(aws: &SdkConfig, clock: Clock) -> Option<KeptCredentials> {
        Some(KeptCredentials {
            provider: aws.credentials_provider()?,
            clock,
            kept: Mutex::default(),
        })
    }

    /// Credentials that are valid for a while.
    ///
    /// # Errors
    /// As the provider says.
    pub async fn get(&self) -> Result<Credentials, CredentialsError> {
        let now = time(&self.clock);
        let mut slot = self.kept.lock().await;
        let fresh = |kept: &Credentials| kept.expiry().is_none_or(|end| now + MARGIN < end);
        match &*slot {
            Some(kept) if fresh(kept) => Ok(kept.clone()),
            Some(_) | None => Ok(slot.insert(self.provider.provide_credentials().await?).clone()),
        }
    }
}

/// Credentials of the AWS SDK, for the client of object stores, which has a chain of its own that knows less.
#[derive(Debug)]
pub struct ObjectCredentials(KeptCredentials);

impl ObjectCredentials {
    /// Those that a configuration stands for; `None` if it has no provider.
    pub fn new(aws: &SdkConfig, clock: Clock) -> Option<Arc<ObjectCredentials>> {
        KeptCredentials::new(aws, clock).map(|kept| Arc::new(ObjectCredentials(kept)))
    }
}

#[async_trait::async_trait]
impl CredentialProvider for ObjectCredentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let found = self.0.get().await.map_err(|error| object_store::Error::Generic {
            store: "S3",
            source: Box::new(error),
        })?;
        Ok(Arc::new(AwsCredential {
            key_id: found.access_key_id().to_owned(),
            secret_key: found.secret_access_key().to_owned(),
            token: found.session_token().map(str::to_owned),
        }))
    }
}
