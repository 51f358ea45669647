//! What the process says of itself: log lines on standard error, a panic as a log line before it
//! becomes an error, and the recorder behind `/metrics`, which `control` serves.

use std::io::{self, IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::sync::LazyLock;

use indicatif::MultiProgress;
use metrics::{Unit, describe_counter, describe_gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing::subscriber::{SetGlobalDefaultError, set_global_default};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, fmt};

use crate::clock::Clock;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log filter cannot be read.
    #[error("the log level {level:?} cannot be used")]
    Level {
        /// As given.
        level: String,
        /// Why.
        source: ParseError,
    },
    /// The process has a subscriber already.
    #[error("logging is set up already")]
    Twice(#[from] SetGlobalDefaultError),
    /// The metrics recorder cannot be built or is there already.
    #[error("metrics cannot be set up")]
    Metrics(#[from] BuildError),
}

/// Upper bounds of durations, seconds: from a local call to the longest wait for a job.
const SECONDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0,
];

/// Upper bounds of sizes, bytes: from one small row to the largest request.
const BYTES: [f64; 9] = [
    256.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    8_388_608.0,
    20_971_520.0,
];

/// Starts logging; `level` is a level or a list of `target=level`.
///
/// # Errors
/// The level cannot be read, or logging was started before.
pub fn start_logging(format: LogFormat, level: &str) -> Result<(), TelemetryError> {
    let filter = EnvFilter::builder()
        .parse(level)
        .map_err(|source| TelemetryError::Level {
            level: level.to_owned(),
            source,
        })?;
    let terminal = io::stderr().is_terminal();
    let json = match format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let started = if json {
        set_global_default(json_lines(filter, io::stderr))
    } else {
        let lines = fmt().with_env_filter(filter).with_writer(|| AboveBars);
        set_global_default(lines.with_ansi(terminal).event_format(ForPeople).finish())
    };
    started?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// Where progress bars are drawn, so that log lines and bars do not overwrite each other.
pub fn bars() -> &'static MultiProgress {
    static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);
    &BARS
}

/// Standard error, with the bars out of the way meanwhile.
struct AboveBars;

impl Write for AboveBars {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        bars().suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// A line for people: time of day (UTC), level, what happened, details. Which task says it is left to
/// the JSON form.
struct ForPeople;

impl<S, N> FormatEvent<S, N> for ForPeople
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let second = Clock::real()
            .unix_micros()
            .div_euclid(1_000_000)
            .rem_euclid(86_400);
        let (hour, minute) = (second / 3600, second / 60 % 60);
        let (level, color) = match *event.metadata().level() {
            Level::ERROR => ("ERROR", "31"),
            Level::WARN => ("WARN ", "33"),
            Level::INFO => ("INFO ", "32"),
            Level::DEBUG => ("DEBUG", "34"),
            Level::TRACE => ("TRACE", "35"),
        };
        write!(writer, "{hour:02}:{minute:02}:{:02}Z ", second % 60)?;
        if writer.has_ansi_escapes() {
            write!(writer, "\x1b[{color}m{level}\x1b[0m ")?;
        } else {
            write!(writer, "{level} ")?;
        }
        ctx.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// One flat object a line, with the innermost span, which names the task.
fn json_lines<W>(filter: EnvFilter, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .finish()
}

/// Starts the metrics recorder; every metric carries the pipeline's name.
///
/// # Errors
/// The process has a recorder already.
pub fn start_metrics(pipeline: &str) -> Result<PrometheusHandle, TelemetryError> {
    let handle = builder(pipeline)?.install_recorder()?;
    describe();
    Ok(handle)
}

fn builder(pipeline: &str) -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new()
        .add_global_label("pipeline", pipeline)
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), &BYTES)
}

fn describe() {
    describe_gauge!("replicator_ready", "1 if every part makes progress, else 0");
    describe_gauge!(
        "replicator_appended_lag_seconds",
        Unit::Seconds,
        "Time by which acknowledged changes trail the source's commits"
    );
    describe_gauge!(
        "replicator_checkpoint_age_seconds",
        Unit::Seconds,
        "Time since the checkpoint was written"
    );
    describe_gauge!(
        "replicator_xa_prepared",
        "XA transactions that are prepared and neither committed nor rolled back"
    );
    describe_gauge!(
        "replicator_xa_prepared_oldest_seconds",
        Unit::Seconds,
        "Age of the oldest of them: the server's log must keep its rows"
    );
    describe_gauge!(
        "replicator_table_parked",
        "1 if the table is not followed any more"
    );
    describe_gauge!(
        "replicator_snapshot_rows",
        "Rows of the table's snapshot that the target acknowledged"
    );
    describe_counter!(
        "replicator_rows_total",
        "Changes from the log that the target acknowledged"
    );
    describe_counter!(
        "replicator_sent_bytes_total",
        Unit::Bytes,
        "Bytes sent for changes from the log that the target acknowledged"
    );
    describe_counter!(
        "replicator_rows_skipped_total",
        "Changes left out because a snapshot holds them"
    );
    describe_counter!(
        "replicator_source_errors_total",
        "Failures of the source that may pass"
    );
}

/// The panic's text is logged with its place; who joins the task turns it into an error.
fn log_panic(info: &PanicHookInfo<'_>) {
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    tracing::error!(
        place,
        thread = thread.name().unwrap_or("unnamed"),
        text = info.payload_as_str().unwrap_or("no message"),
        "panic"
    );
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::task;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_json_line_has_each_key_once_and_names_the_task() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = json_lines(EnvFilter::new("info"), move || writer.clone());
        let guard = tracing::subscriber::set_default(subscriber);
        task::spawn("reader", async {
            tracing::warn!(table = "shop.orders", "parked");
            tracing::debug!("left out");
        })
        .join()
        .await
        .unwrap();
        drop(guard);
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["message"], "parked");
        assert_eq!(line["table"], "shop.orders");
        assert_eq!(line["span"]["task"], "reader");
        // A key that occurs twice would be lost on the way through a parser.
        assert_eq!(serde_json::to_string(&line).unwrap(), text.trim_end());
    }

    #[tokio::test]
    async fn a_line_for_people_has_the_time_the_level_and_the_details_only() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .event_format(ForPeople)
            .finish();
        let guard = tracing::subscriber::set_default(subscriber);
        task::spawn("reader", async {
            tracing::warn!(table = "shop.orders", "parked")
        })
        .join()
        .await
        .unwrap();
        drop(guard);
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let (time, rest) = text.split_at(9);
        assert_eq!(
            (time.matches(':').count(), time.ends_with('Z')),
            (2, true),
            "{text}"
        );
        assert_eq!(rest, " WARN  parked table=\"shop.orders\"\n");
    }

    #[test]
    fn metrics_carry_the_pipeline_and_their_descriptions() {
        let recorder = builder("shop").unwrap().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            describe();
            metrics::gauge!("replicator_ready").set(1.0);
            metrics::histogram!("replicator_append_seconds").record(0.02);
        });
        let text = recorder.handle().render();
        assert!(
            text.contains("# HELP replicator_ready 1 if every part makes progress"),
            "{text}"
        );
        assert!(text.contains("replicator_ready{pipeline=\"shop\"} 1"), "{text}");
        assert!(
            text.contains("replicator_append_seconds_bucket{pipeline=\"shop\",le=\"0.025\"} 1"),
            "{text}"
        );
    }

    #[test]
    fn a_level_that_cannot_be_read_is_named() {
        let error = start_logging(LogFormat::Text, "replicator=loudly").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the log level \"replicator=loudly\" cannot be used"
        );
    }
}
