//! Rows that a SELECT returned, through the same visitor as rows of the log and with equal values. The
//! rows come by the binary protocol (a prepared statement: the text protocol rounds FLOAT to six digits)
//! from a session with `time_zone='+00:00'`, columns in the layout's order. Text comes as the bytes that
//! are stored, and so do labels, but for those of a key, whose number comes: what decodes the log decodes these, too.

use std::sync::Arc;

use mysql_async::{Row, Value as Sent};

use super::cell::{self, Cell, Form, Scratch, Temporal};
use super::charset::Codec;
use super::cursor::be_uint;
use super::decimal;
use super::decoder::Decoder;
use super::injective;
use super::rows::with_scratch;
use super::temporal;
use crate::event::{
    CellVisitor, Change, CivilDate, CivilDateTime, Op, Ordinal, ReadAt, RowChanges, RowError, RowImages,
    RowRef, Unrepresentable, Value,
};

/// Rows of a chunk as changes, all inserts, numbered by the table's low watermark and counted from `first` on.
pub fn snapshot_changes(decoder: &Arc<Decoder>, rows: Vec<Row>, read: ReadAt, first: u64) -> RowChanges {
    let mut bytes = 0_usize;
    let mut changes = Vec::with_capacity(rows.len());
    for ((index, row), ordinal) in rows.iter().enumerate().zip(first..) {
        let size = row_bytes(row);
        bytes = bytes.saturating_add(size);
        let after = RowRef {
            at: u32::try_from(index).unwrap_or(u32::MAX),
            len: u32::try_from(size).unwrap_or(u32::MAX),
        };
        changes.push(Change {
            op: Op::Insert { after },
            ordinal: Ordinal(ordinal),
        });
    }
    RowChanges {
        layout: Arc::clone(decoder.layout()),
        images: Arc::new(SelectedRows {
            decoder: Arc::clone(decoder),
            rows,
            bytes,
        }),
        txn: read.low,
        committed_micros: read.began_micros,
        changes,
        snapshot: true,
    }
}

/// What a row keeps in memory, about: each cell's value and the bytes it owns.
fn row_bytes(row: &Row) -> usize {
    let owned = (0..row.len()).map(|column| match row.as_ref(column) {
        Some(Sent::Bytes(bytes)) => bytes.len(),
        Some(
            Sent::NULL
            | Sent::Int(_)
            | Sent::UInt(_)
            | Sent::Float(_)
            | Sent::Double(_)
            | Sent::Date(..)
            | Sent::Time(..),
        )
        | None => 0,
    });
    row.len() * size_of::<Option<Sent>>() + owned.sum::<usize>()
}

/// Selected rows of one layout.
#[derive(Debug)]
struct SelectedRows {
    decoder: Arc<Decoder>,
    rows: Vec<Row>,
    bytes: usize,
}

impl RowImages for SelectedRows {
    fn visit(&self, at: RowRef, visitor: &mut dyn CellVisitor) -> Result<(), RowError> {
        let malformed = |column: usize, reason: &str| RowError::Malformed {
            column,
            reason: reason.to_owned(),
        };
        let row = usize::try_from(at.at)
            .ok()
            .and_then(|index| self.rows.get(index))
            .ok_or_else(|| malformed(0, "no such row"))?;
        if row.len() != self.decoder.cells.len() {
            return Err(malformed(0, "another number of columns"));
        }
        with_scratch(|scratch| {
            for (column, cell) in self.decoder.cells.iter().enumerate() {
                let sent = row
                    .as_ref(column)
                    .ok_or_else(|| malformed(column, "the cell was taken"))?;
                let value = value(cell, sent, scratch)
                    .ok_or_else(|| malformed(column, "the server sent another type than it declares"))?;
                visitor.cell(column, value)?;
            }
            Ok(())
        })
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}

/// A cell as the protocol has it; `None`: not of the column's type.
fn value<'a>(cell: &'a Cell, sent: &'a Sent, scratch: &'a mut Scratch) -> Option<Value<'a>> {
    let form = &cell.form;
    match sent {
        Sent::NULL => Some(Value::Null),
        Sent::Bytes(bytes) => bytes_value(cell, bytes, scratch),
        Sent::Int(number) => integer(cell, i128::from(*number), scratch),
        Sent::UInt(number) => integer(cell, i128::from(*number), scratch),
        Sent::Float(number) => (*form == Form::Float).then_some(Value::Float(*number)),
        Sent::Double(number) => (*form == Form::Double).then_some(Value::Double(*number)),
        Sent::Date(year, month, day, hour, minute, second, micros) => {
            let date = CivilDate {
                year: *year,
                month: *month,
                day: *day,
            };
            let civil = CivilDateTime {
                date,
                hour: *hour,
                minute: *minute,
                second: *second,
                micros: *micros,
            };
            dated(form, civil)
        }
        Sent::Time(negative, days, hours, minutes, seconds, micros) => {
            let hours = i64::from(*days) * 24 + i64::from(*hours);
            let seconds = (hours * 60 + i64::from(*minutes)) * 60 + i64::from(*seconds);
            let magnitude = seconds * temporal::MICROS + i64::from(*micros);
            let signed = if *negative { -magnitude } else { magnitude };
            matches!(form, Form::Temporal(Temporal::Time | Temporal::OldTime)).then_some(Value::Time(signed))
        }
    }
}

