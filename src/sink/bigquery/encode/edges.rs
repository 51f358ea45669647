//! The edges of every type: the last value that fits, the first one that does not, and keys that must be
//! equal in the target exactly where they are in the source.

use proptest::prelude::*;

use super::super::fixture::{Cell, Field, Images, column, fields, image, layout, target_with, txn};
use super::*;
use crate::config::Values;
use crate::event::{CivilDate, ColumnType, Ordinal};

const NUMERIC: ColumnType = ColumnType::Decimal {
    precision: 38,
    scale: 9,
};
const BIGNUMERIC: ColumnType = ColumnType::Decimal {
    precision: 65,
    scale: 30,
};
const LONG_DECIMAL: ColumnType = ColumnType::Decimal {
    precision: 65,
    scale: 0,
};

/// A row of an INT64 key and one more column: what is written for that one, and what does not fit.
fn written(kind: ColumnType, cell: Cell) -> Result<(Option<Field>, Misfits), Misfits> {
    written_by(Values::default(), kind, cell)
}

fn written_by(values: Values, kind: ColumnType, cell: Cell) -> Result<(Option<Field>, Misfits), Misfits> {
    let columns = vec![column("id", ColumnType::Int64, Some(0)), column("c", kind, None)];
    let images = Images(vec![vec![Cell::Int(1), cell]]);
    let (row, encoded) = encode(values, columns, &images, ChangeType::Upsert);
    match encoded {
        Encoded::Ready(misfits) => {
            let found = fields(&row).into_iter().find(|(number, _)| *number == 2);
            Ok((found.map(|(_, field)| field), misfits))
        }
        Encoded::Refused(_, misfits) => Err(misfits),
        Encoded::KeyRefused(refusal) => panic!("{refusal:?}"),
    }
}

fn one(kind: Misfit) -> Misfits {
    let mut misfits = Misfits::default();
    misfits.add(kind, 1);
    misfits
}

/// The encoded key of a row that has nothing else; `None` if a cell cannot be one's.
fn key(kinds: &[ColumnType], cells: &[Cell]) -> Option<Vec<u8>> {
    let columns = kinds
        .iter()
        .zip(0u16..)
        .map(|(kind, at)| column(&format!("k{at}"), *kind, Some(at)))
        .collect();
    let images = Images(vec![cells.to_vec()]);
    let (row, encoded) = encode(Values::default(), columns, &images, ChangeType::Delete);
    match encoded {
        // The same change and the same number follow in every row.
        Encoded::Ready(_) => Some(row),
        Encoded::KeyRefused(_) => None,
        Encoded::Refused(refusal, _) => panic!("{refusal:?}"),
    }
}

fn encode(
    values: Values,
    columns: Vec<crate::event::Column>,
    images: &Images,
    change: ChangeType,
) -> (Vec<u8>, Encoded) {
    let mut encoder = RowEncoder::default();
    let row = Row {
        images,
        image: image(0),
        change,
        order: OrderKey::upsert(txn(7), Ordinal(1)),
        order_prefix: b"1/2/7/",
        committed_micros: 0,
        logged: None,
    };
    let encoded = encoder
        .encode(&target_with(layout(columns), values), row)
        .unwrap();
    (encoder.row, encoded)
}

fn at(year: u16, month: u8, day: u8, (hour, minute, second, micros): (u8, u8, u8, u32)) -> Cell {
    Cell::DateTime(CivilDateTime {
        date: CivilDate { year, month, day },
        hour,
        minute,
        second,
        micros,
    })
}

fn datetime(packed: [u64; 7]) -> Field {
    let [year, month, day, hour, minute, second, micros] = packed;
    let civil = year << 26 | month << 22 | day << 17 | hour << 12 | minute << 6 | second;
    Field::Varint(civil << 20 | micros)
}

