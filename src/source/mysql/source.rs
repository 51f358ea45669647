//! A MySQL or MariaDB server as the pipeline sees it.

use std::sync::Arc;
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tokio::sync::mpsc;

use super::catalog_read::{read_estimate, read_table, read_tables};
use super::chunks::{BatchLimits, plan_chunk, read_chunk};
use super::connect::Connector;
use super::domains::read_domains;
use super::error::MysqlError;
use super::quoting::quoted_table;
use super::replica::read_lag;
use super::server::{LogFile, ServerInfo, read_gtid_sets};
use super::sessions::Sessions;
use super::stream::error::StreamError;
use super::stream::open::{Opener, identity};
use super::stream::raw;
use super::stream::reader_id::ReaderId;
use super::{CatalogTable, Decoder, snapshot_changes};
use crate::clock::Clock;
use crate::config::MysqlSource;
use crate::event::{
    BinlogCoord, Bound, Chunk, Epoch, GtidSet, LogPosition, ReadAt, RowChanges, Seen, TableId, TableLayout,
    TxnStart,
};
use crate::fault::{Classify, Fault, boxed};
use crate::source::{
    BoxFuture, ChunkRead, ChunkRows, Estimate, Opened, Reached, Retention, Source, SourceError, Watermark,
};
use crate::task::{self, Task};

/// Rows and bytes of one delivery of a snapshot.
const BATCH: BatchLimits = BatchLimits {
    rows: 10_000,
    bytes: 4 << 20,
};

/// How long `LOCK TABLES` may wait, seconds: while it waits, writers of the table wait behind it.
const LOCK_SECONDS: u32 = 2;

/// A server.
#[derive(Debug)]
pub struct Mysql {
    connector: Connector,
    sessions: Sessions,
    clock: Clock,
    reader_id: Arc<ReaderId>,
    chunk_rows: u64,
}

/// Why a chunk cannot be read now.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("the server does not have all transactions that the snapshot builds on yet")]
    Behind,
    #[error(
        "the server that answers is not the one whose log is followed, or its log ends before what was read of it"
    )]
    OtherLog,
    #[error("{table}: its columns changed: {text}")]
    Changed { table: TableId, text: String },
    #[error("{0} is gone")]
    Gone(TableId),
    #[error("the reading of {0} ended without its last row")]
    CutShort(TableId),
}

impl Classify for ReadError {
    fn fault(&self) -> Fault {
        match self {
            // The log will say so, and then the table is copied again as it is by then.
            ReadError::Behind | ReadError::OtherLog | ReadError::Changed { .. } | ReadError::Gone(_) => {
                Fault::RETRY
            }
            ReadError::CutShort(_) => Fault::Fatal,
        }
    }

    fn outdated(&self) -> bool {
        matches!(self, ReadError::Changed { .. } | ReadError::Gone(_))
    }

    fn hint(&self) -> Option<String> {
        match self {
            ReadError::Behind
            | ReadError::OtherLog
            | ReadError::CutShort(_)
            | ReadError::Changed { .. }
            | ReadError::Gone(_) => None,
        }
    }
}

impl Mysql {
    /// A source for a configured server; connects nowhere yet.
    pub fn new(source: MysqlSource, clock: Clock) -> Mysql {
        let reader_id = Arc::new(ReaderId::new(source.server_id));
        let chunk_rows = source.snapshot.rows_planned();
        let connector = Connector::new(source, clock.clone());
        Mysql {
            sessions: Sessions::new(connector.clone(), clock.clone()),
            connector,
            clock,
            reader_id,
            chunk_rows,
        }
    }

    /// The way to the server.
    pub fn connector(&self) -> &Connector {
        &self.connector
    }

    async fn catalog(&self) -> Result<Vec<CatalogTable>, MysqlError> {
        let mut conn = self.sessions.take().await?;
        let tables = read_tables(&mut conn, &self.connector.source().tables).await?;
        self.sessions.give(conn);
        Ok(tables)
    }

    async fn table(&self, conn: &mut Conn, table: &TableId) -> Result<CatalogTable, SourceError> {
        let found = read_table(conn, table).await.map_err(boxed)?;
        found.ok_or_else(|| boxed(ReadError::Gone(table.clone())))
    }

