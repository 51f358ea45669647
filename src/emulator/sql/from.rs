//! FROM: tables, views of INFORMATION_SCHEMA, subqueries, arrays, and joins of them.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the parser's enums hold every dialect's forms; all but the named ones are refused alike"
)]

use std::sync::Arc;

use sqlparser::ast::{Join, JoinConstraint, JoinOperator, ObjectName, TableFactor, TableWithJoins};

use super::information_schema;
use super::scope::{Relation, Scope, ScopeColumn, Typed, path};
use super::select::{OutColumn, Translator, unsupported};
use crate::emulator::error::{ApiError, ApiResult};
use crate::emulator::schema::Table;
use crate::emulator::value::Cell;

impl Translator<'_> {
    fn next_relation(&mut self) -> String {
        self.relations += 1;
        format!("r{}", self.relations)
    }

    /// Translates FROM; its relations join the scope.
    pub(super) fn from(&mut self, from: &[TableWithJoins], scope: &mut Scope<'_>) -> ApiResult<String> {
        let mut sql = String::new();
        for (place, table) in from.iter().enumerate() {
            sql.push_str(if place == 0 { " FROM " } else { " CROSS JOIN " });
            sql.push_str(&self.factor(&table.relation, scope)?);
            for join in &table.joins {
                sql.push_str(&self.join(join, scope)?);
            }
        }
        Ok(sql)
    }

    fn join(&mut self, join: &Join, scope: &mut Scope<'_>) -> ApiResult<String> {
        let (word, constraint) = match &join.join_operator {
            JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) => ("JOIN", constraint),
            JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => ("LEFT JOIN", constraint),
            JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => {
                ("RIGHT JOIN", constraint)
            }
            JoinOperator::FullOuter(constraint) => ("FULL JOIN", constraint),
            JoinOperator::CrossJoin(constraint) => ("CROSS JOIN", constraint),
            _ => return Err(unsupported("this kind of join")),
        };
        let first = scope.relations.len();
        let factor = self.factor(&join.relation, scope)?;
        let condition = match constraint {
            JoinConstraint::None => String::new(),
            JoinConstraint::On(condition) => format!(" ON {}", self.condition(condition, scope)?),
            JoinConstraint::Using(names) => format!(" ON {}", using(names, scope, first)?),
            JoinConstraint::Natural => return Err(unsupported("NATURAL JOIN")),
        };
        Ok(format!(" {word} {factor}{condition}"))
    }

    fn factor(&mut self, factor: &TableFactor, scope: &mut Scope<'_>) -> ApiResult<String> {
        match factor {
            TableFactor::Table {
                name,
                alias,
                args: None,
                version: None,
                sample: None,
                ..
            } => {
                let alias = alias.as_ref().map(|alias| alias.name.value.clone());
                self.table(name, alias, scope)
            }
            TableFactor::Derived {
                subquery,
                alias,
                lateral: false,
                ..
            } => {
                let none = Scope::default();
                let (sql, columns) = self.query(subquery, scope.parent.unwrap_or(&none))?;
                let alias = alias.as_ref().map(|alias| alias.name.value.clone());
                Ok(self.relation(scope, alias, &sql, columns))
            }
            TableFactor::UNNEST {
                alias,
                array_exprs,
                with_offset: false,
                ..
            } => {
                let [array] = array_exprs.as_slice() else {
                    return Err(unsupported("UNNEST of several arrays"));
                };
                let (sql, kind) = self.array(array, scope)?;
                let name = alias.as_ref().map(|alias| alias.name.value.clone());
                let column = OutColumn {
                    name: name.clone().unwrap_or_default(),
                    kind,
                    is_null: false,
                };
                Ok(self.relation(scope, name, &sql, vec![column]))
            }
            TableFactor::NestedJoin {
                table_with_joins,
                alias: None,
            } => {
                let inner = self.from(std::slice::from_ref(table_with_joins), scope)?;
                Ok(format!("({})", inner.trim_start_matches(" FROM ")))
            }
            other => Err(unsupported(format!("FROM {other}"))),
        }
    }

    fn table(
        &mut self,
        name: &ObjectName,
        alias: Option<String>,
        scope: &mut Scope<'_>,
    ) -> ApiResult<String> {
        let names = path(name);
        if let [single] = names.as_slice() {
            let folded = single.to_lowercase();
            if let Some((_, sql, columns)) =
                self.with.iter().rev().find(|(name, ..)| *name == folded).cloned()
            {
                return Ok(self.relation(scope, alias.or_else(|| Some(single.clone())), &sql, columns));
            }
        }
        if let Some(view) = information_schema::view(self.store, self.request, &names)? {
            let columns = view.columns.iter().map(|(name, kind)| OutColumn {
                name: (*name).to_owned(),
                kind: *kind,
                is_null: false,
            });
            let columns: Vec<OutColumn> = columns.collect();
            let sql = self.rows(view.rows, columns.len());
            return Ok(self.relation(scope, alias.or_else(|| names.last().cloned()), &sql, columns));
        }
        let table = self.store.table(&self.request.table(&names)?)?;
        if let Some(text) = &table.view {
            let (sql, columns) = self.view(&table, text)?;
            return Ok(self.relation(scope, alias.or_else(|| names.last().cloned()), &sql, columns));
        }
        self.note_reading(&table)?;
        let (sql, columns) = stored(&table, &self.store.read_from(&table));
        Ok(self.relation(scope, alias.or_else(|| names.last().cloned()), &sql, columns))
    }

    /// Notes what reading a table entails.
    fn note_reading(&mut self, table: &Arc<Table>) -> ApiResult<()> {
        let merges = self.store.merges(table);
        if table.options.require_partition_filter == Some(true) {
            if merges {
                return Err(ApiError::query(format!(
                    "{} requires a partition filter, which is not supported while changes are merged at query time: \
                     raise max_staleness",
                    table.name
                )));
            }
            let column = table.partitioning.as_ref().map(|by| by.column);
            let column = column.map(|id| id.and_then(|id| table.field_by_id(id)));
            if let Some(column) = column {
                let column = column.map_or("_PARTITIONTIME", |field| field.name.as_str());
                self.unfiltered
                    .push((table.name.table.clone(), column.to_owned()));
            }
        }
        if merges {
            self.merges.push(Arc::clone(table));
        }
        Ok(())
    }

    /// A query's rows given as values.
    pub(super) fn rows(&mut self, rows: Vec<Vec<Cell<'static>>>, width: usize) -> String {
        if rows.is_empty() {
            let nulls: Vec<String> = (0..width).map(|place| format!("NULL AS c{place}")).collect();
            return format!("SELECT {} WHERE 0", nulls.join(", "));
        }
        let mut values = Vec::new();
        for row in rows {
            let cells: Vec<String> = row.into_iter().map(|cell| self.bind(cell)).collect();
            values.push(format!("({})", cells.join(", ")));
        }
        let names: Vec<String> = (0..width)
            .map(|place| format!("column{} AS c{place}", place + 1))
            .collect();
        format!("SELECT {} FROM (VALUES {})", names.join(", "), values.join(", "))
    }

    fn relation(
        &mut self,
        scope: &mut Scope<'_>,
        name: Option<String>,
        sql: &str,
        columns: Vec<OutColumn>,
    ) -> String {
        let alias = self.next_relation();
        let columns = columns
            .into_iter()
            .enumerate()
            .map(|(place, column)| ScopeColumn {
                name: column.name,
                value: Typed::new(format!("{alias}.c{place}"), column.kind),
            });
        scope.relations.push(Relation {
            name,
            columns: columns.collect(),
        });
        format!("({sql}) AS {alias}")
    }
}

