//! One text per value: two cells are equal if and only if their canonical texts are. Both sides come
//! here as the text (or the binary floating point number) that their server gave; what each side may
//! give is decided by the type of the source's column.

use std::fmt;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mysql_async::Value;

use super::json;
use crate::event::{CivilDate, ColumnType};

/// A cell in canonical form.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Cell {
    /// SQL NULL, or what the target has NULL for by policy.
    Null,
    /// A value.
    Text(String),
    /// What is no value of the column's type, with its side: equal to nothing of the other side.
    Unreadable(String),
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cell::Null => f.write_str("NULL"),
            Cell::Text(text) => f.write_str(text),
            Cell::Unreadable(text) => write!(f, "unreadable {text}"),
        }
    }
}

/// The canonical form of a cell that the source's server returned.
///
/// Zero and impossible dates are NULL, as the target has them, except where they are text there, and in a
/// key: a key is never changed, such a row is missing in the target.
pub(super) fn of_source(kind: ColumnType, in_key: bool, form: Form, value: Value) -> Cell {
    let bytes = match value {
        Value::NULL => return Cell::Null,
        Value::Float(value) => return Cell::Text(float32(value)),
        Value::Double(value) => return Cell::Text(float64(value)),
        Value::Int(value) => value.to_string().into_bytes(),
        Value::UInt(value) => value.to_string().into_bytes(),
        Value::Bytes(bytes) if kind == ColumnType::Bytes => return Cell::Text(hex(&bytes)),
        Value::Bytes(bytes) => bytes,
        Value::Date(..) | Value::Time(..) => return Cell::Unreadable("source: packed time".to_owned()),
    };
    let unreadable = |bytes: &[u8]| Cell::Unreadable(format!("source: {}", String::from_utf8_lossy(bytes)));
    let text = match String::from_utf8(bytes) {
        Ok(text) if kind == ColumnType::Text => return Cell::Text(text),
        Ok(text) => text,
        Err(error) => return unreadable(error.as_bytes()),
    };
    if form == Form::DateText {
        return date_text(kind, &text).map_or_else(|| unreadable(text.as_bytes()), Cell::Text);
    }
    if is_absent_date(kind, &text) {
        return if in_key { Cell::Text(text) } else { Cell::Null };
    }
    let read = match kind {
        ColumnType::Timestamp => date_time(&text).and_then(|civil| civil.unix_micros()),
        ColumnType::Bool
        | ColumnType::Int64
        | ColumnType::UInt64
        | ColumnType::Decimal { .. }
        | ColumnType::Float32
        | ColumnType::Float64
        | ColumnType::Text
        | ColumnType::Bytes
        | ColumnType::Json
        | ColumnType::Date
        | ColumnType::DateTime
        | ColumnType::Time => of_text(kind, &text),
    };
    read.map_or_else(|| unreadable(text.as_bytes()), Cell::Text)
}

/// How the target's REST API writes a column's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As the canonical text's own grammar.
    Plain,
    /// BYTES: base64.
    Base64,
    /// TIMESTAMP with `useInt64Timestamp`: microseconds.
    Micros,
    /// INTERVAL: `[-]Y-M [-]D [-]H:M:S[.F]`.
    Interval,
    /// STRING: a date or time, whether it exists or not.
    DateText,
}

impl Form {
    /// The form of a source type in a column of a BigQuery type; `None` if it does not belong there.
    /// STRING holds what no other type does: long decimals, and keys of types barred from keys.
    pub(super) fn of(kind: ColumnType, target: &str, in_key: bool) -> Option<Form> {
        let form = match (kind, target) {
            (ColumnType::Bool, "BOOL" | "BOOLEAN")
            // A column that was widened once takes narrower values too.
            | (ColumnType::Int64, "INT64" | "INTEGER" | "NUMERIC" | "BIGNUMERIC")
            | (ColumnType::UInt64, "NUMERIC" | "BIGNUMERIC")
            | (ColumnType::Decimal { .. }, "NUMERIC" | "BIGNUMERIC" | "STRING")
            | (ColumnType::Float32 | ColumnType::Float64, "FLOAT64" | "FLOAT")
            | (ColumnType::Text, "STRING")
            | (ColumnType::Json, "JSON")
            | (ColumnType::Date, "DATE")
            | (ColumnType::DateTime, "DATETIME")
            | (ColumnType::Time, "TIME") => Form::Plain,
            (ColumnType::Bytes, "BYTES") => Form::Base64,
            (ColumnType::Timestamp, "TIMESTAMP") => Form::Micros,
            (ColumnType::Time, "INTERVAL") => Form::Interval,
            (ColumnType::Date | ColumnType::DateTime | ColumnType::Timestamp, "STRING") if !in_key => {
                Form::DateText
            }
            (
                ColumnType::Float32
                | ColumnType::Float64
                | ColumnType::Bytes
                | ColumnType::Json
                | ColumnType::Time,
                "STRING",
            ) if in_key => Form::Plain,
            _ => return None,
        };
        Some(form)
    }
}

