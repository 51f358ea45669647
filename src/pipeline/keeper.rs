//! The one owner of durable state. Everything that must survive a restart comes here as a message and
//! is written as one document, so that no two facts of it can disagree.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::error::PipelineError;
use super::frontier::{Frontier, UnitId};
use super::routes::Routes;
use crate::checkpoint::{Checkpoint, Phase, SnapshotState, Store, TableState};
use crate::clock::Clock;
use crate::event::{Break, Chunk, CommitPoint, Epoch, GtidSet, TableId, TxnStart};
use crate::failpoint;
use crate::fault::Fault;
use crate::sink::{BoxFuture, Durable, Pending, SinkError};
use crate::status::Status;

/// How long a stop waits for deliveries under way: acknowledged work is kept, the rest is sent again.
const DRAIN: Duration = Duration::from_secs(4);

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
        /// Tables that end in it.
        breaks: Vec<Break>,
    },
    /// Rows will carry this epoch; answered once it is durable.
    Epoch(Epoch, oneshot::Sender<()>),
    /// A table's low watermark; answered once it is durable.
    Watermark(TableId, TxnStart, Option<GtidSet>, oneshot::Sender<()>),
    /// A chunk was planned.
    Planned(TableId, Chunk),
    /// Every row of a chunk is acknowledged.
    Chunk(TableId, Chunk, u64),
    /// A table must not be followed any more.
    Park(TableId, String, Option<TxnStart>),
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Message::Open(..) => "open",
            Message::Unit { .. } => "unit",
            Message::Epoch(..) => "epoch",
            Message::Watermark(..) => "watermark",
            Message::Planned(..) => "planned",
            Message::Chunk(..) => "chunk",
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

    fn end(&self) {
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

type Ended = (
    UnitId,
    Option<i64>,
    Vec<(TableId, TxnStart, Result<Durable, SinkError>)>,
);

/// The keeper's state.
pub struct Keeper {
    checkpoint: Checkpoint,
    frontier: Frontier,
    store: Store,
    routes: Arc<Routes>,
    in_flight: Arc<InFlight>,
    status: Arc<Status>,
    clock: Clock,
    units: FuturesUnordered<BoxFuture<'static, Ended>>,
    waiting: Vec<oneshot::Sender<()>>,
    changed: bool,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper")
            .field("position", self.frontier.position())
            .finish_non_exhaustive()
    }
}

/// What the keeper shares with the other tasks.
#[derive(Debug, Clone)]
pub struct Shared {
    /// What happens to each table.
    pub routes: Arc<Routes>,
    /// Flushes under way.
    pub in_flight: Arc<InFlight>,
    /// What the outside is told.
    pub status: Arc<Status>,
    /// Time.
    pub clock: Clock,
}

impl Keeper {
    /// A keeper of a loaded or new checkpoint.
    pub fn new(checkpoint: Checkpoint, store: Store, shared: &Shared) -> Keeper {
        Keeper {
            frontier: Frontier::new(checkpoint.position.clone()),
            checkpoint,
            store,
            routes: Arc::clone(&shared.routes),
            in_flight: Arc::clone(&shared.in_flight),
            status: Arc::clone(&shared.status),
            clock: shared.clock.clone(),
            units: FuturesUnordered::new(),
            waiting: Vec::new(),
            changed: true,
        }
    }

