//! What changes something. Whoever can reach the port may read; what costs a copy is taken only from the machine itself,
//! where `replicator resync` is run (in a container: through `exec`), and never from a page in a browser: the header
//! that says which pipeline is meant cannot be set by one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::Shared;
use crate::fault::Classify;
use crate::pipeline::Refusal;

/// The header that names the pipeline which is meant.
pub const PIPELINE: &str = "x-replicator-pipeline";

/// How long a request waits for the log to come to a commit.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came of a request.
#[derive(Debug, Serialize)]
struct Said {
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

/// Has a table copied again.
pub(super) async fn resync(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Path(table): Path<String>,
) -> Response {
    if let Err((code, text)) = allowed(&shared.about.pipeline, peer, &headers) {
        return refused(code, text, None);
    }
    tokio::select! {
        asked = shared.steering.resync_named(&table) => match asked {
            Ok(table) => said(StatusCode::ACCEPTED, Said {
                table: Some(table.to_string()),
                error: None,
                hint: None,
            }),
            Err(refusal) => refused(code(&refusal), refusal.to_string(), refusal.hint()),
        },
        () = shared.clock.sleep(PATIENCE) => refused(
            StatusCode::GATEWAY_TIMEOUT,
            "the log came to no commit in time; the table may be copied again once it does".to_owned(),
            Some("see on the status page whether the log is read, and ask again".to_owned()),
        ),
    }
}

fn code(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::NotRunning | Refusal::Ended => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::NoCopies | Refusal::NotCaptured(_) => StatusCode::CONFLICT,
        Refusal::Unknown(_) => StatusCode::NOT_FOUND,
    }
}

/// Whether a request comes from this machine and means this pipeline.
fn allowed(pipeline: &str, peer: SocketAddr, headers: &HeaderMap) -> Result<(), (StatusCode, String)> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    if !peer.ip().to_canonical().is_loopback() || !host.is_some_and(is_local) {
        let text = "this is taken only from the machine that the replicator runs on, at a loopback address";
        return Err((StatusCode::FORBIDDEN, text.to_owned()));
    }
    match headers.get(PIPELINE).and_then(|name| name.to_str().ok()) {
        Some(named) if named == pipeline => Ok(()),
        Some(named) => Err((
            StatusCode::CONFLICT,
            format!("this is the pipeline {pipeline} and not {named}"),
        )),
        None => Err((
            StatusCode::FORBIDDEN,
            format!("the header {PIPELINE} must name the pipeline"),
        )),
    }
}

/// Whether a `Host` is an address of this machine: a page of elsewhere that a browser was made to believe is at a
/// loopback address still has its own name there.
fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost"
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback())
}

fn refused(code: StatusCode, error: String, hint: Option<String>) -> Response {
    let said_so = Said {
        table: None,
        error: Some(error),
        hint,
    };
    said(code, said_so)
}

fn said(code: StatusCode, said: Said) -> Response {
    (code, [(header::CACHE_CONTROL, "no-store")], Json(said)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_this_machine_are_local() {
        for host in [
            "localhost",
            "localhost:8080",
            "127.0.0.1:8080",
            "127.0.0.1",
            "[::1]:80",
            "[::1]",
        ] {
            assert!(is_local(host), "{host}");
        }
        for host in [
            "localhost.evil",
            "evil:8080",
            "10.0.0.1:8080",
            "",
            "127.0.0.1.evil:80",
            "[::2]:80",
        ] {
            assert!(!is_local(host), "{host}");
        }
    }
}
