//! Follows the log: takes items, judges them, gathers flushes and hands them to the target. Opens the
//! log again where it broke off, and opens tables at commit boundaries.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::batcher::Batcher;
use super::breaks::Copies;
use super::error::PipelineError;
use super::hold::Held;
use super::lost::{Patience, Vigil};
use super::mark::Mark;
use super::message::{Delivery, Message, Shared};
use super::queue;
use super::releases::Release;
use super::retry::{MAX_DELAY, delays};
use super::routes::Writing;
use super::steer::Answer;
use crate::checkpoint::{Phase, SnapshotState, TableState};
use crate::event::{CommitPoint, Item, LogPosition, Seen, TableId, TxnStart};
use crate::fault::{Fault, chain};
use crate::sink::Sink;
use crate::source::{ItemStream, Opened, Reached, Source, SourceError};
use crate::task::{self, Task};

/// Image bytes after which a flush goes out at once.
const FLUSH_BYTES: usize = 4 << 20;
/// How long changes wait for company while earlier flushes are under way.
const LINGER: Duration = Duration::from_millis(200);
/// Flushes under way at the same time, at most.
const FLUSHES: usize = 16;
/// Bytes of log that wait between the reader and the flushes.
const QUEUE_BYTES: usize = 16 << 20;

/// Makes the states of tables from the place at which they are opened.
pub type AtBoundary = Box<dyn FnOnce(&LogPosition) -> Vec<TableState> + Send>;

/// How tables are opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// Copied. With GTIDs the position proves what a later SELECT sees; else the watermark is taken separately.
    Copied,
    /// Followed only.
    Followed,
}

impl Opening {
    /// The phase of a table that is opened here, its copy's rows numbered by `low`.
    pub fn phase(self, at: &LogPosition, low: TxnStart) -> Phase {
        match self {
            Opening::Copied => match &at.gtids {
                Some(seen) => Phase::Snapshot(SnapshotState::new(low, Some(Seen::Gtids(seen.clone())))),
                None => Phase::Opening,
            },
            Opening::Followed => Phase::Streaming,
        }
    }
}

/// Tables that were opened, as they were made durable, and the boundary.
pub type Boundary = (Vec<TableState>, LogPosition);

/// A request for the next commit boundary.
pub enum OpenRequest {
    /// To follow tables from there on.
    Open {
        /// The tables' states, given the boundary.
        states: AtBoundary,
        /// Answered once they are durable.
        reply: oneshot::Sender<Boundary>,
    },
    /// To copy a table again beside its stream.
    Refill {
        /// Which.
        table: TableId,
        /// How.
        opening: Opening,
        /// Answered once it is durable; without a state if the table is held or does not flow, or no copy of it can begin at
        /// this boundary.
        reply: oneshot::Sender<Boundary>,
    },
    /// To copy a table again as a whole, because a person wants it.
    Resync {
        /// Which.
        table: TableId,
        /// Answered once it is durable.
        reply: Answer,
    },
}

impl std::fmt::Debug for OpenRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OpenRequest")
    }
}

type Received = Result<Item, SourceError>;

/// The task's state.
pub struct Follow {
    pub(super) source: Arc<dyn Source>,
    pub(super) sink: Arc<dyn Sink>,
    pub(super) shared: Shared,
    pub(super) keeper: mpsc::Sender<Message>,
    opens: mpsc::Receiver<OpenRequest>,
    releases: mpsc::Receiver<Release>,
    stop: CancellationToken,
    /// Everything before is in a flush that was handed over.
    flushed: LogPosition,
    /// Everything before was taken from the log.
    taken: LogPosition,
    /// Whether `taken` is where the log is now, and not amid a transaction.
    boundary: bool,
    pub(super) batcher: Batcher,
    /// What was decided of tables and is not handed over.
    pub(super) marks: Vec<Mark>,
    pub(super) held: Held,
    /// Tables of which too much waits.
    pub(super) overfull: Vec<TableId>,
    /// Tables with gathered rows that must be on their way before their target is changed.
    pub(super) unsent: Vec<Writing>,
    /// How often tables were copied again by themselves.
    pub(super) copies: Copies,
    /// What is done about a lost position.
    patience: Patience,
    vigil: Vigil,
}

