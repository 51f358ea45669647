//! The command line: one file for each command. A command reads the configuration, starts what it needs
//! and reports; the work is in the modules below.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Config};
use crate::telemetry::{self, LogFormat};

mod check;
mod cost;
mod demo;
mod emulator;
mod failure;
mod origin;
mod plan;
mod resync;
mod run;
mod schema;
mod selection;
pub mod signals;
mod snapshot;
mod staleness;
mod standby;
mod start;

pub use failure::Failure;

/// Copies MySQL and DynamoDB tables to BigQuery and keeps them equal.
///
/// A first copy of each table, then the binlog or the streams: every insert, update and delete arrives as an upsert or a
/// delete, seconds behind. One configuration file describes one pipeline.
#[derive(Debug, Parser)]
#[command(
    name = "replicator",
    version,
    max_term_width = 100,
    after_long_help = "Exit codes: 0 done, 1 failed, 2 wrong arguments or configuration.\n\n\
                       Example:\n  replicator check --config shop.yaml && replicator run --config shop.yaml"
)]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// The configuration file.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "REPLICATOR_CONFIG",
        default_value = "/etc/replicator/config.yaml"
    )]
    pub config: PathBuf,
    /// How log lines look; auto is text on a terminal and JSON elsewhere.
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        default_value = "auto"
    )]
    pub log_format: LogFormat,
    /// What is logged: a level (error, warn, info, debug, trace), or a list such as
    /// `info,replicator::sink=debug`.
    #[arg(
        long,
        global = true,
        value_name = "LEVEL",
        env = "REPLICATOR_LOG",
        default_value = "info"
    )]
    pub log_level: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Arguments),
    Snapshot(snapshot::Arguments),
    Resync(resync::Arguments),
    Check(check::Arguments),
    Plan(plan::Arguments),
    Demo(demo::Arguments),
    Emulator(emulator::Arguments),
    Schema(schema::Arguments),
}

impl Global {
    /// Starts logging as asked.
    ///
    /// # Errors
    /// The level cannot be read.
    pub fn start_logging(&self) -> Result<(), Failure> {
        telemetry::start_logging(self.log_format, &self.log_level).map_err(Failure::usage)
    }

    /// Reads the configuration, with the process's environment.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn load(&self) -> Result<Config, Failure> {
        config::load(&self.config, &config::process_env).map_err(Failure::Config)
    }
}

/// Runs what the process's arguments ask for; failures are printed on standard error.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let global = &arguments.global;
    let done = match &arguments.command {
        Command::Run(command) => run::run(command, global),
        Command::Snapshot(command) => snapshot::run(command, global),
        Command::Resync(command) => resync::run(command, global),
        Command::Check(command) => check::run(command, global),
        Command::Plan(command) => plan::run(command, global),
        Command::Demo(command) => demo::run(command),
        Command::Emulator(command) => emulator::run(command, global),
        Command::Schema(command) => schema::run(command),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_argument_and_command_is_explained() {
        let command = Arguments::command();
        for one in std::iter::once(&command).chain(command.get_subcommands()) {
            assert!(one.get_about().is_some(), "{}", one.get_name());
            for argument in one.get_arguments().filter(|it| !it.is_hide_set()) {
                assert!(
                    argument.get_help().is_some(),
                    "{} {}",
                    one.get_name(),
                    argument.get_id()
                );
            }
        }
    }
}
