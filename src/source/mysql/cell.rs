//! One cell of a binlog row image: how long it is and what it means. A cell's plan is made once for a
//! layout; per cell there is one match and no allocation. What is not borrowable from the image (text of
//! another character set, a padded BINARY, JSON) is written into a scratch that lives as long as its thread.

use std::sync::Arc;

use super::address::Address;
use super::charset::{Charset, Codec};
use super::compressed::inflate_value;
use super::cursor::{be_uint, le_uint};
use super::decimal;
use super::injective;
use super::jsonb;
use super::table_map::{MapColumn, code};
use super::temporal;
use super::types::{Labels, SqlType, enum_width, set_width};
use crate::event::{Unrepresentable, Value};

/// How long a cell is: so many bytes (up to 63), or with this bit a length of 1…4 bytes before them.
pub(crate) const PREFIXED: u8 = 0x80;

/// How one column's cells are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    /// Bytes, or [`PREFIXED`] and the bytes of the length.
    pub(crate) width: u8,
    pub(crate) form: Form,
    /// Whether the column belongs to the key.
    pub(crate) key: bool,
}

/// What a cell's bytes (without the length) mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    /// Sign-extended from the cell's width.
    Signed,
    /// Fits `i64`.
    Unsigned,
    Unsigned64,
    Float,
    Double,
    Decimal {
        precision: u8,
        scale: u8,
    },
    Bool,
    /// Big-endian, fewer than 64 bits.
    Bits,
    Bits64,
    Year,
    Temporal(Temporal),
    Text(Codec),
    /// CHAR: trailing spaces are no part of the value.
    Char(Codec),
    Bytes,
    /// MariaDB: a compressed VARCHAR or TEXT.
    CompressedText(Codec),
    /// MariaDB: a compressed VARBINARY or BLOB.
    CompressedBytes,
    /// MariaDB: 4 or 16 bytes that a SELECT shows as text; trailing zeros are left off.
    Address(Address),
    /// BINARY: zeros up to the length are part of the value.
    Binary(u16),
    /// SRID, then WKB.
    Geometry,
    /// With what decodes a label's bytes.
    Enum(Labels, Codec),
    Set(Labels, Codec),
    Json,
}

/// Dates and times; `Old`: as stored before MySQL 5.6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Temporal {
    Date,
    Time,
    OldTime,
    DateTime,
    OldDateTime,
    Timestamp,
    OldTimestamp,
}

/// Room for values that cannot be borrowed; reused from cell to cell.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) text: String,
    pub(crate) bytes: Vec<u8>,
}

/// Room that a scratch may keep between rows.
const SCRATCH_KEPT: usize = 1 << 20;

impl Scratch {
    /// Gives back room that only an unusual row needed.
    pub(crate) fn trim(&mut self) {
        self.text.clear();
        self.bytes.clear();
        self.text.shrink_to(SCRATCH_KEPT);
        self.bytes.shrink_to(SCRATCH_KEPT);
    }
}

impl Cell {
    /// The plan of a column; `stored` is how the log holds it, where the log was asked.
    pub(crate) fn new(kind: &SqlType, stored: Option<&MapColumn>, key: bool) -> Cell {
        let old =
            stored.is_some_and(|column| matches!(column.code, code::TIME | code::DATETIME | code::TIMESTAMP));
        let compressed = stored
            .is_some_and(|column| matches!(column.code, code::BLOB_COMPRESSED | code::VARCHAR_COMPRESSED));
        let plain = form(kind, old);
        let form = if !compressed {
            plain
        } else if let Form::Text(codec) = plain {
            Form::CompressedText(codec)
        } else {
            Form::CompressedBytes
        };
        Cell {
            width: width(kind, stored, old),
            form,
            key,
        }
    }

    /// Decodes a cell's bytes (without the length). The value borrows from them or from `scratch`.
    #[inline]
    pub(crate) fn decode<'a>(
        &'a self,
        bytes: &'a [u8],
        scratch: &'a mut Scratch,
    ) -> Result<Value<'a>, &'static str> {
        let value = decode(&self.form, bytes, scratch)?;
        if let Value::Text(text) = value
            && self.key
            && injective::shares_its_text(&self.form, bytes)
        {
            return Ok(Value::Unrepresentable(Unrepresentable::SharedText(text)));
        }
        Ok(value)
    }
}

