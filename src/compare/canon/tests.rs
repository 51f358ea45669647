//! Equal values have one form whichever side wrote them; different values have two.

use super::*;
use proptest::prelude::*;

fn text(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

fn source(kind: ColumnType, text: &str) -> Cell {
    of_source(kind, false, Form::Plain, Value::Bytes(text.as_bytes().to_vec()))
}

fn target(kind: ColumnType, bigquery: &str, text: &str) -> Cell {
    let form = Form::of(kind, bigquery, false).expect("the type fits");
    of_target(kind, form, Some(text.to_owned()))
}

fn key_target(kind: ColumnType, text: &str) -> Cell {
    let form = Form::of(kind, "STRING", true).expect("the type fits");
    of_target(kind, form, Some(text.to_owned()))
}

const DECIMAL: ColumnType = ColumnType::Decimal {
    precision: 38,
    scale: 9,
};

#[test]
fn the_same_value_from_both_sides() {
    let cases = [
        (ColumnType::Bool, "1", "BOOL", "true"),
        (ColumnType::Bool, "0", "BOOLEAN", "false"),
        (
            ColumnType::Int64,
            "-9223372036854775808",
            "INTEGER",
            "-9223372036854775808",
        ),
        (ColumnType::Int64, "0", "INT64", "0"),
        (
            ColumnType::UInt64,
            "18446744073709551615",
            "NUMERIC",
            "18446744073709551615",
        ),
        (DECIMAL, "0012.500000000", "NUMERIC", "12.5"),
        (DECIMAL, "-0.000", "NUMERIC", "0"),
        (DECIMAL, "-0.000000001", "BIGNUMERIC", "-0.000000001"),
        (DECIMAL, "100.00", "STRING", "100"),
        (ColumnType::Text, " a\u{1f600} ", "STRING", " a\u{1f600} "),
        (ColumnType::Bytes, "\0a", "BYTES", "AGE="),
        (ColumnType::Bytes, "", "BYTES", ""),
        (
            ColumnType::Json,
            "{\"b\": 1.0, \"a\": null}",
            "JSON",
            "{\"a\":null,\"b\":1}",
        ),
        (ColumnType::Date, "9999-12-31", "DATE", "9999-12-31"),
        (
            ColumnType::DateTime,
            "2024-02-29 23:59:59",
            "DATETIME",
            "2024-02-29T23:59:59",
        ),
        (
            ColumnType::DateTime,
            "0001-01-01 00:00:00.120",
            "DATETIME",
            "0001-01-01T00:00:00.120000",
        ),
        (
            ColumnType::Timestamp,
            "1970-01-01 00:00:01.000001",
            "TIMESTAMP",
            "1000001",
        ),
        (
            ColumnType::Timestamp,
            "2038-01-19 03:14:07.999999",
            "TIMESTAMP",
            "2147483647999999",
        ),
        (
            ColumnType::Time,
            "-838:59:59.000000",
            "INTERVAL",
            "0-0 0 -838:59:59",
        ),
        (ColumnType::Time, "-00:00:00.5", "INTERVAL", "0-0 0 -0:0:0.500000"),
        (ColumnType::Time, "25:00:00", "INTERVAL", "0-0 1 1:0:0"),
        (ColumnType::Time, "23:00:00", "TIME", "23:00:00"),
    ];
    for (kind, ours, bigquery, theirs) in cases {
        let form = source(kind, ours);
        assert!(matches!(form, Cell::Text(_)), "{kind:?} {ours}");
        assert_eq!(form, target(kind, bigquery, theirs), "{kind:?} {ours} {theirs}");
    }
}

#[test]
fn values_that_differ_in_their_last_part() {
    let cases = [
        (ColumnType::Bool, "1", "BOOL", "false"),
        (
            ColumnType::Int64,
            "9223372036854775807",
            "INT64",
            "9223372036854775806",
        ),
        (ColumnType::UInt64, "18446744073709551615", "NUMERIC", "-1"),
        (DECIMAL, "1.000000001", "NUMERIC", "1"),
        (ColumnType::Text, "a", "STRING", "a "),
        (ColumnType::Text, "A", "STRING", "a"),
        (ColumnType::Bytes, "a", "BYTES", "YQA="),
        (ColumnType::Json, "1", "JSON", "\"1\""),
        (ColumnType::Date, "2024-01-01", "DATE", "2024-01-02"),
        (
            ColumnType::DateTime,
            "2024-01-01 00:00:00.000001",
            "DATETIME",
            "2024-01-01T00:00:00",
        ),
        (
            ColumnType::Timestamp,
            "1970-01-01 00:00:01",
            "TIMESTAMP",
            "1000001",
        ),
        (ColumnType::Time, "-01:00:00", "INTERVAL", "0-0 0 1:0:0"),
        (ColumnType::Time, "01:00:00", "INTERVAL", "0-1 0 1:0:0"),
    ];
    for (kind, ours, bigquery, theirs) in cases {
        assert_ne!(
            source(kind, ours),
            target(kind, bigquery, theirs),
            "{kind:?} {ours}"
        );
    }
}

#[test]
fn floating_point_numbers_are_their_shortest_decimal() {
    let single = |value| of_source(ColumnType::Float32, false, Form::Plain, Value::Float(value));
    let double = |value| of_source(ColumnType::Float64, false, Form::Plain, Value::Double(value));
    let theirs = |text| target(ColumnType::Float64, "FLOAT64", text);
    assert_eq!(single(0.1), theirs("0.1"));
    assert_ne!(single(0.1), theirs("0.10000000149011612"));
    assert_eq!(single(16_777_216.0), theirs("16777216.0"));
    assert_eq!(single(f32::MAX), theirs("3.4028235e+38"));
    assert_eq!(double(f64::MIN_POSITIVE), theirs("2.2250738585072014E-308"));
    assert_eq!(double(1e300), theirs("1E300"));
    assert_eq!(double(0.1 + 0.2), theirs("0.30000000000000004"));
    assert_ne!(double(0.0), theirs("-0.0"));
    assert_eq!(double(-0.0), theirs("-0.0"));
    assert_ne!(double(1.0), theirs("NaN"));
}

#[test]
fn a_date_that_does_not_exist_is_null_but_not_in_a_key() {
    for (kind, text) in [
        (ColumnType::Date, "0000-00-00"),
        (ColumnType::Date, "2020-00-00"),
        (ColumnType::Date, "2021-02-31"),
        (ColumnType::DateTime, "0000-00-00 00:00:00.000000"),
        (ColumnType::DateTime, "2020-01-00 10:00:00"),
        (ColumnType::Timestamp, "0000-00-00 00:00:00"),
    ] {
        assert_eq!(source(kind, text), Cell::Null, "{text}");
        let key = of_source(kind, true, Form::Plain, Value::Bytes(text.as_bytes().to_vec()));
        assert_eq!(key, Cell::Text(text.to_owned()));
    }
}

#[test]
fn null_is_not_a_value() {
    assert_eq!(
        of_source(ColumnType::Text, false, Form::Plain, Value::NULL),
        Cell::Null
    );
    assert_eq!(of_target(ColumnType::Text, Form::Plain, None), Cell::Null);
    assert_ne!(source(ColumnType::Text, ""), Cell::Null);
    assert_ne!(source(ColumnType::Json, "null"), Cell::Null);
}

#[test]
fn keys_of_barred_types_are_strings() {
    assert_eq!(
        source(ColumnType::Bytes, "\u{1}z"),
        key_target(ColumnType::Bytes, "017a")
    );
    assert_eq!(
        source(ColumnType::Bytes, "\u{1}z"),
        key_target(ColumnType::Bytes, "017A")
    );
    assert_eq!(
        source(ColumnType::Time, "-12:00:00"),
        key_target(ColumnType::Time, "-12:00:00.000000")
    );
    assert_eq!(
        of_source(ColumnType::Float64, true, Form::Plain, Value::Double(1.5)),
        key_target(ColumnType::Float64, "1.5")
    );
    assert_eq!(Form::of(ColumnType::Bytes, "STRING", false), None);
}

#[test]
fn dates_are_compared_as_text_where_the_target_has_text() {
    for (kind, ours, theirs) in [
        (ColumnType::Date, "0000-00-00", "0000-00-00"),
        (ColumnType::Date, "2024-00-15", "2024-00-15"),
        (
            ColumnType::DateTime,
            "0000-00-00 00:00:00",
            "0000-00-00 00:00:00.000000",
        ),
        (
            ColumnType::DateTime,
            "2024-02-29 01:02:03.5",
            "2024-02-29 01:02:03.500000",
        ),
        (
            ColumnType::Timestamp,
            "0000-00-00 00:00:00",
            "0000-00-00 00:00:00.000000 UTC",
        ),
    ] {
        let form = Form::of(kind, "STRING", false).unwrap();
        let found = of_source(kind, false, form, Value::Bytes(ours.as_bytes().to_vec()));
        assert_eq!(found, target(kind, "STRING", theirs));
        assert!(matches!(found, Cell::Text(_)), "{found}");
        assert_ne!(found, target(kind, "STRING", "2000-01-01"));
    }
}

#[test]
fn a_target_type_that_the_mapping_does_not_name_is_refused() {
    for (kind, bigquery) in [
        (ColumnType::UInt64, "INT64"),
        (DECIMAL, "FLOAT64"),
        (ColumnType::Timestamp, "DATETIME"),
        (ColumnType::Json, "STRING"),
        (ColumnType::Bool, "INT64"),
    ] {
        assert_eq!(Form::of(kind, bigquery, false), None, "{kind:?} {bigquery}");
    }
}

#[test]
fn what_cannot_be_read_equals_nothing_on_the_other_side() {
    let same = "what";
    assert_ne!(
        source(ColumnType::Date, same),
        target(ColumnType::Date, "DATE", same)
    );
    assert_ne!(source(DECIMAL, ""), target(DECIMAL, "NUMERIC", ""));
}

fn clock(micros: i64) -> String {
    let (sign, micros) = (if micros < 0 { "-" } else { "" }, micros.abs());
    let seconds = micros / SECOND;
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{sign}{hours:02}:{minutes:02}:{rest:02}.{:06}", micros % SECOND)
}

proptest! {
    #[test]
    fn integers(one in any::<i64>(), other in any::<i64>()) {
        let (ours, theirs) = (source(ColumnType::Int64, &one.to_string()), target(ColumnType::Int64, "INT64", &other.to_string()));
        prop_assert_eq!(ours == theirs, one == other);
        prop_assert_eq!(source(ColumnType::Int64, &one.to_string()), target(ColumnType::Int64, "INT64", &one.to_string()));
    }

    #[test]
    fn decimals(units in -1_000_000i64..1_000_000, shift in 0u32..6, other in -1_000_000i64..1_000_000) {
        let written = |units: i64, places: usize| {
            let digits = format!("{:0>1$}", units.abs(), places + 1);
            let (whole, fraction) = digits.split_at(digits.len() - places);
            format!("{}{whole}.{fraction}", if units < 0 { "-" } else { "" })
        };
        let padded = written(units * 10i64.pow(shift), 3 + usize::try_from(shift).unwrap());
        prop_assert_eq!(source(DECIMAL, &padded), target(DECIMAL, "NUMERIC", &written(units, 3)));
        prop_assert_eq!(source(DECIMAL, &padded) == target(DECIMAL, "NUMERIC", &written(other, 3)), units == other);
    }

    #[test]
    fn doubles(one in any::<f64>().prop_filter("finite", |value| value.is_finite()), other in any::<f64>()) {
        let ours = of_source(ColumnType::Float64, false, Form::Plain, Value::Double(one));
        prop_assert_eq!(&ours, &target(ColumnType::Float64, "FLOAT64", &format!("{one:e}")));
        let theirs = target(ColumnType::Float64, "FLOAT64", &other.to_string());
        prop_assert_eq!(ours == theirs, one.to_bits() == other.to_bits());
    }

    #[test]
    fn bytes(one in any::<Vec<u8>>(), other in any::<Vec<u8>>()) {
        let ours = of_source(ColumnType::Bytes, false, Form::Plain, Value::Bytes(one.clone()));
        prop_assert_eq!(&ours, &target(ColumnType::Bytes, "BYTES", &BASE64.encode(&one)));
        prop_assert_eq!(ours == target(ColumnType::Bytes, "BYTES", &BASE64.encode(&other)), one == other);
    }

    #[test]
    fn times(one in -3_020_399_999_999i64..=3_020_399_999_999, other in -3_020_399_999_999i64..=3_020_399_999_999) {
        let ours = source(ColumnType::Time, &clock(one));
        prop_assert_eq!(&ours, &text(&one.to_string()));
        prop_assert_eq!(&ours, &target(ColumnType::Time, "INTERVAL", &format!("0-0 0 {}", clock(one))));
        prop_assert_eq!(ours == target(ColumnType::Time, "INTERVAL", &format!("0-0 0 {}", clock(other))), one == other);
    }

    #[test]
    fn any_text_is_survived_and_a_canonical_text_is_its_own(text in "[-+0-9:.T eE\\[\\]{}\"a]{0,24}|[0-9]{4}-[01][0-9]-[0-3][0-9][T ][012][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?|\\PC*", pick in 0usize..7) {
        let kinds = [
            ColumnType::Bool, ColumnType::Int64, DECIMAL, ColumnType::Float64, ColumnType::Json,
            ColumnType::Date, ColumnType::DateTime,
        ];
        if let Cell::Text(form) = source(kinds[pick], &text) {
            prop_assert_eq!(of_text(kinds[pick], &form), Some(form));
        }
        for kind in [ColumnType::Time, ColumnType::Timestamp, ColumnType::Bytes] {
            let form = Form::of(kind, if kind == ColumnType::Time { "INTERVAL" } else if kind == ColumnType::Bytes { "BYTES" } else { "TIMESTAMP" }, false).unwrap();
            prop_assert!(of_target(kind, form, Some(text.clone())) != Cell::Null);
        }
    }
}
