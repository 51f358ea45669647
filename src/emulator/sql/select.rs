//! SELECT statements: FROM with joins and subqueries, WHERE, GROUP BY, HAVING, ORDER BY, LIMIT, set
//! operations and WITH, translated to the storage's SQL.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the parser's enums hold every dialect's forms; all but the named ones are refused alike"
)]

use std::sync::Arc;

use sqlparser::ast::{
    Distinct, Expr, GroupByExpr, LimitClause, OrderBy, OrderByKind, OrderBySort, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, SetOperator, SetQuantifier,
};

use super::QueryRequest;
use super::scope::{Relation, Scope, ScopeColumn, Typed, path};
use crate::emulator::error::{ApiError, ApiResult};
use crate::emulator::schema::{Kind, Table};
use crate::emulator::store::Store;
use crate::emulator::value::Cell;

/// A SELECT in the storage's SQL.
#[derive(Debug)]
pub(crate) struct Translated {
    pub(crate) sql: String,
    pub(crate) parameters: Vec<Cell<'static>>,
    pub(crate) columns: Vec<(String, Kind)>,
    /// Tables whose pending changes the query merges as it runs.
    pub(crate) merges: Vec<Arc<Table>>,
}

/// Translates a query.
pub(crate) fn translate(store: &Store, request: &QueryRequest, query: &Query) -> ApiResult<Translated> {
    translate_within(store, request, query, 0)
}

/// Translates the query of a view that is as many views deep.
pub(super) fn translate_within(
    store: &Store,
    request: &QueryRequest,
    query: &Query,
    views: usize,
) -> ApiResult<Translated> {
    let mut translator = Translator {
        store,
        request,
        parameters: Vec::new(),
        relations: 0,
        placeholders: 0,
        with: Vec::new(),
        views,
        merges: Vec::new(),
        unfiltered: Vec::new(),
    };
    let (sql, columns) = translator.query(query, &Scope::default())?;
    Ok(Translated {
        sql,
        parameters: translator.parameters,
        merges: translator.merges,
        columns: columns
            .into_iter()
            .map(|column| (column.name, column.kind))
            .collect(),
    })
}

/// A column of a query's result.
#[derive(Debug, Clone)]
pub(super) struct OutColumn {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) is_null: bool,
}

/// The state of one translation.
pub(super) struct Translator<'a> {
    pub(super) store: &'a Store,
    pub(super) request: &'a QueryRequest,
    /// Values bound by number, so that they may be translated in any order.
    pub(super) parameters: Vec<Cell<'static>>,
    pub(super) relations: usize,
    /// Positional parameters seen.
    pub(super) placeholders: usize,
    /// The queries of WITH clauses, by name.
    pub(super) with: Vec<(String, String, Vec<OutColumn>)>,
    /// How many views deep the present query is.
    pub(super) views: usize,
    /// Tables whose pending changes the query merges as it runs.
    pub(super) merges: Vec<Arc<Table>>,
    /// Tables of the present FROM that may be read by partition only, with the partitioning column.
    pub(super) unfiltered: Vec<(String, String)>,
}

pub(super) fn unsupported(what: impl std::fmt::Display) -> ApiError {
    ApiError::query(format!("The emulator does not support {what}"))
}

