//! From what a column's values mean to the BigQuery type and the wire form: one function, so that
//! tables, descriptors and encoder cannot disagree.

use crate::config::{ValuePolicy, Values};
use crate::event::ColumnType;
use crate::proto::descriptor::field_descriptor_proto::Type as WireType;

/// A BigQuery type, as far as tables here have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TargetType {
    Bool,
    Int64,
    Float64,
    Numeric,
    BigNumeric,
    String,
    Bytes,
    Json,
    Date,
    DateTime,
    Timestamp,
    Interval,
}

impl TargetType {
    /// The type's name in GoogleSQL and in table schemas that are sent.
    pub(super) fn name(self) -> &'static str {
        match self {
            TargetType::Bool => "BOOL",
            TargetType::Int64 => "INT64",
            TargetType::Float64 => "FLOAT64",
            TargetType::Numeric => "NUMERIC",
            TargetType::BigNumeric => "BIGNUMERIC",
            TargetType::String => "STRING",
            TargetType::Bytes => "BYTES",
            TargetType::Json => "JSON",
            TargetType::Date => "DATE",
            TargetType::DateTime => "DATETIME",
            TargetType::Timestamp => "TIMESTAMP",
            TargetType::Interval => "INTERVAL",
        }
    }

    /// Whether a table schema that was read means this type; REST answers with older names.
    pub(super) fn is_named(self, name: &str) -> bool {
        let older = match self {
            TargetType::Bool => "BOOLEAN",
            TargetType::Int64 => "INTEGER",
            TargetType::Float64 => "FLOAT",
            TargetType::Numeric
            | TargetType::BigNumeric
            | TargetType::String
            | TargetType::Bytes
            | TargetType::Json
            | TargetType::Date
            | TargetType::DateTime
            | TargetType::Timestamp
            | TargetType::Interval => self.name(),
        };
        name.eq_ignore_ascii_case(self.name()) || name.eq_ignore_ascii_case(older)
    }
}

/// How a value is written into a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Bool,
    Int64,
    Double,
    Numeric,
    BigNumeric,
    Text,
    Bytes,
    Json,
    Date,
    DateTime,
    Timestamp,
    Interval,
    /// A decimal of more digits than BIGNUMERIC has, as text.
    DecimalText,
    /// A floating-point key, as text.
    FloatText,
    /// A binary key, as hexadecimal digits.
    HexText,
    /// A duration in a key, as text.
    TimeText,
    /// Dates and times of which some are in no calendar, as text.
    DateText,
    DateTimeText,
    TimestampText,
}

impl Form {
    /// The form of a column. In a primary key BigQuery takes neither BYTES nor FLOAT64, JSON or INTERVAL
    /// (<https://cloud.google.com/bigquery/docs/information-schema-table-constraints>): such a column
    /// becomes a STRING that differs whenever the value does.
    pub(super) fn of(kind: ColumnType, key: bool, values: &Values) -> Form {
        let dates_are_text = !key && values.zero_dates == ValuePolicy::String;
        match kind {
            ColumnType::Bool => Form::Bool,
            ColumnType::Int64 => Form::Int64,
            ColumnType::UInt64 => Form::Numeric,
            ColumnType::Decimal { precision, scale } => match (precision.saturating_sub(scale), scale) {
                (..=29, ..=9) => Form::Numeric,
                (..=38, ..=38) => Form::BigNumeric,
                _ => Form::DecimalText,
            },
            ColumnType::Float32 | ColumnType::Float64 if key => Form::FloatText,
            ColumnType::Float32 | ColumnType::Float64 => Form::Double,
            ColumnType::Text => Form::Text,
            ColumnType::Bytes if key => Form::HexText,
            ColumnType::Bytes => Form::Bytes,
            ColumnType::Json if key => Form::Text,
            ColumnType::Json => Form::Json,
            ColumnType::Date if dates_are_text => Form::DateText,
            ColumnType::DateTime if dates_are_text => Form::DateTimeText,
            ColumnType::Timestamp if dates_are_text => Form::TimestampText,
            ColumnType::Date => Form::Date,
            ColumnType::DateTime => Form::DateTime,
            ColumnType::Timestamp => Form::Timestamp,
            ColumnType::Time if key => Form::TimeText,
            ColumnType::Time => Form::Interval,
        }
    }

    /// The column's type in BigQuery.
    pub(super) fn target(self) -> TargetType {
        match self {
            Form::Bool => TargetType::Bool,
            Form::Int64 => TargetType::Int64,
            Form::Double => TargetType::Float64,
            Form::Numeric => TargetType::Numeric,
            Form::BigNumeric => TargetType::BigNumeric,
            Form::Text
            | Form::DecimalText
            | Form::FloatText
            | Form::HexText
            | Form::TimeText
            | Form::DateText
            | Form::DateTimeText
            | Form::TimestampText => TargetType::String,
            Form::Bytes => TargetType::Bytes,
            Form::Json => TargetType::Json,
            Form::Date => TargetType::Date,
            Form::DateTime => TargetType::DateTime,
            Form::Timestamp => TargetType::Timestamp,
            Form::Interval => TargetType::Interval,
        }
    }

    /// The field's type in the writer schema.
    pub(super) fn wire(self) -> WireType {
        match self {
            Form::Bool => WireType::Bool,
            Form::Int64 | Form::DateTime | Form::Timestamp => WireType::Int64,
            Form::Double => WireType::Double,
            Form::Numeric | Form::BigNumeric | Form::Bytes => WireType::Bytes,
            Form::Date => WireType::Int32,
            Form::Text
            | Form::Json
            | Form::Interval
            | Form::DecimalText
            | Form::FloatText
            | Form::HexText
            | Form::TimeText
            | Form::DateText
            | Form::DateTimeText
            | Form::TimestampText => WireType::String,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_take_the_smallest_exact_type() {
        for (precision, scale, expected) in [
            (10, 2, TargetType::Numeric),
            (38, 9, TargetType::Numeric),
            (39, 9, TargetType::BigNumeric),
            (29, 10, TargetType::BigNumeric),
            (65, 30, TargetType::BigNumeric),
            (38, 0, TargetType::BigNumeric),
            (39, 0, TargetType::String),
            (65, 0, TargetType::String),
        ] {
            let form = Form::of(
                ColumnType::Decimal { precision, scale },
                false,
                &Values::default(),
            );
            assert_eq!(form.target(), expected, "decimal({precision},{scale})");
        }
    }

    #[test]
    fn no_key_column_has_a_type_that_bigquery_bars_from_keys() {
        for kind in [
            ColumnType::Bool,
            ColumnType::Int64,
            ColumnType::UInt64,
            ColumnType::Decimal {
                precision: 65,
                scale: 0,
            },
            ColumnType::Decimal {
                precision: 65,
                scale: 30,
            },
            ColumnType::Float32,
            ColumnType::Float64,
            ColumnType::Text,
            ColumnType::Bytes,
            ColumnType::Json,
            ColumnType::Date,
            ColumnType::DateTime,
            ColumnType::Timestamp,
            ColumnType::Time,
        ] {
            let text = Values {
                zero_dates: ValuePolicy::String,
                ..Values::default()
            };
            let target = Form::of(kind, true, &text).target();
            assert_eq!(
                target,
                Form::of(kind, true, &Values::default()).target(),
                "{kind:?}"
            );
            let barred = [
                TargetType::Bytes,
                TargetType::Float64,
                TargetType::Json,
                TargetType::Interval,
            ];
            assert!(!barred.contains(&target), "{kind:?}");
        }
    }
}
