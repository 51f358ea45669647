//! Reading BigQuery's DDL. The tokens and the small parts (names, literals, lists) are sqlparser's; the
//! statements are read here, since BigQuery's forms are not all known to it.

use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::ddl::{Ddl, Existing};
use super::ddl_options::{Options, options};
use super::view::Written;
use super::{QueryRequest, scope, syntax};
use crate::emulator::error::{ApiError, ApiResult};
use crate::emulator::schema::Kind;
use crate::emulator::store::alter::Step;
use crate::emulator::store::catalog::{NewField, NewPartitioning, NewTable};

/// Reads one CREATE, ALTER or DROP statement.
pub(super) fn parse(parser: &mut Parser<'_>, request: &QueryRequest) -> ApiResult<Ddl> {
    let ddl = match word(parser).as_str() {
        "CREATE" => create(parser, request)?,
        "ALTER" => alter(parser, request)?,
        _ => drop_statement(parser, request)?,
    };
    parser.expect_token(&Token::EOF).map_err(syntax)?;
    Ok(ddl)
}

/// The next word in capitals; empty if the next token is none.
pub(super) fn word(parser: &mut Parser<'_>) -> String {
    if let Token::Word(word) = parser.next_token().token {
        word.value.to_ascii_uppercase()
    } else {
        String::new()
    }
}

/// Whether the next words are these; takes them if so.
pub(super) fn words(parser: &mut Parser<'_>, expected: &[&str]) -> bool {
    for (place, expected) in expected.iter().enumerate() {
        if word(parser) != *expected {
            for _ in 0..=place {
                parser.prev_token();
            }
            return false;
        }
    }
    true
}

fn expect(parser: &mut Parser<'_>, expected: &[&str]) -> ApiResult<()> {
    if words(parser, expected) {
        return Ok(());
    }
    let found = parser.peek_token();
    Err(ApiError::query(format!(
        "Syntax error: Expected {} but got {found}",
        expected.join(" ")
    )))
}

fn unknown(parser: &Parser<'_>, place: &str) -> ApiError {
    ApiError::query(format!(
        "Syntax error: Unexpected {} in {place}",
        parser.peek_token()
    ))
}

fn path(parser: &mut Parser<'_>) -> ApiResult<Vec<String>> {
    let name = parser.parse_object_name(true).map_err(syntax)?;
    Ok(scope::path(&name))
}

fn identifier(parser: &mut Parser<'_>) -> ApiResult<String> {
    Ok(parser.parse_identifier().map_err(syntax)?.value)
}

fn identifiers(parser: &mut Parser<'_>) -> ApiResult<Vec<String>> {
    let names = parser
        .parse_comma_separated(Parser::parse_identifier)
        .map_err(syntax)?;
    Ok(names.into_iter().map(|name| name.value).collect())
}

