//! Images without all columns, as a session writes them that sets `binlog_row_image` to MINIMAL or NOBLOB
//! (<https://dev.mysql.com/doc/refman/8.4/en/replication-options-binary-log.html#sysvar_binlog_row_image>).
//! They are made whole where the event itself holds what is missing: a delete needs no more than the key, and
//! what an update's after image lacks may stand in its before image. Anything else is not guessed.

use super::{Decoder, Finder, Prologue, RowsKind, bit, cell};
use crate::event::{Change, Op, Ordinal, RowRef};

/// Whole images made of partial ones, and the changes that they are of.
pub(super) struct Whole {
    pub(super) images: Vec<u8>,
    pub(super) changes: Vec<Change>,
}

/// Why images cannot be made whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotWhole {
    /// A column that is needed is in neither image.
    Lacking,
    /// The bytes are no such images.
    Malformed,
}

/// An image's cells by column, each with its length prefix: `None` absent, `Some(None)` NULL.
type Cells<'a> = Vec<Option<Option<&'a [u8]>>>;

/// Makes the images of an event whole; the first has the ordinal `first`.
pub(super) fn complete(
    decoder: &Decoder,
    kind: RowsKind,
    prologue: &Prologue<'_>,
    first: u64,
) -> Result<Whole, NotWhole> {
    let [before, after] = prologue.present;
    // One bitmap says for all rows which columns are present.
    let enough = match kind {
        RowsKind::Delete { .. } => true,
        RowsKind::Update { .. } => {
            (0..prologue.columns).all(|column| bit(before, column) || bit(after, column))
        }
        RowsKind::Write { .. } | RowsKind::PartialUpdate => false,
    };
    let keyed = !decoder.keys.is_empty() && decoder.keys.iter().all(|key| bit(before, *key));
    if !enough || !keyed {
        return Err(NotWhole::Lacking);
    }
    let mut reader = Reader {
        decoder,
        images: prologue.images,
        at: 0,
    };
    let mut whole = Whole {
        images: Vec::with_capacity(prologue.images.len()),
        changes: Vec::new(),
    };
    while reader.at < prologue.images.len() {
        let offset = u64::try_from(reader.at).map_err(|_| NotWhole::Malformed)?;
        let op = reader
            .change(kind, [before, after], &mut whole.images)
            .ok_or(NotWhole::Malformed)?;
        let ordinal = Ordinal(first + offset);
        whole.changes.push(Change { op, ordinal });
    }
    Ok(whole)
}

struct Reader<'a> {
    decoder: &'a Decoder,
    images: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn change(&mut self, kind: RowsKind, present: [&[u8]; 2], images: &mut Vec<u8>) -> Option<Op> {
        let [before, after] = present;
        let old = self.cells(before)?;
        if !kind.is_update() {
            let before = write(&old, images)?;
            return Some(Op::Delete { before });
        }
        let new = self.cells(after)?;
        let merged: Cells<'_> = new.iter().zip(&old).map(|(new, old)| new.or(*old)).collect();
        let (before, after) = (write(&old, images)?, write(&merged, images)?);
        let decoder = self.decoder;
        let finder = Finder {
            decoder,
            images,
            at: 0,
            differing: Vec::new(),
        };
        let key_changed = finder.key_changed(before, after)?;
        Some(Op::Update {
            before,
            after,
            key_changed,
        })
    }

    /// Reads an image of some columns: a bitmap of the NULLs among them, and the cells of the others.
    fn cells(&mut self, present: &[u8]) -> Option<Cells<'a>> {
        let (start, widths) = (self.at, &self.decoder.widths);
        let count = (0..widths.len()).filter(|column| bit(present, *column)).count();
        let nulls = self.images.get(start..start.checked_add(count.div_ceil(8))?)?;
        let mut at = start + nulls.len();
        let mut cells = Vec::with_capacity(widths.len());
        let mut index = 0;
        for (column, width) in widths.iter().enumerate() {
            if !bit(present, column) {
                cells.push(None);
                continue;
            }
            if bit(nulls, index) {
                cells.push(Some(None));
            } else {
                let end = at.checked_add(cell::cell_len(*width, self.images, at)?)?;
                cells.push(Some(Some(self.images.get(at..end)?)));
                at = end;
            }
            index += 1;
        }
        self.at = at;
        // An image of no bytes could be read for ever.
        (at > start).then_some(cells)
    }
}

/// Writes an image of all columns. What is absent from it (of a row that is gone: all but its key) is NULL there.
fn write(cells: &Cells<'_>, images: &mut Vec<u8>) -> Option<RowRef> {
    let start = images.len();
    images.resize(start + cells.len().div_ceil(8), 0);
    for (column, cell) in cells.iter().enumerate() {
        match cell {
            Some(Some(bytes)) => images.extend_from_slice(bytes),
            Some(None) | None => *images.get_mut(start + column / 8)? |= 1 << (column % 8),
        }
    }
    Some(RowRef {
        at: u32::try_from(start).ok()?,
        len: u32::try_from(images.len() - start).ok()?,
    })
}
