//! Values of every type: what goes in over the wire comes out as BigQuery writes it.

use replicator::proto::descriptor::field_descriptor_proto::Type;

use crate::client::{Emulator, Row, Schema};

/// Appends one value to a column of a type; gives its text as a query shows it, or none if it is refused.
async fn through(emulator: &Emulator, column: &str, form: Type, row: Row) -> Result<Option<String>, String> {
    emulator.run(&["DROP TABLE IF EXISTS d.v"]).await;
    emulator.clock.advance(std::time::Duration::from_secs(10));
    emulator.run(&[&format!("CREATE TABLE d.v (c {column})")]).await;
    let mut connection = emulator.connect("v").await;
    let answer = connection
        .append("v", &Schema::of(&[("c", form)]), vec![row])
        .await;
    match answer {
        Err(status) => Err(format!("call: {}", status.message())),
        Ok(errors) if !errors.is_empty() => Err("row".to_owned()),
        Ok(_) => {
            let rows = emulator.query("SELECT c FROM d.v").await.expect("rows");
            Ok(rows[0][0].clone())
        }
    }
}

fn int(value: i64) -> Row {
    Row::default().int(1, value)
}

fn text(value: &str) -> Row {
    Row::default().text(1, value)
}

/// Rules: accepted-forms, numeric-rounding, bignumeric-rounding, json-numbers, json-normal, bytes-from-string, packed-times.
#[tokio::test]
async fn values_come_out_as_bigquery_writes_them() {
    let emulator = Emulator::start().await;
    emulator.run(&["CREATE SCHEMA d"]).await;
    let bytes = |value: &[u8]| Row::default().bytes(1, value);
    let double = |value: f64| Row::default().double(1, value);
    let time = (23 << 32) | (59 << 26) | (58 << 20) | 5;
    for (column, form, row, expected) in [
        ("INT64", Type::Int64, int(-5), "-5"),
        ("BOOL", Type::Bool, int(1), "true"),
        ("FLOAT64", Type::Double, double(1.0), "1.0"),
        ("FLOAT64", Type::Double, double(-0.0), "-0.0"),
        ("FLOAT64", Type::Double, double(f64::NAN), "NaN"),
        ("FLOAT64", Type::Double, double(f64::INFINITY), "Infinity"),
        (
            "NUMERIC",
            Type::Bytes,
            bytes(&[0x00, 0x2F, 0x68, 0x59, 0x00]),
            "1.5",
        ),
        ("NUMERIC", Type::String, text("-0.0000000005"), "-0.000000001"),
        ("NUMERIC(5, 2)", Type::String, text("1.005"), "1.01"),
        ("NUMERIC", Type::Uint64, int(-1), "18446744073709551615"),
        (
            "BIGNUMERIC",
            Type::Bytes,
            bytes(&[0xFF]),
            "-0.00000000000000000000000000000000000001",
        ),
        ("STRING", Type::String, text("a\0b"), "a\0b"),
        ("BYTES", Type::Bytes, bytes(b"\xFF\x00"), "/wA="),
        ("BYTES", Type::String, text("hi"), "aGk="),
        ("DATE", Type::Int32, int(-719_162), "0001-01-01"),
        ("DATE", Type::String, text("2024-02-29"), "2024-02-29"),
        ("TIME", Type::Int64, int(time), "23:59:58.000005"),
        (
            "DATETIME",
            Type::Int64,
            int((2024 << 46) | (2 << 42) | (29 << 37) | time),
            "2024-02-29T23:59:58.000005",
        ),
        ("TIMESTAMP", Type::Int64, int(-1), "-1"),
        (
            "JSON",
            Type::String,
            text("{\"b\": 1, \"a\": [1.0]}"),
            "{\"a\":[1.0],\"b\":1}",
        ),
        (
            "INTERVAL",
            Type::String,
            text("0-0 0 -838:59:59"),
            "0-0 0 -838:59:59",
        ),
        ("NUMERIC(5, 2)", Type::String, text("-1.005"), "-1.01"),
        (
            "BIGNUMERIC",
            Type::String,
            text("0.123456789012345678901234567890123456785"),
            "0.12345678901234567890123456789012345679",
        ),
        (
            "JSON",
            Type::String,
            text("[18446744073709551615, 18446744073709551616]"),
            "[18446744073709551615,1.8446744073709552e+19]",
        ),
    ] {
        let found = through(&emulator, column, form, row).await;
        assert_eq!(found, Ok(Some(expected.to_owned())), "{column} {form:?}");
    }
}

/// Rules: value-ranges, numeric-range, missing-required, lengths.
#[tokio::test]
async fn values_that_do_not_fit_are_row_errors() {
    let emulator = Emulator::start().await;
    emulator.run(&["CREATE SCHEMA d"]).await;
    for (column, form, row) in [
        ("DATE", Type::Int32, int(2_932_897)),
        ("TIME", Type::Int64, int(1 << 37)),
        (
            "DATETIME",
            Type::Int64,
            int((2023 << 46) | (2 << 42) | (29 << 37)),
        ),
        ("TIMESTAMP", Type::Int64, int(i64::MAX)),
        ("NUMERIC", Type::String, text("1e29")),
        ("NUMERIC(5, 2)", Type::String, text("1000")),
        ("JSON", Type::String, text("{")),
        ("INTERVAL", Type::String, text("1 day")),
        ("STRING(2)", Type::String, text("abc")),
        ("INT64 NOT NULL", Type::Int64, Row::default()),
        ("STRING", Type::String, Row::default().bytes(1, b"\xC0")),
        ("STRING", Type::String, int(1)),
    ] {
        let found = through(&emulator, column, form, row).await;
        assert_eq!(found, Err("row".to_owned()), "{column} {form:?}");
    }
}

/// Rules: form-mismatch.
#[tokio::test]
async fn forms_that_bigquery_does_not_list_end_the_call() {
    let emulator = Emulator::start().await;
    emulator.run(&["CREATE SCHEMA d"]).await;
    for (column, form) in [
        ("INT64", Type::Uint64),
        ("INT64", Type::String),
        ("FLOAT64", Type::String),
        ("BOOL", Type::String),
        ("TIMESTAMP", Type::Double),
        ("DATE", Type::Uint32),
        ("INT64", Type::Sint64),
    ] {
        let found = through(&emulator, column, form, Row::default()).await;
        assert!(
            found.as_ref().is_err_and(|error| error.contains("mismatched")),
            "{column} {form:?}: {found:?}"
        );
    }
}
