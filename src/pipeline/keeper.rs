//! The one owner of durable state. Everything that must survive a restart comes here as a message and
//! is written as one document, so that no two facts of it can disagree.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::error::PipelineError;
use super::follow::Opening;
use super::frontier::{Frontier, UnitId};
use super::hold::{Part, Released};
use super::mark::Mark;
use super::message::{Delivery, InFlight, Message, Shared, Wait};
use super::routes::Routes;
use super::work::Work;
use crate::checkpoint::{Checkpoint, Phase, SnapshotState, Store, TableState};
use crate::clock::Clock;
use crate::event::{CommitPoint, LogPosition, Seen, TableId, TxnStart};
use crate::failpoint;
use crate::fault::Fault;
use crate::sink::BoxFuture;
use crate::status::Status;

/// How long a stop waits for deliveries under way: acknowledged work is kept, the rest is sent again.
const DRAIN: Duration = Duration::from_secs(4);

type Ended = (UnitId, Option<i64>, Vec<(TableId, TxnStart, Released)>);

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
    /// Tables that are copied again, and who waits for that to be durable.
    refilling: Vec<(oneshot::Sender<Option<TableState>>, Option<TableState>)>,
    changed: bool,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper")
            .field("position", self.frontier.position())
            .finish_non_exhaustive()
    }
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
            refilling: Vec::new(),
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
            if !self.waiting.is_empty() || !self.refilling.is_empty() {
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
                waiting,
                marks,
            } => {
                self.marks(marks);
                self.unit(points, deliveries, waiting);
            }
            Message::Marks(marks, reply) => {
                self.marks(marks);
                self.waiting.push(reply);
            }
            Message::Read(table, reply) => {
                let state = self.checkpoint.tables.get(&table).cloned();
                let _gone = reply.send((state, self.frontier.position().clone()));
            }
            Message::Applying(table, applying, reply) => {
                self.with(&table, |state| state.applying = Some(applying));
                self.waiting.push(reply);
            }
            Message::Applied(table, reply) => {
                self.with(&table, applied);
                self.waiting.push(reply);
            }
            Message::Reopen(table, cause, reply) => {
                self.reopen(&table, cause, false);
                self.waiting.push(reply);
            }
            Message::Resync(table, reply) => self.resync(&table, reply),
            Message::Refill(table, opening, at, reply) => {
                let refilled = self.refilled(&table, opening, &at);
                self.refilling.push((reply, refilled));
            }
            Message::Parked(table, cause, reply) => {
                self.park(&table, cause, None);
                self.waiting.push(reply);
            }
            Message::Outdated(table, opening, cause) => self.outdated(&table, opening, cause),
            Message::Gone(table, reply) => {
                self.gone(&table);
                self.waiting.push(reply);
            }
            Message::Swept(table, at) => self.swept(&table, at),
            Message::Epoch(epoch, reply) => {
                self.checkpoint.epoch = self.checkpoint.epoch.max(epoch);
                self.waiting.push(reply);
            }
            Message::Watermark(table, low, seen, reply) => {
                self.with(&table, |state| watermark(state, low, seen));
                self.waiting.push(reply);
            }
            Message::Planned(table, low, chunk) => {
                self.snapshot(&table, low, |snapshot| snapshot.planned(chunk));
            }
            Message::Chunk(table, low, chunk, rows) => {
                self.snapshot(&table, low, |snapshot| snapshot.acknowledged(&chunk, rows));
            }
            Message::Park(table, cause, at) => self.park(&table, cause, at),
        }
    }

    /// Begins the copy of a table that is to be copied again; its state then, if it still is.
    fn refilled(&mut self, table: &TableId, opening: Opening, at: &LogPosition) -> Option<TableState> {
        let state = self.checkpoint.tables.get_mut(table)?;
        if !matches!(state.phase, Phase::Refill { .. }) {
            return None;
        }
        let low = state.low_at(at.next)?;
        state.phase = opening.phase(at, low);
        Some(state.clone())
    }

    fn with(&mut self, table: &TableId, act: impl FnOnce(&mut TableState)) {
        if let Some(state) = self.checkpoint.tables.get_mut(table) {
            act(state);
        }
    }

    fn unit(&mut self, points: Vec<CommitPoint>, deliveries: Vec<Delivery>, waiting: Vec<Wait>) {
        let committed = points.iter().rev().find_map(|point| point.committed_micros);
        let id = self.frontier.open(points);
        let in_flight = Arc::clone(&self.in_flight);
        self.units.push(Box::pin(async move {
            let mut ends = Vec::with_capacity(deliveries.len() + waiting.len());
            for Delivery { table, at, pending } in deliveries {
                ends.push((
                    table,
                    at,
                    pending.await.map(|durable| Part::Written(Some(durable))),
                ));
            }
            // What waits for a change of columns must not keep other tables from flowing.
            in_flight.end();
            for Wait { table, at, ended } in waiting {
                ends.push((table, at, ended.await));
            }
            (id, committed, ends)
        }));
    }

    fn marks(&mut self, marks: Vec<Mark>) {
        for mark in marks {
            match mark {
                Mark::Park(one) => self.park(&one.table, super::breaks::describe(&one), Some(one.at)),
                Mark::Reopen {
                    table,
                    cause,
                    at,
                    bounded,
                } => {
                    if self
                        .checkpoint
                        .tables
                        .get(&table)
                        .is_some_and(|state| at >= state.floor)
                    {
                        self.reopen(&table, cause, bounded);
                        self.routes.ask(&table, Work::Look);
                    }
                }
                Mark::Truncated { table, at } => self.truncated(&table, at),
                Mark::Dropped { table, .. } => self.gone(&table),
            }
        }
    }

    /// A table is to be copied again: what its target has beyond that is deleted then.
    fn reopen(&mut self, table: &TableId, cause: String, bounded: bool) {
        let state = self.checkpoint.tables.get(table);
        if state.is_some_and(|state| !matches!(state.phase, Phase::Parked { .. })) {
            self.reopen_parked(table, cause, bounded);
        }
    }

    fn resync(&mut self, table: &TableId, reply: oneshot::Sender<()>) {
        self.reopen_parked(table, super::steer::ASKED.to_owned(), false);
        self.waiting.push(reply);
    }

    /// The same, also for one that is parked.
    fn reopen_parked(&mut self, table: &TableId, cause: String, bounded: bool) {
        let Some(state) = self.checkpoint.tables.get_mut(table) else {
            return;
        };
        tracing::warn!(%table, cause, "table is copied again");
        self.status.reopening(table, &cause);
        state.reopen(cause, bounded);
    }

    fn swept(&mut self, table: &TableId, at: TxnStart) {
        self.with(table, |state| state.sweep = state.sweep.filter(|due| *due != at));
    }

    /// A table that is copied is not what it was when it was opened.
    fn outdated(&mut self, table: &TableId, opening: u64, cause: String) {
        if self.routes.is_open(table, opening) {
            self.routes.close(table);
            self.reopen(table, cause, false);
            self.routes.ask(table, Work::Look);
        }
    }

    fn truncated(&mut self, table: &TableId, at: TxnStart) {
        let Some(state) = self.checkpoint.tables.get_mut(table) else {
            return;
        };
        match &state.phase {
            Phase::Streaming if at >= state.floor => {
                state.floor = at;
                state.sweep = Some(at);
                self.routes.ask(table, Work::Look);
            }
            Phase::Opening | Phase::Snapshot(_) => {
                self.routes.close(table);
                self.reopen(table, "TRUNCATE while it was being copied".to_owned(), false);
                self.routes.ask(table, Work::Look);
            }
            Phase::Refill { .. } if at >= state.floor => {
                state.floor = at;
                state.sweep = Some(at);
            }
            Phase::Streaming
            | Phase::Refill { .. }
            | Phase::Reopening { .. }
            | Phase::Dropped
            | Phase::Parked { .. } => {}
        }
    }

    fn gone(&mut self, table: &TableId) {
        self.status.dropped(table);
        if !self.checkpoint.tables.contains_key(table) {
            // It was never opened: one that comes by its name is new.
            return self.routes.forget(table);
        }
        self.routes.gone(table);
        self.with(table, |state| {
            state.remember_copy();
            state.phase = Phase::Dropped;
            state.sweep = None;
        });
    }

    /// A table's fault parks it, in the same state that the position moves in; any other ends the pipeline.
    fn ended(&mut self, (id, committed, ends): Ended) -> Result<(), PipelineError> {
        let mut complete = true;
        for (table, at, end) in ends {
            match end {
                Ok(Part::Written(None) | Part::Dropped) => {}
                // It is sent again after a restart.
                Ok(Part::Stopped) => complete = false,
                Ok(Part::Written(Some(durable))) => {
                    self.status.acknowledged(&table, durable.rows, durable.bytes);
                    self.status
                        .put_aside(&table, durable.dead_letters, durable.last_dead_letter);
                }
                Err(error) => match error.fault() {
                    Fault::Table(_) => self.park(&table, super::breaks::explain(&table, &*error), Some(at)),
                    Fault::Transient { .. } | Fault::Fatal => return Err(PipelineError::Sink(error)),
                },
            }
        }
        failpoint::hit(failpoint::FLUSH_ACKNOWLEDGED);
        if complete && self.frontier.durable(id) {
            self.changed = true;
            self.status.acknowledged_to(committed);
        }
        Ok(())
    }

    fn snapshot(&mut self, table: &TableId, low: TxnStart, act: impl FnOnce(&mut SnapshotState)) {
        let Some(state) = self.checkpoint.tables.get_mut(table) else {
            return;
        };
        let Phase::Snapshot(snapshot) = &mut state.phase else {
            return;
        };
        // Of a copy that was begun again since.
        if snapshot.low != low {
            return;
        }
        act(snapshot);
        self.status
            .snapshot_progress(table, snapshot.rows, snapshot.chunks);
        if snapshot.is_done() {
            failpoint::hit(failpoint::SNAPSHOT_BEFORE_DONE);
            tracing::info!(%table, rows = snapshot.rows, chunks = snapshot.chunks, "snapshot done");
            state.remember_copy();
            state.phase = Phase::Streaming;
            self.status.streaming(table);
            if state.sweep.is_some() {
                self.routes.ask(table, Work::Look);
            }
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
        state.remember_copy();
        state.phase = Phase::Parked { cause, at };
        self.changed = true;
    }

    /// Writes the state and answers who waits for it.
    async fn save(&mut self) -> Result<(), PipelineError> {
        self.checkpoint.position = self.frontier.position().clone();
        let next = self.checkpoint.position.next;
        for state in self.checkpoint.tables.values_mut() {
            state.forget_before(next);
        }
        self.store.save(self.checkpoint.clone()).await?;
        self.changed = false;
        for reply in self.waiting.drain(..) {
            // Who asked may be gone; the state is durable all the same.
            let _gone = reply.send(());
        }
        for (reply, state) in self.refilling.drain(..) {
            let _gone = reply.send(state);
        }
        self.status.checkpointed(&self.clock, &self.checkpoint.position);
        Ok(())
    }
}

/// A change of columns is carried out; a table whose rows are to be read again because of it says so.
fn applied(state: &mut TableState) {
    let Some(applying) = state.applying.take() else {
        return;
    };
    let refill = applying.refill.clone();
    if applying.rekeyed {
        // Numbered anew at the copy's low watermark: rows that the stream brings until then stay.
        state.sweep = Some(applying.at);
    }
    state.applied(*applying);
    if let (Some(cause), false) = (refill, matches!(state.phase, Phase::Reopening { .. })) {
        state.remember_copy();
        state.phase = Phase::Refill { cause };
    }
}

/// A table's low watermark is taken.
fn watermark(state: &mut TableState, low: TxnStart, seen: Option<Seen>) {
    if state.phase == Phase::Opening {
        failpoint::hit(failpoint::WATERMARK_TAKEN);
        // What the copy does not find is deleted just below its rows.
        state.sweep = state.sweep.map(|due| due.max(low));
        state.phase = Phase::Snapshot(SnapshotState::new(low, seen));
    }
}