impl Translator<'_> {
    /// Binds a value.
    pub(super) fn bind(&mut self, cell: Cell<'static>) -> String {
        self.parameters.push(cell);
        format!("?{}", self.parameters.len())
    }

    /// Translates a query whose result columns are `c0`, `c1`, ….
    pub(super) fn query(&mut self, query: &Query, parent: &Scope<'_>) -> ApiResult<(String, Vec<OutColumn>)> {
        let before = self.with.len();
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            let (sql, columns) = self.query(&cte.query, parent)?;
            self.with
                .push((cte.alias.name.value.to_lowercase(), sql, columns));
        }
        if query.fetch.is_some() || !query.pipe_operators.is_empty() || query.settings.is_some() {
            return Err(unsupported("this form of query"));
        }
        let result = match query.body.as_ref() {
            SetExpr::Select(select) => self.select(select, query.order_by.as_ref(), parent),
            body => self.set_expression(body, parent).and_then(|(mut sql, columns)| {
                if let Some(order_by) = &query.order_by {
                    sql = format!("{sql} ORDER BY {}", self.order_of_output(order_by, &columns)?);
                }
                Ok((sql, columns))
            }),
        };
        let (mut sql, columns) = result?;
        if let Some(limit) = &query.limit_clause {
            sql.push_str(&self.limit(limit)?);
        }
        self.with.truncate(before);
        Ok((sql, columns))
    }

    fn set_expression(&mut self, body: &SetExpr, parent: &Scope<'_>) -> ApiResult<(String, Vec<OutColumn>)> {
        match body {
            SetExpr::Select(select) => self.select(select, None, parent),
            SetExpr::Query(query) => {
                let (sql, columns) = self.query(query, parent)?;
                Ok((format!("SELECT * FROM ({sql})"), columns))
            }
            SetExpr::SetOperation {
                left,
                op,
                set_quantifier,
                right,
            } => {
                let (left, left_columns) = self.set_expression(left, parent)?;
                let (right, right_columns) = self.set_expression(right, parent)?;
                let operator = match (op, set_quantifier) {
                    (SetOperator::Union, SetQuantifier::All) => "UNION ALL",
                    (SetOperator::Union, SetQuantifier::Distinct) => "UNION",
                    (SetOperator::Except, SetQuantifier::Distinct) => "EXCEPT",
                    (SetOperator::Intersect, SetQuantifier::Distinct) => "INTERSECT",
                    _ => return Err(unsupported(format!("{op} {set_quantifier}"))),
                };
                let same = left_columns.len() == right_columns.len()
                    && left_columns
                        .iter()
                        .zip(&right_columns)
                        .all(|(left, right)| left.kind == right.kind || left.is_null || right.is_null);
                if !same {
                    return Err(ApiError::query(format!(
                        "Queries in {operator} have mismatched columns"
                    )));
                }
                Ok((
                    format!("SELECT * FROM ({left}) {operator} SELECT * FROM ({right})"),
                    left_columns,
                ))
            }
            other => Err(unsupported(other)),
        }
    }

    fn select(
        &mut self,
        select: &Select,
        order_by: Option<&OrderBy>,
        parent: &Scope<'_>,
    ) -> ApiResult<(String, Vec<OutColumn>)> {
        check_form(select, order_by)?;
        let mut scope = Scope {
            relations: Vec::new(),
            parent: Some(parent),
        };
        let around = std::mem::take(&mut self.unfiltered);
        let from = self.from(&select.from, &mut scope)?;
        let restricted = std::mem::replace(&mut self.unfiltered, around);
        check_filter(&restricted, select)?;
        let items = self.projection(&select.projection, &scope)?;
        let condition = match &select.selection {
            Some(condition) => format!(" WHERE {}", self.condition(condition, &scope)?),
            None => String::new(),
        };
        let group = self.group_by(&select.group_by, &scope, &items)?;
        // HAVING and ORDER BY see the select list's names before the tables'.
        let mut outer = scope.clone();
        let hidden = |relation: &mut Relation| {
            relation.columns.retain(|column| {
                !items
                    .iter()
                    .any(|item| item.name.eq_ignore_ascii_case(&column.name))
            });
        };
        outer.relations.iter_mut().for_each(hidden);
        outer.relations.push(Relation {
            name: None,
            columns: items.clone(),
        });
        let having = match &select.having {
            Some(condition) => format!(" HAVING {}", self.condition(condition, &outer)?),
            None => String::new(),
        };
        let order = match order_by {
            Some(order_by) => format!(" ORDER BY {}", self.order(order_by, &outer, &scope, &items)?),
            None => String::new(),
        };
        let distinct = match &select.distinct {
            None | Some(Distinct::All) => "",
            Some(Distinct::Distinct) => "DISTINCT ",
            Some(other) => return Err(unsupported(other)),
        };
        let qualify = match &select.qualify {
            Some(condition) => Some(self.condition(condition, &outer)?),
            None => None,
        };
        let rest = format!("{from}{condition}{group}{having}{order}");
        let sql = statement(distinct, &items, qualify.as_deref(), &rest);
        let columns = items.into_iter().map(|item| OutColumn {
            kind: item.value.kind(),
            is_null: item.value.kind.is_none(),
            name: item.name,
        });
        Ok((sql, columns.collect()))
    }

    fn projection(&mut self, list: &[SelectItem], scope: &Scope<'_>) -> ApiResult<Vec<ScopeColumn>> {
        let mut items = Vec::new();
        for (place, item) in list.iter().enumerate() {
            match item {
                SelectItem::UnnamedExpr(expr) => items.push(ScopeColumn {
                    name: implied_name(expr).unwrap_or_else(|| format!("f{place}_")),
                    value: self.expression(expr, scope)?,
                }),
                SelectItem::ExprWithAlias { expr, alias } => items.push(ScopeColumn {
                    name: alias.value.clone(),
                    value: self.expression(expr, scope)?,
                }),
                SelectItem::Wildcard(options) if options.to_string().is_empty() => {
                    items.extend(
                        scope
                            .relations
                            .iter()
                            .flat_map(|relation| relation.columns.clone()),
                    );
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options)
                    if options.to_string().is_empty() =>
                {
                    let name = path(name).join(".");
                    let found = scope
                        .relations
                        .iter()
                        .find(|relation| relation.name.as_deref() == Some(name.as_str()));
                    let found = found.ok_or_else(|| ApiError::query(format!("Unrecognized name: {name}")))?;
                    items.extend(found.columns.clone());
                }
                other => return Err(unsupported(other)),
            }
        }
        if items.is_empty() {
            return Err(ApiError::query("SELECT * must have a FROM clause"));
        }
        Ok(items)
    }

    fn group_by(
        &mut self,
        group_by: &GroupByExpr,
        scope: &Scope<'_>,
        items: &[ScopeColumn],
    ) -> ApiResult<String> {
        let GroupByExpr::Expressions(list, modifiers) = group_by else {
            return Err(unsupported("GROUP BY ALL"));
        };
        if list.is_empty() {
            return Ok(String::new());
        }
        if !modifiers.is_empty() {
            return Err(unsupported("this form of GROUP BY"));
        }
        let mut terms = Vec::new();
        for expr in list {
            let term = match (place(expr, items.len())?, expr) {
                (Some(place), _) => items.get(place).map(|item| item.value.clone()),
                (None, Expr::Identifier(name)) => match scope.column(&name.value) {
                    Ok(column) => Some(column),
                    Err(error) => {
                        let alias = items
                            .iter()
                            .find(|item| item.name.eq_ignore_ascii_case(&name.value));
                        Some(alias.ok_or(error)?.value.clone())
                    }
                },
                (None, expr) => Some(self.expression(expr, scope)?),
            };
            let term = term.unwrap_or_else(Typed::null);
            if term.kind == Some(Kind::Json) {
                return Err(ApiError::query(
                    "Grouping by expressions of type JSON is not allowed",
                ));
            }
            terms.push(term.sql);
        }
        Ok(format!(" GROUP BY {}", terms.join(", ")))
    }

    fn order(
        &mut self,
        order_by: &OrderBy,
        outer: &Scope<'_>,
        inner: &Scope<'_>,
        items: &[ScopeColumn],
    ) -> ApiResult<String> {
        let OrderByKind::Expressions(list) = &order_by.kind else {
            return Err(unsupported("ORDER BY ALL"));
        };
        let mut terms = Vec::new();
        for term in list {
            let value = match place(&term.expr, items.len())? {
                Some(place) => items
                    .get(place)
                    .map_or_else(Typed::null, |item| item.value.clone()),
                None => self
                    .expression(&term.expr, outer)
                    .or_else(|_| self.expression(&term.expr, inner))?,
            };
            if value.kind == Some(Kind::Json) {
                return Err(ApiError::query(
                    "ORDER BY does not support expressions of type JSON",
                ));
            }
            terms.push(direction(value.sql, &term.options)?);
        }
        Ok(terms.join(", "))
    }

    /// ORDER BY of a set operation: places and names of the result.
    fn order_of_output(&mut self, order_by: &OrderBy, columns: &[OutColumn]) -> ApiResult<String> {
        let items: Vec<ScopeColumn> = columns
            .iter()
            .enumerate()
            .map(|(place, column)| ScopeColumn {
                name: column.name.clone(),
                value: Typed::new(format!("c{place}"), column.kind),
            })
            .collect();
        let scope = Scope {
            relations: vec![Relation {
                name: None,
                columns: items.clone(),
            }],
            parent: None,
        };
        self.order(order_by, &scope, &scope, &items)
    }

    fn limit(&mut self, limit: &LimitClause) -> ApiResult<String> {
        let LimitClause::LimitOffset {
            limit,
            offset,
            limit_by,
        } = limit
        else {
            return Err(unsupported("this form of LIMIT"));
        };
        if !limit_by.is_empty() {
            return Err(unsupported("LIMIT BY"));
        }
        let scope = Scope::default();
        let limit = match limit {
            Some(limit) => self.expression(limit, &scope)?.sql,
            None => "-1".to_owned(),
        };
        let mut sql = format!(" LIMIT {limit}");
        if let Some(offset) = offset {
            sql.push_str(&format!(
                " OFFSET {}",
                self.expression(&offset.value, &scope)?.sql
            ));
        }
        Ok(sql)
    }
}

