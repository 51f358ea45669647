//! `replicator schema`: the configuration's JSON Schema, for editors and for checks before a roll-out.

use std::io::{ErrorKind, Write};

use clap::Args;

use super::Failure;
use crate::config;

/// Prints the JSON Schema of the configuration file.
///
/// Editors use it to complete keys and to mark mistakes.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  replicator schema > replicator.schema.json\n\n\
                             and in the configuration file:\n  \
                             # yaml-language-server: $schema=replicator.schema.json"
)]
pub(super) struct Arguments {}

pub(super) fn run(_: &Arguments) -> Result<(), Failure> {
    let text = format!("{:#}\n", config::schema());
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // A reader such as `head` that has enough is no failure.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::system("cannot write to standard output", &error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
