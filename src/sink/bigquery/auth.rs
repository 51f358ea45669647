//! What every call carries: where it goes, and a token. The credentials renew a token some minutes before
//! its end, so that asking for one costs nothing and a stream that is opened late has a token that is valid;
//! a token that is refused before its end is dropped together with the credentials that gave it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use google_cloud_auth::credentials::{CacheableResource, Credentials};
use google_cloud_auth::errors::CredentialsError;
use http::{Extensions, HeaderMap};
use tonic::metadata::MetadataMap;

use super::error::Error;
use crate::clock::Clock;
use crate::config::{Auth, BigQuerySink};

mod aws;
mod origin;
mod shown;

use origin::{Failure, Origin};
use shown::shown;

/// How long a token service may take. The library's client waits for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a new token is not replaced, though it was refused: first, and at most after several in a row.
const YOUTH: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));

/// After so long without a refusal the next one counts as the first.
const CALM: Duration = Duration::from_secs(900);

/// Which credentials a token is from: each connection may say of one token that it was refused, and only
/// the first of them has a new one made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Generation(u64);

/// What shows who calls.
#[derive(Debug, Default)]
pub(super) struct Bearer {
    /// `authorization` and, if the credentials name a project for quotas, `x-goog-user-project`.
    pub(super) headers: HeaderMap,
    pub(super) generation: Generation,
}

/// Where tokens come from.
#[derive(Clone)]
pub(super) enum Tokens {
    Google(Arc<Google>),
    None,
}

/// Credentials, and how to make new ones.
pub(super) struct Google {
    make: Box<dyn Fn() -> Result<Credentials, Failure> + Send + Sync>,
    clock: Clock,
    current: Mutex<Current>,
}

#[derive(Default)]
struct Current {
    /// `None` after they were refused, failed for good or said nothing.
    credentials: Option<Credentials>,
    generation: Generation,
    /// When they were last made anew because a token was refused, and for how long that is not repeated.
    renewed: Option<(Instant, Duration)>,
}

/// Some of the credentials print what is in them.
impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Tokens::Google(_) => "Google",
            Tokens::None => "None",
        })
    }
}

impl Tokens {
    /// Finds the credentials. To be called within a runtime.
    ///
    /// # Errors
    /// There are none, or they cannot be read.
    pub(super) fn new(sink: &BigQuerySink, clock: Clock) -> Result<Tokens, Error> {
        if sink.auth == Auth::None {
            return Ok(Tokens::None);
        }
        let origin = Origin::new(sink, clock.clone());
        Tokens::of(clock, move || origin.credentials())
    }

    fn of(
        clock: Clock,
        make: impl Fn() -> Result<Credentials, Failure> + Send + Sync + 'static,
    ) -> Result<Tokens, Error> {
        let google = Google {
            make: Box::new(make),
            clock,
            current: Mutex::default(),
        };
        google.credentials()?;
        Ok(Tokens::Google(Arc::new(google)))
    }

    /// What the next call carries; empty where no token is needed.
    ///
    /// # Errors
    /// No token could be had.
    pub(super) async fn bearer(&self) -> Result<Bearer, Error> {
        let Tokens::Google(google) = self else {
            return Ok(Bearer::default());
        };
        let (credentials, generation) = google.credentials()?;
        let answer = tokio::select! {
            answer = credentials.headers(Extensions::new()) => answer,
            () = google.clock.sleep(PATIENCE) => {
                google.forget(generation);
                return Err(Error::Token {
                    transient: true,
                    source: format!("no answer within {} s", PATIENCE.as_secs()).into(),
                });
            }
        };
        let failure = match answer {
            Ok(CacheableResource::New { data, .. }) => {
                return Ok(Bearer {
                    headers: data,
                    generation,
                });
            }
            Ok(CacheableResource::NotModified) => {
                CredentialsError::from_msg(false, "no token where one was asked for")
            }
            Err(failure) => failure,
        };
        if !failure.is_transient() {
            // They would repeat it for ever, though a file may have been replaced since.
            google.forget(generation);
        }
        Err(Error::Token {
            transient: failure.is_transient(),
            source: shown(&failure).into(),
        })
    }

    /// Makes the next call ask for a new token, because one of these credentials' was refused. A token that was just
    /// made is kept: it may not be known everywhere yet, or it is not the token that is at fault.
    pub(super) fn refused(&self, generation: Generation) {
        if let Tokens::Google(google) = self
            && google.renew(generation)
        {
            tracing::warn!("the access token was refused, the next call asks for a new one");
        }
    }
}

impl Google {
    fn credentials(&self) -> Result<(Credentials, Generation), Error> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(credentials) = &current.credentials {
            return Ok((credentials.clone(), current.generation));
        }
        let made = (self.make)().map_err(|failure| Error::Token {
            transient: false,
            source: shown(&*failure).into(),
        })?;
        current.credentials = Some(made.clone());
        current.generation.0 += 1;
        Ok((made, current.generation))
    }

    /// Drops the credentials if they are still these and not young; says whether it did.
    fn renew(&self, generation: Generation) -> bool {
        let now = self.clock.now();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let is_young = current.renewed.is_some_and(|(at, youth)| now < at + youth);
        if current.generation != generation || current.credentials.is_none() || is_young {
            return false;
        }
        let youth = match current.renewed {
            Some((at, youth)) if now < at + CALM => (youth * 2).min(YOUTH.1),
            Some(_) | None => YOUTH.0,
        };
        current.renewed = Some((now, youth));
        current.credentials = None;
        true
    }

    /// Drops the credentials if they are still these; says whether they were.
    fn forget(&self, generation: Generation) -> bool {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.generation == generation && current.credentials.take().is_some()
    }
}

/// Adds what every call carries: where it goes (percent-encoded but for `/`, AIP-4222) and who calls.
pub(super) fn address(metadata: &mut MetadataMap, key: &str, resource: &str, bearer: Bearer) {
    let mut headers = std::mem::take(metadata).into_headers();
    headers.extend(bearer.headers);
    *metadata = MetadataMap::from_headers(headers);
    if let Ok(value) = format!("{key}={}", percent_encoded(resource)).parse() {
        metadata.insert("x-goog-request-params", value);
    }
}

/// All but RFC 3986's unreserved characters and `/` as `%XX`.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests;
