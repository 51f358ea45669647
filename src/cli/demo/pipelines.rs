//! The demo's replicators: one process a source, each with a configuration as a user writes it.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::child::Program;
use super::error::DemoError;
use super::probe::{Probe, Seen};
use super::{PATIENCE, POLL};
use crate::clock::Clock;

/// One `replicator run`, which is killed and started again.
#[derive(Debug)]
pub(super) struct Pipeline {
    /// The source's name for people.
    source: &'static str,
    config: PathBuf,
    log: PathBuf,
    environment: Vec<(&'static str, String)>,
    probe: Probe,
    tables: usize,
    running: Option<Program>,
}

impl Pipeline {
    /// Writes its configuration into `folder`; nothing runs yet. `tables`: how many it copies.
    pub(super) fn new(
        source: &'static str,
        (config, folder): (&str, &Path),
        environment: Vec<(&'static str, String)>,
        probe: Probe,
        tables: usize,
    ) -> Result<Pipeline, DemoError> {
        let path = folder.join(format!("{source}.yaml"));
        std::fs::write(&path, config).map_err(DemoError::io("writing the configuration"))?;
        Ok(Pipeline {
            source,
            config: path,
            log: folder.join(format!("replicator-{source}.log")),
            environment,
            probe,
            tables,
            running: None,
        })
    }

    /// Where its status page is, with the source's name.
    pub(super) fn page(&self) -> String {
        format!("http://{}/ ({})", self.probe.http(), self.source)
    }

    fn start(&mut self, program: &Path) -> Result<(), DemoError> {
        let mut command = Command::new(program);
        command
            .args(["run", "--config"])
            .arg(&self.config)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        let started = Program::start("replicator run", &mut command, self.log.clone())?;
        self.running = Some(started);
        Ok(())
    }

    fn failed(&self, what: String) -> DemoError {
        match &self.running {
            Some(running) => running.failed(what),
            None => DemoError::io(what)(std::io::ErrorKind::NotConnected.into()),
        }
    }
}

/// All of them, which live and die together.
#[derive(Debug)]
pub(super) struct Pipelines {
    program: PathBuf,
    all: Vec<Pipeline>,
}

impl Pipelines {
    /// Starts them.
    pub(super) fn start(program: PathBuf, all: Vec<Pipeline>) -> Result<Pipelines, DemoError> {
        let mut pipelines = Pipelines { program, all };
        pipelines.restart()?;
        Ok(pipelines)
    }

    /// Starts them again.
    pub(super) fn restart(&mut self) -> Result<(), DemoError> {
        let program = &self.program;
        self.all.iter_mut().try_for_each(|one| one.start(program))
    }

    /// Kills them without warning.
    pub(super) fn kill(&mut self) -> Result<(), DemoError> {
        for one in &mut self.all {
            if let Some(mut running) = one.running.take() {
                running.kill()?;
            }
        }
        Ok(())
    }

    /// An error if one has ended.
    pub(super) fn check(&mut self) -> Result<(), DemoError> {
        let mut running = self.all.iter_mut().filter_map(|one| one.running.as_mut());
        running.try_for_each(Program::check)
    }

    /// What is seen of each.
    pub(super) async fn look(&self) -> Vec<Seen> {
        let mut seen = Vec::new();
        for one in &self.all {
            seen.push(one.probe.look().await);
        }
        seen
    }

    /// Polls until a condition on what is seen and the number of tables holds for each, one ends or patience does.
    pub(super) async fn until(
        &mut self,
        what: &'static str,
        clock: &Clock,
        holds: impl Fn(&Seen, usize) -> bool,
    ) -> Result<Vec<Seen>, DemoError> {
        let deadline = clock.now() + PATIENCE;
        loop {
            self.check()?;
            let seen = self.look().await;
            let mut each = self.all.iter().zip(&seen);
            let Some((late, found)) = each.find(|(one, seen)| !holds(seen, one.tables)) else {
                return Ok(seen);
            };
            if clock.now() > deadline {
                let problems = found.problems();
                return Err(late.failed(format!("made us wait for {what}{problems}")));
            }
            clock.sleep(POLL).await;
        }
    }

    /// An error about the first of them.
    pub(super) fn failed(&self, what: &str) -> DemoError {
        match self.all.first() {
            Some(first) => first.failed(what.to_owned()),
            None => DemoError::io(what)(std::io::ErrorKind::NotConnected.into()),
        }
    }

    /// Where their status pages are.
    pub(super) fn pages(&self) -> String {
        let pages: Vec<String> = self.all.iter().map(Pipeline::page).collect();
        pages.join(" and ")
    }
}