impl std::fmt::Debug for Follow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follow")
            .field("taken", &self.taken)
            .finish_non_exhaustive()
    }
}

/// What wakes the task.
enum Woken {
    Stop,
    Item(Option<Received>),
    Open(OpenRequest),
    Release(Release),
    Flush,
}

/// What a follower hears from others.
#[derive(Debug)]
pub struct Requests {
    /// Tables to open.
    pub opens: mpsc::Receiver<OpenRequest>,
    /// Tables that need not wait any more.
    pub releases: mpsc::Receiver<Release>,
}

impl Follow {
    /// A task that begins at an opened log.
    pub fn new(
        (source, sink): (Arc<dyn Source>, Arc<dyn Sink>),
        shared: Shared,
        keeper: mpsc::Sender<Message>,
        requests: Requests,
        stop: CancellationToken,
        position: LogPosition,
    ) -> Follow {
        Follow {
            patience: Patience::default(),
            vigil: Vigil::new(Arc::clone(&shared.status)),
            source,
            sink,
            shared,
            keeper,
            opens: requests.opens,
            releases: requests.releases,
            stop,
            flushed: position.clone(),
            taken: position,
            boundary: true,
            batcher: Batcher::default(),
            marks: Vec::new(),
            held: Held::default(),
            overfull: Vec::new(),
            unsent: Vec::new(),
            copies: Copies::default(),
        }
    }

    /// What it does about a lost position: it ends, unless it is told to wait.
    #[must_use]
    pub fn with(self, patience: Patience) -> Follow {
        Follow { patience, ..self }
    }

    /// Follows until stopped.
    ///
    /// # Errors
    /// What the source or the target cannot recover from.
    pub async fn run(mut self, items: Box<dyn ItemStream>) -> Result<(), PipelineError> {
        let mut delays = delays();
        let mut next = Some(items);
        while let Some(items) = next.take() {
            let began = self.flushed.clone();
            let Some(error) = self.follow(items).await? else {
                return Ok(());
            };
            let after = match error.fault() {
                Fault::Transient { after } => after.unwrap_or(Duration::ZERO),
                Fault::Table(_) | Fault::Fatal if self.patience.waits_for(&*error) => {
                    self.vigil.lost(&*error)
                }
                Fault::Table(_) | Fault::Fatal => return Err(PipelineError::Source(error)),
            };
            if self.flushed != began {
                delays = super::retry::delays();
            }
            // What was gathered is read again, from the last position that was handed over.
            self.batcher = Batcher::default();
            self.unsent.clear();
            self.held.forget_gathered();
            self.taken = self.flushed.clone();
            let delay = delays.next().unwrap_or(MAX_DELAY).max(after);
            tracing::warn!(
                error = chain(&*error),
                delay_ms = delay.as_millis(),
                "log broke off, opening it again"
            );
            self.shared.status.source_error(&chain(&*error));
            next = self.open_again(delay).await?;
        }
        Ok(())
    }

