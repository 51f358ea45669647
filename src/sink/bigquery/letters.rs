//! The tables of dead letters, one in each data set that has needed one. Their rows are added, never
//! changed, and go away by themselves with their day's partition. A row whose letter cannot be
//! written is lost to everyone, so that stops the process.

use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::block::{Block, ROWS_FIELD};
use super::encode::{ChangeType, put_bytes};
use super::error::Error;
use super::letter::{Letter, hex_text};
use super::own::{Fields, Kind, OwnColumn, OwnTables};
use super::plan::Target;
use super::pool::Pool;
use super::tables::Tables;
use super::types::Form;
use crate::event::ColumnName;

/// The table's name in every data set.
const DEAD_LETTERS: &str = "_replicator_dead_letters";

/// Letters of one request. Each has at most 64 KiB of its row and far less of anything else, so that a hundred
/// stay below what a request may hold.
pub(super) const LETTERS: usize = 100;

/// How long letters are kept: 30 days.
const EXPIRATION_MS: u64 = 30 * 24 * 3600 * 1000;

/// The columns in their order, which is that of [`DeadLetters::row`].
const COLUMNS: &[OwnColumn] = &[
    ("happened_at", Form::Timestamp, "when the row was put aside"),
    (
        "id",
        Form::Text,
        "the same for the same refused change: a restart may put it aside twice",
    ),
    ("pipeline", Form::Text, "the pipeline's name"),
    ("source", Form::Text, "the source's name in the configuration"),
    ("source_schema", Form::Text, "database of the source table"),
    ("source_table", Form::Text, "the source table"),
    ("target", Form::Text, "the table that did not take the row"),
    ("position", Form::Text, "the change's place in the source's log"),
    ("sequence", Form::Text, "the change's _CHANGE_SEQUENCE_NUMBER"),
    ("operation", Form::Text, "UPSERT or DELETE"),
    ("committed_at", Form::Timestamp, "commit time at the source"),
    ("key", Form::Json, "the key columns, by their names in the source"),
    (
        "column",
        Form::Text,
        "the column at fault, by its name in the source, if it is known",
    ),
    ("reason", Form::Text, "why; what BigQuery says may quote a value"),
    (
        "stale",
        Form::Bool,
        "whether the target may still show an older version of the row",
    ),
    (
        "payload",
        Form::Text,
        "the row as JSON, cut after 65536 bytes; NULL for a row that is too large to be sent",
    ),
    ("payload_bytes", Form::Int64, "length of the whole JSON in bytes"),
    ("payload_sha256", Form::Text, "SHA-256 of the whole JSON"),
];

/// Writes dead letters.
#[derive(Debug)]
pub(super) struct DeadLetters {
    own: OwnTables,
    pipeline: String,
    source: String,
}

impl DeadLetters {
    pub(super) fn new(tables: Arc<Tables>, pipeline: String, source: String) -> DeadLetters {
        let kind = Kind {
            name: DEAD_LETTERS,
            columns: COLUMNS,
            resource,
        };
        DeadLetters {
            own: OwnTables::new(kind, tables),
            pipeline,
            source,
        }
    }

    /// Writes the letters of rows that `target` did not take; they are in BigQuery when this returns.
    ///
    /// # Errors
    /// [`Error::DeadLetter`].
    pub(super) async fn write(&self, pool: &Pool, target: &Target, letters: &[Letter]) -> Result<(), Error> {
        let place = self.own.beside(&target.destination.place);
        let failed = |source: Error| Error::DeadLetter {
            table: target.layout.table.clone(),
            at: letters.first().map(|letter| letter.at),
            target: place.to_string(),
            source: Box::new(source),
        };
        let block = self.block(target, letters);
        self.own.add(pool, &place, block).await.map_err(failed)?;
        for letter in letters {
            target.destination.meters.put_aside();
            tracing::warn!(
                table = %target.layout.table,
                key = letter.shown_key(),
                column = letter.column.as_ref().map(ColumnName::as_str),
                position = %letter.at,
                reason = letter.shown_reason,
                stale = letter.stale,
                "row refused by the target and put aside as a dead letter"
            );
        }
        Ok(())
    }

    fn block(&self, target: &Target, letters: &[Letter]) -> Block {
        let mut body = Vec::new();
        let mut row = Vec::new();
        for letter in letters {
            row.clear();
            self.row(&mut row, target, letter);
            put_bytes(&mut body, ROWS_FIELD, &row);
        }
        Block {
            body: body.into(),
            rows: letters.len(),
        }
    }

    fn row(&self, out: &mut Vec<u8>, target: &Target, letter: &Letter) {
        let table = &target.layout.table;
        let (sequence, operation) = (letter.order.to_string(), operation(letter.change));
        let mut row = Fields::new(out);
        row.timestamp(self.own.tables.rest.clock().unix_micros());
        row.text(Some(&self.id(target, letter)));
        row.text(Some(&self.pipeline));
        row.text(Some(&self.source));
        row.text(Some(table.schema()));
        row.text(Some(table.name()));
        row.text(Some(&target.destination.place.to_string()));
        row.text(Some(&letter.at.to_string()));
        row.text(Some(&sequence));
        row.text(Some(operation));
        row.timestamp(letter.committed_micros);
        row.text(Some(&letter.key));
        row.text(letter.column.as_ref().map(ColumnName::as_str));
        row.text(Some(&letter.reason));
        row.varint(u64::from(letter.stale));
        row.text(letter.payload.as_deref());
        row.varint(letter.payload_bytes);
        row.text(Some(&letter.payload_sha256));
    }

    /// What tells one refused change from every other, and is the same whenever it is read again.
    fn id(&self, target: &Target, letter: &Letter) -> String {
        let table = &target.layout.table;
        // Rows without a key, read by one snapshot, share all but what they hold.
        let row = if target.key.is_empty() {
            &letter.payload_sha256
        } else {
            &letter.key
        };
        let mut hash = Sha256::new();
        for part in [
            self.pipeline.as_str(),
            &self.source,
            table.schema(),
            table.name(),
            &letter.order.to_string(),
            operation(letter.change),
            row,
        ] {
            hash.update(part);
            hash.update([0]);
        }
        hex_text(hash.finalize().get(..16).unwrap_or_default())
    }
}

fn operation(change: ChangeType) -> &'static str {
    match change {
        ChangeType::Upsert => "UPSERT",
        ChangeType::Delete => "DELETE",
    }
}

fn resource() -> Value {
    json!({
        "description": "rows that the replicator could not write, each kept for 30 days",
        "timePartitioning": {
            "type": "DAY",
            "field": "happened_at",
            "expirationMs": EXPIRATION_MS.to_string(),
        },
        "clustering": { "fields": ["source_schema", "source_table"] },
    })
}

#[cfg(test)]
mod tests;
