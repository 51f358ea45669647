//! What the pipeline knows of itself, for health checks, the status page and the terminal. Written by
//! the tasks as they go, read by whoever serves it; never a way to steer a row's way.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::clock::Clock;
use crate::event::{LogPosition, TableId};

/// A part that has to show life. Zero: it has not started.
#[derive(Debug, Default)]
pub struct Heartbeat(AtomicI64);

impl Heartbeat {
    /// Shows life.
    pub fn beat(&self, clock: &Clock) {
        self.0.store(clock.unix_micros(), Ordering::Relaxed);
    }

    /// Microseconds since it last showed life; `None` if it never did.
    pub fn silence(&self, clock: &Clock) -> Option<i64> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            at => Some(clock.unix_micros().saturating_sub(at).max(0)),
        }
    }
}

/// Silence after which a part counts as stuck, microseconds: twelve heartbeats of the log.
const SILENCE_MICROS: i64 = 60_000_000;

/// How a table is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum TableProgress {
    /// Not opened yet.
    #[default]
    Waiting,
    /// Being copied.
    Snapshot {
        /// Rows that the source estimates.
        estimate: u64,
        /// Rows acknowledged.
        #[serde(rename = "copied_rows")]
        rows: u64,
        /// Chunks acknowledged.
        chunks: u64,
    },
    /// Copied and followed.
    Streaming {
        /// Rows that this process copied or found copied while the snapshot was under way.
        #[serde(rename = "copied_rows", skip_serializing_if = "is_zero")]
        rows: u64,
    },
    /// To be copied again.
    Reopening {
        /// Why.
        cause: String,
    },
    /// The source dropped it; its target is kept.
    Dropped,
    /// Not followed any more.
    Parked {
        /// Why, and the cure.
        cause: String,
    },
}

/// One table, as shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TableView {
    /// How it is doing.
    #[serde(flatten)]
    pub progress: TableProgress,
    /// Changes from the log that the target acknowledged since the start.
    pub rows: u64,
    /// Bytes sent for them.
    pub bytes: u64,
    /// Changes left out because a snapshot holds them.
    pub skipped: u64,
    /// Rows that the target refused and keeps as dead letters, since the start.
    #[serde(skip_serializing_if = "is_zero")]
    pub dead_letters: u64,
    /// Where the last of those is and why, without a value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_dead_letter: Option<String>,
    /// The target's `max_staleness`, milliseconds, where it is chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_staleness_ms: Option<u64>,
    /// Why it is that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_staleness_why: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[derive(Debug, Default)]
struct Inner {
    tables: BTreeMap<TableId, TableView>,
    read_to: String,
    safe_at: String,
    source_error: Option<String>,
    fatal: Option<String>,
    standby: Option<String>,
    lost: Option<PositionLost>,
    safe_file: Option<u64>,
    retention: Option<Duration>,
}

/// A position that the source does not continue, as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PositionLost {
    /// Why.
    pub reason: String,
    /// What to do about it.
    pub cure: Option<String>,
}

impl PositionLost {
    fn text(&self) -> String {
        let cure = self.cure.as_ref().map(|cure| format!("; {cure}"));
        format!("position lost: {}{}", self.reason, cure.unwrap_or_default())
    }
}

/// A pipeline's state, shared.
#[derive(Debug, Default)]
pub struct Status {
    /// The log's reader.
    pub reader: Heartbeat,
    /// The owner of durable state.
    pub keeper: Heartbeat,
    /// The way to the target.
    pub sink: Heartbeat,
    saved: Heartbeat,
    read_commit: AtomicI64,
    caught_up: AtomicI64,
    acknowledged_commit: AtomicI64,
    rows: AtomicU64,
    inner: Mutex<Inner>,
}

/// A part that has to show life, as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartView {
    /// What it does.
    pub name: &'static str,
    /// Whether it showed life lately.
    pub alive: bool,
    /// Milliseconds since it last did; `None` before the first time.
    pub silent_ms: Option<i64>,
}

/// What is shown of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StatusView {
    /// Whether every part makes progress.
    pub ready: bool,
    /// Why not, part by part; empty when ready.
    pub problems: Vec<String>,
    /// The parts that have to show life.
    pub parts: Vec<PartView>,
    /// Changes from the log that the target acknowledged since the start, all tables.
    pub rows: u64,
    /// Where the log is read.
    pub read_to: String,
    /// Where a restart would begin.
    pub safe_at: String,
    /// Milliseconds by which acknowledged changes trail the source's commits; `None` before the first.
    pub appended_lag_ms: Option<i64>,
    /// Seconds that the source keeps its log; `None`: for ever, or nobody says.
    pub retention_s: Option<u64>,
    /// Age of the checkpoint, milliseconds; `None` before the first.
    pub checkpoint_age_ms: Option<i64>,
    /// Why nothing is copied any more, if so: the source does not continue what was read of it.
    pub position_lost: Option<PositionLost>,
    /// The source's last transient error.
    pub source_error: Option<String>,
    /// Tables by name.
    pub tables: BTreeMap<String, TableView>,
}

