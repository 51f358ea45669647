//! ALTER statements: which table, and whether a clause renames it or changes rows out of the log's sight.

use std::borrow::Cow;

use super::cursor::Cursor;
use super::{DdlKind, Statement, other_object, renamed};
use crate::event::{AlterSaid, TableId};

/// What a clause of ALTER TABLE means.
enum Clause<'a> {
    /// Definitions only.
    Definition,
    /// A column becomes another one under its name.
    Column,
    /// The table gets this name.
    Rename(TableId),
    /// Rows change without rows events; another table may be part of it.
    Rows(Option<TableId>),
    /// Columns are added; for each whether rows that exist have NULL in it.
    Adds(Vec<(Cow<'a, str>, bool)>),
    /// A column is dropped.
    Drops(Cow<'a, str>),
    /// A column gets another name: old, new.
    RenamesColumn(Cow<'a, str>, Cow<'a, str>),
}

pub(super) fn alter(cursor: &mut Cursor<'_>) -> Option<Statement> {
    let start = cursor.position();
    let mut ignore = false;
    loop {
        if cursor.take("IGNORE") {
            ignore = true;
        } else if !cursor.take_any(&["ONLINE", "OFFLINE"]) {
            break;
        }
    }
    if !cursor.take("TABLE") {
        cursor.rewind(start);
        return other_object(cursor);
    }
    cursor.take_if_exists();
    let table = cursor.table()?;
    cursor.take_wait();
    Some(alter_table(cursor, table, ignore))
}

fn alter_table(cursor: &Cursor<'_>, table: TableId, ignore: bool) -> Statement {
    let mut new_name = None;
    let mut rows = ignore;
    let mut tables = vec![table.clone()];
    let (mut added, mut dropped) = (Vec::new(), Vec::new());
    let mut said = AlterSaid::default();
    for mut part in cursor.clauses() {
        match clause(&mut part) {
            Clause::Definition => {}
            Clause::Rename(name) => new_name = Some(name),
            Clause::Rows(other) => {
                rows = true;
                tables.extend(other);
            }
            Clause::Column => said.columns = true,
            Clause::Adds(columns) => {
                said.columns = true;
                for (name, empty) in columns {
                    said.added_empty.extend(empty.then(|| name.to_string()));
                    added.push(name);
                }
            }
            Clause::Drops(name) => {
                said.columns = true;
                dropped.push(name);
            }
            Clause::RenamesColumn(old, new) => {
                said.columns = true;
                if !old.eq_ignore_ascii_case(&new) {
                    said.renamed.push((old.to_string(), new.to_string()));
                }
            }
        }
    }
    // Column names compare without case; so does this, for the letters that names are mostly made of.
    rows |= dropped
        .iter()
        .any(|name| added.iter().any(|other| name.eq_ignore_ascii_case(other)));
    if rows {
        tables.extend(new_name);
        let kind = DdlKind::PartitionRows;
        return Statement::Ddl { kind, tables };
    }
    match new_name {
        Some(name) => renamed(vec![(table, name)]),
        None => Statement::Ddl {
            kind: DdlKind::AlterTable { said },
            tables,
        },
    }
}

fn clause<'a>(part: &mut Cursor<'a>) -> Clause<'a> {
    let Some(verb) = part.word() else {
        return Clause::Definition;
    };
    match verb.as_str() {
        "RENAME" => rename_clause(part),
        "DISCARD" | "IMPORT" => Clause::Rows(None),
        "TRUNCATE" if part.take("PARTITION") => Clause::Rows(None),
        "EXCHANGE" => {
            let other = part.skip_past("TABLE").and_then(|()| part.table());
            Clause::Rows(other)
        }
        "CONVERT" if part.take("PARTITION") => {
            let other = part.skip_past("TABLE").and_then(|()| part.table());
            Clause::Rows(other)
        }
        "CONVERT" if part.take("TABLE") => Clause::Rows(part.table()),
        "DROP" => drop_clause(part),
        "ADD" => add_clause(part),
        "MODIFY" | "CHANGE" if is_generated(part) => Clause::Rows(None),
        "MODIFY" | "CONVERT" => Clause::Column,
        "CHANGE" => {
            part.take("COLUMN");
            part.take_if_exists();
            names(part)
        }
        _ => Clause::Definition,
    }
}

fn rename_clause<'a>(part: &mut Cursor<'a>) -> Clause<'a> {
    if part.take("COLUMN") {
        part.take_if_exists();
        let old = part.name();
        part.take("TO");
        return match (old, part.name()) {
            (Some(old), Some(new)) => Clause::RenamesColumn(old, new),
            _ => Clause::Definition,
        };
    }
    if part.take_any(&["INDEX", "KEY"]) {
        return Clause::Definition;
    }
    if !part.take_any(&["TO", "AS"]) {
        part.take_symbol('=');
    }
    part.table().map_or(Clause::Definition, Clause::Rename)
}

fn drop_clause<'a>(part: &mut Cursor<'a>) -> Clause<'a> {
    if part.take_any(&["PARTITION", "SUBPARTITION"]) {
        return Clause::Rows(None);
    }
    if part.take_any(&[
        "INDEX",
        "KEY",
        "PRIMARY",
        "FOREIGN",
        "CONSTRAINT",
        "CHECK",
        "PERIOD",
    ]) {
        return Clause::Definition;
    }
    // MariaDB: the history's rows go, and so do the hidden columns.
    if part.take("SYSTEM") {
        return Clause::Rows(None);
    }
    part.take("COLUMN");
    part.take_if_exists();
    part.name().map_or(Clause::Definition, Clause::Drops)
}

fn add_clause<'a>(part: &mut Cursor<'a>) -> Clause<'a> {
    if part.take_any(&[
        "INDEX",
        "KEY",
        "PRIMARY",
        "FOREIGN",
        "CONSTRAINT",
        "CHECK",
        "PARTITION",
        "UNIQUE",
        "FULLTEXT",
        "SPATIAL",
        "VECTOR",
        "PERIOD",
        "SYSTEM",
    ]) {
        return Clause::Definition;
    }
    part.take("COLUMN");
    part.take_if_exists();
    if !part.take_symbol('(') {
        return match part.name() {
            Some(name) => Clause::Adds(vec![(name, is_empty(part))]),
            None => Clause::Definition,
        };
    }
    let mut inner = part.clauses_in_parentheses();
    let added = inner.iter_mut().filter_map(|column| {
        let name = column.name()?;
        Some((name, is_empty(column)))
    });
    Clause::Adds(added.collect())
}

/// `old new …`
fn names<'a>(part: &mut Cursor<'a>) -> Clause<'a> {
    match (part.name(), part.name()) {
        (Some(old), Some(new)) => Clause::RenamesColumn(old, new),
        _ => Clause::Definition,
    }
}

/// Whether the definition of an added column leaves it NULL in the rows that exist: nullable, without a default,
/// not computed, not numbered. A TIMESTAMP may have a default that nobody wrote.
fn is_empty(column: &Cursor<'_>) -> bool {
    const VALUED: [&str; 8] = [
        "NOT",
        "DEFAULT",
        "AS",
        "GENERATED",
        "AUTO_INCREMENT",
        "SERIAL",
        "TIMESTAMP",
        "PRIMARY",
    ];
    !VALUED.iter().any(|word| column.contains(word))
}

/// Whether a column's definition computes it: `[GENERATED ALWAYS] AS (…)`. Its values may be other
/// ones afterwards, under the same type.
fn is_generated(part: &Cursor<'_>) -> bool {
    part.contains("AS") || part.contains("GENERATED") || part.contains("AUTO_INCREMENT")
}
