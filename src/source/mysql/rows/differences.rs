//! After images of PARTIAL_UPDATE_ROWS. Before the NULL bits of such an image stand its options and, if they
//! say so, a bit for each JSON column of the table: whether its cell holds differences from the before image
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/classbinary__log_1_1Rows__event.html>).

use super::super::cell::Form;
use super::super::cursor::Cursor;
use super::super::jsonb;
use super::super::table_map::bit;
use super::{Decoder, Walk};
use crate::event::{RowError, RowRef};

/// The option that says that there are bits for JSON columns.
const PARTIAL_JSON: u64 = 1;

/// An after image with differences in it.
#[derive(Debug)]
pub(super) struct Differing {
    /// Where its NULL bits begin.
    pub(super) at: u32,
    /// The image that the differences are from.
    before: RowRef,
    /// The columns that hold them, ascending.
    columns: Vec<usize>,
}

impl Differing {
    /// An after image at `at`, if any column of it holds differences.
    pub(super) fn new(at: u32, before: RowRef, columns: Vec<usize>) -> Option<Differing> {
        (!columns.is_empty()).then_some(Differing { at, before, columns })
    }

    /// Whether a column's cell holds differences.
    pub(super) fn holds(&self, column: usize) -> bool {
        self.columns.binary_search(&column).is_ok()
    }

    /// Writes the document that a cell's differences lead to.
    pub(super) fn document(
        &self,
        (decoder, images): (&Decoder, &[u8]),
        column: usize,
        differences: &[u8],
        out: &mut String,
    ) -> Result<(), RowError> {
        let malformed = |reason: &str| RowError::Malformed {
            column,
            reason: reason.to_owned(),
        };
        let old = Walk::new(decoder, images, self.before)
            .and_then(|mut walk| walk.seek(column))
            .flatten()
            .ok_or_else(|| malformed("differences from no document"))?;
        jsonb::diff::apply(old, differences, out)
            .map_err(|_| malformed("not the differences of a JSON document"))
    }
}

/// Reads what stands before an after image: how long it is, and which columns hold differences.
pub(super) fn options(decoder: &Decoder, bytes: &[u8]) -> Option<(usize, Vec<usize>)> {
    let mut cursor = Cursor::new(bytes);
    let options = cursor.lenenc().ok()?;
    let mut columns = Vec::new();
    if options & !PARTIAL_JSON != 0 {
        return None;
    }
    if options == PARTIAL_JSON {
        let cells = decoder.cells.iter().enumerate();
        columns.extend(
            cells
                .filter(|(_, cell)| cell.form == Form::Json)
                .map(|(column, _)| column),
        );
        let bits = cursor.take(columns.len().div_ceil(8)).ok()?;
        let mut index = 0..;
        columns.retain(|_| index.next().is_some_and(|index| bit(bits, index)));
    }
    Some((bytes.len() - cursor.rest().len(), columns))
}