fn integer<'a>(cell: &'a Cell, number: i128, scratch: &'a mut Scratch) -> Option<Value<'a>> {
    let form = &cell.form;
    if let Form::Enum(labels, _) | Form::Set(labels, _) = form {
        let number = u64::try_from(number).ok()?;
        let value = if matches!(form, Form::Set(..)) {
            cell::set_labels(labels, number, scratch)
        } else {
            cell::enum_label(labels, number)
        };
        let value = value.ok()?;
        if let Value::Text(text) = value
            && cell.key
            && injective::shares_its_label(form, number)
        {
            return Some(Value::Unrepresentable(Unrepresentable::SharedText(text)));
        }
        return Some(value);
    }
    if *form == Form::Unsigned64 {
        return u64::try_from(number).ok().map(Value::UInt);
    }
    let fits = matches!(form, Form::Signed | Form::Unsigned | Form::Year);
    fits.then(|| i64::try_from(number).ok().map(Value::Int)).flatten()
}

fn dated(form: &Form, civil: CivilDateTime) -> Option<Value<'static>> {
    let Form::Temporal(form) = form else {
        return None;
    };
    match form {
        Temporal::Date => Some(Value::Date(civil.date)),
        Temporal::DateTime | Temporal::OldDateTime => Some(Value::DateTime(civil)),
        Temporal::Timestamp | Temporal::OldTimestamp => {
            let date = civil.date;
            if (date.year, date.month, date.day) == (0, 0, 0) {
                return Some(Value::Unrepresentable(Unrepresentable::ZeroTimestamp));
            }
            temporal::instant(civil).map(Value::Timestamp)
        }
        Temporal::Time | Temporal::OldTime => None,
    }
}

fn bytes_value<'a>(cell: &'a Cell, bytes: &'a [u8], scratch: &'a mut Scratch) -> Option<Value<'a>> {
    let number = |bytes: &[u8]| (bytes.len() <= 8).then(|| be_uint(bytes));
    match &cell.form {
        // As the log has them.
        Form::Text(_) | Form::Char(_) | Form::Bytes | Form::Binary(_) | Form::Geometry => {
            cell.decode(bytes, scratch).ok()
        }
        Form::Enum(_, codec) | Form::Set(_, codec) => Some(cell::text(*codec, bytes, scratch)),
        Form::Address(_) => Some(cell::text(Codec::Utf8, bytes, scratch)),
        Form::Json => Some(Value::Json(std::str::from_utf8(bytes).ok()?)),
        Form::Bool => number(bytes).map(|bits| Value::Bool(bits & 1 != 0)),
        Form::Bits => number(bytes).map(|bits| Value::Int(bits.cast_signed())),
        Form::Bits64 => number(bytes).map(Value::UInt),
        Form::Decimal { precision, scale } => {
            let text = std::str::from_utf8(bytes).ok()?;
            if *precision <= decimal::I128_DIGITS {
                let unscaled = decimal::unscaled_text(text, *scale)?;
                return Some(Value::Decimal {
                    unscaled,
                    scale: *scale,
                });
            }
            scratch.text.clear();
            decimal::normal_text(text, &mut scratch.text)?;
            Some(Value::DecimalText(&scratch.text))
        }
        Form::Signed
        | Form::Unsigned
        | Form::Unsigned64
        | Form::Float
        | Form::Double
        | Form::Year
        | Form::CompressedText(_)
        | Form::CompressedBytes
        | Form::Temporal(_) => None,
    }
}
