//! What each path answers.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;

use super::{About, Shared, requests};
use crate::fault::chain;
use crate::status::{PartView, StatusView};

/// Silence after which the runtime counts as stuck, microseconds.
const STUCK_MICROS: i64 = 30_000_000;

/// One file, nothing from elsewhere; the header holds the browser to that.
const PAGE: &str = include_str!("page.html");
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      connect-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'";

/// All paths.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/api/status", get(status))
        .route("/api/schema-changes", get(schema_changes))
        .route("/api/resync/{table}", post(requests::resync))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(shared)
}

#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    about: &'a About,
    #[serde(flatten)]
    view: StatusView,
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    problems: Vec<String>,
    parts: Vec<PartView>,
}

async fn page() -> Response {
    (
        [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::CACHE_CONTROL, "no-cache"),
        ],
        PAGE,
    )
        .into_response()
}

async fn status(State(shared): State<Arc<Shared>>) -> Response {
    let whole = Whole {
        about: &shared.about,
        view: shared.status.view(&shared.clock),
    };
    ([(header::CACHE_CONTROL, "no-store")], Json(whole)).into_response()
}

/// How many changes are shown.
const CHANGES: u32 = 200;

/// How long the target may take to tell them.
const TELLING: Duration = Duration::from_secs(60);

async fn schema_changes(State(shared): State<Arc<Shared>>) -> Response {
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    let told = tokio::select! {
        told = shared.steering.schema_changes(CHANGES) => told,
        () = shared.clock.sleep(TELLING) => {
            return (StatusCode::GATEWAY_TIMEOUT, no_store, "the target did not answer in time\n").into_response();
        }
    };
    match told {
        Some(Ok(changes)) => (no_store, Json(serde_json::json!({ "changes": changes }))).into_response(),
        Some(Err(error)) => {
            let text = format!("the target cannot be asked: {}\n", chain(&*error));
            (StatusCode::BAD_GATEWAY, no_store, text).into_response()
        }
        None => {
            let text = "the pipeline does not run; ask again once it does\n";
            (StatusCode::SERVICE_UNAVAILABLE, no_store, text).into_response()
        }
    }
}

async fn livez(State(shared): State<Arc<Shared>>) -> Response {
    match shared.runtime.silence(&shared.clock) {
        Some(silence) if silence <= STUCK_MICROS => (StatusCode::OK, "live\n").into_response(),
        Some(_) | None => (StatusCode::SERVICE_UNAVAILABLE, "the runtime is stuck\n").into_response(),
    }
}

async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    let view = shared.status.view(&shared.clock);
    let code = if view.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = Json(Ready {
        ready: view.ready,
        problems: view.problems,
        parts: view.parts,
    });
    (code, [(header::CACHE_CONTROL, "no-store")], body).into_response()
}

/// Ages and lags grow by themselves, so they are taken when they are asked for.
async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let view = shared.status.view(&shared.clock);
    metrics::gauge!("replicator_ready").set(if view.ready { 1.0 } else { 0.0 });
    metrics::gauge!("replicator_position_lost").set(if view.position_lost.is_some() { 1.0 } else { 0.0 });
    if let Some(lag) = view.appended_lag_ms {
        metrics::gauge!("replicator_appended_lag_seconds").set(seconds(lag));
    }
    if let Some(kept) = view
        .retention_s
        .map(|kept| Duration::from_secs(kept).as_secs_f64())
    {
        metrics::gauge!("replicator_source_retention_seconds").set(kept);
        metrics::gauge!("replicator_source_retention_used_ratio")
            .set(seconds(view.appended_lag_ms.unwrap_or(0)) / kept);
    }
    if let Some(age) = view.checkpoint_age_ms {
        metrics::gauge!("replicator_checkpoint_age_seconds").set(seconds(age));
    }
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, shared.metrics.render()).into_response()
}

fn seconds(milliseconds: i64) -> f64 {
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0)).as_secs_f64()
}