/// The canonical form of a cell that the target's REST API returned.
pub(super) fn of_target(kind: ColumnType, form: Form, text: Option<String>) -> Cell {
    let Some(text) = text else {
        return Cell::Null;
    };
    let read = match form {
        Form::Plain if kind == ColumnType::Text => return Cell::Text(text),
        Form::Plain => of_text(kind, &text),
        Form::Base64 => BASE64.decode(&text).ok().map(|bytes| hex(&bytes)),
        Form::Micros => text.parse::<i64>().ok().map(|micros| micros.to_string()),
        Form::Interval => interval(&text),
        Form::DateText => date_text(kind, &text),
    };
    read.map_or_else(|| Cell::Unreadable(format!("target: {text}")), Cell::Text)
}

fn of_text(kind: ColumnType, text: &str) -> Option<String> {
    match kind {
        ColumnType::Bool => match text {
            "0" | "false" => Some("false".to_owned()),
            "1" | "true" => Some("true".to_owned()),
            _ => None,
        },
        ColumnType::Int64 | ColumnType::UInt64 | ColumnType::Decimal { .. } => {
            Number::read(text).map(|number| number.to_string())
        }
        ColumnType::Float32 | ColumnType::Float64 => text.parse().ok().map(float64),
        ColumnType::Text => Some(text.to_owned()),
        ColumnType::Bytes => is_hex(text).then(|| text.to_ascii_lowercase()),
        ColumnType::Json => json::canonical(text),
        ColumnType::Date => date(text)?.days().map(|_| text.to_owned()),
        ColumnType::DateTime => date_time(text)?.text(),
        ColumnType::Timestamp => text.parse::<i64>().ok().map(|micros| micros.to_string()),
        ColumnType::Time => time(text).map(|micros| micros.to_string()),
    }
}

/// A number as decimal digits: `digits · 10^exponent`, without zeros at either end of the digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Number {
    negative: bool,
    digits: String,
    exponent: i64,
}

/// Digits up to which a number is written out and not with an exponent.
const PLAIN_DIGITS: i64 = 90;

impl Number {
    /// Reads `-?d+(.d+)?([eE][+-]?d+)?`.
    pub(super) fn read(text: &str) -> Option<Number> {
        let (mantissa, power) = match text.split_once(['e', 'E']) {
            Some((mantissa, power)) => (mantissa, power.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (negative, mantissa) = match mantissa.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, mantissa),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if whole.is_empty() || mantissa.ends_with('.') {
            return None;
        }
        let all = format!("{whole}{fraction}");
        if !all.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let kept = all.trim_end_matches('0');
        let dropped = i64::try_from(all.len() - kept.len()).ok()?;
        let digits = kept.trim_start_matches('0');
        if digits.is_empty() {
            return Some(Number {
                negative: false,
                digits: "0".to_owned(),
                exponent: 0,
            });
        }
        Some(Number {
            negative,
            digits: digits.to_owned(),
            exponent: i64::from(power) + dropped - i64::try_from(fraction.len()).ok()?,
        })
    }

    /// Whether it is a whole number.
    pub(super) fn is_whole(&self) -> bool {
        self.exponent >= 0
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.negative {
            f.write_char('-')?;
        }
        let digits = i64::try_from(self.digits.len()).unwrap_or(i64::MAX);
        if self.exponent.abs().saturating_add(digits) > PLAIN_DIGITS {
            return write!(f, "{}e{}", self.digits, self.exponent);
        }
        let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap_or(0));
        if self.is_whole() {
            return write!(f, "{}{}", self.digits, zeros(self.exponent));
        }
        let whole = digits + self.exponent;
        if whole <= 0 {
            return write!(f, "0.{}{}", zeros(-whole), self.digits);
        }
        let (left, right) = self.digits.split_at(usize::try_from(whole).unwrap_or(0));
        write!(f, "{left}.{right}")
    }
}

