//! Tokens that RDS and Aurora take in place of a password: a request `connect` of the service `rds-db`, signed for
//! a quarter of an hour with the process's AWS credentials and never sent anywhere but as the password
//! (<https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.Connecting.html>).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4;
use reqwest::Url;
use tokio::sync::OnceCell;

use crate::aws::{self, KeptCredentials};
use crate::clock::Clock;
use crate::fault::chain;

/// How long the server takes a token; a connection that is open outlives it.
const VALID: Duration = Duration::from_secs(900);

/// Makes tokens for one user of one server.
#[derive(Debug, Clone)]
pub(super) struct Minter {
    host: String,
    port: u16,
    user: String,
    clock: Clock,
    /// Looked for at the first token.
    found: Arc<OnceCell<Found>>,
}

/// What the process's surroundings hold.
#[derive(Debug)]
struct Found {
    region: Option<String>,
    credentials: KeptCredentials,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Neither the host's name nor the surroundings name a region.
    #[error("the AWS region is not known")]
    Region,
    /// The default chain gave nothing.
    #[error("no AWS credentials: {text}")]
    Credentials {
        /// Whether asking again may help.
        transient: bool,
        /// What the chain says.
        text: String,
    },
    /// The request cannot be signed.
    #[error("the token cannot be signed: {0}")]
    Signing(String),
}

impl From<CredentialsError> for TokenError {
    fn from(error: CredentialsError) -> TokenError {
        TokenError::Credentials {
            transient: matches!(
                error,
                CredentialsError::ProviderError(_) | CredentialsError::ProviderTimedOut(_)
            ),
            text: chain(&error),
        }
    }
}

impl Minter {
    /// `host` is the server's name as AWS knows it: a token is for one name.
    pub(super) fn new(host: &str, port: u16, user: &str, clock: Clock) -> Minter {
        Minter {
            host: host.to_owned(),
            port,
            user: user.to_owned(),
            clock,
            found: Arc::default(),
        }
    }

    /// A token that is valid from now on for a quarter of an hour.
    ///
    /// # Errors
    /// There are no credentials, or no region.
    pub(super) async fn token(&self) -> Result<String, TokenError> {
        let found = Box::pin(self.found.get_or_try_init(|| find(&self.clock))).await?;
        let credentials = found.credentials.get().await?;
        let region = region_of(&self.host).or(found.region.as_deref());
        let region = region.ok_or(TokenError::Region)?;
        self.signed(&credentials, region, aws::time(&self.clock))
    }

    fn signed(&self, credentials: &Credentials, region: &str, now: SystemTime) -> Result<String, TokenError> {
        let signing = |error: &dyn std::error::Error| TokenError::Signing(chain(error));
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        let asked = [("Action", "connect"), ("DBUser", &self.user)];
        let address = format!("https://{host}:{}/", self.port);
        let url = Url::parse_with_params(&address, asked).map_err(|error| signing(&error))?;
        // A space, which a query may write as a plus and a signature may not.
        let asked = url.as_str().replace('+', "%20");
        let mut settings = SigningSettings::default();
        settings.expires_in = Some(VALID);
        settings.signature_location = SignatureLocation::QueryParams;
        let identity = credentials.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name("rds-db")
            .time(now)
            .settings(settings)
            .build()
            .map_err(|error| signing(&error))?
            .into();
        let request = SignableRequest::new("GET", &asked, std::iter::empty(), SignableBody::Bytes(&[]))
            .map_err(|error| signing(&error))?;
        let (signature, _) = sign(request, &params)
            .map_err(|error| signing(&error))?
            .into_parts();
        let signed = Url::parse_with_params(&asked, signature.params()).map_err(|error| signing(&error))?;
        let token = signed.as_str().replace('+', "%20");
        Ok(token.trim_start_matches("https://").to_owned())
    }
}

async fn find(clock: &Clock) -> Result<Found, TokenError> {
    let aws = aws::configuration().await;
    let credentials = KeptCredentials::new(&aws, clock.clone());
    Ok(Found {
        region: aws.region().map(ToString::to_string),
        credentials: credentials.ok_or_else(|| TokenError::Credentials {
            transient: false,
            text: "the default chain is empty".to_owned(),
        })?,
    })
}

/// The region in the name of an endpoint: `db.c1x2.eu-west-1.rds.amazonaws.com`, also with `.cn` behind it.
fn region_of(host: &str) -> Option<&str> {
    let host = host.strip_suffix(".cn").unwrap_or(host);
    let (_, region) = host.strip_suffix(".rds.amazonaws.com")?.rsplit_once('.')?;
    Some(region)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::UNIX_EPOCH;

    use super::*;

    /// What `botocore` 1.43 makes of the same at the same time.
    #[test]
    fn a_token_is_what_another_implementation_makes() {
        let host = "shop.cluster-c1x2.eu-west-1.rds.amazonaws.com";
        let minter = Minter::new(host, 3306, "replica tör@x", Clock::real());
        let key = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        let now = UNIX_EPOCH + Duration::from_secs(1_767_323_045);
        for (session, more) in [
            (
                None,
                "X-Amz-Signature=66dbc93316f5774374ad2de906a683d37d9c65d6e4a257cbdafac3b198a8633f",
            ),
            (
                Some("the+session/token==".to_owned()),
                "X-Amz-Security-Token=the%2Bsession%2Ftoken%3D%3D&\
                 X-Amz-Signature=382b3820275f34bc85fdb64dd4594755b132872e7ed2f3910e706b0f53c65691",
            ),
        ] {
            let credentials = Credentials::new("AKIDEXAMPLE", key, session, None, "test");
            let token = minter
                .signed(&credentials, region_of(host).unwrap(), now)
                .unwrap();
            let expected = format!(
                "{host}:3306/?Action=connect&DBUser=replica%20t%C3%B6r%40x&X-Amz-Algorithm=AWS4-HMAC-SHA256&\
                 X-Amz-Credential=AKIDEXAMPLE%2F20260102%2Feu-west-1%2Frds-db%2Faws4_request&\
                 X-Amz-Date=20260102T030405Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host&{more}"
            );
            let parts = |token: &str| {
                token
                    .split(['?', '&'])
                    .map(str::to_owned)
                    .collect::<BTreeSet<_>>()
            };
            assert_eq!(
                parts(&token.replace("%40", "@")),
                parts(&expected.replace("%40", "@"))
            );
        }
    }

    #[test]
    fn an_endpoint_names_its_region() {
        for (host, region) in [
            (
                "shop.cluster-c1x2.ap-northeast-1.rds.amazonaws.com",
                Some("ap-northeast-1"),
            ),
            ("shop.c1x2.cn-north-1.rds.amazonaws.com.cn", Some("cn-north-1")),
            ("db.example.com", None),
            ("rds.amazonaws.com", None),
        ] {
            assert_eq!(region_of(host), region, "{host}");
        }
    }
}
