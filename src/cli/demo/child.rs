//! What the demo leaves nothing of: child processes, a folder, borrowed ports.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use super::error::DemoError;
use crate::clock::Clock;

/// Lines of a log that are shown when its program fails.
const LOG_LINES: usize = 15;

/// A folder that goes away with its owner.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    pub(super) fn create(clock: &Clock) -> Result<Folder, DemoError> {
        let name = format!("replicator-demo-{}-{}", std::process::id(), clock.unix_micros());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).map_err(DemoError::io(format!("creating {}", path.display())))?;
        Ok(Folder { path, keep: false })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the folder where it is, for whoever looks into a failure.
    pub(super) fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            tracing::warn!(folder = %self.path.display(), %error, "folder not removed");
        }
    }
}

/// A child process, its output in a log file; killed with its owner.
#[derive(Debug)]
pub(super) struct Program {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts a program; its output is appended to `log`.
    pub(super) fn start(
        name: &'static str,
        command: &mut Command,
        log: PathBuf,
    ) -> Result<Program, DemoError> {
        let open = || File::options().create(true).append(true).open(&log);
        let failed = || DemoError::io(format!("starting {name}"));
        let (out, err) = (open().map_err(failed())?, open().map_err(failed())?);
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(failed())?;
        Ok(Program { name, child, log })
    }

    /// Kills it as a lost machine would: no signal that it could answer.
    pub(super) fn kill(&mut self) -> Result<(), DemoError> {
        self.child
            .kill()
            .and_then(|()| self.child.wait())
            .map(|_: ExitStatus| ())
            .map_err(DemoError::io(format!("killing {}", self.name)))
    }

    /// An error if it has ended.
    pub(super) fn check(&mut self) -> Result<(), DemoError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.failed(format!("ended with {status}"))),
            Err(error) => Err(DemoError::io(format!("watching {}", self.name))(error)),
        }
    }

    /// An error about it, with the end of its log.
    pub(super) fn failed(&self, what: impl Into<String>) -> DemoError {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let end = lines
            .get(lines.len().saturating_sub(LOG_LINES)..)
            .unwrap_or_default();
        DemoError::Program {
            name: self.name,
            what: what.into(),
            log: end.join("\n"),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait()
            && let Err(error) = self.kill()
        {
            tracing::warn!(program = self.name, %error, "program not killed");
        }
    }
}

/// A loopback address that nothing listens on.
pub(super) fn free_address() -> Result<SocketAddr, DemoError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map_err(DemoError::io("finding a free port"))
}