fn check_form(select: &Select, order_by: Option<&OrderBy>) -> ApiResult<()> {
    let is_known = select.top.is_none() && select.into.is_none() && select.named_window.is_empty();
    let is_grouped = !matches!(&select.group_by, GroupByExpr::Expressions(list, _) if list.is_empty());
    let is_plain = order_by.is_none() && select.distinct.is_none() && select.having.is_none() && !is_grouped;
    if is_known && (select.qualify.is_none() || is_plain) {
        return Ok(());
    }
    Err(unsupported("this form of SELECT"))
}

/// The statement of a SELECT. What QUALIFY looks at is known only once the rows are there.
fn statement(distinct: &str, items: &[ScopeColumn], qualify: Option<&str>, rest: &str) -> String {
    let list: Vec<String> = items
        .iter()
        .enumerate()
        .map(|(place, item)| format!("{} AS c{place}", item.value.sql))
        .collect();
    let list = list.join(", ");
    let Some(qualify) = qualify else {
        return format!("SELECT {distinct}{list}{rest}");
    };
    let names: Vec<String> = (0..items.len()).map(|place| format!("c{place}")).collect();
    format!(
        "SELECT {} FROM (SELECT {list}, {qualify} AS q{rest}) WHERE q",
        names.join(", ")
    )
}

