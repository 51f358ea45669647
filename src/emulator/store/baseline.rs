//! The baseline of a table with `max_staleness`: what queries see until pending changes are applied.
//!
//! The table of rows always holds the newest state. Beside it, a table with `max_staleness` that changes are
//! streamed into has `base_<uid>`, its rows as of the last apply job, and `dirty_<uid>`, the rows that
//! changed since. A job is due every `max_staleness`; it is caught up with before anything else is done, so
//! that everything pending at that time came before the moment at which it was due. What a job reads is
//! counted as Google bills it: the whole baseline, and the changes.

use rusqlite::params;
use serde_json::json;

use super::Store;
use super::jobs::Job;
use crate::emulator::civil;
use crate::emulator::error::ApiResult;
use crate::emulator::schema::{Baseline, Kind, Table};

/// Whom Google's apply jobs run as.
const APPLIER: &str = "bigquery-adminbot@system.gserviceaccount.com";

/// How much a table holds, as its resource says it.
#[derive(Debug, Default)]
pub(crate) struct Extent {
    /// Rows without those that wait.
    pub(crate) rows: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// What waits to be applied; none if nothing does.
    pub(crate) waiting: Option<Waiting>,
}

/// Changes that wait to be applied.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// When they may have begun to, microseconds since 1970.
    pub(crate) since: i64,
}

/// `max_staleness` in microseconds; zero if queries shall see everything.
fn staleness(table: &Table) -> i64 {
    let text = table.options.max_staleness.as_deref();
    text.and_then(civil::interval_micros).unwrap_or(0).max(0)
}

/// A value's size as Google counts it (<https://cloud.google.com/bigquery/pricing#data>).
fn size(column: &str, kind: Kind) -> String {
    let fixed = |bytes: u32| format!("iif({column} IS NULL, 0, {bytes})");
    match kind {
        Kind::Bool => fixed(1),
        Kind::Int64 | Kind::Float64 | Kind::Date | Kind::Time | Kind::DateTime | Kind::Timestamp => fixed(8),
        Kind::Numeric(_) | Kind::Interval => fixed(16),
        Kind::BigNumeric(_) => fixed(32),
        Kind::Json => format!("ifnull(length(CAST({column} AS BLOB)), 0)"),
        Kind::String(_) | Kind::Bytes(_) => format!("ifnull(2 + length(CAST({column} AS BLOB)), 0)"),
    }
}

impl Store {
    /// Makes or removes the baseline as the table's options and use ask for.
    pub(super) fn sync_baseline(&mut self, table: &mut Table) -> ApiResult<()> {
        let is_wanted = table.has_changes && staleness(table) > 0;
        let (base, dirty) = (table.base(), table.dirty());
        if is_wanted && table.baseline.is_none() {
            let columns = column_list(table);
            self.connection.flush_prepared_statement_cache();
            self.connection.execute_batch(&format!(
                "CREATE TABLE {base} (rid INTEGER PRIMARY KEY, gone INTEGER{columns});
                 CREATE TABLE {dirty} (rid INTEGER PRIMARY KEY);
                 INSERT INTO {base} SELECT rid, NULL{columns} FROM {} WHERE gone IS NULL;",
                table.storage()
            ))?;
            table.baseline = Some(Baseline {
                due: self.clock().unix_micros(),
                watermark: None,
            });
        } else if !is_wanted && table.baseline.is_some() {
            self.drop_baseline(table)?;
            table.baseline = None;
        }
        Ok(())
    }

    /// Removes the baseline's tables.
    pub(super) fn drop_baseline(&mut self, table: &Table) -> ApiResult<()> {
        if table.baseline.is_some() {
            self.connection.flush_prepared_statement_cache();
            self.connection.execute_batch(&format!(
                "DROP TABLE {}; DROP TABLE {};",
                table.base(),
                table.dirty()
            ))?;
        }
        Ok(())
    }

    /// Catches up with the apply jobs that are due.
    pub(crate) fn settle(&mut self) -> ApiResult<()> {
        let now = self.clock().unix_micros();
        let mut due = Vec::new();
        for table in self.tables.values() {
            let Some(baseline) = &table.baseline else { continue };
            if self.script.is_stalled(&table.name) {
                self.stalled.insert(table.uid);
            } else if now - baseline.due >= staleness(table) {
                due.push(Table::clone(table));
            }
        }
        for table in due {
            self.atomically(|store| store.apply(table, now))?;
        }
        Ok(())
    }