    /// Follows one opened log until it fails, which it returns, or until stopped.
    async fn follow(&mut self, items: Box<dyn ItemStream>) -> Result<Option<SourceError>, PipelineError> {
        let (sender, mut receiver) = queue::bounded(QUEUE_BYTES);
        let reader = task::spawn("log reader", read(items, sender));
        self.boundary = true;
        let mut linger = None;
        loop {
            match self.wake(&mut receiver, &mut linger).await {
                Woken::Stop => return Ok(None),
                Woken::Item(None) => return Err(ended(reader).await),
                Woken::Item(Some(Err(error))) => return Ok(Some(error)),
                Woken::Item(Some(Ok(item))) => {
                    self.item(item).await?;
                    if linger.is_none() {
                        linger = Some(self.shared.clock.sleep(LINGER));
                    }
                }
                Woken::Open(request) => self.open_tables(request).await?,
                Woken::Release(release) => self.release(release).await?,
                Woken::Flush => {
                    linger = None;
                    if !self.flush().await? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    async fn wake(
        &mut self,
        receiver: &mut queue::Receiver<Received>,
        linger: &mut Option<std::pin::Pin<Box<dyn Future<Output = ()> + Send>>>,
    ) -> Woken {
        let full = self.batcher.bytes() >= FLUSH_BYTES;
        let lingered = async {
            match linger {
                Some(sleep) => sleep.await,
                None => std::future::pending().await,
            }
        };
        let in_flight = &self.shared.in_flight;
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Woken::Stop,
            Some(release) = self.releases.recv() => Woken::Release(release),
            Some(request) = self.opens.recv(), if self.boundary => Woken::Open(request),
            () = async {}, if full => Woken::Flush,
            item = receiver.recv() => Woken::Item(item),
            () = in_flight.at_most(0), if self.batcher.has_rows() => Woken::Flush,
            () = lingered => Woken::Flush,
        }
    }

    async fn item(&mut self, item: Item) -> Result<(), PipelineError> {
        self.shared.status.reader.beat(&self.shared.clock);
        match item {
            Item::Commit(point) => {
                self.commit(point);
                return Ok(());
            }
            Item::Rows(changes) => self.rows(changes),
            Item::Break(one) => self.broken(one),
            Item::Ddl(ddl) => self.statement(ddl),
        }
        self.boundary = false;
        self.shed().await
    }

    fn commit(&mut self, point: CommitPoint) {
        self.boundary = true;
        self.vigil
            .passed(&self.shared.clock, point.committed_micros.is_some());
        self.taken.pass(&point);
        self.shared
            .status
            .read_to(&self.shared.clock, point.committed_micros);
        self.batcher.commit(point);
    }

    /// Hands over what was gathered. Returns whether to go on.
    async fn flush(&mut self) -> Result<bool, PipelineError> {
        if self.batcher.is_empty() && self.marks.is_empty() && !self.held.has_gathered() {
            return Ok(true);
        }
        let stop = self.stop.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => Ok(false),
            done = self.hand_over() => done.map(|()| true),
        }
    }

    async fn hand_over(&mut self) -> Result<(), PipelineError> {
        self.shared.in_flight.at_most(FLUSHES - 1).await;
        let flush = self.batcher.take();
        let mut deliveries = Vec::with_capacity(flush.batches.len());
        for batch in flush.batches {
            let Some(at) = batch.pieces.first().map(|piece| piece.txn) else {
                continue;
            };
            let table = batch.table().clone();
            if self.shared.routes.is_parked(&table) {
                continue;
            }
            deliveries.push(Delivery {
                pending: self.write(batch).await,
                table,
                at,
            });
        }
        self.unsent.clear();
        for point in &flush.points {
            self.flushed.pass(point);
        }
        self.shared.status.reading(&self.flushed);
        self.shared.reached.send_replace(Reached::of(&self.flushed));
        let unit = Message::Unit {
            points: flush.points,
            deliveries,
            waiting: self.waiting(),
            marks: std::mem::take(&mut self.marks),
        };
        self.shared.in_flight.begin();
        self.tell(unit).await
    }

    pub(super) async fn tell(&mut self, message: Message) -> Result<(), PipelineError> {
        self.keeper
            .send(message)
            .await
            .map_err(|_| PipelineError::Gone("keeper"))
    }

    /// Opens tables at this boundary: durable first, then the first row.
    async fn open_tables(&mut self, request: OpenRequest) -> Result<(), PipelineError> {
        let (states, answer) = match request {
            OpenRequest::Refill {
                table,
                opening,
                reply,
            } => return self.refill(table, opening, reply).await,
            OpenRequest::Resync { table, reply } => return self.resync(table, reply).await,
            OpenRequest::Open { states, reply } => (states(&self.taken), reply),
        };
        let opened = states.clone();
        self.durably(|reply| Message::Open(opened, reply)).await?;
        for state in &states {
            tracing::info!(table = %state.layout.table, floor = %state.floor, "table opened");
            self.project(state);
            self.shared.routes.open(state);
        }
        // The asker may be stopping; the tables are open all the same.
        let _gone = answer.send((states, self.taken.clone()));
        Ok(())
    }

    /// Lets a table be copied again beside its stream, from this boundary on.
    async fn refill(
        &mut self,
        table: TableId,
        opening: Opening,
        answer: oneshot::Sender<Boundary>,
    ) -> Result<(), PipelineError> {
        let mut states = Vec::new();
        if self.shared.routes.is_flowing(&table) && !self.shared.routes.is_held(&table) {
            let (reply, refilled) = oneshot::channel();
            let at = Box::new(self.taken.clone());
            self.tell(Message::Refill(table.clone(), opening, at, reply))
                .await?;
            let state = refilled.await.map_err(|_| PipelineError::Gone("keeper"))?;
            if state.is_some() {
                self.shared.routes.again(&table);
            }
            states.extend(state);
        }
        let _gone = answer.send((states, self.taken.clone()));
        Ok(())
    }

    async fn open_again(&mut self, delay: Duration) -> Result<Option<Box<dyn ItemStream>>, PipelineError> {
        let mut delays = delays();
        let mut wait = delay;
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(None),
                () = self.shared.clock.sleep(wait) => {}
            }
            let last = self.flushed.next.epoch;
            let opened = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(None),
                opened = self.source.open(Some(self.flushed.clone()), last, self.shared.routes.tables()) => opened,
            };
            match opened {
                Ok(Opened { position, items }) => {
                    self.vigil.opened(&self.shared.clock);
                    if position.next.epoch != last {
                        let epoch = position.next.epoch;
                        self.durably(|reply| Message::Epoch(epoch, reply)).await?;
                    }
                    self.flushed = position.clone();
                    self.taken = position;
                    self.shared.reached.send_replace(Reached::of(&self.flushed));
                    return Ok(Some(items));
                }
                Err(error) => match error.fault() {
                    Fault::Transient { after } => {
                        wait = delays
                            .next()
                            .unwrap_or(MAX_DELAY)
                            .max(after.unwrap_or(Duration::ZERO));
                        tracing::warn!(
                            error = chain(&*error),
                            delay_ms = wait.as_millis(),
                            "log cannot be opened yet"
                        );
                        self.shared.status.source_error(&chain(&*error));
                    }
                    Fault::Table(_) | Fault::Fatal if self.patience.waits_for(&*error) => {
                        wait = self.vigil.lost(&*error);
                    }
                    Fault::Table(_) | Fault::Fatal => return Err(PipelineError::Source(error)),
                },
            }
        }
    }
}

/// Moves items from the log to the queue until either side ends; a failure is the last element.
async fn read(mut items: Box<dyn ItemStream>, queue: queue::Sender<Received>) {
    loop {
        let item = items.next().await;
        let failed = item.is_err();
        let bytes = match &item {
            Ok(Item::Rows(changes)) => changes.images.bytes(),
            Ok(Item::Break(_) | Item::Ddl(_) | Item::Commit(_)) | Err(_) => 0,
        };
        if !queue.send(item, bytes).await || failed {
            return;
        }
    }
}

async fn ended(reader: Task<()>) -> PipelineError {
    match reader.join().await {
        Ok(()) => PipelineError::Gone("log reader"),
        Err(panicked) => PipelineError::Panicked(panicked),
    }
}
