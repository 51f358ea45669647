//! The demo's play, scene by scene.

use std::fmt;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

use super::child::{Folder, Program, free_address};
use super::error::DemoError;
use super::load::Load;
use super::probe::{Probe, Seen};
use super::report::{self, Lags, grouped};
use super::server::Server;
use super::shop;
use crate::clock::Clock;
use crate::compare::{self, Columns, Comparison};

/// The configuration that the replicator runs with.
const CONFIG: &str = include_str!("../../../config/demo.yaml");

/// Bound of the whole demo.
const LIMIT: Duration = Duration::from_secs(150);
/// Bound of each single wait.
const PATIENCE: Duration = Duration::from_secs(40);
const POLL: Duration = Duration::from_millis(20);

/// How to run the demo.
#[derive(Debug, Clone)]
pub(super) struct Options {
    /// The `replicator` program.
    pub(super) program: PathBuf,
    /// The MySQL server to start; `None`: what the checkout or PATH offers.
    pub(super) mysqld: Option<PathBuf>,
    /// How long the load goes on while the replicator only follows.
    pub(super) follow: Duration,
    /// Whether data and logs are left behind.
    pub(super) keep: bool,
}

/// Runs the demo and tells `out` about it. Returns whether every table was equal at the end.
///
/// # Errors
/// [`DemoError`] if it could not be carried through.
pub(super) async fn run(
    options: Options,
    clock: Clock,
    out: &mut (dyn Write + Send),
) -> Result<bool, DemoError> {
    let mut folder = Folder::create(&clock)?;
    if options.keep {
        folder.keep();
        writeln!(out, "Data and logs stay in {}", folder.path().display()).map_err(printing())?;
    }
    let stage = Stage {
        began: clock.now(),
        clock: clock.clone(),
        folder,
        options,
        out,
    };
    tokio::select! {
        result = stage.play() => result,
        () = clock.sleep(LIMIT) => Err(DemoError::Timeout { seconds: LIMIT.as_secs() }),
        signal = interrupted() => signal.and(Err(DemoError::Interrupted)),
    }
}

/// Waits for what ends a program politely, so that children and files go before it does.
async fn interrupted() -> Result<(), DemoError> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = || DemoError::io("waiting for signals");
    let mut terminate = signal(SignalKind::terminate()).map_err(failed())?;
    let mut hangup = signal(SignalKind::hangup()).map_err(failed())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result.map_err(failed())?,
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}

struct Stage<'a> {
    began: Instant,
    clock: Clock,
    folder: Folder,
    options: Options,
    out: &'a mut (dyn Write + Send),
}

/// Where the parts listen.
#[derive(Debug, Clone, Copy)]
struct Addresses {
    mysql: u16,
    rest: SocketAddr,
    write: SocketAddr,
    http: SocketAddr,
}

