//! From a row image to the bytes of a protobuf message, in one walk and without an allocation a cell.
//! What BigQuery cannot hold follows the policy for its kind, which never touches the key, and is counted.
//! Where that is to refuse the row the walk goes on: a refused row is put aside whole.

use prost::encoding::{WireType, encode_key, encode_varint};

use super::json;
use super::letter::Refusal;
use super::misfit::{Misfit, Misfits};
use super::numeric::{self, Wire};
use super::plan::{PlannedColumn, Target};
use super::text;
use super::types::Form;
use crate::config::ValuePolicy;
use crate::event::{
    CellVisitor, CivilDateTime, OrderKey, ReadAt, RowError, RowImages, RowRef, TxnStart, Unrepresentable,
    Value,
};

/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59.999999Z, BigQuery's range, in microseconds.
pub(super) const TIMESTAMPS: std::ops::RangeInclusive<i64> =
    -62_135_596_800_000_000..=253_402_300_799_999_999;

/// What the row that ends a read says that it is.
pub(super) const SEAL: &str = "SNAPSHOT_DONE";

/// What the row says that it is which ends what came before it.
pub(super) const CLEARED: &str = "CLEARED";

/// What a row does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChangeType {
    Upsert,
    Delete,
}

/// Encodes rows of one target, reusing its buffers.
#[derive(Debug, Default)]
pub(super) struct RowEncoder {
    /// The encoded row.
    pub(super) row: Vec<u8>,
    /// The encoded key columns of the row, in column order: equal exactly if the keys are.
    pub(super) key: Vec<u8>,
    scratch: Vec<u8>,
}

/// A row to encode.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) images: &'a dyn RowImages,
    pub(super) image: RowRef,
    pub(super) change: ChangeType,
    pub(super) order: OrderKey,
    /// The number's first three sections, as [`text::order_prefix`] writes them.
    pub(super) order_prefix: &'a [u8],
    pub(super) committed_micros: i64,
    /// What is said of the change itself where the target holds changes.
    pub(super) logged: Option<Logged>,
}

/// A change as a row of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Logged {
    /// What happened: a value of the column that says so.
    pub(super) operation: &'static str,
    /// Of a row that a snapshot read: when the read began, in microseconds since 1970, and its place in it.
    pub(super) read: Option<[u64; 2]>,
}

/// How encoding went.
#[derive(Debug)]
pub(super) enum Encoded {
    /// The row is ready.
    Ready(Misfits),
    /// A cell outside the key cannot be written; the key is there.
    Refused(Refusal, Misfits),
    /// A cell of the key cannot be written: the row has no key that others could share.
    KeyRefused(Refusal),
}

impl RowEncoder {
    /// Encodes one row into `self.row` and its key into `self.key`.
    ///
    /// # Errors
    /// The image cannot be walked.
    pub(super) fn encode(&mut self, target: &Target, row: Row<'_>) -> Result<Encoded, RowError> {
        self.row.clear();
        self.key.clear();
        let mut cells = Cells {
            target,
            key_only: row.change == ChangeType::Delete && row.logged.is_none(),
            next: 0,
            refused: None,
            key_refused: None,
            misfits: Misfits::default(),
            refusing: Misfits::default(),
            out: &mut self.row,
            key: &mut self.key,
            scratch: &mut self.scratch,
        };
        row.images.visit(row.image, &mut cells)?;
        if cells.next != target.columns.len() {
            return Err(malformed(cells.next, "the image ends early"));
        }
        if let Some(refused) = cells.key_refused {
            return Ok(Encoded::KeyRefused(refused));
        }
        if let Some(refused) = cells.refused {
            return Ok(Encoded::Refused(refused, cells.refusing));
        }
        let misfits = cells.misfits;
        let has_time = row.change == ChangeType::Upsert || row.logged.is_some();
        if has_time && TIMESTAMPS.contains(&row.committed_micros) {
            encode_key(target.commit_time_field, WireType::Varint, &mut self.row);
            encode_varint(row.committed_micros.cast_unsigned(), &mut self.row);
        }
        let operation = match (row.logged, row.change) {
            (Some(logged), _) => logged.operation,
            (None, ChangeType::Upsert) => "UPSERT",
            (None, ChangeType::Delete) => "DELETE",
        };
        put_bytes(&mut self.row, target.operation_field, operation.as_bytes());
        self.scratch.clear();
        match row.logged {
            Some(logged) => text::sortable(&mut self.scratch, row.order, logged.read),
            None => {
                self.scratch.extend_from_slice(row.order_prefix);
                text::order_last(&mut self.scratch, row.order);
            }
        }
        put_bytes(&mut self.row, target.sequence_field, &self.scratch);
        Ok(Encoded::Ready(misfits))
    }
}

