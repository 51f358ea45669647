//! One value between the wire, the storage and the REST API. The storage holds BOOL, INT64, DATE, TIME,
//! DATETIME and TIMESTAMP as integers, NUMERIC and BIGNUMERIC as sortable bytes, the rest as it is.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, ValueRef};
use serde_json::Value;

use super::civil;
use super::json;
use super::numeric::{self, Decimal};
use super::schema::Kind;

/// One value in its stored form.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell<'a> {
    Null,
    Int(i64),
    Real(f64),
    Text(Cow<'a, str>),
    Blob(Cow<'a, [u8]>),
    Decimal([u8; 32]),
}

/// How not-a-number is stored, which the storage would take for NULL.
const NAN: &str = "NaN";

impl ToSql for Cell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(self.to_ref()))
    }
}

/// A value that its column's type does not admit: the text says why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unfit(pub(crate) String);

impl Unfit {
    pub(crate) fn new(text: impl Into<String>) -> Unfit {
        Unfit(text.into())
    }
}

/// Brings a number to a NUMERIC or BIGNUMERIC type: rounds to its scale, refuses what is out of range.
pub(crate) fn decimal(kind: Kind, number: Decimal) -> Result<Cell<'static>, Unfit> {
    let (scale, integers) = match kind.digits() {
        Some(digits) => (digits.scale, Some(digits.precision.saturating_sub(digits.scale))),
        None if kind == Kind::Numeric(None) => {
            (numeric::NUMERIC_SCALE, Some(numeric::NUMERIC_INTEGER_DIGITS))
        }
        None => (numeric::BIGNUMERIC_SCALE, None),
    };
    let out_of_range = || Unfit::new(format!("{kind} out of range"));
    let rounded = number.rounded(scale).map_err(|_| out_of_range())?;
    if integers.is_some_and(|digits| !rounded.has_integer_digits(digits)) {
        return Err(out_of_range());
    }
    Ok(Cell::Decimal(rounded.to_stored()))
}

