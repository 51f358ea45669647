//! From the configuration to credentials. The library finds application default credentials by itself, but
//! of AWS it knows only keys in environment variables and EC2; a file that means AWS is therefore read here.

use std::error::Error;
use std::path::PathBuf;

use google_cloud_auth::credentials::{Builder, Credentials, impersonated, service_account};
use serde_json::Value;

use super::aws::Federation;
use crate::clock::Clock;
use crate::config::{Auth, BigQuerySink, Impersonation, process_env};

/// Covers the REST API and the Storage Write API.
const BIGQUERY: &str = "https://www.googleapis.com/auth/bigquery";

/// Covers asking for another account's token.
const PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";

/// Why there are no credentials.
pub(super) type Failure = Box<dyn Error + Send + Sync>;

/// Where credentials come from.
pub(super) struct Origin {
    auth: Auth,
    impersonate: Option<Impersonation>,
    clock: Clock,
}

impl Origin {
    pub(super) fn new(sink: &BigQuerySink, clock: Clock) -> Origin {
        Origin {
            auth: sink.auth.clone(),
            impersonate: sink.impersonate.clone(),
            clock,
        }
    }

    /// Reads what there is now and makes credentials of it; asks nobody yet.
    ///
    /// # Errors
    /// A file cannot be read, or is not what it should be.
    pub(super) fn credentials(&self) -> Result<Credentials, Failure> {
        let Some(impersonation) = &self.impersonate else {
            return self.base(BIGQUERY);
        };
        let mut builder = impersonated::Builder::from_source_credentials(self.base(PLATFORM)?)
            .with_target_principal(&impersonation.account)
            .with_scopes([BIGQUERY]);
        if !impersonation.delegates.is_empty() {
            builder = builder.with_delegates(impersonation.delegates.iter().map(resource));
        }
        Ok(builder.build()?)
    }

    fn base(&self, scope: &str) -> Result<Credentials, Failure> {
        match &self.auth {
            Auth::ServiceAccount(key) => {
                let key: Value = serde_json::from_str(&key.reveal()?)?;
                let scopes = service_account::AccessSpecifier::from_scopes([scope]);
                let builder = service_account::Builder::new(key).with_access_specifier(scopes);
                Ok(builder.build()?)
            }
            Auth::Adc | Auth::None => match named_file().as_ref().and_then(Federation::of) {
                Some(federation) => Ok(federation.credentials(scope, self.clock.clone())?),
                None => Ok(Builder::default().with_scopes([scope]).build()?),
            },
        }
    }
}

/// A delegate as IAM names it
/// (<https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/generateAccessToken>).
fn resource(email: &String) -> String {
    format!("projects/-/serviceAccounts/{email}")
}

/// The file of application default credentials, if there is one and it is JSON; that it should be there
/// or be JSON is for the library to say.
fn named_file() -> Option<Value> {
    let path = match process_env("GOOGLE_APPLICATION_CREDENTIALS") {
        Some(path) => PathBuf::from(path),
        None => {
            PathBuf::from(process_env("HOME")?).join(".config/gcloud/application_default_credentials.json")
        }
    };
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}