/// The row that says that every row of a read is there.
pub(super) fn seal(target: &Target, at: ReadAt) -> Vec<u8> {
    let mut mark = Vec::new();
    text::read_mark(
        &mut mark,
        OrderKey::snapshot(at.low),
        at.began_micros.cast_unsigned(),
    );
    note(target, SEAL, (&mark, at.began_micros))
}

/// The row that says that nothing counts any more that came before a place: above every row that was there before, below
/// those of a copy that was made then.
pub(super) fn cleared(target: &Target, at: TxnStart, now_micros: i64) -> Vec<u8> {
    let mut mark = Vec::new();
    text::sortable(&mut mark, OrderKey::sweep(at), None);
    note(target, CLEARED, (&mark, now_micros))
}

/// A row without values.
fn note(target: &Target, operation: &str, (sequence, micros): (&[u8], i64)) -> Vec<u8> {
    let mut row = Vec::new();
    if TIMESTAMPS.contains(&micros) {
        encode_key(target.commit_time_field, WireType::Varint, &mut row);
        encode_varint(micros.cast_unsigned(), &mut row);
    }
    put_bytes(&mut row, target.operation_field, operation.as_bytes());
    put_bytes(&mut row, target.sequence_field, sequence);
    row
}

struct Cells<'a> {
    target: &'a Target,
    key_only: bool,
    next: usize,
    /// The first cell outside the key that cannot be written.
    refused: Option<Refusal>,
    /// The first one of the key.
    key_refused: Option<Refusal>,
    misfits: Misfits,
    /// Those that refuse the row: what becomes of the others is not written then.
    refusing: Misfits,
    out: &'a mut Vec<u8>,
    key: &'a mut Vec<u8>,
    scratch: &'a mut Vec<u8>,
}

/// Why a cell was not written.
enum Unwritten<'a> {
    /// SQL NULL.
    Null,
    /// What the target cannot hold.
    Misfit(Misfit),
    /// Bytes that are no text.
    NoText(&'a [u8]),
    /// A key's text that is not its own.
    Shared,
    /// No value of the column's type.
    Mismatch,
}

impl CellVisitor for Cells<'_> {
    fn cell(&mut self, index: usize, value: Value<'_>) -> Result<(), RowError> {
        let Some(column) = self.target.columns.get(index) else {
            return Err(malformed(index, "the layout has no such column"));
        };
        if index != self.next {
            return Err(malformed(index, "cells out of order"));
        }
        self.next += 1;
        if !column.written || self.key_only && !column.key {
            return Ok(());
        }
        let start = self.out.len();
        match self.write(column, value) {
            Ok(()) => {
                if column.key {
                    self.key.extend_from_slice(self.out.get(start..).unwrap_or(&[]));
                }
                Ok(())
            }
            Err(Unwritten::Mismatch) => Err(malformed(index, "a value of another type than the column's")),
            Err(unwritten) if column.key => {
                self.key_refused
                    .get_or_insert_with(|| refused(column, key_reason(&unwritten)));
                Ok(())
            }
            Err(Unwritten::Null) => Ok(()),
            Err(unwritten) => {
                self.settle(column, &unwritten);
                Ok(())
            }
        }
    }
}

