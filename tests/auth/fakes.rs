//! The services that give tokens, and the two of BigQuery that want one. Each looks at what it is asked as
//! the real one does and refuses what is wrong; who holds which token is remembered.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Request, StatusCode, Uri, Version, header};
use axum::response::{IntoResponse, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rcgen::date_time_ymd;
use replicator::clock::Clock;
use serde_json::{Value, json};

use crate::{aws, jwt};

/// The workload identity provider's name.
pub(crate) const AUDIENCE: &str =
    "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/aws/providers/cluster";

pub(crate) const BIGQUERY: &str = "bigquery.googleapis.com";
pub(crate) const STORAGE: &str = "bigquerystorage.googleapis.com";
const SCOPE: &str = "https://www.googleapis.com/auth/bigquery";

/// The names that the fakes answer to.
pub(crate) const NAMES: [&str; 6] = [
    BIGQUERY,
    STORAGE,
    "sts.googleapis.com",
    "iamcredentials.googleapis.com",
    "oauth2.googleapis.com",
    "sts.eu-west-1.amazonaws.com",
];

/// A token that was given out.
#[derive(Clone)]
struct Issued {
    who: String,
    scope: String,
    until: Instant,
}

/// A call to BigQuery that was let in.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) who: String,
    pub(crate) user_project: Option<String>,
}

#[derive(Default)]
pub(crate) struct Seen {
    issued: HashMap<String, Issued>,
    /// Tokens that were signed by who showed them.
    signed: HashSet<String>,
    revoked: HashSet<String>,
    /// Tokens in the order in which they were given out.
    pub(crate) tokens: Vec<String>,
    pub(crate) calls: Vec<Call>,
    /// Calls to BigQuery with a token that is none, any more.
    pub(crate) refused: usize,
    /// Who asked for whose token through whom.
    pub(crate) impersonations: Vec<(String, String, Vec<String>)>,
    /// Tokens of the cluster that are valid now.
    pub(crate) projected: HashSet<String>,
}

/// All of it.
#[derive(Clone)]
pub(crate) struct Fakes {
    seen: Arc<Mutex<Seen>>,
    rest: String,
    write: String,
    lifetime: Duration,
    clock: Clock,
    client: Client<HttpConnector, Body>,
}

impl Fakes {
    /// In front of the local BigQuery, giving out tokens that last for `lifetime`.
    pub(crate) fn new(rest: String, write: String, lifetime: Duration) -> Fakes {
        Fakes {
            seen: Arc::default(),
            rest,
            write,
            lifetime,
            clock: Clock::real(),
            client: Client::builder(TokioExecutor::new())
                .http2_only(true)
                .build_http(),
        }
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    /// Makes every token that was given out or shown invalid.
    pub(crate) fn revoke(&self) {
        let mut seen = self.seen();
        let known = seen.tokens.iter().chain(&seen.signed).cloned().collect();
        seen.revoked = known;
    }

    /// How many tokens somebody was given.
    pub(crate) fn given_to(&self, who: &str) -> usize {
        self.seen()
            .issued
            .values()
            .filter(|issued| issued.who == who)
            .count()
    }

    /// How many append streams somebody opened.
    pub(crate) fn streams_of(&self, who: &str) -> usize {
        let seen = self.seen();
        let calls = seen.calls.iter().filter(|call| call.who == who);
        calls.filter(|call| call.path.ends_with("/AppendRows")).count()
    }

    fn issue(&self, who: &str, scope: &str) -> String {
        let mut seen = self.seen();
        let token = format!("ya29.{:0>4}{}", seen.tokens.len(), "Tk".repeat(60));
        let issued = Issued {
            who: who.to_owned(),
            scope: scope.to_owned(),
            until: self.clock.now() + self.lifetime,
        };
        seen.issued.insert(token.clone(), issued);
        seen.tokens.push(token.clone());
        token
    }

    /// Whose token the call carries, and for what it is good.
    fn caller(&self, headers: &HeaderMap) -> Option<(String, String)> {
        let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let token = value.strip_prefix("Bearer ")?;
        let mut seen = self.seen();
        if seen.revoked.contains(token) {
            return None;
        }
        if token.starts_with("eyJ") {
            seen.signed.insert(token.to_owned());
            return jwt::caller(token, &self.clock);
        }
        let issued = seen.issued.get(token).cloned()?;
        (issued.until > self.clock.now()).then_some((issued.who, issued.scope))
    }
}

pub(crate) async fn answer(State(fakes): State<Fakes>, request: Request<Body>) -> Response {
    let host = request
        .uri()
        .host()
        .or_else(|| {
            let host = request.headers().get(header::HOST)?.to_str().ok()?;
            host.split(':').next()
        })
        .unwrap_or_default()
        .to_owned();
    if host == BIGQUERY || host == STORAGE {
        return bigquery(&fakes, &host, request).await;
    }
    let (parts, body) = request.into_parts();
    let asked = Asked {
        method: parts.method,
        uri: parts.uri,
        headers: parts.headers,
        body: to_bytes(body, 1 << 20).await.unwrap(),
    };
    let found = match host.as_str() {
        "sts.googleapis.com" => exchange(&fakes, &asked),
        "iamcredentials.googleapis.com" => impersonate(&fakes, &asked),
        "oauth2.googleapis.com" => refresh(&fakes, &asked),
        "sts.eu-west-1.amazonaws.com" => aws::assume(&asked, &fakes.seen().projected),
        _ if asked.uri.path().starts_with("/computeMetadata/") => metadata(&fakes, &asked),
        _ => aws::credentials(&asked),
    };
    found.unwrap_or_else(|| (StatusCode::NOT_FOUND, "no such thing").into_response())
}

/// A request to a service that gives tokens.
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The fields of a form, or of an object that stands for one.
    pub(crate) fn form(&self) -> HashMap<String, String> {
        if let Ok(Value::Object(fields)) = serde_json::from_slice(&self.body) {
            let texts = fields.into_iter();
            return texts
                .filter_map(|(name, value)| Some((name, value.as_str()?.to_owned())))
                .collect();
        }
        let text = std::str::from_utf8(&self.body).unwrap_or_default();
        let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .map(|(name, value)| (aws::decoded(name), aws::decoded(value)))
            .collect()
    }
}