/// A table's rows as a query.
fn stored(table: &Table, storage: &str) -> (String, Vec<OutColumn>) {
    let list: Vec<String> = table
        .fields
        .iter()
        .enumerate()
        .map(|(place, field)| format!("{} AS c{place}", field.id))
        .collect();
    let list = if list.is_empty() {
        "NULL".to_owned()
    } else {
        list.join(", ")
    };
    let sql = format!("SELECT {list} FROM {storage} WHERE gone IS NULL");
    let columns = table.fields.iter().map(|field| OutColumn {
        name: field.name.clone(),
        kind: field.kind.plain(),
        is_null: false,
    });
    (sql, columns.collect())
}

/// The condition of USING: the columns of the relations before `first` equal those from it on.
fn using(names: &[ObjectName], scope: &Scope<'_>, first: usize) -> ApiResult<String> {
    let (left, right) = scope.relations.split_at_checked(first).unwrap_or_default();
    let side = |relations: &[Relation]| Scope {
        relations: relations.to_vec(),
        parent: None,
    };
    let (left, right) = (side(left), side(right));
    let mut terms = Vec::new();
    for name in names {
        let name = path(name).join(".");
        terms.push(format!(
            "{} = {}",
            left.column(&name)?.sql,
            right.column(&name)?.sql
        ));
    }
    Ok(terms.join(" AND "))
}
