//! MySQL's binary JSON → the text that the server prints for the same document, so that a row of the
//! stream and a row of the snapshot hold the same characters
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/json__binary_8h.html>).
//!
//! A document is a type byte and a value. Containers hold tables of (type, offset), offsets counted from
//! the container, small values inlined; text is written in stored order, which is the server's own key order.

pub(crate) mod diff;

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::cursor::{Cursor, Truncated, le_uint};
use super::decimal;
use super::table_map::code;
use super::temporal;

/// The bytes are no JSON document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadJson;

impl From<Truncated> for BadJson {
    fn from(_: Truncated) -> BadJson {
        BadJson
    }
}

/// Nesting that the server admits (`JSON_DOCUMENT_MAX_DEPTH`).
const MAX_DEPTH: usize = 100;

/// Characters in a line of the server's base64.
const BASE64_LINE: usize = 76;

mod kind {
    pub(super) const SMALL_OBJECT: u8 = 0;
    pub(super) const LARGE_OBJECT: u8 = 1;
    pub(super) const SMALL_ARRAY: u8 = 2;
    pub(super) const LARGE_ARRAY: u8 = 3;
    pub(super) const LITERAL: u8 = 4;
    pub(super) const INT16: u8 = 5;
    pub(super) const UINT16: u8 = 6;
    pub(super) const INT32: u8 = 7;
    pub(super) const UINT32: u8 = 8;
    pub(super) const INT64: u8 = 9;
    pub(super) const UINT64: u8 = 10;
    pub(super) const DOUBLE: u8 = 11;
    pub(super) const STRING: u8 = 12;
    pub(super) const OPAQUE: u8 = 15;
}

/// Appends the document's text to `out`, which may be left with a part of it on an error. An empty
/// document (a NOT NULL column added to existing rows) is JSON null, as for the server.
pub(crate) fn write_text(document: &[u8], out: &mut String) -> Result<(), BadJson> {
    let Some((kind, value)) = document.split_first() else {
        out.push_str("null");
        return Ok(());
    };
    // A document holds each value once, in bytes of its own; one whose offsets lead to the same bytes
    // again and again would grow without end.
    let budget = document.len().saturating_mul(2);
    Walk { out, budget }.value(*kind, value, 0)
}

struct Walk<'a> {
    out: &'a mut String,
    budget: usize,
}

