//! Rows events: images found and numbered without being decoded, then walked in place, straight from the
//! event's bytes (<https://dev.mysql.com/doc/dev/mysql-server/latest/classbinary__log_1_1Rows__event.html>).
//!
//! Post-header: table id (6 bytes), flags (2), in version 2 the length of extra data (2, itself included)
//! and that. Body: column count, bitmap of present columns (two for updates), then the row images; an
//! image is a bitmap of the NULLs among the present columns and the cells of the others.
//!
//! A row's ordinal is that of [`Ordinal`]: 1 + the bytes of row images written before it in the
//! transaction, counted from the first byte after the bitmaps; an update is one change and has the ordinal
//! of its before image.

mod differences;
mod error;
mod partial;

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;

use super::cell::{self, Scratch};
use super::cursor::Cursor;
use super::decoder::Decoder;
use super::table_map::bit;
use crate::event::{
    CellVisitor, Change, Op, Ordinal, RowChanges, RowError, RowImages, RowRef, TxnStart, Value,
};
use differences::Differing;
use partial::NotWhole;

pub use error::RowsError;

/// What a rows event does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowsKind {
    /// WRITE_ROWS of version 1 or 2.
    Write {
        /// Whether it has extra data (version 2).
        v2: bool,
    },
    /// UPDATE_ROWS.
    Update {
        /// Whether it has extra data (version 2).
        v2: bool,
    },
    /// DELETE_ROWS.
    Delete {
        /// Whether it has extra data (version 2).
        v2: bool,
    },
    /// PARTIAL_UPDATE_ROWS: after images that hold JSON differences.
    PartialUpdate,
}

impl RowsKind {
    /// The kind of an event type of the binlog; `None` for events that are no rows events.
    pub fn of(event_type: u8) -> Option<RowsKind> {
        Some(match event_type {
            23 => RowsKind::Write { v2: false },
            24 => RowsKind::Update { v2: false },
            25 => RowsKind::Delete { v2: false },
            30 => RowsKind::Write { v2: true },
            31 => RowsKind::Update { v2: true },
            32 => RowsKind::Delete { v2: true },
            39 => RowsKind::PartialUpdate,
            _ => return None,
        })
    }

    fn has_extra(self) -> bool {
        match self {
            RowsKind::Write { v2 } | RowsKind::Update { v2 } | RowsKind::Delete { v2 } => v2,
            RowsKind::PartialUpdate => true,
        }
    }

    fn is_update(self) -> bool {
        match self {
            RowsKind::Update { .. } | RowsKind::PartialUpdate => true,
            RowsKind::Write { .. } | RowsKind::Delete { .. } => false,
        }
    }
}

/// Where rows were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowsAt {
    /// The transaction.
    pub txn: TxnStart,
    /// The ordinal of the event's first row: 1 in the transaction's first rows event, then what
    /// [`decode_rows`] or [`image_bytes`] led to.
    pub first_ordinal: u64,
    /// Commit time, microseconds since 1970-01-01T00:00:00Z.
    pub committed_micros: i64,
}

/// The part of a rows event that is read whether or not its table is captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowsHead {
    /// The number of the table map that describes the rows. A number that was never mapped is fatal but
    /// for [`RowsHead::DUMMY`].
    pub table_id: u64,
    /// Whether the statement ends here and with it the validity of its table maps.
    pub statement_end: bool,
}

impl RowsHead {
    /// The table id of an event that only ends a statement.
    pub const DUMMY: u64 = 0xff_ffff;

    /// Reads the head of an event's body (without header and checksum).
    ///
    /// # Errors
    /// [`RowsError::Head`].
    pub fn parse(body: &[u8]) -> Result<RowsHead, RowsError> {
        let mut cursor = Cursor::new(body);
        Ok(RowsHead {
            table_id: cursor.u48()?,
            statement_end: cursor.u16()? & 1 != 0,
        })
    }
}

/// What lies before the images.
struct Prologue<'a> {
    columns: usize,
    present: [&'a [u8]; 2],
    images: &'a [u8],
}

fn prologue(kind: RowsKind, body: &[u8]) -> Result<Prologue<'_>, RowsError> {
    let mut cursor = Cursor::new(body);
    cursor.take(8)?;
    if kind.has_extra() {
        let extra = usize::from(cursor.u16()?);
        cursor.take(extra.checked_sub(2).ok_or(RowsError::Head)?)?;
    }
    let columns = cursor.lenenc_size()?;
    let bitmap = columns.div_ceil(8);
    let before = cursor.take(bitmap)?;
    let after = if kind.is_update() {
        cursor.take(bitmap)?
    } else {
        before
    };
    Ok(Prologue {
        columns,
        present: [before, after],
        images: cursor.rest(),
    })
}

/// An event's body in two: what lies before the row images, and those.
///
/// # Errors
/// [`RowsError::Head`].
pub fn split_images(kind: RowsKind, body: &[u8]) -> Result<(&[u8], &[u8]), RowsError> {
    let images = prologue(kind, body)?.images.len();
    let head = body.len().checked_sub(images).ok_or(RowsError::Head)?;
    body.split_at_checked(head).ok_or(RowsError::Head)
}

