//! Query parameters, named and positional, scalars and arrays of scalars.

use serde_json::Value;

use crate::emulator::error::{ApiError, ApiResult};
use crate::emulator::schema::Kind;
use crate::emulator::value::Cell;

/// One parameter's value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Parameter {
    Scalar(Kind, Cell<'static>),
    Array(Kind, Vec<Cell<'static>>),
}

/// A statement's parameters.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Parameters {
    /// With their names in lower case, which positional ones have not.
    all: Vec<(Option<String>, Parameter)>,
}

impl Parameters {
    /// Reads `queryParameters` of a request.
    pub(crate) fn read(list: Option<&Value>) -> ApiResult<Parameters> {
        let list = list.and_then(Value::as_array).into_iter().flatten();
        let mut all = Vec::new();
        for one in list {
            let name = one
                .get("name")
                .and_then(Value::as_str)
                .filter(|name| !name.is_empty());
            let kind = one.get("parameterType").unwrap_or(&Value::Null);
            let value = one.get("parameterValue").unwrap_or(&Value::Null);
            all.push((name.map(str::to_lowercase), parameter(kind, value)?));
        }
        Ok(Parameters { all })
    }

    /// The parameter of that name.
    pub(crate) fn named(&self, name: &str) -> ApiResult<&Parameter> {
        let folded = name.to_lowercase();
        let found = self
            .all
            .iter()
            .find(|(name, _)| name.as_deref() == Some(folded.as_str()));
        found
            .map(|(_, parameter)| parameter)
            .ok_or_else(|| ApiError::query(format!("Query parameter '{name}' not found")))
    }

    /// The parameter at that place, from 0.
    pub(crate) fn at(&self, place: usize) -> ApiResult<&Parameter> {
        let found = self.all.get(place).filter(|(name, _)| name.is_none());
        found
            .map(|(_, parameter)| parameter)
            .ok_or_else(|| ApiError::query(format!("Query parameter number {} not found", place + 1)))
    }
}

fn kind(of: &Value) -> ApiResult<Kind> {
    let name = of.get("type").and_then(Value::as_str).unwrap_or_default();
    Kind::parse(name, &[])
}

fn parameter(of: &Value, value: &Value) -> ApiResult<Parameter> {
    if let Some(items) = of.get("arrayType") {
        let kind = kind(items)?;
        let values = value
            .get("arrayValues")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let cells = values.map(|value| cell(kind, value)).collect::<ApiResult<_>>()?;
        return Ok(Parameter::Array(kind, cells));
    }
    let kind = kind(of)?;
    Ok(Parameter::Scalar(kind, cell(kind, value)?))
}

fn cell(kind: Kind, value: &Value) -> ApiResult<Cell<'static>> {
    let Some(text) = value.get("value").filter(|value| !value.is_null()) else {
        return Ok(Cell::Null);
    };
    let text = text.as_str().map_or_else(|| text.to_string(), str::to_owned);
    crate::emulator::value::from_rest(kind, &text)
        .map_err(|error| ApiError::query(format!("Invalid query parameter: {error}")))
}
