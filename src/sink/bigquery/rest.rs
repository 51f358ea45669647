//! The few calls of BigQuery's REST API that there are, with tokens and with repetition where Google
//! documents that a call may be repeated (<https://cloud.google.com/bigquery/docs/error-messages>).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backon::ExponentialBackoff;
use reqwest::{Method, StatusCode, header};
use serde::Deserialize;
use serde_json::Value;
use tonic::Code;

use super::auth::{Bearer, Tokens};
use super::error::Error;
use super::status::Streak;
use super::waits::waits;
use crate::clock::Clock;
use crate::fault::{Classify, Fault, chain};

/// How long a call is repeated.
const PATIENCE: Duration = Duration::from_secs(300);

/// The same before the first answer of all.
const FIRST_PATIENCE: Duration = Duration::from_secs(15);

/// How long a refused token is taken for one that is about to be known.
const GRANTING: Duration = Duration::from_secs(60);

/// How long one attempt may take; queries wait for less than that on the server.
const ATTEMPT: Duration = Duration::from_secs(60);

/// Reasons of refusals that pass by themselves.
const PASSING: [&str; 6] = [
    "backendError",
    "internalError",
    "jobBackendError",
    "jobInternalError",
    "jobRateLimitExceeded",
    "rateLimitExceeded",
];

/// A client.
#[derive(Debug, Clone)]
pub(super) struct Rest {
    http: reqwest::Client,
    base: String,
    tokens: Tokens,
    clock: Clock,
    /// Whether anything has ever answered.
    reached: Arc<AtomicBool>,
}

/// A call.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) method: Method,
    /// Path below `/bigquery/v2/`, with its query.
    pub(super) path: String,
    pub(super) body: Option<Value>,
}

/// An answer other than success that repeating does not change.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// Google's reasons: `notFound`, `duplicate`, `bytesBilledLimitExceeded`, …
    pub(super) reasons: Vec<String>,
    message: String,
    what: String,
}

impl Refusal {
    /// A refusal that an answer of success carries: a query that failed.
    pub(super) fn of_job(call: &Call, errors: &[ErrorItem]) -> Refusal {
        Refusal {
            status: StatusCode::OK,
            reasons: errors.iter().filter_map(|error| error.reason.clone()).collect(),
            message: errors
                .iter()
                .filter_map(|error| error.message.as_deref())
                .collect::<Vec<_>>()
                .join("; "),
            what: call.what(),
        }
    }

    /// Whether the same call may succeed later.
    pub(super) fn passes(&self) -> bool {
        self.status.is_server_error()
            || self.status == StatusCode::TOO_MANY_REQUESTS
            || self.status == StatusCode::REQUEST_TIMEOUT
            || self
                .reasons
                .iter()
                .any(|reason| PASSING.contains(&reason.as_str()))
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        Error::Rest {
            transient: refusal.passes(),
            message: format!("{} {}", refusal.status.as_u16(), refusal.message),
            what: refusal.what,
        }
    }
}

/// One of Google's error descriptions.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ErrorItem {
    pub(super) reason: Option<String>,
    pub(super) message: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct ErrorBody {
    error: ErrorObject,
}

#[derive(Debug, Default, Deserialize)]
struct ErrorObject {
    #[serde(default)]
    message: String,
    #[serde(default)]
    errors: Vec<ErrorItem>,
}

impl Call {
    pub(super) fn get(path: String) -> Call {
        Call {
            method: Method::GET,
            path,
            body: None,
        }
    }

    pub(super) fn delete(path: String) -> Call {
        Call {
            method: Method::DELETE,
            ..Call::get(path)
        }
    }

    pub(super) fn post(path: String, body: Value) -> Call {
        Call {
            method: Method::POST,
            path,
            body: Some(body),
        }
    }

    /// Whether it only asks.
    pub(super) fn is_get(&self) -> bool {
        self.method == Method::GET
    }

    /// Whether it is `jobs.query`, whose body names the job by a `requestId`.
    fn starts_a_job(&self) -> bool {
        self.method == Method::POST && self.path.ends_with("/queries")
    }