/// How many bytes of row images an event holds: what the transaction's ordinal counter moves by, whether
/// or not the table is captured.
///
/// # Errors
/// [`RowsError::Head`].
pub fn image_bytes(kind: RowsKind, body: &[u8]) -> Result<u64, RowsError> {
    let images = prologue(kind, body)?.images.len();
    u64::try_from(images).map_err(|_| RowsError::TooLong)
}

/// Finds and numbers the rows of an event. `body` is the event without header and checksum. Returns them
/// with the ordinal of the transaction's next row.
///
/// # Errors
/// [`RowsError`].
pub fn decode_rows(
    decoder: &Arc<Decoder>,
    kind: RowsKind,
    body: Bytes,
    at: RowsAt,
) -> Result<(RowChanges, u64), RowsError> {
    let table = || decoder.layout().table.clone();
    let malformed = |reason: &str| RowsError::Malformed {
        table: table(),
        reason: reason.to_owned(),
    };
    let prologue = prologue(kind, &body)?;
    if prologue.columns != decoder.cells.len() {
        return Err(malformed("another number of columns"));
    }
    let whole = |bitmap: &[u8]| (0..prologue.columns).all(|column| bit(bitmap, column));
    let length = u64::try_from(prologue.images.len()).map_err(|_| RowsError::TooLong)?;
    let next = at
        .first_ordinal
        .checked_add(length)
        .filter(|next| *next <= Ordinal::MAX.0)
        .ok_or(RowsError::TooLong)?;
    if !prologue.present.into_iter().all(whole) {
        let whole = partial::complete(decoder, kind, &prologue, at.first_ordinal);
        let whole = whole.map_err(|error| match error {
            NotWhole::Lacking => RowsError::PartialImage { table: table() },
            NotWhole::Malformed => malformed("an image does not end where it should"),
        })?;
        let rows = BinlogRows {
            decoder: Arc::clone(decoder),
            images: whole.images.into(),
            differing: Vec::new(),
        };
        return Ok((row_changes(rows, whole.changes, at), next));
    }
    let images = body.slice_ref(prologue.images);
    let mut finder = Finder {
        decoder,
        images: &images,
        at: 0,
        differing: Vec::new(),
    };
    let mut changes = Vec::new();
    while finder.at < images.len() {
        let ordinal = Ordinal(at.first_ordinal + u64::try_from(finder.at).unwrap_or(u64::MAX));
        let op = finder
            .change(kind)
            .ok_or_else(|| malformed("an image does not end where it should"))?;
        if changes.is_empty() {
            // No more memory than the images take: rows need not be as small as the first one.
            let most = images.len() / size_of::<Change>();
            changes.reserve(most.min(images.len() / finder.at.max(1)));
        }
        changes.push(Change { op, ordinal });
    }
    let differing = finder.differing;
    let rows = BinlogRows {
        decoder: Arc::clone(decoder),
        images,
        differing,
    };
    Ok((row_changes(rows, changes, at), next))
}

fn row_changes(rows: BinlogRows, changes: Vec<Change>, at: RowsAt) -> RowChanges {
    RowChanges {
        layout: Arc::clone(rows.decoder.layout()),
        images: Arc::new(rows),
        txn: at.txn,
        committed_micros: at.committed_micros,
        changes,
        snapshot: false,
    }
}

/// Finds where images end.
struct Finder<'a> {
    decoder: &'a Decoder,
    images: &'a [u8],
    at: usize,
    /// The after images with differences in them, ascending.
    differing: Vec<Differing>,
}

impl Finder<'_> {
    fn change(&mut self, kind: RowsKind) -> Option<Op> {
        Some(match kind {
            RowsKind::Write { .. } => Op::Insert { after: self.image()? },
            RowsKind::Delete { .. } => Op::Delete {
                before: self.image()?,
            },
            RowsKind::Update { .. } | RowsKind::PartialUpdate => {
                let before = self.image()?;
                let mut columns = Vec::new();
                if kind == RowsKind::PartialUpdate {
                    let length;
                    (length, columns) = differences::options(self.decoder, self.images.get(self.at..)?)?;
                    self.at += length;
                }
                let after = self.image()?;
                self.differing.extend(Differing::new(after.at, before, columns));
                Op::Update {
                    before,
                    after,
                    key_changed: self.key_changed(before, after)?,
                }
            }
        })
    }

    fn image(&mut self) -> Option<RowRef> {
        let start = self.at;
        let end = image_end(self.decoder, self.images, start)?;
        // An image of no bytes could be read for ever.
        if end <= start || end > self.images.len() {
            return None;
        }
        self.at = end;
        Some(RowRef {
            at: u32::try_from(start).ok()?,
            len: u32::try_from(end - start).ok()?,
        })
    }

    /// Whether the cells of the key differ as bytes. Values that only a collation calls equal differ.
    fn key_changed(&self, before: RowRef, after: RowRef) -> Option<bool> {
        let (mut old, mut new) = (
            Walk::new(self.decoder, self.images, before)?,
            Walk::new(self.decoder, self.images, after)?,
        );
        for key in &self.decoder.keys {
            if old.seek(*key)? != new.seek(*key)? {
                return Some(true);
            }
        }
        Some(false)
    }
}

