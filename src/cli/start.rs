//! What `run`, `snapshot` and `check` have in common: from a configuration to the parts of a pipeline,
//! judged before anything is written.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::origin::Origin;
use super::signals::Signals;
use super::staleness::Steward;
use super::{Failure, Global, cost, selection, signals, standby};
use crate::bill::Prices;
use crate::checkpoint::{Opening, Store};
use crate::clock::Clock;
use crate::config::{Config, SourceConfig, Staleness};
use crate::control::{self, About};
use crate::fault::Classify;
use crate::pipeline::{self, Parts, Plan, Steering};
use crate::sink::bigquery::BigQuery;
use crate::source::mysql::preflight::KEYLESS_GRANT;
use crate::source::{Finding, Severity};
use crate::status::Status;
use crate::task;
use crate::telemetry;

/// How long work that blocks a thread may hold up the process's end.
const LINGERING: Duration = Duration::from_secs(1);

/// How long the last look at `max_staleness` may take.
const LAST_LOOK: Duration = Duration::from_secs(60);

/// Runs a command's work on a runtime of its own, with logging started and the configuration read.
///
/// # Errors
/// What the work failed with.
pub(super) fn with_config<F, T>(global: &Global, work: impl FnOnce(Config) -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    global.start_logging()?;
    let config = global.load()?;
    let runtime = Runtime::new().map_err(|error| Failure::system("cannot start the runtime", &error))?;
    let done = runtime.block_on(work(config));
    runtime.shutdown_timeout(LINGERING);
    done
}

/// A pipeline whose parts are made and whose source is judged.
struct Ready {
    config: Config,
    parts: Parts,
    health: Health,
    steward: Option<Steward>,
}

/// What is told to the outside, and what the outside says.
pub(super) struct Health {
    pub(super) status: Arc<Status>,
    steering: Arc<Steering>,
    pub(super) clock: Clock,
    pub(super) stop: CancellationToken,
    metrics: PrometheusHandle,
    about: About,
    addr: SocketAddr,
    served: Option<(control::Running, Signals)>,
}

impl Health {
    fn new(config: &Config) -> Result<Health, Failure> {
        Ok(Health {
            status: Arc::default(),
            steering: Arc::default(),
            clock: Clock::real(),
            stop: CancellationToken::new(),
            // First of all: who describes its meters needs the recorder.
            metrics: telemetry::start_metrics(&config.pipeline).map_err(Failure::usage)?,
            about: About {
                pipeline: config.pipeline.clone(),
                version: env!("CARGO_PKG_VERSION"),
                max_staleness_ms: match config.sink.max_staleness {
                    Staleness::Fixed(value) => Some(u64::try_from(value.as_millis()).unwrap_or(u64::MAX)),
                    Staleness::Auto { .. } => None,
                },
            },
            addr: config.http,
            served: None,
        })
    }

    /// Answers health checks and listens to signals from here on.
    ///
    /// # Errors
    /// The address cannot be had, or the operating system refuses the handlers.
    pub(super) async fn serve(&mut self) -> Result<(), Failure> {
        if self.served.is_some() {
            return Ok(());
        }
        let signals = signals::listen(self.stop.clone())?;
        let options = control::Options {
            addr: self.addr,
            about: self.about.clone(),
            status: Arc::clone(&self.status),
            steering: Arc::clone(&self.steering),
            clock: self.clock.clone(),
            metrics: self.metrics.clone(),
        };
        let served = control::serve(options, self.stop.clone())
            .await
            .map_err(|error| failed(&error))?;
        self.served = Some((served, signals));
        Ok(())
    }

    /// Ends what is served.
    async fn end(self) -> Result<(), Failure> {
        self.stop.cancel();
        let Some((served, _signals)) = self.served else {
            return Ok(());
        };
        // A client that keeps its connection open must not keep the process.
        tokio::select! {
            ended = served.ended() => ended.map_err(|error| failed(&error)),
            () = self.clock.sleep(LINGERING) => Ok(()),
        }
    }
}

/// Whether to wait for another instance that owns the pipeline.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Waiting {
    /// End with an error if another instance owns the pipeline, and do not stand by until it is gone.
    /// (With a checkpoint in a directory nobody stands by: a second instance always ends.)
    #[arg(long)]
    pub(super) no_wait: bool,
}

/// How long a pipeline runs.
#[derive(Debug, Clone)]
pub(super) enum Until {
    /// A signal comes.
    Stopped,
    /// Everything is copied.
    Copied {
        /// Patterns of the tables that are meant; none: all.
        only: Vec<String>,
    },
}

