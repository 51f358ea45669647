//! Function calls: aggregates and the few scalar functions that comparing two tables takes.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the parser's enums hold every dialect's forms; all but the named ones are refused alike"
)]

use sqlparser::ast::{
    DuplicateTreatment, Function, FunctionArg, FunctionArgExpr, FunctionArguments, WindowSpec, WindowType,
};

use super::expression::cast;
use super::functions;
use super::scope::{Scope, Typed, path};
use super::select::{Translator, direction, unsupported};
use crate::emulator::error::{ApiError, ApiResult};
use crate::emulator::schema::Kind;
use crate::emulator::value::Cell;

impl Translator<'_> {
    /// Translates a function call.
    pub(super) fn function(&mut self, function: &Function, scope: &Scope<'_>) -> ApiResult<Typed> {
        let name = path(&function.name).join(".").to_ascii_uppercase();
        if let (Some(WindowType::WindowSpec(window)), "ROW_NUMBER") = (&function.over, name.as_str()) {
            return self.row_number(function, window, scope);
        }
        if function.over.is_some() || function.filter.is_some() || !function.within_group.is_empty() {
            return Err(unsupported(format!("{name} with a window or a filter")));
        }
        let (arguments, is_distinct) = match &function.args {
            FunctionArguments::None => (Vec::new(), false),
            FunctionArguments::List(list) if list.clauses.is_empty() => {
                let is_distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
                (list.args.clone(), is_distinct)
            }
            _ => return Err(unsupported(format!("this form of {name}"))),
        };
        let is_star = matches!(
            arguments.as_slice(),
            [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)]
        );
        if name == "COUNT" && is_star && !is_distinct {
            return Ok(Typed::new("count(*)", Kind::Int64));
        }
        let mut values = Vec::new();
        for argument in &arguments {
            let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = argument else {
                return Err(unsupported(format!("{name}({argument})")));
            };
            values.push(self.expression(expr, scope)?);
        }
        let aggregate = self.aggregate(&name, &values, is_distinct)?;
        match aggregate {
            Some(value) => Ok(value),
            None if is_distinct => Err(unsupported(format!("{name}(DISTINCT …)"))),
            None => self.scalar(&name, &values),
        }
    }

    /// `ROW_NUMBER() OVER (PARTITION BY … ORDER BY …)`.
    fn row_number(
        &mut self,
        function: &Function,
        window: &WindowSpec,
        scope: &Scope<'_>,
    ) -> ApiResult<Typed> {
        let takes_nothing = matches!(&function.args, FunctionArguments::List(list) if list.args.is_empty());
        if !takes_nothing || window.window_name.is_some() || window.window_frame.is_some() {
            return Err(unsupported("this form of ROW_NUMBER"));
        }
        let mut parts = Vec::new();
        for expr in &window.partition_by {
            let value = self.expression(expr, scope)?;
            if let Some(kind @ (Kind::Json | Kind::Float64)) = value.kind {
                return Err(ApiError::query(format!(
                    "Partitioning by expressions of type {kind} is not allowed"
                )));
            }
            parts.push(value.sql);
        }
        let mut terms = Vec::new();
        for term in &window.order_by {
            let value = self.expression(&term.expr, scope)?;
            terms.push(direction(value.sql, &term.options)?);
        }
        let clause = |head: &str, list: Vec<String>| match list.is_empty() {
            true => String::new(),
            false => format!("{head} {} ", list.join(", ")),
        };
        let (parts, terms) = (clause("PARTITION BY", parts), clause("ORDER BY", terms));
        Ok(Typed::new(
            format!("row_number() OVER ({parts}{terms})"),
            Kind::Int64,
        ))
    }

    fn aggregate(&mut self, name: &str, values: &[Typed], is_distinct: bool) -> ApiResult<Option<Typed>> {
        let [value] = values else { return Ok(None) };
        let (sql, kind) = (&value.sql, value.kind());
        let distinct = if is_distinct { "DISTINCT " } else { "" };
        let typed = match (name, kind) {
            ("COUNT", _) => Typed::new(format!("count({distinct}{sql})"), Kind::Int64),
            ("COUNTIF", Kind::Bool) => Typed::new(format!("count(CASE WHEN {sql} THEN 1 END)"), Kind::Int64),
            ("MIN" | "MAX" | "ANY_VALUE", Kind::Json) => return Err(unsupported(format!("{name} of JSON"))),
            ("MIN" | "MAX", _) => Typed::new(format!("{}({sql})", name.to_ascii_lowercase()), kind),
            ("ANY_VALUE", _) => Typed::new(format!("min({sql})"), kind),
            ("SUM", Kind::Int64 | Kind::Float64) => Typed::new(format!("sum({distinct}{sql})"), kind),
            ("SUM", Kind::Numeric(_) | Kind::BigNumeric(_)) => {
                Typed::new(format!("{}({distinct}{sql})", functions::SUM_DECIMAL), kind)
            }
            ("AVG", Kind::Int64 | Kind::Float64) => {
                Typed::new(format!("avg({distinct}{sql})"), Kind::Float64)
            }
            ("LOGICAL_AND", Kind::Bool) => Typed::new(format!("min({sql})"), Kind::Bool),
            ("LOGICAL_OR", Kind::Bool) => Typed::new(format!("max({sql})"), Kind::Bool),
            _ => return Ok(None),
        };
        Ok(Some(typed))
    }

    fn scalar(&mut self, name: &str, values: &[Typed]) -> ApiResult<Typed> {
        let text = Kind::String(None);
        let typed = match (name, values) {
            ("COALESCE" | "IFNULL", [_, _, ..]) => return self.coalesce(values),
            ("NULLIF", [a, b]) => {
                let kind = self.common_kind(values)?;
                let (a, b) = (self.coerced(a, kind)?, self.coerced(b, kind)?);
                Typed::new(format!("nullif({a}, {b})"), kind)
            }
            ("IF", [condition, a, b]) => {
                let kind = self.common_kind(&[a.clone(), b.clone()])?;
                let (a, b) = (self.coerced(a, kind)?, self.coerced(b, kind)?);
                Typed::new(format!("iif({}, {a}, {b})", condition.sql), kind)
            }
            ("CURRENT_TIMESTAMP", []) => {
                let now = self.store.clock().unix_micros();
                Typed::new(self.bind(Cell::Int(now)), Kind::Timestamp)
            }
            ("CONCAT", [first, ..]) => {
                let parts: Vec<&str> = values.iter().map(|value| value.sql.as_str()).collect();
                Typed::new(format!("({})", parts.join(" || ")), first.kind())
            }
            ("LENGTH" | "CHAR_LENGTH" | "CHARACTER_LENGTH", [value]) => {
                Typed::new(format!("length({})", value.sql), Kind::Int64)
            }
            ("BYTE_LENGTH" | "OCTET_LENGTH", [value]) => {
                Typed::new(format!("length(CAST({} AS BLOB))", value.sql), Kind::Int64)
            }
            ("LOWER" | "UPPER", [value]) => Typed::new(
                format!("{}({})", name.to_ascii_lowercase(), value.sql),
                value.kind(),
            ),
            ("SUBSTR" | "SUBSTRING", [value, ..]) => {
                let parts: Vec<&str> = values.iter().map(|value| value.sql.as_str()).collect();
                Typed::new(format!("substr({})", parts.join(", ")), value.kind())
            }
            ("STARTS_WITH", [value, start]) => {
                let (value, start) = (&value.sql, &start.sql);
                Typed::new(
                    format!("(substr({value}, 1, length({start})) = {start})"),
                    Kind::Bool,
                )
            }
            ("TO_HEX", [value]) => Typed::new(format!("lower(hex({}))", value.sql), text),
            ("TO_BASE64", [value]) => Typed::new(format!("{}({})", functions::BASE64, value.sql), text),
            ("TO_JSON_STRING", [value]) if value.kind == Some(Kind::Json) => {
                Typed::new(value.sql.clone(), text)
            }
            ("PARSE_JSON", [value]) => Typed::new(cast(value, Kind::Json, false), Kind::Json),
            ("ABS", [value]) if matches!(value.kind(), Kind::Int64 | Kind::Float64) => {
                Typed::new(format!("abs({})", value.sql), value.kind())
            }
            ("MOD" | "DIV", [a, b]) if a.kind() == Kind::Int64 && b.kind() == Kind::Int64 => Typed::new(
                format!("{}('{name}', {}, {})", functions::INTEGER, a.sql, b.sql),
                Kind::Int64,
            ),
            _ => return time_function(name, values),
        };
        Ok(typed)
    }

    fn coalesce(&mut self, values: &[Typed]) -> ApiResult<Typed> {
        let kind = self.common_kind(values)?;
        let parts: Vec<String> = values
            .iter()
            .map(|value| self.coerced(value, kind))
            .collect::<ApiResult<_>>()?;
        Ok(Typed::new(format!("coalesce({})", parts.join(", ")), kind))
    }
}

/// Functions between times and numbers.
fn time_function(name: &str, values: &[Typed]) -> ApiResult<Typed> {
    let typed = match (name, values) {
        ("UNIX_MICROS", [value]) if value.kind == Some(Kind::Timestamp) => {
            Typed::new(value.sql.clone(), Kind::Int64)
        }
        ("TIMESTAMP_MICROS", [value]) if value.kind() == Kind::Int64 => {
            Typed::new(value.sql.clone(), Kind::Timestamp)
        }
        ("UNIX_DATE", [value]) if value.kind == Some(Kind::Date) => {
            Typed::new(value.sql.clone(), Kind::Int64)
        }
        ("DATE" | "DATETIME" | "TIMESTAMP" | "STRING", [value]) => {
            let to = Kind::parse(name, &[])?;
            Typed::new(cast(value, to, false), to)
        }
        _ => {
            return Err(ApiError::query(format!(
                "Function not found: {name} (with these arguments, in the emulator)"
            )));
        }
    };
    Ok(typed)
}