impl Cells<'_> {
    /// Does with a cell outside the key what the policy says.
    fn settle(&mut self, column: &PlannedColumn, unwritten: &Unwritten<'_>) {
        let misfit = match unwritten {
            Unwritten::Misfit(misfit) => *misfit,
            Unwritten::NoText(_) => Misfit::InvalidText,
            Unwritten::Null | Unwritten::Shared | Unwritten::Mismatch => return,
        };
        self.misfits.add(misfit, 1);
        match (misfit.policy(&self.target.values), unwritten) {
            (ValuePolicy::Null, _) => {}
            (ValuePolicy::String, Unwritten::NoText(bytes)) => {
                self.scratch.clear();
                self.scratch.extend_from_slice(b"0x");
                text::hex(self.scratch, bytes);
                put_bytes(self.out, column.field, self.scratch);
            }
            (ValuePolicy::String | ValuePolicy::DeadLetter, _) => {
                self.refusing.add(misfit, 1);
                self.refused
                    .get_or_insert_with(|| refused(column, misfit.reason(false)));
            }
        }
    }

    fn write<'v>(&mut self, column: &PlannedColumn, value: Value<'v>) -> Result<(), Unwritten<'v>> {
        match (column.form, value) {
            (_, Value::Null) => return Err(Unwritten::Null),
            (Form::TimestampText, Value::Unrepresentable(Unrepresentable::ZeroTimestamp)) => {
                self.misfits.add(Misfit::ZeroDate, 1);
                self.bytes(column, b"0000-00-00 00:00:00.000000 UTC");
            }
            (_, Value::Unrepresentable(Unrepresentable::ZeroTimestamp)) => return Err(NO_SUCH_TIME),
            (_, Value::Unrepresentable(Unrepresentable::InvalidText(bytes))) => {
                return Err(Unwritten::NoText(bytes));
            }
            (_, Value::Unrepresentable(Unrepresentable::SharedText(_))) => return Err(Unwritten::Shared),
            (_, Value::Unrepresentable(Unrepresentable::OtherType)) => {
                return Err(Unwritten::Misfit(Misfit::OtherType));
            }
            (Form::Bool, Value::Bool(value)) => self.varint(column, u64::from(value)),
            (Form::Int64, Value::Int(value)) => self.varint(column, value.cast_unsigned()),
            (Form::Int64, Value::UInt(value)) => {
                let value = i64::try_from(value).map_err(|_| OUT_OF_RANGE)?;
                self.varint(column, value.cast_unsigned());
            }
            (Form::Double, Value::Double(value)) => self.fixed(column, value),
            (Form::Double, Value::Float(value)) => self.fixed(column, shortest_double(value)),
            (Form::Numeric, Value::UInt(value)) => self.number(column, numeric::numeric(value.into(), 0))?,
            (Form::Numeric, Value::Int(value)) => self.number(column, numeric::numeric(value.into(), 0))?,
            (Form::Numeric, Value::Decimal { unscaled, scale }) => {
                self.number(column, numeric::numeric(unscaled, scale))?;
            }
            (Form::BigNumeric, Value::Int(value)) => {
                self.number(column, numeric::bignumeric(value.into(), 0))?;
            }
            (Form::BigNumeric, Value::UInt(value)) => {
                self.number(column, numeric::bignumeric(value.into(), 0))?;
            }
            (Form::BigNumeric, Value::Decimal { unscaled, scale }) => {
                self.number(column, numeric::bignumeric(unscaled, scale))?;
            }
            (Form::BigNumeric, Value::DecimalText(value)) => {
                self.number(column, numeric::bignumeric_from_text(value))?;
            }
            (Form::Text, Value::Text(value) | Value::Json(value)) => self.bytes(column, value.as_bytes()),
            (Form::Bytes, Value::Bytes(value)) => self.bytes(column, value),
            (Form::Json, Value::Json(value)) => self.json(column, value)?,
            (Form::Date, Value::Date(date)) => {
                let days = date.days().ok_or(NO_SUCH_TIME)?;
                self.varint(column, i64::from(days).cast_unsigned());
            }
            (Form::DateTime, Value::DateTime(value)) => {
                self.varint(column, civil(value).ok_or(NO_SUCH_TIME)?);
            }
            (Form::Timestamp, Value::Timestamp(micros)) => {
                if !TIMESTAMPS.contains(&micros) {
                    return Err(NO_SUCH_TIME);
                }
                self.varint(column, micros.cast_unsigned());
            }
            (form, value) => return self.write_as_text(column, form, value),
        }
        Ok(())
    }

    /// Forms that are text made here.
    fn write_as_text(
        &mut self,
        column: &PlannedColumn,
        form: Form,
        value: Value<'_>,
    ) -> Result<(), Unwritten<'static>> {
        self.scratch.clear();
        match (form, value) {
            (Form::DateText, Value::Date(date)) => {
                let exists = date.days().is_some();
                self.misfits.add(Misfit::ZeroDate, u64::from(!exists));
                text::date(self.scratch, date);
            }
            (Form::DateTimeText, Value::DateTime(value)) => {
                let exists = civil(value).is_some();
                self.misfits.add(Misfit::ZeroDate, u64::from(!exists));
                text::date_time(self.scratch, value);
            }
            (Form::TimestampText, Value::Timestamp(micros)) => {
                let exists = TIMESTAMPS.contains(&micros);
                self.misfits.add(Misfit::ZeroDate, u64::from(!exists));
                text::timestamp(self.scratch, micros);
            }
            (Form::Interval, Value::Time(micros)) => text::interval(self.scratch, micros),
            (Form::TimeText, Value::Time(micros)) => text::time(self.scratch, micros),
            (Form::HexText, Value::Bytes(value)) => text::hex(self.scratch, value),
            (Form::DecimalText, Value::Decimal { unscaled, scale }) => {
                text::decimal(self.scratch, unscaled, scale);
            }
            (Form::DecimalText, Value::DecimalText(value)) => text::canonical_decimal(self.scratch, value),
            (Form::FloatText, Value::Double(value)) => {
                text::float(self.scratch, zmij::Buffer::new().format(value));
            }
            (Form::FloatText, Value::Float(value)) => {
                text::float(self.scratch, zmij::Buffer::new().format(value));
            }
            _ => return Err(Unwritten::Mismatch),
        }
        put_bytes(self.out, column.field, self.scratch);
        Ok(())
    }

    fn varint(&mut self, column: &PlannedColumn, value: u64) {
        encode_key(column.field, WireType::Varint, self.out);
        encode_varint(value, self.out);
    }

    fn fixed(&mut self, column: &PlannedColumn, value: f64) {
        encode_key(column.field, WireType::SixtyFourBit, self.out);
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    fn bytes(&mut self, column: &PlannedColumn, value: &[u8]) {
        put_bytes(self.out, column.field, value);
    }

    fn number(&mut self, column: &PlannedColumn, wire: Option<Wire>) -> Result<(), Unwritten<'static>> {
        let wire = wire.ok_or(OUT_OF_RANGE)?;
        put_bytes(self.out, column.field, wire.as_slice());
        Ok(())
    }

    fn json(&mut self, column: &PlannedColumn, document: &str) -> Result<(), Unwritten<'static>> {
        self.scratch.clear();
        let policy = self.target.values.json_numbers;
        match json::guard_numbers(self.scratch, document, policy == ValuePolicy::Null) {
            0 => put_bytes(self.out, column.field, document.as_bytes()),
            _ if policy == ValuePolicy::DeadLetter => return Err(Unwritten::Misfit(Misfit::JsonNumber)),
            changed => {
                self.misfits.add(Misfit::JsonNumber, changed);
                put_bytes(self.out, column.field, self.scratch);
            }
        }
        Ok(())
    }
}

