//! Statements that write rows by themselves, which happens in statement format: which tables may they
//! write. A superset is told where targets are aliases, because a table too many only costs a new copy.

use super::Statement;
use super::cursor::{Cursor, Depth, is_word};
use crate::event::TableId;
use crate::source::mysql::lexer::Token;

pub(super) fn dml(verb: &str, cursor: &mut Cursor<'_>) -> Option<Statement> {
    let tables = match verb {
        "INSERT" | "REPLACE" => {
            while cursor.take_any(&["LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "IGNORE"]) {}
            cursor.take("INTO");
            cursor.table().map(|table| vec![table])
        }
        "UPDATE" => referenced(cursor, Some("SET")),
        "DELETE" => delete(cursor),
        "WITH" => return with(cursor),
        "LOAD" => return load(cursor),
        // A query is logged only if a function in it writes; which tables, its text does not tell.
        _ => None,
    };
    Some(Statement::Dml { tables })
}

fn delete(cursor: &mut Cursor<'_>) -> Option<Vec<TableId>> {
    while cursor.take_any(&["LOW_PRIORITY", "QUICK", "IGNORE"]) {}
    let start = cursor.position();
    cursor.take("FROM");
    let single = cursor.table();
    if cursor.is_at_end()
        || ["WHERE", "ORDER", "LIMIT", "RETURNING", "PARTITION", "FOR"]
            .iter()
            .any(|word| is_word(cursor.rest().first(), word))
    {
        return single.map(|table| vec![table]);
    }
    cursor.rewind(start);
    // DELETE a, b FROM …: after FROM; DELETE FROM a USING …: after USING; with an alias: all of it.
    if cursor.skip_past("USING").is_none() {
        cursor.rewind(start);
        cursor.skip_past("FROM")?;
    }
    referenced(cursor, Some("WHERE"))
}

fn load(cursor: &mut Cursor<'_>) -> Option<Statement> {
    if cursor.take("INDEX") {
        return Some(Statement::Other);
    }
    cursor.take_any(&["DATA", "XML"]).then_some(())?;
    cursor.skip_past("TABLE")?;
    let tables = cursor.table().map(|table| vec![table]);
    Some(Statement::Dml { tables })
}

/// Passes over the common table expressions to the verb.
fn with(cursor: &mut Cursor<'_>) -> Option<Statement> {
    let mut depth = Depth::default();
    while let Some(token) = cursor.rest().first() {
        if depth.pass(token)
            && let Token::Word(word) = token
            && ["INSERT", "REPLACE", "UPDATE", "DELETE", "SELECT"]
                .iter()
                .any(|verb| word.eq_ignore_ascii_case(verb))
        {
            let verb = cursor.word()?;
            return dml(&verb, cursor);
        }
        cursor.step();
    }
    None
}

/// Every table of a list of table references up to the word that ends it; `None` if none is found.
fn referenced(cursor: &mut Cursor<'_>, end: Option<&str>) -> Option<Vec<TableId>> {
    while cursor.take_any(&["LOW_PRIORITY", "IGNORE"]) {}
    let mut tables = Vec::new();
    let mut expect = true;
    let mut depth: usize = 0;
    while let Some(token) = cursor.rest().first() {
        if depth == 0 && end.is_some_and(|end| is_word(Some(token), end)) {
            break;
        }
        if expect && matches!(token, Token::Word(_) | Token::Name(_) | Token::Symbol('.')) {
            if is_word(Some(token), "LATERAL") {
                cursor.step();
            } else if is_word(Some(token), "SELECT") || is_word(Some(token), "WITH") {
                // A query in parentheses is read, not written; its tables do no harm in the list.
                expect = false;
                cursor.step();
            } else {
                expect = false;
                tables.extend(cursor.table());
            }
            continue;
        }
        match token {
            Token::Symbol('(') => depth += 1,
            Token::Symbol(')') => depth = depth.saturating_sub(1),
            Token::Symbol(',') => expect = true,
            Token::Word(word) => expect = is_join(word),
            Token::Name(_) | Token::Text | Token::Number(_) | Token::Symbol(_) => {}
        }
        cursor.step();
    }
    tables.sort();
    tables.dedup();
    (!tables.is_empty()).then_some(tables)
}

fn is_join(word: &str) -> bool {
    ["JOIN", "STRAIGHT_JOIN", "FROM"]
        .iter()
        .any(|join| word.eq_ignore_ascii_case(join))
}