/// A length byte or two, by the greatest length in bytes.
fn short_prefix(stored: Option<&MapColumn>, length: u16, charset: Option<&Charset>) -> u8 {
    let max_len = charset.map_or(1, |charset| charset.max_len);
    let bytes = stored.map_or_else(|| length.saturating_mul(max_len), |column| column.meta);
    PREFIXED | if bytes > 255 { 2 } else { 1 }
}

fn width(kind: &SqlType, stored: Option<&MapColumn>, old: bool) -> u8 {
    match kind {
        SqlType::Int { bytes, .. } => *bytes,
        SqlType::Float { .. } => 4,
        SqlType::Double { .. } => 8,
        SqlType::Decimal { precision, scale, .. } => decimal::width(*precision, *scale),
        SqlType::Bit(bits) => bits.div_ceil(8),
        SqlType::Year => 1,
        SqlType::Date => 3,
        SqlType::Time(digits) => 3 + temporal::fraction_bytes(*digits),
        SqlType::DateTime(_) if old => 8,
        SqlType::DateTime(digits) => 5 + temporal::fraction_bytes(*digits),
        SqlType::Timestamp(digits) => 4 + temporal::fraction_bytes(*digits),
        SqlType::Char { length, charset } | SqlType::VarChar { length, charset } => {
            short_prefix(stored, *length, Some(charset))
        }
        SqlType::Binary(length) | SqlType::VarBinary(length) => short_prefix(stored, *length, None),
        SqlType::Address(address) => short_prefix(stored, address.bytes(), None),
        SqlType::Text { width, .. } | SqlType::Blob(width) => PREFIXED | *width,
        SqlType::Enum { labels, .. } => enum_width(labels.len()),
        SqlType::Set { labels, .. } => set_width(labels.len()),
        SqlType::Json | SqlType::Geometry(_) | SqlType::Vector(_) => {
            PREFIXED | stored.map_or(4, |column| column.meta.to_le_bytes()[0])
        }
    }
}

fn form(kind: &SqlType, old: bool) -> Form {
    match kind {
        SqlType::Int {
            bytes: 8,
            unsigned: true,
        } => Form::Unsigned64,
        SqlType::Int { unsigned: true, .. } => Form::Unsigned,
        SqlType::Int { .. } => Form::Signed,
        SqlType::Float { .. } => Form::Float,
        SqlType::Double { .. } => Form::Double,
        SqlType::Decimal { precision, scale, .. } => Form::Decimal {
            precision: *precision,
            scale: *scale,
        },
        SqlType::Bit(1) => Form::Bool,
        SqlType::Bit(64) => Form::Bits64,
        SqlType::Bit(_) => Form::Bits,
        SqlType::Year => Form::Year,
        SqlType::Date => Form::Temporal(Temporal::Date),
        SqlType::Time(_) if old => Form::Temporal(Temporal::OldTime),
        SqlType::Time(_) => Form::Temporal(Temporal::Time),
        SqlType::DateTime(_) if old => Form::Temporal(Temporal::OldDateTime),
        SqlType::DateTime(_) => Form::Temporal(Temporal::DateTime),
        SqlType::Timestamp(_) if old => Form::Temporal(Temporal::OldTimestamp),
        SqlType::Timestamp(_) => Form::Temporal(Temporal::Timestamp),
        SqlType::Char { charset, .. } => charset.codec.map_or(Form::Bytes, Form::Char),
        SqlType::VarChar { charset, .. } | SqlType::Text { charset, .. } => {
            charset.codec.map_or(Form::Bytes, Form::Text)
        }
        SqlType::Binary(length) => Form::Binary(*length),
        SqlType::Address(address) => Form::Address(*address),
        SqlType::VarBinary(_) | SqlType::Blob(_) | SqlType::Vector(_) => Form::Bytes,
        SqlType::Geometry(_) => Form::Geometry,
        SqlType::Enum { labels, charset } => Form::Enum(Arc::clone(labels), label_codec(charset)),
        SqlType::Set { labels, charset } => Form::Set(Arc::clone(labels), label_codec(charset)),
        SqlType::Json => Form::Json,
    }
}

/// Labels of a binary ENUM are bytes that the catalog shows as text.
fn label_codec(charset: &Charset) -> Codec {
    charset.codec.unwrap_or(Codec::Utf8)
}

