//! A BigQuery on this machine: the Storage Write API's gRPC service and the part of the REST API that a
//! replica needs, over SQLite. It follows Google's documents and knows nothing of this project's sink, so
//! that the sink, Google's own clients and anybody else's find the same service here. Beyond the
//! documents it has only what is below `/emulator`: the faults and delays to order, the clock to turn, and
//! counts of what was written. What it knows of BigQuery, and from where, is the list in [`rules`].
//!
//! Not built, and refused by name: STRUCT, ARRAY, GEOGRAPHY and RANGE columns, column defaults, views, streams
//! other than `_default`, rows in Arrow form, and DML.

mod civil;
mod decode;
mod engine;
mod error;
mod faults;
mod json;
mod key;
mod numeric;
mod profile;
mod rest;
pub mod rules;
mod schema;
mod sequence;
mod socket;
mod sql;
mod store;
mod value;
mod wire;
mod write;
mod writer;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use crate::clock::Clock;
use crate::fault::{Classify, Fault};
use crate::proto::storage::big_query_write_server::BigQueryWriteServer;
use crate::task::{self, Panicked, Task};
use engine::Engine;
use faults::Script;
pub use profile::Profile;
use socket::{Door, Line, Socket};
use store::Store;

/// What to serve, and where.
#[derive(Debug, Clone)]
pub struct Options {
    /// Address of the REST API; port 0 takes a free one.
    pub rest: SocketAddr,
    /// Address of the Storage Write API; port 0 takes a free one.
    pub write: SocketAddr,
    /// The database's file, made if absent; none keeps everything in memory.
    pub data: Option<PathBuf>,
    /// Where the time comes from.
    pub clock: Clock,
    /// Whether each change's content is noted, to find sequence numbers that came with two.
    pub audit: bool,
    /// How late and how rough the service is where nothing is scripted.
    pub profile: Profile,
}

impl Options {
    /// The usual profile on free ports of this machine, with everything in memory and noted.
    pub fn local(clock: Clock) -> Options {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Options {
            rest: any,
            write: any,
            data: None,
            clock,
            audit: true,
            profile: Profile::USUAL,
        }
    }
}

/// Why the emulator cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum EmulatorError {
    /// The database cannot be opened or read.
    #[error("the emulator's database cannot be opened: {0}")]
    Storage(String),
    /// An address cannot be listened on.
    #[error("the emulator cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The REST API's server ended.
    #[error("the emulator's REST server failed")]
    Rest(#[source] std::io::Error),
    /// The Storage Write API's server ended.
    #[error("the emulator's write server failed")]
    Write(#[source] tonic::transport::Error),
    /// A part of it panicked.
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

impl Classify for EmulatorError {
    fn fault(&self) -> Fault {
        Fault::Fatal
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            EmulatorError::Storage(_) => {
                "check the path given as --data and whether another emulator uses it"
            }
            EmulatorError::Listen { .. } => "choose another address or stop what listens there",
            EmulatorError::Rest(_) | EmulatorError::Write(_) | EmulatorError::Panicked(_) => return None,
        };
        Some(hint.to_owned())
    }
}

/// A running emulator. Dropping it stops it.
#[derive(Debug)]
pub struct Running {
    /// Where the REST API listens.
    pub rest: SocketAddr,
    /// Where the Storage Write API listens.
    pub write: SocketAddr,
    stop: CancellationToken,
    rest_server: Task<Result<(), EmulatorError>>,
    write_server: Task<Result<(), EmulatorError>>,
    engine: Engine,
    storage: Task<()>,
}

impl Running {
    /// Base address of the REST API, for clients.
    pub fn rest_url(&self) -> String {
        format!("http://{}", self.rest)
    }

    /// Base address of the Storage Write API, for clients.
    pub fn write_url(&self) -> String {
        format!("http://{}", self.write)
    }

    /// Stops it and waits until everything acknowledged is closed in the database.
    ///
    /// # Errors
    /// [`EmulatorError`] if a part had failed before.
    pub async fn shutdown(self) -> Result<(), EmulatorError> {
        // Open connections end with UNAVAILABLE, so that none holds the end up.
        self.stop.cancel();
        self.engine.stop().await;
        self.write_server.join().await??;
        self.rest_server.join().await??;
        self.storage.join().await?;
        Ok(())
    }

    /// Waits until a server ends by itself, which only a failure makes it do.
    ///
    /// # Errors
    /// [`EmulatorError`]: what ended it.
    pub async fn failed(&mut self) -> Result<(), EmulatorError> {
        tokio::select! {
            () = self.rest_server.finished() => {}
            () = self.write_server.finished() => {}
            () = self.storage.finished() => {}
        }
        Ok(())
    }
}

/// Starts the emulator.
///
/// # Errors
/// [`EmulatorError`] if the database cannot be opened or an address cannot be listened on.
pub async fn serve(options: Options) -> Result<Running, EmulatorError> {
    let script = Script::new(options.clock, options.profile);
    let store = Store::open(options.data.as_deref(), script.clone(), options.audit);
    let store = store.map_err(|error| EmulatorError::Storage(error.to_string()))?;
    let (rest, rest_address) = listen(options.rest).await?;
    let (write, write_address) = listen(options.write).await?;
    let (engine, storage) = Engine::start(store, script);
    let stop = CancellationToken::new();
    let routes = rest::routes(engine.clone());
    let stopping = stop.clone();
    let rest_server = task::spawn("emulator rest", async move {
        let routes = routes.into_make_service_with_connect_info::<Line>();
        axum::serve(Door::new(rest), routes)
            .with_graceful_shutdown(stopping.cancelled_owned())
            .await
            .map_err(EmulatorError::Rest)
    });
    let service = BigQueryWriteServer::new(write::Service::new(engine.clone(), stop.clone()))
        .max_decoding_message_size(write::TRANSPORT_BYTES)
        .max_encoding_message_size(write::TRANSPORT_BYTES);
    let stopping = stop.clone();
    let write_server = task::spawn("emulator write", async move {
        Server::builder()
            .initial_stream_window_size(8 * 1024 * 1024)
            .initial_connection_window_size(16 * 1024 * 1024)
            .add_service(service)
            .serve_with_incoming_shutdown(connections(write), stopping.cancelled_owned())
            .await
            .map_err(EmulatorError::Write)
    });
    Ok(Running {
        rest: rest_address,
        write: write_address,
        stop,
        rest_server,
        write_server,
        engine,
        storage,
    })
}

/// Connections that answer at once: without this, a small answer may wait 40 ms for the other side's
/// delayed acknowledgement of the one before.
fn connections(listener: TcpListener) -> impl Stream<Item = std::io::Result<Socket>> {
    TcpListenerStream::new(listener).map(|accepted| {
        let connection = accepted?;
        connection.set_nodelay(true)?;
        Ok(Socket::new(connection))
    })
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), EmulatorError> {
    let failed = |source| EmulatorError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let local = listener.local_addr().map_err(failed)?;
    Ok((listener, local))
}
