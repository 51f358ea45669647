use std::collections::BTreeMap;

use proptest::prelude::*;
use prost::Message;

use super::super::fixture::{Cell, Field, Images, column, fields, image, layout, target, txn};
use super::*;
use crate::event::{CivilDate, ColumnType, Ordinal};
use crate::proto::storage::ProtoSchema;

/// Encodes one row of `columns`, the first of which is the key.
fn encode(columns: &[(ColumnType, Cell)], change: ChangeType) -> Result<(Vec<u8>, Encoded), RowError> {
    encode_keyed(columns, 0, change)
}

/// Encodes one row of `columns`, of which this one is the key.
fn encode_keyed(
    columns: &[(ColumnType, Cell)],
    key: usize,
    change: ChangeType,
) -> Result<(Vec<u8>, Encoded), RowError> {
    let described = columns
        .iter()
        .enumerate()
        .map(|(index, (kind, _))| column(&format!("c{index}"), *kind, (index == key).then_some(0)))
        .collect();
    let target = target(layout(described));
    let images = Images(vec![columns.iter().map(|(_, cell)| cell.clone()).collect()]);
    let order = OrderKey::upsert(txn(77), Ordinal(5));
    let mut prefix = Vec::new();
    text::order_prefix(&mut prefix, order);
    let mut encoder = RowEncoder::default();
    let row = Row {
        images: &images,
        image: image(0),
        change,
        order,
        order_prefix: &prefix,
        committed_micros: 1_000_000,
        logged: None,
    };
    let encoded = encoder.encode(&target, row)?;
    Ok((encoder.row, encoded))
}

/// The fields of an upsert with the key 1 and one more column.
fn upsert(kind: ColumnType, cell: Cell) -> BTreeMap<u32, Field> {
    let columns = [(ColumnType::Int64, Cell::Int(1)), (kind, cell)];
    let (row, encoded) = encode(&columns, ChangeType::Upsert).unwrap();
    assert!(matches!(encoded, Encoded::Ready(_)), "{encoded:?}");
    fields(&row).into_iter().collect()
}

/// The field of a column outside the key.
fn written(kind: ColumnType, cell: Cell) -> Option<Field> {
    upsert(kind, cell).remove(&2)
}

fn key_text(kind: ColumnType, cell: Cell) -> String {
    let (row, _) = encode(&[(kind, cell)], ChangeType::Delete).unwrap();
    fields(&row)[0].1.text()
}

#[test]
fn a_row_ends_with_commit_time_and_pseudo_columns() {
    let row = upsert(ColumnType::Text, Cell::Text("x".to_owned()));
    assert_eq!(row[&1], Field::Varint(1));
    assert_eq!(row[&2].text(), "x");
    assert_eq!(row[&3], Field::Varint(1_000_000));
    assert_eq!(row[&4].text(), "UPSERT");
    assert_eq!(row[&5].text(), "1/2/4D/B");
    assert_eq!(row.len(), 5);
}

#[test]
fn a_delete_carries_the_key_alone() {
    let columns = [
        (ColumnType::Int64, Cell::Int(-1)),
        (ColumnType::Text, Cell::InvalidText),
    ];
    let (row, encoded) = encode(&columns, ChangeType::Delete).unwrap();
    assert!(matches!(encoded, Encoded::Ready(_)));
    let numbers: Vec<u32> = fields(&row).iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [1, 4, 5]);
    assert_eq!(fields(&row)[1].1.text(), "DELETE");
}

#[test]
fn the_writer_schema_names_what_the_row_carries() {
    let target = target(layout(vec![
        column("id", ColumnType::Bytes, Some(0)),
        column("at", ColumnType::Date, None),
    ]));
    let schema = ProtoSchema::decode(target.destination.schema.clone()).unwrap();
    let described: Vec<(String, i32, i32)> = schema
        .proto_descriptor
        .unwrap()
        .field
        .iter()
        .map(|field| {
            assert_eq!(field.label, Some(1));
            (
                field.name.clone().unwrap(),
                field.number.unwrap(),
                field.r#type.unwrap(),
            )
        })
        .collect();
    let expected = [
        ("id", 1, 9),
        ("at", 2, 5),
        ("_replicator_commit_time", 3, 3),
        ("_CHANGE_TYPE", 4, 9),
        ("_CHANGE_SEQUENCE_NUMBER", 5, 9),
    ];
    for (found, expected) in described.iter().zip(expected) {
        assert_eq!((found.0.as_str(), found.1, found.2), expected);
    }
    assert_eq!(described.len(), expected.len());
}

#[test]
fn null_is_absent_and_zero_is_not() {
    assert_eq!(written(ColumnType::Int64, Cell::Null), None);
    assert_eq!(written(ColumnType::Int64, Cell::Int(0)), Some(Field::Varint(0)));
    assert_eq!(
        written(ColumnType::Bool, Cell::Bool(false)),
        Some(Field::Varint(0))
    );
    assert_eq!(
        written(ColumnType::Text, Cell::Text(String::new())),
        Some(Field::Bytes(Vec::new()))
    );
    assert_eq!(
        written(ColumnType::Json, Cell::Json("null".to_owned()))
            .unwrap()
            .text(),
        "null"
    );
}

