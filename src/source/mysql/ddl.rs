//! What a statement in the log does. Row changes come as rows events; statements come for the rest:
//! transaction boundaries, DDL, and, where someone wrote in statement format, changes without rows.
//! Columns are never taken from here (each TABLE_MAP describes itself): a statement is classified and
//! the tables it names are told, no more. What is not recognised is said to be so, never guessed.

mod alter;
mod cursor;
mod dml;

#[cfg(test)]
mod tests;

use super::lexer::{self, Dialect};
use crate::event::{AlterSaid, TableId};
use cursor::Cursor;

/// A statement's class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// A transaction begins.
    Begin,
    /// A transaction is committed (one with tables of a non-transactional engine).
    Commit,
    /// A transaction is rolled back.
    Rollback,
    /// A savepoint is set or released.
    Savepoint,
    /// The changes since a savepoint are undone, although their rows events stand in the log.
    RollbackToSavepoint,
    /// `XA START`.
    XaStart,
    /// `XA END`.
    XaEnd,
    /// `XA PREPARE`.
    XaPrepare,
    /// `XA COMMIT`.
    XaCommit,
    /// `XA ROLLBACK`.
    XaRollback,
    /// A change of tables' definitions or a change of rows that leaves no rows events.
    Ddl {
        /// Which.
        kind: DdlKind,
        /// The tables it names, with the default schema filled in.
        tables: Vec<TableId>,
    },
    /// Rows written by statement.
    Dml {
        /// The tables that it may write, as far as the text names them; `None`: cannot be told. Triggers and functions may write more.
        tables: Option<Vec<TableId>>,
    },
    /// `DROP DATABASE`.
    DropDatabase {
        /// Which.
        schema: String,
    },
    /// A statement that changes no rows and no table's columns.
    Other,
    /// None of these: it must be treated as one that may change anything.
    Unrecognised,
}

/// What a DDL statement does to the tables it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DdlKind {
    /// Changes columns, keys, indexes or options; rows follow the columns.
    AlterTable {
        /// What it says of columns.
        said: AlterSaid,
    },
    /// Creates a table.
    CreateTable {
        /// `CREATE OR REPLACE`: a table of this name is dropped first.
        or_replace: bool,
        /// With rows from a query: rows events of the same transaction follow.
        select: bool,
        /// `START TRANSACTION` at the end: how MySQL 8.0.21 and later write a CREATE TABLE … SELECT.
        start_transaction: bool,
    },
    /// Drops tables.
    DropTable,
    /// Renames tables, one pair after the other.
    RenameTable {
        /// From and to.
        pairs: Vec<(TableId, TableId)>,
    },
    /// Deletes all rows.
    TruncateTable,
    /// Changes rows without rows events in another way: partitions dropped, truncated or exchanged,
    /// tablespaces discarded or imported, duplicates dropped by ALTER IGNORE, a column dropped and added
    /// again under its name, a generated column defined anew.
    PartitionRows,
}

/// Classifies a statement as the log holds it; `schema` is the default one of its session.
pub fn classify(text: &str, schema: &str, dialect: Dialect) -> Statement {
    let Ok(tokens) = lexer::tokens(text, dialect) else {
        return Statement::Unrecognised;
    };
    let mut cursor = Cursor::new(&tokens, schema, dialect);
    statement(&mut cursor).unwrap_or(Statement::Unrecognised)
}

