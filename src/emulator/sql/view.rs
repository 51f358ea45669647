//! Views: a name for a query, which is read anew each time that the name is.

use sqlparser::ast::Query;
use sqlparser::dialect::BigQueryDialect;
use sqlparser::parser::Parser;

use super::scope::Scope;
use super::select::{OutColumn, Translator};
use super::syntax;
use crate::emulator::error::{ApiError, ApiResult};
use crate::emulator::schema::{Kind, Table, TableOptions, TableRef};
use crate::emulator::store::catalog::{NewField, NewTable};

/// Views that read each other, at most.
const LEVELS: usize = 16;

/// A query as it is written.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) text: String,
    pub(crate) query: Box<Query>,
}

impl Written {
    /// Reads the query that the rest of a statement is.
    pub(super) fn read(parser: &mut Parser<'_>, sql: &str) -> ApiResult<Written> {
        let begin = parser.peek_token().span.start;
        let query = parser.parse_query().map_err(syntax)?;
        let index = |place: u64| usize::try_from(place).unwrap_or(usize::MAX).saturating_sub(1);
        let lines: Vec<&str> = sql.split('\n').skip(index(begin.line)).collect();
        let text: String = lines.join("\n").chars().skip(index(begin.column)).collect();
        Ok(Written {
            text: text
                .trim_end_matches(|c: char| c == ';' || c.is_whitespace())
                .to_owned(),
            query,
        })
    }
}

/// A view to make. Its columns are those of its query when it is made.
pub(super) fn new(
    name: TableRef,
    options: TableOptions,
    text: String,
    columns: Vec<(String, Kind)>,
) -> NewTable {
    let field = |(name, kind): (String, Kind)| NewField {
        name,
        kind,
        required: false,
        description: None,
    };
    NewTable {
        name,
        fields: columns.into_iter().map(field).collect(),
        primary_key: Vec::new(),
        clustering: Vec::new(),
        partitioning: None,
        options,
        view: Some(text),
    }
}

impl Table {
    /// What the REST API calls its type.
    pub(crate) fn type_name(&self) -> &'static str {
        if self.view.is_some() { "VIEW" } else { "TABLE" }
    }

    /// Refuses a view where rows of its own are asked for.
    pub(crate) fn check_has_rows(&self) -> ApiResult<()> {
        match self.view {
            None => Ok(()),
            Some(_) => Err(ApiError::invalid(format!(
                "{} is not allowed for this operation because it is currently a VIEW.",
                self.name
            ))),
        }
    }
}

impl Translator<'_> {
    /// Translates the query of a view, which sees nothing of the one around it.
    pub(super) fn view(&mut self, table: &Table, text: &str) -> ApiResult<(String, Vec<OutColumn>)> {
        if self.views >= LEVELS {
            return Err(ApiError::query(format!(
                "{}: views are nested more than {LEVELS} levels deep",
                table.name
            )));
        }
        let parser = Parser::new(&BigQueryDialect {});
        let query = parser
            .try_with_sql(text)
            .and_then(|mut parser| parser.parse_query());
        let query = query.map_err(syntax)?;
        let around = std::mem::take(&mut self.with);
        let restricted = std::mem::take(&mut self.unfiltered);
        self.views += 1;
        let translated = self.query(&query, &Scope::default());
        self.views -= 1;
        self.with = around;
        self.unfiltered = restricted;
        translated
    }
}
