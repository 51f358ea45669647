//! What the pipeline asks of a source. A position enters a source once, at [`Source::open`]; nothing
//! goes back to it afterwards.

pub mod dynamodb;
mod finding;
pub mod mysql;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

pub use finding::{Finding, Severity};

use crate::event::{
    Chunk, Epoch, Item, LogPosition, ReadAt, RowChanges, Seen, TableId, TableLayout, TxnStart,
};
use crate::fault::Classify;

/// A future that a source hands out.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a source failed with; [`Classify::fault`] decides what follows.
pub type SourceError = Box<dyn Classify + Send + Sync>;

/// A reader of the log, opened at a position.
pub struct Opened {
    /// Where it begins: the position asked for, in the coordinates of the log that is being read. Its
    /// epoch must be durable before any row that follows is sent.
    pub position: LogPosition,
    /// The log from there on.
    pub items: Box<dyn ItemStream>,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened")
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

/// The log, item by item.
pub trait ItemStream: Send {
    /// The next item; waits for the server. Not safe to call again after it failed.
    fn next(&mut self) -> BoxFuture<'_, Result<Item, SourceError>>;
}

/// A running read of one chunk.
pub trait ChunkRows: Send {
    /// What the rows of a table without a primary key are numbered by: such a read is sealed once it is whole.
    fn at(&self) -> Option<ReadAt> {
        None
    }

    /// Whether all of the log that the rows of such a read hold already was read by `reached`.
    fn is_passed(&self, _reached: &Reached) -> bool {
        true
    }

    /// The next rows, a bounded number of them; `None` after the last.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<RowChanges>, SourceError>>;
}

/// How far a log was read, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// As in [`LogPosition::server`].
    pub server: Arc<str>,
    /// Where the next transaction begins.
    pub next: TxnStart,
    /// The transactions before; `None` without identifiers.
    pub seen: Option<Seen>,
}

impl Reached {
    /// The place of a position.
    pub fn of(position: &LogPosition) -> Reached {
        Reached {
            server: Arc::clone(&position.server),
            next: position.next,
            seen: position.seen(),
        }
    }
}

/// What a chunk is read for.
#[derive(Debug, Clone)]
pub struct ChunkRead {
    /// The layout that the table must have, before and after.
    pub layout: TableLayout,
    /// The keys.
    pub chunk: Chunk,
    /// The low watermark that numbers the rows.
    pub low: TxnStart,
    /// Transactions that the server must have executed.
    pub seen: Option<Seen>,
    /// The log as it is followed now. The rows of a table without a primary key are numbered by the place in it
    /// that they are read at, and not by `low`: nothing but that place tells which of its changes they hold.
    pub reached: Reached,
}

/// A place in the log: every transaction that begins before `low` is visible to reads that begin from now
/// on, on servers that have executed `seen`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watermark {
    /// The place.
    pub low: TxnStart,
    /// Transactions that the server must have executed.
    pub seen: Option<Seen>,
}

/// A table's size as the server estimates it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Rows.
    pub rows: u64,
    /// Bytes of data.
    pub bytes: u64,
}

/// A table that a checkpoint knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The columns that its rows were written with last, or are about to be.
    pub layout: TableLayout,
    /// Whether its changes are followed, with these columns.
    pub followed: bool,
}

/// How long a source keeps what was not read yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// Time after which it may be gone; `None`: never, or nobody says.
    pub kept: Option<Duration>,
    /// The numbers of the oldest and the newest file of the log.
    pub files: Option<(u64, u64)>,
}

/// A database that is copied and followed.
pub trait Source: fmt::Debug + Send + Sync {
    /// Says what a checkpoint knows of the tables, before anything is asked: of use to a source that has not the columns
    /// from the database.
    fn resume(&self, _kept: Vec<Kept>) {}

    /// The captured tables as they are now, but for those that are `known` already: what became of their
    /// columns, the log says at its place.
    fn tables<'a>(&'a self, known: &'a [TableId]) -> BoxFuture<'a, Result<Vec<TableLayout>, SourceError>>;

    /// A table's columns as they are now; `None` if it is not there.
    fn layout<'a>(&'a self, table: &'a TableId) -> BoxFuture<'a, Result<Option<TableLayout>, SourceError>>;

    /// Opens the log at `from`, or at the present without one. `last` is the highest epoch that was
    /// ever durable; where the log cannot be proven to be the one that `from` was taken in, the
    /// position comes back with a higher one.
    /// `known` are the tables that are followed, whatever the catalog shows by now.
    fn open(
        &self,
        from: Option<LogPosition>,
        last: Epoch,
        known: Vec<TableId>,
    ) -> BoxFuture<'_, Result<Opened, SourceError>>;

    /// Whether the configuration captures a table.
    fn captures(&self, table: &TableId) -> bool;

    /// A low watermark for a table, at or after `floor`.
    fn watermark<'a>(
        &'a self,
        table: &'a TableId,
        floor: &'a LogPosition,
    ) -> BoxFuture<'a, Result<Watermark, SourceError>>;

    /// The chunk that begins after `after`, of a copy with the low watermark `low`; with `upper: None` it is the
    /// last one.
    fn plan<'a>(
        &'a self,
        layout: &'a TableLayout,
        low: TxnStart,
        after: Option<&'a crate::event::Bound>,
    ) -> BoxFuture<'a, Result<Chunk, SourceError>>;

    /// Whether a table's last chunk, the one without an upper bound, is read only after all others were acknowledged.
    fn ends_alone(&self) -> bool {
        false
    }

    /// Begins to read a chunk.
    fn read(&self, read: ChunkRead) -> BoxFuture<'_, Result<Box<dyn ChunkRows>, SourceError>>;

    /// Asks for numbers above all that were given, for a copy of a table that must lie above what was read of it:
    /// the epoch that positions have at least once it is so. `None`: positions themselves rise with what is read.
    fn renumber(&self, _table: &TableId) -> Option<Epoch> {
        None
    }

    /// The table's size.
    fn estimate<'a>(&'a self, table: &'a TableId) -> BoxFuture<'a, Result<Estimate, SourceError>>;

    /// How far the server that is read is behind the one that it copies; `None`: it copies none, or nobody knows.
    fn lag(&self) -> BoxFuture<'_, Result<Option<Duration>, SourceError>> {
        Box::pin(async { Ok(None) })
    }

    /// How long the log is kept; `None` for a source that never forgets.
    fn retention(&self) -> BoxFuture<'_, Result<Option<Retention>, SourceError>> {
        Box::pin(async { Ok(None) })
    }
}

/// The rows of a snapshot batch, for accounting.
pub fn image_bytes(changes: &RowChanges) -> usize {
    use crate::event::Op;
    let size = |at: &crate::event::RowRef| usize::try_from(at.len).unwrap_or(usize::MAX);
    changes
        .changes
        .iter()
        .map(|change| match &change.op {
            Op::Insert { after } => size(after),
            Op::Update { before, after, .. } => size(before) + size(after),
            Op::Delete { before } => size(before),
        })
        .sum()
}
