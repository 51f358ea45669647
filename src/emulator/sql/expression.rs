//! Expressions: names, literals, parameters, operators, CASE and CAST, with the types of both sides brought
//! together as BigQuery does.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the parser's enums hold every dialect's forms; all but the named ones are refused alike"
)]

use sqlparser::ast::{BinaryOperator, CaseWhen, CastKind, Expr, Query, UnaryOperator};

use super::functions;
use super::scope::{Scope, Typed};
use super::select::{Translator, unsupported};
use crate::emulator::error::{ApiError, ApiResult};
use crate::emulator::schema::Kind;
use crate::emulator::value::Cell;

/// The type that both become when they meet; none if they cannot.
fn common(a: Kind, b: Kind) -> Option<Kind> {
    let rank = |kind| match kind {
        Kind::Int64 => Some(0),
        Kind::Numeric(_) => Some(1),
        Kind::BigNumeric(_) => Some(2),
        Kind::Float64 => Some(3),
        _ => None,
    };
    match (rank(a), rank(b)) {
        _ if a == b => Some(a),
        (Some(left), Some(right)) => Some(if left > right { a } else { b }),
        _ => match (a, b) {
            (Kind::Date, Kind::DateTime | Kind::Timestamp) => Some(b),
            (Kind::DateTime | Kind::Timestamp, Kind::Date) => Some(a),
            _ => None,
        },
    }
}

/// The SQL of a cast.
pub(super) fn cast(value: &Typed, to: Kind, is_safe: bool) -> String {
    let from = value.kind.unwrap_or(to);
    format!(
        "{}({}, '{}', '{}', {})",
        functions::CAST,
        value.sql,
        from.standard_name(),
        to.standard_name(),
        u8::from(is_safe)
    )
}

