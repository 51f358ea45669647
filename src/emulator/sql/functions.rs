//! Functions that the storage lacks: exact decimals, casts with BigQuery's texts, arithmetic that fails
//! where SQLite's would change the type.

use rusqlite::functions::{Aggregate, Context, FunctionFlags};
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, Error, Result};

use crate::emulator::numeric::Decimal;
use crate::emulator::schema::Kind;
use crate::emulator::value::{Cell, decimal};

/// Integer to exact decimal.
pub(crate) const TO_DECIMAL: &str = "bq_decimal";
/// Exact decimal to double.
pub(crate) const TO_DOUBLE: &str = "bq_double";
/// Sum of exact decimals.
pub(crate) const SUM_DECIMAL: &str = "bq_sum_decimal";
/// Sum of two exact decimals.
pub(crate) const ADD_DECIMAL: &str = "bq_add_decimal";
/// An exact decimal with its sign turned.
pub(crate) const NEGATE_DECIMAL: &str = "bq_negate_decimal";
/// `bq_cast(value, from, to, safe)`.
pub(crate) const CAST: &str = "bq_cast";
/// `bq_integer(operator, a, b)`, which fails instead of overflowing.
pub(crate) const INTEGER: &str = "bq_integer";
/// `bq_divide(a, b)`, which fails instead of giving NULL.
pub(crate) const DIVIDE: &str = "bq_divide";
/// `bq_base64(bytes)`.
pub(crate) const BASE64: &str = "bq_base64";

fn failed(text: impl Into<String>) -> Error {
    Error::UserFunctionError(text.into().into())
}

fn owned(cell: Cell<'_>) -> ToSqlOutput<'static> {
    let value = match cell {
        Cell::Null => Value::Null,
        Cell::Int(value) => Value::Integer(value),
        Cell::Real(value) if value.is_nan() => Value::Text("NaN".to_owned()),
        Cell::Real(value) => Value::Real(value),
        Cell::Text(text) => Value::Text(text.into_owned()),
        Cell::Blob(bytes) => Value::Blob(bytes.into_owned()),
        Cell::Decimal(stored) => Value::Blob(stored.to_vec()),
    };
    ToSqlOutput::Owned(value)
}

fn number(value: ValueRef<'_>) -> Result<Option<Decimal>> {
    let number = match value {
        ValueRef::Null => return Ok(None),
        ValueRef::Integer(value) => Ok(Decimal::from(value)),
        ValueRef::Real(value) => Decimal::from_f64(value),
        ValueRef::Blob(stored) => Decimal::from_stored(stored),
        ValueRef::Text(_) => return Err(failed("a text is no number")),
    };
    number.map(Some).map_err(|error| failed(error.to_string()))
}

fn stored(number: Option<Decimal>) -> ToSqlOutput<'static> {
    owned(number.map_or(Cell::Null, |number| Cell::Decimal(number.to_stored())))
}

/// Adds the functions to a connection.
pub(crate) fn register(connection: &Connection) -> Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function(TO_DECIMAL, 1, flags, |context| {
        Ok(stored(number(context.get_raw(0))?))
    })?;
    connection.create_scalar_function(TO_DOUBLE, 1, flags, |context| {
        Ok(number(context.get_raw(0))?.map(Decimal::to_f64))
    })?;
    connection.create_scalar_function(ADD_DECIMAL, 2, flags, |context| {
        let (Some(a), Some(b)) = (number(context.get_raw(0))?, number(context.get_raw(1))?) else {
            return Ok(owned(Cell::Null));
        };
        let sum = a.add(b).map_err(|_| failed("numeric overflow"))?;
        Ok(stored(Some(sum)))
    })?;
    connection.create_scalar_function(NEGATE_DECIMAL, 1, flags, |context| {
        Ok(stored(number(context.get_raw(0))?.map(Decimal::negated)))
    })?;
    connection.create_scalar_function(CAST, 4, flags, cast)?;
    connection.create_scalar_function(INTEGER, 3, flags, integer)?;
    connection.create_scalar_function(DIVIDE, 2, flags, divide)?;
    connection.create_scalar_function(BASE64, 1, flags, |context| {
        let text = Kind::Bytes(None).rest(context.get_raw(0));
        Ok(text.as_str().map(str::to_owned))
    })?;
    connection.create_aggregate_function(SUM_DECIMAL, 1, flags, SumDecimal)
}

fn double(value: ValueRef<'_>) -> Result<Option<f64>> {
    match value {
        ValueRef::Null => Ok(None),
        ValueRef::Real(value) => Ok(Some(value)),
        ValueRef::Text(_) => Ok(Some(f64::NAN)),
        ValueRef::Integer(_) | ValueRef::Blob(_) => Ok(number(value)?.map(Decimal::to_f64)),
    }
}

