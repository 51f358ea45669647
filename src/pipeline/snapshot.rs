//! Copies tables beside the stream. A planner walks each table's key and hands chunks to a few
//! workers; a chunk counts when the target has acknowledged its rows. What was planned and what was
//! acknowledged is the keeper's to remember, so a restart reads only what is missing.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::breaks;
use super::error::PipelineError;
use super::follow::{OpenRequest, Opening};
use super::message::{self, Message, Shared};
use super::pace::Pace;
use super::retry::Attempts;
use crate::checkpoint::{Phase, SnapshotState, TableState};
use crate::config::SchemaChanges;
use crate::event::{Chunk, LogPosition, RowChanges, Seen, TableId, TableLayout, TxnStart};
use crate::failpoint;
use crate::fault::Fault;
use crate::schema;
use crate::sink::{Batch, Pending, Sink};
use crate::source::{ChunkRead, Source, SourceError, Watermark};
use crate::task;

/// A chunk whose rows are not all handed over within this time is read again: the target remembers
/// deletes for two days only, so rows must not be much older than their deletes.
const CHUNK_TIME: Duration = Duration::from_secs(3600);
/// How often it is looked whether a log that stands still moves, or a replica that is behind.
const STANDING: Duration = Duration::from_secs(5);
/// Deliveries of one chunk that are under way at the same time.
const CHUNK_DELIVERIES: usize = 4;

/// What copying needs.
#[derive(Debug, Clone)]
pub struct Copying {
    /// Where from.
    pub source: Arc<dyn Source>,
    /// Where to.
    pub sink: Arc<dyn Sink>,
    /// Who remembers.
    pub keeper: mpsc::Sender<Message>,
    /// What the tasks share.
    pub shared: Shared,
    /// Ends it.
    pub stop: CancellationToken,
    /// Chunks read at the same time, over all copies.
    pub parallelism: usize,
    /// One for each of them.
    pub permits: Arc<Semaphore>,
    /// How fast all of them go.
    pub pace: Arc<Pace>,
    /// How far a replica that is read may be behind for a chunk to begin.
    pub max_replica_lag: Option<Duration>,
}

/// One chunk to copy.
#[derive(Debug, Clone)]
struct Work {
    layout: Arc<TableLayout>,
    chunk: Chunk,
    low: TxnStart,
    seen: Option<Seen>,
    /// Which opening of the table it belongs to.
    opening: u64,
    /// Dropped once the keeper knows that the chunk is copied.
    open: Option<mpsc::Sender<Infallible>>,
}

/// How an attempt ended that did not succeed.
pub(super) enum Failed {
    /// The pipeline stops.
    Stopped,
    /// This table is parked already, held, or opened anew.
    Parked,
    /// This table cannot be copied.
    Table(String),
    /// This table is not what it was when it was opened, and the log does not say so.
    Outdated(String),
    /// Nothing can.
    Pipeline(PipelineError),
}

impl From<PipelineError> for Failed {
    fn from(error: PipelineError) -> Failed {
        Failed::Pipeline(error)
    }
}

/// Copies every table whose state says that it is not copied. Ends when all are, or when stopped.
///
/// # Errors
/// What the source or the target cannot recover from.
pub async fn copy(
    mut copying: Copying,
    tables: Vec<TableState>,
    floor: LogPosition,
) -> Result<(), PipelineError> {
    // A worker that fails ends the others and the planner.
    copying.stop = copying.stop.child_token();
    let (sender, receiver) = mpsc::channel(copying.parallelism.max(1));
    let receiver = Arc::new(Mutex::new(receiver));
    let workers: Vec<_> = (0..copying.parallelism.max(1))
        .map(|_| task::spawn("snapshot worker", work(copying.clone(), Arc::clone(&receiver))))
        .collect();
    drop(receiver);
    let planned = plan_all(&copying, tables, floor, sender).await;
    for worker in workers {
        worker.join().await??;
    }
    planned
}