/// A binary32 stands for the shortest decimal that reads back as it.
fn float32(value: f32) -> String {
    let mut buffer = zmij::Buffer::new();
    let shortest = buffer.format(value);
    shortest
        .parse()
        .map_or_else(|_| shortest.to_owned(), |wide: f64| float64(wide))
}

/// The shortest decimal that reads back; keeps the sign of zero.
pub(super) fn float64(value: f64) -> String {
    let mut buffer = zmij::Buffer::new();
    let shortest = buffer.format(value);
    match Number::read(shortest) {
        Some(number) if number.digits == "0" && value.is_sign_negative() => "-0".to_owned(),
        Some(number) => number.to_string(),
        None => shortest.to_owned(),
    }
}

/// Two digits a byte.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for nibble in bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
        text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('?'));
    }
    text
}

fn is_hex(text: &str) -> bool {
    text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A civil date and time, whose day may not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Civil {
    date: CivilDate,
    micros: i64,
}

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

impl Civil {
    fn text(self) -> Option<String> {
        self.date.days().map(|_| self.shown())
    }

    fn shown(self) -> String {
        let (seconds, micros) = (self.micros / SECOND, self.micros % SECOND);
        let CivilDate { year, month, day } = self.date;
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}")
    }

    fn unix_micros(self) -> Option<String> {
        Some((i64::from(self.date.days()?) * DAY + self.micros).to_string())
    }
}

/// A date, or a date and time, in one spelling, whether it exists or not.
fn date_text(kind: ColumnType, text: &str) -> Option<String> {
    if kind == ColumnType::Date {
        return date(text).map(|_| text.to_owned());
    }
    let civil = date_time(text.strip_suffix(" UTC").unwrap_or(text))?;
    Some(civil.shown())
}

fn date(text: &str) -> Option<CivilDate> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || (year.len(), month.len(), day.len()) != (4, 2, 2) {
        return None;
    }
    Some(CivilDate {
        year: natural(year)?.try_into().ok()?,
        month: natural(month)?.try_into().ok()?,
        day: natural(day)?.try_into().ok()?,
    })
}

fn date_time(text: &str) -> Option<Civil> {
    let (day, clock) = text.split_once(['T', ' '])?;
    let micros = time(clock)?;
    (0..DAY).contains(&micros).then_some(())?;
    Some(Civil {
        date: date(day)?,
        micros,
    })
}

/// `[-]H…:MM:SS[.ffffff]` as microseconds.
fn time(text: &str) -> Option<i64> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let mut parts = text.split(':');
    let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let (hours, minutes, seconds) = (natural(hours)?, natural(minutes)?, natural(seconds)?);
    if minutes > 59 || seconds > 59 || fraction.len() > 6 || hours > 999_999 {
        return None;
    }
    let micros = natural(&format!("{fraction:0<6}"))?;
    Some(sign * (((hours * 60 + minutes) * 60 + seconds) * SECOND + micros))
}

/// An INTERVAL without years and months, as microseconds.
fn interval(text: &str) -> Option<String> {
    let mut parts = text.split(' ');
    let (months, days, clock) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || months.trim_start_matches('-') != "0-0" {
        return None;
    }
    let days: i64 = days.parse().ok()?;
    Some((days.checked_mul(DAY)?.checked_add(time(clock)?)?).to_string())
}

/// A number of ASCII digits only, at most nine.
fn natural(text: &str) -> Option<i64> {
    let plain = text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// Whether the text is a well-formed date that does not exist in BigQuery's calendar.
fn is_absent_date(kind: ColumnType, text: &str) -> bool {
    let absent = |date: CivilDate| date.days().is_none();
    match kind {
        ColumnType::Date => date(text).is_some_and(absent),
        ColumnType::DateTime | ColumnType::Timestamp => {
            date_time(text).is_some_and(|civil| absent(civil.date))
        }
        ColumnType::Bool
        | ColumnType::Int64
        | ColumnType::UInt64
        | ColumnType::Decimal { .. }
        | ColumnType::Float32
        | ColumnType::Float64
        | ColumnType::Text
        | ColumnType::Bytes
        | ColumnType::Json
        | ColumnType::Time => false,
    }
}

#[cfg(test)]
mod tests;
