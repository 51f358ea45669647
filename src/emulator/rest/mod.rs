//! The REST API, version 2: datasets, tables, rows and jobs, at the paths and in the forms of Google's
//! discovery document.

mod control;
mod datasets;
mod jobs;
mod rows;
mod tables;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::engine::Engine;
use super::error::{ApiError, ApiResult};

/// Most bytes of a request's body.
const BODY_BYTES: usize = 32 * 1024 * 1024;

/// The paths, served with and without the prefix `/bigquery/v2`, as clients differ.
pub(super) fn routes(engine: Engine) -> Router {
    let paths = Router::new()
        .route(
            "/projects/{project}/datasets",
            get(datasets::list).post(datasets::insert),
        )
        .route(
            "/projects/{project}/datasets/{dataset}",
            get(datasets::get)
                .patch(datasets::patch)
                .put(datasets::patch)
                .delete(datasets::delete),
        )
        .route(
            "/projects/{project}/datasets/{dataset}/tables",
            get(tables::list).post(tables::insert),
        )
        .route(
            "/projects/{project}/datasets/{dataset}/tables/{table}",
            get(tables::get)
                .patch(tables::patch)
                .put(tables::update)
                .delete(tables::delete),
        )
        .route(
            "/projects/{project}/datasets/{dataset}/tables/{table}/data",
            get(rows::list),
        )
        .route("/projects/{project}/queries", post(jobs::query))
        .route("/projects/{project}/queries/{job}", get(jobs::results))
        .route("/projects/{project}/jobs", get(jobs::list).post(jobs::insert))
        .route("/projects/{project}/jobs/{job}", get(jobs::get))
        .route("/projects/{project}/jobs/{job}/cancel", post(jobs::cancel));
    Router::new()
        .nest("/bigquery/v2", paths.clone())
        .merge(paths)
        .nest("/emulator", control::routes())
        .nest("/emulator/v1", control::routes())
        .fallback(async || ApiError::not_found("the emulator has no such method"))
        .layer(axum::middleware::from_fn_with_state(
            engine.clone(),
            control::strike,
        ))
        .layer(axum::extract::DefaultBodyLimit::max(BODY_BYTES))
        .with_state(engine)
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let code = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (code, axum::Json(self.to_body())).into_response()
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> ApiError {
        ApiError::invalid(rejection.body_text())
    }
}

/// An answer with a JSON body.
pub(super) type Answer = ApiResult<axum::Json<Value>>;

/// Query parameters of a request.
pub(super) type Parameters<T> = Result<axum::extract::Query<T>, QueryRejection>;

/// A query parameter that is true or false, in any case: Python's clients write `True`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Flag(bool);

impl TryFrom<String> for Flag {
    type Error = String;

    fn try_from(text: String) -> Result<Flag, String> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" => Ok(Flag(true)),
            "false" | "0" => Ok(Flag(false)),
            _ => Err(format!("{text} is neither true nor false")),
        }
    }
}

impl From<Flag> for bool {
    fn from(flag: Flag) -> bool {
        flag.0
    }
}

/// Reads a JSON body, whatever its content type says.
pub(super) fn body<T: DeserializeOwned>(bytes: &Bytes) -> ApiResult<T> {
    serde_json::from_slice(bytes)
        .map_err(|error| ApiError::invalid(format!("Invalid JSON payload received. {error}")))
}

/// Sets a member of an object.
pub(super) fn set(object: &mut Value, name: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(name.to_owned(), value);
    }
}

/// A member of an object; JSON null counts as absent.
pub(super) fn member<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object.get(name).filter(|value| !value.is_null())
}

/// A member that is a text.
pub(super) fn text(object: &Value, name: &str) -> ApiResult<Option<String>> {
    match member(object, name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(ApiError::invalid(format!(
            "Invalid value for {name}: a string is expected"
        ))),
    }
}

/// A member that is a whole number, which Google's JSON writes as text too.
pub(super) fn whole(object: &Value, name: &str) -> ApiResult<Option<i64>> {
    let bad = || ApiError::invalid(format!("Invalid value for {name}: a whole number is expected"));
    match member(object, name) {
        None => Ok(None),
        Some(Value::String(text)) => text.parse().map(Some).map_err(|_| bad()),
        Some(value) => value.as_i64().map(Some).ok_or_else(bad),
    }
}

/// A member that is an object of texts.
pub(super) fn labels(object: &Value) -> ApiResult<Option<std::collections::BTreeMap<String, String>>> {
    let Some(labels) = member(object, "labels") else {
        return Ok(None);
    };
    let labels = labels.as_object().into_iter().flatten();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    // A label set to null is removed.
    Ok(Some(
        labels
            .filter_map(|(name, value)| Some((name.clone(), text(value)?)))
            .collect(),
    ))
}

/// A page token that says where the next page begins.
pub(super) fn page_token(place: u64) -> String {
    URL_SAFE_NO_PAD.encode(place.to_string())
}

/// Where the page begins that a token means.
pub(super) fn page_start(token: Option<&str>) -> ApiResult<Option<u64>> {
    let Some(token) = token.filter(|token| !token.is_empty()) else {
        return Ok(None);
    };
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let place = text.and_then(|text| text.parse().ok());
    place
        .map(Some)
        .ok_or_else(|| ApiError::invalid(format!("Invalid page token: {token}")))
}

/// Whether a request's `If-Match` admits the current tag.
pub(super) fn check_tag(headers: &HeaderMap, etag: &str) -> ApiResult<()> {
    let wanted = headers.get("if-match").and_then(|value| value.to_str().ok());
    match wanted.map(|tag| tag.trim_matches('"')) {
        None | Some("*") => Ok(()),
        Some(tag) if tag == etag => Ok(()),
        Some(_) => Err(ApiError::precondition()),
    }
}

/// The empty answer of a deletion.
pub(super) fn no_content() -> StatusCode {
    StatusCode::NO_CONTENT
}
