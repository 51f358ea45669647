//! The demo's MySQL server: through `scripts/db` in a checkout of the repository, else a `mysqld`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts, OptsBuilder};

use super::child::{Program, free_address};
use super::error::DemoError;
use crate::clock::Clock;
use crate::task;

/// Starts and stops servers in a checkout.
const SCRIPT: &str = "scripts/db";

/// Attempts to connect to a server that starts, and the pause between them.
const ATTEMPTS: u32 = 300;
const PAUSE: Duration = Duration::from_millis(100);

/// A running server; gone with its owner.
#[derive(Debug)]
pub(super) struct Server {
    port: u16,
    program: Option<Program>,
    _script: Option<ScriptServer>,
}

#[derive(Debug)]
struct ScriptServer {
    folder: String,
}

impl Drop for ScriptServer {
    fn drop(&mut self) {
        let stopped = Command::new(SCRIPT)
            .args(["stop", &self.folder])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if !stopped.is_ok_and(|status| status.success()) {
            tracing::warn!(folder = self.folder, "database server not stopped");
        }
    }
}

impl Server {
    /// Starts a server. `mysqld`: the program to run; `None`: what the checkout or PATH offers.
    pub(super) async fn start(
        mysqld: Option<&Path>,
        folder: &Path,
        clock: &Clock,
    ) -> Result<Server, DemoError> {
        let (mysqld, folder) = (mysqld.map(Path::to_owned), folder.to_owned());
        let start = move || match mysqld {
            None if Path::new(SCRIPT).exists() => by_script(&folder),
            None => by_program(&which("mysqld").ok_or(DemoError::NoServer)?, &folder),
            Some(program) => by_program(&program, &folder),
        };
        let mut server = task::blocking("mysql start", start).join().await??;
        server.ready(clock).await?;
        Ok(server)
    }

    /// Where it listens, on 127.0.0.1.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// How root connects.
    pub(super) fn root(&self) -> Opts {
        OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(self.port)
            .user(Some("root"))
            .prefer_socket(false)
            .into()
    }

    async fn ready(&mut self, clock: &Clock) -> Result<(), DemoError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            if let Some(program) = &mut self.program {
                program.check()?;
            }
            match Conn::new(self.root()).await {
                Ok(mut conn) => return Ok(conn.ping().await?),
                Err(error) if attempt == ATTEMPTS => return Err(error.into()),
                Err(_) => clock.sleep(PAUSE).await,
            }
        }
    }
}

fn by_script(folder: &Path) -> Result<Server, DemoError> {
    let log = folder.join("mysql-start.log");
    let failed = || DemoError::io(format!("running {SCRIPT}"));
    let errors = std::fs::File::create(&log).map_err(failed())?;
    let done = Command::new(SCRIPT)
        .args(["start", "mysql", "--owner", &std::process::id().to_string()])
        .stdin(Stdio::null())
        .stderr(errors)
        .output()
        .map_err(failed())?;
    let text = String::from_utf8_lossy(&done.stdout);
    let value = |name: &str| {
        let mut pairs = text.lines().filter_map(|line| line.split_once('='));
        pairs
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.to_owned())
    };
    let port = value("PORT").and_then(|port| port.parse().ok());
    match (value("DIR"), port) {
        (Some(folder), Some(port)) => Ok(Server {
            port,
            program: None,
            _script: Some(ScriptServer { folder }),
        }),
        (_, _) => Err(DemoError::Program {
            name: SCRIPT,
            what: format!("ended with {} and no server", done.status),
            log: std::fs::read_to_string(&log).unwrap_or_default(),
        }),
    }
}

fn by_program(program: &Path, folder: &Path) -> Result<Server, DemoError> {
    let (data, log) = (folder.join("mysql"), folder.join("mysqld.log"));
    let command = || {
        let mut command = Command::new(program);
        command
            .arg("--no-defaults")
            .arg(format!("--datadir={}", data.display()));
        if is_root() {
            command.arg("--user=root");
        }
        command
    };
    let initialised = command()
        .arg("--initialize-insecure")
        .stdin(Stdio::null())
        .output()
        .map_err(DemoError::io(format!("running {}", program.display())))?;
    if !initialised.status.success() {
        return Err(DemoError::Program {
            name: "mysqld",
            what: format!("made no data folder and ended with {}", initialised.status),
            log: String::from_utf8_lossy(&initialised.stderr).into_owned(),
        });
    }
    let port = free_address()?.port();
    let mut command = command();
    command
        .arg(format!("--port={port}"))
        .arg(format!("--socket={}", folder.join("mysql.sock").display()))
        .args([
            "--bind-address=127.0.0.1",
            "--mysqlx=OFF",
            "--server-id=1",
            "--log-bin=binlog",
        ])
        .args([
            "--binlog-row-metadata=FULL",
            "--gtid-mode=ON",
            "--enforce-gtid-consistency=ON",
        ]);
    let program = Program::start("mysqld", &mut command, log)?;
    Ok(Server {
        port,
        program: Some(program),
        _script: None,
    })
}

/// mysqld refuses to run as root unless told to.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

fn which(name: &str) -> Option<PathBuf> {
    let path = crate::config::process_env("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}