/// `None`: not recognised.
fn statement(cursor: &mut Cursor<'_>) -> Option<Statement> {
    let Some(verb) = cursor.word() else {
        return cursor.is_at_end().then_some(Statement::Other);
    };
    match verb.as_str() {
        "BEGIN" => Some(Statement::Begin),
        "COMMIT" => Some(Statement::Commit),
        "SAVEPOINT" | "RELEASE" => Some(Statement::Savepoint),
        "ROLLBACK" => Some(rollback(cursor)),
        "START" if cursor.take("TRANSACTION") => Some(Statement::Begin),
        "XA" => xa(cursor),
        "CREATE" => create(cursor),
        "ALTER" => alter::alter(cursor),
        "DROP" => drop_statement(cursor),
        "RENAME" => rename(cursor),
        "TRUNCATE" => truncate(cursor),
        "SET" if cursor.take("STATEMENT") => {
            cursor.skip_past("FOR")?;
            statement(cursor)
        }
        "INSERT" | "REPLACE" | "UPDATE" | "DELETE" | "WITH" | "LOAD" | "SELECT" | "DO" | "CALL"
        | "VALUES" | "TABLE" | "BINLOG" => dml::dml(&verb, cursor),
        "ANALYZE" | "CACHE" | "CHANGE" | "CHECK" | "CHECKSUM" | "CLONE" | "COMMENT" | "DEALLOCATE"
        | "DESC" | "DESCRIBE" | "EXPLAIN" | "FLUSH" | "GRANT" | "HELP" | "INSTALL" | "KILL" | "LOCK"
        | "OPTIMIZE" | "PREPARE" | "PURGE" | "REPAIR" | "RESET" | "RESTART" | "REVOKE" | "SET" | "SHOW"
        | "SHUTDOWN" | "START" | "STOP" | "UNINSTALL" | "UNLOCK" | "USE" | "BACKUP" => Some(Statement::Other),
        _ => None,
    }
}

fn rollback(cursor: &mut Cursor<'_>) -> Statement {
    cursor.take("WORK");
    match cursor.take("TO") {
        true => Statement::RollbackToSavepoint,
        false => Statement::Rollback,
    }
}

fn xa(cursor: &mut Cursor<'_>) -> Option<Statement> {
    Some(match cursor.word()?.as_str() {
        "START" | "BEGIN" => Statement::XaStart,
        "END" => Statement::XaEnd,
        "PREPARE" => Statement::XaPrepare,
        "COMMIT" => Statement::XaCommit,
        "ROLLBACK" => Statement::XaRollback,
        "RECOVER" => Statement::Other,
        _ => return None,
    })
}

/// What may stand between CREATE, ALTER or DROP and the kind of an object other than a table.
const MODIFIERS: [&str; 12] = [
    "OR",
    "REPLACE",
    "TEMPORARY",
    "AGGREGATE",
    "SQL",
    "SECURITY",
    "INVOKER",
    "UNDO",
    "RESOURCE",
    "EXTERNAL",
    "JSON",
    "MATERIALIZED",
];

/// Kinds of objects that hold no captured rows.
const OBJECTS: [&str; 24] = [
    "DATABASE",
    "SCHEMA",
    "VIEW",
    "TRIGGER",
    "PROCEDURE",
    "FUNCTION",
    "EVENT",
    "USER",
    "ROLE",
    "SERVER",
    "TABLESPACE",
    "LOGFILE",
    "GROUP",
    "SPATIAL",
    "PACKAGE",
    "SEQUENCE",
    "LIBRARY",
    "DUALITY",
    "RELATIONAL",
    "PREPARE",
    "INSTANCE",
    "CATALOG",
    "MASKING",
    "HANDLER",
];

/// Whether the statement is about an object that holds no captured rows; `DEFINER=…` and
/// `ALGORITHM=…` clauses before the object's kind are passed over.
fn other_object(cursor: &mut Cursor<'_>) -> Option<Statement> {
    loop {
        let word = cursor.word()?;
        match word.as_str() {
            "DEFINER" => skip_account(cursor)?,
            "ALGORITHM" => {
                cursor.take_symbol('=');
                cursor.name()?;
            }
            word if OBJECTS.contains(&word) => return Some(Statement::Other),
            word if MODIFIERS.contains(&word) => {}
            _ => return None,
        }
    }
}

