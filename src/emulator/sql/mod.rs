//! GoogleSQL, as much of it as a replica needs: its DDL, views, and plain SELECT statements, which are translated
//! to the storage's SQL with their types checked. Everything else is refused by name.

pub(crate) mod ddl;
mod ddl_options;
mod ddl_parser;
mod expression;
mod from;
mod function_calls;
pub(crate) mod functions;
mod information_schema;
mod literals;
pub(crate) mod parameters;
mod scope;
pub(crate) mod select;
mod view;

use sqlparser::dialect::BigQueryDialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, Tokenizer};

use super::error::{ApiError, ApiResult};
use super::schema::{DatasetRef, TableRef};
use super::store::Store;
use ddl::Ddl;
use parameters::Parameters;
use select::Translated;

/// A statement to run, and where.
#[derive(Debug, Clone)]
pub(crate) struct QueryRequest {
    pub(crate) project: String,
    pub(crate) sql: String,
    pub(crate) default_dataset: Option<DatasetRef>,
    pub(crate) parameters: Parameters,
    /// Where a dataset is made that says no place.
    pub(crate) location: Option<String>,
}

impl QueryRequest {
    /// The table that a path of one to three names means.
    pub(crate) fn table(&self, path: &[String]) -> ApiResult<TableRef> {
        let missing = || {
            ApiError::invalid(format!(
                "Table \"{}\" must be qualified with a dataset (e.g. dataset.table).",
                path.join(".")
            ))
        };
        let (dataset, table) = match path {
            [table] => (self.default_dataset.clone().ok_or_else(missing)?, table),
            [dataset, table] => (self.dataset(std::slice::from_ref(dataset))?, table),
            [project, dataset, table] => (self.dataset(&[project.clone(), dataset.clone()])?, table),
            _ => {
                return Err(ApiError::invalid(format!(
                    "Invalid table name: {}",
                    path.join(".")
                )));
            }
        };
        Ok(TableRef {
            dataset,
            table: table.clone(),
        })
    }

    /// The dataset that a path of one or two names means.
    pub(crate) fn dataset(&self, path: &[String]) -> ApiResult<DatasetRef> {
        let (project, dataset) = match path {
            [dataset] => (self.project.clone(), dataset),
            [project, dataset] => (project.clone(), dataset),
            _ => {
                return Err(ApiError::invalid(format!(
                    "Invalid dataset name: {}",
                    path.join(".")
                )));
            }
        };
        Ok(DatasetRef {
            project,
            dataset: dataset.clone(),
        })
    }
}

/// A statement that is understood.
#[derive(Debug)]
pub(crate) enum Statement {
    Select(Translated),
    Ddl(Ddl),
}

/// Reads a statement.
pub(crate) fn prepare(store: &Store, request: &QueryRequest) -> ApiResult<Statement> {
    let dialect = BigQueryDialect {};
    let tokens = Tokenizer::new(&dialect, &request.sql).tokenize_with_location();
    let mut tokens = tokens.map_err(|error| ApiError::query(format!("Syntax error: {error}")))?;
    tokens.retain(|token| !matches!(token.token, Token::Whitespace(_)));
    while tokens.last().is_some_and(|last| last.token == Token::SemiColon) {
        tokens.pop();
    }
    if tokens.iter().any(|token| token.token == Token::SemiColon) {
        return Err(ApiError::query("The emulator runs one statement at a time"));
    }
    let first = tokens.iter().find(|token| token.token != Token::LParen);
    let first = first.and_then(|token| {
        if let Token::Word(word) = &token.token {
            Some((word.keyword, word.value.to_ascii_uppercase()))
        } else {
            None
        }
    });
    let Some((keyword, word)) = first else {
        return Err(ApiError::query("Syntax error: Unexpected end of statement"));
    };
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
    match word.as_str() {
        "CREATE" | "ALTER" | "DROP" => ddl_parser::parse(&mut parser, request).map(Statement::Ddl),
        "INSERT" | "UPDATE" | "DELETE" | "MERGE" | "TRUNCATE" => {
            Err(refuse_dml(&mut parser, store, request, &word))
        }
        _ if matches!(keyword, Keyword::SELECT | Keyword::WITH) => {
            let query = parser.parse_query().map_err(syntax)?;
            parser.expect_token(&Token::EOF).map_err(syntax)?;
            select::translate(store, request, &query).map(Statement::Select)
        }
        _ => Err(ApiError::query(format!(
            "The emulator does not know the statement {word}"
        ))),
    }
}

pub(crate) fn syntax(error: sqlparser::parser::ParserError) -> ApiError {
    ApiError::query(format!("Syntax error: {error}"))
}

/// What a statement that changes rows is told.
fn refuse_dml(parser: &mut Parser<'_>, store: &Store, request: &QueryRequest, word: &str) -> ApiError {
    parser.next_token();
    while parser
        .parse_one_of_keywords(&[Keyword::INTO, Keyword::FROM, Keyword::TABLE])
        .is_some()
    {}
    let path = parser.parse_object_name(true).ok().map(|name| scope::path(&name));
    let table = path.and_then(|path| request.table(&path).ok());
    match table.and_then(|name| store.table(&name).ok()) {
        Some(table) if table.has_changes && word != "INSERT" => ApiError::query(format!(
            "{word} DML statements are not supported on {}: it is active with change data capture (CDC)",
            table.name
        )),
        _ => ApiError::query(format!("The emulator runs no DML: {word}")),
    }
}
