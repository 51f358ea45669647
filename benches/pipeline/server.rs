//! The MySQL server under all competitors, through `scripts/db`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;

use mysql_async::{Conn, OptsBuilder};

use crate::Fail;

/// A table that is in memory and a log that costs the writer nothing: neither is measured. One binlog
/// file holds all changes.
const OPTIONS: &[&str] = &[
    "--innodb-buffer-pool-size=1G",
    "--innodb-flush-log-at-trx-commit=0",
    "--sync-binlog=0",
    "--max-binlog-size=1G",
];

/// A running server, stopped when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) version: String,
    dir: PathBuf,
}

fn script() -> Command {
    Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/db"))
}

impl Server {
    pub(crate) fn start() -> Result<Server, Fail> {
        let owner = std::process::id().to_string();
        let output = script()
            .args(["start", "mysql", "--owner", &owner, "--"])
            .args(OPTIONS)
            .output()?;
        if !output.status.success() {
            return Err(format!("scripts/db start: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let text = String::from_utf8(output.stdout)?;
        let facts: HashMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
        let fact = |key: &str| {
            facts
                .get(key)
                .copied()
                .ok_or_else(|| format!("scripts/db says no {key}"))
        };
        Ok(Server {
            port: fact("PORT")?.parse()?,
            version: fact("VERSION")?.to_owned(),
            dir: PathBuf::from(fact("DIR")?),
        })
    }

    /// A connection as root.
    pub(crate) async fn connect(&self) -> Result<Conn, Fail> {
        let opts = OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(self.port)
            .user(Some("root"));
        Ok(Conn::new(opts).await?)
    }

    /// A program of the same server, connected to it.
    pub(crate) fn tool(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = script();
        command.args(["tool", name]).arg(&self.dir).args(arguments);
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let stopped = script().arg("stop").arg(&self.dir).status();
        if !stopped.as_ref().is_ok_and(std::process::ExitStatus::success) {
            println!("scripts/db stop {}: {stopped:?}", self.dir.display());
        }
    }
}
