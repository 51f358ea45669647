//! Reads tables and columns from information_schema: few queries however many tables there are,
//! because each one costs the server a walk over its dictionary (MariaDB: over its table files).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Params, Row, Value};

use super::catalog::{CatalogColumn, CatalogTable};
use super::error::MysqlError;
use crate::config::TablePatterns;
use crate::event::{ColumnName, TableId};
use crate::source::Estimate;

/// A captured table, without its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableFacts {
    /// Which.
    pub id: TableId,
    /// Its storage engine.
    pub engine: String,
    /// Whether MariaDB keeps the history of its rows in it.
    pub versioned: bool,
    /// Its size.
    pub estimate: Estimate,
}

/// A foreign key through which a change of one table changes rows of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cascade {
    /// The table whose rows change by themselves.
    pub child: TableId,
    /// The table whose change is the cause.
    pub parent: TableId,
    /// The constraint's name.
    pub constraint: String,
}

impl fmt::Display for Cascade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {} of {}", self.child, self.constraint, self.parent)
    }
}

impl Cascade {
    /// What can be done where the log does not tell of such changes.
    pub const CURE: &str = "use MySQL 9.6 or later with innodb_native_foreign_keys=OFF, or delete children in the application, \
                            or resync the children after such changes";
}

/// How often what the catalog says of a table is read if its parts do not fit each other: DDL ran in between.
const ATTEMPTS: usize = 16;

/// The captured tables that exist, in the order of their names.
///
/// # Errors
/// [`MysqlError`] of the query.
pub async fn list_tables(conn: &mut Conn, patterns: &TablePatterns) -> Result<Vec<TableFacts>, MysqlError> {
    const QUERY: &str = "SELECT TABLE_SCHEMA AS s, TABLE_NAME AS t, IFNULL(ENGINE, '') AS e, \
         TABLE_TYPE = 'SYSTEM VERSIONED' AS v, \
         CAST(IFNULL(TABLE_ROWS, 0) AS UNSIGNED) AS n, CAST(IFNULL(DATA_LENGTH, 0) AS UNSIGNED) AS b \
         FROM information_schema.TABLES WHERE TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED') \
         AND TABLE_SCHEMA NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys')";
    let rows: Vec<(String, String, String, bool, u64, u64)> = conn.query(QUERY).await?;
    let mut tables: Vec<TableFacts> = rows
        .into_iter()
        .map(|(schema, name, engine, versioned, rows, bytes)| TableFacts {
            id: TableId::new(schema, name),
            engine,
            versioned,
            estimate: Estimate { rows, bytes },
        })
        .filter(|table| patterns.matches(&table.id))
        .collect();
    tables.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(tables)
}

/// The captured tables with their columns, in the order of their names.
///
/// # Errors
/// [`MysqlError`] of the queries.
pub async fn read_tables(conn: &mut Conn, patterns: &TablePatterns) -> Result<Vec<CatalogTable>, MysqlError> {
    let tables = list_tables(conn, patterns).await?;
    let ids: BTreeSet<TableId> = tables.into_iter().map(|table| table.id).collect();
    read_columns(conn, &ids).await
}

/// One table with its columns; `None` if there is none of this name.
///
/// # Errors
/// [`MysqlError`] of the queries.
pub async fn read_table(conn: &mut Conn, table: &TableId) -> Result<Option<CatalogTable>, MysqlError> {
    let ids = BTreeSet::from([table.clone()]);
    Ok(read_columns(conn, &ids).await?.pop())
}

/// A table's size as the server estimates it; zeros if there is no such table.
///
/// # Errors
/// [`MysqlError`] of the query.
pub async fn read_estimate(conn: &mut Conn, table: &TableId) -> Result<Estimate, MysqlError> {
    const QUERY: &str = "SELECT CAST(IFNULL(TABLE_ROWS, 0) AS UNSIGNED) AS n, \
         CAST(IFNULL(DATA_LENGTH, 0) AS UNSIGNED) AS b \
         FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?";
    let row: Option<(u64, u64)> = conn.exec_first(QUERY, (table.schema(), table.name())).await?;
    let (rows, bytes) = row.unwrap_or_default();
    Ok(Estimate { rows, bytes })
}

