//! How often the tables are written to, as the server has counted since it started: what a bill is
//! reckoned from before anything was copied.

use std::collections::HashMap;
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::error::MysqlError;
use crate::event::TableId;

/// Less time than this is too short to tell a rate from, in seconds.
const SHORTEST: u64 = 3600;

/// Writes of a table that the server has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Writes {
    /// Rows inserted.
    pub inserts: u64,
    /// Rows updated.
    pub updates: u64,
    /// Rows deleted.
    pub deletes: u64,
}

/// What the server counted, and for how long it has been up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// Time since the server started.
    pub up: Duration,
    /// The tables that it has counted for.
    pub tables: HashMap<TableId, Writes>,
}

/// Reads the counters of the performance schema; `None` if it is off, this account may not
/// read it, or the server has been up for less than an hour.
///
/// # Errors
/// [`MysqlError`] of the connection.
pub async fn read_writes(conn: &mut Conn) -> Result<Option<Counted>, MysqlError> {
    const QUERY: &str = "SELECT OBJECT_SCHEMA AS s, OBJECT_NAME AS t, COUNT_INSERT AS i, COUNT_UPDATE AS u, \
         COUNT_DELETE AS d FROM performance_schema.table_io_waits_summary_by_table \
         WHERE OBJECT_SCHEMA IS NOT NULL AND OBJECT_NAME IS NOT NULL";
    let rows: Vec<(String, String, u64, u64, u64)> = match conn.query(QUERY).await {
        Ok(rows) => rows,
        Err(mysql_async::Error::Server(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let up: Option<(String, u64)> = conn.query_first("SHOW GLOBAL STATUS LIKE 'Uptime'").await?;
    let seconds = up.map_or(0, |(_, seconds)| seconds);
    if rows.is_empty() || seconds < SHORTEST {
        return Ok(None);
    }
    let tables = rows.into_iter().map(|(schema, name, inserts, updates, deletes)| {
        let writes = Writes {
            inserts,
            updates,
            deletes,
        };
        (TableId::new(schema, name), writes)
    });
    Ok(Some(Counted {
        up: Duration::from_secs(seconds),
        tables: tables.collect(),
    }))
}
