//! A row that is put aside, as text: for the table of dead letters whole, for the log without any
//! value but the key's. Only what is sent to the target is rendered, by the same plan of columns, so
//! that a value which may not leave the source does not leave it through a dead letter either.

use std::io::{self, Write};

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};

use super::encode::ChangeType;
use super::error::RowAt;
use super::plan::{PlannedColumn, Target};
use super::text;
use crate::event::{CellVisitor, ColumnName, OrderKey, RowError, RowImages, RowRef, Unrepresentable, Value};

/// What is kept of a row's text, in bytes: enough to read most rows, and little enough that a thousand
/// letters fit into the memory of a few requests.
pub(super) const PAYLOAD_BYTES: usize = 64 << 10;

/// What is kept of BigQuery's message, in characters.
const REASON_CHARS: usize = 4_000;

/// What a log line shows of a key, in characters.
const SHOWN_KEY_CHARS: usize = 300;

/// Why the target does not take a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A cell that the target's type cannot hold.
    Cell {
        /// The column's name in the source.
        column: ColumnName,
        /// Why, without the value.
        reason: String,
    },
    /// More bytes than a request takes.
    TooLarge {
        /// Size of the encoded row in bytes.
        bytes: usize,
        /// Size that would fit, in bytes.
        limit: usize,
    },
    /// BigQuery's own words, which may quote a value.
    Answer(String),
}

impl Refusal {
    /// The column at fault, by its name in the source, as far as that can be told.
    fn column(&self, target: &Target) -> Option<ColumnName> {
        match self {
            Refusal::Cell { column, .. } => Some(column.clone()),
            Refusal::TooLarge { .. } => None,
            Refusal::Answer(message) => named_column(target, message),
        }
    }

    /// The reason in full, for who may read the target's tables.
    fn whole(&self) -> String {
        match self {
            Refusal::Cell { .. } | Refusal::TooLarge { .. } => self.to_string(),
            Refusal::Answer(message) => message.chars().take(REASON_CHARS).collect(),
        }
    }
}

/// The reason without a value, for logs.
impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refusal::Cell { reason, .. } => f.write_str(reason),
            Refusal::TooLarge { bytes, limit } => {
                write!(f, "{bytes} bytes once encoded; a request takes {limit}")
            }
            Refusal::Answer(_) => f.write_str("refused by BigQuery, in words that the dead letter holds"),
        }
    }
}

/// The column that BigQuery's message is about: the name that follows the word "field" or "column".
fn named_column(target: &Target, message: &str) -> Option<ColumnName> {
    let bare = |word: &'_ str| {
        word.trim_matches(|c: char| !c.is_alphanumeric() && c != '_')
            .to_owned()
    };
    let words: Vec<String> = message.split_whitespace().map(bare).collect();
    for (word, name) in words.iter().zip(words.iter().skip(1)) {
        if !word.eq_ignore_ascii_case("field") && !word.eq_ignore_ascii_case("column") {
            continue;
        }
        // Fields are also named by their path from the root message.
        let last = name.rsplit('.').next().unwrap_or(name);
        let named = |column: &&PlannedColumn| column.target.eq_ignore_ascii_case(last);
        if let Some(column) = target.columns.iter().find(named) {
            return Some(column.source.clone());
        }
    }
    None
}

/// One refused change of a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refused<'a> {
    pub(super) images: &'a dyn RowImages,
    pub(super) image: RowRef,
    pub(super) change: ChangeType,
    pub(super) order: OrderKey,
    pub(super) at: RowAt,
    pub(super) committed_micros: i64,
    /// The target may hold an older version of the row.
    pub(super) stale: bool,
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Letter {
    pub(super) order: OrderKey,
    pub(super) at: RowAt,
    pub(super) change: ChangeType,
    pub(super) stale: bool,
    pub(super) committed_micros: i64,
    /// The key columns as a JSON object.
    pub(super) key: String,
    /// The column at fault.
    pub(super) column: Option<ColumnName>,
    /// Why, in full.
    pub(super) reason: String,
    /// Why, without a value.
    pub(super) shown_reason: String,
    /// The beginning of the row as a JSON object; `None` for a row that is kept by reference only.
    pub(super) payload: Option<String>,
    /// Length of the whole JSON object in bytes.
    pub(super) payload_bytes: u64,
    /// SHA-256 of the whole JSON object, in hexadecimal digits.
    pub(super) payload_sha256: String,
}

impl Letter {
    /// Renders a refused row.
    ///
    /// # Errors
    /// The image cannot be walked: the source's reader is wrong, not the row.
    pub(super) fn of(target: &Target, row: Refused<'_>, refusal: &Refusal) -> Result<Letter, RowError> {
        let by_reference = matches!(refusal, Refusal::TooLarge { .. });
        let mut render = Render {
            columns: &target.columns,
            payload: Capped::new(if by_reference { 0 } else { PAYLOAD_BYTES }),
            key: Vec::new(),
        };
        row.images.visit(row.image, &mut render)?;
        let (payload, key) = render.finish().map_err(|error| unrendered(0, &error))?;
        let (text, payload_bytes, payload_sha256) = payload.finish();
        Ok(Letter {
            order: row.order,
            at: row.at,
            change: row.change,
            stale: row.stale,
            committed_micros: row.committed_micros,
            key: utf8(&key),
            column: refusal.column(target),
            reason: refusal.whole(),
            shown_reason: refusal.to_string(),
            payload: (!by_reference).then_some(text),
            payload_bytes,
            payload_sha256,
        })
    }

    /// Where the row is and why it was refused, without a value.
    pub(super) fn summary(&self) -> String {
        let column = self.column.as_ref();
        let column = column.map(|column| format!("column {column}, "));
        format!("{}: {}{}", self.at, column.unwrap_or_default(), self.shown_reason)
    }

