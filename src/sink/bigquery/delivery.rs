//! What is handed to a connection and what comes back. A delivery names a table's default stream, the
//! schema of the rows and what the rows are; it does not know how they came about, so whatever has
//! encoded rows can be delivered.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::block::Block;
use super::error::Error;
use super::meters::TableMeters;
use super::plan::Place;
use crate::event::TableId;
use crate::proto::descriptor::DescriptorProto;

/// What the rows of a connection are. BigQuery refuses rows with and without `_CHANGE_TYPE` on one connection
/// (<https://cloud.google.com/bigquery/docs/change-data-capture>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Mode {
    /// Upserts and deletes by primary key.
    Cdc,
    /// Rows that are added.
    Append,
}

/// A table's default stream and what is written to it.
#[derive(Debug)]
pub(super) struct Destination {
    /// The source table that the rows are of.
    pub(super) table: TableId,
    /// The table in BigQuery.
    pub(super) place: Place,
    /// What the rows are.
    pub(super) mode: Mode,
    /// The default write stream's name.
    pub(super) stream: String,
    /// The writer schema, a serialized `ProtoSchema`.
    pub(super) schema: Bytes,
    /// The source table's meters.
    pub(super) meters: TableMeters,
}

impl Destination {
    /// The default stream of `place`, for rows of `table` that `descriptor` describes.
    pub(super) fn new(table: TableId, place: Place, mode: Mode, descriptor: DescriptorProto) -> Destination {
        let schema = crate::proto::storage::ProtoSchema {
            proto_descriptor: Some(descriptor),
        };
        Destination {
            meters: TableMeters::of(&table),
            stream: place.stream(),
            schema: schema.encode_to_vec().into(),
            table,
            place,
            mode,
        }
    }
}

/// A block on its way.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) destination: Arc<Destination>,
    pub(super) block: Block,
    /// Its share of the memory for rows in flight, given back when the delivery ends.
    pub(super) room: OwnedSemaphorePermit,
    pub(super) done: oneshot::Sender<Outcome>,
}

/// How a delivery ends. Whatever another sending of the same block could cure does not end it.
#[derive(Debug)]
pub(super) enum Outcome {
    /// BigQuery has the rows.
    Appended,
    /// BigQuery found rows at fault and appended none of the block.
    Rows {
        /// The block, to be sent again without them.
        block: Block,
        /// The block's share of memory.
        room: OwnedSemaphorePermit,
        /// Index in the block and BigQuery's message; at least one. The list may be cut
        /// (<https://cloud.google.com/bigquery/docs/reference/storage/rpc/google.cloud.bigquery.storage.v1#rowerror>).
        errors: Vec<(usize, String)>,
    },
    /// BigQuery refused the request as a whole and appended nothing; a part of it may pass.
    Refused {
        /// The block.
        block: Block,
        /// The block's share of memory.
        room: OwnedSemaphorePermit,
        /// The answer's text.
        message: String,
    },
    /// The destination cannot be written.
    Failed(Error),
}

impl Delivery {
    /// The rows are in BigQuery.
    pub(super) fn appended(self) {
        drop(self.room);
        // Who asked may be gone; the rows are in the table all the same.
        let _unheard = self.done.send(Outcome::Appended);
    }

    /// Hands the block back with the rows that BigQuery named.
    pub(super) fn rows(self, errors: Vec<(usize, String)>) {
        let (block, room) = (self.block, self.room);
        let _unheard = self.done.send(Outcome::Rows { block, room, errors });
    }

    /// Hands the block back with what BigQuery said of it as a whole.
    pub(super) fn refused(self, message: String) {
        let (block, room) = (self.block, self.room);
        let _unheard = self.done.send(Outcome::Refused { block, room, message });
    }

    /// Ends without hope for this destination.
    pub(super) fn failed(self, error: Error) {
        drop(self.room);
        let _unheard = self.done.send(Outcome::Failed(error));
    }
}
