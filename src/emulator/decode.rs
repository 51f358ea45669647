//! Values of the wire as values of columns, by the table of supported protocol buffer types in Google's
//! document "Supported protocol buffer and Arrow data types".

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::civil;
use super::numeric::{self, Decimal};
use super::schema::Kind;
use super::value::{Cell, Unfit, bounded, decimal};
use super::wire::{Fields, Raw};
use crate::proto::descriptor::field_descriptor_proto::Type;

/// How a field lies on the wire, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    Bool,
    Int32,
    Int64,
    UInt32,
    UInt64,
    Float,
    Double,
    String,
    Bytes,
    /// With the names of its values.
    Enum(Arc<BTreeMap<i32, String>>),
    /// One of protobuf's wrapper messages.
    Wrapped(Box<Form>),
    /// `google.protobuf.Timestamp`.
    Timestamp,
    /// `google.protobuf.Duration`.
    Duration,
}

impl Form {
    /// The form of a scalar type; none for messages, enumerations and the types that the document does not list.
    pub(crate) fn of_scalar(kind: Type) -> Option<Form> {
        match kind {
            Type::Bool => Some(Form::Bool),
            Type::Int32 => Some(Form::Int32),
            Type::Int64 => Some(Form::Int64),
            Type::Uint32 => Some(Form::UInt32),
            Type::Uint64 => Some(Form::UInt64),
            Type::Float => Some(Form::Float),
            Type::Double => Some(Form::Double),
            Type::String => Some(Form::String),
            Type::Bytes => Some(Form::Bytes),
            Type::Fixed64
            | Type::Fixed32
            | Type::Sfixed32
            | Type::Sfixed64
            | Type::Sint32
            | Type::Sint64
            | Type::Group
            | Type::Message
            | Type::Enum => None,
        }
    }

    /// The form of one of protobuf's own message types.
    pub(crate) fn of_well_known(name: &str) -> Option<Form> {
        let scalar = match name.trim_start_matches('.').strip_prefix("google.protobuf.")? {
            "BoolValue" => Form::Bool,
            "Int32Value" => Form::Int32,
            "Int64Value" => Form::Int64,
            "UInt32Value" => Form::UInt32,
            "FloatValue" => Form::Float,
            "DoubleValue" => Form::Double,
            "StringValue" => Form::String,
            "BytesValue" => Form::Bytes,
            "Timestamp" => return Some(Form::Timestamp),
            "Duration" => return Some(Form::Duration),
            _ => return None,
        };
        Some(Form::Wrapped(Box::new(scalar)))
    }

    /// Whether BigQuery takes this form for a column of that type.
    pub(crate) fn fits(&self, kind: Kind) -> bool {
        let plain = if let Form::Wrapped(inner) = self {
            inner
        } else {
            self
        };
        let integer = matches!(plain, Form::Int32 | Form::Int64 | Form::UInt32 | Form::UInt64);
        let float = matches!(plain, Form::Float | Form::Double);
        let text = matches!(plain, Form::String);
        match kind {
            Kind::Bool => integer || matches!(plain, Form::Bool),
            Kind::Int64 => matches!(plain, Form::Int32 | Form::Int64 | Form::UInt32 | Form::Enum(_)),
            Kind::Float64 => float,
            Kind::Numeric(_) | Kind::BigNumeric(_) => {
                integer || float || text || matches!(plain, Form::Bytes)
            }
            Kind::String(_) => text || matches!(plain, Form::Enum(_)),
            Kind::Bytes(_) => text || matches!(plain, Form::Bytes),
            Kind::Date => text || matches!(plain, Form::Int32 | Form::Int64),
            Kind::Time | Kind::DateTime => text || matches!(plain, Form::Int64),
            Kind::Timestamp => matches!(plain, Form::Int32 | Form::Int64 | Form::UInt32 | Form::Timestamp),
            Kind::Json => text,
            Kind::Interval => text || matches!(plain, Form::Duration),
        }
    }

    /// What the error texts call it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Form::Bool => "bool",
            Form::Int32 => "int32",
            Form::Int64 => "int64",
            Form::UInt32 => "uint32",
            Form::UInt64 => "uint64",
            Form::Float => "float",
            Form::Double => "double",
            Form::String => "string",
            Form::Bytes => "bytes",
            Form::Enum(_) => "enum",
            Form::Wrapped(_) | Form::Timestamp | Form::Duration => "message",
        }
    }
}