    /// The key as a log line shows it.
    pub(super) fn shown_key(&self) -> String {
        self.key.chars().take(SHOWN_KEY_CHARS).collect()
    }
}

fn unrendered(column: usize, error: &io::Error) -> RowError {
    RowError::Malformed {
        column,
        reason: format!("cannot be rendered: {error}"),
    }
}

/// Bytes as hexadecimal digits.
pub(super) fn hex_text(bytes: &[u8]) -> String {
    let mut digits = Vec::new();
    text::hex(&mut digits, bytes);
    utf8(&digits)
}

/// The text that the bytes begin with: all of it, unless a character was cut at the end.
fn utf8(bytes: &[u8]) -> String {
    let text = bytes.utf8_chunks().next().map(|chunk| chunk.valid());
    text.unwrap_or_default().to_owned()
}

/// Keeps the beginning of a text, counts and hashes all of it: a row may be larger than memory should hold twice.
struct Capped {
    kept: Vec<u8>,
    limit: usize,
    bytes: u64,
    hash: Sha256,
}

impl Capped {
    fn new(limit: usize) -> Capped {
        Capped {
            kept: Vec::new(),
            limit,
            bytes: 0,
            hash: Sha256::new(),
        }
    }

    fn finish(self) -> (String, u64, String) {
        (utf8(&self.kept), self.bytes, hex_text(&self.hash.finalize()))
    }
}

impl Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.limit.saturating_sub(self.kept.len()).min(bytes.len());
        self.kept.extend_from_slice(bytes.get(..left).unwrap_or_default());
        self.bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.hash.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a row as two JSON objects: all columns, and those of the key.
struct Render<'a> {
    columns: &'a [PlannedColumn],
    payload: Capped,
    key: Vec<u8>,
}

impl Render<'_> {
    /// Closes both objects, of which one without a member is not yet open.
    fn finish(self) -> io::Result<(Capped, Vec<u8>)> {
        let Render {
            mut payload, mut key, ..
        } = self;
        payload.write_all(if payload.bytes == 0 { b"{}" } else { b"}" })?;
        key.write_all(if key.is_empty() { b"{}" } else { b"}" })?;
        Ok((payload, key))
    }
}

impl CellVisitor for Render<'_> {
    fn cell(&mut self, index: usize, value: Value<'_>) -> Result<(), RowError> {
        let Some(column) = self.columns.get(index) else {
            return Err(RowError::Malformed {
                column: index,
                reason: "the layout has no such column".to_owned(),
            });
        };
        let failed = |error: io::Error| unrendered(index, &error);
        member(&mut self.payload, index == 0, column, value).map_err(failed)?;
        if column.key {
            let first = self.key.is_empty();
            member(&mut self.key, first, column, value).map_err(failed)?;
        }
        Ok(())
    }
}

/// One member of an object.
fn member(out: &mut impl Write, first: bool, column: &PlannedColumn, value: Value<'_>) -> io::Result<()> {
    out.write_all(if first { b"{" } else { b"," })?;
    serde_json::to_writer(&mut *out, column.source.as_str())?;
    out.write_all(b":")?;
    json(out, column.key, value)
}

/// A value as JSON: numbers that JSON's readers keep as numbers, everything else as the text that the
/// target shows (binary keys in hexadecimal digits, other bytes in base64).
fn json(out: &mut impl Write, key: bool, value: Value<'_>) -> io::Result<()> {
    match value {
        Value::Null | Value::Unrepresentable(Unrepresentable::OtherType) => out.write_all(b"null"),
        Value::Bool(value) => write!(out, "{value}"),
        Value::Int(value) => write!(out, "{value}"),
        Value::UInt(value) => write!(out, "{value}"),
        Value::Float(value) if value.is_finite() => write!(out, "{}", zmij::Buffer::new().format(value)),
        Value::Double(value) if value.is_finite() => write!(out, "{}", zmij::Buffer::new().format(value)),
        Value::Float(value) => write!(out, "\"{value}\""),
        Value::Double(value) => write!(out, "\"{value}\""),
        Value::Text(value)
        | Value::DecimalText(value)
        | Value::Unrepresentable(Unrepresentable::SharedText(value)) => {
            Ok(serde_json::to_writer(out, value)?)
        }
        Value::Json(document) => out.write_all(document.as_bytes()),
        Value::Bytes(bytes) if key => quoted(out, |out| text::hex(out, bytes)),
        Value::Bytes(bytes) => write!(out, "\"{}\"", Base64Display::new(bytes, &BASE64)),
        Value::Decimal { unscaled, scale } => quoted(out, |out| text::decimal(out, unscaled, scale)),
        Value::Time(micros) => quoted(out, |out| text::time(out, micros)),
        Value::Timestamp(micros) => quoted(out, |out| text::timestamp(out, micros)),
        Value::Date(value) => quoted(out, |out| text::date(out, value)),
        Value::DateTime(value) => quoted(out, |out| text::date_time(out, value)),
        Value::Unrepresentable(Unrepresentable::ZeroTimestamp) => out.write_all(b"\"0000-00-00 00:00:00\""),
        // An object, so that it is not taken for the text that it is not.
        Value::Unrepresentable(Unrepresentable::InvalidText(bytes)) => {
            write!(out, "{{\"base64\":\"{}\"}}", Base64Display::new(bytes, &BASE64))
        }
    }
}

/// What `write` makes, between quotes; it needs no escapes.
fn quoted(out: &mut impl Write, write: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
    let mut text = vec![b'"'];
    write(&mut text);
    text.push(b'"');
    out.write_all(&text)
}

#[cfg(test)]
mod tests;