#[test]
fn known_wire_forms() {
    let datetime = CivilDateTime {
        date: CivilDate {
            year: 2020,
            month: 2,
            day: 29,
        },
        hour: 23,
        minute: 59,
        second: 58,
        micros: 999_999,
    };
    let packed = (2020u64 << 46) + (2 << 42) + (29 << 37) + (23 << 32) + (59 << 26) + (58 << 20) + 999_999;
    for (kind, cell, expected) in [
        (
            ColumnType::Date,
            Cell::Date(1969, 12, 31),
            Field::Varint(u64::MAX),
        ),
        (ColumnType::Date, Cell::Date(1970, 1, 2), Field::Varint(1)),
        (
            ColumnType::DateTime,
            Cell::DateTime(datetime),
            Field::Varint(packed),
        ),
        (
            ColumnType::Timestamp,
            Cell::Timestamp(-1),
            Field::Varint(u64::MAX),
        ),
        (
            ColumnType::Float32,
            Cell::Float(0.1),
            Field::Fixed(0.1f64.to_bits()),
        ),
        (ColumnType::Float64, Cell::Double(-0.0), Field::Fixed(1 << 63)),
        (ColumnType::UInt64, Cell::UInt(0), Field::Bytes(vec![0])),
        (
            ColumnType::Time,
            Cell::Time(-1),
            Field::Bytes(b"0-0 0 -0:00:00.000001".to_vec()),
        ),
        (
            ColumnType::Bytes,
            Cell::Bytes(vec![0, 255]),
            Field::Bytes(vec![0, 255]),
        ),
        (
            ColumnType::Decimal {
                precision: 10,
                scale: 2,
            },
            Cell::Decimal(-150, 2),
            Field::Bytes(vec![0x00, 0xD1, 0x97, 0xA6]),
        ),
        (
            ColumnType::Decimal {
                precision: 40,
                scale: 0,
            },
            Cell::DecimalText("-007".to_owned()),
            Field::Bytes(b"-7".to_vec()),
        ),
    ] {
        assert_eq!(written(kind, cell.clone()), Some(expected), "{cell:?}");
    }
}

#[test]
fn keys_that_bigquery_bars_become_text() {
    assert_eq!(key_text(ColumnType::Bytes, Cell::Bytes(vec![0, 0xAB])), "00ab");
    assert_eq!(key_text(ColumnType::Float64, Cell::Double(-0.0)), "0.0");
    assert_eq!(key_text(ColumnType::Float32, Cell::Float(0.1)), "0.1");
    assert_eq!(
        key_text(ColumnType::Time, Cell::Time(3_600_000_001)),
        "1:00:00.000001"
    );
}