/// Opens new tables at a commit boundary and copies all that are not copied.
///
/// # Errors
/// As [`copy`].
pub(super) async fn copy_all(
    copying: Copying,
    opens: mpsc::Sender<OpenRequest>,
    opening: Opening,
    known: BTreeMap<TableId, TableState>,
    (fresh, policies): (Vec<TableLayout>, SchemaChanges),
    mut floor: LogPosition,
) -> Result<(), PipelineError> {
    let mut states: Vec<TableState> = known.into_values().collect();
    if !fresh.is_empty() {
        let (reply, opened) = oneshot::channel();
        let begun = move |at: &LogPosition| {
            let phase = |at: &LogPosition| opening.phase(at, at.next.first_low());
            let state = |layout| {
                let projection = schema::opening(&layout, &policies);
                TableState::opened(projection, at.next, phase(at))
            };
            fresh.into_iter().map(state).collect()
        };
        let request = OpenRequest::Open {
            states: Box::new(begun),
            reply,
        };
        let asked = opens.send(request).await.is_ok();
        let opened = tokio::select! {
            biased;
            () = copying.stop.cancelled() => return Ok(()),
            opened = opened => opened,
        };
        let (Ok((new, at)), true) = (opened, asked) else {
            return Err(PipelineError::Gone("log follower"));
        };
        for state in new.iter().filter(|state| state.phase == Phase::Streaming) {
            copying.shared.status.streaming(&state.layout.table);
        }
        states.extend(new);
        floor = at;
    }
    copy(copying, states, floor).await
}

async fn plan_all(
    copying: &Copying,
    tables: Vec<TableState>,
    floor: LogPosition,
    sender: mpsc::Sender<Work>,
) -> Result<(), PipelineError> {
    for state in tables {
        let table = state.layout.table.clone();
        let opening = copying.shared.routes.opening(&table);
        if copying.shared.routes.is_stirred(&table) {
            let cause = "a statement concerned it while it was being opened".to_owned();
            copying.outdated(&table, opening, cause).await?;
            continue;
        }
        match plan_table(copying, (state, opening), &floor, &sender).await {
            Ok(()) | Err(Failed::Parked) => {}
            Err(Failed::Stopped) => return Ok(()),
            Err(Failed::Table(cause)) => copying.park(&table, cause).await?,
            Err(Failed::Outdated(cause)) => copying.outdated(&table, opening, cause).await?,
            Err(Failed::Pipeline(error)) => return Err(error),
        }
    }
    Ok(())
}

/// Hands out a table's chunks: first those that an earlier run left open, then new ones.
async fn plan_table(
    copying: &Copying,
    (state, opening): (TableState, u64),
    floor: &LogPosition,
    sender: &mpsc::Sender<Work>,
) -> Result<(), Failed> {
    let table = state.layout.table.clone();
    let layout = Arc::new(state.layout);
    let snapshot = match state.phase {
        Phase::Snapshot(snapshot) => snapshot,
        Phase::Opening => copying.watermark(&table, opening, state.copied, floor).await?,
        Phase::Streaming
        | Phase::Refill { .. }
        | Phase::Reopening { .. }
        | Phase::Dropped
        | Phase::Parked { .. } => return Ok(()),
    };
    failpoint::hit(failpoint::WATERMARK_DURABLE);
    tracing::info!(%table, low = %snapshot.low, open_chunks = snapshot.open.len(), "snapshot begins");
    let open_still = || copying.shared.routes.is_open(&table, opening);
    let estimate = copying
        .again_while(open_still, "estimate", || copying.source.estimate(&table))
        .await?;
    copying
        .shared
        .status
        .snapshot_begins(&table, estimate.rows, snapshot.rows, snapshot.chunks);
    let (open, mut closed) = mpsc::channel(1);
    let mut open = Some(open);
    let work = |chunk: Chunk, open: &Option<mpsc::Sender<Infallible>>| Work {
        layout: Arc::clone(&layout),
        chunk,
        low: snapshot.low,
        seen: snapshot.seen.clone(),
        opening,
        open: open.clone(),
    };
    for chunk in &snapshot.open {
        copying.hand_out(sender, work(chunk.clone(), &open)).await?;
    }
    let (mut after, mut all) = (snapshot.planned_to.clone(), snapshot.planned_all);
    while !all && open_still() {
        let planned = copying.again_while(open_still, "plan", || {
            copying.source.plan(&layout, snapshot.low, after.as_ref())
        });
        let chunk = tokio::select! {
            biased;
            // It may take hours, and whoever changes the table waits for it.
            () = copying.shared.routes.turned(&table, opening) => return Err(Failed::Parked),
            chunk = planned => chunk?,
        };
        all = chunk.upper.is_none();
        if all && copying.source.ends_alone() {
            drop(open.take());
            tokio::select! {
                biased;
                () = copying.stop.cancelled() => return Err(Failed::Stopped),
                // Nothing is ever sent: this is the end of the last one who could.
                _ = closed.recv() => {}
            }
            if !open_still() {
                return Err(Failed::Parked);
            }
        }
        after.clone_from(&chunk.upper);
        copying
            .tell(Message::Planned(table.clone(), snapshot.low, chunk.clone()))
            .await?;
        copying.hand_out(sender, work(chunk, &open)).await?;
    }
    Ok(())
}

