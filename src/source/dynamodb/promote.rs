//! What a promoted path finds in an item, as a value of its column's type. A value of another type is none: it is
//! counted, and stands in the whole item. Nothing is rounded, but for FLOAT64, which whoever writes it asks for.

use std::borrow::Cow;

use aws_sdk_dynamodb::primitives::{DateTime, DateTimeFormat};

use super::cells::Cell;
use super::item::{Attribute, Item};
use super::number::Number;
use crate::config::{Path, PromotedType, Step};
use crate::event::{CivilDate, ColumnType};

/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z, Unix seconds.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// What values of a type mean.
pub(super) fn column_type(kind: PromotedType) -> ColumnType {
    match kind {
        PromotedType::String => ColumnType::Text,
        PromotedType::Int64 => ColumnType::Int64,
        PromotedType::Numeric => ColumnType::Decimal {
            precision: 38,
            scale: 9,
        },
        PromotedType::BigNumeric => ColumnType::Decimal {
            precision: 76,
            scale: 38,
        },
        PromotedType::Float64 => ColumnType::Float64,
        PromotedType::Bool => ColumnType::Bool,
        PromotedType::Bytes => ColumnType::Bytes,
        PromotedType::Date => ColumnType::Date,
        PromotedType::Timestamp => ColumnType::Timestamp,
        PromotedType::Json => ColumnType::Json,
    }
}

/// The value at a path.
pub(super) fn find<'a>(item: &'a Item, path: &Path) -> Option<&'a Attribute> {
    let (first, rest) = path.steps.split_first()?;
    let mut found = match first {
        Step::Name(name) => item.get(name)?,
        Step::Index(_) => return None,
    };
    for step in rest {
        found = match (step, found) {
            (Step::Name(name), Attribute::M(map)) => map.get(name)?,
            (Step::Index(index), Attribute::L(list)) => list.get(*index)?,
            (Step::Name(_) | Step::Index(_), _) => return None,
        };
    }
    Some(found)
}

/// What a column of a type shows of the value at a path.
pub(super) fn cell<'a>(item: &'a Item, path: &Path, kind: PromotedType) -> Cell<'a> {
    match (kind, find(item, path)) {
        (_, None) => Cell::Null,
        (PromotedType::Json, Some(value)) => Cell::Json(value),
        (_, Some(Attribute::Null(_))) => Cell::Null,
        (_, Some(value)) => typed(value, kind).unwrap_or(Cell::OtherType),
    }
}

fn typed(value: &Attribute, kind: PromotedType) -> Option<Cell<'_>> {
    match (kind, value) {
        (PromotedType::String, Attribute::S(text)) => Some(Cell::Text(Cow::Borrowed(text))),
        (PromotedType::String, Attribute::N(number)) => Some(Cell::Text(number.to_string().into())),
        (PromotedType::Int64, Attribute::N(number)) => number.int64().map(Cell::Int),
        (PromotedType::Numeric, Attribute::N(number)) => decimal(number, 29, 9),
        (PromotedType::BigNumeric, Attribute::N(number)) => decimal(number, 38, 38),
        (PromotedType::Float64, Attribute::N(number)) => number.double().map(Cell::Double),
        (PromotedType::Bool, Attribute::Bool(truth)) => Some(Cell::Bool(*truth)),
        (PromotedType::Bytes, Attribute::B(bytes)) => Some(Cell::Bytes(bytes)),
        (PromotedType::Date, Attribute::S(text)) => date(text).map(Cell::Date),
        (PromotedType::Timestamp, Attribute::S(text)) => timestamp(text).map(Cell::Timestamp),
        (PromotedType::Timestamp, Attribute::N(number)) => instant(number).map(Cell::Timestamp),
        (_, _) => None,
    }
}

/// A number that a column of so many digits before the point and places behind it holds exactly.
pub(super) fn decimal(number: &Number, whole: u8, places: u8) -> Option<Cell<'static>> {
    let (unscaled, scale) = number.decimal(whole, places)?;
    Some(Cell::Decimal { unscaled, scale })
}

/// `2024-02-29`, a day that exists.
fn date(text: &str) -> Option<CivilDate> {
    let (year, rest) = text.split_once('-')?;
    let (month, day) = rest.split_once('-')?;
    let digits = |text: &str, count| text.len() == count && text.bytes().all(|digit| digit.is_ascii_digit());
    if !(digits(year, 4) && digits(month, 2) && digits(day, 2)) {
        return None;
    }
    let date = CivilDate {
        year: year.parse().ok()?,
        month: month.parse().ok()?,
        day: day.parse().ok()?,
    };
    date.days().map(|_| date)
}

/// A time with its offset (RFC 3339) as microseconds since 1970; none of a time between two microseconds.
fn timestamp(text: &str) -> Option<i64> {
    let time = DateTime::from_str(text, DateTimeFormat::DateTimeWithOffset).ok()?;
    let nanos = i64::from(time.subsec_nanos());
    (nanos % 1000 == 0).then_some(())?;
    micros(time.secs(), nanos / 1000)
}