    fn what(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// How one attempt failed.
enum Attempt {
    /// With an answer.
    Refused(Refusal, Option<Duration>),
    /// Without one.
    Broken(String),
    Token(Error),
}

impl Rest {
    /// A client for the API at `base`, which does not end in a slash.
    ///
    /// # Errors
    /// [`Error::Client`].
    pub(super) fn new(base: &str, tokens: Tokens, clock: Clock) -> Result<Rest, Error> {
        // Another part of the process may have chosen a provider before; either serves.
        let _chosen = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .timeout(ATTEMPT)
            .connect_timeout(Duration::from_secs(10))
            .user_agent(concat!("replicator/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|source| Error::Client {
                endpoint: base.to_owned(),
                source: source.into(),
            })?;
        Ok(Rest {
            http,
            base: base.to_owned(),
            tokens,
            clock,
            reached: Arc::default(),
        })
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Makes a call, again and again while that may help: for five minutes, but only for seconds as long
    /// as nothing has ever answered here, because then it is the configuration that is wrong.
    ///
    /// # Errors
    /// Outer: no answer, or no token. Inner: the answer was a refusal.
    pub(super) async fn call(&self, call: &Call) -> Result<Result<Value, Refusal>, Error> {
        let began = self.clock.now();
        let mut delays = delays();
        let mut unknown = Streak::default();
        loop {
            let attempt = self.attempt(call).await;
            let is_unknown = matches!(&attempt, Err(Attempt::Refused(refusal, _)) if refusal.status == StatusCode::UNAUTHORIZED);
            let unknown_for = if is_unknown {
                unknown.meet(Code::Unauthenticated, self.clock.now())
            } else {
                unknown.end();
                GRANTING
            };
            let (error, asked) = match attempt {
                Ok(value) => return Ok(Ok(value)),
                Err(Attempt::Refused(refusal, _)) if !refusal.passes() && unknown_for >= GRANTING => {
                    return Ok(Err(refusal));
                }
                // A job that was refused has an end: under the same `requestId` the answer would stay the same.
                Err(Attempt::Refused(refusal, _))
                    if call.starts_a_job() && refusal.status == StatusCode::FORBIDDEN =>
                {
                    return Ok(Err(refusal));
                }
                Err(Attempt::Refused(refusal, asked)) => (refusal.into(), asked),
                Err(Attempt::Token(error)) => match error.fault() {
                    Fault::Transient { .. } => (error, None),
                    Fault::Table(_) | Fault::Fatal => return Err(error),
                },
                Err(Attempt::Broken(message)) => {
                    let error = Error::Rest {
                        what: call.what(),
                        message,
                        transient: true,
                    };
                    (error, None)
                }
            };
            let delay = delays.next().unwrap_or(PATIENCE).max(asked.unwrap_or_default());
            let patience = if self.reached.load(Ordering::Relaxed) {
                PATIENCE
            } else {
                FIRST_PATIENCE
            };
            if self.clock.now().saturating_duration_since(began) + delay > patience {
                return Err(error);
            }
            tracing::warn!(
                error = chain(&error),
                delay_ms = delay.as_millis(),
                "call failed, trying again"
            );
            self.clock.sleep(delay).await;
        }
    }

    /// One attempt; a second one at once where the token was refused, which may have been revoked.
    async fn attempt(&self, call: &Call) -> Result<Value, Attempt> {
        let bearer = self.tokens.bearer().await.map_err(Attempt::Token)?;
        let generation = bearer.generation;
        match self.send(call, bearer).await {
            Err(Attempt::Refused(refusal, _)) if refusal.status == StatusCode::UNAUTHORIZED => {
                self.tokens.refused(generation);
                let bearer = self.tokens.bearer().await.map_err(Attempt::Token)?;
                self.send(call, bearer).await
            }
            other => other,
        }
    }

    async fn send(&self, call: &Call, bearer: Bearer) -> Result<Value, Attempt> {
        let broken = |error: reqwest::Error| Attempt::Broken(chain(&error.without_url()));
        let url = format!("{}/bigquery/v2/{}", self.base, call.path);
        let mut request = self
            .http
            .request(call.method.clone(), url)
            .headers(bearer.headers);
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(broken)?;
        self.reached.store(true, Ordering::Relaxed);
        let status = response.status();
        let asked = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        if status == StatusCode::NO_CONTENT {
            return Ok(Value::Null);
        }
        if status.is_success() {
            return response.json().await.map_err(broken);
        }
        let text = response.text().await.map_err(broken)?;
        let body: ErrorBody = serde_json::from_str(&text).unwrap_or_default();
        let reasons = body.error.errors.into_iter().filter_map(|error| error.reason);
        let refusal = Refusal {
            status,
            reasons: reasons.collect(),
            message: body.error.message,
            what: call.what(),
        };
        Err(Attempt::Refused(refusal, asked))
    }
}

/// Waits between attempts.
pub(super) fn delays() -> ExponentialBackoff {
    waits(Duration::from_millis(500), Duration::from_secs(32))
}
