//! `replicator run`: copies what is not copied, then follows, until it is told to stop.

use clap::Args;

use super::start::{Until, Waiting, start, with_config};
use super::{Failure, Global};

/// Copies tables that are not copied yet and follows the binlog or the streams, until stopped.
///
/// Meant to run always, as one instance for each pipeline. It goes on where it was stopped or killed;
/// SIGTERM writes what is acknowledged to the checkpoint and ends with exit code 0.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  replicator run --config shop.yaml")]
pub(super) struct Arguments {
    #[command(flatten)]
    waiting: Waiting,
}

pub(super) fn run(arguments: &Arguments, global: &Global) -> Result<(), Failure> {
    let waiting = arguments.waiting;
    with_config(global, |config| start(config, waiting, Until::Stopped, |_| {}))
}
