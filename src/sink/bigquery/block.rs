//! A batch cut into blocks of encoded rows, each the rows of one append request. Within a block the
//! last change of a key wins, also if it is refused: an older version must not come back in its
//! place. Between blocks the sequence numbers decide.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::encode::{ChangeType, Encoded, Row, RowEncoder, put_bytes};
use super::error::{Error, RowAt};
use super::letter::{Refusal, Refused};
use super::misfit::Misfits;
use super::plan::Target;
use super::text;
use super::wire;
use crate::event::{Change, Op, OrderKey, Ordinal, RowChanges, RowRef};
use crate::sink::Batch;

/// Field number of `serialized_rows` in `ProtoRows`.
pub(super) const ROWS_FIELD: u32 = 1;

/// Tag and length before a row in a block, at most.
const ROW_OVERHEAD: usize = 6;

/// Rows that a block makes room for before it knows its own, at most: growing moves what is there.
const PRESIZED: usize = 32_768;

/// The rows of one request.
#[derive(Debug, Clone)]
pub(super) struct Block {
    /// A serialized `ProtoRows`.
    pub(super) body: Bytes,
    /// How many rows it has.
    pub(super) rows: usize,
}

/// A block whose rows are known.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// The rows, encoded.
    pub(super) block: Block,
    /// Where each comes from, in the block's order.
    pub(super) origins: Vec<Origin>,
}

/// Where a row of a batch comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    /// Index of the piece in the batch.
    piece: u32,
    /// Index of the change in the piece.
    change: u32,
    /// Where the row's bytes end in the body; nothing for a row that has none.
    end: u32,
    kind: ChangeType,
    /// Whether the target may hold an older version of the row.
    stale: bool,
}

/// What the changes up to the end of a block became.
#[derive(Debug)]
pub(super) struct Cut {
    /// Rows to send; possibly none.
    pub(super) part: Part,
    /// Rows that cannot be sent, with the reason.
    pub(super) refused: Vec<(Origin, Refusal)>,
    /// How many changes.
    pub(super) changes: u64,
    /// Bytes of their images.
    pub(super) image_bytes: usize,
}

impl Origin {
    /// The row that came from here, to be put aside; `None` if the batch is another one.
    pub(super) fn refused(self, batch: &Batch) -> Option<Refused<'_>> {
        let index = |index: u32| usize::try_from(index).ok();
        let piece = batch.pieces.get(index(self.piece)?)?;
        let change = piece.changes.get(index(self.change)?)?;
        let (image, order) = match (self.kind, change.op) {
            (ChangeType::Upsert, Op::Insert { after } | Op::Update { after, .. }) => {
                (after, piece.upsert_order(change))
            }
            (_, Op::Delete { before } | Op::Update { before, .. }) => (before, piece.delete_order(change)),
            (ChangeType::Delete, Op::Insert { .. }) => return None,
        };
        Some(Refused {
            images: &*piece.images,
            image,
            change: self.kind,
            order,
            at: place(piece, change),
            committed_micros: piece.committed_micros,
            stale: self.stale,
        })
    }
}

impl Part {
    fn new(body: Vec<u8>, origins: Vec<Origin>) -> Part {
        Part {
            block: Block {
                body: body.into(),
                rows: origins.len(),
            },
            origins,
        }
    }

    /// The rows whose index is `kept`.
    pub(super) fn only(&self, kept: impl Fn(usize) -> bool) -> Part {
        let mut body = Vec::with_capacity(self.block.body.len());
        let mut origins = Vec::with_capacity(self.origins.len());
        let mut start = 0;
        for (index, origin) in self.origins.iter().enumerate() {
            let end = usize::try_from(origin.end).unwrap_or(usize::MAX);
            if kept(index) {
                body.extend_from_slice(self.block.body.get(start..end).unwrap_or_default());
                origins.push(Origin {
                    end: offset(body.len()),
                    ..*origin
                });
            }
            start = end;
        }
        Part::new(body, origins)
    }
}