    /// Applies what is pending to a table's baseline.
    fn apply(&mut self, mut table: Table, now: i64) -> ApiResult<()> {
        let Some(before) = table.baseline.clone() else {
            return Ok(());
        };
        let every = staleness(&table).max(1);
        let missed = (now - before.due) / every;
        let mut baseline = Baseline {
            due: before.due + missed * every,
            watermark: before.watermark,
        };
        let (rows, base, dirty) = (table.storage(), table.base(), table.dirty());
        let pending: i64 =
            self.connection
                .query_row(&format!("SELECT count(*) FROM {dirty}"), (), |row| row.get(0))?;
        if pending > 0 {
            let bytes = self.bytes(&table, &base, "true")?
                + self.bytes(&table, &rows, &format!("rid IN (SELECT rid FROM {dirty})"))?;
            let columns = column_list(&table);
            self.connection.execute_batch(&format!(
                "DELETE FROM {base} WHERE rid IN (SELECT rid FROM {dirty});
                 INSERT INTO {base} SELECT rid, NULL{columns} FROM {rows}
                   WHERE gone IS NULL AND rid IN (SELECT rid FROM {dirty});
                 DELETE FROM {dirty};"
            ))?;
            // The first job that was due found all of it: what came later would have found it applied. After
            // a standstill the job runs late.
            let due = before.due + every;
            let at = if self.stalled.remove(&table.uid) { now } else { due };
            baseline.watermark = Some(at);
            let mut counters = self.counters(&table);
            counters.applies += 1;
            counters.apply_bytes += bytes;
            self.save_counters(&table, counters)?;
            self.keep(&self.apply_job(&table, at, bytes))?;
        }
        table.baseline = Some(baseline);
        self.save_table(table)?;
        Ok(())
    }

    fn apply_job(&self, table: &Table, at: i64, bytes: u64) -> Job {
        let dataset = self.datasets.get(&table.name.dataset);
        Job {
            project: table.name.dataset.project.clone(),
            id: format!("cdc_background_{}_{at}", table.uid),
            location: dataset.map_or_else(|| "US".to_owned(), |dataset| dataset.location.clone()),
            configuration: json!({ "jobType": "QUERY" }),
            created_ms: at / 1_000,
            ended_ms: at / 1_000,
            failure: None,
            statement_type: "MERGE".to_owned(),
            operation: None,
            target: Some(table.name.clone()),
            columns: Vec::new(),
            rows: 0,
            bytes,
            user: Some(APPLIER.to_owned()),
        }
    }

    /// Whether a query sees the baseline; otherwise it merges what is pending as it runs.
    pub(crate) fn sees_baseline(&self, table: &Table) -> bool {
        let now = self.clock().unix_micros();
        let due = table.baseline.as_ref().map(|baseline| baseline.due);
        due.is_some_and(|due| now - due <= staleness(table))
    }

    /// The storage's table that a query reads.
    pub(crate) fn read_from(&self, table: &Table) -> String {
        if self.sees_baseline(table) {
            table.base()
        } else {
            table.storage()
        }
    }

    /// Whether a query on the table merges as it runs.
    pub(crate) fn merges(&self, table: &Table) -> bool {
        table.has_changes && !self.sees_baseline(table)
    }

    /// How much a table holds. Its resource knows no merges at query time: what is not applied waits.
    pub(crate) fn extent(&self, table: &Table) -> ApiResult<Extent> {
        let Some(baseline) = &table.baseline else {
            return Ok(Extent {
                rows: self.count(&table.storage(), "gone IS NULL")?,
                bytes: self.bytes(table, &table.storage(), "gone IS NULL")?,
                waiting: None,
            });
        };
        let dirty = table.dirty();
        let waiting = match self.count(&dirty, "true")? {
            0 => None,
            rows => Some(Waiting {
                rows,
                bytes: self.bytes(
                    table,
                    &table.storage(),
                    &format!("rid IN (SELECT rid FROM {dirty})"),
                )?,
                since: baseline.due,
            }),
        };
        Ok(Extent {
            rows: self.count(&table.base(), "true")?,
            bytes: self.bytes(table, &table.base(), "true")?,
            waiting,
        })
    }

    /// Rows of a table of the storage.
    pub(super) fn count(&self, storage: &str, condition: &str) -> ApiResult<u64> {
        let sql = format!("SELECT count(*) FROM {storage} WHERE {condition}");
        let count: i64 = self.connection.query_row(&sql, (), |row| row.get(0))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// Counts a merge that a query made, and gives the bytes it read.
    pub(super) fn note_merge(&mut self, table: &Table) -> ApiResult<u64> {
        let bytes = self.bytes(table, &table.storage(), "gone IS NULL")?;
        let mut counters = self.counters(table);
        counters.runtime_merges += 1;
        counters.runtime_merge_bytes += bytes;
        self.save_counters(table, counters)?;
        Ok(bytes)
    }

    /// Bytes of a table's rows, as Google counts them.
    pub(crate) fn bytes(&self, table: &Table, storage: &str, condition: &str) -> ApiResult<u64> {
        let sizes = table
            .fields
            .iter()
            .map(|field| size(&field.id.to_string(), field.kind));
        let sizes: Vec<String> = sizes.collect();
        if sizes.is_empty() {
            return Ok(0);
        }
        let sql = format!(
            "SELECT ifnull(sum({}), 0) FROM {storage} WHERE {condition}",
            sizes.join(" + ")
        );
        let bytes: i64 = self.connection.query_row(&sql, params![], |row| row.get(0))?;
        Ok(u64::try_from(bytes).unwrap_or(0))
    }
}

/// The columns of a table in the storage, each after a comma.
pub(super) fn column_list(table: &Table) -> String {
    table
        .fields
        .iter()
        .map(|field| format!(", {}", field.id))
        .collect()
}
