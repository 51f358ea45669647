//! A batch cut into blocks of encoded rows, each the rows of one append request. Within a block the
//! last change of a key wins, also if it is refused: an older version must not come back in its
//! place. Between blocks the sequence numbers decide. Where the target holds changes, all of them are sent.

use std::hash::BuildHasher;
use std::sync::Arc;

use bytes::Bytes;

use super::encode::{ChangeType, Encoded, Logged, Row, RowEncoder, cleared, put_bytes, seal};
use super::error::{Error, RowAt};
use super::letter::{Refusal, Refused};
use super::misfit::Misfits;
use super::plan::Target;
use super::text;
use super::wire;
use crate::event::{Change, Op, OrderKey, Ordinal, ReadAt, RowChanges, RowRef, TxnStart};
use crate::sink::Batch;

mod filling;

use filling::Filling;

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

impl Block {
    /// The row that says that every row of a read is there.
    pub(super) fn seal(target: &Target, at: ReadAt) -> Block {
        Block::of_one(&seal(target, at))
    }

    /// The row that says that nothing counts any more that came before `at`.
    pub(super) fn cleared(target: &Target, at: TxnStart, now_micros: i64) -> Block {
        Block::of_one(&cleared(target, at, now_micros))
    }

    fn of_one(row: &[u8]) -> Block {
        let mut body = Vec::new();
        put_bytes(&mut body, ROWS_FIELD, row);
        Block {
            body: body.into(),
            rows: 1,
        }
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
        if filling.rows() == 0 {
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
                key_changed,
            } if key_changed || self.target.keeps_before() => self.both(change, before, after)?,
            Op::Update { after, .. } => self.upsert(change, after)?,
        };
        if matches!(taken, Taken::Yes) {
            self.filling.changes += 1;
            self.filling.image_bytes += image_len(change);
        }
        Ok(taken)
    }

    fn both(&mut self, change: &Change, before: RowRef, after: RowRef) -> Result<Taken, Error> {
        let alone = self.filling.rows();
        if matches!(self.delete(change, before)?, Taken::No) {
            return Ok(Taken::No);
        }
        let taken = self.upsert(change, after)?;
        // If only the upsert is left to the next block, the delete goes out twice: same number, same content.
        // Among changes it would be there twice, so it waits too, unless the block were empty without it.
        if matches!(taken, Taken::No) && self.target.is_log() && alone > 0 {
            self.filling.forget_from(alone);
        }
        Ok(taken)
    }

    /// What is said of a change where the target holds changes.
    fn logged(&self, change: &Change, kind: ChangeType) -> Option<Logged> {
        let operation = match (change.op, kind) {
            _ if !self.target.is_log() => return None,
            (Op::Insert { .. }, _) if self.piece.snapshot => "SNAPSHOT",
            (Op::Insert { .. }, _) => "INSERT",
            (Op::Update { .. }, ChangeType::Upsert) => "UPDATE",
            (Op::Update { .. }, ChangeType::Delete) => "UPDATE_BEFORE",
            (Op::Delete { .. }, _) => "DELETE",
        };
        let began = self.piece.committed_micros.cast_unsigned();
        let read = self.piece.snapshot.then_some([began, change.ordinal.0]);
        Some(Logged { operation, read })
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
            logged: self.logged(change, kind),
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
            stale: !new && !self.target.is_log(),
        };
        let is_log = self.target.is_log();
        let hash = (keyed && !is_log).then(|| self.hasher.hash_one(self.encoder.key.as_slice()));
        self.filling
            .add(self.encoder, hash, order, origin, (encoded, misfits));
        Ok(Taken::Yes)
    }
}

#[cfg(test)]
mod log;
#[cfg(test)]
mod tests;