#[test]
fn the_first_and_the_last_value_of_each_type_pass() {
    let text = |text: &str| Field::Bytes(text.as_bytes().to_vec());
    for (kind, cell, expected) in [
        (
            ColumnType::Date,
            Cell::Date(1, 1, 1),
            Field::Varint((-719_162i64).cast_unsigned()),
        ),
        (
            ColumnType::Date,
            Cell::Date(9999, 12, 31),
            Field::Varint(2_932_896),
        ),
        (
            ColumnType::DateTime,
            at(1, 1, 1, (0, 0, 0, 0)),
            datetime([1, 1, 1, 0, 0, 0, 0]),
        ),
        (
            ColumnType::DateTime,
            at(9999, 12, 31, (23, 59, 59, 999_999)),
            datetime([9999, 12, 31, 23, 59, 59, 999_999]),
        ),
        (
            ColumnType::Timestamp,
            Cell::Timestamp(-62_135_596_800_000_000),
            Field::Varint((-62_135_596_800_000_000i64).cast_unsigned()),
        ),
        (
            ColumnType::Timestamp,
            Cell::Timestamp(253_402_300_799_999_999),
            Field::Varint(253_402_300_799_999_999),
        ),
        (
            ColumnType::Time,
            Cell::Time(3_020_399_999_999),
            text("0-0 0 838:59:59.999999"),
        ),
        (
            ColumnType::Time,
            Cell::Time(-3_020_399_999_999),
            text("0-0 0 -838:59:59.999999"),
        ),
        (ColumnType::Int64, Cell::Int(i64::MIN), Field::Varint(1 << 63)),
        (ColumnType::Int64, Cell::Int(0), Field::Varint(0)),
        (ColumnType::Float64, Cell::Double(-0.0), Field::Fixed(1 << 63)),
        (ColumnType::Float64, Cell::Double(5e-324), Field::Fixed(1)),
        (
            ColumnType::Float64,
            Cell::Double(f64::MAX),
            Field::Fixed(f64::MAX.to_bits()),
        ),
        (ColumnType::Float32, Cell::Float(-0.0), Field::Fixed(1 << 63)),
        (
            ColumnType::Float32,
            Cell::Float(f32::MAX),
            Field::Fixed(3.402_823_5e38f64.to_bits()),
        ),
        (
            ColumnType::Float32,
            Cell::Float(1e-45),
            Field::Fixed(1e-45f64.to_bits()),
        ),
    ] {
        assert_eq!(
            written(kind, cell.clone()),
            Ok((Some(expected), Misfits::default())),
            "{cell:?}"
        );
    }
}

#[test]
fn dates_and_times_that_bigquery_lacks_are_null_and_each_is_counted() {
    for (kind, cell) in [
        (ColumnType::Date, Cell::Date(0, 0, 0)),
        (ColumnType::Date, Cell::Date(2000, 0, 10)),
        (ColumnType::Date, Cell::Date(2000, 10, 0)),
        (ColumnType::Date, Cell::Date(0, 12, 31)),
        (ColumnType::Date, Cell::Date(2001, 2, 29)),
        (ColumnType::DateTime, at(0, 0, 0, (0, 0, 0, 0))),
        (ColumnType::DateTime, at(2000, 0, 10, (1, 2, 3, 4))),
        (ColumnType::DateTime, at(0, 12, 31, (23, 59, 59, 999_999))),
        (ColumnType::Timestamp, Cell::ZeroTimestamp),
        (ColumnType::Timestamp, Cell::Timestamp(-62_135_596_800_000_001)),
        (ColumnType::Timestamp, Cell::Timestamp(253_402_300_800_000_000)),
    ] {
        let nulled = Ok((None, one(Misfit::ZeroDate)));
        assert_eq!(written(kind, cell.clone()), nulled, "{cell:?}");
        assert_eq!(key(&[kind], std::slice::from_ref(&cell)), None, "{cell:?}");
    }
}

#[test]
fn a_number_that_does_not_fit_refuses_its_row_and_is_never_rounded() {
    let past_numeric = 10i128.pow(38);
    for (kind, cell) in [
        (NUMERIC, Cell::Decimal(past_numeric, 9)),
        (NUMERIC, Cell::Decimal(-past_numeric, 9)),
        (NUMERIC, Cell::Decimal(1, 10)),
        (
            BIGNUMERIC,
            Cell::DecimalText("578960446186580977117854925043439539267".to_owned()),
        ),
        (BIGNUMERIC, Cell::DecimalText(format!("0.{}1", "0".repeat(38)))),
        (ColumnType::Int64, Cell::UInt(1 << 63)),
    ] {
        assert_eq!(
            written(kind, cell.clone()),
            Err(one(Misfit::OutOfRange)),
            "{cell:?}"
        );
        assert_eq!(key(&[kind], &[cell]), None);
    }
    for cell in [
        Cell::Decimal(past_numeric - 1, 9),
        Cell::Decimal(1 - past_numeric, 9),
    ] {
        let (field, misfits) = written(NUMERIC, cell).unwrap();
        assert!(field.is_some());
        assert_eq!(misfits, Misfits::default());
    }
}