/// Takes chunks until there are none; a failure ends all who copy.
async fn work(copying: Copying, queue: Arc<Mutex<mpsc::Receiver<Work>>>) -> Result<(), PipelineError> {
    let end = work_off(&copying, queue).await;
    if end.is_err() {
        copying.stop.cancel();
    }
    end
}

async fn work_off(copying: &Copying, queue: Arc<Mutex<mpsc::Receiver<Work>>>) -> Result<(), PipelineError> {
    loop {
        let next = tokio::select! {
            biased;
            () = copying.stop.cancelled() => None,
            next = async { queue.lock().await.recv().await } => next,
        };
        let Some(work) = next else { return Ok(()) };
        let table = work.layout.table.clone();
        match copying.chunk(&work).await {
            Ok(rows) => {
                failpoint::hit(failpoint::CHUNK_ACKNOWLEDGED);
                copying
                    .tell(Message::Chunk(table, work.low, work.chunk, rows))
                    .await?;
            }
            Err(Failed::Stopped) => return Ok(()),
            Err(Failed::Parked) => {}
            Err(Failed::Table(cause)) => copying.park(&table, cause).await?,
            Err(Failed::Outdated(cause)) => copying.outdated(&table, work.opening, cause).await?,
            Err(Failed::Pipeline(error)) => return Err(error),
        }
        // Not before the keeper was told: who waits for this goes by its order of messages.
        drop(work.open);
    }
}

impl Copying {
    /// Waits until the source may be read from: the rows before were due, and a replica is near enough.
    async fn in_turn(&self, work: &Work) -> Result<(), Failed> {
        let stopped = self.stop.cancelled();
        tokio::pin!(stopped);
        tokio::select! {
            biased;
            () = &mut stopped => return Err(Failed::Stopped),
            () = self.pace.allows() => {}
        }
        let Some(most) = self.max_replica_lag else {
            return Ok(());
        };
        let table = &work.layout.table;
        let is_open = || self.shared.routes.is_open(table, work.opening);
        loop {
            let lag = self
                .again_while(is_open, "replica lag", || self.source.lag())
                .await?;
            let Some(lag) = lag.filter(|lag| *lag > most) else {
                return Ok(());
            };
            tracing::warn!(%table, lag_s = lag.as_secs(), max_s = most.as_secs(), "chunk waits: the replica that is read is behind");
            tokio::select! {
                biased;
                () = &mut stopped => return Err(Failed::Stopped),
                () = self.shared.clock.sleep(STANDING) => {}
            }
        }
    }