/// `= user@host`, `= 'user'@'host'`, `= CURRENT_USER()`.
fn skip_account(cursor: &mut Cursor<'_>) -> Option<()> {
    if !cursor.take_symbol('=') {
        // SQL SECURITY DEFINER
        return Some(());
    }
    cursor.name_or_text()?;
    if cursor.take_symbol('@') {
        cursor.name_or_text()?;
        // An unquoted host may have points.
        while cursor.take_symbol('.') || cursor.take_symbol('-') || cursor.take_symbol('%') {
            cursor.name_or_text();
        }
    } else if cursor.take_symbol('(') {
        cursor.take_symbol(')').then_some(())?;
    }
    Some(())
}

fn create(cursor: &mut Cursor<'_>) -> Option<Statement> {
    let start = cursor.position();
    let or_replace = cursor.take("OR") && cursor.take("REPLACE");
    let temporary = cursor.take("TEMPORARY");
    if cursor.take("TABLE") {
        cursor.take_if_exists();
        let table = cursor.table()?;
        if temporary {
            return Some(Statement::Other);
        }
        let kind = DdlKind::CreateTable {
            or_replace,
            select: cursor.has_query(),
            start_transaction: cursor.ends_with(&["START", "TRANSACTION"]),
        };
        let tables = vec![table];
        return Some(Statement::Ddl { kind, tables });
    }
    while cursor.take_any(&["ONLINE", "OFFLINE", "UNIQUE", "FULLTEXT", "SPATIAL", "VECTOR"]) {}
    if cursor.take("INDEX") {
        return index(cursor);
    }
    cursor.rewind(start);
    other_object(cursor)
}

/// `… INDEX name … ON table`: the name may be followed by USING BTREE; ON is reserved.
fn index(cursor: &mut Cursor<'_>) -> Option<Statement> {
    cursor.take_if_exists();
    cursor.skip_past("ON")?;
    let tables = vec![cursor.table()?];
    let kind = DdlKind::AlterTable {
        said: AlterSaid::default(),
    };
    Some(Statement::Ddl { kind, tables })
}

fn drop_statement(cursor: &mut Cursor<'_>) -> Option<Statement> {
    let start = cursor.position();
    let temporary = cursor.take("TEMPORARY");
    if cursor.take_any(&["TABLE", "TABLES"]) {
        cursor.take_if_exists();
        let mut tables = vec![cursor.table()?];
        while cursor.take_symbol(',') {
            tables.push(cursor.table()?);
        }
        let kind = DdlKind::DropTable;
        return Some(match temporary {
            true => Statement::Other,
            false => Statement::Ddl { kind, tables },
        });
    }
    if cursor.take_any(&["DATABASE", "SCHEMA"]) {
        cursor.take_if_exists();
        let schema = cursor.folded_name()?;
        return Some(Statement::DropDatabase { schema });
    }
    while cursor.take_any(&["ONLINE", "OFFLINE"]) {}
    if cursor.take("INDEX") {
        return index(cursor);
    }
    cursor.rewind(start);
    other_object(cursor)
}

fn rename(cursor: &mut Cursor<'_>) -> Option<Statement> {
    if cursor.take("USER") {
        return Some(Statement::Other);
    }
    cursor.take_any(&["TABLE", "TABLES"]).then_some(())?;
    cursor.take_if_exists();
    let mut pairs = Vec::new();
    loop {
        let from = cursor.table()?;
        cursor.take_wait();
        cursor.take("TO").then_some(())?;
        pairs.push((from, cursor.table()?));
        if !cursor.take_symbol(',') {
            break;
        }
    }
    Some(renamed(pairs))
}

fn renamed(pairs: Vec<(TableId, TableId)>) -> Statement {
    let mut tables: Vec<TableId> = Vec::new();
    for table in pairs.iter().flat_map(|(from, to)| [from, to]) {
        if !tables.contains(table) {
            tables.push(table.clone());
        }
    }
    let kind = DdlKind::RenameTable { pairs };
    Statement::Ddl { kind, tables }
}

fn truncate(cursor: &mut Cursor<'_>) -> Option<Statement> {
    cursor.take("TABLE");
    let tables = vec![cursor.table()?];
    let kind = DdlKind::TruncateTable;
    Some(Statement::Ddl { kind, tables })
}
