use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use google_cloud_auth::credentials::{CredentialsProvider, EntityTag, mds};
use serde_json::json;

use super::*;
use crate::fault::Classify;
use crate::task::{self, Task};

#[test]
fn routing_headers_are_percent_encoded() {
    let mut metadata = MetadataMap::new();
    let bearer = Bearer::default();
    address(&mut metadata, "write_stream", "projects/example.com:p/x", bearer);
    assert_eq!(
        metadata.get("x-goog-request-params").unwrap(),
        "write_stream=projects/example.com%3Ap/x"
    );
}

/// Credentials whose token is their number.
#[derive(Debug)]
struct Numbered(usize);

impl CredentialsProvider for Numbered {
    async fn headers(&self, _: Extensions) -> Result<CacheableResource<HeaderMap>, CredentialsError> {
        let token = format!("Bearer {}", self.0).parse().unwrap();
        Ok(CacheableResource::New {
            entity_tag: EntityTag::new(),
            data: HeaderMap::from_iter([(http::header::AUTHORIZATION, token)]),
        })
    }

    async fn universe_domain(&self) -> Option<String> {
        None
    }
}

impl Tokens {
    /// Tokens that tell which credentials they are from, by the number that their making gave.
    pub(in crate::sink::bigquery) fn numbered(
        clock: Clock,
        number: impl Fn() -> usize + Send + Sync + 'static,
    ) -> Tokens {
        Tokens::of(clock, move || Ok(Credentials::from(Numbered(number())))).unwrap()
    }
}

/// A metadata server: how it fails the first who asks, and how many have asked.
#[derive(Clone)]
struct Service {
    first: Option<StatusCode>,
    asked: Arc<AtomicUsize>,
}

/// The first answer is the status, or none at all; the others are numbered tokens.
async fn answer(State(service): State<Service>) -> Response {
    let number = service.asked.fetch_add(1, Ordering::SeqCst);
    match service.first {
        None if number == 0 => std::future::pending().await,
        Some(status) if number == 0 && status != StatusCode::OK => status.into_response(),
        Some(_) | None => {
            let token =
                json!({ "access_token": format!("t{number}"), "token_type": "Bearer", "expires_in": 3600 });
            token.to_string().into_response()
        }
    }
}

struct World {
    tokens: Tokens,
    clock: Clock,
    asked: Arc<AtomicUsize>,
    _server: Task<()>,
}

async fn world(first: Option<StatusCode>) -> World {
    let _chosen = rustls::crypto::ring::default_provider().install_default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let service = Service {
        first,
        asked: Arc::clone(&asked),
    };
    let app = Router::new().fallback(answer).with_state(service);
    let clock = Clock::manual();
    let make = move || Ok(mds::Builder::default().with_endpoint(url.clone()).build()?);
    World {
        tokens: Tokens::of(clock.clone(), make).unwrap(),
        clock,
        asked,
        _server: task::spawn(
            "metadata",
            async move { axum::serve(listener, app).await.unwrap() },
        ),
    }
}

/// The token that is carried, and which credentials it is from.
async fn token(tokens: &Tokens) -> (String, Generation) {
    let bearer = tokens.bearer().await.unwrap();
    let value = bearer.headers["authorization"].to_str().unwrap().to_owned();
    (value, bearer.generation)
}

#[tokio::test]
async fn a_token_that_many_were_refused_with_is_replaced_once() {
    let world = world(Some(StatusCode::OK)).await;
    let (first, generation) = token(&world.tokens).await;
    assert_eq!(
        (first.as_str(), token(&world.tokens).await.0.as_str()),
        ("Bearer t0", "Bearer t0")
    );
    for _ in 0..3 {
        world.tokens.refused(generation);
        assert_eq!(token(&world.tokens).await.0, "Bearer t1");
    }
    assert_eq!(world.asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_token_that_was_just_made_is_not_replaced() {
    let world = world(Some(StatusCode::OK)).await;
    let mut tokens = Vec::new();
    for _ in 0..120 {
        let (token, generation) = token(&world.tokens).await;
        tokens.push(token);
        world.tokens.refused(generation);
        world.clock.advance(Duration::from_secs(1));
    }
    tokens.dedup();
    // One at once, the others after 10, 20 and 40 seconds.
    assert_eq!(tokens, [0, 1, 2, 3, 4].map(|number| format!("Bearer t{number}")));
    world.clock.advance(CALM);
    for expected in ["Bearer t4", "Bearer t5"] {
        let (token, generation) = token(&world.tokens).await;
        assert_eq!(token, expected);
        world.tokens.refused(generation);
    }
}

#[tokio::test]
async fn credentials_that_failed_for_good_are_made_anew() {
    let world = world(Some(StatusCode::FORBIDDEN)).await;
    let error = world.tokens.bearer().await.unwrap_err();
    assert!(
        matches!(error, Error::Token { transient: false, .. }),
        "{error:?}"
    );
    assert!(error.hint().unwrap().contains("docs/operations.md"));
    assert_eq!(token(&world.tokens).await.0, "Bearer t1");
}

#[tokio::test]
async fn a_token_service_that_says_nothing_is_asked_again() {
    let world = world(None).await;
    let asking = tokio::join!(world.tokens.bearer(), async {
        while world.asked.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        world.clock.advance(PATIENCE);
    });
    let error = asking.0.unwrap_err();
    assert!(matches!(error, Error::Token { transient: true, .. }), "{error:?}");
    assert_eq!(token(&world.tokens).await.0, "Bearer t1");
}