impl Walk<'_> {
    fn spend(&mut self, cost: usize) -> Result<(), BadJson> {
        self.budget = self.budget.checked_sub(cost).ok_or(BadJson)?;
        Ok(())
    }

    fn value(&mut self, kind: u8, bytes: &[u8], depth: usize) -> Result<(), BadJson> {
        self.spend(1)?;
        let mut cursor = Cursor::new(bytes);
        match kind {
            kind::SMALL_OBJECT => self.container(bytes, 2, true, depth),
            kind::LARGE_OBJECT => self.container(bytes, 4, true, depth),
            kind::SMALL_ARRAY => self.container(bytes, 2, false, depth),
            kind::LARGE_ARRAY => self.container(bytes, 4, false, depth),
            kind::LITERAL => {
                self.out.push_str(match cursor.u8()? {
                    0 => "null",
                    1 => "true",
                    2 => "false",
                    _ => return Err(BadJson),
                });
                Ok(())
            }
            kind::INT16 => self.integer(i16::from_le_bytes(cursor.array()?)),
            kind::UINT16 => self.integer(cursor.u16()?),
            kind::INT32 => self.integer(i32::from_le_bytes(cursor.array()?)),
            kind::UINT32 => self.integer(cursor.u32()?),
            kind::INT64 => self.integer(i64::from_le_bytes(cursor.array()?)),
            kind::UINT64 => self.integer(u64::from_le_bytes(cursor.array()?)),
            kind::DOUBLE => write_double(f64::from_le_bytes(cursor.array()?), self.out),
            kind::STRING => {
                let length = variable_length(&mut cursor)?;
                self.string(cursor.take(length)?)
            }
            kind::OPAQUE => self.opaque(&mut cursor),
            _ => Err(BadJson),
        }
    }

    fn integer(&mut self, number: impl itoa::Integer) -> Result<(), BadJson> {
        self.out.push_str(itoa::Buffer::new().format(number));
        Ok(())
    }

    /// An object or array whose counts and offsets have `width` bytes.
    fn container(&mut self, bytes: &[u8], width: usize, object: bool, depth: usize) -> Result<(), BadJson> {
        if depth >= MAX_DEPTH {
            return Err(BadJson);
        }
        let mut header = Cursor::new(bytes);
        let count = number(&mut header, width)?;
        let size = number(&mut header, width)?;
        let bytes = bytes.get(..size).ok_or(BadJson)?;
        let mut header = Cursor::new(bytes);
        header.take(2 * width)?;
        let key_table = if object {
            count.checked_mul(width + 2).ok_or(BadJson)?
        } else {
            0
        };
        let mut keys = Cursor::new(header.take(key_table)?);
        let mut values = Cursor::new(header.take(count.checked_mul(width + 1).ok_or(BadJson)?)?);
        self.out.push(if object { '{' } else { '[' });
        for index in 0..count {
            if index > 0 {
                self.out.push_str(", ");
            }
            if object {
                let offset = number(&mut keys, width)?;
                let length = usize::from(keys.u16()?);
                let key = bytes.get(offset..).and_then(|rest| rest.get(..length));
                self.string(key.ok_or(BadJson)?)?;
                self.out.push_str(": ");
            }
            let kind = values.u8()?;
            let slot = values.take(width)?;
            if inlined(kind, width) {
                self.value(kind, slot, depth + 1)?;
            } else {
                let offset = number(&mut Cursor::new(slot), width)?;
                self.value(kind, bytes.get(offset..).ok_or(BadJson)?, depth + 1)?;
            }
        }
        self.out.push(if object { '}' } else { ']' });
        Ok(())
    }

    /// A quoted string with the server's escapes: the short ones, else `\u00xx` in lower case.
    fn string(&mut self, bytes: &[u8]) -> Result<(), BadJson> {
        self.spend(bytes.len())?;
        let text = std::str::from_utf8(bytes).map_err(|_| BadJson)?;
        self.out.push('"');
        let mut rest = text;
        while let Some(at) = rest
            .bytes()
            .position(|byte| byte < 0x20 || byte == b'"' || byte == b'\\')
        {
            let (plain, special) = rest.split_at_checked(at).ok_or(BadJson)?;
            self.out.push_str(plain);
            let (letter, after) = special.split_at_checked(1).ok_or(BadJson)?;
            match letter {
                "\"" => self.out.push_str("\\\""),
                "\\" => self.out.push_str("\\\\"),
                "\u{8}" => self.out.push_str("\\b"),
                "\u{c}" => self.out.push_str("\\f"),
                "\n" => self.out.push_str("\\n"),
                "\r" => self.out.push_str("\\r"),
                "\t" => self.out.push_str("\\t"),
                other => {
                    let code = other.bytes().next().unwrap_or_default();
                    write!(self.out, "\\u{code:04x}").map_err(|_| BadJson)?;
                }
            }
            rest = after;
        }
        self.out.push_str(rest);
        self.out.push('"');
        Ok(())
    }

    /// A value of an SQL type that JSON lacks.
    fn opaque(&mut self, cursor: &mut Cursor<'_>) -> Result<(), BadJson> {
        let sql_type = cursor.u8()?;
        let length = variable_length(cursor)?;
        let bytes = cursor.take(length)?;
        self.spend(length)?;
        match sql_type {
            code::NEWDECIMAL => self.decimal(bytes),
            code::DATE | code::DATETIME | code::TIMESTAMP | code::TIME => {
                let packed = i64::from_le_bytes(bytes.try_into().map_err(|_| BadJson)?);
                self.temporal(sql_type, packed)
            }
            other => self.base64(other, bytes),
        }
    }

    fn decimal(&mut self, bytes: &[u8]) -> Result<(), BadJson> {
        let mut cursor = Cursor::new(bytes);
        let (precision, scale) = (cursor.u8()?, cursor.u8()?);
        // The server counts whole groups of nine digits before the point: more than a column's 65.
        if !(1..=81).contains(&precision) || scale > precision {
            return Err(BadJson);
        }
        let digits = cursor.take(usize::from(decimal::width(precision, scale)))?;
        decimal::text(digits, precision, scale, self.out).ok_or(BadJson)
    }

    fn temporal(&mut self, sql_type: u8, packed: i64) -> Result<(), BadJson> {
        if sql_type == code::TIME {
            let micros = temporal::packed_time(packed);
            let sign = if micros < 0 { "-" } else { "" };
            let seconds = micros.unsigned_abs() / 1_000_000;
            let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
            let fraction = micros.unsigned_abs() % 1_000_000;
            return write!(
                self.out,
                "\"{sign}{hour:02}:{minute:02}:{second:02}.{fraction:06}\""
            )
            .map_err(|_| BadJson);
        }
        let value = temporal::packed_datetime(packed).ok_or(BadJson)?;
        let date = value.date;
        write!(self.out, "\"{:04}-{:02}-{:02}", date.year, date.month, date.day).map_err(|_| BadJson)?;
        if sql_type != code::DATE {
            let (hour, minute, second) = (value.hour, value.minute, value.second);
            write!(self.out, " {hour:02}:{minute:02}:{second:02}.{:06}", value.micros)
                .map_err(|_| BadJson)?;
        }
        self.out.push('"');
        Ok(())
    }

    /// `"base64:type<number>:<base64>"`, the base64 broken into lines as the server does it.
    fn base64(&mut self, sql_type: u8, bytes: &[u8]) -> Result<(), BadJson> {
        write!(self.out, "\"base64:type{sql_type}:").map_err(|_| BadJson)?;
        for (line, chunk) in bytes.chunks(BASE64_LINE / 4 * 3).enumerate() {
            if line > 0 {
                self.out.push_str("\\n");
            }
            STANDARD.encode_string(chunk, self.out);
        }
        self.out.push('"');
        Ok(())
    }
}