/// Where the image that begins at `start` ends; it may lie past the end of `images`.
fn image_end(decoder: &Decoder, images: &[u8], start: usize) -> Option<usize> {
    let columns = decoder.widths.len();
    let nulls = images.get(start..start.checked_add(columns.div_ceil(8))?)?;
    let mut at = start + nulls.len();
    if !any_null(nulls, columns) {
        for (fixed, width) in &decoder.runs {
            at = at.checked_add(*fixed)?;
            if *width != 0 {
                at = at.checked_add(cell::cell_len(*width, images, at)?)?;
            }
        }
        return Some(at);
    }
    for (column, width) in decoder.widths.iter().enumerate() {
        if !bit(nulls, column) {
            at = at.checked_add(cell::cell_len(*width, images, at)?)?;
        }
    }
    Some(at)
}

/// Whether a column is NULL; the bits past the last column mean nothing.
fn any_null(nulls: &[u8], columns: usize) -> bool {
    let Some((last, full)) = nulls.split_last() else {
        return false;
    };
    let used = match columns % 8 {
        0 => 0xff,
        bits => (1_u8 << bits) - 1,
    };
    last & used != 0 || full.iter().any(|byte| *byte != 0)
}

/// Goes through the cells of one image.
struct Walk<'a> {
    decoder: &'a Decoder,
    nulls: &'a [u8],
    image: &'a [u8],
    at: usize,
    column: usize,
}

impl<'a> Walk<'a> {
    fn new(decoder: &'a Decoder, images: &'a [u8], row: RowRef) -> Option<Walk<'a>> {
        let (start, length) = (usize::try_from(row.at).ok()?, usize::try_from(row.len).ok()?);
        let image = images.get(start..start.checked_add(length)?)?;
        let nulls = image.get(..decoder.widths.len().div_ceil(8))?;
        Some(Walk {
            decoder,
            nulls,
            image,
            at: nulls.len(),
            column: 0,
        })
    }

    /// The next cell: its bytes without their length, or `None` for NULL.
    #[inline]
    fn next(&mut self) -> Option<Option<&'a [u8]>> {
        let column = self.column;
        let width = *self.decoder.widths.get(column)?;
        self.column += 1;
        if bit(self.nulls, column) {
            return Some(None);
        }
        let length = cell::cell_len(width, self.image, self.at)?;
        let end = self.at.checked_add(length)?;
        let bytes = self.image.get(self.at + cell::prefix_len(width)..end)?;
        self.at = end;
        Some(Some(bytes))
    }

    /// The cell of a column that has not been passed.
    fn seek(&mut self, column: usize) -> Option<Option<&'a [u8]>> {
        while self.column < column {
            self.next()?;
        }
        self.next()
    }
}

thread_local! {
    /// One scratch for a thread, so that a row allocates nothing.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Runs `work` with this thread's scratch, or with a new one where a visitor walks another row itself.
pub(crate) fn with_scratch<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
    let mut scratch = SCRATCH.take();
    let result = work(&mut scratch);
    scratch.trim();
    SCRATCH.set(scratch);
    result
}

/// Row images that share the bytes of their event.
#[derive(Debug)]
struct BinlogRows {
    decoder: Arc<Decoder>,
    images: Bytes,
    /// The after images with differences in them, ascending.
    differing: Vec<Differing>,
}

impl RowImages for BinlogRows {
    fn visit(&self, row: RowRef, visitor: &mut dyn CellVisitor) -> Result<(), RowError> {
        let malformed = |column: usize, reason: &str| RowError::Malformed {
            column,
            reason: reason.to_owned(),
        };
        let mut walk = Walk::new(&self.decoder, &self.images, row)
            .ok_or_else(|| malformed(0, "the image lies outside of its event"))?;
        let differing = self.differing.binary_search_by_key(&row.at, |one| one.at);
        let differing = differing.ok().and_then(|index| self.differing.get(index));
        with_scratch(|scratch| {
            for (column, cell) in self.decoder.cells.iter().enumerate() {
                let bytes = walk
                    .next()
                    .ok_or_else(|| malformed(column, "the image ends too early"))?;
                let differing = differing.filter(|one| one.holds(column));
                let value = match (bytes, differing) {
                    (None, _) => Value::Null,
                    (Some(bytes), Some(differing)) => {
                        let rows = (&*self.decoder, &*self.images);
                        differing.document(rows, column, bytes, &mut scratch.text)?;
                        Value::Json(&scratch.text)
                    }
                    (Some(bytes), None) => cell
                        .decode(bytes, scratch)
                        .map_err(|reason| malformed(column, reason))?,
                };
                visitor.cell(column, value)?;
            }
            Ok(())
        })
    }

    fn bytes(&self) -> usize {
        self.images.len()
    }
}

#[cfg(test)]
mod tests;
