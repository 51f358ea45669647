//! Workload identity federation from AWS: a request "who am I?" to AWS's token service, signed with what the
//! AWS SDK's default chain finds (environment, profile, web identity, container, instance), is handed to
//! Google, which sends it and so learns the role (<https://google.aip.dev/auth/4117>). The chain is asked
//! anew for each exchange, which happens about once an hour.

use std::sync::Arc;

use aws_config::SdkConfig;
use aws_credential_types::provider::ProvideCredentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use google_cloud_auth::build_errors::Error as BuildError;
use google_cloud_auth::credentials::Credentials;
use google_cloud_auth::credentials::external_account::ProgrammaticBuilder;
use google_cloud_auth::credentials::subject_token::{self, SubjectToken, SubjectTokenProvider};
use google_cloud_auth::errors::SubjectTokenProviderError;
use http::Uri;
use serde::Deserialize;
use serde_json::{Value, json};

use super::percent_encoded;
use crate::aws;
use crate::clock::Clock;
use crate::fault::chain;

/// What Google sends, unless the file of credentials says otherwise.
const QUESTION: &str = "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15";

/// A file of credentials as `gcloud iam workload-identity-pools create-cred-config --aws` makes it, the
/// addresses of EC2's metadata service left out: the AWS SDK knows them.
#[derive(Deserialize)]
pub(super) struct Federation {
    audience: String,
    subject_token_type: String,
    token_url: String,
    service_account_impersonation_url: Option<String>,
    quota_project_id: Option<String>,
    universe_domain: Option<String>,
    credential_source: CredentialSource,
}

#[derive(Deserialize)]
struct CredentialSource {
    environment_id: String,
    regional_cred_verification_url: Option<String>,
}

impl Federation {
    /// The file's content, if it means AWS.
    pub(super) fn of(file: &Value) -> Option<Federation> {
        if file.get("type")?.as_str()? != "external_account" {
            return None;
        }
        let federation = Federation::deserialize(file).ok()?;
        let environment = &federation.credential_source.environment_id;
        environment.starts_with("aws").then_some(federation)
    }

    /// # Errors
    /// A field that the library needs is not as it should be.
    pub(super) fn credentials(self, scope: &str, clock: Clock) -> Result<Credentials, BuildError> {
        let source = self.credential_source;
        let caller = Caller {
            audience: self.audience.clone(),
            question: source
                .regional_cred_verification_url
                .unwrap_or_else(|| QUESTION.to_owned()),
            clock,
        };
        let mut builder = ProgrammaticBuilder::new(Arc::new(caller))
            .with_audience(self.audience)
            .with_subject_token_type(self.subject_token_type)
            .with_token_url(self.token_url)
            .with_scopes([scope]);
        if let Some(account) = self
            .service_account_impersonation_url
            .as_deref()
            .and_then(account)
        {
            builder = builder.with_target_principal(account);
        }
        if let Some(project) = self.quota_project_id {
            builder = builder.with_quota_project_id(project);
        }
        if let Some(domain) = self.universe_domain {
            builder = builder.with_universe_domain(domain);
        }
        builder.build()
    }
}

/// The account in `https://…/serviceAccounts/ACCOUNT:generateAccessToken`.
fn account(url: &str) -> Option<&str> {
    let (_, rest) = url.rsplit_once("/serviceAccounts/")?;
    rest.strip_suffix(":generateAccessToken")
}

/// Who the process is at AWS.
#[derive(Debug)]
struct Caller {
    audience: String,
    question: String,
    clock: Clock,
}

/// Why there is no signed question.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallerError {
    #[error("the AWS region is not known: set AWS_REGION")]
    Region,
    #[error("no AWS credentials: {text}")]
    Credentials { transient: bool, text: String },
    #[error("{0:?} is no address of AWS's token service")]
    Question(String),
    #[error("the question to AWS cannot be signed: {0}")]
    Signing(String),
}

impl SubjectTokenProviderError for CallerError {
    fn is_transient(&self) -> bool {
        matches!(self, CallerError::Credentials { transient: true, .. })
    }
}

impl From<CredentialsError> for CallerError {
    fn from(error: CredentialsError) -> CallerError {
        CallerError::Credentials {
            // A metadata service that does not answer yet is as likely as a role that may not be taken.
            transient: matches!(
                error,
                CredentialsError::ProviderError(_) | CredentialsError::ProviderTimedOut(_)
            ),
            text: chain(&error),
        }
    }
}

impl SubjectTokenProvider for Caller {
    type Error = CallerError;

    async fn subject_token(&self) -> Result<SubjectToken, CallerError> {
        let signed = self.signed(&aws::configuration().await).await?;
        let token = percent_encoded(&signed.to_string());
        Ok(subject_token::Builder::new(token).build())
    }
}

impl Caller {
    /// The question, as Google wants it described.
    async fn signed(&self, aws: &SdkConfig) -> Result<Value, CallerError> {
        let region = aws.region().ok_or(CallerError::Region)?.as_ref();
        let provider = aws
            .credentials_provider()
            .ok_or_else(|| CallerError::Credentials {
                transient: false,
                text: "the default chain is empty".to_owned(),
            })?;
        let identity = provider.provide_credentials().await?.into();
        let url = self.question.replace("{region}", region);
        let host = url
            .parse::<Uri>()
            .ok()
            .and_then(|uri| Some(uri.authority()?.as_str().to_owned()))
            .ok_or_else(|| CallerError::Question(url.clone()))?;
        let signing = |error: &dyn std::error::Error| CallerError::Signing(chain(error));
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name("sts")
            .time(aws::time(&self.clock))
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| signing(&error))?
            .into();
        let given = [
            ("host", host.as_str()),
            ("x-goog-cloud-target-resource", self.audience.as_str()),
        ];
        let request = SignableRequest::new("POST", &url, given.into_iter(), SignableBody::Bytes(&[]))
            .map_err(|error| signing(&error))?;
        let (instructions, _) = sign(request, &params)
            .map_err(|error| signing(&error))?
            .into_parts();
        let headers: Vec<Value> = given
            .into_iter()
            .chain(instructions.headers())
            .map(|(key, value)| json!({ "key": key, "value": value }))
            .collect();
        Ok(json!({ "url": url, "method": "POST", "headers": headers, "body": "" }))
    }
}