    /// A session that holds a table still, the server, and the end of its log: what wrote to the table is before it.
    async fn hold_still(&self, table: &TableId) -> Result<(Conn, ServerInfo, BinlogCoord), SourceError> {
        let mut conn = self.connector.connect_query().await.map_err(boxed)?;
        let lock = format!("LOCK TABLES {} READ", quoted_table(table));
        for statement in [format!("SET SESSION lock_wait_timeout = {LOCK_SECONDS}"), lock] {
            conn.query_drop(statement)
                .await
                .map_err(|error| boxed(MysqlError::from(error).of_table(table)))?;
        }
        // Nothing that wrote to the table is under way now, and what it wrote is before this place.
        let info = ServerInfo::read(&mut conn).await.map_err(boxed)?;
        let lost = |reason: &str| {
            boxed(StreamError::Lost {
                reason: reason.to_owned(),
            })
        };
        let current = info
            .current
            .as_ref()
            .ok_or_else(|| lost("the server shows no binlog position"))?;
        let file = raw::suffix(&current.name).ok_or_else(|| lost("the binlog's file name has no number"))?;
        let coord = BinlogCoord {
            file,
            offset: current.bytes,
        };
        Ok((conn, info, coord))
    }

    async fn locked_position(&self, table: &TableId, floor: &LogPosition) -> Result<Watermark, SourceError> {
        let (conn, info, coord) = self.hold_still(table).await?;
        let_go(conn).await?;
        let low = TxnStart {
            epoch: floor.next.epoch,
            coord: coord.max(floor.next.coord),
        };
        Ok(Watermark {
            low,
            seen: info.into_seen(),
        })
    }

    /// For a table without a primary key: holds it still until its one read has begun, so that the read's place
    /// in the log is known exactly.
    async fn hold_for(&self, read: &ChunkRead) -> Result<(Conn, TxnStart, Option<Seen>), SourceError> {
        let (conn, server, coord) = self.hold_still(&read.layout.table).await?;
        let reached = &read.reached;
        if identity(&server) != *reached.server || coord < reached.next.coord {
            return Err(boxed(ReadError::OtherLog));
        }
        let epoch = reached.next.epoch;
        // Below a statement at this very place, and above the table's earlier copies.
        let low = TxnStart { epoch, coord }.first_low().max(read.low);
        Ok((conn, low, server.into_seen()))
    }

    /// Tells of XA transactions that were prepared before the log is read for the first time. Their rows are
    /// looked for in the log when they are committed.
    async fn tell_prepared(&self) -> Result<(), MysqlError> {
        let mut conn = self.sessions.take().await?;
        match conn.query::<mysql_async::Row, _>("XA RECOVER").await {
            Ok(rows) if rows.is_empty() => {}
            Ok(rows) => tracing::warn!(
                prepared = rows.len(),
                cure = "commit them or roll them back (XA RECOVER shows them), or keep all binlogs until they are",
                "XA transactions were prepared before the log is read: their tables are parked if they are \
                 committed after the log has lost their rows"
            ),
            // Without the privilege to see them, or the statement, nothing is known of them.
            Err(mysql_async::Error::Server(error)) => {
                tracing::info!(code = error.code, "prepared XA transactions cannot be seen");
            }
            Err(error) => return Err(error.into()),
        }
        self.sessions.give(conn);
        Ok(())
    }

    /// Sees that the chunk can be read as it was planned, in a transaction that reads it then.
    async fn begin_read(&self, conn: &mut Conn, read: &ChunkRead) -> Result<Selected, SourceError> {
        let table = &read.layout.table;
        if let Some(seen) = &read.seen {
            let has = match seen {
                Seen::Gtids(seen) => seen.is_subset(&read_gtid_sets(conn).await.map_err(boxed)?.0),
                Seen::Domains(seen) => read_domains(conn).await.map_err(boxed)?.shows(seen),
            };
            if !has {
                return Err(boxed(ReadError::Behind));
            }
        }
        let (held, low, seen, begin) = if read.layout.is_keyed() {
            (None, read.low, None, "START TRANSACTION READ ONLY")
        } else {
            let (held, low, seen) = self.hold_for(read).await?;
            // What it sees is settled now, while the table is held, and not when the first row is read.
            let begin = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";
            (Some(held), low, seen, begin)
        };
        // From its first touch to the transaction's end the table's definition cannot change, so the
        // columns seen now are the columns read.
        for statement in [
            begin.to_owned(),
            format!("SELECT 1 FROM {} LIMIT 0", quoted_table(table)),
        ] {
            conn.query_drop(statement)
                .await
                .map_err(|error| boxed(MysqlError::from(error).of_table(table)))?;
        }
        let Some(catalog) = read_table(conn, table).await.map_err(boxed)? else {
            return Err(boxed(ReadError::Gone(table.clone())));
        };
        let decoder = Decoder::from_catalog(&catalog).map_err(boxed)?;
        if let Some(text) = read.layout.difference(decoder.layout()) {
            return Err(boxed(ReadError::Changed {
                table: table.clone(),
                text,
            }));
        }
        Ok(Selected {
            catalog,
            decoder: Arc::new(decoder),
            at: ReadAt {
                low,
                began_micros: self.clock.unix_micros(),
            },
            seen,
            held,
        })
    }
}