/// Bytes of the cell that begins at `at`, its length included; it may reach past the end of `bytes`.
#[inline]
pub(crate) fn cell_len(width: u8, bytes: &[u8], at: usize) -> Option<usize> {
    if width & PREFIXED == 0 {
        return Some(usize::from(width));
    }
    let rest = bytes.get(at..)?;
    let (prefix, length) = match width ^ PREFIXED {
        1 => (1, u32::from(*rest.first()?)),
        2 => (2, u32::from(u16::from_le_bytes(*rest.first_chunk()?))),
        3 => {
            let [a, b, c] = *rest.first_chunk()?;
            (3, u32::from_le_bytes([a, b, c, 0]))
        }
        _ => (4, u32::from_le_bytes(*rest.first_chunk()?)),
    };
    usize::try_from(length).ok()?.checked_add(prefix)
}

/// Bytes of the length before a cell's own.
pub(crate) fn prefix_len(width: u8) -> usize {
    if width & PREFIXED == 0 {
        0
    } else {
        usize::from(width ^ PREFIXED)
    }
}

#[inline]
fn decode<'a>(form: &'a Form, bytes: &'a [u8], scratch: &'a mut Scratch) -> Result<Value<'a>, &'static str> {
    match form {
        Form::Signed => Ok(Value::Int(signed(bytes)?)),
        Form::Unsigned => Ok(Value::Int(le_uint(bytes).cast_signed())),
        Form::Unsigned64 => Ok(Value::UInt(le_uint(bytes))),
        Form::Float => Ok(Value::Float(f32::from_le_bytes(array(bytes)?))),
        Form::Double => Ok(Value::Double(f64::from_le_bytes(array(bytes)?))),
        Form::Decimal { precision, scale } => decimal_cell(bytes, *precision, *scale, scratch),
        Form::Bool => Ok(Value::Bool(be_uint(bytes) & 1 != 0)),
        Form::Bits => Ok(Value::Int(be_uint(bytes).cast_signed())),
        Form::Bits64 => Ok(Value::UInt(be_uint(bytes))),
        Form::Text(codec) => Ok(text(*codec, bytes, scratch)),
        Form::Char(codec) => Ok(trimmed(text(*codec, bytes, scratch))),
        Form::Bytes => Ok(Value::Bytes(bytes)),
        Form::CompressedText(_) | Form::CompressedBytes => compressed(form, bytes, scratch),
        Form::Address(address) => {
            scratch.text.clear();
            address
                .write(bytes, &mut scratch.text)
                .ok_or("a fixed-size value has another size")?;
            Ok(Value::Text(&scratch.text))
        }
        Form::Binary(length) => Ok(padded(bytes, usize::from(*length), scratch)),
        Form::Geometry => Ok(geometry(bytes)),
        Form::Enum(labels, _) => enum_label(labels, le_uint(bytes)),
        Form::Set(labels, _) => set_labels(labels, le_uint(bytes), scratch),
        Form::Json => {
            scratch.text.clear();
            jsonb::write_text(bytes, &mut scratch.text).map_err(|_| "not a JSON document")?;
            Ok(Value::Json(&scratch.text))
        }
        Form::Year => Ok(Value::Int(year(le_uint(bytes)))),
        Form::Temporal(form) => temporal_cell(*form, bytes),
    }
}

fn temporal_cell(form: Temporal, bytes: &[u8]) -> Result<Value<'static>, &'static str> {
    const BAD: &str = "not a date or time";
    let timestamp = |micros: Option<i64>| {
        micros.map_or(
            Value::Unrepresentable(Unrepresentable::ZeroTimestamp),
            Value::Timestamp,
        )
    };
    Ok(match form {
        Temporal::Date => Value::Date(temporal::date(array(bytes)?)),
        Temporal::Time => Value::Time(temporal::time2(bytes).ok_or(BAD)?),
        Temporal::OldTime => Value::Time(temporal::old_time(array(bytes)?)),
        Temporal::DateTime => Value::DateTime(temporal::datetime2(bytes).ok_or(BAD)?),
        Temporal::OldDateTime => Value::DateTime(temporal::old_datetime(array(bytes)?).ok_or(BAD)?),
        Temporal::Timestamp => timestamp(temporal::timestamp2(bytes)),
        Temporal::OldTimestamp => {
            let [a, b, c, d] = array(bytes)?;
            timestamp(temporal::timestamp2(&[d, c, b, a]))
        }
    })
}

/// YEAR is one byte from 1900 on, but 0 is the year 0000.
fn year(byte: u64) -> i64 {
    if byte == 0 { 0 } else { byte.cast_signed() + 1900 }
}

fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N], &'static str> {
    bytes
        .try_into()
        .map_err(|_| "a fixed-size value has another size")
}

