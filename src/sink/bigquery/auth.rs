//! What every call carries: where it goes, and a token. The credentials keep a token until shortly before its end, so that asking
//! for one costs nothing.

use google_cloud_auth::credentials::{AccessTokenCredentials, Builder};
use google_cloud_auth::errors::CredentialsError;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};

use super::error::Error;
use crate::config;

/// Covers the REST API and the Storage Write API.
const SCOPE: &str = "https://www.googleapis.com/auth/bigquery";

/// Where tokens come from.
#[derive(Debug, Clone)]
pub(super) enum Tokens {
    Google(AccessTokenCredentials),
    None,
}

impl Tokens {
    /// Finds the credentials.
    ///
    /// # Errors
    /// There are none, or they cannot be read.
    pub(super) fn new(auth: config::Auth) -> Result<Tokens, Error> {
        match auth {
            config::Auth::None => Ok(Tokens::None),
            config::Auth::Adc => Builder::default()
                .with_scopes([SCOPE])
                .build_access_token_credentials()
                .map(Tokens::Google)
                .map_err(|source| Error::Token {
                    transient: false,
                    source: source.into(),
                }),
        }
    }

    /// The value of the header `authorization`, if one is to be sent.
    ///
    /// # Errors
    /// No token could be had.
    pub(super) async fn bearer(&self) -> Result<Option<MetadataValue<Ascii>>, Error> {
        let Tokens::Google(credentials) = self else {
            return Ok(None);
        };
        let failed = |source: CredentialsError| Error::Token {
            transient: source.is_transient(),
            source: source.into(),
        };
        let token = credentials.access_token().await.map_err(failed)?;
        let mut value: MetadataValue<Ascii> =
            format!("Bearer {}", token.token)
                .parse()
                .map_err(|_| Error::Token {
                    transient: false,
                    source: "the token is no header value".into(),
                })?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// Adds what every call carries: where it goes (percent-encoded but for `/`, AIP-4222) and who calls.
pub(super) fn address(
    metadata: &mut MetadataMap,
    key: &str,
    resource: &str,
    bearer: Option<MetadataValue<Ascii>>,
) {
    let mut params = format!("{key}=");
    for byte in resource.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                params.push(char::from(byte));
            }
            _ => params.push_str(&format!("%{byte:02X}")),
        }
    }
    if let Ok(value) = params.parse() {
        metadata.insert("x-goog-request-params", value);
    }
    if let Some(bearer) = bearer {
        metadata.insert("authorization", bearer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routing_headers_are_percent_encoded() {
        let mut metadata = MetadataMap::new();
        address(&mut metadata, "write_stream", "projects/example.com:p/x", None);
        assert_eq!(
            metadata.get("x-goog-request-params").unwrap(),
            "write_stream=projects/example.com%3Ap/x"
        );
    }
}