fn divide(context: &Context<'_>) -> Result<ToSqlOutput<'static>> {
    let (Some(a), Some(b)) = (double(context.get_raw(0))?, double(context.get_raw(1))?) else {
        return Ok(owned(Cell::Null));
    };
    if b == 0.0 {
        return Err(failed(format!("division by zero: {a} / {b}")));
    }
    Ok(owned(Cell::Real(a / b)))
}

fn integer(context: &Context<'_>) -> Result<Option<i64>> {
    let operator: String = context.get(0)?;
    let (Some(a), Some(b)) = (context.get::<Option<i64>>(1)?, context.get::<Option<i64>>(2)?) else {
        return Ok(None);
    };
    let result = match operator.as_str() {
        "+" => a.checked_add(b),
        "-" => a.checked_sub(b),
        "*" => a.checked_mul(b),
        "DIV" if b != 0 => a.checked_div(b),
        "MOD" if b != 0 => a.checked_rem(b),
        _ => return Err(failed(format!("division by zero: {operator}({a}, {b})"))),
    };
    match result {
        Some(value) => Ok(Some(value)),
        None => Err(failed(format!("int64 overflow: {a} {operator} {b}"))),
    }
}

/// A type's name as `bq_cast` takes it.
fn kind(name: &str) -> Result<Kind> {
    Kind::parse(name, &[]).map_err(|error| failed(error.message))
}

fn cast(context: &Context<'_>) -> Result<ToSqlOutput<'static>> {
    let (from, to) = (
        kind(&context.get::<String>(1)?)?,
        kind(&context.get::<String>(2)?)?,
    );
    let is_safe: bool = context.get(3)?;
    match converted(context.get_raw(0), from, to) {
        Ok(cell) => Ok(owned(cell)),
        Err(_) if is_safe => Ok(owned(Cell::Null)),
        Err(text) => Err(failed(text)),
    }
}

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

fn converted(value: ValueRef<'_>, from: Kind, to: Kind) -> std::result::Result<Cell<'static>, String> {
    let bad = || format!("Invalid cast from {from} to {to}");
    let cell = match (from, to, value) {
        (_, _, ValueRef::Null) => Cell::Null,
        (Kind::String(_), Kind::Bool | Kind::Int64 | Kind::Float64, ValueRef::Text(text)) => {
            let text = String::from_utf8_lossy(text);
            let read = to
                .read(text.trim())
                .map_err(|_| format!("Bad {} value: {text}", to.standard_name().to_ascii_lowercase()))?;
            read.into_owned()
        }
        (Kind::String(_), _, ValueRef::Text(text)) => {
            let text = String::from_utf8_lossy(text);
            to.read(&text).map_err(|error| error.to_string())?.into_owned()
        }
        (Kind::Bytes(_), Kind::String(_), ValueRef::Blob(bytes)) => {
            let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
            Cell::Text(text.to_owned().into())
        }
        (_, Kind::String(_), value) => Cell::Text(from.text(value).unwrap_or_default().into()),
        (Kind::Int64 | Kind::Bool, Kind::Bool, ValueRef::Integer(value)) => Cell::Int(i64::from(value != 0)),
        (Kind::Date, Kind::DateTime | Kind::Timestamp, ValueRef::Integer(days)) => {
            Cell::Int(days.saturating_mul(DAY))
        }
        (Kind::DateTime | Kind::Timestamp, Kind::Date, ValueRef::Integer(micros)) => {
            Cell::Int(micros.div_euclid(DAY))
        }
        (Kind::DateTime | Kind::Timestamp, Kind::Time, ValueRef::Integer(micros)) => {
            Cell::Int(micros.rem_euclid(DAY))
        }
        (Kind::DateTime | Kind::Timestamp, Kind::DateTime | Kind::Timestamp, ValueRef::Integer(micros)) => {
            Cell::Int(micros)
        }
        (
            Kind::Int64 | Kind::Float64 | Kind::Numeric(_) | Kind::BigNumeric(_) | Kind::Bool,
            Kind::Int64 | Kind::Float64 | Kind::Numeric(_) | Kind::BigNumeric(_),
            value,
        ) => between_numbers(value, to)?,
        (from, to, value) if from.plain() == to.plain() => match value {
            ValueRef::Null => Cell::Null,
            ValueRef::Integer(value) => Cell::Int(value),
            ValueRef::Real(value) => Cell::Real(value),
            ValueRef::Text(text) => Cell::Text(String::from_utf8_lossy(text).into_owned().into()),
            ValueRef::Blob(bytes) => Cell::Blob(bytes.to_vec().into()),
        },
        _ => return Err(bad()),
    };
    Ok(cell)
}

fn between_numbers(value: ValueRef<'_>, to: Kind) -> std::result::Result<Cell<'static>, String> {
    if to == Kind::Float64 {
        let value = double(value).map_err(|error| error.to_string())?;
        return Ok(value.map_or(Cell::Null, Cell::Real));
    }
    let number = number(value)
        .map_err(|error| error.to_string())?
        .unwrap_or(Decimal::ZERO);
    if to == Kind::Int64 {
        let value = number.to_i64().map_err(|_| "int64 out of range".to_owned())?;
        return Ok(Cell::Int(value));
    }
    decimal(to, number).map_err(|error| error.to_string())
}

struct SumDecimal;

impl Aggregate<Option<Decimal>, ToSqlOutput<'static>> for SumDecimal {
    fn init(&self, _context: &mut Context<'_>) -> Result<Option<Decimal>> {
        Ok(None)
    }

    fn step(&self, context: &mut Context<'_>, sum: &mut Option<Decimal>) -> Result<()> {
        if let Some(value) = number(context.get_raw(0))? {
            let before = sum.unwrap_or(Decimal::ZERO);
            *sum = Some(before.add(value).map_err(|_| failed("numeric overflow: SUM"))?);
        }
        Ok(())
    }

    fn finalize(
        &self,
        _context: &mut Context<'_>,
        sum: Option<Option<Decimal>>,
    ) -> Result<ToSqlOutput<'static>> {
        Ok(stored(sum.flatten()))
    }
}
