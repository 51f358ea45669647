//! The tables of dead letters, one in each data set that has needed one. Their rows are added, never
//! changed, and go away by themselves with their day's partition. A row whose letter cannot be
//! written is lost to everyone, so that stops the process.

use std::collections::HashMap;
use std::sync::Arc;

use prost::encoding::{WireType, encode_key, encode_varint};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use super::block::{Block, ROWS_FIELD};
use super::delivery::{Destination, Mode, Outcome};
use super::descriptor;
use super::encode::{ChangeType, TIMESTAMPS, put_bytes};
use super::error::Error;
use super::letter::{Letter, hex_text};
use super::plan::{Place, Target};
use super::pool::Pool;
use super::rest::delays;
use super::tables::Tables;
use super::types::Form;
use crate::event::{ColumnName, TableId};
use crate::fault::{Classify, Fault, chain};

/// The table's name in every data set.
const DEAD_LETTERS: &str = "_replicator_dead_letters";

/// Letters of one request. Each has at most 64 KiB of its row and far less of anything else, so that a hundred
/// stay below what a request may hold.
pub(super) const LETTERS: usize = 100;

/// How often a request of letters is sent that is refused.
const TRIES: u32 = 3;

/// How long letters are kept: 30 days.
const EXPIRATION_MS: u64 = 30 * 24 * 3600 * 1000;

/// The columns in their order, which is that of [`DeadLetters::row`]: name, form, meaning.
const COLUMNS: [(&str, Form, &str); 18] = [
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
    tables: Arc<Tables>,
    pipeline: String,
    source: String,
    /// Tables that are there, by data set.
    ready: Mutex<HashMap<String, Arc<Destination>>>,
    /// One request at a time, beside the memory of other rows: waiting for theirs could wait for itself.
    room: Arc<Semaphore>,
}

impl DeadLetters {
    pub(super) fn new(tables: Arc<Tables>, pipeline: String, source: String) -> DeadLetters {
        DeadLetters {
            tables,
            pipeline,
            source,
            ready: Mutex::default(),
            room: Arc::new(Semaphore::new(1)),
        }
    }

    /// Writes the letters of rows that `target` did not take; they are in BigQuery when this returns.
    ///
    /// # Errors
    /// [`Error::DeadLetter`].
    pub(super) async fn write(&self, pool: &Pool, target: &Target, letters: &[Letter]) -> Result<(), Error> {
        let place = Place {
            table: DEAD_LETTERS.to_owned(),
            ..target.destination.place.clone()
        };
        let failed = |source: Error| Error::DeadLetter {
            table: target.layout.table.clone(),
            at: letters.first().map(|letter| letter.at),
            target: place.to_string(),
            source: Box::new(source),
        };
        let destination = self.destination(&place).await.map_err(failed)?;
        let room = Arc::clone(&self.room).acquire_owned().await;
        let room = room.map_err(|_| Error::Stopped)?;
        let block = self.block(target, letters);
        append(pool, &destination, block, room).await.map_err(failed)?;
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

    /// The table in this place, made if it is not there.
    async fn destination(&self, place: &Place) -> Result<Arc<Destination>, Error> {
        let mut ready = self.ready.lock().await;
        if let Some(destination) = ready.get(&place.dataset) {
            return Ok(Arc::clone(destination));
        }
        let columns = COLUMNS.map(|(name, form, _)| (name, form.wire()));
        let destination = Arc::new(Destination::new(
            TableId::new(place.dataset.as_str(), DEAD_LETTERS),
            place.clone(),
            Mode::Append,
            descriptor::plain(columns.into_iter()),
        ));
        let columns = COLUMNS.map(|(name, form, _)| (name, form.target()));
        let mut waits = delays();
        while let Err(error) = self.tables.ensure(&destination, &columns, resource()).await {
            // Who waits here holds the frontier; an outage is no reason to stop.
            let (Fault::Transient { .. }, Some(wait)) = (error.fault(), waits.next()) else {
                return Err(error);
            };
            tracing::warn!(
                error = chain(&error),
                "the table of dead letters cannot be had, trying again"
            );
            self.tables.rest.clock().sleep(wait).await;
        }
        ready.insert(place.dataset.clone(), Arc::clone(&destination));
        Ok(destination)
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
        let mut row = Fields { out, next: 1 };
        row.timestamp(self.tables.rest.clock().unix_micros());
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

/// Appends rows of ours; they are in BigQuery when this returns. Nothing in them is what a table would not
/// take, so a refusal is tried again before it is believed.
pub(super) async fn append(
    pool: &Pool,
    destination: &Arc<Destination>,
    mut block: Block,
    mut room: OwnedSemaphorePermit,
) -> Result<(), Error> {
    let mut tries = 0;
    loop {
        let answer = pool.deliver(destination, block, room).await?;
        let outcome = answer.await.map_err(|_| Error::Stopped)?;
        let status;
        (block, room, status) = match outcome {
            Outcome::Appended => return Ok(()),
            Outcome::Failed(error) => return Err(error),
            Outcome::Rows { block, room, errors } => {
                let status = format!("{} of {} rows", errors.len(), block.rows);
                (block, room, status)
            }
            Outcome::Refused { block, room, message } => (block, room, message),
        };
        tries += 1;
        if tries == TRIES {
            return Err(Error::Refused {
                table: destination.table.clone(),
                target: destination.place.to_string(),
                status,
            });
        }
    }
}

fn operation(change: ChangeType) -> &'static str {
    match change {
        ChangeType::Upsert => "UPSERT",
        ChangeType::Delete => "DELETE",
    }
}

/// Writes fields one after the other, in the order of the columns.
struct Fields<'a> {
    out: &'a mut Vec<u8>,
    next: u32,
}

impl Fields<'_> {
    fn text(&mut self, value: Option<&str>) {
        if let Some(value) = value {
            put_bytes(self.out, self.next, value.as_bytes());
        }
        self.next += 1;
    }

    fn varint(&mut self, value: u64) {
        encode_key(self.next, WireType::Varint, self.out);
        encode_varint(value, self.out);
        self.next += 1;
    }

    /// An instant, absent if BigQuery cannot hold it.
    fn timestamp(&mut self, micros: i64) {
        if TIMESTAMPS.contains(&micros) {
            self.varint(micros.cast_unsigned());
        } else {
            self.next += 1;
        }
    }
}

/// What the table is beside its name.
fn resource() -> Value {
    let fields = COLUMNS.map(|(name, form, meaning)| {
        json!({ "name": name, "type": form.target().name(), "mode": "NULLABLE", "description": meaning })
    });
    json!({
        "description": "rows that the replicator could not write, each kept for 30 days",
        "schema": { "fields": fields },
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