const NO_SUCH_TIME: Unwritten<'static> = Unwritten::Misfit(Misfit::ZeroDate);
const OUT_OF_RANGE: Unwritten<'static> = Unwritten::Misfit(Misfit::OutOfRange);

/// A field of wire type LEN.
pub(super) fn put_bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(u64::try_from(value.len()).unwrap_or(u64::MAX), out);
    out.extend_from_slice(value);
}

/// The double whose decimal form is the float's: 0.1f32 is 0.1, not 0.10000000149011612.
fn shortest_double(value: f32) -> f64 {
    let exact = f64::from(value);
    // Below 2²⁴ every whole float is its own shortest decimal.
    if !value.is_finite() || (exact.fract() == 0.0 && exact.abs() < 16_777_216.0) {
        return exact;
    }
    zmij::Buffer::new().format_finite(value).parse().unwrap_or(exact)
}

/// DATETIME as BigQuery packs it; `None` if there is no such time.
fn civil(value: CivilDateTime) -> Option<u64> {
    value.date.days()?;
    if value.hour > 23 || value.minute > 59 || value.second > 59 || value.micros > 999_999 {
        return None;
    }
    let date = u64::from(value.date.year) << 26
        | u64::from(value.date.month) << 22
        | u64::from(value.date.day) << 17;
    let time = u64::from(value.hour) << 12 | u64::from(value.minute) << 6 | u64::from(value.second);
    Some((date | time) << 20 | u64::from(value.micros))
}

fn key_reason(unwritten: &Unwritten<'_>) -> &'static str {
    match unwritten {
        Unwritten::Null => "NULL in a key column",
        Unwritten::Misfit(misfit) => misfit.reason(true),
        Unwritten::NoText(_) => Misfit::InvalidText.reason(true),
        Unwritten::Shared => "a text that another value of the key column has, too",
        Unwritten::Mismatch => "a value of another type than the column's",
    }
}

fn refused(column: &PlannedColumn, reason: &str) -> Refusal {
    Refusal::Cell {
        column: column.source.clone(),
        reason: reason.to_owned(),
    }
}

fn malformed(column: usize, reason: &str) -> RowError {
    RowError::Malformed {
        column,
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod edges;
#[cfg(test)]
mod tests;
