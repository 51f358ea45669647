//! The tables of schema changes, one in each data set: what the source's DDL made of the targets there, for good. Their
//! rows are added, never changed. No row of a user's is in them, so the flow does not wait for one that cannot be written.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::block::{Block, ROWS_FIELD};
use super::encode::put_bytes;
use super::error::Error;
use super::letter::hex_text;
use super::name::{literal, quoted};
use super::own::{Fields, Kind, OwnColumn, OwnTables};
use super::plan::Place;
use super::pool::Pool;
use super::query::Answered;
use super::tables::{self, Tables};
use super::types::Form;
use crate::schema::{KeptChange, SchemaChange};

/// The table's name in every data set.
const SCHEMA_CHANGES: &str = "_replicator_schema_changes";

/// Bytes of a statement that are kept.
const TEXT: usize = 64 << 10;

/// The columns in their order, which is that of [`History::row`].
const COLUMNS: &[OwnColumn] = &[
    ("happened_at", Form::Timestamp, "when it was done"),
    (
        "id",
        Form::Text,
        "the same for the same change: a restart may write it twice",
    ),
    ("pipeline", Form::Text, "the pipeline's name"),
    ("source", Form::Text, "the source's name in the configuration"),
    ("source_schema", Form::Text, "database of the source table"),
    ("source_table", Form::Text, "the source table"),
    ("target", Form::Text, "the table that was changed"),
    (
        "happened",
        Form::Text,
        "columns: the target's columns were changed; opened: the table is copied from here on; swept: rows that are gone \
         without row events were deleted; parked: it is not followed any more",
    ),
    (
        "position",
        Form::Text,
        "the transaction's place in the source's log",
    ),
    (
        "statement",
        Form::Text,
        "the source's statement, if one was seen; cut after 65536 bytes",
    ),
    (
        "cause",
        Form::Text,
        "why the table is parked, or its rows are read again",
    ),
    ("ran", Form::Text, "what ran at the target, one statement a line"),
    ("took_ms", Form::Int64, "how long that took, milliseconds"),
];

/// Keeps the history.
#[derive(Debug)]
pub(super) struct History {
    own: OwnTables,
    pipeline: String,
    source: String,
}

impl History {
    pub(super) fn new(tables: Arc<Tables>, pipeline: String, source: String) -> History {
        let kind = Kind {
            name: SCHEMA_CHANGES,
            columns: COLUMNS,
            resource,
        };
        History {
            own: OwnTables::new(kind, tables),
            pipeline,
            source,
        }
    }

    /// Adds a change of the target in a place; it is in BigQuery when this returns.
    ///
    /// # Errors
    /// The table cannot be had, or the row was refused.
    pub(super) async fn add(&self, pool: &Pool, target: &Place, change: &SchemaChange) -> Result<(), Error> {
        let (mut row, mut body) = (Vec::new(), Vec::new());
        self.row(&mut row, target, change);
        put_bytes(&mut body, ROWS_FIELD, &row);
        let block = Block {
            body: body.into(),
            rows: 1,
        };
        self.own.add(pool, &self.own.beside(target), block).await
    }

    fn row(&self, out: &mut Vec<u8>, target: &Place, change: &SchemaChange) {
        let position = change.at.map(|at| at.to_string());
        let ran = change.ran.join("\n");
        let filled = |text: &str| (!text.is_empty()).then(|| cut(text).to_owned());
        let mut row = Fields::new(out);
        row.timestamp(self.own.tables.rest.clock().unix_micros());
        row.text(Some(&self.id(change)));
        row.text(Some(&self.pipeline));
        row.text(Some(&self.source));
        row.text(Some(change.table.schema()));
        row.text(Some(change.table.name()));
        row.text(Some(&target.to_string()));
        row.text(Some(change.happened.as_str()));
        row.text(position.as_deref());
        row.text(filled(&change.statement).as_deref());
        row.text(filled(&change.cause).as_deref());
        row.text(filled(&ran).as_deref());
        row.varint(u64::try_from(change.took.as_millis()).unwrap_or(u64::MAX));
    }

    fn id(&self, change: &SchemaChange) -> String {
        let mut hash = Sha256::new();
        for part in [
            self.pipeline.as_str(),
            &self.source,
            change.table.schema(),
            change.table.name(),
            change.happened.as_str(),
            &change.at.map(|at| at.to_string()).unwrap_or_default(),
            &change.cause,
        ] {
            hash.update(part);
            hash.update([0]);
        }
        hex_text(hash.finalize().get(..16).unwrap_or_default())
    }

    /// The latest changes of the targets in the data sets of these places, newest first, each once.
    ///
    /// # Errors
    /// BigQuery cannot be asked.
    pub(super) async fn latest(&self, places: Vec<Place>, most: u32) -> Result<Vec<KeptChange>, Error> {
        let tables = &self.own.tables;
        let places: BTreeSet<(String, String)> = places
            .into_iter()
            .map(|place| (place.project, place.dataset))
            .collect();
        let mut found = Vec::new();
        for (project, dataset) in places {
            let place = Place {
                project,
                dataset,
                table: SCHEMA_CHANGES.to_owned(),
            };
            if !tables::exists(&tables.rest, &place).await? {
                continue;
            }
            let sql = format!(
                "SELECT happened_at, id, source_schema, source_table, target, happened, position, statement, cause, ran, took_ms \
                 FROM {} WHERE pipeline = {} ORDER BY happened_at DESC LIMIT {most}",
                quoted(&place),
                literal(&self.pipeline)
            );
            match tables.jobs.rows(&tables.rest, &sql, most).await {
                Ok(Answered::Rows(rows)) => found.extend(rows.iter().filter_map(read)),
                Ok(Answered::TooDear) => {
                    tracing::warn!(%place, "the history is too large for a query that costs little")
                }
                // Dropped a moment ago.
                Err(Error::Rest { .. }) if !tables::exists(&tables.rest, &place).await? => {}
                Err(error) => return Err(error),
            }
        }
        // Of one that was written twice the first one tells what ran.
        found.sort_by_key(|change: &KeptChange| change.happened_at_micros);
        let mut seen = BTreeSet::new();
        found.retain(|change| seen.insert(change.id.clone()));
        found.reverse();
        found.truncate(usize::try_from(most).unwrap_or(usize::MAX));
        Ok(found)
    }
}

/// A row as the REST API writes it.
fn read(row: &Value) -> Option<KeptChange> {
    let cell = |at: usize| row.get("f")?.get(at)?.get("v")?.as_str().map(str::to_owned);
    Some(KeptChange {
        happened_at_micros: cell(0)?.parse().ok()?,
        id: cell(1)?,
        table: format!("{}.{}", cell(2)?, cell(3)?),
        target: cell(4)?,
        happened: cell(5)?,
        position: cell(6),
        statement: cell(7),
        cause: cell(8),
        ran: cell(9),
        took_ms: cell(10)?.parse().ok()?,
    })
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(TEXT)).unwrap_or(text)
}

fn resource() -> Value {
    json!({
        "description": "what became of the source's changes of tables, change by change",
        "timePartitioning": { "type": "MONTH", "field": "happened_at" },
        "clustering": { "fields": ["source_schema", "source_table"] },
    })
}