fn signed(bytes: &[u8]) -> Result<i64, &'static str> {
    Ok(match bytes {
        [a] => i64::from(i8::from_le_bytes([*a])),
        [a, b] => i64::from(i16::from_le_bytes([*a, *b])),
        // The sign is in the highest of three bytes: shifted up and back it spreads.
        [a, b, c] => i64::from(i32::from_le_bytes([0, *a, *b, *c]) >> 8),
        [a, b, c, d] => i64::from(i32::from_le_bytes([*a, *b, *c, *d])),
        other => i64::from_le_bytes(array(other)?),
    })
}

fn decimal_cell<'a>(
    bytes: &[u8],
    precision: u8,
    scale: u8,
    scratch: &'a mut Scratch,
) -> Result<Value<'a>, &'static str> {
    const BAD: &str = "not a DECIMAL";
    if precision <= decimal::I128_DIGITS {
        let unscaled = decimal::unscaled(bytes, precision, scale).ok_or(BAD)?;
        return Ok(Value::Decimal { unscaled, scale });
    }
    scratch.text.clear();
    decimal::text(bytes, precision, scale, &mut scratch.text).ok_or(BAD)?;
    Ok(Value::DecimalText(&scratch.text))
}

pub(crate) fn text<'a>(codec: Codec, bytes: &'a [u8], scratch: &'a mut Scratch) -> Value<'a> {
    codec.decode(bytes, &mut scratch.text).map_or(
        Value::Unrepresentable(Unrepresentable::InvalidText(bytes)),
        Value::Text,
    )
}

fn compressed<'a>(form: &Form, bytes: &[u8], scratch: &'a mut Scratch) -> Result<Value<'a>, &'static str> {
    inflate_value(bytes, &mut scratch.bytes).ok_or("a compressed value cannot be inflated")?;
    let Form::CompressedText(codec) = form else {
        return Ok(Value::Bytes(&scratch.bytes));
    };
    let decoded = codec.decode(&scratch.bytes, &mut scratch.text);
    Ok(decoded.map_or(
        Value::Unrepresentable(Unrepresentable::InvalidText(&scratch.bytes)),
        Value::Text,
    ))
}

/// CHAR without its padding. The log leaves it off and so do SELECTs, unless a session set
/// PAD_CHAR_TO_FULL_LENGTH; so trimming again makes no difference but that one.
pub(crate) fn trimmed(value: Value<'_>) -> Value<'_> {
    if let Value::Text(text) = value {
        Value::Text(text.trim_end_matches(' '))
    } else {
        value
    }
}

/// BINARY as declared: the log leaves off trailing zeros.
pub(crate) fn padded<'a>(bytes: &'a [u8], length: usize, scratch: &'a mut Scratch) -> Value<'a> {
    if bytes.len() >= length {
        return Value::Bytes(bytes);
    }
    scratch.bytes.clear();
    scratch.bytes.extend_from_slice(bytes);
    scratch.bytes.resize(length, 0);
    Value::Bytes(&scratch.bytes)
}

/// A geometry as WKB; the SRID in front is left out. A column added with NOT NULL holds empty values, which
/// are no geometries and stay empty.
pub(crate) fn geometry(bytes: &[u8]) -> Value<'_> {
    Value::Bytes(bytes.get(4..).unwrap_or_default())
}

/// Label 0 is the empty string that stands for an invalid value.
pub(crate) fn enum_label(labels: &Labels, number: u64) -> Result<Value<'_>, &'static str> {
    let Some(index) = number.checked_sub(1) else {
        return Ok(Value::Text(""));
    };
    let label = usize::try_from(index).ok().and_then(|index| labels.get(index));
    label
        .map(|label| Value::Text(label))
        .ok_or("an ENUM number without a label")
}

pub(crate) fn set_labels<'a>(
    labels: &Labels,
    bits: u64,
    scratch: &'a mut Scratch,
) -> Result<Value<'a>, &'static str> {
    scratch.text.clear();
    let count = u32::try_from(labels.len()).unwrap_or(u32::MAX);
    if count < 64 && bits >> count != 0 {
        return Err("a SET bit without a label");
    }
    for (index, label) in labels.iter().enumerate() {
        if bits & (1 << index) != 0 {
            if !scratch.text.is_empty() {
                scratch.text.push(',');
            }
            scratch.text.push_str(label);
        }
    }
    Ok(Value::Text(&scratch.text))
}
