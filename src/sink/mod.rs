//! What the pipeline asks of a target. The one edge back from a target is [`Durable`], a proof that
//! only this module's children can make: a position moves on it and on nothing else.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::event::{ColumnType, ReadAt, RowChanges, TableId, TableLayout, TxnStart};
use crate::fault::Classify;
use crate::schema::{Evolution, Fit, KeptChange, Projection, SchemaChange};

pub mod bigquery;
pub mod memory;

/// A future that a target hands out.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a target failed with; [`Classify::fault`] decides what follows.
pub type SinkError = Box<dyn Classify + Send + Sync>;

/// Row changes of one table for one delivery: every piece has the same layout (by value), pieces are in log order, and
/// where a key occurs more than once the target may send the last change only.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The layout that all pieces share.
    pub layout: Arc<TableLayout>,
    /// The changes.
    pub pieces: Vec<RowChanges>,
}

impl Batch {
    /// The table.
    pub fn table(&self) -> &TableId {
        &self.layout.table
    }

    /// Changes in the batch.
    pub fn rows(&self) -> usize {
        self.pieces.iter().map(|piece| piece.changes.len()).sum()
    }
}

/// Proof that the target has taken every row of a batch for good, or keeps it as a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durable {
    /// Source rows acknowledged, those that a later change of their key made superfluous included.
    pub rows: u64,
    /// Bytes sent for them.
    pub bytes: u64,
    /// Rows that the target refused and that were put aside.
    pub dead_letters: u64,
    /// Where the last of those is and why, without a value.
    pub last_dead_letter: Option<String>,
    _made_under_sink: Private,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Private;

impl Durable {
    /// To be called only with the target's acknowledgement in hand.
    fn proven(rows: u64, bytes: u64) -> Durable {
        Durable {
            rows,
            bytes,
            dead_letters: 0,
            last_dead_letter: None,
            _made_under_sink: Private,
        }
    }

    /// The proof of two batches.
    #[must_use]
    pub fn and(self, later: Durable) -> Durable {
        Durable {
            rows: self.rows + later.rows,
            bytes: self.bytes + later.bytes,
            dead_letters: self.dead_letters + later.dead_letters,
            last_dead_letter: later.last_dead_letter.or(self.last_dead_letter),
            _made_under_sink: Private,
        }
    }

    /// The same for a batch of which rows were put aside.
    fn beside(self, dead_letters: u64, last_dead_letter: Option<String>) -> Durable {
        Durable {
            dead_letters,
            last_dead_letter,
            ..self
        }
    }
}

/// A delivery that is under way. It ends in a proof or in an error that is not transient: transient
/// ones are repeated inside the target, in order, for as long as it takes.
pub type Pending = BoxFuture<'static, Result<Durable, SinkError>>;

/// A target.
pub trait Sink: fmt::Debug + Send + Sync {
    /// Whether each of these tables can have a target of its own. Asked before anything is made or written.
    ///
    /// # Errors
    /// Every two tables that would share one.
    fn tell_apart<'a>(&'a self, _tables: &'a [TableId]) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async { Ok(()) })
    }

    /// Looks at the table's target without changing anything: never answers [`Prepared::Created`].
    fn inspect<'a>(&'a self, layout: &'a TableLayout) -> BoxFuture<'a, Result<Prepared, SinkError>>;

    /// Removes the target of a table that is in no checkpoint, if an earlier start made it, nobody ever wrote to it and it
    /// does not have the layout's columns. Returns whether there was one.
    fn discard_unused<'a>(&'a self, _layout: &'a TableLayout) -> BoxFuture<'a, Result<bool, SinkError>> {
        Box::pin(async { Ok(false) })
    }

    /// Makes sure that the table's target exists and fits the layout; creates what is missing.
    fn prepare<'a>(&'a self, layout: &'a TableLayout) -> BoxFuture<'a, Result<Prepared, SinkError>>;

    /// How a target's column of one type takes values of another; `key` for key columns.
    fn fit(&self, was: ColumnType, is: ColumnType, key: bool) -> Fit;

    /// Where rows of a table go from now on, by their layout (of equal ones the last counts); a layout that is not among
    /// these goes to columns of its own names. Replaces what was said of the table before.
    fn project(&self, table: &TableId, projections: Vec<Projection>);

    /// Changes the columns of a table's target, of which `projection` is written afterwards, and waits until rows
    /// of it are taken. May be repeated: what is done already is left alone. To be called while nobody writes to
    /// the table. Returns the statements that were run.
    fn evolve<'a>(
        &'a self,
        projection: &'a Projection,
        evolution: &'a Evolution,
    ) -> BoxFuture<'a, Result<Vec<String>, SinkError>>;

    /// Deletes every row of a table's target that is older than `at` and was not written again since. Returns the
    /// keys that were looked at, once every delete is acknowledged. May be repeated.
    fn sweep<'a>(&'a self, projection: &'a Projection, at: TxnStart)
    -> BoxFuture<'a, Result<u64, SinkError>>;

    /// Keeps a change in the target's history of them. Durable when it returns; may be repeated.
    fn keep_change<'a>(&'a self, _change: &'a SchemaChange) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async { Ok(()) })
    }

    /// The latest changes of that history, `most` at most, newest first, each once.
    fn kept_changes(&self, _most: u32) -> BoxFuture<'_, Result<Vec<KeptChange>, SinkError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// Hands a batch over. Returns once there is room for it (bounded in bytes) and it has its place
    /// in the table's order; the rows are safe when [`Pending`] says so.
    fn write(&self, batch: Batch) -> BoxFuture<'_, Result<Pending, SinkError>>;

    /// Notes in the target that it holds every row of a read of a table without a primary key: rows of reads
    /// that were not sealed count for nothing. Durable when it returns.
    fn seal<'a>(&'a self, layout: &'a Arc<TableLayout>, at: ReadAt) -> BoxFuture<'a, Result<(), SinkError>>;
}

/// What [`Sink::prepare`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prepared {
    /// There is no target. Only [`Sink::inspect`] says so.
    Absent,
    /// The target was not there and is now.
    Created,
    /// The target was there, fits, and has no row.
    Empty,
    /// The target was there, fits, and has rows.
    NotEmpty,
}