fn in_parentheses<T>(
    parser: &mut Parser<'_>,
    read: impl FnOnce(&mut Parser<'_>) -> ApiResult<T>,
) -> ApiResult<T> {
    parser.expect_token(&Token::LParen).map_err(syntax)?;
    let value = read(parser)?;
    parser.expect_token(&Token::RParen).map_err(syntax)?;
    Ok(value)
}

fn create(parser: &mut Parser<'_>, request: &QueryRequest) -> ApiResult<Ddl> {
    let replace = words(parser, &["OR", "REPLACE"]);
    let what = word(parser);
    let keep = words(parser, &["IF", "NOT", "EXISTS"]);
    let existing = match (replace, keep) {
        (true, false) => Existing::Replace,
        (false, true) => Existing::Keep,
        (false, false) => Existing::Refuse,
        (true, true) => {
            return Err(ApiError::query(
                "CREATE OR REPLACE and IF NOT EXISTS cannot be used together",
            ));
        }
    };
    match what.as_str() {
        "SCHEMA" if !replace => {
            let name = request.dataset(&path(parser)?)?;
            let options = trailing_options(parser)?;
            Ok(Ddl::CreateSchema {
                name,
                location: options.location,
                description: options.patch.description.flatten(),
                existing,
            })
        }
        "TABLE" => create_table(parser, request, existing),
        "VIEW" => create_view(parser, request, existing),
        other => Err(ApiError::query(format!(
            "The emulator does not know CREATE {other}"
        ))),
    }
}

fn trailing_options(parser: &mut Parser<'_>) -> ApiResult<Options> {
    if words(parser, &["OPTIONS"]) {
        options(parser)
    } else {
        Ok(Options::default())
    }
}

fn create_table(parser: &mut Parser<'_>, request: &QueryRequest, existing: Existing) -> ApiResult<Ddl> {
    let name = request.table(&path(parser)?)?;
    let mut table = NewTable {
        name,
        fields: Vec::new(),
        primary_key: Vec::new(),
        clustering: Vec::new(),
        partitioning: None,
        options: crate::emulator::schema::TableOptions::default(),
        view: None,
    };
    in_parentheses(parser, |parser| {
        loop {
            if parser.peek_token().token == Token::RParen {
                return Ok(());
            }
            element(parser, &mut table)?;
            if !parser.consume_token(&Token::Comma) {
                return Ok(());
            }
        }
    })?;
    if words(parser, &["PARTITION", "BY"]) {
        table.partitioning = Some(partitioning(parser)?);
    }
    if words(parser, &["CLUSTER", "BY"]) {
        table.clustering = identifiers(parser)?;
    }
    trailing_options(parser)?.patch.apply(&mut table.options);
    if words(parser, &["AS"]) {
        return Err(ApiError::query("The emulator does not know CREATE TABLE … AS"));
    }
    Ok(Ddl::CreateTable {
        table: Box::new(table),
        existing,
    })
}

/// `CREATE VIEW name OPTIONS(…) AS query`.
fn create_view(parser: &mut Parser<'_>, request: &QueryRequest, existing: Existing) -> ApiResult<Ddl> {
    let name = request.table(&path(parser)?)?;
    if parser.peek_token().token == Token::LParen {
        return Err(ApiError::query(
            "The emulator does not know the column list of CREATE VIEW",
        ));
    }
    let mut options = crate::emulator::schema::TableOptions::default();
    let patch = trailing_options(parser)?.patch;
    if patch.max_staleness.is_some() || patch.require_partition_filter.is_some() {
        return Err(ApiError::query("Unknown option for a view"));
    }
    patch.apply(&mut options);
    expect(parser, &["AS"])?;
    Ok(Ddl::CreateView {
        name,
        options: Box::new(options),
        query: Written::read(parser, &request.sql)?,
        existing,
    })
}

/// A column or a table constraint.
fn element(parser: &mut Parser<'_>, table: &mut NewTable) -> ApiResult<()> {
    if words(parser, &["CONSTRAINT"]) {
        identifier(parser)?;
    }
    if words(parser, &["PRIMARY", "KEY"]) {
        let columns = in_parentheses(parser, identifiers)?;
        expect(parser, &["NOT", "ENFORCED"])?;
        return set_key(table, columns);
    }
    if words(parser, &["FOREIGN"]) {
        return Err(ApiError::query("The emulator has no foreign keys"));
    }
    let (field, is_key) = column(parser)?;
    if is_key {
        set_key(table, vec![field.name.clone()])?;
    }
    table.fields.push(field);
    Ok(())
}

fn set_key(table: &mut NewTable, columns: Vec<String>) -> ApiResult<()> {
    if !table.primary_key.is_empty() {
        return Err(ApiError::query("A table has one primary key"));
    }
    table.primary_key = columns;
    Ok(())
}

/// A column's declaration, and whether it says that it is the primary key.
fn column(parser: &mut Parser<'_>) -> ApiResult<(NewField, bool)> {
    let name = identifier(parser)?;
    let kind = kind(parser)?;
    let mut field = NewField {
        name,
        kind,
        required: false,
        description: None,
    };
    let mut is_key = false;
    loop {
        if words(parser, &["NOT", "NULL"]) {
            field.required = true;
        } else if words(parser, &["PRIMARY", "KEY"]) {
            expect(parser, &["NOT", "ENFORCED"])?;
            is_key = true;
        } else if words(parser, &["OPTIONS"]) {
            field.description = options(parser)?.patch.description.flatten();
        } else if words(parser, &["DEFAULT"]) {
            return Err(ApiError::query("The emulator has no column defaults"));
        } else {
            return Ok((field, is_key));
        }
    }
}

fn kind(parser: &mut Parser<'_>) -> ApiResult<Kind> {
    let name = word(parser);
    let mut parameters = Vec::new();
    if parser.consume_token(&Token::LParen) {
        parameters = parser
            .parse_comma_separated(Parser::parse_literal_uint)
            .map_err(syntax)?;
        parser.expect_token(&Token::RParen).map_err(syntax)?;
    }
    Kind::parse(&name, &parameters).map_err(|error| ApiError::query(error.message))
}

/// `column`, `DATE(column)`, `_PARTITIONDATE` or `…_TRUNC(column, UNIT)`.
fn partitioning(parser: &mut Parser<'_>) -> ApiResult<NewPartitioning> {
    let name = identifier(parser)?;
    let day = |column| NewPartitioning {
        unit: "DAY".to_owned(),
        column,
        expiration_ms: None,
    };
    if parser.peek_token().token != Token::LParen {
        return Ok(match name.to_ascii_uppercase().as_str() {
            "_PARTITIONDATE" => day(None),
            _ => day(Some(name)),
        });
    }
    in_parentheses(parser, |parser| {
        let column = Some(identifier(parser)?);
        match name.to_ascii_uppercase().as_str() {
            "DATE" => Ok(day(column)),
            "DATE_TRUNC" | "DATETIME_TRUNC" | "TIMESTAMP_TRUNC" => {
                parser.expect_token(&Token::Comma).map_err(syntax)?;
                Ok(NewPartitioning {
                    unit: word(parser),
                    column,
                    expiration_ms: None,
                })
            }
            other => Err(ApiError::query(format!(
                "The emulator does not know PARTITION BY {other}"
            ))),
        }
    })
}

fn drop_statement(parser: &mut Parser<'_>, request: &QueryRequest) -> ApiResult<Ddl> {
    let what = word(parser);
    let if_exists = words(parser, &["IF", "EXISTS"]);
    match what.as_str() {
        "SCHEMA" => {
            let name = request.dataset(&path(parser)?)?;
            let cascade = words(parser, &["CASCADE"]);
            if !cascade {
                words(parser, &["RESTRICT"]);
            }
            Ok(Ddl::DropSchema {
                name,
                if_exists,
                cascade,
            })
        }
        "TABLE" | "VIEW" => Ok(Ddl::DropTable {
            name: request.table(&path(parser)?)?,
            if_exists,
            is_view: what == "VIEW",
        }),
        other => Err(ApiError::query(format!(
            "The emulator does not know DROP {other}"
        ))),
    }
}

fn alter(parser: &mut Parser<'_>, request: &QueryRequest) -> ApiResult<Ddl> {
    let what = word(parser);
    if what != "TABLE" {
        return Err(ApiError::query(format!(
            "The emulator does not know ALTER {what}"
        )));
    }
    let if_exists = words(parser, &["IF", "EXISTS"]);
    let name = request.table(&path(parser)?)?;
    let mut steps = Vec::new();
    loop {
        steps.push(step(parser)?);
        if !parser.consume_token(&Token::Comma) {
            return Ok(Ddl::AlterTable {
                name,
                if_exists,
                steps,
            });
        }
    }
}

fn step(parser: &mut Parser<'_>) -> ApiResult<Step> {
    if words(parser, &["ADD", "COLUMN"]) {
        let if_not_exists = words(parser, &["IF", "NOT", "EXISTS"]);
        let (field, is_key) = column(parser)?;
        if is_key {
            return Err(ApiError::query(
                "A column that is added cannot be the primary key",
            ));
        }
        Ok(Step::AddColumn { field, if_not_exists })
    } else if words(parser, &["DROP", "COLUMN"]) {
        let if_exists = words(parser, &["IF", "EXISTS"]);
        let name = identifier(parser)?;
        Ok(Step::DropColumn { name, if_exists })
    } else if words(parser, &["RENAME", "COLUMN"]) {
        let if_exists = words(parser, &["IF", "EXISTS"]);
        let from = identifier(parser)?;
        expect(parser, &["TO"])?;
        let to = identifier(parser)?;
        Ok(Step::RenameColumn { from, to, if_exists })
    } else if words(parser, &["RENAME", "TO"]) {
        identifier(parser).map(Step::RenameTable)
    } else if words(parser, &["SET", "OPTIONS"]) {
        Ok(Step::SetOptions(options(parser)?.patch))
    } else if words(parser, &["ADD", "PRIMARY", "KEY"]) {
        let columns = in_parentheses(parser, identifiers)?;
        expect(parser, &["NOT", "ENFORCED"])?;
        Ok(Step::AddPrimaryKey(columns))
    } else if words(parser, &["DROP", "PRIMARY", "KEY"]) {
        let if_exists = words(parser, &["IF", "EXISTS"]);
        Ok(Step::DropPrimaryKey { if_exists })
    } else if words(parser, &["ALTER", "COLUMN"]) {
        alter_column(parser)
    } else {
        Err(unknown(parser, "ALTER TABLE"))
    }
}

fn alter_column(parser: &mut Parser<'_>) -> ApiResult<Step> {
    let if_exists = words(parser, &["IF", "EXISTS"]);
    let name = identifier(parser)?;
    if words(parser, &["DROP", "NOT", "NULL"]) {
        Ok(Step::DropNotNull { name, if_exists })
    } else if words(parser, &["SET", "DATA", "TYPE"]) {
        let kind = kind(parser)?;
        Ok(Step::SetType {
            name,
            kind,
            if_exists,
        })
    } else if words(parser, &["SET", "OPTIONS"]) {
        let description = options(parser)?.patch.description.flatten();
        Ok(Step::SetColumnDescription { name, description })
    } else if parser
        .parse_one_of_keywords(&[Keyword::SET, Keyword::DROP])
        .is_some()
        && words(parser, &["DEFAULT"])
    {
        Err(ApiError::query("The emulator has no column defaults"))
    } else {
        Err(unknown(parser, "ALTER COLUMN"))
    }
}