impl Status {
    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn update(&self, table: &TableId, act: impl FnOnce(&mut TableView)) {
        self.with(|inner| match inner.tables.get_mut(table) {
            Some(view) => act(view),
            None => act(inner.tables.entry(table.clone()).or_default()),
        });
    }

    /// Announces a table.
    pub fn table(&self, table: &TableId) {
        self.update(table, |_| {});
    }

    /// A table's snapshot begins or goes on.
    pub fn snapshot_begins(&self, table: &TableId, estimate: u64, rows: u64, chunks: u64) {
        self.update(table, |view| {
            view.progress = TableProgress::Snapshot {
                estimate,
                rows,
                chunks,
            }
        });
    }

    /// A table's snapshot has come so far.
    pub fn snapshot_progress(&self, table: &TableId, rows: u64, chunks: u64) {
        self.update(table, |view| {
            let estimate = if let TableProgress::Snapshot { estimate, .. } = view.progress {
                estimate
            } else {
                0
            };
            view.progress = TableProgress::Snapshot {
                estimate,
                rows,
                chunks,
            };
        });
        metrics::gauge!("replicator_snapshot_rows", "table" => table.to_string()).set(to_f64(rows));
    }

    /// A table is copied.
    pub fn streaming(&self, table: &TableId) {
        self.update(table, |view| {
            let rows = if let TableProgress::Snapshot { rows, .. } = view.progress {
                rows
            } else {
                0
            };
            view.progress = TableProgress::Streaming { rows };
        });
        metrics::gauge!("replicator_table_parked", "table" => table.to_string()).set(0.0);
    }

    /// A table is to be copied again.
    pub fn reopening(&self, table: &TableId, cause: &str) {
        let cause = cause.to_owned();
        self.update(table, |view| view.progress = TableProgress::Reopening { cause });
        metrics::counter!("replicator_table_reopened_total", "table" => table.to_string()).increment(1);
    }

    /// The source dropped a table.
    pub fn dropped(&self, table: &TableId) {
        self.update(table, |view| view.progress = TableProgress::Dropped);
    }

    /// A table is not followed any more.
    pub fn parked(&self, table: &TableId, cause: &str) {
        self.update(table, |view| {
            view.progress = TableProgress::Parked {
                cause: cause.to_owned(),
            }
        });
        metrics::gauge!("replicator_table_parked", "table" => table.to_string()).set(1.0);
    }

    /// The target acknowledged changes of a table.
    pub fn acknowledged(&self, table: &TableId, rows: u64, bytes: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        metrics::counter!("replicator_rows_total", "table" => table.to_string()).increment(rows);
        metrics::counter!("replicator_sent_bytes_total", "table" => table.to_string()).increment(bytes);
        self.update(table, |view| {
            view.rows += rows;
            view.bytes += bytes;
        });
    }

    /// The target refused rows and keeps them as dead letters; `last` says where the last is, and why.
    pub fn put_aside(&self, table: &TableId, rows: u64, last: Option<String>) {
        if rows > 0 {
            self.update(table, |view| {
                view.dead_letters += rows;
                view.last_dead_letter = last;
            });
        }
    }

    /// The table's `max_staleness` was chosen.
    pub fn max_staleness(&self, table: &TableId, value: Duration, why: &str) {
        self.update(table, |view| {
            view.max_staleness_ms = Some(u64::try_from(value.as_millis()).unwrap_or(u64::MAX));
            view.max_staleness_why = Some(why.to_owned());
        });
    }

    /// The tables that are not parked, and whether each is still to be loaded.
    pub fn loading(&self) -> BTreeMap<TableId, bool> {
        self.with(|inner| {
            let of = |(table, view): (&TableId, &TableView)| match view.progress {
                TableProgress::Waiting | TableProgress::Snapshot { .. } | TableProgress::Reopening { .. } => {
                    Some((table.clone(), true))
                }
                TableProgress::Streaming { .. } => Some((table.clone(), false)),
                TableProgress::Dropped | TableProgress::Parked { .. } => None,
            };
            inner.tables.iter().filter_map(of).collect()
        })
    }

    /// Changes were left out.
    pub fn skipped(&self, table: &TableId, changes: usize) {
        let changes = u64::try_from(changes).unwrap_or(u64::MAX);
        self.update(table, |view| view.skipped += changes);
        metrics::counter!("replicator_rows_skipped_total", "table" => table.to_string()).increment(changes);
    }

    /// The log was read up to a commit.
    pub fn read_to(&self, clock: &Clock, committed_micros: Option<i64>) {
        match committed_micros {
            Some(at) => self.read_commit.store(at, Ordering::Relaxed),
            // A heartbeat: the source has nothing newer.
            None => self.caught_up.store(clock.unix_micros(), Ordering::Relaxed),
        }
        self.with(|inner| inner.source_error = None);
    }

