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
use super::pipelines::{Pipeline, Pipelines};
use super::probe::{self, Probe, Seen};
use super::report::{self, Lags, grouped};
use super::server::Server;
use super::sessions::{self, Moto, Writer};
use super::shop;
use super::{PATIENCE, POLL};
use crate::clock::Clock;
use crate::compare::{self, Columns, Comparison};

/// The configurations that the replicators run with.
const CONFIG: &str = include_str!("../../../config/demo.yaml");
const DYNAMODB: &str = include_str!("../../../config/demo-dynamodb.yaml");

/// Names, configurations and tables of the pipelines.
const MYSQL: (&str, &str, usize) = ("mysql", CONFIG, shop::TABLES);
const SESSIONS: (&str, &str, usize) = ("dynamodb", DYNAMODB, 1);

/// Bound of the whole demo.
const LIMIT: Duration = Duration::from_secs(150);

/// How to run the demo.
#[derive(Debug, Clone)]
pub(super) struct Options {
    /// The `replicator` program.
    pub(super) program: PathBuf,
    /// The MySQL server to start; `None`: what the checkout or PATH offers.
    pub(super) mysqld: Option<PathBuf>,
    /// The Python that has moto; `None`: there is no DynamoDB table.
    pub(super) moto: Option<PathBuf>,
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

/// What is replicated, and who writes to it.
struct Sources {
    root: Conn,
    load: Load,
    /// Not without moto.
    sessions: Option<(Moto, Writer)>,
}

impl Stage<'_> {
    async fn play(mut self) -> Result<bool, DemoError> {
        let (mysqld, path) = (self.options.mysqld.clone(), self.folder.path().to_owned());
        let stands_in = match self.options.moto {
            Some(_) => "MySQL and DynamoDB",
            None => "MySQL",
        };
        self.line(&format!(
            "replicator demo: {stands_in} → replicator → local BigQuery, all on this machine\n"
        ))?;
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
            shop::TABLES,
            grouped(shop::SEEDED_ROWS)
        ))?;
        let moto = self.moto().await?;
        let (rest, write) = (free_address()?, free_address()?);
        let probe = Probe::new(rest, free_address()?)?;
        let _emulator = self.emulator(rest, write, &probe).await?;
        self.step(format_args!("local BigQuery answers on {rest}"))?;
        let mut pipelines = vec![self.pipeline(MYSQL, server.port(), (rest, write), &probe)?];
        if let Some(moto) = &moto {
            let probe = probe.of(free_address()?);
            pipelines.push(self.pipeline(SESSIONS, moto.port(), (rest, write), &probe)?);
        }
        let load = Load::start(&server.root(), &self.clock).await?;
        let sessions = moto.map(|moto| {
            let writer = Writer::start(&moto, &self.clock);
            (moto, writer)
        });
        self.step(format_args!(
            "load begins: 3 writers insert, update, delete and change keys until told to stop"
        ))?;
        let sources = Sources { root, load, sessions };
        self.replicate(sources, &probe, pipelines).await
    }

    /// The DynamoDB table, if there is something to hold it.
    async fn moto(&mut self) -> Result<Option<Moto>, DemoError> {
        let Some(python) = self.options.moto.clone() else {
            self.step(format_args!(
                "no DynamoDB table: --moto names no Python that has moto"
            ))?;
            return Ok(None);
        };
        let moto = Moto::start(&python, self.folder.path(), &self.clock).await?;
        self.step(format_args!(
            "moto stands in for DynamoDB on 127.0.0.1:{}: 1 table, {} items",
            moto.port(),
            grouped(sessions::SEEDED)
        ))?;
        Ok(Some(moto))
    }

    async fn replicate(
        &mut self,
        mut sources: Sources,
        probe: &Probe,
        pipelines: Vec<Pipeline>,
    ) -> Result<bool, DemoError> {
        let clock = self.clock.clone();
        let mut pipelines = Pipelines::start(self.options.program.clone(), pipelines)?;
        self.step(format_args!("replicator run, status on {}", pipelines.pages()))?;
        let amid = pipelines
            .until("the first copied rows", &clock, |seen, _| seen.has_rows())
            .await?;
        pipelines.kill()?;
        self.step(format_args!(
            "kill -9 amid the first copy ({})",
            probe::states(&amid)
        ))?;
        pipelines.restart()?;
        pipelines
            .until("every table to be copied", &clock, Seen::all_follow)
            .await?;
        self.step(format_args!(
            "started again: every table is copied, {} transactions later",
            grouped(sources.load.committed())
        ))?;
        let (mut appended, mut visible) = (Lags::default(), Lags::default());
        let lags = &mut (&mut appended, &mut visible);
        let half = self.options.follow / 2;
        self.measure(half, &mut pipelines, probe, &mut sources.root, lags)
            .await?;
        pipelines.kill()?;
        self.step(format_args!("kill -9 while following"))?;
        pipelines.restart()?;
        pipelines
            .until("the restarted replicator", &clock, |seen, _| seen.ready())
            .await?;
        self.pulse(&mut pipelines, probe, &mut sources.root).await?;
        self.step(format_args!("started again and caught up"))?;
        self.measure(half, &mut pipelines, probe, &mut sources.root, lags)
            .await?;
        let Sources {
            mut root,
            load,
            sessions,
        } = sources;
        let (committed, rolled_back) = load.stop().await?;
        let mut moto = None;
        let mut writes = String::new();
        if let Some((held, writer)) = sessions {
            writes = format!("; {} writes to DynamoDB", grouped(writer.stop().await?));
            moto = Some(held);
        }
        self.step(format_args!(
            "load ends: {} transactions committed, {} rolled back{writes}",
            grouped(committed),
            grouped(rolled_back)
        ))?;
        let caught_up = self.pulse(&mut pipelines, probe, &mut root).await?;
        self.step(format_args!(
            "target has caught up, {:.2} s after the last commit",
            caught_up.as_secs_f64()
        ))?;
        let comparisons = self
            .settle(&mut pipelines, probe, &mut root, moto.as_ref())
            .await?;
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

    async fn emulator(
        &self,
        rest: SocketAddr,
        write: SocketAddr,
        probe: &Probe,
    ) -> Result<Program, DemoError> {
        let path = self.folder.path();
        let mut command = Command::new(&self.options.program);
        command
            .args([
                "emulator",
                "--rest",
                &rest.to_string(),
                "--write",
                &write.to_string(),
            ])
            .arg("--data")
            .arg(path.join("bigquery.db"));
        let mut program = Program::start("replicator emulator", &mut command, path.join("emulator.log"))?;
        let deadline = self.clock.now() + PATIENCE;
        while !probe.answers().await {
            program.check()?;
            if self.clock.now() > deadline {
                return Err(program.failed("does not answer"));
            }
            self.clock.sleep(POLL).await;
        }
        Ok(program)
    }

    /// A pipeline from a source's port of this machine into the local BigQuery.
    fn pipeline(
        &self,
        (name, config, tables): (&'static str, &str, usize),
        port: u16,
        (rest, write): (SocketAddr, SocketAddr),
        probe: &Probe,
    ) -> Result<Pipeline, DemoError> {
        let path = self.folder.path();
        let checkpoint = path.join(format!("checkpoint-{name}"));
        let environment = vec![
            ("DEMO_SOURCE_PORT", port.to_string()),
            ("DEMO_REST", rest.to_string()),
            ("DEMO_WRITE", write.to_string()),
            ("DEMO_HTTP", probe.http().to_string()),
            ("DEMO_CHECKPOINT", checkpoint.display().to_string()),
            ("AWS_ACCESS_KEY_ID", "demo".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "demo".to_owned()),
        ];
        Pipeline::new(name, (config, path), environment, probe.clone(), tables)
    }

    /// Commits a change and waits until a query on the target shows it; the time that took.
    async fn pulse(
        &self,
        pipelines: &mut Pipelines,
        probe: &Probe,
        root: &mut Conn,
    ) -> Result<Duration, DemoError> {
        root.query_drop("UPDATE shop.pulse SET tick = tick + 1").await?;
        let committed = self.clock.now();
        let tick: Option<i64> = root.query_first("SELECT tick FROM shop.pulse").await?;
        let deadline = committed + PATIENCE;
        loop {
            pipelines.check()?;
            if probe.tick().await == tick {
                return Ok(self.clock.now() - committed);
            }
            if self.clock.now() > deadline {
                return Err(pipelines.failed("did not bring a change to the target"));
            }
            self.clock.sleep(POLL / 4).await;
        }
    }

    /// Measures lags for a while: appended as the replicators show it, visible as a query sees it.
    async fn measure(
        &self,
        time: Duration,
        pipelines: &mut Pipelines,
        probe: &Probe,
        root: &mut Conn,
        (appended, visible): &mut (&mut Lags, &mut Lags),
    ) -> Result<(), DemoError> {
        let end = self.clock.now() + time;
        while self.clock.now() < end {
            visible.add(self.pulse(pipelines, probe, root).await?);
            for lag in pipelines.look().await.iter().filter_map(Seen::appended_lag) {
                appended.add(lag);
            }
            self.clock.sleep(POLL * 5).await;
        }
        Ok(())
    }

    /// Compares until all is equal or patience ends: the sources are at rest, so the targets must settle.
    async fn settle(
        &self,
        pipelines: &mut Pipelines,
        probe: &Probe,
        root: &mut Conn,
        moto: Option<&Moto>,
    ) -> Result<Vec<Comparison>, DemoError> {
        let deadline = self.clock.now() + PATIENCE / 2;
        loop {
            pipelines.check()?;
            let mut found = Vec::new();
            for layout in shop::layouts() {
                let target = probe.target(&layout.table);
                found.push(compare::compare(&mut *root, &target, &Columns::same_names(&layout)).await?);
            }
            if let Some(moto) = moto {
                let layout = sessions::layout();
                let target = probe.target(&layout.table);
                found.push(compare::compare(moto.client(), &target, &Columns::same_names(&layout)).await?);
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
    fn the_configurations_are_valid_with_their_defaults() {
        let none = crate::config::Staleness::Fixed(std::time::Duration::ZERO);
        for text in [super::CONFIG, super::DYNAMODB] {
            let config = crate::config::parse(text, &|_| None).unwrap();
            assert_eq!(config.sink.max_staleness, none);
        }
    }
}
