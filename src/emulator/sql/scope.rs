//! What names mean at a place of a query.

use sqlparser::ast::{Ident, ObjectName};

use crate::emulator::error::{ApiError, ApiResult};
use crate::emulator::schema::Kind;

/// A translated expression.
#[derive(Debug, Clone)]
pub(super) struct Typed {
    pub(super) sql: String,
    /// None of a bare NULL.
    pub(super) kind: Option<Kind>,
    /// The text of a literal string, which becomes whatever type it meets.
    pub(super) literal: Option<String>,
}

impl Typed {
    pub(super) fn new(sql: impl Into<String>, kind: Kind) -> Typed {
        Typed {
            sql: sql.into(),
            kind: Some(kind.plain()),
            literal: None,
        }
    }

    pub(super) fn null() -> Typed {
        Typed {
            sql: "NULL".to_owned(),
            kind: None,
            literal: None,
        }
    }

    /// The type; a bare NULL counts as INT64, as in a query's result.
    pub(super) fn kind(&self) -> Kind {
        self.kind.unwrap_or(Kind::Int64)
    }
}

/// A named column and where it comes from.
#[derive(Debug, Clone)]
pub(super) struct ScopeColumn {
    pub(super) name: String,
    pub(super) value: Typed,
}

/// A table, subquery or array in FROM.
#[derive(Debug, Clone)]
pub(super) struct Relation {
    pub(super) name: Option<String>,
    pub(super) columns: Vec<ScopeColumn>,
}

/// The names that a query sees.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope<'a> {
    pub(super) relations: Vec<Relation>,
    /// The query around a subquery.
    pub(super) parent: Option<&'a Scope<'a>>,
}

impl Scope<'_> {
    /// The column of that name.
    pub(super) fn column(&self, name: &str) -> ApiResult<Typed> {
        let columns = self.relations.iter().flat_map(|relation| &relation.columns);
        let mut found = columns.filter(|column| column.name.eq_ignore_ascii_case(name));
        match (found.next(), found.next(), self.parent) {
            (Some(column), None, _) => Ok(column.value.clone()),
            (Some(_), Some(_), _) => Err(ApiError::query(format!("Column name {name} is ambiguous"))),
            (None, _, Some(parent)) => parent.column(name),
            (None, _, None) => Err(ApiError::query(format!("Unrecognized name: {name}"))),
        }
    }

    /// The column of that name in the relation of that name.
    pub(super) fn qualified(&self, relation: &str, name: &str) -> ApiResult<Typed> {
        let found = self.relations.iter().find(|one| {
            one.name
                .as_deref()
                .is_some_and(|name| name.eq_ignore_ascii_case(relation))
        });
        match (found, self.parent) {
            (Some(found), _) => {
                let column = found
                    .columns
                    .iter()
                    .find(|column| column.name.eq_ignore_ascii_case(name));
                column
                    .map(|column| column.value.clone())
                    .ok_or_else(|| ApiError::query(format!("Name {name} not found inside {relation}")))
            }
            (None, Some(parent)) => parent.qualified(relation, name),
            (None, None) => Err(ApiError::query(format!("Unrecognized name: {relation}"))),
        }
    }
}

/// The names of a path; one in backticks may hold several.
pub(super) fn path(name: &ObjectName) -> Vec<String> {
    let idents = name.0.iter().filter_map(|part| part.as_ident());
    idents.flat_map(names).collect()
}

fn names(ident: &Ident) -> Vec<String> {
    if ident.quote_style.is_some() {
        ident.value.split('.').map(str::to_owned).collect()
    } else {
        vec![ident.value.clone()]
    }
}
