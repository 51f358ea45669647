//! Every type's ends, from the source's cells through the sink to what a query shows.

use super::rows::Row;
use super::world::World;
use super::{Done, Trouble};
use crate::event::{CivilDate, CivilDateTime, ColumnType, Unrepresentable, Value};

#[derive(Debug, Clone, Copy)]
pub(super) enum Case {
    Values,
    PastTheEnd,
}

pub(super) async fn run(case: Case, world: &mut World) -> Done {
    match case {
        Case::Values => values(world).await,
        Case::PastTheEnd => past_the_end(world).await,
    }
}

const NUMBER: ColumnType = ColumnType::Decimal {
    precision: 38,
    scale: 9,
};
const WIDE: ColumnType = ColumnType::Decimal {
    precision: 65,
    scale: 30,
};
const LONG: ColumnType = ColumnType::Decimal {
    precision: 65,
    scale: 0,
};

/// Just past BIGNUMERIC's end, in its last digit.
const PAST: &str = "578960446186580977117854925043439539266.34992332820282019728792003956564819968";

const fn number(unscaled: i128) -> Value<'static> {
    Value::Decimal { unscaled, scale: 9 }
}

/// The largest unscaled value of a NUMERIC.
const MOST: i128 = 10i128.pow(38) - 1;

const fn date(year: u16, month: u8, day: u8) -> Value<'static> {
    Value::Date(CivilDate { year, month, day })
}

const fn moment(year: u16, month: u8, day: u8, last: bool) -> Value<'static> {
    Value::DateTime(CivilDateTime {
        date: CivilDate { year, month, day },
        hour: if last { 23 } else { 0 },
        minute: if last { 59 } else { 0 },
        second: if last { 59 } else { 0 },
        micros: if last { 999_999 } else { 0 },
    })
}

/// A type, a value of it, and what a query shows.
type End = (ColumnType, Value<'static>, Option<&'static str>);

const ENDS: &[End] = &[
    (ColumnType::Bool, Value::Bool(true), Some("true")),
    (ColumnType::Bool, Value::Bool(false), Some("false")),
    (ColumnType::Bool, Value::Null, None),
    (
        ColumnType::Int64,
        Value::Int(i64::MIN),
        Some("-9223372036854775808"),
    ),
    (
        ColumnType::Int64,
        Value::Int(i64::MAX),
        Some("9223372036854775807"),
    ),
    (ColumnType::Int64, Value::Int(0), Some("0")),
    (
        ColumnType::UInt64,
        Value::UInt(u64::MAX),
        Some("18446744073709551615"),
    ),
    (
        NUMBER,
        number(MOST),
        Some("99999999999999999999999999999.999999999"),
    ),
    (
        NUMBER,
        number(-MOST),
        Some("-99999999999999999999999999999.999999999"),
    ),
    (NUMBER, number(-1), Some("-0.000000001")),
    (
        WIDE,
        Value::DecimalText("578960446186580977117854925043439539266.34992332820282019728792003956564819967"),
        Some("578960446186580977117854925043439539266.34992332820282019728792003956564819967"),
    ),
    (
        WIDE,
        Value::DecimalText("-578960446186580977117854925043439539266.34992332820282019728792003956564819968"),
        Some("-578960446186580977117854925043439539266.34992332820282019728792003956564819968"),
    ),
    (
        LONG,
        Value::DecimalText("99999999999999999999999999999999999999999999999999999999999999999"),
        Some("99999999999999999999999999999999999999999999999999999999999999999"),
    ),
    (ColumnType::Date, date(1, 1, 1), Some("0001-01-01")),
    (ColumnType::Date, date(9999, 12, 31), Some("9999-12-31")),
    (ColumnType::Date, date(0, 0, 0), None),
    (
        ColumnType::DateTime,
        moment(1, 1, 1, false),
        Some("0001-01-01T00:00:00"),
    ),
    (
        ColumnType::DateTime,
        moment(9999, 12, 31, true),
        Some("9999-12-31T23:59:59.999999"),
    ),
    (
        ColumnType::Timestamp,
        Value::Timestamp(-62_135_596_800_000_000),
        Some("-62135596800000000"),
    ),
    (
        ColumnType::Timestamp,
        Value::Timestamp(253_402_300_799_999_999),
        Some("253402300799999999"),
    ),
    (
        ColumnType::Timestamp,
        Value::Unrepresentable(Unrepresentable::ZeroTimestamp),
        None,
    ),
    (
        ColumnType::Time,
        Value::Time(3_020_399_999_999),
        Some("0-0 0 838:59:59.999999"),
    ),
    (
        ColumnType::Time,
        Value::Time(-3_020_399_999_999),
        Some("0-0 0 -838:59:59.999999"),
    ),
    (ColumnType::Float64, Value::Double(-0.0), Some("-0.0")),
    (ColumnType::Float64, Value::Double(5e-324), Some("5e-324")),
    (
        ColumnType::Float64,
        Value::Double(f64::MAX),
        Some("1.7976931348623157e308"),
    ),
    (ColumnType::Float32, Value::Float(0.1), Some("0.1")),
    (ColumnType::Bytes, Value::Bytes(&[0, 0xFF]), Some("AP8=")),
    (ColumnType::Bytes, Value::Bytes(&[]), Some("")),
    (ColumnType::Text, Value::Text(""), Some("")),
    (
        ColumnType::Text,
        Value::Text("größe 注文 \u{1F980} \u{0}"),
        Some("größe 注文 \u{1F980} \u{0}"),
    ),
    (ColumnType::Json, Value::Json("null"), Some("null")),
    (
        ColumnType::Json,
        Value::Json("[18446744073709551615, 18446744073709551617, 0.12345678901234567891, 1e400, 1e20]"),
        Some("[18446744073709551615,\"18446744073709551617\",\"0.12345678901234567891\",\"1e400\",1e20]"),
    ),
];