impl Translator<'_> {
    /// Translates a condition.
    pub(super) fn condition(&mut self, expr: &Expr, scope: &Scope<'_>) -> ApiResult<String> {
        let value = self.expression(expr, scope)?;
        match value.kind {
            None | Some(Kind::Bool) => Ok(value.sql),
            Some(other) => Err(ApiError::query(format!(
                "A condition should be of type BOOL, but is {other}"
            ))),
        }
    }

    /// Translates an expression.
    pub(super) fn expression(&mut self, expr: &Expr, scope: &Scope<'_>) -> ApiResult<Typed> {
        match expr {
            // The parser takes `@name` for a name.
            Expr::Identifier(name) if name.value.starts_with('@') && name.quote_style.is_none() => {
                self.scalar_parameter(&name.value)
            }
            Expr::Identifier(name) => scope.column(&name.value),
            Expr::CompoundIdentifier(names) => match names.as_slice() {
                [relation, name] => scope.qualified(&relation.value, &name.value),
                _ => Err(unsupported(format!("the name {expr}"))),
            },
            Expr::Value(value) => self.literal(&value.value),
            Expr::TypedString(typed) => {
                let text = self.literal(&typed.value.value)?.literal.unwrap_or_default();
                let kind = data_type(&typed.data_type)?;
                self.text_as(&text, kind)
            }
            Expr::Nested(inner) => {
                let inner = self.expression(inner, scope)?;
                Ok(Typed {
                    sql: format!("({})", inner.sql),
                    ..inner
                })
            }
            Expr::Exists { subquery, negated } => {
                let (query, _) = self.query(subquery, scope)?;
                Ok(Typed::new(
                    format!("({}EXISTS ({query}))", if *negated { "NOT " } else { "" }),
                    Kind::Bool,
                ))
            }
            Expr::Subquery(query) => {
                let (query, kind) = self.one_column(query, scope)?;
                Ok(Typed::new(format!("({query})"), kind))
            }
            Expr::Case {
                operand,
                conditions,
                else_result,
                ..
            } => self.case(operand.as_deref(), conditions, else_result.as_deref(), scope),
            Expr::Cast {
                kind,
                expr,
                data_type: to,
                format: None,
                ..
            } => {
                let value = self.expression(expr, scope)?;
                let to = data_type(to)?;
                Ok(Typed::new(cast(&value, to, *kind == CastKind::SafeCast), to))
            }
            Expr::Function(function) => self.function(function, scope),
            Expr::Substring {
                expr,
                substring_from,
                substring_for,
                ..
            } => {
                let parts = [Some(expr), substring_from.as_ref(), substring_for.as_ref()];
                let parts: Vec<Typed> = parts
                    .into_iter()
                    .flatten()
                    .map(|part| self.expression(part, scope))
                    .collect::<ApiResult<_>>()?;
                let kind = parts.first().map_or(Kind::String(None), Typed::kind);
                let parts: Vec<&str> = parts.iter().map(|part| part.sql.as_str()).collect();
                Ok(Typed::new(format!("substr({})", parts.join(", ")), kind))
            }
            other => self.predicate(other, scope),
        }
    }

    /// Translates what says true or false.
    fn predicate(&mut self, expr: &Expr, scope: &Scope<'_>) -> ApiResult<Typed> {
        let bool = |sql: String| Ok(Typed::new(sql, Kind::Bool));
        match expr {
            Expr::IsNull(inner) => bool(format!("({} IS NULL)", self.expression(inner, scope)?.sql)),
            Expr::IsNotNull(inner) => bool(format!("({} IS NOT NULL)", self.expression(inner, scope)?.sql)),
            Expr::IsTrue(inner) => bool(format!("({} IS TRUE)", self.condition(inner, scope)?)),
            Expr::IsNotTrue(inner) => bool(format!("({} IS NOT TRUE)", self.condition(inner, scope)?)),
            Expr::IsFalse(inner) => bool(format!("({} IS FALSE)", self.condition(inner, scope)?)),
            Expr::IsNotFalse(inner) => bool(format!("({} IS NOT FALSE)", self.condition(inner, scope)?)),
            Expr::IsDistinctFrom(a, b) => self.compare(a, "IS NOT", b, scope),
            Expr::IsNotDistinctFrom(a, b) => self.compare(a, "IS", b, scope),
            Expr::UnaryOp { op, expr } => self.unary(*op, expr, scope),
            Expr::BinaryOp { left, op, right } => self.binary(left, op, right, scope),
            Expr::Between {
                expr,
                negated,
                low,
                high,
            } => {
                let (low, high) = (
                    self.compare(expr, ">=", low, scope)?,
                    self.compare(expr, "<=", high, scope)?,
                );
                let not = if *negated { "NOT " } else { "" };
                bool(format!("({not}({} AND {}))", low.sql, high.sql))
            }
            Expr::Like {
                negated,
                any: false,
                expr,
                pattern,
                escape_char: None,
            } => {
                let (value, pattern) = (self.expression(expr, scope)?, self.expression(pattern, scope)?);
                let not = if *negated { "NOT " } else { "" };
                bool(format!("({} {not}LIKE {} ESCAPE '\\')", value.sql, pattern.sql))
            }
            Expr::InList { expr, list, negated } => {
                let terms: Vec<String> = list
                    .iter()
                    .map(|item| Ok(self.compare(expr, "=", item, scope)?.sql))
                    .collect::<ApiResult<_>>()?;
                let not = if *negated { "NOT " } else { "" };
                bool(format!("({not}({}))", terms.join(" OR ")))
            }
            Expr::InUnnest {
                expr,
                array_expr,
                negated,
            } => {
                let value = self.expression(expr, scope)?;
                let (array, kind) = self.array(array_expr, scope)?;
                self.contained(&value, &array, kind, *negated)
            }
            Expr::InSubquery {
                expr,
                subquery,
                negated,
            } => {
                let value = self.expression(expr, scope)?;
                let (query, kind) = self.one_column(subquery, scope)?;
                self.contained(&value, &query, kind, *negated)
            }
            other => Err(unsupported(other)),
        }
    }

    fn one_column(&mut self, query: &Query, scope: &Scope<'_>) -> ApiResult<(String, Kind)> {
        let (sql, columns) = self.query(query, scope)?;
        match columns.as_slice() {
            [column] => Ok((sql, column.kind)),
            _ => Err(ApiError::query("A subquery of this kind must have one column")),
        }
    }

    fn contained(&mut self, value: &Typed, query: &str, kind: Kind, negated: bool) -> ApiResult<Typed> {
        let found = value.kind.unwrap_or(kind);
        let value = match (&value.literal, found == kind) {
            (Some(text), _) => self.text_as(text, kind)?,
            (None, true) => value.clone(),
            (None, false) => {
                let sql = self.coerced(value, kind)?;
                Typed::new(sql, kind)
            }
        };
        let not = if negated { "NOT " } else { "" };
        Ok(Typed::new(
            format!("({} {not}IN ({query}))", value.sql),
            Kind::Bool,
        ))
    }

    /// A value as a value of a type that it becomes by itself.
    pub(super) fn coerced(&mut self, value: &Typed, to: Kind) -> ApiResult<String> {
        let Some(from) = value.kind else {
            return Ok(value.sql.clone());
        };
        if from.plain() == to.plain() {
            return Ok(value.sql.clone());
        }
        if let Some(text) = &value.literal {
            return Ok(self.text_as(text, to)?.sql);
        }
        if common(from, to) != Some(to) {
            return Err(ApiError::query(format!(
                "Cannot coerce expression of type {from} to type {to}"
            )));
        }
        Ok(match (from, to) {
            (Kind::Int64, Kind::Numeric(_) | Kind::BigNumeric(_)) => {
                format!("{}({})", functions::TO_DECIMAL, value.sql)
            }
            (_, Kind::Float64) => format!("{}({})", functions::TO_DOUBLE, value.sql),
            (Kind::Date, _) => cast(value, to, false),
            _ => value.sql.clone(),
        })
    }

    /// The type that all become.
    pub(super) fn common_kind(&self, values: &[Typed]) -> ApiResult<Kind> {
        let mut kind: Option<Kind> = None;
        // Literal texts follow the others.
        let mut sorted: Vec<&Typed> = values.iter().collect();
        sorted.sort_by_key(|value| value.literal.is_some());
        for value in sorted {
            let Some(next) = value.kind else { continue };
            kind = match kind {
                None => Some(next),
                Some(before) if value.literal.is_some() => Some(before),
                Some(before) => match common(before, next) {
                    Some(both) => Some(both),
                    None => {
                        return Err(ApiError::query(format!(
                            "No matching signature for types: {before}, {next}"
                        )));
                    }
                },
            };
        }
        Ok(kind.unwrap_or(Kind::Int64))
    }

    fn compare(&mut self, left: &Expr, operator: &str, right: &Expr, scope: &Scope<'_>) -> ApiResult<Typed> {
        let values = [self.expression(left, scope)?, self.expression(right, scope)?];
        let kind = self.common_kind(&values)?;
        if kind == Kind::Json {
            return Err(ApiError::query(format!(
                "{operator} is not defined for arguments of type JSON"
            )));
        }
        let [left, right] = &values;
        let (left, right) = (self.coerced(left, kind)?, self.coerced(right, kind)?);
        Ok(Typed::new(format!("({left} {operator} {right})"), Kind::Bool))
    }

    fn unary(&mut self, operator: UnaryOperator, expr: &Expr, scope: &Scope<'_>) -> ApiResult<Typed> {
        match operator {
            UnaryOperator::Not => Ok(Typed::new(
                format!("(NOT {})", self.condition(expr, scope)?),
                Kind::Bool,
            )),
            UnaryOperator::Plus => self.expression(expr, scope),
            UnaryOperator::Minus => {
                // The smallest INT64 has no positive counterpart to negate.
                if let Expr::Value(value) = expr
                    && let Ok(value) = format!("-{}", value.value).parse()
                {
                    return Ok(Typed::new(self.bind(Cell::Int(value)), Kind::Int64));
                }
                let value = self.expression(expr, scope)?;
                let sql = match value.kind() {
                    Kind::Int64 => format!("{}('-', 0, {})", functions::INTEGER, value.sql),
                    Kind::Float64 => format!("(-{})", value.sql),
                    Kind::Numeric(_) | Kind::BigNumeric(_) => {
                        format!("{}({})", functions::NEGATE_DECIMAL, value.sql)
                    }
                    other => return Err(unsupported(format!("- of {other}"))),
                };
                Ok(Typed::new(sql, value.kind()))
            }
            other => Err(unsupported(other)),
        }
    }

    fn binary(
        &mut self,
        left: &Expr,
        operator: &BinaryOperator,
        right: &Expr,
        scope: &Scope<'_>,
    ) -> ApiResult<Typed> {
        let comparison = match operator {
            BinaryOperator::Eq => "=",
            BinaryOperator::NotEq => "<>",
            BinaryOperator::Lt => "<",
            BinaryOperator::LtEq => "<=",
            BinaryOperator::Gt => ">",
            BinaryOperator::GtEq => ">=",
            BinaryOperator::And | BinaryOperator::Or => {
                let (left, right) = (self.condition(left, scope)?, self.condition(right, scope)?);
                return Ok(Typed::new(format!("({left} {operator} {right})"), Kind::Bool));
            }
            BinaryOperator::Plus
            | BinaryOperator::Minus
            | BinaryOperator::Multiply
            | BinaryOperator::Divide => {
                let values = [self.expression(left, scope)?, self.expression(right, scope)?];
                return self.arithmetic(&operator.to_string(), &values);
            }
            BinaryOperator::StringConcat => {
                let (left, right) = (self.expression(left, scope)?, self.expression(right, scope)?);
                return Ok(Typed::new(
                    format!("({} || {})", left.sql, right.sql),
                    left.kind(),
                ));
            }
            other => return Err(unsupported(other)),
        };
        self.compare(left, comparison, right, scope)
    }

    fn arithmetic(&mut self, operator: &str, values: &[Typed; 2]) -> ApiResult<Typed> {
        let kind = self.common_kind(values)?;
        let [left, right] = values;
        if operator == "/" {
            let sql = format!("{}({}, {})", functions::DIVIDE, left.sql, right.sql);
            return match kind {
                Kind::Int64 | Kind::Float64 => Ok(Typed::new(sql, Kind::Float64)),
                other => Err(unsupported(format!("/ of {other}"))),
            };
        }
        let (left, right) = (self.coerced(left, kind)?, self.coerced(right, kind)?);
        let sql = match (kind, operator) {
            (Kind::Int64, _) => format!("{}('{operator}', {left}, {right})", functions::INTEGER),
            (Kind::Float64, _) => format!("({left} {operator} {right})"),
            (Kind::Numeric(_) | Kind::BigNumeric(_), "+") => {
                format!("{}({left}, {right})", functions::ADD_DECIMAL)
            }
            (Kind::Numeric(_) | Kind::BigNumeric(_), "-") => {
                format!(
                    "{}({left}, {}({right}))",
                    functions::ADD_DECIMAL,
                    functions::NEGATE_DECIMAL
                )
            }
            (other, operator) => return Err(unsupported(format!("{operator} of {other}"))),
        };
        Ok(Typed::new(sql, kind))
    }

    fn case(
        &mut self,
        operand: Option<&Expr>,
        conditions: &[CaseWhen],
        otherwise: Option<&Expr>,
        scope: &Scope<'_>,
    ) -> ApiResult<Typed> {
        let mut tests = Vec::new();
        let mut results = Vec::new();
        for when in conditions {
            tests.push(match operand {
                Some(operand) => self.compare(operand, "=", &when.condition, scope)?.sql,
                None => self.condition(&when.condition, scope)?,
            });
            results.push(self.expression(&when.result, scope)?);
        }
        if let Some(otherwise) = otherwise {
            results.push(self.expression(otherwise, scope)?);
        }
        let kind = self.common_kind(&results)?;
        let mut sql = "CASE".to_owned();
        for (place, result) in results.iter().enumerate() {
            let result = self.coerced(result, kind)?;
            let part = match tests.get(place) {
                Some(test) => format!(" WHEN {test} THEN {result}"),
                None => format!(" ELSE {result}"),
            };
            sql.push_str(&part);
        }
        Ok(Typed::new(format!("({sql} END)"), kind))
    }
}

fn data_type(of: &sqlparser::ast::DataType) -> ApiResult<Kind> {
    let text = of.to_string();
    let name = text.split('(').next().unwrap_or_default();
    Kind::parse(name.trim(), &[]).map_err(|error| ApiError::query(error.message))
}
