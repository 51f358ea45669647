//! Cells of an image beside the key: a byte that says what the cell is, then its value in the form that the target is
//! shown.

use std::borrow::Cow;

use super::item::{Attribute, ItemError, write_value};
use crate::event::{CivilDate, Unrepresentable, Value};

/// A cell as it is made of an item.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell<'a> {
    /// Nothing is there.
    Null,
    /// A value of another type than the column's.
    OtherType,
    Bool(bool),
    Int(i64),
    /// `unscaled / 10^scale`.
    Decimal {
        unscaled: i128,
        scale: u8,
    },
    Double(f64),
    Text(Cow<'a, str>),
    Bytes(&'a [u8]),
    Date(CivilDate),
    /// Microseconds since 1970-01-01T00:00:00Z.
    Timestamp(i64),
    /// An attribute's value as JSON.
    Json(&'a Attribute),
}

const NULL: u8 = 0;
const OTHER_TYPE: u8 = 1;
const FALSE: u8 = 2;
const TRUE: u8 = 3;
const INT: u8 = 4;
const DECIMAL: u8 = 5;
const DOUBLE: u8 = 6;
const TEXT: u8 = 7;
const BYTES: u8 = 8;
const DATE: u8 = 9;
const TIMESTAMP: u8 = 10;
const JSON: u8 = 11;

/// Adds a cell.
///
/// # Errors
/// It has 4 GB or more.
pub(super) fn put(out: &mut Vec<u8>, cell: &Cell<'_>) -> Result<(), ItemError> {
    match cell {
        Cell::Null => out.push(NULL),
        Cell::OtherType => out.push(OTHER_TYPE),
        Cell::Bool(truth) => out.push(if *truth { TRUE } else { FALSE }),
        Cell::Int(number) => fixed(out, INT, &number.to_be_bytes()),
        Cell::Decimal { unscaled, scale } => {
            fixed(out, DECIMAL, &unscaled.to_be_bytes());
            out.push(*scale);
        }
        Cell::Double(number) => fixed(out, DOUBLE, &number.to_be_bytes()),
        Cell::Text(text) => {
            out.push(TEXT);
            push(out, text.as_bytes())?;
        }
        Cell::Bytes(bytes) => {
            out.push(BYTES);
            push(out, bytes)?;
        }
        Cell::Date(date) => {
            fixed(out, DATE, &date.year.to_be_bytes());
            out.extend([date.month, date.day]);
        }
        Cell::Timestamp(micros) => fixed(out, TIMESTAMP, &micros.to_be_bytes()),
        Cell::Json(attribute) => json(out, |out| write_value(out, attribute))?,
    }
    Ok(())
}

fn fixed(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    out.extend_from_slice(bytes);
}

/// Adds a cell of the JSON that `write` makes.
///
/// # Errors
/// It has 4 GB or more.
pub(super) fn json(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>,
) -> Result<(), ItemError> {
    out.push(JSON);
    let at = out.len();
    out.extend([0; 4]);
    let begins = out.len();
    write(out).map_err(|error| ItemError::Malformed(error.to_string()))?;
    let len = length(out.len() - begins)?;
    if let Some(place) = out.get_mut(at..begins) {
        place.copy_from_slice(&len.to_be_bytes());
    }
    Ok(())
}

fn length(len: usize) -> Result<u32, ItemError> {
    u32::try_from(len).map_err(|_| ItemError::Malformed("a value of more than 4 GB".to_owned()))
}

/// Adds bytes with their length before them.
///
/// # Errors
/// They are 4 GB or more.
pub(super) fn push(out: &mut Vec<u8>, part: &[u8]) -> Result<(), ItemError> {
    out.extend_from_slice(&length(part.len())?.to_be_bytes());
    out.extend_from_slice(part);
    Ok(())
}

/// The bytes of the next part with its length before it, and the rest.
pub(super) fn part(image: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = image.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*len)).ok()?)
}