/// A table with `require_partition_filter` is read with a condition on its partitioning column only.
fn check_filter(restricted: &[(String, String)], select: &Select) -> ApiResult<()> {
    let condition = select
        .selection
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    for (table, column) in restricted {
        let mut words = condition.split(|c: char| !c.is_alphanumeric() && c != '_');
        if !words.any(|word| word.eq_ignore_ascii_case(column)) {
            return Err(ApiError::query(format!(
                "Cannot query over table '{table}' without a filter over column(s) '{column}' that can be used for partition elimination"
            )));
        }
    }
    Ok(())
}

/// The place that a literal number in GROUP BY or ORDER BY means.
fn place(expr: &Expr, count: usize) -> ApiResult<Option<usize>> {
    let Expr::Value(value) = expr else { return Ok(None) };
    let text = value.to_string();
    let Ok(number) = text.parse::<usize>() else {
        return Ok(None);
    };
    match number.checked_sub(1).filter(|place| *place < count) {
        Some(place) => Ok(Some(place)),
        None => Err(ApiError::query(format!("Column number {number} is out of range"))),
    }
}

pub(super) fn direction(sql: String, options: &sqlparser::ast::OrderByOptions) -> ApiResult<String> {
    let direction = match &options.sort {
        None | Some(OrderBySort::Asc) => "",
        Some(OrderBySort::Desc) => " DESC",
        Some(_) => return Err(unsupported("ORDER BY … USING")),
    };
    let nulls = match options.nulls_first {
        None => "",
        Some(true) => " NULLS FIRST",
        Some(false) => " NULLS LAST",
    };
    Ok(format!("{sql}{direction}{nulls}"))
}

/// The name of a column that is selected without an alias.
fn implied_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(name) => Some(name.value.clone()),
        Expr::CompoundIdentifier(names) => names.last().map(|name| name.value.clone()),
        _ => None,
    }
}