/// An offset in a body, which is always shorter than a request may be.
fn offset(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn place(piece: &RowChanges, change: &Change) -> RowAt {
    RowAt {
        txn: piece.txn,
        ordinal: if piece.snapshot {
            Ordinal(0)
        } else {
            change.ordinal
        },
    }
}

/// One row of the block that is being filled.
#[derive(Debug)]
struct Entry {
    /// Its bytes in the body, tag and length included.
    body: Range<usize>,
    /// Its key in `Filling::keys`.
    key: Range<usize>,
    order: OrderKey,
    origin: Origin,
    misfits: Misfits,
    /// A later change of the key is in the block.
    superseded: bool,
    /// An earlier entry whose key has the same hash.
    same_hash: Option<usize>,
    refused: Option<Box<Refusal>>,
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
    image_bytes: usize,
}

/// Encodes a batch block by block.
#[derive(Debug)]
pub(super) struct BatchEncoder {
    target: Arc<Target>,
    batch: Arc<Batch>,
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
    pub(super) fn new(target: Arc<Target>, batch: Arc<Batch>) -> BatchEncoder {
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

    /// Changes that are not encoded yet.
    fn changes_left(&self) -> usize {
        let pieces = self.batch.pieces.iter().skip(self.piece);
        let all: usize = pieces.map(|piece| piece.changes.len()).sum();
        all.saturating_sub(self.change)
    }

    /// The next block; `None` at the batch's end.
    ///
    /// # Errors
    /// A row cannot be walked; the batch is then of no further use.
    pub(super) fn next_block(&mut self) -> Result<Option<Cut>, Error> {
        let mut filling = Filling::with_room(self.changes_left().min(PRESIZED));
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
                place: [offset(self.piece), offset(self.change)],
            };
            while let Some(change) = piece.changes.get(self.change) {
                match writer.take(change)? {
                    Taken::Yes => {
                        self.change += 1;
                        writer.place = [offset(self.piece), offset(self.change)];
                    }
                    Taken::No => return Ok(Some(filling.finish(&target))),
                }
            }
            self.piece += 1;
            self.change = 0;
        }
        if filling.entries.is_empty() {
            return Ok(None);
        }
        Ok(Some(filling.finish(&target)))
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
    /// Indexes of the piece and of the change at hand.
    place: [u32; 2],
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
            self.filling.image_bytes += image_len(change);
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
        let row = Row {
            images: &*self.piece.images,
            image,
            change: kind,
            order,
            order_prefix: self.prefix,
            committed_micros: self.piece.committed_micros,
        };
        let encoded = self
            .encoder
            .encode(self.target, row)
            .map_err(|source| Error::Row {
                table: self.target.layout.table.clone(),
                at: place(self.piece, change),
                source,
            })?;
        let limit = wire::row_limit(&self.target.destination).saturating_sub(ROW_OVERHEAD);
        let bytes = self.encoder.row.len();
        let none = Misfits::default();
        let (keyed, encoded, misfits) = match encoded {
            Encoded::Ready(_) if bytes > limit => (true, Err(Refusal::TooLarge { bytes, limit }), none),
            Encoded::Ready(misfits) => (true, Ok(()), misfits),
            Encoded::Refused(refusal, misfits) => (true, Err(refusal), misfits),
            Encoded::KeyRefused(refusal) => (false, Err(refusal), none),
        };
        let full = self.filling.body.len() + bytes + ROW_OVERHEAD > wire::TARGET_BYTES;
        if full && !self.filling.body.is_empty() && encoded.is_ok() {
            return Ok(Taken::No);
        }
        // Only a row that was not there before leaves nothing old behind when it is refused.
        let new = match change.op {
            Op::Insert { .. } => true,
            Op::Update { key_changed, .. } => key_changed && kind == ChangeType::Upsert,
            Op::Delete { .. } => false,
        };
        let [piece, change] = self.place;
        let origin = Origin {
            piece,
            change,
            end: 0,
            kind,
            stale: !new,
        };
        let hash = keyed.then(|| self.hasher.hash_one(self.encoder.key.as_slice()));
        self.filling
            .add(self.encoder, hash, order, origin, (encoded, misfits));
        Ok(Taken::Yes)
    }
}

impl Filling {
    fn with_room(rows: usize) -> Filling {
        let mut filling = Filling::default();
        filling.entries.reserve(rows);
        filling.heads.reserve(rows);
        filling
    }

    fn add(
        &mut self,
        encoder: &RowEncoder,
        hash: Option<u64>,
        order: OrderKey,
        mut origin: Origin,
        (encoded, misfits): (Result<(), Refusal>, Misfits),
    ) {
        let index = self.entries.len();
        let (superseded, same_hash) = match hash {
            Some(hash) => self.link(index, hash, order, (&encoder.key, &mut origin.stale)),
            None => (false, None),
        };
        let (body, key) = (self.body.len(), self.keys.len());
        let refused = encoded.err().map(Box::new);
        if refused.is_none() {
            put_bytes(&mut self.body, ROWS_FIELD, &encoder.row);
        }
        self.keys.extend_from_slice(&encoder.key);
        self.entries.push(Entry {
            body: body..self.body.len(),
            key: key..self.keys.len(),
            order,
            origin,
            misfits,
            superseded,
            same_hash,
            refused,
        });
    }

    /// Enters a row of this key as the last one: whether it is superseded at birth, and what follows it in the
    /// chain. The row that stays is stale, should it be refused, because another of its key came before it.
    fn link(
        &mut self,
        index: usize,
        hash: u64,
        order: OrderKey,
        (key, stale): (&[u8], &mut bool),
    ) -> (bool, Option<usize>) {
        let head = self.heads.insert(hash, index);
        let mut next = head;
        while let Some((at, entry)) = next.and_then(|at| Some((at, self.entries.get_mut(at)?))) {
            next = entry.same_hash;
            if entry.superseded || self.keys.get(entry.key.clone()) != Some(key) {
                continue;
            }
            if entry.order > order {
                // The older row came later: the newer one keeps its place.
                entry.origin.stale = true;
                self.heads.extend(head.map(|head| (hash, head)));
                return (true, None);
            }
            entry.superseded = true;
            *stale = true;
            // A key that changes often must not make the chain long.
            return (false, if Some(at) == head { next } else { head });
        }
        (false, head)
    }

    fn finish(self, target: &Target) -> Cut {
        let packed = self.entries.iter().any(|entry| entry.superseded);
        let mut body = Vec::with_capacity(if packed { self.body.len() } else { 0 });
        let mut origins = Vec::with_capacity(self.entries.len());
        let mut refused = Vec::new();
        for entry in self.entries {
            if entry.superseded {
                continue;
            }
            let meters = &target.destination.meters;
            meters.misfits(&entry.misfits, &target.values);
            if let Some(refusal) = entry.refused {
                refused.push((entry.origin, *refusal));
                continue;
            }
            let mut end = entry.body.end;
            if packed {
                body.extend_from_slice(self.body.get(entry.body).unwrap_or_default());
                end = body.len();
            }
            origins.push(Origin {
                end: offset(end),
                ..entry.origin
            });
        }
        let body = if packed { body } else { self.body };
        Cut {
            part: Part::new(body, origins),
            refused,
            changes: self.changes,
            image_bytes: self.image_bytes,
        }
    }
}

#[cfg(test)]
mod tests;