impl Stage<'_> {
    async fn play(mut self) -> Result<bool, DemoError> {
        let (mysqld, path) = (self.options.mysqld.clone(), self.folder.path().to_owned());
        self.line("replicator demo: MySQL → replicator → local BigQuery, all on this machine\n")?;
        let server = Server::start(mysqld.as_deref(), &path, &self.clock).await?;
        let mut root = Conn::new(server.root()).await?;
        let version: Option<String> = root.query_first("SELECT VERSION()").await?;
        let version = version.unwrap_or_default();
        self.step(format_args!(
            "MySQL {version} runs on 127.0.0.1:{}",
            server.port()
        ))?;
        create_user(&mut root).await?;
        shop::create(&mut root).await?;
        self.step(format_args!(
            "shop created: {} tables, {} rows",
            shop::layouts().len(),
            grouped(shop::SEEDED_ROWS)
        ))?;
        let at = Addresses {
            mysql: server.port(),
            rest: free_address()?,
            write: free_address()?,
            http: free_address()?,
        };
        let probe = Probe::new(at.rest, at.http)?;
        let mut emulator = self.emulator(at)?;
        self.until("the local BigQuery to answer", &mut emulator, &probe, |seen| {
            seen.rest
        })
        .await?;
        self.step(format_args!("local BigQuery answers on {}", at.rest))?;
        let load = Load::start(&server.root(), &self.clock).await?;
        self.step(format_args!(
            "load begins: 3 writers insert, update, delete and change keys until told to stop"
        ))?;
        self.replicate(at, &probe, &mut root, load).await
    }

    async fn replicate(
        &mut self,
        at: Addresses,
        probe: &Probe,
        root: &mut Conn,
        load: Load,
    ) -> Result<bool, DemoError> {
        let mut replicator = self.replicator(at)?;
        self.step(format_args!("replicator run, status on http://{}/", at.http))?;
        let amid = self
            .until("the first copied rows", &mut replicator, probe, Seen::has_rows)
            .await?;
        replicator.kill()?;
        self.step(format_args!("kill -9 amid the first copy ({})", amid.states()))?;
        replicator = self.replicator(at)?;
        self.until("every table to be copied", &mut replicator, probe, |seen| {
            seen.all_follow(shop::layouts().len())
        })
        .await?;
        self.step(format_args!(
            "started again: every table is copied, {} transactions later",
            grouped(load.committed())
        ))?;
        let (mut appended, mut visible) = (Lags::default(), Lags::default());
        let half = self.options.follow / 2;
        self.measure(half, &mut replicator, probe, root, (&mut appended, &mut visible))
            .await?;
        replicator.kill()?;
        self.step(format_args!("kill -9 while following"))?;
        replicator = self.replicator(at)?;
        self.until("the restarted replicator", &mut replicator, probe, Seen::ready)
            .await?;
        self.pulse(&mut replicator, probe, root).await?;
        self.step(format_args!("started again and caught up"))?;
        self.measure(half, &mut replicator, probe, root, (&mut appended, &mut visible))
            .await?;
        let (committed, rolled_back) = load.stop().await?;
        self.step(format_args!(
            "load ends: {} transactions committed, {} rolled back",
            grouped(committed),
            grouped(rolled_back)
        ))?;
        let caught_up = self.pulse(&mut replicator, probe, root).await?;
        self.step(format_args!(
            "target has caught up, {:.2} s after the last commit",
            caught_up.as_secs_f64()
        ))?;
        let comparisons = self.settle(&mut replicator, probe, root).await?;
        self.finish(&comparisons, &mut appended, &mut visible)
    }

    fn finish(
        &mut self,
        comparisons: &[Comparison],
        appended: &mut Lags,
        visible: &mut Lags,
    ) -> Result<bool, DemoError> {
        let (appended, visible) = (appended.text(), visible.text());
        self.line("")?;
        report::tables(self.out, comparisons).map_err(printing())?;
        self.line(&format!("\n  appended lag  {appended}"))?;
        self.line(&format!("  visible lag   {visible}"))?;
        let equal = comparisons.iter().all(Comparison::equal);
        self.line("")?;
        for found in comparisons.iter().filter(|found| !found.equal()) {
            self.line(&format!("{found}"))?;
        }
        match equal {
            true => self.line("Equal: the target holds every row of the source, and no other.")?,
            false => self.line("NOT EQUAL.")?,
        }
        Ok(equal)
    }

    fn emulator(&self, at: Addresses) -> Result<Program, DemoError> {
        let path = self.folder.path();
        let mut command = Command::new(&self.options.program);
        command
            .args([
                "emulator",
                "--rest",
                &at.rest.to_string(),
                "--write",
                &at.write.to_string(),
            ])
            .arg("--data")
            .arg(path.join("bigquery.db"));
        Program::start("replicator emulator", &mut command, path.join("emulator.log"))
    }

    fn replicator(&self, at: Addresses) -> Result<Program, DemoError> {
        let path = self.folder.path();
        let config = path.join("demo.yaml");
        std::fs::write(&config, CONFIG).map_err(DemoError::io("writing the configuration"))?;
        let mut command = Command::new(&self.options.program);
        command
            .args(["run", "--config"])
            .arg(config)
            .env("DEMO_MYSQL_PORT", at.mysql.to_string())
            .env("DEMO_REST", at.rest.to_string())
            .env("DEMO_WRITE", at.write.to_string())
            .env("DEMO_HTTP", at.http.to_string())
            .env("DEMO_CHECKPOINT", path.join("checkpoint"));
        Program::start("replicator run", &mut command, path.join("replicator.log"))
    }

    /// Polls until a condition holds, `program` ends or patience does.
    async fn until(
        &self,
        what: &'static str,
        program: &mut Program,
        probe: &Probe,
        holds: impl Fn(&Seen) -> bool,
    ) -> Result<Seen, DemoError> {
        let deadline = self.clock.now() + PATIENCE;
        loop {
            program.check()?;
            let seen = probe.look().await;
            if holds(&seen) {
                return Ok(seen);
            }
            if self.clock.now() > deadline {
                let problems = seen.problems();
                return Err(program.failed(format!("made us wait for {what}{problems}")));
            }
            self.clock.sleep(POLL).await;
        }
    }

    /// Commits a change and waits until a query on the target shows it; the time that took.
    async fn pulse(
        &self,
        program: &mut Program,
        probe: &Probe,
        root: &mut Conn,
    ) -> Result<Duration, DemoError> {
        root.query_drop("UPDATE shop.pulse SET tick = tick + 1").await?;
        let committed = self.clock.now();
        let tick: Option<i64> = root.query_first("SELECT tick FROM shop.pulse").await?;
        let deadline = committed + PATIENCE;
        loop {
            program.check()?;
            if probe.tick().await == tick {
                return Ok(self.clock.now() - committed);
            }
            if self.clock.now() > deadline {
                return Err(program.failed("did not bring a change to the target"));
            }
            self.clock.sleep(POLL / 4).await;
        }
    }

    /// Measures lags for a while: appended as the replicator shows it, visible as a query sees it.
    async fn measure(
        &self,
        time: Duration,
        program: &mut Program,
        probe: &Probe,
        root: &mut Conn,
        (appended, visible): (&mut Lags, &mut Lags),
    ) -> Result<(), DemoError> {
        let end = self.clock.now() + time;
        while self.clock.now() < end {
            visible.add(self.pulse(program, probe, root).await?);
            if let Some(lag) = probe.look().await.appended_lag() {
                appended.add(lag);
            }
            self.clock.sleep(POLL * 5).await;
        }
        Ok(())
    }

    /// Compares until all is equal or patience ends: the source is at rest, so the target must settle.
    async fn settle(
        &self,
        program: &mut Program,
        probe: &Probe,
        root: &mut Conn,
    ) -> Result<Vec<Comparison>, DemoError> {
        let deadline = self.clock.now() + PATIENCE / 2;
        loop {
            program.check()?;
            let mut found = Vec::new();
            for layout in shop::layouts() {
                let target = probe.target(layout.table.name());
                found.push(compare::compare(root, &target, &Columns::same_names(&layout)).await?);
            }
            if found.iter().all(Comparison::equal) || self.clock.now() > deadline {
                return Ok(found);
            }
            self.clock.sleep(POLL * 10).await;
        }
    }

    fn step(&mut self, text: fmt::Arguments<'_>) -> Result<(), DemoError> {
        let at = (self.clock.now() - self.began).as_secs_f64();
        writeln!(self.out, "{at:7.1} s  {text}")
            .and_then(|()| self.out.flush())
            .map_err(printing())
    }

    fn line(&mut self, text: &str) -> Result<(), DemoError> {
        writeln!(self.out, "{text}").map_err(printing())
    }
}

fn printing() -> impl FnOnce(std::io::Error) -> DemoError {
    DemoError::io("printing")
}

/// A user with what the replicator needs and no more.
async fn create_user(root: &mut Conn) -> Result<(), DemoError> {
    for statement in [
        "CREATE USER replicator@'127.0.0.1' IDENTIFIED BY 'demo'",
        "GRANT SELECT, LOCK TABLES, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO replicator@'127.0.0.1'",
        "GRANT XA_RECOVER_ADMIN ON *.* TO replicator@'127.0.0.1'",
    ] {
        root.query_drop(statement).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_configuration_is_valid_with_its_defaults() {
        let config = crate::config::parse(super::CONFIG, &|_| None).unwrap();
        let none = crate::config::Staleness::Fixed(std::time::Duration::ZERO);
        assert_eq!(config.sink.max_staleness, none);
    }
}