/// Seconds since 1970, as items say when they expire, as microseconds.
fn instant(number: &Number) -> Option<i64> {
    let (unscaled, scale) = number.decimal(12, 6)?;
    let power = 10_i128.checked_pow(6_u32.checked_sub(scale.into())?)?;
    let all = i64::try_from(unscaled.checked_mul(power)?).ok()?;
    micros(all.div_euclid(1_000_000), all.rem_euclid(1_000_000))
}

fn micros(seconds: i64, micros: i64) -> Option<i64> {
    SECONDS.contains(&seconds).then_some(())?;
    seconds.checked_mul(1_000_000)?.checked_add(micros)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::item::parse;
    use super::*;

    fn shown(json: &str, path: &str, kind: PromotedType) -> String {
        let item = parse(json.as_bytes()).unwrap();
        format!("{:?}", cell(&item, &Path::parse(path).unwrap(), kind))
    }

    const ITEM: &str = r#"{
        "s":{"S":"x"}, "e":{"S":""}, "n":{"N":"7.0"}, "f":{"N":"1.25"}, "big":{"N":"9223372036854775808"},
        "huge":{"N":"1E125"}, "b":{"B":"/w=="}, "t":{"BOOL":false}, "null":{"NULL":true},
        "m":{"M":{"l":{"L":[{"N":"1"},{"M":{"k":{"S":"deep"}}}]},"a.b":{"S":"dotted"}}},
        "day":{"S":"2024-02-29"}, "noday":{"S":"2023-02-29"}, "time":{"S":"2024-02-29T12:00:00.5+09:00"},
        "fine":{"S":"2024-02-29T12:00:00.0000001Z"}, "ttl":{"N":"1709175600"}, "late":{"N":"253402300800"}
    }"#;

    #[test]
    fn a_path_leads_through_maps_and_lists() {
        for (path, expected) in [
            ("s", r#"Text("x")"#),
            ("e", r#"Text("")"#),
            ("m.l[1].k", r#"Text("deep")"#),
            ("m.l[0]", r#"Text("1")"#),
            (r#"m."a.b""#, r#"Text("dotted")"#),
            ("absent", "Null"),
            ("m.l[2]", "Null"),
            ("m.l.k", "Null"),
            ("s.k", "Null"),
            ("s[0]", "Null"),
            ("null", "Null"),
            ("m", "OtherType"),
            ("t", "OtherType"),
        ] {
            assert_eq!(shown(ITEM, path, PromotedType::String), expected, "{path}");
        }
    }

    #[test]
    fn values_are_what_their_columns_hold_or_of_another_type() {
        use PromotedType::{BigNumeric, Bool, Bytes, Date, Float64, Int64, Json, Numeric, Timestamp};
        for (path, kind, expected) in [
            ("n", Int64, "Int(7)"),
            ("f", Int64, "OtherType"),
            ("big", Int64, "OtherType"),
            ("s", Int64, "OtherType"),
            (
                "big",
                Numeric,
                "Decimal { unscaled: 9223372036854775808, scale: 0 }",
            ),
            ("f", Numeric, "Decimal { unscaled: 125, scale: 2 }"),
            ("huge", BigNumeric, "OtherType"),
            ("huge", Float64, "Double(1e125)"),
            ("t", Bool, "Bool(false)"),
            ("s", Bool, "OtherType"),
            ("b", Bytes, "Bytes([255])"),
            ("day", Date, "Date(CivilDate { year: 2024, month: 2, day: 29 })"),
            ("noday", Date, "OtherType"),
            ("time", Date, "OtherType"),
            ("time", Timestamp, "Timestamp(1709175600500000)"),
            ("ttl", Timestamp, "Timestamp(1709175600000000)"),
            ("fine", Timestamp, "OtherType"),
            ("late", Timestamp, "OtherType"),
            ("day", Timestamp, "OtherType"),
            ("null", Json, "Json(Null(true))"),
            ("absent", Json, "Null"),
        ] {
            assert_eq!(shown(ITEM, path, kind), expected, "{path} {kind:?}");
        }
    }

    proptest! {
        /// A number is shown exactly or not at all.
        #[test]
        fn numbers_are_exact(digits in 0u128..10u128.pow(38), exponent in -50i32..20, negative: bool) {
            let text = format!("{}{digits}e{exponent}", if negative { "-" } else { "" });
            let item = parse(format!(r#"{{"n":{{"N":"{text}"}}}}"#).as_bytes()).unwrap();
            let number = Number::parse(&text).unwrap();
            let path = Path::parse("n").unwrap();
            for kind in [PromotedType::Int64, PromotedType::Numeric, PromotedType::BigNumeric] {
                let found = cell(&item, &path, kind);
                let read = if let Cell::Int(value) = found {
                    Number::parse(&value.to_string())
                } else if let Cell::Decimal { unscaled, scale } = found {
                    Number::parse(&format!("{unscaled}e-{scale}"))
                } else {
                    prop_assert_eq!(found, Cell::OtherType);
                    continue;
                };
                prop_assert_eq!(read, Ok(number.clone()));
            }
        }

        #[test]
        fn hostile_text_never_panics(text in "\\PC{0,40}") {
            let _any = (date(&text), timestamp(&text));
        }
    }
}