#[test]
fn times_that_do_not_exist_are_null_and_counted() {
    let year_zero = CivilDateTime {
        date: CivilDate {
            year: 0,
            month: 1,
            day: 1,
        },
        hour: 0,
        minute: 0,
        second: 0,
        micros: 0,
    };
    let cells = [
        (ColumnType::Int64, Cell::Int(1)),
        (ColumnType::Date, Cell::Date(0, 0, 0)),
        (ColumnType::Date, Cell::Date(2021, 2, 29)),
        (ColumnType::DateTime, Cell::DateTime(year_zero)),
        (ColumnType::Timestamp, Cell::ZeroTimestamp),
        (ColumnType::Timestamp, Cell::Timestamp(253_402_300_800_000_000)),
        (ColumnType::Json, Cell::Json("[123456789012345678901]".to_owned())),
    ];
    let (row, encoded) = encode(&cells, ChangeType::Upsert).unwrap();
    let Encoded::Ready(misfits) = encoded else {
        panic!("{encoded:?}");
    };
    let counts: Vec<_> = misfits.counts().collect();
    assert_eq!(counts, [(Misfit::ZeroDate, 5), (Misfit::JsonNumber, 1)]);
    let row: BTreeMap<u32, Field> = fields(&row).into_iter().collect();
    assert_eq!(row.keys().copied().collect::<Vec<_>>(), [1, 7, 8, 9, 10]);
    assert_eq!(row[&7].text(), r#"["123456789012345678901"]"#);
}

#[test]
fn keys_are_never_bent() {
    for (kind, cell) in [
        (ColumnType::Int64, Cell::Null),
        (ColumnType::Date, Cell::Date(0, 0, 0)),
        (ColumnType::Timestamp, Cell::ZeroTimestamp),
        (ColumnType::Text, Cell::InvalidText),
    ] {
        for change in [ChangeType::Upsert, ChangeType::Delete] {
            let columns = [(ColumnType::Text, Cell::InvalidText), (kind, cell.clone())];
            let (_, encoded) = encode_keyed(&columns, 1, change).unwrap();
            let Encoded::KeyRefused(Refusal::Cell { column, .. }) = encoded else {
                panic!("{cell:?}: {encoded:?}");
            };
            assert_eq!(column.as_str(), "c1");
        }
    }
}

#[test]
fn what_cannot_be_written_refuses_the_row_and_names_the_column() {
    let cells = [
        (ColumnType::Int64, Cell::Int(1)),
        (ColumnType::Text, Cell::InvalidText),
    ];
    let (_, encoded) = encode(&cells, ChangeType::Upsert).unwrap();
    let Encoded::Refused(Refusal::Cell { column, .. }, _) = encoded else {
        panic!("{encoded:?}");
    };
    assert_eq!(column.as_str(), "c1");
}

#[test]
fn an_image_that_does_not_match_its_layout_is_an_error() {
    let target = target(layout(vec![
        column("a", ColumnType::Int64, Some(0)),
        column("b", ColumnType::Int64, None),
    ]));
    for cells in [
        vec![Cell::Int(1)],
        vec![Cell::Int(1), Cell::Text("x".to_owned())],
        vec![Cell::Int(1), Cell::Int(2), Cell::Int(3)],
    ] {
        let images = Images(vec![cells.clone()]);
        let row = Row {
            images: &images,
            image: image(0),
            change: ChangeType::Upsert,
            order: OrderKey::snapshot(txn(1)),
            order_prefix: b"",
            committed_micros: 0,
            logged: None,
        };
        let error = RowEncoder::default().encode(&target, row).unwrap_err();
        assert!(matches!(error, RowError::Malformed { .. }), "{cells:?}");
    }
}

proptest! {
    #[test]
    fn integers_and_texts_read_back(int: i64, uint: u64, text: String, bytes: Vec<u8>, micros in -3_020_399_999_999i64..3_020_399_999_999) {
        let cells = [
            (ColumnType::Int64, Cell::Int(int)),
            (ColumnType::UInt64, Cell::UInt(uint)),
            (ColumnType::Text, Cell::Text(text.clone())),
            (ColumnType::Bytes, Cell::Bytes(bytes.clone())),
            (ColumnType::Time, Cell::Time(micros)),
        ];
        let (row, _) = encode(&cells, ChangeType::Upsert).unwrap();
        let row: BTreeMap<u32, Field> = fields(&row).into_iter().collect();
        prop_assert_eq!(&row[&1], &Field::Varint(int.cast_unsigned()));
        let Field::Bytes(number) = &row[&2] else { panic!() };
        let mut wide = [0u8; 16];
        wide[..number.len()].copy_from_slice(number);
        prop_assert_eq!(i128::from_le_bytes(wide), i128::from(uint) * 1_000_000_000);
        prop_assert_eq!(row[&3].text(), text);
        prop_assert_eq!(&row[&4], &Field::Bytes(bytes));
        let interval = row[&5].text();
        let time = interval.strip_prefix("0-0 0 ").unwrap();
        let (sign, time) = time.strip_prefix('-').map_or((1, time), |rest| (-1, rest));
        let (whole, fraction) = time.split_once('.').unwrap_or((time, "0"));
        let seconds = whole.split(':').fold(0, |sum, part| sum * 60 + part.parse::<i64>().unwrap());
        prop_assert_eq!(sign * (seconds * 1_000_000 + fraction.parse::<i64>().unwrap()), micros);
    }

    #[test]
    fn floats_read_back_as_the_number_that_people_see(float in proptest::num::f32::NORMAL | proptest::num::f32::SUBNORMAL | proptest::num::f32::ZERO) {
        let Some(Field::Fixed(bits)) = written(ColumnType::Float32, Cell::Float(float)) else { panic!() };
        let double = f64::from_bits(bits).to_string();
        prop_assert_eq!(double.parse::<f32>().unwrap(), float);
        prop_assert_eq!(double.len(), float.to_string().len());
    }

    #[test]
    fn civil_times_unpack(year in 1u16..=9999, month in 1u8..=12, day in 1u8..=28, hour in 0u8..24, minute in 0u8..60, second in 0u8..60, micros in 0u32..1_000_000) {
        let value = CivilDateTime { date: CivilDate { year, month, day }, hour, minute, second, micros };
        let Some(Field::Varint(packed)) = written(ColumnType::DateTime, Cell::DateTime(value)) else { panic!() };
        let part = |shift: u32, bits: u32| (packed >> shift) & ((1 << bits) - 1);
        prop_assert_eq!(
            (part(0, 20), part(20, 6), part(26, 6), part(32, 5), part(37, 5), part(42, 4), part(46, 18)),
            (u64::from(micros), u64::from(second), u64::from(minute), u64::from(hour), u64::from(day), u64::from(month), u64::from(year))
        );
    }

    #[test]
    fn float_keys_differ_exactly_if_the_numbers_do(a: f64, b: f64) {
        prop_assume!(!a.is_nan() && !b.is_nan());
        let same = key_text(ColumnType::Float64, Cell::Double(a)) == key_text(ColumnType::Float64, Cell::Double(b));
        prop_assert_eq!(same, a == b);
    }
}
