//! `replicator demo`: everything on this machine, in under a minute. A MySQL server with a small shop, a
//! DynamoDB table beside it, a load that does not stop, the local BigQuery, replicators that are killed twice
//! without warning, and at the end source and target side by side.
//!
//! It runs the very programs that a user runs (`replicator emulator`, `replicator run`) as processes of
//! their own: only what is another process can be killed the way machines fail.

mod child;
mod error;
mod load;
mod pipelines;
mod probe;
mod report;
mod server;
mod sessions;
mod shop;
mod stage;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::Failure;
use crate::clock::Clock;

/// Bound of each single wait.
const PATIENCE: Duration = Duration::from_secs(40);
const POLL: Duration = Duration::from_millis(20);

/// Shows a pipeline at work, all of it on this machine.
///
/// Starts a MySQL server with a small shop under load, a DynamoDB table with its visitors' sessions and a
/// local BigQuery, replicates both, kills the replicators twice, and compares every row and item. Uses free
/// ports of 127.0.0.1 and a temporary folder, and leaves nothing behind. Exits with 0 only if sources and
/// targets are equal.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  replicator demo --follow 30")]
pub(super) struct Arguments {
    /// MySQL server to start; in a checkout of the repository scripts/db provides one, elsewhere PATH.
    #[arg(long, value_name = "MYSQLD")]
    mysqld: Option<PathBuf>,
    /// Python that has moto[server], which stands in for DynamoDB; without it only MySQL is shown.
    #[arg(long, value_name = "PYTHON")]
    moto: Option<PathBuf>,
    /// Seconds for which the load goes on after the first copy.
    #[arg(long, value_name = "SECONDS", default_value_t = 12, value_parser = clap::value_parser!(u64).range(2..=60))]
    follow: u64,
    /// Leave data and logs in the temporary folder.
    #[arg(long)]
    keep: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let program =
        std::env::current_exe().map_err(|error| Failure::system("cannot find the program itself", &error))?;
    let options = stage::Options {
        program,
        mysqld: arguments.mysqld.clone(),
        moto: arguments.moto.clone(),
        follow: Duration::from_secs(arguments.follow),
        keep: arguments.keep,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::system("cannot start the runtime", &error))?;
    let played = runtime.block_on(stage::run(options, Clock::real(), &mut std::io::stdout()));
    match played {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::Failed {
            what: "source and target are not equal".to_owned(),
            hint: (!arguments.keep)
                .then(|| "run it again with --keep, which leaves all logs behind".to_owned()),
        }),
        Err(error) => Err(Failure::failed(&error)),
    }
}
