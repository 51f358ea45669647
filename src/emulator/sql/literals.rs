//! Literals, parameters and arrays of them.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the parser's enums hold every dialect's forms; all but the named ones are refused alike"
)]

use sqlparser::ast::{Expr, Value};

use super::parameters::Parameter;
use super::scope::{Scope, Typed};
use super::select::{Translator, unsupported};
use crate::emulator::error::{ApiError, ApiResult};
use crate::emulator::schema::Kind;
use crate::emulator::value::Cell;

impl Translator<'_> {
    /// The items of an array as a query of one column.
    pub(super) fn array(&mut self, expr: &Expr, scope: &Scope<'_>) -> ApiResult<(String, Kind)> {
        let parameter = match expr {
            Expr::Identifier(name) if name.value.starts_with('@') => Some(name.value.clone()),
            Expr::Value(value) => match &value.value {
                Value::Placeholder(name) => Some(name.clone()),
                _ => None,
            },
            _ => None,
        };
        if let Some(name) = parameter {
            return match self.parameter(&name)? {
                Parameter::Array(kind, cells) => {
                    let rows = cells.into_iter().map(|cell| vec![cell]).collect();
                    Ok((self.rows(rows, 1), kind.plain()))
                }
                Parameter::Scalar(..) => Err(ApiError::query("Values referenced in UNNEST must be arrays")),
            };
        }
        match expr {
            Expr::Array(array) => {
                let items: Vec<Typed> = array
                    .elem
                    .iter()
                    .map(|item| self.expression(item, scope))
                    .collect::<ApiResult<_>>()?;
                let kind = self.common_kind(&items)?;
                let mut selects = Vec::new();
                for item in &items {
                    selects.push(format!("SELECT {} AS c0", self.coerced(item, kind)?));
                }
                if selects.is_empty() {
                    return Ok((self.rows(Vec::new(), 1), kind));
                }
                Ok((selects.join(" UNION ALL "), kind))
            }
            other => Err(unsupported(format!("UNNEST({other})"))),
        }
    }

    fn parameter(&mut self, name: &str) -> ApiResult<Parameter> {
        let found = match name.strip_prefix('@') {
            Some(name) => self.request.parameters.named(name)?,
            None => {
                self.placeholders += 1;
                self.request.parameters.at(self.placeholders - 1)?
            }
        };
        Ok(found.clone())
    }

    /// A parameter that is no array.
    pub(super) fn scalar_parameter(&mut self, name: &str) -> ApiResult<Typed> {
        match self.parameter(name)? {
            Parameter::Scalar(kind, cell) => Ok(Typed::new(self.bind(cell), kind)),
            Parameter::Array(..) => Err(unsupported(format!("the array {name} here"))),
        }
    }

    /// Translates a literal.
    pub(super) fn literal(&mut self, value: &Value) -> ApiResult<Typed> {
        match value {
            Value::Null => Ok(Typed::null()),
            Value::Boolean(value) => Ok(Typed::new(u8::from(*value).to_string(), Kind::Bool)),
            Value::Number(digits, _) => {
                if let Ok(value) = digits.parse() {
                    return Ok(Typed::new(self.bind(Cell::Int(value)), Kind::Int64));
                }
                let value = digits
                    .parse()
                    .map_err(|_| ApiError::query(format!("Invalid number: {digits}")))?;
                Ok(Typed::new(self.bind(Cell::Real(value)), Kind::Float64))
            }
            Value::Placeholder(name) => self.scalar_parameter(name),
            Value::SingleQuotedByteStringLiteral(text)
            | Value::DoubleQuotedByteStringLiteral(text)
            | Value::TripleSingleQuotedByteStringLiteral(text)
            | Value::TripleDoubleQuotedByteStringLiteral(text) => {
                let cell = Cell::Blob(text.clone().into_bytes().into());
                Ok(Typed::new(self.bind(cell), Kind::Bytes(None)))
            }
            other => {
                let text = other.clone().into_string().ok_or_else(|| unsupported(other))?;
                let sql = self.bind(Cell::Text(text.clone().into()));
                Ok(Typed {
                    sql,
                    kind: Some(Kind::String(None)),
                    literal: Some(text),
                })
            }
        }
    }

    /// A literal text as a value of a type.
    pub(super) fn text_as(&mut self, text: &str, kind: Kind) -> ApiResult<Typed> {
        let cell = kind.read(text).map_err(|error| {
            ApiError::query(format!(
                "Could not cast literal \"{text}\" to type {}: {error}",
                kind.standard_name()
            ))
        })?;
        let cell = cell.into_owned();
        Ok(Typed::new(self.bind(cell), kind))
    }
}