/// The next cell, and the rest; `None` of bytes that begin with none.
pub(super) fn take(image: &[u8]) -> Option<(Value<'_>, &[u8])> {
    let (tag, rest) = image.split_first()?;
    Some(match *tag {
        NULL => (Value::Null, rest),
        OTHER_TYPE => (Value::Unrepresentable(Unrepresentable::OtherType), rest),
        FALSE => (Value::Bool(false), rest),
        TRUE => (Value::Bool(true), rest),
        INT => number(rest, |bytes| Value::Int(i64::from_be_bytes(bytes)))?,
        DECIMAL => {
            let (unscaled, rest) = rest.split_first_chunk()?;
            let (scale, rest) = rest.split_first()?;
            let unscaled = i128::from_be_bytes(*unscaled);
            (
                Value::Decimal {
                    unscaled,
                    scale: *scale,
                },
                rest,
            )
        }
        DOUBLE => number(rest, |bytes| Value::Double(f64::from_be_bytes(bytes)))?,
        TEXT => {
            let (text, rest) = part(rest)?;
            (Value::Text(std::str::from_utf8(text).ok()?), rest)
        }
        BYTES => {
            let (bytes, rest) = part(rest)?;
            (Value::Bytes(bytes), rest)
        }
        DATE => {
            let (date, rest) = rest.split_first_chunk::<4>()?;
            let [high, low, month, day] = *date;
            let year = u16::from_be_bytes([high, low]);
            (Value::Date(CivilDate { year, month, day }), rest)
        }
        TIMESTAMP => number(rest, |bytes| Value::Timestamp(i64::from_be_bytes(bytes)))?,
        JSON => {
            let (text, rest) = part(rest)?;
            (Value::Json(std::str::from_utf8(text).ok()?), rest)
        }
        _ => return None,
    })
}

fn number<'a>(bytes: &'a [u8], value: impl FnOnce([u8; 8]) -> Value<'a>) -> Option<(Value<'a>, &'a [u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((value(*number), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_cell_comes_back_and_no_part_of_one_does() {
        let date = CivilDate {
            year: 2024,
            month: 2,
            day: 29,
        };
        let attribute = Attribute::L(vec![Attribute::Bool(true), Attribute::Null(true)]);
        let decimal = (-10_i128.pow(37), 38);
        for (cell, expected) in [
            (Cell::Null, Value::Null),
            (
                Cell::OtherType,
                Value::Unrepresentable(Unrepresentable::OtherType),
            ),
            (Cell::Bool(false), Value::Bool(false)),
            (Cell::Bool(true), Value::Bool(true)),
            (Cell::Int(i64::MIN), Value::Int(i64::MIN)),
            (
                Cell::Decimal {
                    unscaled: decimal.0,
                    scale: decimal.1,
                },
                Value::Decimal {
                    unscaled: decimal.0,
                    scale: decimal.1,
                },
            ),
            (Cell::Double(-1.5), Value::Double(-1.5)),
            (Cell::Text("é".into()), Value::Text("é")),
            (Cell::Text("".into()), Value::Text("")),
            (Cell::Bytes(&[0xFF]), Value::Bytes(&[0xFF])),
            (Cell::Date(date), Value::Date(date)),
            (Cell::Timestamp(-1), Value::Timestamp(-1)),
            (Cell::Json(&attribute), Value::Json("[true,null]")),
        ] {
            let mut bytes = Vec::new();
            put(&mut bytes, &cell).unwrap();
            bytes.push(7);
            assert_eq!(take(&bytes), Some((expected, &[7_u8][..])), "{cell:?}");
            bytes.pop();
            for cut in 0..bytes.len() {
                assert_eq!(take(&bytes[..cut]), None, "{cell:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40), tag in 0u8..14) {
            let mut rest = &[&[tag][..], &bytes].concat()[..];
            while let Some((_, after)) = take(rest) {
                prop_assert!(after.len() < rest.len());
                rest = after;
            }
        }
    }
}