    /// Keeps until stopped or until nobody is left to tell it anything; what is acknowledged by then is written.
    ///
    /// # Errors
    /// A delivery that failed for good, or a checkpoint that cannot be written.
    pub async fn run(
        mut self,
        mut messages: mpsc::Receiver<Message>,
        stop: CancellationToken,
    ) -> Result<Checkpoint, PipelineError> {
        self.save().await?;
        let mut due = self.clock.sleep(self.store.pace());
        let store = self.store.clone();
        let mut lost = std::pin::pin!(store.lost());
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                error = &mut lost => return Err(error.into()),
                // Before the others, which may never pause.
                () = &mut due => {
                    due = self.clock.sleep(self.store.pace());
                    if self.changed {
                        self.save().await?;
                    }
                }
                Some(ended) = self.units.next(), if !self.units.is_empty() => self.ended(ended)?,
                message = messages.recv() => match message {
                    Some(message) => self.message(message),
                    None => break,
                },
            }
            if !self.waiting.is_empty() {
                self.save().await?;
            }
            self.status.keeper.beat(&self.clock);
        }
        self.drain(messages).await?;
        let over = self.clock.sleep(DRAIN);
        tokio::select! {
            saved = self.save() => saved?,
            () = over => return Err(PipelineError::Unsaved),
        }
        Ok(self.checkpoint)
    }

    /// Takes what is acknowledged while the others stop.
    async fn drain(&mut self, mut messages: mpsc::Receiver<Message>) -> Result<(), PipelineError> {
        let mut over = self.clock.sleep(DRAIN);
        let mut open = true;
        while open || !self.units.is_empty() {
            tokio::select! {
                biased;
                () = &mut over => break,
                Some(ended) = self.units.next(), if !self.units.is_empty() => self.ended(ended)?,
                message = messages.recv(), if open => match message {
                    Some(message) => self.message(message),
                    None => open = false,
                },
            }
        }
        Ok(())
    }

    fn message(&mut self, message: Message) {
        self.changed = true;
        match message {
            Message::Open(tables, reply) => {
                failpoint::hit(failpoint::WATERMARK_TAKEN);
                for state in tables {
                    self.checkpoint.tables.insert(state.layout.table.clone(), state);
                }
                self.waiting.push(reply);
            }
            Message::Unit {
                points,
                deliveries,
                breaks,
            } => self.unit(points, deliveries, breaks),
            Message::Epoch(epoch, reply) => {
                self.checkpoint.epoch = self.checkpoint.epoch.max(epoch);
                self.waiting.push(reply);
            }
            Message::Watermark(table, low, seen, reply) => {
                if let Some(state) = self.checkpoint.tables.get_mut(&table)
                    && state.phase == Phase::Opening
                {
                    failpoint::hit(failpoint::WATERMARK_TAKEN);
                    state.phase = Phase::Snapshot(SnapshotState::new(low, seen));
                }
                self.waiting.push(reply);
            }
            Message::Planned(table, chunk) => self.snapshot(&table, |snapshot| snapshot.planned(chunk)),
            Message::Chunk(table, chunk, rows) => {
                self.snapshot(&table, |snapshot| snapshot.acknowledged(&chunk, rows));
            }
            Message::Park(table, cause, at) => self.park(&table, cause, at),
        }
    }

    fn unit(&mut self, points: Vec<CommitPoint>, deliveries: Vec<Delivery>, breaks: Vec<Break>) {
        for one in breaks {
            let cause = super::breaks::describe(&one);
            self.park(&one.table, cause, Some(one.at));
        }
        let committed = points.iter().rev().find_map(|point| point.committed_micros);
        let id = self.frontier.open(points);
        self.units.push(Box::pin(async move {
            let mut ends = Vec::with_capacity(deliveries.len());
            for Delivery { table, at, pending } in deliveries {
                ends.push((table, at, pending.await));
            }
            (id, committed, ends)
        }));
    }

    /// A table's fault parks it, in the same state that the position moves in; any other ends the pipeline.
    fn ended(&mut self, (id, committed, ends): Ended) -> Result<(), PipelineError> {
        self.in_flight.end();
        for (table, at, end) in ends {
            match end {
                Ok(durable) => {
                    self.status.acknowledged(&table, durable.rows, durable.bytes);
                    self.status
                        .put_aside(&table, durable.dead_letters, durable.last_dead_letter);
                }
                Err(error) => match error.fault() {
                    Fault::Table(_) => self.park(&table, super::breaks::explain(&*error), Some(at)),
                    Fault::Transient { .. } | Fault::Fatal => return Err(PipelineError::Sink(error)),
                },
            }
        }
        failpoint::hit(failpoint::FLUSH_ACKNOWLEDGED);
        if self.frontier.durable(id) {
            self.changed = true;
            self.status.acknowledged_to(committed);
        }
        Ok(())
    }

    fn snapshot(&mut self, table: &TableId, act: impl FnOnce(&mut SnapshotState)) {
        let Some(state) = self.checkpoint.tables.get_mut(table) else {
            return;
        };
        let Phase::Snapshot(snapshot) = &mut state.phase else {
            return;
        };
        act(snapshot);
        self.status
            .snapshot_progress(table, snapshot.rows, snapshot.chunks);
        if snapshot.is_done() {
            failpoint::hit(failpoint::SNAPSHOT_BEFORE_DONE);
            tracing::info!(%table, rows = snapshot.rows, chunks = snapshot.chunks, "snapshot done");
            state.phase = Phase::Streaming;
            self.status.streaming(table);
        }
    }

    fn park(&mut self, table: &TableId, cause: String, at: Option<TxnStart>) {
        let Some(state) = self.checkpoint.tables.get_mut(table) else {
            return;
        };
        if at.is_some_and(|at| at < state.floor) {
            return;
        }
        self.routes.park(table);
        let at = at.map_or_else(|| "snapshot".to_owned(), |at| at.to_string());
        if matches!(state.phase, Phase::Parked { .. }) {
            return;
        }
        tracing::error!(%table, at, cause, "table parked: it is not followed any more");
        self.status.parked(table, &cause);
        state.phase = Phase::Parked { cause, at };
        self.changed = true;
    }

    /// Writes the state and answers who waits for it.
    async fn save(&mut self) -> Result<(), PipelineError> {
        self.checkpoint.position = self.frontier.position().clone();
        self.store.save(self.checkpoint.clone()).await?;
        self.changed = false;
        for reply in self.waiting.drain(..) {
            // Who asked may be gone; the state is durable all the same.
            let _gone = reply.send(());
        }
        self.status.checkpointed(&self.clock, &self.checkpoint.position);
        Ok(())
    }
}
