//! Key ranges of a table: planned one after the other along the primary key, and read one at a time.
//! The server renders every bound as one of its own literals and is the only one to compare it, under
//! its own collations: any strictly rising series of bounds splits a table into ranges that hold each
//! row exactly once. Text is carried as the bytes of its own character set, floats with all digits.

mod key;
mod read;

pub use key::KeyPlan;
pub use read::{BatchLimits, ChunkStream, read_chunk};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::catalog::CatalogTable;
use super::error::MysqlError;
use crate::event::{Bound, Chunk, TableId};
use crate::fault::{Classify, Fault};

/// Why a table cannot be split or read in key ranges.
#[derive(Debug, thiserror::Error)]
pub enum ChunkError {
    /// There is no primary key to go along.
    #[error("{table} has no primary key")]
    NoKey {
        /// Which.
        table: TableId,
    },
    /// A key column is of a type that has no literal here.
    #[error("key column {column} of {table} is of type {declared}, which cannot be split into ranges")]
    KeyType {
        /// Which.
        table: TableId,
        /// The column.
        column: String,
        /// Its type.
        declared: String,
    },
    /// A stored bound does not belong to this key.
    #[error("a stored bound does not fit the primary key of {table}")]
    Bound {
        /// Which.
        table: TableId,
    },
    /// The server failed.
    #[error(transparent)]
    Mysql(#[from] MysqlError),
}

impl Classify for ChunkError {
    fn fault(&self) -> Fault {
        match self {
            ChunkError::NoKey { table } | ChunkError::KeyType { table, .. } | ChunkError::Bound { table } => {
                Fault::Table(table.clone())
            }
            ChunkError::Mysql(error) => error.fault(),
        }
    }

    fn outdated(&self) -> bool {
        matches!(self, ChunkError::Mysql(error) if error.outdated())
    }

    fn hint(&self) -> Option<String> {
        match self {
            ChunkError::NoKey { table } => Some(format!(
                "give {table} a primary key, or exclude it: tables: [\"!{table}\"]"
            )),
            ChunkError::KeyType { table, .. } => Some(format!("exclude it: tables: [\"!{table}\"]")),
            ChunkError::Bound { table } => {
                Some(format!("run `replicator resync {table}`: its key has changed"))
            }
            ChunkError::Mysql(error) => error.hint(),
        }
    }
}

/// Plans the chunk that begins after `after` and holds `rows` rows as the table is now; without
/// `upper` it is the last one. Rows that appear later fall into the chunk whose range holds them. A table without a
/// primary key is one chunk.
///
/// # Errors
/// [`ChunkError`]
pub async fn plan_chunk(
    conn: &mut Conn,
    table: &CatalogTable,
    after: Option<&Bound>,
    rows: u64,
) -> Result<Chunk, ChunkError> {
    if !table.is_keyed() {
        return Ok(Chunk {
            lower: None,
            upper: None,
        });
    }
    let key = KeyPlan::new(table)?;
    let query = key.plan_query(after, rows)?;
    let row: Option<mysql_async::Row> = conn
        .query_first(query)
        .await
        .map_err(|error| MysqlError::from(error).of_table(&table.id))?;
    let upper = match row {
        None => None,
        Some(row) => {
            let literals: Option<Vec<String>> = (0..key.len())
                .map(|index| row.get_opt::<String, _>(index)?.ok())
                .collect();
            let bound = Bound(literals.ok_or_else(|| MysqlError::Unexpected {
                query: "a chunk's upper bound",
                reason: "a literal is missing".to_owned(),
            })?);
            // Checked now, not when a restart reads it back.
            key.check(&bound)?;
            Some(bound)
        }
    };
    Ok(Chunk {
        lower: after.cloned(),
        upper,
    })
}