fn refusal(status: StatusCode, body: &Value) -> Option<Response> {
    Some((status, body.to_string()).into_response())
}

/// Google's token exchange (<https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token>).
fn exchange(fakes: &Fakes, asked: &Asked) -> Option<Response> {
    let form = asked.form();
    let field = |name: &str| form.get(name).map_or("", String::as_str);
    let subject = field("subject_token").to_owned();
    let wrong = |error: &str| {
        // What a careless server might say.
        let body =
            json!({ "error": error, "error_description": "it is not accepted", "subject_token": subject });
        refusal(StatusCode::BAD_REQUEST, &body)
    };
    if asked.method != Method::POST || asked.uri.path() != "/v1/token" {
        return None;
    }
    if field("grant_type") != "urn:ietf:params:oauth:grant-type:token-exchange"
        || field("requested_token_type") != "urn:ietf:params:oauth:token-type:access_token"
    {
        return wrong("invalid_request");
    }
    if field("audience") != AUDIENCE {
        return wrong("invalid_target");
    }
    let who = match field("subject_token_type") {
        "urn:ietf:params:oauth:token-type:jwt" if fakes.seen().projected.contains(&subject) => {
            "the cluster".to_owned()
        }
        "urn:ietf:params:aws:token-type:aws4_request" => match aws::asker(&subject, AUDIENCE) {
            Ok(who) => who,
            Err(_) => return wrong("invalid_grant"),
        },
        _ => return wrong("invalid_grant"),
    };
    let token = fakes.issue(&who, field("scope"));
    let body = json!({
        "access_token": token, "token_type": "Bearer", "expires_in": fakes.lifetime.as_secs(),
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
    });
    refusal(StatusCode::OK, &body)
}

