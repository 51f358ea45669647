//! What `run`, `snapshot` and `check` have in common: from a configuration to the parts of a pipeline,
//! judged before anything is written.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::{Failure, Global, signals};
use crate::checkpoint::FileStore;
use crate::clock::Clock;
use crate::config::{Config, SnapshotMode};
use crate::control::{self, About};
use crate::fault::Classify;
use crate::pipeline::{self, Parts, Plan};
use crate::sink::bigquery::BigQuery;
use crate::source::mysql::Mysql;
use crate::source::mysql::preflight::{Facts, Finding, Severity, judge};
use crate::status::Status;
use crate::telemetry;

/// How long work that blocks a thread may hold up the process's end.
const LINGERING: Duration = Duration::from_secs(1);

/// The preflight's word for tables without a key.
const KEYS: &str = "primary key";

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
#[derive(Debug)]
pub(super) struct Ready {
    config: Config,
    parts: Parts,
    metrics: PrometheusHandle,
    stop: CancellationToken,
}

impl Ready {
    /// Takes the checkpoint, then connects to the source and judges it.
    ///
    /// # Errors
    /// The first thing that makes a start pointless; for the source, all of them at once.
    pub(super) async fn new(config: Config) -> Result<Ready, Failure> {
        let clock = Clock::real();
        // First of all: who describes its meters needs the recorder.
        let metrics = telemetry::start_metrics(&config.pipeline).map_err(Failure::usage)?;
        let store = FileStore::open(&config.checkpoint, &config.pipeline).map_err(|error| failed(&error))?;
        let source = Mysql::new(config.source.clone(), clock.clone());
        let resumed = store.load().map_err(|error| failed(&error))?.is_some();
        refuse(&findings(&source, &config).await?, resumed)?;
        let status = Arc::new(Status::default());
        let sink = BigQuery::new(&config, clock.clone())
            .map_err(|error| failed(&error))?
            .reporting_to(Arc::clone(&status));
        let parts = Parts {
            source: Arc::new(source),
            sink: Arc::new(sink),
            store: Arc::new(store),
            status,
            clock,
        };
        Ok(Ready {
            config,
            parts,
            metrics,
            stop: CancellationToken::new(),
        })
    }

    /// What the outside is told.
    pub(super) fn status(&self) -> Arc<Status> {
        Arc::clone(&self.parts.status)
    }

    /// Runs the pipeline with its health served, until a signal or, if asked, until all is copied.
    ///
    /// # Errors
    /// What the pipeline failed with.
    pub(super) async fn run(self, until_copied: bool) -> Result<(), Failure> {
        let Ready {
            config,
            parts,
            metrics,
            stop,
        } = self;
        let _signals = signals::listen(stop.clone())?;
        let options = control::Options {
            addr: config.http,
            about: About {
                pipeline: config.pipeline.clone(),
                version: env!("CARGO_PKG_VERSION"),
                max_staleness_ms: u64::try_from(config.sink.max_staleness.as_millis()).unwrap_or(u64::MAX),
            },
            status: Arc::clone(&parts.status),
            clock: parts.clock.clone(),
            metrics,
        };
        let served = control::serve(options, stop.clone())
            .await
            .map_err(|error| failed(&error))?;
        let plan = Plan {
            pipeline: config.pipeline.clone(),
            copy: until_copied || config.source.snapshot.mode == SnapshotMode::Initial,
            parallelism: config.source.snapshot.parallelism,
            until_copied,
        };
        let clock = parts.clock.clone();
        let end = pipeline::run(parts, plan, stop.clone()).await;
        stop.cancel();
        // A client that keeps its connection open must not keep the process.
        tokio::select! {
            ended = served.ended() => ended.map_err(|error| failed(&error))?,
            () = clock.sleep(LINGERING) => {}
        }
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

/// Everything about the source that matters to a pipeline.
///
/// # Errors
/// The source cannot be reached or refuses.
pub(super) async fn findings(source: &Mysql, config: &Config) -> Result<Vec<Finding>, Failure> {
    let patterns = &config.source.tables;
    let mut conn = source
        .connector()
        .connect_query()
        .await
        .map_err(|error| failed(&error))?;
    let facts = Facts::read(&mut conn, patterns)
        .await
        .map_err(|error| failed(&error))?;
    Ok(judge(&facts, patterns, config.source.snapshot.mode))
}

/// Logs what is worth knowing and fails with all that cannot work. A table without a key that is new to
/// a pipeline which ran before is left out, and must not stop those that run.
fn refuse(findings: &[Finding], resumed: bool) -> Result<(), Failure> {
    for finding in findings
        .iter()
        .filter(|finding| finding.severity == Severity::Warning)
    {
        tracing::warn!(subject = finding.subject, cure = finding.cure, "{}", finding.text);
    }
    let errors: Vec<&Finding> = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error && !(resumed && finding.subject == KEYS))
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