/// Refuses a text or bytes longer than the column's declared length.
pub(crate) fn bounded(kind: Kind, cell: Cell<'_>) -> Result<Cell<'_>, Unfit> {
    let (length, most) = match (kind, &cell) {
        (Kind::String(Some(most)), Cell::Text(text)) => (text.chars().count(), most),
        (Kind::Bytes(Some(most)), Cell::Blob(bytes)) => (bytes.len(), most),
        _ => return Ok(cell),
    };
    if u64::try_from(length).is_ok_and(|length| length > most) {
        return Err(Unfit::new(format!(
            "the value of length {length} is longer than {kind}"
        )));
    }
    Ok(cell)
}

impl Kind {
    /// Reads a value from its text: a literal, a parameter of a query, a string of the wire.
    pub(crate) fn read<'a>(self, text: &'a str) -> Result<Cell<'a>, Unfit> {
        let bad = || Unfit::new(format!("Invalid {}", self.standard_name()));
        let cell = match self {
            Kind::Bool if text.eq_ignore_ascii_case("true") => Cell::Int(1),
            Kind::Bool if text.eq_ignore_ascii_case("false") => Cell::Int(0),
            Kind::Bool => return Err(bad()),
            Kind::Int64 => Cell::Int(text.parse().map_err(|_| bad())?),
            Kind::Float64 => Cell::Real(text.parse().map_err(|_| bad())?),
            Kind::Numeric(_) | Kind::BigNumeric(_) => {
                return decimal(self, Decimal::parse(text).map_err(|_| bad())?);
            }
            Kind::String(_) => return bounded(self, Cell::Text(text.into())),
            Kind::Bytes(_) => return bounded(self, Cell::Blob(text.as_bytes().into())),
            Kind::Date => Cell::Int(civil::parse_date(text).ok_or_else(bad)?),
            Kind::Time => Cell::Int(civil::parse_time(text).ok_or_else(bad)?),
            Kind::DateTime => Cell::Int(civil::parse_datetime(text).ok_or_else(bad)?),
            Kind::Timestamp => Cell::Int(civil::parse_timestamp(text).ok_or_else(bad)?),
            Kind::Json => Cell::Text(
                json::normal(text)
                    .map_err(|error| Unfit::new(error.to_string()))?
                    .into(),
            ),
            Kind::Interval => Cell::Text(civil::parse_interval(text).ok_or_else(bad)?.into()),
        };
        Ok(cell)
    }

    /// Renders a stored value as a cast to STRING does; `None` for NULL.
    pub(crate) fn text(self, value: ValueRef<'_>) -> Option<String> {
        let text = match (self, value) {
            (_, ValueRef::Null) => return None,
            (Kind::Bool, ValueRef::Integer(value)) => (value != 0).to_string(),
            (Kind::Date, ValueRef::Integer(days)) => civil::date_text(days),
            (Kind::Time, ValueRef::Integer(micros)) => civil::time_text(micros),
            (Kind::DateTime, ValueRef::Integer(micros)) => civil::datetime_text(micros),
            (Kind::Timestamp, ValueRef::Integer(micros)) => civil::timestamp_text(micros),
            (Kind::Numeric(_) | Kind::BigNumeric(_), ValueRef::Blob(stored)) => Decimal::from_stored(stored)
                .map_or_else(|error| error.to_string(), |number| number.to_string()),
            (_, ValueRef::Integer(value)) => value.to_string(),
            (_, ValueRef::Real(value)) => float(value),
            (_, ValueRef::Text(text) | ValueRef::Blob(text)) => String::from_utf8_lossy(text).into_owned(),
        };
        Some(text)
    }

    /// Renders a stored value as the REST API does, with TIMESTAMP as whole microseconds.
    pub(crate) fn rest(self, value: ValueRef<'_>) -> Value {
        let text = match (self, value) {
            (Kind::Bytes(_), ValueRef::Blob(bytes) | ValueRef::Text(bytes)) => Some(STANDARD.encode(bytes)),
            (Kind::Timestamp, ValueRef::Integer(micros)) => Some(micros.to_string()),
            (kind, value) => kind.text(value),
        };
        text.map_or(Value::Null, Value::String)
    }
}

/// A double as BigQuery writes it.
pub(crate) fn float(value: f64) -> String {
    if value.is_nan() {
        NAN.to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
    } else {
        format!("{value:?}")
    }
}

/// Reads a value as the REST API writes it: BYTES in base64, all else as text.
pub(crate) fn from_rest(kind: Kind, text: &str) -> Result<Cell<'static>, Unfit> {
    if matches!(kind, Kind::Bytes(_)) {
        let bytes = STANDARD
            .decode(text)
            .map_err(|error| Unfit::new(error.to_string()))?;
        return bounded(kind, Cell::Blob(bytes.into()));
    }
    kind.read(text).map(Cell::into_owned)
}

impl Cell<'_> {
    /// The value as the storage holds it.
    pub(crate) fn to_ref(&self) -> ValueRef<'_> {
        match self {
            Cell::Null => ValueRef::Null,
            Cell::Int(value) => ValueRef::Integer(*value),
            Cell::Real(value) if value.is_nan() => ValueRef::Text(NAN.as_bytes()),
            Cell::Real(value) => ValueRef::Real(*value),
            Cell::Text(text) => ValueRef::Text(text.as_bytes()),
            Cell::Blob(bytes) => ValueRef::Blob(bytes),
            Cell::Decimal(stored) => ValueRef::Blob(stored),
        }
    }

    /// The same value, borrowed from nothing.
    pub(crate) fn into_owned(self) -> Cell<'static> {
        match self {
            Cell::Null => Cell::Null,
            Cell::Int(value) => Cell::Int(value),
            Cell::Real(value) => Cell::Real(value),
            Cell::Text(text) => Cell::Text(Cow::Owned(text.into_owned())),
            Cell::Blob(bytes) => Cell::Blob(Cow::Owned(bytes.into_owned())),
            Cell::Decimal(stored) => Cell::Decimal(stored),
        }
    }
}