/// Foreign keys that change rows of their child table by themselves, over the schemas of `tables`.
///
/// # Errors
/// [`MysqlError`] of the query.
pub async fn read_cascades(conn: &mut Conn, tables: &[&TableId]) -> Result<Vec<Cascade>, MysqlError> {
    let schemas: BTreeSet<&str> = tables.iter().map(|table| table.schema()).collect();
    if schemas.is_empty() {
        return Ok(Vec::new());
    }
    let query = format!(
        "SELECT CONSTRAINT_SCHEMA AS s, TABLE_NAME AS t, UNIQUE_CONSTRAINT_SCHEMA AS ps, \
         REFERENCED_TABLE_NAME AS p, CONSTRAINT_NAME AS c \
         FROM information_schema.REFERENTIAL_CONSTRAINTS \
         WHERE (DELETE_RULE IN ('CASCADE', 'SET NULL', 'SET DEFAULT') \
         OR UPDATE_RULE IN ('CASCADE', 'SET NULL', 'SET DEFAULT')) AND CONSTRAINT_SCHEMA IN ({})",
        placeholders(schemas.len())
    );
    let rows: Vec<(String, String, String, String, String)> =
        conn.exec(query, positional(schemas.iter().copied())).await?;
    Ok(rows
        .into_iter()
        .map(|(schema, table, parent_schema, parent, constraint)| Cascade {
            child: TableId::new(schema, table),
            parent: TableId::new(parent_schema, parent),
            constraint,
        })
        .filter(|cascade| tables.contains(&&cascade.child))
        .collect())
}

/// Columns and keys come from two queries; what they say of the key must fit, or DDL ran in between
/// and both are read again.
async fn read_columns(conn: &mut Conn, ids: &BTreeSet<TableId>) -> Result<Vec<CatalogTable>, MysqlError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let (mut done, mut before) = (BTreeMap::new(), BTreeMap::new());
    let mut asked = ids.clone();
    for _ in 0..ATTEMPTS {
        let filter = Filter::new(&asked);
        let columns = query_columns(conn, &filter).await?;
        let keys = query_keys(conn, &filter).await?;
        let (tables, mut misfits) = assemble(&asked, columns, keys);
        for table in tables {
            // A table with a unique key and no primary one shows the former as if it were the latter.
            // That does not change on a second look, unlike DDL.
            if misfits.contains(&table.id) && before.get(&table.id) != Some(&table) {
                before.insert(table.id.clone(), table);
            } else {
                misfits.remove(&table.id);
                done.insert(table.id.clone(), table);
            }
        }
        if misfits.is_empty() {
            return Ok(done.into_values().collect());
        }
        asked = misfits;
    }
    Err(MysqlError::Lost(
        "the catalog kept changing while it was read".to_owned(),
    ))
}

struct Filter {
    sql: String,
    values: Vec<String>,
}

impl Filter {
    /// One table by its name, so that the server opens no other; else all of the schemas.
    fn new(ids: &BTreeSet<TableId>) -> Filter {
        if let (1, Some(table)) = (ids.len(), ids.first()) {
            return Filter {
                sql: "TABLE_SCHEMA = ? AND TABLE_NAME = ?".to_owned(),
                values: vec![table.schema().to_owned(), table.name().to_owned()],
            };
        }
        let schemas: BTreeSet<&str> = ids.iter().map(TableId::schema).collect();
        Filter {
            sql: format!("TABLE_SCHEMA IN ({})", placeholders(schemas.len())),
            values: schemas.into_iter().map(str::to_owned).collect(),
        }
    }

    fn params(&self) -> Params {
        positional(self.values.iter().map(String::as_str))
    }
}

fn placeholders(count: usize) -> String {
    vec!["?"; count].join(", ")
}

fn positional<'a>(values: impl Iterator<Item = &'a str>) -> Params {
    Params::Positional(values.map(Value::from).collect())
}

struct ColumnRow {
    table: TableId,
    ordinal: u64,
    flagged_as_key: bool,
    column: CatalogColumn,
}

async fn query_columns(conn: &mut Conn, filter: &Filter) -> Result<Vec<ColumnRow>, MysqlError> {
    // A generated invisible primary key is hidden from this session on servers that are set so, unless
    // it asks; servers that do not know the variable hide nothing.
    ignore_server_error(
        conn.query_drop("SET SESSION show_gipk_in_create_table_and_information_schema = ON")
            .await,
    )?;
    let query = format!(
        "SELECT TABLE_SCHEMA AS s, TABLE_NAME AS t, CAST(ORDINAL_POSITION AS UNSIGNED) AS o, COLUMN_NAME AS n, \
         COLUMN_TYPE AS ct, DATA_TYPE AS dt, CHARACTER_SET_NAME AS cs, COLLATION_NAME AS co, IS_NULLABLE AS nu, \
         COLUMN_KEY AS k, EXTRA AS x, IFNULL(GENERATION_EXPRESSION, '') AS g FROM information_schema.COLUMNS WHERE {}",
        filter.sql
    );
    let rows: Vec<Row> = conn.exec(query, filter.params()).await?;
    rows.iter()
        .map(|row| {
            column_row(row).ok_or_else(|| MysqlError::Unexpected {
                query: "SELECT … FROM information_schema.COLUMNS",
                reason: "a column is missing or of another type".to_owned(),
            })
        })
        .collect()
}