fn policies(policy: ValuePolicy) -> Values {
    Values {
        zero_dates: policy,
        out_of_range: policy,
        invalid_text: policy,
        json_numbers: policy,
        other_types: policy,
    }
}

#[test]
fn every_policy_does_to_every_kind_what_it_says() {
    let document = || Cell::Json("[1, 1e999]".to_owned());
    for (kind, cell, misfit, null, string) in [
        (
            ColumnType::Date,
            Cell::Date(2024, 0, 15),
            Misfit::ZeroDate,
            None,
            Some("2024-00-15"),
        ),
        (
            ColumnType::DateTime,
            at(0, 0, 0, (0, 0, 0, 0)),
            Misfit::ZeroDate,
            None,
            Some("0000-00-00 00:00:00.000000"),
        ),
        (
            ColumnType::Timestamp,
            Cell::ZeroTimestamp,
            Misfit::ZeroDate,
            None,
            Some("0000-00-00 00:00:00.000000 UTC"),
        ),
        (
            ColumnType::Text,
            Cell::InvalidText,
            Misfit::InvalidText,
            None,
            Some("0xff"),
        ),
        (
            ColumnType::Json,
            document(),
            Misfit::JsonNumber,
            Some("[1, null]"),
            Some("[1, \"1e999\"]"),
        ),
        // Text has no place in this column.
        (
            NUMERIC,
            Cell::Decimal(10i128.pow(38), 9),
            Misfit::OutOfRange,
            None,
            None,
        ),
        (ColumnType::Int64, Cell::OtherType, Misfit::OtherType, None, None),
    ] {
        let text = |text: Option<&str>| text.map(|text| Field::Bytes(text.as_bytes().to_vec()));
        let by = |policy| written_by(policies(policy), kind, cell.clone());
        assert_eq!(by(ValuePolicy::Null), Ok((text(null), one(misfit))), "{cell:?}");
        assert_eq!(by(ValuePolicy::DeadLetter), Err(one(misfit)), "{cell:?}");
        let as_text = string.map(|string| (text(Some(string)), one(misfit)));
        assert_eq!(
            by(ValuePolicy::String),
            as_text.ok_or_else(|| one(misfit)),
            "{cell:?}"
        );
    }
}

#[test]
fn dates_that_exist_are_text_too_where_the_column_is() {
    let text = |text: &str| Ok((Some(Field::Bytes(text.as_bytes().to_vec())), Misfits::default()));
    for (kind, cell, expected) in [
        (ColumnType::Date, Cell::Date(2024, 2, 29), "2024-02-29"),
        (
            ColumnType::DateTime,
            at(1, 1, 1, (2, 3, 4, 5)),
            "0001-01-01 02:03:04.000005",
        ),
        (
            ColumnType::Timestamp,
            Cell::Timestamp(1),
            "1970-01-01 00:00:00.000001 UTC",
        ),
    ] {
        assert_eq!(
            written_by(policies(ValuePolicy::String), kind, cell),
            text(expected)
        );
    }
}

#[test]
fn a_document_as_deep_as_the_source_has_them_passes_untouched() {
    let document = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    let (field, misfits) = written(ColumnType::Json, Cell::Json(document.clone())).unwrap();
    assert_eq!(field.unwrap().text(), document);
    assert_eq!(misfits, Misfits::default());
}

