use proptest::prelude::*;
use serde_json::json;

use super::super::fixture::{Cell, Images, column, image, layout, target, txn};
use super::*;
use crate::event::{CivilDate, CivilDateTime, Column, ColumnType, Ordinal};

fn answered(message: &str) -> Refusal {
    Refusal::Answer(message.to_owned())
}

fn letter(columns: Vec<(Column, Cell)>, refusal: &Refusal) -> Letter {
    let (columns, cells): (Vec<Column>, Vec<Cell>) = columns.into_iter().unzip();
    let images = Images(vec![cells]);
    let refused = Refused {
        images: &images,
        image: image(0),
        change: ChangeType::Upsert,
        order: OrderKey::upsert(txn(16), Ordinal(3)),
        at: RowAt {
            txn: txn(16),
            ordinal: Ordinal(3),
        },
        committed_micros: 1,
        stale: true,
    };
    Letter::of(&target(layout(columns)), refused, refusal).unwrap()
}

/// The payload of a row with the key 1 and one more column.
fn rendered(kind: ColumnType, cell: Cell) -> String {
    let columns = vec![
        (column("id", ColumnType::Int64, Some(0)), Cell::Int(1)),
        (column("v", kind, None), cell),
    ];
    let payload = letter(columns, &answered("no")).payload.unwrap();
    let value = payload.strip_prefix("{\"id\":1,\"v\":").unwrap();
    value.strip_suffix('}').unwrap().to_owned()
}

#[test]
fn every_value_has_a_form_of_its_own() {
    let time = CivilDateTime {
        date: CivilDate {
            year: 2020,
            month: 0,
            day: 0,
        },
        hour: 1,
        minute: 2,
        second: 3,
        micros: 4,
    };
    for (kind, cell, expected) in [
        (ColumnType::Text, Cell::Null, "null"),
        (ColumnType::Bool, Cell::Bool(true), "true"),
        (ColumnType::Int64, Cell::Int(i64::MIN), "-9223372036854775808"),
        (ColumnType::UInt64, Cell::UInt(u64::MAX), "18446744073709551615"),
        (ColumnType::Float32, Cell::Float(0.1), "0.1"),
        (ColumnType::Float64, Cell::Double(f64::INFINITY), "\"inf\""),
        (
            ColumnType::Text,
            Cell::Text("a\"\n\u{1}é".to_owned()),
            r#""a\"\n\u0001é""#,
        ),
        (
            ColumnType::Json,
            Cell::Json("{\"a\": 1.50}".to_owned()),
            "{\"a\": 1.50}",
        ),
        (ColumnType::Bytes, Cell::Bytes(vec![0, 255]), "\"AP8=\""),
        (
            ColumnType::Timestamp,
            Cell::Timestamp(0),
            "\"1970-01-01 00:00:00.000000 UTC\"",
        ),
        (
            ColumnType::Timestamp,
            Cell::ZeroTimestamp,
            "\"0000-00-00 00:00:00\"",
        ),
        (ColumnType::Date, Cell::Date(0, 0, 0), "\"0000-00-00\""),
        (
            ColumnType::DateTime,
            Cell::DateTime(time),
            "\"2020-00-00 01:02:03.000004\"",
        ),
        (ColumnType::Time, Cell::Time(-1_000_000), "\"-0:00:01\""),
        (ColumnType::Text, Cell::InvalidText, "{\"base64\":\"/w==\"}"),
    ] {
        assert_eq!(rendered(kind, cell), expected);
    }
    let decimal = ColumnType::Decimal {
        precision: 40,
        scale: 2,
    };
    assert_eq!(rendered(decimal, Cell::Decimal(-5, 2)), "\"-0.05\"");
    assert_eq!(
        rendered(decimal, Cell::DecimalText("9.10".to_owned())),
        "\"9.10\""
    );
}

