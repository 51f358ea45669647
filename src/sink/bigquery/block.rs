//! A batch cut into blocks of encoded rows, each the rows of one append request. Within a block the
//! last change of a key wins; between blocks the sequence numbers decide.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::encode::{Altered, ChangeType, Encoded, Row, RowEncoder, put_bytes};
use super::error::{Error, RowAt};
use super::plan::Target;
use super::text;
use super::wire;
use crate::event::{Change, Op, OrderKey, Ordinal, RowChanges, RowRef};
use crate::sink::Batch;

/// Field number of `serialized_rows` in `ProtoRows`.
const ROWS_FIELD: u32 = 1;

/// Tag and length before a row in a block, at most.
const ROW_OVERHEAD: usize = 6;

/// The rows of one request.
#[derive(Debug, Clone)]
pub(super) struct Block {
    /// A serialized `ProtoRows`.
    pub(super) body: Bytes,
    /// Where each row of the body comes from, in the body's order.
    pub(super) origins: Vec<RowAt>,
    /// Source changes that the block stands for.
    pub(super) changes: u64,
}

/// One row of the block that is being filled.
#[derive(Debug)]
struct Entry {
    /// Its bytes in the body, tag and length included.
    body: Range<usize>,
    /// Its key in `Filling::keys`.
    key: Range<usize>,
    order: OrderKey,
    at: RowAt,
    altered: Altered,
    /// A later change of the key is in the block.
    superseded: bool,
    /// An earlier entry whose key has the same hash.
    same_hash: Option<usize>,
    refused: Option<Box<Error>>,
}

/// The block that is being filled.
#[derive(Debug, Default)]
struct Filling {
    body: Vec<u8>,
    keys: Vec<u8>,
    entries: Vec<Entry>,
    /// Key hash to its last entry; the others follow by `same_hash`, so equal hashes cost a comparison and nothing else.
    heads: HashMap<u64, usize, foldhash::fast::RandomState>,
    changes: u64,
}

/// Encodes a batch block by block.
#[derive(Debug)]
pub(super) struct BatchEncoder {
    target: Arc<Target>,
    batch: Batch,
    piece: usize,
    change: usize,
    encoder: RowEncoder,
    prefix: Vec<u8>,
    hasher: foldhash::fast::RandomState,
}

/// What became of a change.
enum Taken {
    Yes,
    /// The block is full: the change belongs to the next one.
    No,
}

impl BatchEncoder {
    pub(super) fn new(target: Arc<Target>, batch: Batch) -> BatchEncoder {
        BatchEncoder {
            target,
            batch,
            piece: 0,
            change: 0,
            encoder: RowEncoder::default(),
            prefix: Vec::new(),
            hasher: foldhash::fast::RandomState::default(),
        }
    }

    /// Bytes of the images that are not encoded yet.
    pub(super) fn image_bytes_left(&self) -> usize {
        let rest = self.batch.pieces.iter().skip(self.piece);
        rest.enumerate()
            .flat_map(|(index, piece)| {
                let done = if index == 0 { self.change } else { 0 };
                piece.changes.iter().skip(done)
            })
            .map(image_len)
            .sum()
    }

    /// The next block; `None` at the batch's end.
    ///
    /// # Errors
    /// A row cannot be walked, written or fitted into a request; the batch is then of no further use.
    pub(super) fn next_block(&mut self) -> Result<Option<Block>, Error> {
        let mut filling = Filling::default();
        let target = Arc::clone(&self.target);
        while let Some(piece) = self.batch.pieces.get(self.piece) {
            self.prefix.clear();
            text::order_prefix(&mut self.prefix, OrderKey::snapshot(piece.txn));
            let mut writer = Writer {
                target: &target,
                encoder: &mut self.encoder,
                filling: &mut filling,
                hasher: &self.hasher,
                prefix: &self.prefix,
                piece,
            };
            while let Some(change) = piece.changes.get(self.change) {
                match writer.take(change)? {
                    Taken::Yes => self.change += 1,
                    Taken::No => return filling.finish(&target).map(Some),
                }
            }
            self.piece += 1;
            self.change = 0;
        }
        if filling.entries.is_empty() {
            return Ok(None);
        }
        filling.finish(&target).map(Some)
    }
}

fn image_len(change: &Change) -> usize {
    let len = |image: &RowRef| usize::try_from(image.len).unwrap_or(usize::MAX);
    match &change.op {
        Op::Insert { after } | Op::Update { after, .. } => len(after),
        Op::Delete { before } => len(before),
    }
}

/// Takes the changes of one piece into the block.
struct Writer<'a> {
    target: &'a Target,
    encoder: &'a mut RowEncoder,
    filling: &'a mut Filling,
    hasher: &'a foldhash::fast::RandomState,
    prefix: &'a [u8],
    piece: &'a RowChanges,
}

