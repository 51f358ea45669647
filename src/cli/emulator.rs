//! `replicator emulator`: the local BigQuery alone.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::{Failure, Global, signals};
use crate::clock::Clock;
use crate::emulator::{self, Options, Profile, rules};

/// Serves a local BigQuery: the Storage Write API and the part of the REST API that replicas need.
///
/// Prints where it listens, one KEY=VALUE a line, and serves until stopped. What it acknowledged is in
/// the file, whatever ends it.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  replicator emulator --rest 127.0.0.1:9050 --write 127.0.0.1:9060 --data bigquery.db\n\n\
                       Below /emulator on the REST address: GET audit counts what was written; faults and profile\n  \
                       make the service fail and lag as BigQuery does; clock/advance turns its clock. See docs/emulator.md."
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
    /// How late it is where BigQuery is late: `usual` shows DDL late to open connections only, `strict` has
    /// every delay. What BigQuery refuses is refused in both.
    #[arg(long, value_enum, default_value = "usual")]
    profile: Lateness,
    /// Print the rules that it keeps, with their sources, as Markdown; serve nothing.
    #[arg(long)]
    rules: bool,
}

/// A profile by name.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Lateness {
    Usual,
    Strict,
}

impl From<Lateness> for Profile {
    fn from(name: Lateness) -> Profile {
        match name {
            Lateness::Usual => Profile::USUAL,
            Lateness::Strict => Profile::STRICT,
        }
    }
}

pub(super) fn run(arguments: &Arguments, global: &Global) -> Result<(), Failure> {
    if arguments.rules {
        return print(&rules::markdown());
    }
    global.start_logging()?;
    let runtime = Runtime::new().map_err(|error| Failure::system("cannot start the runtime", &error))?;
    let options = Options {
        rest: arguments.rest,
        write: arguments.write,
        data: arguments.data.clone(),
        clock: Clock::turnable(),
        audit: !arguments.no_audit,
        profile: arguments.profile.into(),
    };
    runtime.block_on(serve(options))
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::system("cannot write to standard output", &error))
}

async fn serve(options: Options) -> Result<(), Failure> {
    let stop = CancellationToken::new();
    let _signals = signals::listen(stop.clone())?;
    let mut running = emulator::serve(options)
        .await
        .map_err(|error| Failure::failed(&error))?;
    let told = format!("REST={}\nWRITE={}\n", running.rest, running.write);
    print(&told)?;
    tokio::select! {
        () = stop.cancelled() => {}
        ended = running.failed() => ended.map_err(|error| Failure::failed(&error))?,
    }
    running.shutdown().await.map_err(|error| Failure::failed(&error))
}