    /// Copies one chunk, as often as it takes. Returns its rows.
    async fn chunk(&self, work: &Work) -> Result<u64, Failed> {
        let mut attempts = Attempts::default();
        loop {
            self.in_turn(work).await?;
            let Ok(permit) = self.permits.acquire().await else {
                return Err(Failed::Stopped);
            };
            let writing = self.shared.routes.writing(&work.layout.table);
            if !self.shared.routes.is_open(&work.layout.table, work.opening) {
                return Err(Failed::Parked);
            }
            let attempt = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(Failed::Stopped),
                attempt = self.attempt(work) => attempt,
            };
            drop(writing);
            // Others read while this one waits.
            drop(permit);
            match attempt {
                Ok(Some(rows)) => return Ok(rows),
                Ok(None) => {
                    tracing::warn!(table = %work.layout.table, "chunk took too long or the log changed, reading it again")
                }
                Err(Attempt::Source(error)) => self.wait("read", error, &mut attempts).await?,
                Err(Attempt::Failed(failed)) => return Err(failed),
            }
        }
    }

    /// Reads a chunk once and sees its rows acknowledged; `None` if it is to be read again.
    async fn attempt(&self, work: &Work) -> Result<Option<u64>, Attempt> {
        let read = ChunkRead {
            layout: (*work.layout).clone(),
            chunk: work.chunk.clone(),
            low: work.low,
            seen: work.seen.clone(),
            reached: self.shared.reached.borrow().clone(),
        };
        let began = self.shared.clock.now();
        let mut rows = self.source.read(read).await.map_err(Attempt::Source)?;
        let is_keyed = work.layout.is_keyed();
        let mut pending = std::collections::VecDeque::new();
        let mut count = 0;
        while let Some(changes) = rows.next().await.map_err(Attempt::Source)? {
            if !self.shared.routes.is_open(&work.layout.table, work.opening) {
                return Err(Attempt::Failed(Failed::Parked));
            }
            // Without a key there is one chunk, and no delete that its rows could come too late for.
            if is_keyed && self.shared.clock.now().duration_since(began) > CHUNK_TIME {
                return Ok(None);
            }
            let read = u64::try_from(changes.changes.len()).unwrap_or(u64::MAX);
            self.pace.read(read);
            count += read;
            if pending.len() >= CHUNK_DELIVERIES
                && let Some(first) = pending.pop_front()
            {
                self.acknowledged(work, first).await?;
            }
            pending.push_back(self.write(work, changes).await?);
        }
        for one in pending {
            self.acknowledged(work, one).await?;
        }
        let sealed = match rows.at() {
            Some(at) => self.seal((&work.layout, work.opening), at, rows).await,
            None => Ok(true),
        };
        Ok(sealed.map_err(Attempt::Failed)?.then_some(count))
    }

    async fn write(&self, work: &Work, changes: RowChanges) -> Result<Pending, Attempt> {
        let batch = Batch {
            layout: Arc::clone(&work.layout),
            pieces: vec![changes],
        };
        self.sink
            .write(batch)
            .await
            .map_err(|error| Attempt::Failed(sink_failed(&work.layout.table, error)))
    }

    async fn acknowledged(&self, work: &Work, pending: Pending) -> Result<(), Attempt> {
        match pending.await {
            Ok(durable) => {
                let table = &work.layout.table;
                let (rows, last) = (durable.dead_letters, durable.last_dead_letter);
                self.shared.status.put_aside(table, rows, last);
                Ok(())
            }
            Err(error) => Err(Attempt::Failed(sink_failed(&work.layout.table, error))),
        }
    }

    /// Takes a table's low watermark and makes it durable.
    async fn watermark(
        &self,
        table: &TableId,
        opening: u64,
        before: Option<TxnStart>,
        floor: &LogPosition,
    ) -> Result<SnapshotState, Failed> {
        let open_still = || self.shared.routes.is_open(table, opening);
        let (low, seen) = loop {
            let Watermark { low: at, seen } = self
                .again_while(open_still, "watermark", || self.source.watermark(table, floor))
                .await?;
            match before.map_or_else(|| Some(at.first_low()), |before| at.low_after(before)) {
                Some(low) => break (low, seen),
                None => self.log_moves(table).await?,
            }
        };
        message::durably(&self.keeper, |reply| {
            Message::Watermark(table.clone(), low, seen.clone(), reply)
        })
        .await?;
        Ok(SnapshotState::new(low, seen))
    }

    /// Waits a while for the log to move: a copy of a table begins above the one before.
    pub(super) async fn log_moves(&self, table: &TableId) -> Result<(), Failed> {
        tracing::warn!(
            %table,
            "its copy waits until anything is committed at the source: it was copied too often at this place of the log"
        );
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Failed::Stopped),
            () = self.shared.clock.sleep(STANDING) => Ok(()),
        }
    }

    async fn hand_out(&self, sender: &mpsc::Sender<Work>, work: Work) -> Result<(), Failed> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Failed::Stopped),
            // No worker is left only if one failed, and its error is the one that is reported.
            sent = sender.send(work) => sent.map_err(|_| Failed::Stopped),
        }
    }

    pub(super) async fn tell(&self, message: Message) -> Result<(), PipelineError> {
        self.keeper
            .send(message)
            .await
            .map_err(|_| PipelineError::Gone("keeper"))
    }

    /// Has a table opened anew, with what it is by now.
    async fn outdated(&self, table: &TableId, opening: u64, cause: String) -> Result<(), PipelineError> {
        self.tell(Message::Outdated(table.clone(), opening, cause)).await
    }

    async fn park(&self, table: &TableId, cause: String) -> Result<(), PipelineError> {
        // The keeper ends the flow and notes why in one step: a position must not pass in between.
        self.tell(Message::Park(table.clone(), cause, None)).await
    }
}

/// How an attempt at a chunk failed.
enum Attempt {
    Source(SourceError),
    Failed(Failed),
}

pub(super) fn sink_failed(table: &TableId, error: crate::sink::SinkError) -> Failed {
    match error.fault() {
        Fault::Table(_) => Failed::Table(breaks::explain(table, &*error)),
        Fault::Transient { .. } | Fault::Fatal => Failed::Pipeline(PipelineError::Sink(error)),
    }
}
