//! The HTTP side: health for the orchestrator, metrics, and a status page for people. It reads the
//! pipeline's [`Status`]; what changes anything is taken from the machine that it runs on alone.
//!
//! | path | answers |
//! | --- | --- |
//! | `/livez` | 200 while the process's runtime turns, also when the pipeline has failed |
//! | `/readyz` | 200 while every part makes progress, else 503; JSON, part by part |
//! | `/metrics` | Prometheus text |
//! | `/` | the status page |
//! | `/api/status` | its JSON |
//! | `/api/schema-changes` | JSON: the latest changes of tables, newest first, as the target has kept them |
//! | POST `/api/resync/{table}` | 202: the table is copied again |

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::fault::{Classify, Fault};
use crate::pipeline::Steering;
use crate::status::{Heartbeat, Status};
use crate::task::{self, Panicked, Task};

mod requests;
mod routes;

pub use requests::PIPELINE;

/// What is shown beside the pipeline's state and does not change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct About {
    /// The pipeline's name.
    pub pipeline: String,
    /// The program's version.
    pub version: &'static str,
    /// How far a query may be behind what was appended, milliseconds: the target's `max_staleness`; `None` where
    /// it is chosen and shown of each table.
    pub max_staleness_ms: Option<u64>,
}

/// What is served.
#[derive(Debug)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub addr: SocketAddr,
    /// What does not change.
    pub about: About,
    /// What does.
    pub status: Arc<Status>,
    /// Takes what people ask of the pipeline.
    pub steering: Arc<Steering>,
    /// Time.
    pub clock: Clock,
    /// What `/metrics` shows.
    pub metrics: PrometheusHandle,
}

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The address is taken or not ours.
    #[error("cannot listen on {addr} for health and metrics")]
    Listen {
        /// Which.
        addr: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The server stopped by itself.
    #[error("the server for health and metrics stopped")]
    Serve(#[source] std::io::Error),
    /// A task of it panicked.
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

impl Classify for ControlError {
    fn fault(&self) -> Fault {
        Fault::Fatal
    }

    fn hint(&self) -> Option<String> {
        match self {
            ControlError::Listen { .. } => Some("set http to a free address in the configuration".to_owned()),
            ControlError::Serve(_) | ControlError::Panicked(_) => None,
        }
    }
}

/// A server that runs.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub addr: SocketAddr,
    server: Task<std::io::Result<()>>,
    _runtime: Task<()>,
}

/// What the handlers share.
#[derive(Debug)]
struct Shared {
    about: About,
    status: Arc<Status>,
    steering: Arc<Steering>,
    clock: Clock,
    metrics: PrometheusHandle,
    runtime: Heartbeat,
}

/// How often the runtime shows that it turns.
const BEAT: Duration = Duration::from_secs(1);

/// Serves until `stop`.
///
/// # Errors
/// The address cannot be listened on.
pub async fn serve(options: Options, stop: CancellationToken) -> Result<Running, ControlError> {
    let addr = options.addr;
    let listen = |source| ControlError::Listen { addr, source };
    let listener = TcpListener::bind(addr).await.map_err(listen)?;
    let addr = listener.local_addr().map_err(listen)?;
    let shared = Arc::new(Shared {
        about: options.about,
        status: options.status,
        steering: options.steering,
        clock: options.clock,
        metrics: options.metrics,
        runtime: Heartbeat::default(),
    });
    shared.runtime.beat(&shared.clock);
    let beating = Arc::clone(&shared);
    let runtime = task::spawn("runtime heartbeat", async move {
        loop {
            beating.clock.sleep(BEAT).await;
            beating.runtime.beat(&beating.clock);
            beating.metrics.run_upkeep();
        }
    });
    let router = routes::router(shared).into_make_service_with_connect_info::<SocketAddr>();
    let server = task::spawn("control", async move {
        axum::serve(listener, router)
            .with_graceful_shutdown(stop.cancelled_owned())
            .await
    });
    tracing::info!(%addr, "serving health, metrics and the status page");
    Ok(Running {
        addr,
        server,
        _runtime: runtime,
    })
}

impl Running {
    /// Waits until the server has ended, which it does after `stop` once open requests are answered.
    ///
    /// # Errors
    /// It ended by itself.
    pub async fn ended(self) -> Result<(), ControlError> {
        self.server.join().await?.map_err(ControlError::Serve)
    }
}

#[cfg(test)]
mod tests;