fn column_row(row: &Row) -> Option<ColumnRow> {
    let text = |index: usize| row.get_opt::<String, _>(index)?.ok();
    let optional = |index: usize| row.get_opt::<Option<String>, _>(index)?.ok();
    let extra = text(10)?.to_ascii_uppercase();
    let mut column_type = text(4)?;
    // The ends of a row's time in a table with history: no columns of a row like others.
    let period = text(11)?;
    if ["ROW START", "ROW END"].contains(&period.as_str()) {
        column_type = format!("{column_type} GENERATED ALWAYS AS {period}");
    }
    Some(ColumnRow {
        table: TableId::new(text(0)?, text(1)?),
        ordinal: row.get_opt::<u64, _>(2)?.ok()?,
        flagged_as_key: text(9)? == "PRI",
        column: CatalogColumn {
            name: ColumnName::new(text(3)?),
            column_type,
            data_type: text(5)?.to_ascii_lowercase(),
            charset: optional(6)?,
            collation: optional(7)?,
            nullable: text(8)?.eq_ignore_ascii_case("YES"),
            key: None,
            // DEFAULT_GENERATED marks an expression as default, not a generated column.
            generated: ["VIRTUAL GENERATED", "STORED GENERATED", "PERSISTENT"]
                .iter()
                .any(|mark| extra.contains(mark)),
            invisible: extra.contains("INVISIBLE"),
        },
    })
}

/// Key columns with their places, by table.
type Keys = HashMap<TableId, BTreeMap<String, u16>>;

async fn query_keys(conn: &mut Conn, filter: &Filter) -> Result<Keys, MysqlError> {
    let query = format!(
        "SELECT TABLE_SCHEMA AS s, TABLE_NAME AS t, COLUMN_NAME AS n, CAST(SEQ_IN_INDEX AS UNSIGNED) AS q \
         FROM information_schema.STATISTICS WHERE INDEX_NAME = 'PRIMARY' AND {}",
        filter.sql
    );
    let rows: Vec<(String, String, String, u16)> = conn.exec(query, filter.params()).await?;
    let mut keys = Keys::new();
    for (schema, table, column, sequence) in rows {
        keys.entry(TableId::new(schema, table))
            .or_default()
            .insert(column, sequence.saturating_sub(1));
    }
    Ok(keys)
}

/// The tables, and whether the two readings fit each other.
/// Tables of what was read of them, and those of which it does not fit.
fn assemble(
    ids: &BTreeSet<TableId>,
    mut rows: Vec<ColumnRow>,
    mut keys: Keys,
) -> (Vec<CatalogTable>, BTreeSet<TableId>) {
    rows.retain(|row| ids.contains(&row.table));
    rows.sort_by(|a, b| a.table.cmp(&b.table).then(a.ordinal.cmp(&b.ordinal)));
    let mut tables: Vec<CatalogTable> = Vec::new();
    let mut misfits = BTreeSet::new();
    for row in rows {
        let place = keys
            .get_mut(&row.table)
            .and_then(|key| key.remove(row.column.name.as_str()));
        if place.is_some() != row.flagged_as_key {
            misfits.insert(row.table.clone());
        }
        let column = CatalogColumn {
            key: place,
            ..row.column
        };
        match tables.last_mut().filter(|table| table.id == row.table) {
            Some(table) => table.columns.push(column),
            None => tables.push(CatalogTable {
                id: row.table,
                columns: vec![column],
            }),
        }
    }
    let left = keys.into_iter().filter(|(_, key)| !key.is_empty());
    misfits.extend(left.map(|(table, _)| table).filter(|table| ids.contains(table)));
    (tables, misfits)
}

/// Lets pass what the server has against a statement that only some servers know.
fn ignore_server_error(result: mysql_async::Result<()>) -> Result<(), MysqlError> {
    match result {
        Err(mysql_async::Error::Server(_)) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