/// A table in the transaction that reads a chunk of it.
struct Selected {
    catalog: CatalogTable,
    decoder: Arc<Decoder>,
    at: ReadAt,
    /// What the server had executed by then, if the table was held and there are identifiers.
    seen: Option<Seen>,
    /// Holds the table still until the first row is there.
    held: Option<Conn>,
}

/// Reads a chunk to its end, handing its rows on as they come; the session is then free again.
async fn read_out(
    mut conn: Conn,
    selected: Selected,
    read: ChunkRead,
    sessions: Sessions,
    batches: mpsc::Sender<Result<Option<RowChanges>, SourceError>>,
) {
    let handed_on = async {
        let mut next = 1;
        let mut rows = read_chunk(&mut conn, &selected.catalog, &read.chunk, BATCH)
            .await
            .map_err(boxed)?;
        if let Some(held) = selected.held {
            let_go(held).await?;
        }
        while let Some(rows) = rows.next_batch().await.map_err(boxed)? {
            let count = u64::try_from(rows.len()).unwrap_or(u64::MAX);
            let changes = snapshot_changes(&selected.decoder, rows, selected.at, next);
            next = next.saturating_add(count);
            if batches.send(Ok(Some(changes))).await.is_err() {
                return Ok(false);
            }
        }
        drop(rows);
        let committed = conn.query_drop("COMMIT").await;
        committed.map_err(|error| boxed(MysqlError::from(error)))?;
        Ok(true)
    };
    match handed_on.await {
        Ok(true) => {
            sessions.give(conn);
            let _unheard = batches.send(Ok(None)).await;
        }
        // Nobody wants the rest: the connection ends with its result unread.
        Ok(false) => {}
        Err(error) => {
            // Who read may have stopped in the meantime.
            let _unheard = batches.send(Err(error)).await;
        }
    }
}

/// Ends a session's locks, and the session.
async fn let_go(mut conn: Conn) -> Result<(), SourceError> {
    let released = async {
        conn.query_drop("UNLOCK TABLES").await?;
        conn.disconnect().await
    };
    released.await.map_err(|error| boxed(MysqlError::from(error)))
}

/// The rows of a chunk, read ahead by one batch: the server sends the next while one is encoded.
struct Reader {
    table: TableId,
    at: ReadAt,
    /// Whether the rows are all that was committed before `at`, and nothing else.
    exact: bool,
    seen: Option<Seen>,
    /// `None` after the last: a reader that ended without it did not read everything.
    batches: mpsc::Receiver<Result<Option<RowChanges>, SourceError>>,
    _task: Task<()>,
}

impl ChunkRows for Reader {
    fn at(&self) -> Option<ReadAt> {
        self.exact.then_some(self.at)
    }

    fn is_passed(&self, reached: &Reached) -> bool {
        // A log that is opened by a set of transactions has no place before the next one comes.
        let by_set = match (&self.seen, &reached.seen) {
            (Some(Seen::Gtids(seen)), Some(Seen::Gtids(reached))) => seen.is_subset(reached),
            // Not a higher number: a session may give its transaction any.
            (Some(Seen::Domains(seen)), Some(Seen::Domains(reached))) => seen == reached,
            _ => false,
        };
        by_set || reached.next >= self.at.low
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Option<RowChanges>, SourceError>> {
        Box::pin(async {
            let batch = self.batches.recv().await;
            batch.unwrap_or_else(|| Err(boxed(ReadError::CutShort(self.table.clone()))))
        })
    }
}

impl Source for Mysql {
    fn tables<'a>(&'a self, known: &'a [TableId]) -> BoxFuture<'a, Result<Vec<TableLayout>, SourceError>> {
        Box::pin(async move {
            let tables = self.catalog().await.map_err(boxed)?;
            let layout = |table: &CatalogTable| {
                Decoder::from_catalog(table).map(|decoder| (**decoder.layout()).clone())
            };
            let new = tables.iter().filter(|table| !known.contains(&table.id));
            new.map(layout).collect::<Result<_, _>>().map_err(boxed)
        })
    }