#[test]
fn the_key_is_an_object_of_its_columns_alone() {
    let columns = vec![
        (column("a", ColumnType::Bytes, Some(1)), Cell::Bytes(vec![1, 171])),
        (
            column("secret", ColumnType::Text, None),
            Cell::Text("s".to_owned()),
        ),
        (column("b", ColumnType::Text, Some(0)), Cell::InvalidText),
    ];
    let found = letter(columns, &answered("no"));
    assert_eq!(found.key, "{\"a\":\"01ab\",\"b\":{\"base64\":\"/w==\"}}");
    assert_eq!(found.shown_key(), found.key);
}

#[test]
fn a_row_is_cut_between_characters_and_measured_whole() {
    let text = "é".repeat(PAYLOAD_BYTES);
    let columns = || {
        vec![
            (column("id", ColumnType::Int64, Some(0)), Cell::Int(1)),
            (column("v", ColumnType::Text, None), Cell::Text(text.clone())),
        ]
    };
    let whole = json!({ "id": 1, "v": text }).to_string();
    let mut digest = Vec::new();
    text::hex(&mut digest, &Sha256::digest(whole.as_bytes()));
    let cut = letter(columns(), &answered("no"));
    let payload = cut.payload.unwrap();
    assert!(whole.starts_with(&payload));
    assert!(payload.len() <= PAYLOAD_BYTES && payload.len() > PAYLOAD_BYTES - 2);
    assert_eq!(cut.payload_bytes, u64::try_from(whole.len()).unwrap());
    assert_eq!(cut.payload_sha256.as_bytes(), digest);

    let too_large = Refusal::TooLarge { bytes: 20, limit: 19 };
    let by_reference = letter(columns(), &too_large);
    assert_eq!(by_reference.payload, None);
    assert_eq!(by_reference.payload_bytes, cut.payload_bytes);
    assert_eq!(by_reference.payload_sha256, cut.payload_sha256);
    assert_eq!(by_reference.key, "{\"id\":1}");
}

#[test]
fn what_bigquery_says_is_kept_and_not_shown() {
    let row = || {
        vec![
            (column("id", ColumnType::Int64, Some(0)), Cell::Int(1)),
            (
                column("price", ColumnType::Text, None),
                Cell::Text("4711".to_owned()),
            ),
        ]
    };
    for (message, named) in [
        ("Field price (NUMERIC): 4711 is out of range", Some("price")),
        ("Invalid value '4711' on field 'root.price'.", Some("price")),
        ("Value 4711 cannot be read for column: PRICE", Some("price")),
        ("the field is bad: 4711", None),
        ("4711", None),
        ("ends in field", None),
    ] {
        let found = letter(row(), &answered(message));
        assert_eq!(found.reason, message);
        assert!(!found.shown_reason.contains("4711"), "{}", found.shown_reason);
        assert_eq!(found.column.as_ref().map(ColumnName::as_str), named, "{message}");
    }
    let long = answered(&"é".repeat(10_000));
    assert_eq!(letter(row(), &long).reason.chars().count(), REASON_CHARS);
}

proptest! {
    #[test]
    fn a_row_is_json_whatever_its_texts_are(name in "\\PC{1,20}", text: String, bytes: Vec<u8>, double: f64, message: String) {
        prop_assume!(!["b", "d"].iter().any(|other| name.eq_ignore_ascii_case(other)));
        let columns = vec![
            (column(&name, ColumnType::Text, Some(0)), Cell::Text(text.clone())),
            (column("b", ColumnType::Bytes, None), Cell::Bytes(bytes)),
            (column("d", ColumnType::Float64, None), Cell::Double(double)),
        ];
        let found = letter(columns, &answered(&message));
        let key: serde_json::Value = serde_json::from_str(&found.key).unwrap();
        prop_assert_eq!(&key[&name], &json!(text));
        let payload: serde_json::Value = serde_json::from_str(&found.payload.unwrap()).unwrap();
        prop_assert_eq!(payload["d"].as_f64().is_some(), double.is_finite());
    }
}
