//! What was written, counted: and whether one sequence number of one row ever came with two contents, which
//! would make the order of that row's versions a matter of luck. A snapshot's numbers are counted apart: a
//! row that is read again may have changed, and a change of the stream will say so anyway.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension as _, params};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Store;
use crate::emulator::error::ApiResult;
use crate::emulator::numeric::Decimal;
use crate::emulator::schema::Table;
use crate::emulator::value::Cell;
use crate::emulator::writer::{ChangeType, Row};

/// What was written to a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Counters {
    /// Acknowledged requests.
    pub(crate) requests: u64,
    /// Rows without a change type.
    pub(crate) rows_appended: u64,
    pub(crate) upserts: u64,
    pub(crate) deletes: u64,
    /// Changes that an earlier one with a larger number outranked.
    pub(crate) outranked: u64,
    /// Changes without a sequence number; beside changes with one, their order is a matter of luck.
    pub(crate) changes_without_number: u64,
    /// Rows acknowledged and lost, because the table was made again under an open connection.
    pub(crate) rows_swallowed: u64,
    /// Values acknowledged and lost, because their column was dropped under an open connection.
    pub(crate) values_swallowed: u64,
    /// Background jobs that applied changes to the baseline.
    pub(crate) applies: u64,
    /// What they read.
    pub(crate) apply_bytes: u64,
    /// Queries that merged what was pending as they ran.
    pub(crate) runtime_merges: u64,
    /// What those merges read.
    pub(crate) runtime_merge_bytes: u64,
    /// Pairs of key and number that came with two contents, snapshot rows excepted.
    pub(crate) numbers_with_two_contents: u64,
    /// The same of snapshot rows.
    pub(crate) snapshot_numbers_with_two_contents: u64,
}

impl Store {
    pub(super) fn load_counters(&self) -> ApiResult<BTreeMap<i64, Counters>> {
        let mut counters = BTreeMap::new();
        let mut statement = self.connection.prepare("SELECT uid, meta FROM counters")?;
        let mut found = statement.query(())?;
        while let Some(row) = found.next()? {
            let meta: String = row.get(1)?;
            counters.insert(row.get(0)?, serde_json::from_str(&meta)?);
        }
        Ok(counters)
    }

    pub(super) fn save_counters(&mut self, table: &Table, counters: Counters) -> ApiResult<()> {
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO counters (uid, meta) VALUES (?, ?)")?
            .execute(params![table.uid, serde_json::to_string(&counters)?])?;
        self.counters.insert(table.uid, counters);
        Ok(())
    }

    /// The counters of a table.
    pub(crate) fn counters(&self, table: &Table) -> Counters {
        self.counters.get(&table.uid).copied().unwrap_or_default()
    }

    /// All tables with their counters.
    pub(crate) fn audit(&self) -> Vec<(String, Counters)> {
        let name = |table: &Table| {
            let dataset = &table.name.dataset;
            format!("{}.{}.{}", dataset.project, dataset.dataset, table.name.table)
        };
        self.tables
            .values()
            .map(|table| (name(table), self.counters(table)))
            .collect()
    }

    /// Notes the content of a change and counts it if its number came with another content before.
    pub(super) fn note_content(
        &self,
        table: &Table,
        row: &Row<'_>,
        counters: &mut Counters,
    ) -> ApiResult<()> {
        let (true, Some(key), Some(sequence)) = (self.is_audited, &row.key, row.sequence) else {
            return Ok(());
        };
        let (uid, number, content) = (table.uid, sequence.to_bytes(), content(table, row));
        let insert = format!(
            "INSERT INTO audit_{uid} (k, seq, content, differs) VALUES (?, ?, ?, 0) ON CONFLICT DO NOTHING"
        );
        let mut insert = self.connection.prepare_cached(&insert)?;
        if insert.execute(params![key, number, content])? == 1 {
            return Ok(());
        }
        let update = format!(
            "UPDATE audit_{uid} SET differs = 1 WHERE k = ? AND seq = ? AND content <> ? AND differs = 0 RETURNING 1"
        );
        let mut update = self.connection.prepare_cached(&update)?;
        let differs: Option<i64> = update
            .query_row(params![key, number, content], |row| row.get(0))
            .optional()?;
        if differs.is_some() && sequence.is_of_snapshot() {
            counters.snapshot_numbers_with_two_contents += 1;
        } else if differs.is_some() {
            counters.numbers_with_two_contents += 1;
        }
        Ok(())
    }
}

/// A digest of what a change says: its type and, of an upsert, each value that is not NULL with its column's identity.
fn content(table: &Table, row: &Row<'_>) -> Vec<u8> {
    let mut hash = Sha256::new();
    let is_upsert = row.change == Some(ChangeType::Upsert);
    hash.update([u8::from(is_upsert)]);
    if is_upsert {
        for (field, cell) in table.fields.iter().zip(&row.cells) {
            let (tag, bytes): (u8, &[u8]) = match cell {
                Cell::Null => continue,
                // A column that was widened in between holds the same number in another form.
                Cell::Int(value) => (5, &Decimal::from(*value).to_stored()),
                Cell::Real(value) => (2, &value.to_bits().to_be_bytes()),
                Cell::Text(text) => (3, text.as_bytes()),
                Cell::Blob(bytes) => (4, bytes),
                Cell::Decimal(stored) => (5, stored),
            };
            hash.update(field.id.0.to_be_bytes());
            hash.update([tag]);
            hash.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(bytes);
        }
    }
    hash.finalize().iter().take(16).copied().collect()
}
