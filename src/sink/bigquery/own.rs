//! Tables of the program's own, one of a kind in each data set that has needed one: their rows are added, never changed.

use std::collections::HashMap;
use std::sync::Arc;

use prost::encoding::{WireType, encode_key, encode_varint};
use serde_json::{Value, json};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use super::block::Block;
use super::delivery::{Destination, Mode, Outcome};
use super::descriptor;
use super::encode::{TIMESTAMPS, put_bytes};
use super::error::Error;
use super::plan::Place;
use super::pool::Pool;
use super::rest::delays;
use super::tables::Tables;
use super::types::Form;
use crate::event::TableId;
use crate::fault::{Classify, Fault, chain};

/// A column: name, form, meaning.
pub(super) type OwnColumn = (&'static str, Form, &'static str);

/// How often a request is sent that is refused.
const TRIES: u32 = 3;

/// What a table of ours is.
#[derive(Debug)]
pub(super) struct Kind {
    /// Its name in every data set.
    pub(super) name: &'static str,
    /// Its columns, in the order in which their values are written.
    pub(super) columns: &'static [OwnColumn],
    /// The table resource, but for where it is and its columns.
    pub(super) resource: fn() -> Value,
}

/// Tables of one kind.
#[derive(Debug)]
pub(super) struct OwnTables {
    kind: Kind,
    pub(super) tables: Arc<Tables>,
    /// Tables that are there, by data set.
    ready: Mutex<HashMap<String, Arc<Destination>>>,
    /// One request at a time, beside the memory of other rows: waiting for theirs could wait for itself.
    room: Arc<Semaphore>,
}

impl OwnTables {
    pub(super) fn new(kind: Kind, tables: Arc<Tables>) -> OwnTables {
        OwnTables {
            kind,
            tables,
            ready: Mutex::default(),
            room: Arc::new(Semaphore::new(1)),
        }
    }

    /// The one beside a table.
    pub(super) fn beside(&self, place: &Place) -> Place {
        Place {
            table: self.kind.name.to_owned(),
            ..place.clone()
        }
    }

    /// Adds rows; they are in BigQuery when this returns.
    ///
    /// # Errors
    /// The table cannot be had, or the rows were refused more than once.
    pub(super) async fn add(&self, pool: &Pool, place: &Place, block: Block) -> Result<(), Error> {
        let destination = self.destination(place).await?;
        let room = Arc::clone(&self.room).acquire_owned().await;
        let room = room.map_err(|_| Error::Stopped)?;
        append(pool, &destination, block, room).await
    }

    /// The table in this place, made if it is not there.
    async fn destination(&self, place: &Place) -> Result<Arc<Destination>, Error> {
        let mut ready = self.ready.lock().await;
        if let Some(destination) = ready.get(&place.dataset) {
            return Ok(Arc::clone(destination));
        }
        let columns = self.kind.columns.iter();
        let destination = Arc::new(Destination::new(
            TableId::new(place.dataset.as_str(), self.kind.name),
            place.clone(),
            Mode::Append,
            descriptor::plain(columns.clone().map(|(name, form, _)| (*name, form.wire()))),
        ));
        let columns: Vec<_> = columns.map(|(name, form, _)| (*name, form.target())).collect();
        let mut waits = delays();
        while let Err(error) = self.tables.ensure(&destination, &columns, self.resource()).await {
            // Who waits here may hold the frontier; an outage is no reason to stop.
            let (Fault::Transient { .. }, Some(wait)) = (error.fault(), waits.next()) else {
                return Err(error);
            };
            let (table, error) = (self.kind.name, chain(&error));
            tracing::warn!(
                table,
                error,
                "a table of the replicator's own cannot be had, trying again"
            );
            self.tables.rest.clock().sleep(wait).await;
        }
        ready.insert(place.dataset.clone(), Arc::clone(&destination));
        Ok(destination)
    }

    /// What the table is beside its name.
    fn resource(&self) -> Value {
        let columns = self.kind.columns.iter();
        let fields: Vec<Value> = columns
            .map(|(name, form, meaning)| {
                json!({ "name": name, "type": form.target().name(), "mode": "NULLABLE", "description": meaning })
            })
            .collect();
        let mut resource = (self.kind.resource)();
        if let Some(object) = resource.as_object_mut() {
            object.insert("schema".to_owned(), json!({ "fields": fields }));
        }
        resource
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

/// Writes fields one after the other, in the order of the columns.
pub(super) struct Fields<'a> {
    out: &'a mut Vec<u8>,
    next: u32,
}

impl<'a> Fields<'a> {
    /// From the first column on.
    pub(super) fn new(out: &'a mut Vec<u8>) -> Fields<'a> {
        Fields { out, next: 1 }
    }

    /// Text, absent without a value.
    pub(super) fn text(&mut self, value: Option<&str>) {
        if let Some(value) = value {
            put_bytes(self.out, self.next, value.as_bytes());
        }
        self.next += 1;
    }

    /// A whole number, or a truth value.
    pub(super) fn varint(&mut self, value: u64) {
        encode_key(self.next, WireType::Varint, self.out);
        encode_varint(value, self.out);
        self.next += 1;
    }

    /// An instant, absent if BigQuery cannot hold it.
    pub(super) fn timestamp(&mut self, micros: i64) {
        if TIMESTAMPS.contains(&micros) {
            self.varint(micros.cast_unsigned());
        } else {
            self.next += 1;
        }
    }
}
