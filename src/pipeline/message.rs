//! What the tasks of a pipeline tell the keeper, and what they share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::error::PipelineError;
use super::follow::Opening;
use super::hold::Released;
use super::mark::Mark;
use super::routes::Routes;
use crate::checkpoint::{Applying, TableState};
use crate::clock::Clock;
use crate::event::{Chunk, CommitPoint, Epoch, LogPosition, Seen, TableId, TableLayout, TxnStart};
use crate::sink::{BoxFuture, Pending};
use crate::source::Reached;
use crate::status::Status;

/// One table's part of a flush.
pub struct Delivery {
    /// The table.
    pub table: TableId,
    /// The first transaction in it.
    pub at: TxnStart,
    /// Its end.
    pub pending: Pending,
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery")
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}

/// One table's part of a flush that waits until its target is changed.
pub struct Wait {
    /// The table.
    pub table: TableId,
    /// The first transaction in it.
    pub at: TxnStart,
    /// Its end.
    pub ended: BoxFuture<'static, Released>,
}

impl std::fmt::Debug for Wait {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wait")
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}

/// What is told to the keeper.
pub enum Message {
    /// Tables are followed from here on; answered once that is durable.
    Open(Vec<TableState>, oneshot::Sender<()>),
    /// A flush is under way. Sent in the order of the log.
    Unit {
        /// Commit points among and after its rows.
        points: Vec<CommitPoint>,
        /// Its parts.
        deliveries: Vec<Delivery>,
        /// Its parts that wait.
        waiting: Vec<Wait>,
        /// What was decided of tables in it.
        marks: Vec<Mark>,
    },
    /// What was decided of tables; answered once it is durable.
    Marks(Vec<Mark>, oneshot::Sender<()>),
    /// A table's state, if it was ever opened, and the place up to which everything is safe.
    Read(TableId, oneshot::Sender<(Option<TableState>, LogPosition)>),
    /// A change of a table's columns is about to be carried out; answered once that is durable.
    Applying(TableId, Box<Applying>, oneshot::Sender<()>),
    /// It is carried out; answered with the table's state once that is durable.
    Applied(TableId, oneshot::Sender<()>),
    /// A table is to be copied again; answered once that is durable.
    Reopen(TableId, String, oneshot::Sender<()>),
    /// A person wants a table to be copied again, whatever its state; answered once that is durable.
    Resync(TableId, oneshot::Sender<()>),
    /// A table whose rows are to be read again is copied from this place on; answered with its state once that
    /// is durable, or without one if nothing is to be read again, or not from this place.
    Refill(
        TableId,
        Opening,
        Box<LogPosition>,
        oneshot::Sender<Option<TableState>>,
    ),
    /// A table must not be followed any more; answered once that is durable.
    Parked(TableId, String, oneshot::Sender<()>),
    /// The source has no such table any more; answered once that is durable.
    Gone(TableId, oneshot::Sender<()>),
    /// The rows that a sweep at this place was to delete are deleted.
    Swept(TableId, TxnStart),
    /// Rows will carry this epoch; answered once it is durable.
    Epoch(Epoch, oneshot::Sender<()>),
    /// A table's low watermark; answered once it is durable.
    Watermark(TableId, TxnStart, Option<Seen>, oneshot::Sender<()>),
    /// A chunk of the snapshot with this low watermark was planned.
    Planned(TableId, TxnStart, Chunk),
    /// Every row of a chunk of the snapshot with this low watermark is acknowledged.
    Chunk(TableId, TxnStart, Chunk, u64),
    /// A table that was opened so many times is not what it was then: it is opened anew.
    Outdated(TableId, u64, String),
    /// A table must not be followed any more.
    Park(TableId, String, Option<TxnStart>),
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Message::Open(..) => "open",
            Message::Unit { .. } => "unit",
            Message::Marks(..) => "marks",
            Message::Read(..) => "read",
            Message::Applying(..) => "applying",
            Message::Applied(..) => "applied",
            Message::Reopen(..) => "reopen",
            Message::Resync(..) => "resync",
            Message::Refill(..) => "refill",
            Message::Parked(..) => "parked",
            Message::Gone(..) => "gone",
            Message::Swept(..) => "swept",
            Message::Epoch(..) => "epoch",
            Message::Watermark(..) => "watermark",
            Message::Planned(..) => "planned",
            Message::Chunk(..) => "chunk",
            Message::Outdated(..) => "outdated",
            Message::Park(..) => "park",
        })
    }
}

/// Flushes under way, for the one who decides when to send the next.
#[derive(Debug, Default)]
pub struct InFlight {
    units: AtomicUsize,
    ended: Notify,
}

impl InFlight {
    /// Notes a flush.
    pub fn begin(&self) {
        self.units.fetch_add(1, Ordering::SeqCst);
    }

    /// Notes its end.
    pub fn end(&self) {
        self.units.fetch_sub(1, Ordering::SeqCst);
        self.ended.notify_waiters();
    }

    /// Waits until at most `most` flushes are under way.
    pub async fn at_most(&self, most: usize) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if self.units.load(Ordering::SeqCst) <= most {
                return;
            }
            ended.await;
        }
    }
}

/// What the keeper shares with the other tasks.
#[derive(Debug, Clone)]
pub struct Shared {
    /// What happens to each table.
    pub routes: Arc<Routes>,
    /// Flushes under way.
    pub in_flight: Arc<InFlight>,
    /// How far the log was read and handed over.
    pub reached: watch::Sender<Reached>,
    /// What the outside is told.
    pub status: Arc<Status>,
    /// Time.
    pub clock: Clock,
}

impl Shared {
    /// Of a log that was opened at `position`, before anything of it is read.
    pub fn new(position: &LogPosition, status: Arc<Status>, clock: Clock) -> Shared {
        Shared {
            routes: Arc::default(),
            in_flight: Arc::default(),
            reached: watch::Sender::new(Reached::of(position)),
            status,
            clock,
        }
    }

    /// Announces tables that will be opened. To be done before the first row is read: one of a table that nobody
    /// announced would have it opened apart.
    pub fn announce(&self, fresh: &[TableLayout]) {
        for layout in fresh {
            self.routes.close(&layout.table);
            self.status.table(&layout.table);
        }
    }
}

/// Tells the keeper something and waits until it is durable.
///
/// # Errors
/// [`PipelineError::Gone`] if the keeper ended.
pub async fn durably(
    keeper: &mpsc::Sender<Message>,
    message: impl FnOnce(oneshot::Sender<()>) -> Message,
) -> Result<(), PipelineError> {
    let (reply, durable) = oneshot::channel();
    let gone = || PipelineError::Gone("keeper");
    keeper.send(message(reply)).await.map_err(|_| gone())?;
    durable.await.map_err(|_| gone())
}