impl Writer<'_> {
    fn take(&mut self, change: &Change) -> Result<Taken, Error> {
        let taken = match change.op {
            Op::Insert { after } => self.upsert(change, after)?,
            Op::Delete { before } => self.delete(change, before)?,
            Op::Update {
                before,
                after,
                key_changed: true,
            } => match self.delete(change, before)? {
                // If only the upsert is left to the next block, the delete goes out twice: same number, same content.
                Taken::Yes => self.upsert(change, after)?,
                Taken::No => Taken::No,
            },
            Op::Update { after, .. } => self.upsert(change, after)?,
        };
        if matches!(taken, Taken::Yes) {
            self.filling.changes += 1;
        }
        Ok(taken)
    }

    fn upsert(&mut self, change: &Change, image: RowRef) -> Result<Taken, Error> {
        let order = self.piece.upsert_order(change);
        self.row(change, image, ChangeType::Upsert, order)
    }

    fn delete(&mut self, change: &Change, image: RowRef) -> Result<Taken, Error> {
        let order = self.piece.delete_order(change);
        self.row(change, image, ChangeType::Delete, order)
    }

    fn row(
        &mut self,
        change: &Change,
        image: RowRef,
        kind: ChangeType,
        order: OrderKey,
    ) -> Result<Taken, Error> {
        let table = &self.target.layout.table;
        let at = RowAt {
            txn: self.piece.txn,
            ordinal: if self.piece.snapshot {
                Ordinal(0)
            } else {
                change.ordinal
            },
        };
        let failed = |source| Error::Row {
            table: table.clone(),
            at,
            source,
        };
        let row = Row {
            images: &*self.piece.images,
            image,
            change: kind,
            order,
            order_prefix: self.prefix,
            committed_micros: self.piece.committed_micros,
        };
        let encoded = self.encoder.encode(self.target, row).map_err(failed)?;
        let limit = wire::row_limit(&self.target.destination).saturating_sub(ROW_OVERHEAD);
        let bytes = self.encoder.row.len();
        let (altered, refused) = match encoded {
            Encoded::Refused(source) => (Altered::default(), Some(failed(source))),
            Encoded::Ready(altered) if bytes <= limit => (altered, None),
            Encoded::Ready(altered) => {
                let table = table.clone();
                (
                    altered,
                    Some(Error::RowTooLarge {
                        table,
                        at,
                        bytes,
                        limit,
                    }),
                )
            }
        };
        let full = self.filling.body.len() + bytes + ROW_OVERHEAD > wire::TARGET_BYTES;
        if full && !self.filling.body.is_empty() && refused.is_none() {
            return Ok(Taken::No);
        }
        let hash = self.hasher.hash_one(self.encoder.key.as_slice());
        self.filling
            .add(self.encoder, hash, order, at, (altered, refused));
        Ok(Taken::Yes)
    }
}

impl Filling {
    fn add(
        &mut self,
        encoder: &RowEncoder,
        hash: u64,
        order: OrderKey,
        at: RowAt,
        (altered, refused): (Altered, Option<Error>),
    ) {
        let index = self.entries.len();
        let (superseded, same_hash) = self.link(index, hash, order, &encoder.key);
        let (body, key) = (self.body.len(), self.keys.len());
        if refused.is_none() {
            put_bytes(&mut self.body, ROWS_FIELD, &encoder.row);
        }
        self.keys.extend_from_slice(&encoder.key);
        self.entries.push(Entry {
            body: body..self.body.len(),
            key: key..self.keys.len(),
            order,
            at,
            altered,
            superseded,
            same_hash,
            refused: refused.map(Box::new),
        });
    }

    /// Enters a row of this key as the last one: whether it is superseded at birth, and what follows it in the chain.
    fn link(&mut self, index: usize, hash: u64, order: OrderKey, key: &[u8]) -> (bool, Option<usize>) {
        let head = self.heads.insert(hash, index);
        let mut next = head;
        while let Some((at, entry)) = next.and_then(|at| Some((at, self.entries.get_mut(at)?))) {
            next = entry.same_hash;
            if entry.superseded || self.keys.get(entry.key.clone()) != Some(key) {
                continue;
            }
            if entry.order > order {
                // The older row came later: the newer one keeps its place.
                self.heads.extend(head.map(|head| (hash, head)));
                return (true, None);
            }
            entry.superseded = true;
            // A key that changes often must not make the chain long.
            return (false, if Some(at) == head { next } else { head });
        }
        (false, head)
    }

    fn finish(self, target: &Target) -> Result<Block, Error> {
        let all = self.entries.len();
        let mut ranges = Vec::with_capacity(all);
        let mut origins = Vec::with_capacity(all);
        for entry in self.entries {
            if entry.superseded {
                continue;
            }
            if let Some(refused) = entry.refused {
                return Err(*refused);
            }
            target.destination.meters.altered(entry.altered);
            ranges.push(entry.body);
            origins.push(entry.at);
        }
        let body = if ranges.len() == all {
            self.body
        } else {
            let mut packed = Vec::with_capacity(ranges.iter().map(Range::len).sum());
            for range in ranges {
                packed.extend_from_slice(self.body.get(range).unwrap_or(&[]));
            }
            packed
        };
        Ok(Block {
            body: body.into(),
            origins,
            changes: self.changes,
        })
    }
}

#[cfg(test)]
mod tests;