    fn layout<'a>(&'a self, table: &'a TableId) -> BoxFuture<'a, Result<Option<TableLayout>, SourceError>> {
        Box::pin(async move {
            let mut conn = self.sessions.take().await.map_err(boxed)?;
            let found = read_table(&mut conn, table).await.map_err(boxed)?;
            self.sessions.give(conn);
            let layout = |table| Decoder::from_catalog(&table).map(|decoder| (**decoder.layout()).clone());
            found.map(layout).transpose().map_err(boxed)
        })
    }

    fn open(
        &self,
        from: Option<LogPosition>,
        last: Epoch,
        known: Vec<TableId>,
    ) -> BoxFuture<'_, Result<Opened, SourceError>> {
        Box::pin(async move {
            let catalog = self.catalog().await.map_err(boxed)?;
            let opener = Opener {
                connector: &self.connector,
                clock: &self.clock,
                reader_id: Arc::clone(&self.reader_id),
                catalog,
                known,
            };
            let first = from.is_none();
            let (position, items) = opener.open(from, last).await.map_err(boxed)?;
            if first {
                self.tell_prepared().await.map_err(boxed)?;
            }
            Ok(Opened {
                position,
                items: Box::new(items),
            })
        })
    }

    fn captures(&self, table: &TableId) -> bool {
        self.connector.source().tables.matches(table)
    }

    fn watermark<'a>(
        &'a self,
        table: &'a TableId,
        floor: &'a LogPosition,
    ) -> BoxFuture<'a, Result<Watermark, SourceError>> {
        Box::pin(async move {
            match &floor.gtids {
                // What was read of the log by then is visible on every server that has executed it,
                // which each chunk checks for itself.
                Some(GtidSet { .. }) => Ok(Watermark {
                    low: floor.next,
                    seen: floor.seen(),
                }),
                None => self.locked_position(table, floor).await,
            }
        })
    }

    fn plan<'a>(
        &'a self,
        layout: &'a TableLayout,
        _low: TxnStart,
        after: Option<&'a Bound>,
    ) -> BoxFuture<'a, Result<Chunk, SourceError>> {
        Box::pin(async move {
            let mut conn = self.sessions.take().await.map_err(boxed)?;
            let table = self.table(&mut conn, &layout.table).await?;
            let chunk = plan_chunk(&mut conn, &table, after, self.chunk_rows)
                .await
                .map_err(boxed)?;
            self.sessions.give(conn);
            Ok(chunk)
        })
    }

    fn read(&self, read: ChunkRead) -> BoxFuture<'_, Result<Box<dyn ChunkRows>, SourceError>> {
        Box::pin(async move {
            let mut conn = self.sessions.take().await.map_err(boxed)?;
            let selected = self.begin_read(&mut conn, &read).await?;
            let (sender, batches) = mpsc::channel(1);
            let (table, at, seen) = (read.layout.table.clone(), selected.at, selected.seen.clone());
            let exact = selected.held.is_some();
            let task = read_out(conn, selected, read, self.sessions.clone(), sender);
            let reader: Box<dyn ChunkRows> = Box::new(Reader {
                table,
                at,
                exact,
                seen,
                batches,
                _task: task::spawn("chunk reader", task),
            });
            Ok(reader)
        })
    }

    fn estimate<'a>(&'a self, table: &'a TableId) -> BoxFuture<'a, Result<Estimate, SourceError>> {
        Box::pin(async move {
            let mut conn = self.sessions.take().await.map_err(boxed)?;
            let estimate = read_estimate(&mut conn, table).await.map_err(boxed)?;
            self.sessions.give(conn);
            Ok(estimate)
        })
    }

    fn lag(&self) -> BoxFuture<'_, Result<Option<Duration>, SourceError>> {
        Box::pin(async move {
            let mut conn = self.sessions.take().await.map_err(boxed)?;
            let lag = read_lag(&mut conn).await.map_err(boxed)?;
            self.sessions.give(conn);
            Ok(lag)
        })
    }

    fn retention(&self) -> BoxFuture<'_, Result<Option<Retention>, SourceError>> {
        Box::pin(async move {
            // Not a session that is kept: the server behind the name may be another by now.
            let mut conn = self.connector.connect_query().await.map_err(boxed)?;
            let info = ServerInfo::read(&mut conn).await.map_err(boxed)?;
            // The connection's end needs no answer.
            drop(conn);
            let number = |file: Option<&LogFile>| file.and_then(|file| raw::suffix(&file.name));
            let files = number(info.logs.first()).zip(number(info.logs.last()));
            Ok(Some(Retention {
                kept: info.log_kept(),
                files,
            }))
        })
    }
}