/// A value as its form says.
#[derive(Debug, Clone, PartialEq)]
enum Scalar<'a> {
    Int(i64),
    UInt(u64),
    Double(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
    /// A value of an enumeration with its name.
    Named(i64, &'a str),
    /// Microseconds of a duration.
    Span(i64),
}

/// The low 32 bits, as protobuf reads a number that is too long for its field.
fn low(varint: u64) -> u32 {
    u32::try_from(varint & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

fn scalar<'a>(form: &'a Form, raw: Raw<'a>) -> Result<Scalar<'a>, Unfit> {
    let value = match (form, raw) {
        (Form::Bool, Raw::Varint(value)) => Scalar::Int(i64::from(value != 0)),
        (Form::Int32, Raw::Varint(value)) => Scalar::Int(i64::from(low(value).cast_signed())),
        (Form::Int64, Raw::Varint(value)) => Scalar::Int(value.cast_signed()),
        (Form::UInt32, Raw::Varint(value)) => Scalar::Int(i64::from(low(value))),
        (Form::UInt64, Raw::Varint(value)) => Scalar::UInt(value),
        (Form::Float, Raw::Fixed32(bytes)) => Scalar::Double(f64::from(f32::from_le_bytes(bytes))),
        (Form::Double, Raw::Fixed64(bytes)) => Scalar::Double(f64::from_le_bytes(bytes)),
        (Form::String, Raw::Bytes(bytes)) => {
            let text = std::str::from_utf8(bytes);
            Scalar::Text(text.map_err(|_| Unfit::new("the string is not valid UTF-8"))?)
        }
        (Form::Bytes, Raw::Bytes(bytes)) => Scalar::Bytes(bytes),
        (Form::Enum(names), Raw::Varint(value)) => {
            let number = low(value).cast_signed();
            let name = names
                .get(&number)
                .ok_or_else(|| Unfit::new("the enum has no such value"))?;
            Scalar::Named(i64::from(number), name)
        }
        (Form::Wrapped(inner), Raw::Bytes(message)) => return wrapped(inner, message),
        (Form::Timestamp, Raw::Bytes(message)) => Scalar::Int(seconds_and_nanos(message)?),
        (Form::Duration, Raw::Bytes(message)) => Scalar::Span(seconds_and_nanos(message)?),
        (form, _) => {
            return Err(Unfit::new(format!(
                "the wire type is not that of {}",
                form.name()
            )));
        }
    };
    Ok(value)
}

/// The value of a wrapper message: its field 1, or the type's default.
fn wrapped<'a>(inner: &'a Form, message: &'a [u8]) -> Result<Scalar<'a>, Unfit> {
    let mut last = match inner.name() {
        "string" | "bytes" => Raw::Bytes(&[]),
        "float" => Raw::Fixed32([0; 4]),
        "double" => Raw::Fixed64([0; 8]),
        _ => Raw::Varint(0),
    };
    for field in Fields::new(message) {
        let (number, raw) = field.map_err(|error| Unfit::new(error.to_string()))?;
        if number == 1 {
            last = raw;
        }
    }
    scalar(inner, last)
}

/// Field 1 as seconds and field 2 as nanoseconds: whole microseconds.
fn seconds_and_nanos(message: &[u8]) -> Result<i64, Unfit> {
    let (mut seconds, mut nanos) = (0_i64, 0_i64);
    for field in Fields::new(message) {
        match field.map_err(|error| Unfit::new(error.to_string()))? {
            (1, Raw::Varint(value)) => seconds = value.cast_signed(),
            (2, Raw::Varint(value)) => nanos = i64::from(low(value).cast_signed()),
            _ => {}
        }
    }
    let micros = seconds.checked_mul(1_000_000);
    let micros = micros.and_then(|micros| micros.checked_add(nanos.div_euclid(1_000)));
    micros.ok_or_else(|| Unfit::new("the time is out of range"))
}

/// Reads one field's value as a value of a column.
///
/// # Errors
/// [`Unfit`] if the bytes are not of that form or the value is not one of that type.
pub(crate) fn cell<'a>(kind: Kind, form: &'a Form, raw: Raw<'a>) -> Result<Cell<'a>, Unfit> {
    let scalar = scalar(form, raw)?;
    if let (Kind::Date | Kind::Time | Kind::DateTime, Scalar::Int(value)) = (kind, &scalar) {
        return civil_cell(kind, *value);
    }
    if let (Kind::Interval, Scalar::Span(micros)) = (kind, &scalar) {
        let text = civil::interval_text(0, 0, *micros).ok_or_else(|| Unfit::new("INTERVAL out of range"))?;
        return Ok(Cell::Text(text.into()));
    }
    match kind {
        Kind::Bool => integer(&scalar).map(|value| Cell::Int(i64::from(value != 0))),
        Kind::Int64 => integer(&scalar).map(Cell::Int),
        Kind::Float64 => double(&scalar).map(Cell::Real),
        Kind::Numeric(_) => decimal(kind, number(&scalar, numeric::NUMERIC_SCALE)?),
        Kind::BigNumeric(_) => decimal(kind, number(&scalar, numeric::BIGNUMERIC_SCALE)?),
        Kind::String(_) => bounded(kind, Cell::Text(Cow::Borrowed(text(&scalar)?))),
        Kind::Bytes(_) => {
            let bytes = if let Scalar::Bytes(bytes) = scalar {
                bytes
            } else {
                text(&scalar)?.as_bytes()
            };
            bounded(kind, Cell::Blob(Cow::Borrowed(bytes)))
        }
        Kind::Timestamp => ranged(kind, integer(&scalar)?, civil::FIRST_MICRO, civil::LAST_MICRO),
        Kind::Date | Kind::Time | Kind::DateTime | Kind::Json | Kind::Interval => {
            kind.read(text(&scalar)?).map(Cell::into_owned)
        }
    }
}

/// Days, or a packed time or date and time.
fn civil_cell(kind: Kind, value: i64) -> Result<Cell<'static>, Unfit> {
    let unpacked = if kind == Kind::Date {
        return ranged(kind, value, civil::FIRST_DAY, civil::LAST_DAY);
    } else if kind == Kind::Time {
        civil::unpack_time(value)
    } else {
        civil::unpack_datetime(value)
    };
    let value = unpacked.ok_or_else(|| Unfit::new(format!("Invalid packed {kind}")))?;
    Ok(Cell::Int(value))
}

fn unfit() -> Unfit {
    Unfit::new("the value's form is not one of the column's type")
}

fn integer(scalar: &Scalar<'_>) -> Result<i64, Unfit> {
    match scalar {
        Scalar::Int(value) | Scalar::Named(value, _) => Ok(*value),
        Scalar::UInt(value) => Ok(i64::from(*value != 0)),
        Scalar::Double(_) | Scalar::Text(_) | Scalar::Bytes(_) | Scalar::Span(_) => Err(unfit()),
    }
}

fn double(scalar: &Scalar<'_>) -> Result<f64, Unfit> {
    if let Scalar::Double(value) = scalar {
        Ok(*value)
    } else {
        Err(unfit())
    }
}

fn text<'a>(scalar: &Scalar<'a>) -> Result<&'a str, Unfit> {
    if let Scalar::Text(text) | Scalar::Named(_, text) = scalar {
        Ok(text)
    } else {
        Err(unfit())
    }
}

fn number(scalar: &Scalar<'_>, scale: u32) -> Result<Decimal, Unfit> {
    let number = match scalar {
        Scalar::Int(value) => Ok(Decimal::from(*value)),
        Scalar::UInt(value) => Decimal::parse(itoa::Buffer::new().format(*value)),
        Scalar::Double(value) => Decimal::from_f64(*value),
        Scalar::Text(text) => Decimal::parse(text),
        Scalar::Bytes(bytes) => Decimal::from_little_endian(bytes, scale),
        Scalar::Named(..) | Scalar::Span(_) => return Err(unfit()),
    };
    number.map_err(|error| Unfit::new(format!("Invalid NUMERIC value: {error}")))
}

fn ranged(kind: Kind, value: i64, first: i64, last: i64) -> Result<Cell<'static>, Unfit> {
    if (first..=last).contains(&value) {
        Ok(Cell::Int(value))
    } else {
        Err(Unfit::new(format!("{kind} value {value} is out of range")))
    }
}
