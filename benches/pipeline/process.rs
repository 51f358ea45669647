//! A program that is measured: its wall time, its processor time, its peak memory.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use replicator::clock::Clock;

use crate::Fail;

/// How often a running program is looked at.
pub(crate) const POLL: Duration = Duration::from_millis(5);

/// Bound of a single run.
const PATIENCE: Duration = Duration::from_secs(300);

/// Unit of processor times in /proc: 1/100 s on every architecture (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// What a run took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) wall: Duration,
    /// User and system time.
    pub(crate) cpu: Duration,
    /// Peak resident memory in bytes, as last seen before the end.
    pub(crate) peak: u64,
}

/// A child process; killed when dropped.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    clock: Clock,
    pub(crate) began: Instant,
    children_before: Duration,
    peak: u64,
}

impl Program {
    /// Starts a program; what it says goes to `log`.
    pub(crate) fn start(mut command: Command, log: &Path) -> Result<Program, Fail> {
        let out = fs::File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(out);
        let clock = Clock::real();
        Ok(Program {
            began: clock.now(),
            children_before: children_time()?,
            child: command.spawn()?,
            clock,
            peak: 0,
        })
    }

    /// Waits a moment; fails if the program takes too long. `false` once it has ended.
    pub(crate) async fn look(&mut self) -> Result<bool, Fail> {
        self.clock.sleep(POLL).await;
        if let Some(peak) = peak_memory(self.child.id()) {
            self.peak = self.peak.max(peak);
        }
        if self.clock.now().saturating_duration_since(self.began) > PATIENCE {
            return Err(format!("no end after {} s", PATIENCE.as_secs()).into());
        }
        match self.child.try_wait()? {
            None => Ok(true),
            Some(status) if status.success() => Ok(false),
            Some(status) => Err(format!("a measured program ended with {status}").into()),
        }
    }

    /// Waits for the end.
    pub(crate) async fn end(mut self) -> Result<Usage, Fail> {
        while self.look().await? {}
        Ok(Usage {
            wall: self.clock.now().saturating_duration_since(self.began),
            cpu: children_time()?.saturating_sub(self.children_before),
            peak: self.peak,
        })
    }

    /// Asks for an orderly end and waits for it.
    pub(crate) async fn stop(self) -> Result<Usage, Fail> {
        let pid = self.child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status()?;
        if !told.success() {
            return Err("the program is gone".into());
        }
        self.end().await
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // It may end by itself in between.
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// Highest resident memory so far; `None` once the process has ended.
fn peak_memory(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// Processor time of all children that ended and were waited for.
fn children_time() -> Result<Duration, Fail> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(") ").ok_or("no name in /proc/self/stat")?;
    // Fields 16 and 17 of proc(5), of which two are before the parenthesis.
    let ticks: u32 = fields
        .split(' ')
        .skip(13)
        .take(2)
        .map(str::parse::<u32>)
        .sum::<Result<u32, _>>()?;
    Ok(TICK * ticks)
}