    /// Everything up to a commit is acknowledged.
    pub fn acknowledged_to(&self, committed_micros: Option<i64>) {
        if let Some(at) = committed_micros {
            self.acknowledged_commit.store(at, Ordering::Relaxed);
        }
    }

    /// The checkpoint was written.
    pub fn checkpointed(&self, clock: &Clock, position: &LogPosition) {
        self.saved.beat(clock);
        self.with(|inner| {
            inner.safe_at = position.to_string();
            inner.safe_file = Some(position.next.coord.file);
        });
    }

    /// Where the log is read.
    pub fn reading(&self, position: &LogPosition) {
        self.with(|inner| inner.read_to = position.to_string());
    }

    /// The source failed in a way that may pass.
    pub fn source_error(&self, text: &str) {
        metrics::counter!("replicator_source_errors_total").increment(1);
        self.with(|inner| inner.source_error = Some(text.to_owned()));
    }

    /// Another instance owns the pipeline, and this one waits; `None` once it need not.
    pub fn standby(&self, holder: Option<String>) {
        self.with(|inner| inner.standby = holder);
    }

    /// The source does not continue what was read of it, for a reason and with a cure; `None` once it does.
    pub fn position_lost(&self, lost: Option<(String, Option<String>)>) {
        self.with(|inner| inner.lost = lost.map(|(reason, cure)| PositionLost { reason, cure }));
    }

    /// How long the source keeps its log.
    pub fn retention(&self, kept: Option<Duration>) {
        self.with(|inner| inner.retention = kept);
    }

    /// The number of the log's file in which a restart would begin; `None` before the first checkpoint.
    pub fn safe_file(&self) -> Option<u64> {
        self.with(|inner| inner.safe_file)
    }

    /// The pipeline ended and a restart will not help.
    pub fn fatal(&self, text: &str) {
        self.with(|inner| inner.fatal = Some(text.to_owned()));
    }

    /// Rows acknowledged from the log since the start.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// What to show now.
    pub fn view(&self, clock: &Clock) -> StatusView {
        let problems = self.problems(clock);
        let checkpoint_age_ms = self.saved.silence(clock).map(|micros| micros / 1000);
        let appended_lag_ms = self.appended_lag(clock).map(|micros| micros / 1000);
        self.with(|inner| StatusView {
            ready: problems.is_empty(),
            problems,
            parts: self.parts(clock).to_vec(),
            rows: self.rows(),
            read_to: inner.read_to.clone(),
            safe_at: inner.safe_at.clone(),
            appended_lag_ms,
            retention_s: inner.retention.map(|kept| kept.as_secs()),
            checkpoint_age_ms,
            position_lost: inner.lost.clone(),
            source_error: inner.source_error.clone(),
            tables: inner
                .tables
                .iter()
                .map(|(table, view)| (table.to_string(), view.clone()))
                .collect(),
        })
    }

    /// Microseconds between now and the oldest commit that may not be acknowledged.
    fn appended_lag(&self, clock: &Clock) -> Option<i64> {
        let (read, safe) = (
            self.read_commit.load(Ordering::Relaxed),
            self.acknowledged_commit.load(Ordering::Relaxed),
        );
        let caught_up = self.caught_up.load(Ordering::Relaxed);
        if read == 0 && caught_up == 0 {
            return None;
        }
        // All that was read is acknowledged: the lag is that of the reader, which heartbeats bound.
        let known = if safe >= read { safe.max(caught_up) } else { safe };
        (known > 0).then(|| clock.unix_micros().saturating_sub(known).max(0))
    }

    fn parts(&self, clock: &Clock) -> [PartView; 3] {
        let look = |name, part: &Heartbeat| {
            let silence = part.silence(clock);
            PartView {
                name,
                alive: silence.is_some_and(|micros| micros <= SILENCE_MICROS),
                silent_ms: silence.map(|micros| micros / 1000),
            }
        };
        [
            look("log reader", &self.reader),
            look("checkpoint keeper", &self.keeper),
            look("sink", &self.sink),
        ]
    }

    fn problems(&self, clock: &Clock) -> Vec<String> {
        let describe = |part: PartView| match part.silent_ms {
            _ if part.alive => None,
            None => Some(format!("{} has not started", part.name)),
            Some(silence) => Some(format!("{} has been silent for {} s", part.name, silence / 1000)),
        };
        if let Some(holder) = self.with(|inner| inner.standby.clone()) {
            return vec![format!("standing by: the pipeline is owned by {holder}")];
        }
        let lost = self.with(|inner| inner.lost.clone());
        let mut problems: Vec<String> = lost.iter().map(PositionLost::text).collect();
        problems.extend(self.parts(clock).into_iter().filter_map(describe));
        self.with(|inner| problems.extend(inner.fatal.clone()));
        problems
    }
}

#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "a gauge is a float; 2^53 rows are enough"
)]
fn to_f64(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests;