/// Makes a pipeline's parts and runs it.
///
/// # Errors
/// What makes a start pointless, or what the pipeline failed with.
pub(super) async fn start(
    config: Config,
    waiting: Waiting,
    until: Until,
    shown: impl FnOnce(Arc<Status>),
) -> Result<(), Failure> {
    let (until_copied, only) = match until {
        Until::Stopped => (false, Vec::new()),
        Until::Copied { only } => (true, only),
    };
    if until_copied && !config.source.copies() && matches!(config.source, SourceConfig::Dynamodb(_)) {
        return Err(Failure::Failed {
            what: "sources[0].dynamodb.first_load is none: there is nothing to copy".to_owned(),
            hint: Some("write first_load: export or first_load: scan, or use replicator run".to_owned()),
        });
    }
    let mut health = Health::new(&config)?;
    let opened = Store::open(&config.checkpoint, &config.pipeline, health.clock.clone()).await;
    let store = match opened.map_err(|error| failed(&error))? {
        Opening::Owned(store) => store,
        Opening::Standby(standby) => match standby::wait(standby, waiting, &mut health).await? {
            Some(store) => store,
            None => return health.end().await,
        },
    };
    shown(Arc::clone(&health.status));
    let end = match Ready::new((config, &only), store.clone(), health).await {
        Ok(ready) => ready.run(until_copied).await,
        Err(failure) => Err(failure),
    };
    store.release().await;
    end
}

impl Ready {
    /// Connects to the source and judges it; of new tables it takes those `only` that match one of the patterns, if
    /// there are any.
    ///
    /// # Errors
    /// The first thing that makes a start pointless; for the source, all of them at once.
    async fn new(
        (mut config, only): (Config, &[String]),
        store: Store,
        health: Health,
    ) -> Result<Ready, Failure> {
        let clock = health.clock.clone();
        let resumed = store.load().await.map_err(|error| failed(&error))?;
        if !only.is_empty() {
            let tables = resumed.iter().flat_map(|checkpoint| checkpoint.tables.keys());
            selection::narrow(&mut config, only, tables.cloned().collect())?;
        }
        let origin = Origin::new(&config, clock.clone()).await?;
        refuse(&origin.findings().await?, resumed.is_some())?;
        selection::all_are_met(&*origin.source(), only).await?;
        let status = Arc::clone(&health.status);
        let sink = BigQuery::new(&config, clock.clone())
            .map_err(|error| failed(&error))?
            .reporting_to(Arc::clone(&status));
        let sink = Arc::new(sink);
        let steward = match cost::budget(config.sink.max_staleness) {
            None => None,
            Some(budget) => Some(Steward::new(
                (Prices::own().map_err(Failure::usage)?, budget),
                (origin.clone(), Arc::clone(&sink)),
                Arc::clone(&status),
                clock.clone(),
            )),
        };
        let parts = Parts {
            source: origin.source(),
            sink,
            store,
            status,
            clock,
        };
        Ok(Ready {
            config,
            parts,
            health,
            steward,
        })
    }

    /// Runs the pipeline with its health served, until a signal or, if asked, until all is copied.
    ///
    /// # Errors
    /// What the pipeline failed with.
    async fn run(self, until_copied: bool) -> Result<(), Failure> {
        let Ready {
            config,
            parts,
            mut health,
            steward,
        } = self;
        health.serve().await?;
        let plan = Plan {
            policies: config.schema_changes.clone(),
            pipeline: config.pipeline.clone(),
            copy: until_copied || config.source.copies(),
            parallelism: config.source.parallelism(),
            max_rows_per_second: config.source.max_rows_per_second(),
            max_replica_lag: config.source.max_replica_lag(),
            copied_when_lost: config.source.copied_when_lost(),
            until_copied,
        };
        let done = CancellationToken::new();
        let tending = steward.map(|steward| task::spawn("max_staleness", steward.run(done.clone())));
        let steering = Arc::clone(&health.steering);
        let end = pipeline::run_steered(parts, plan, steering, health.stop.clone()).await;
        // A copy that ended leaves its tables as they are to be while they are followed.
        if let (true, Ok(()), Some(mut tending)) = (until_copied, &end, tending) {
            done.cancel();
            tokio::select! {
                () = tending.finished() => {}
                () = health.clock.sleep(LAST_LOOK) => {}
            }
        }
        health.end().await?;
        end.map_err(|error| {
            tracing::error!(error = %crate::fault::chain(&error), "pipeline ended");
            failed(&error)
        })
    }
}

/// A failure with its cure.
pub(super) fn failed(error: &dyn Classify) -> Failure {
    Failure::failed(error)
}

/// Logs what is worth knowing and fails with all that cannot work. What a table needs that is new to a pipeline which
/// ran before concerns that table, and must not stop those that run.
fn refuse(findings: &[Finding], resumed: bool) -> Result<(), Failure> {
    for finding in findings
        .iter()
        .filter(|finding| finding.severity == Severity::Warning)
    {
        tracing::warn!(subject = finding.subject, cure = finding.cure, "{}", finding.text);
    }
    let errors: Vec<&Finding> = findings
        .iter()
        .filter(|finding| {
            finding.severity == Severity::Error && !(resumed && finding.subject == KEYLESS_GRANT)
        })
        .collect();
    let join = |part: fn(&Finding) -> String| {
        errors
            .iter()
            .map(|finding| part(finding))
            .collect::<Vec<_>>()
            .join("; ")
    };
    if errors.is_empty() {
        return Ok(());
    }
    Err(Failure::Failed {
        what: join(|finding| format!("{}: {}", finding.subject, finding.text)),
        hint: Some(join(|finding| finding.cure.clone())),
    })
}