/// Values of one type that a key may hold, those that are close to each other above all.
fn key_cell(kind: ColumnType) -> BoxedStrategy<Cell> {
    match kind {
        ColumnType::Bool => any::<bool>().prop_map(Cell::Bool).boxed(),
        ColumnType::Int64 => prop_oneof![-3..3i64, any::<i64>()].prop_map(Cell::Int).boxed(),
        ColumnType::UInt64 => prop_oneof![0..3u64, any::<u64>()].prop_map(Cell::UInt).boxed(),
        ColumnType::Decimal { precision: 38, .. } => {
            let limit = 10i128.pow(38);
            prop_oneof![-3..3i128, 1 - limit..limit]
                .prop_map(|unscaled| Cell::Decimal(unscaled, 9))
                .boxed()
        }
        ColumnType::Decimal { scale: 0, .. } => {
            "-?[0-9]{1,3}|-?[0-9]{39,65}".prop_map(Cell::DecimalText).boxed()
        }
        ColumnType::Decimal { .. } => "-?[0-9]{1,35}\\.[0-9]{30}|-?0{1,3}\\.0{29}[0-2]"
            .prop_map(Cell::DecimalText)
            .boxed(),
        ColumnType::Float32 => prop_oneof![Just(0.0), Just(-0.0), Just(1e-45), proptest::num::f32::NORMAL]
            .prop_map(Cell::Float)
            .boxed(),
        ColumnType::Float64 => prop_oneof![Just(0.0), Just(-0.0), Just(5e-324), proptest::num::f64::NORMAL]
            .prop_map(Cell::Double)
            .boxed(),
        ColumnType::Text | ColumnType::Json => "[aA \0é]{0,3}".prop_map(Cell::Text).boxed(),
        ColumnType::Bytes => proptest::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..4)
            .prop_map(Cell::Bytes)
            .boxed(),
        ColumnType::Date => (1u16..4, 1u8..4, 1u8..29)
            .prop_map(|(year, month, day)| Cell::Date(year, month, day))
            .boxed(),
        ColumnType::DateTime => (1u16..3, 1u8..13, 0u8..24, 0u8..60, 0u32..1_000_000)
            .prop_map(|(year, month, hour, minute, micros)| at(year, month, 1, (hour, minute, 0, micros)))
            .boxed(),
        ColumnType::Timestamp => prop_oneof![-3..3i64, TIMESTAMPS]
            .prop_map(Cell::Timestamp)
            .boxed(),
        ColumnType::Time => prop_oneof![-3..3i64, -3_020_399_999_999..=3_020_399_999_999i64]
            .prop_map(Cell::Time)
            .boxed(),
    }
}

/// A key of one to three columns, twice.
fn two_keys() -> impl Strategy<Value = (Vec<ColumnType>, Vec<Cell>, Vec<Cell>)> {
    let kind = proptest::sample::select(vec![
        ColumnType::Bool,
        ColumnType::Int64,
        ColumnType::UInt64,
        NUMERIC,
        BIGNUMERIC,
        LONG_DECIMAL,
        ColumnType::Float32,
        ColumnType::Float64,
        ColumnType::Text,
        ColumnType::Bytes,
        ColumnType::Date,
        ColumnType::DateTime,
        ColumnType::Timestamp,
        ColumnType::Time,
    ]);
    proptest::collection::vec(kind, 1..=3).prop_flat_map(|kinds| {
        let cells: Vec<BoxedStrategy<Cell>> = kinds.iter().copied().map(key_cell).collect();
        (Just(kinds), cells.clone(), cells)
    })
}

/// Whether the source holds two values for one, apart from collations, of which the log knows nothing.
fn is_same(one: &Cell, other: &Cell) -> bool {
    let digits = |text: &str| {
        let (sign, digits) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
        let digits = digits.trim_start_matches('0').to_owned();
        if digits.bytes().all(|byte| matches!(byte, b'0' | b'.')) {
            digits
        } else {
            format!("{sign}{digits}")
        }
    };
    match (one, other) {
        (Cell::DecimalText(one), Cell::DecimalText(other)) => digits(one) == digits(other),
        (one, other) => one == other,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn two_keys_are_one_exactly_if_the_source_holds_them_for_one((kinds, one, other) in two_keys()) {
        let same = one.iter().zip(&other).all(|(one, other)| is_same(one, other));
        let (one, other) = (key(&kinds, &one), key(&kinds, &other));
        prop_assert!(one.is_some() && other.is_some());
        prop_assert_eq!(one == other, same);
    }
}
