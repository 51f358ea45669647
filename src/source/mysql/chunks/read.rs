//! Reads a chunk: one SELECT over the binary protocol, its rows handed on in batches as they arrive.

use futures_util::TryStreamExt;
use mysql_async::prelude::{Query, ToConnection, WithParams};
use mysql_async::{BinaryProtocol, ResultSetStream, Row, Value};

use super::{ChunkError, key};
use crate::event::{Chunk, TableId};
use crate::source::mysql::catalog::CatalogTable;
use crate::source::mysql::error::MysqlError;

/// When a batch is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Rows, at least 1.
    pub rows: usize,
    /// Bytes of cells; the row that reaches it is the batch's last.
    pub bytes: usize,
}

impl Default for BatchLimits {
    fn default() -> BatchLimits {
        let bytes = 4 << 20;
        BatchLimits { rows: 4096, bytes }
    }
}

/// The rows of a chunk, in no promised order.
pub struct ChunkStream<'a, 't: 'a> {
    table: TableId,
    limits: BatchLimits,
    rows: Option<ResultSetStream<'a, 'a, 't, Row, BinaryProtocol>>,
}

impl std::fmt::Debug for ChunkStream<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChunkStream")
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}

/// Begins to read a chunk. The connection is one of `connect_query`; owned (then the stream lives as
/// long as it likes and the connection is closed after it) or borrowed. Columns come in the table's
/// order, every one of them. All rows are of one consistent read.
///
/// # Errors
/// [`ChunkError`]
pub async fn read_chunk<'a, 't: 'a, C>(
    conn: C,
    table: &CatalogTable,
    chunk: &Chunk,
    limits: BatchLimits,
) -> Result<ChunkStream<'a, 't>, ChunkError>
where
    C: ToConnection<'a, 't> + 'a,
{
    let query = key::read_query(table, chunk)?;
    let failed = |error: mysql_async::Error| MysqlError::from(error).of_table(&table.id);
    let result = query.with(()).run(conn).await.map_err(failed)?;
    let rows = result.stream_and_drop::<Row>().await.map_err(failed)?;
    Ok(ChunkStream {
        table: table.id.clone(),
        limits,
        rows,
    })
}

impl ChunkStream<'_, '_> {
    /// The next rows, at least one; `None` after the last.
    ///
    /// # Errors
    /// [`MysqlError`]: the chunk is not whole, and is to be read again from its start.
    pub async fn next_batch(&mut self) -> Result<Option<Vec<Row>>, MysqlError> {
        let Some(rows) = &mut self.rows else {
            return Ok(None);
        };
        let mut batch = Vec::new();
        let mut bytes = 0_usize;
        while batch.len() < self.limits.rows.max(1) && bytes < self.limits.bytes.max(1) {
            match rows.try_next().await {
                Ok(Some(row)) => {
                    bytes = bytes.saturating_add(row_bytes(&row));
                    batch.push(row);
                }
                Ok(None) => {
                    self.rows = None;
                    break;
                }
                Err(error) => {
                    self.rows = None;
                    return Err(MysqlError::from(error).of_table(&self.table));
                }
            }
        }
        Ok((!batch.is_empty()).then_some(batch))
    }
}

/// What a row's cells hold in memory.
fn row_bytes(row: &Row) -> usize {
    (0..row.len())
        .map(|index| match row.as_ref(index) {
            Some(Value::Bytes(bytes)) => bytes.len() + size_of::<Value>(),
            _ => size_of::<Value>(),
        })
        .sum()
}