/// One table with a column for each value.
async fn values(world: &mut World) -> Done {
    let names: Vec<String> = (0..ENDS.len()).map(|at| format!("c{at}")).collect();
    let mut columns = vec![("id", ColumnType::Int64)];
    columns.extend(names.iter().zip(ENDS).map(|(name, end)| (name.as_str(), end.0)));
    let layout = world.table("values", &columns).await?;
    let mut row = vec![Value::Int(1)];
    row.extend(ENDS.iter().map(|end| end.1));
    let aside = world.write(&layout, 4, vec![Row::Put(row)]).await?;
    if aside > 0 {
        return Err(Trouble::Differs(
            "the row was refused: see the table of dead letters".to_owned(),
        ));
    }
    let table = world.sql(&layout);
    world
        .shows(&format!("SELECT id FROM {table}"), &[&[Some("1")]])
        .await?;
    let rows = world
        .query(&format!("SELECT {} FROM {table}", names.join(", ")))
        .await?;
    let mut wrong = Vec::new();
    for ((kind, value, expected), found) in ENDS.iter().zip(rows.iter().flatten()) {
        if !is_same(*kind, found.as_deref(), *expected) {
            wrong.push(format!("{value:?} of {kind:?} is shown as {found:?}"));
        }
    }
    if rows.first().map(Vec::len) != Some(ENDS.len()) {
        wrong.push("not every column is shown".to_owned());
    }
    if wrong.is_empty() {
        return Ok(None);
    }
    Err(Trouble::Differs(wrong.join("; ")))
}

/// Whether two texts mean the same value: floating-point numbers and JSON have several forms.
fn is_same(kind: ColumnType, found: Option<&str>, expected: Option<&str>) -> bool {
    let (Some(found), Some(expected)) = (found, expected) else {
        return found == expected;
    };
    let bits = |text: &str| text.parse::<f64>().ok().map(f64::to_bits);
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    match kind {
        ColumnType::Float32 | ColumnType::Float64 => bits(found).is_some() && bits(found) == bits(expected),
        ColumnType::Json => json(found).is_some() && json(found) == json(expected),
        ColumnType::Bool
        | ColumnType::Int64
        | ColumnType::UInt64
        | ColumnType::Decimal { .. }
        | ColumnType::Text
        | ColumnType::Bytes
        | ColumnType::Date
        | ColumnType::DateTime
        | ColumnType::Timestamp
        | ColumnType::Time => found == expected,
    }
}

async fn past_the_end(world: &mut World) -> Done {
    let layout = world
        .table("past", &[("id", ColumnType::Int64), ("c", WIDE)])
        .await?;
    world.mind_letters().await?;
    let row = |id, text| Row::Put(vec![Value::Int(id), Value::DecimalText(text)]);
    let aside = world
        .write(&layout, 4, vec![row(1, "1.5"), row(2, PAST), row(3, "-0.00")])
        .await?;
    if aside != 1 {
        return Err(Trouble::Differs(format!("{aside} rows were put aside, not one")));
    }
    let sql = format!("SELECT id, c FROM {} ORDER BY id", world.sql(&layout));
    world
        .shows(&sql, &[&[Some("1"), Some("1.5")], &[Some("3"), Some("0")]])
        .await?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_one_value_are_the_same_and_values_are_not() {
        let (float, json) = (ColumnType::Float64, ColumnType::Json);
        assert!(is_same(float, Some("4.9406564584124654e-324"), Some("5e-324")));
        assert!(!is_same(float, Some("0.0"), Some("-0.0")));
        assert!(!is_same(float, Some("x"), Some("x")));
        assert!(is_same(json, Some("[1, 1e+20]"), Some("[1,1e20]")));
        assert!(!is_same(json, Some("\"1\""), Some("1")));
        assert!(!is_same(ColumnType::Text, None, Some("")));
    }
}