/// A count or offset of 2 or 4 bytes.
fn number(cursor: &mut Cursor<'_>, width: usize) -> Result<usize, BadJson> {
    usize::try_from(le_uint(cursor.take(width)?)).map_err(|_| BadJson)
}

/// Whether a value of the type lies in its slot of the value table.
fn inlined(kind: u8, width: usize) -> bool {
    match kind {
        kind::LITERAL | kind::INT16 | kind::UINT16 => true,
        kind::INT32 | kind::UINT32 => width == 4,
        _ => false,
    }
}

/// Seven bits a byte, least significant first, at most five bytes.
fn variable_length(cursor: &mut Cursor<'_>) -> Result<usize, BadJson> {
    let mut length = 0_u64;
    for shift in [0, 7, 14, 21, 28] {
        let byte = cursor.u8()?;
        length |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return usize::try_from(length).map_err(|_| BadJson);
        }
    }
    Err(BadJson)
}

/// Digits up to which the server writes a number without an exponent (`MAX_DECPT_FOR_F_FORMAT`).
const PLAIN_DIGITS: i32 = 15;

/// Appends a double as the server does (`my_gcvt`): the shortest digits that read back, an exponent only
/// where the point would lie far outside of them, and `.0` behind a whole number.
fn write_double(number: f64, out: &mut String) -> Result<(), BadJson> {
    if !number.is_finite() {
        return Err(BadJson);
    }
    let mut buffer = zmij::Buffer::new();
    let shown = buffer.format_finite(number.abs());
    let (mantissa, exponent) = shown.split_once('e').unwrap_or((shown, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent: i32 = exponent.parse().map_err(|_| BadJson)?;
    let mut point = i32::try_from(whole.len()).map_err(|_| BadJson)? + exponent;
    let mut kept = [b'0'; 40];
    let mut count = 0_usize;
    for digit in whole.bytes().chain(fraction.bytes()) {
        if count == 0 && digit == b'0' {
            point -= 1;
            continue;
        }
        *kept.get_mut(count).ok_or(BadJson)? = digit;
        count += 1;
    }
    let kept = kept.get(..count).ok_or(BadJson)?;
    let digits = std::str::from_utf8(kept)
        .map_err(|_| BadJson)?
        .trim_end_matches('0');
    if number.is_sign_negative() {
        out.push('-');
    }
    if digits.is_empty() {
        out.push_str("0.0");
        return Ok(());
    }
    let length = i32::try_from(digits.len()).map_err(|_| BadJson)?;
    if point > -PLAIN_DIGITS && (point <= PLAIN_DIGITS || length > point) {
        return write_plain(digits, point, length, out);
    }
    let (first, rest) = digits.split_at_checked(1).ok_or(BadJson)?;
    let dot = if rest.is_empty() { "" } else { "." };
    write!(out, "{first}{dot}{rest}e{}", point - 1).map_err(|_| BadJson)
}

/// `point`: how many digits lie before the decimal point.
fn write_plain(digits: &str, point: i32, length: i32, out: &mut String) -> Result<(), BadJson> {
    let zeros = |count: i32| std::iter::repeat_n('0', usize::try_from(count).unwrap_or(0));
    if point <= 0 {
        out.push_str("0.");
        out.extend(zeros(-point));
        out.push_str(digits);
    } else if point < length {
        let at = usize::try_from(point).map_err(|_| BadJson)?;
        let (whole, fraction) = digits.split_at_checked(at).ok_or(BadJson)?;
        out.push_str(whole);
        out.push('.');
        out.push_str(fraction);
    } else {
        out.push_str(digits);
        out.extend(zeros(point - length));
        out.push_str(".0");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