/// `generateAccessToken` of the IAM Credentials API.
fn impersonate(fakes: &Fakes, asked: &Asked) -> Option<Response> {
    let account = asked
        .uri
        .path()
        .strip_prefix("/v1/projects/-/serviceAccounts/")?
        .strip_suffix(":generateAccessToken")?;
    let forbidden =
        json!({ "error": { "code": 403, "status": "PERMISSION_DENIED", "message": "no token creator" } });
    let (who, scope) = match fakes.caller(&asked.headers) {
        Some((who, scope)) if scope.contains("/auth/iam") || scope.contains("/auth/cloud-platform") => {
            (who, scope)
        }
        _ => return refusal(StatusCode::FORBIDDEN, &forbidden),
    };
    drop(scope);
    let body: Value = serde_json::from_slice(&asked.body).unwrap();
    let delegates = body["delegates"].as_array().cloned().unwrap_or_default();
    let delegates = delegates
        .iter()
        .map(|it| it.as_str().unwrap().to_owned())
        .collect();
    fakes
        .seen()
        .impersonations
        .push((who, account.to_owned(), delegates));
    let token = fakes.issue(account, body["scope"][0].as_str().unwrap());
    let until = fakes.clock.unix_seconds() + fakes.lifetime.as_secs();
    let until = date_time_ymd(1970, 1, 1) + Duration::from_secs(until);
    let (month, day) = (u8::from(until.month()), until.day());
    let (hour, minute, second) = until.to_hms();
    let until = format!(
        "{}-{month:0>2}-{day:0>2}T{hour:0>2}:{minute:0>2}:{second:0>2}Z",
        until.year()
    );
    let body = json!({ "accessToken": token, "expireTime": until });
    refusal(StatusCode::OK, &body)
}

/// The refresh of a user's token (<https://datatracker.ietf.org/doc/html/rfc6749#section-6>).
fn refresh(fakes: &Fakes, asked: &Asked) -> Option<Response> {
    let form = asked.form();
    let right = form.get("grant_type").is_some_and(|it| it == "refresh_token")
        && form.get("client_secret").is_some_and(|it| it == CLIENT_SECRET)
        && form.get("refresh_token").is_some_and(|it| it == REFRESH_TOKEN);
    if !right {
        return refusal(StatusCode::BAD_REQUEST, &json!({ "error": "invalid_grant" }));
    }
    let scope = form.get("scopes").or_else(|| form.get("scope"));
    let scope = scope.map_or("https://www.googleapis.com/auth/cloud-platform", String::as_str);
    let token = fakes.issue("a user", scope);
    let body =
        json!({ "access_token": token, "token_type": "Bearer", "expires_in": fakes.lifetime.as_secs() });
    refusal(StatusCode::OK, &body)
}

pub(crate) const CLIENT_SECRET: &str = "GOCSPX-cl1ent-s3cret";
pub(crate) const REFRESH_TOKEN: &str = "1//r3fresh-t0ken-of-a-user";

/// Google's metadata server (<https://cloud.google.com/compute/docs/metadata/overview>).
fn metadata(fakes: &Fakes, asked: &Asked) -> Option<Response> {
    if asked.header("metadata-flavor") != Some("Google") {
        return refusal(StatusCode::FORBIDDEN, &json!({}));
    }
    asked
        .uri
        .path()
        .strip_suffix("/instance/service-accounts/default/token")?;
    let scope = aws::decoded(asked.uri.query().unwrap_or_default());
    let token = fakes.issue("the node", &scope);
    let body =
        json!({ "access_token": token, "token_type": "Bearer", "expires_in": fakes.lifetime.as_secs() });
    refusal(StatusCode::OK, &body)
}

/// BigQuery: who has a token for it is let through to the local one.
async fn bigquery(fakes: &Fakes, host: &str, mut request: Request<Body>) -> Response {
    let grpc = host == STORAGE;
    let caller = fakes.caller(request.headers());
    let Some((who, _)) = caller.filter(|(_, scope)| scope.contains(SCOPE)) else {
        fakes.seen().refused += 1;
        let body = json!({ "error": { "code": 401, "message": "Invalid Credentials", "errors": [{ "reason": "authError" }] } });
        return if grpc {
            let headers = [("content-type", "application/grpc"), ("grpc-status", "16")];
            (headers, "").into_response()
        } else {
            (StatusCode::UNAUTHORIZED, body.to_string()).into_response()
        };
    };
    let project = request.headers().get("x-goog-user-project");
    let call = Call {
        host: host.to_owned(),
        path: request.uri().path().to_owned(),
        who,
        user_project: project.map(|value| value.to_str().unwrap().to_owned()),
    };
    fakes.seen().calls.push(call);
    let base = if grpc { &fakes.write } else { &fakes.rest };
    let rest = request.uri().path_and_query().unwrap();
    *request.uri_mut() = format!("{base}{rest}").parse().unwrap();
    *request.version_mut() = Version::HTTP_2;
    for name in [header::HOST, header::CONNECTION, header::AUTHORIZATION] {
        request.headers_mut().remove(name);
    }
    match fakes.client.request(request).await {
        Ok(response) => response.map(Body::new),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}
