//! `replicator emulator`: the local BigQuery alone.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::{Failure, Global, signals};
use crate::clock::Clock;
use crate::emulator::{self, Options};

/// Serves a local BigQuery: the Storage Write API and the part of the REST API that replicas need.
///
/// Prints where it listens, one KEY=VALUE a line, and serves until stopped. What it acknowledged is in
/// the file, whatever ends it.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  replicator emulator --rest 127.0.0.1:9050 --write 127.0.0.1:9060 --data bigquery.db\n\n\
                       GET /emulator/v1/audit on the REST address counts what was written."
)]
pub(super) struct Arguments {
    /// Address of the REST API; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9050")]
    rest: SocketAddr,
    /// Address of the Storage Write API (gRPC); port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9060")]
    write: SocketAddr,
    /// The file that holds everything, made if absent; without it everything is in memory.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Do not note each change's content: faster, but numbers that come with two contents are not found.
    #[arg(long)]
    no_audit: bool,
}

pub(super) fn run(arguments: &Arguments, global: &Global) -> Result<(), Failure> {
    global.start_logging()?;
    let runtime = Runtime::new().map_err(|error| Failure::system("cannot start the runtime", &error))?;
    let options = Options {
        rest: arguments.rest,
        write: arguments.write,
        data: arguments.data.clone(),
        clock: Clock::real(),
        audit: !arguments.no_audit,
    };
    runtime.block_on(serve(options))
}

async fn serve(options: Options) -> Result<(), Failure> {
    let stop = CancellationToken::new();
    let _signals = signals::listen(stop.clone())?;
    let mut running = emulator::serve(options)
        .await
        .map_err(|error| Failure::failed(&error))?;
    let told = format!("REST={}\nWRITE={}\n", running.rest, running.write);
    let mut out = std::io::stdout();
    out.write_all(told.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::system("cannot write to standard output", &error))?;
    tokio::select! {
        () = stop.cancelled() => {}
        ended = running.failed() => ended.map_err(|error| Failure::failed(&error))?,
    }
    running.shutdown().await.map_err(|error| Failure::failed(&error))
}
