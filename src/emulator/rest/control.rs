//! What is below `/emulator`: faults, delays and the clock of a running emulator, and what it counted.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Answer, body, no_content};
use crate::emulator::civil;
use crate::emulator::engine::Engine;
use crate::emulator::error::{ApiError, ApiResult};
use crate::emulator::faults::{Call, Effect, Fault};
use crate::emulator::socket::Line;

/// Most that the clock is turned at once: a hundred years.
const MOST_SECONDS: u64 = 100 * 366 * 86_400;

pub(super) fn routes() -> Router<Engine> {
    Router::new()
        .route("/faults", get(faults).post(order).delete(clear))
        .route("/faults/{id}", delete(remove))
        .route("/profile", get(profile).put(set_profile))
        .route("/clock", get(clock))
        .route("/clock/advance", post(advance))
        .route("/audit", get(audit))
}

async fn faults(State(engine): State<Engine>) -> Answer {
    engine.script().list().map(Json)
}

/// One fault, or several as `{"faults": […]}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Several {
    faults: Vec<Fault>,
}

async fn order(State(engine): State<Engine>, bytes: Bytes) -> Answer {
    let asked: Value = body(&bytes)?;
    let faults = if asked.get("faults").is_some() {
        body::<Several>(&bytes)?.faults
    } else {
        vec![body::<Fault>(&bytes)?]
    };
    engine.script().add(faults)?;
    // The storage looks at the script before it does anything: so it notes apply jobs that stand still.
    engine.run(|_| Ok(())).await?;
    engine.script().list().map(Json)
}

async fn clear(State(engine): State<Engine>) -> StatusCode {
    engine.script().clear();
    no_content()
}

async fn remove(State(engine): State<Engine>, Path(id): Path<String>) -> ApiResult<StatusCode> {
    let removed = id.parse().is_ok_and(|id| engine.script().remove(id));
    removed
        .then(no_content)
        .ok_or_else(|| ApiError::not_found(format!("fault {id}")))
}

async fn profile(State(engine): State<Engine>) -> Answer {
    Ok(Json(serde_json::to_value(engine.script().profile())?))
}

/// Members that the body leaves out are the usual profile's.
async fn set_profile(State(engine): State<Engine>, bytes: Bytes) -> Answer {
    engine.script().set_profile(body(&bytes)?);
    profile(State(engine)).await
}

async fn clock(State(engine): State<Engine>) -> Answer {
    let micros = engine.script().clock().unix_micros();
    Ok(Json(json!({
        "unix_micros": micros.to_string(),
        "time": format!("{}Z", civil::datetime_text(micros)),
    })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Turn {
    seconds: u64,
}

async fn advance(State(engine): State<Engine>, bytes: Bytes) -> Answer {
    let Turn { seconds } = body(&bytes)?;
    if seconds > MOST_SECONDS {
        return Err(ApiError::invalid(format!("seconds: at most {MOST_SECONDS}")));
    }
    let before = engine.script().clock().unix_micros();
    engine.script().clock().advance(Duration::from_secs(seconds));
    if seconds > 0 && engine.script().clock().unix_micros() == before {
        return Err(ApiError::invalid("this emulator's clock cannot be turned"));
    }
    clock(State(engine)).await
}

async fn audit(State(engine): State<Engine>) -> Answer {
    let tables = engine.run(|store| Ok(store.audit())).await?;
    let mut all = Map::new();
    for (name, counters) in tables {
        all.insert(name, serde_json::to_value(counters)?);
    }
    Ok(Json(json!({ "tables": all })))
}

/// Lets scripted faults strike calls of the REST API.
pub(super) async fn strike(State(engine): State<Engine>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let call = Call::Rest {
        method: request.method().as_str(),
        path,
    };
    let is_own = path.starts_with("/emulator/") || request.method() == Method::OPTIONS;
    let effect = if is_own {
        None
    } else {
        engine.script().strike(call)
    };
    match effect {
        Some(Effect::Http(http)) => {
            if http.applied {
                let _done = next.run(request).await;
            }
            let message = http.message.clone();
            ApiError {
                code: http.code,
                reason: http.reason.into(),
                message: message.unwrap_or_else(|| "On order of a scripted fault".to_owned()),
            }
            .into_response()
        }
        Some(Effect::Delay(delay)) => {
            let millis = delay.seconds.saturating_mul(1_000);
            engine.script().sleep_ms(millis).await;
            next.run(request).await
        }
        Some(Effect::Cut(cut)) => {
            let line = request.extensions().get::<ConnectInfo<Line>>().cloned();
            if cut.applied {
                let _done = next.run(request).await;
            }
            if let Some(ConnectInfo(line)) = line {
                line.cut();
            }
            ApiError::internal("the connection is cut").into_response()
        }
        Some(
            Effect::Status(_)
            | Effect::End(_)
            | Effect::Hang(_)
            | Effect::RowErrors(_)
            | Effect::Pending(_)
            | Effect::Fail(_)
            | Effect::Stall,
        )
        | None => next.run(request).await,
    }
}
