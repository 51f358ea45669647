//! Follows the log: takes items, judges them, gathers flushes and hands them to the target. Opens the
//! log again where it broke off, and opens tables at commit boundaries.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::batcher::Batcher;
use super::error::PipelineError;
use super::keeper::{Delivery, Message, Shared};
use super::queue;
use super::routes::Verdict;
use crate::checkpoint::{Phase, SnapshotState, TableState};
use crate::event::{Break, BreakCause, CommitPoint, Item, LogPosition, RowChanges, TableId, TableLayout};
use crate::fault::{Fault, chain};
use crate::sink::Sink;
use crate::source::{ItemStream, Opened, Source, SourceError, image_bytes};
use crate::task::{self, Task};

/// Image bytes after which a flush goes out at once.
const FLUSH_BYTES: usize = 4 << 20;
/// How long changes wait for company while earlier flushes are under way.
const LINGER: Duration = Duration::from_millis(200);
/// Flushes under way at the same time, at most.
const FLUSHES: usize = 16;
/// Tables that are told to be new, at most: they are remembered so that each is told once.
const UNKNOWN: usize = 1000;
/// Bytes of log that wait between the reader and the flushes.
const QUEUE_BYTES: usize = 16 << 20;

/// How a table is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// Copied; the position proves what a later SELECT sees (GTIDs).
    Copied,
    /// Copied; the watermark is taken separately.
    CopiedLocked,
    /// Followed only.
    Followed,
}

/// A request to follow tables from the next commit boundary on.
#[derive(Debug)]
pub struct OpenRequest {
    /// The tables, as their targets were made.
    pub layouts: Vec<TableLayout>,
    /// How.
    pub opening: Opening,
    /// The states that were made durable, and the position of the boundary.
    pub reply: oneshot::Sender<(Vec<TableState>, LogPosition)>,
}

type Received = Result<Item, SourceError>;

/// The task's state.
pub struct Follow {
    source: Arc<dyn Source>,
    sink: Arc<dyn Sink>,
    shared: Shared,
    keeper: mpsc::Sender<Message>,
    opens: mpsc::Receiver<OpenRequest>,
    stop: CancellationToken,
    /// Everything before is in a flush that was handed over.
    flushed: LogPosition,
    /// Everything before was taken from the log.
    taken: LogPosition,
    /// Whether `taken` is where the log is now, and not amid a transaction.
    boundary: bool,
    batcher: Batcher,
    breaks: Vec<Break>,
    unknown: HashSet<TableId>,
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
    Flush,
}

impl Follow {
    /// A task that begins at an opened log.
    pub fn new(
        (source, sink): (Arc<dyn Source>, Arc<dyn Sink>),
        shared: Shared,
        keeper: mpsc::Sender<Message>,
        opens: mpsc::Receiver<OpenRequest>,
        stop: CancellationToken,
        position: LogPosition,
    ) -> Follow {
        Follow {
            source,
            sink,
            shared,
            keeper,
            opens,
            stop,
            flushed: position.clone(),
            taken: position,
            boundary: true,
            batcher: Batcher::default(),
            breaks: Vec::new(),
            unknown: HashSet::new(),
        }
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
            let Fault::Transient { after } = error.fault() else {
                return Err(PipelineError::Source(error));
            };
            if self.flushed != began {
                delays = self::delays();
            }
            // What was gathered is read again, from the last position that was handed over.
            self.batcher = Batcher::default();
            self.taken = self.flushed.clone();
            let delay = delays
                .next()
                .unwrap_or(MAX_DELAY)
                .max(after.unwrap_or(Duration::ZERO));
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
                    self.item(item);
                    if linger.is_none() {
                        linger = Some(self.shared.clock.sleep(LINGER));
                    }
                }
                Woken::Open(request) => self.open_tables(request).await?,
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
            Some(request) = self.opens.recv(), if self.boundary => Woken::Open(request),
            () = async {}, if full => Woken::Flush,
            item = receiver.recv() => Woken::Item(item),
            () = in_flight.at_most(0), if self.batcher.has_rows() => Woken::Flush,
            () = lingered => Woken::Flush,
        }
    }

    fn item(&mut self, item: Item) {
        self.shared.status.reader.beat(&self.shared.clock);
        match item {
            Item::Rows(changes) => {
                self.boundary = false;
                self.rows(changes);
            }
            Item::Break(one) => {
                self.boundary = false;
                self.park(one);
            }
            Item::Layout(layout, at) => {
                self.boundary = false;
                if let Some(text) = self.shared.routes.differs(&layout, at) {
                    let cause = BreakCause::LayoutChanged(text);
                    self.park(Break {
                        table: layout.table.clone(),
                        cause,
                        at,
                    });
                }
            }
            Item::Commit(point) => self.commit(point),
        }
    }

    fn commit(&mut self, point: CommitPoint) {
        self.boundary = true;
        self.taken.pass(&point);
        self.shared
            .status
            .read_to(&self.shared.clock, point.committed_micros);
        self.batcher.commit(point);
    }

    fn rows(&mut self, changes: RowChanges) {
        match self.shared.routes.judge(&changes) {
            Verdict::Send => {
                let bytes = image_bytes(&changes);
                self.batcher.rows(changes, bytes);
            }
            Verdict::Skip => self.shared.status.skipped(changes.table(), changes.changes.len()),
            Verdict::Unknown => {
                if self.unknown.len() < UNKNOWN && self.unknown.insert(changes.table().clone()) {
                    tracing::warn!(table = %changes.table(), "new table is not copied before a restart");
                }
            }
            Verdict::LayoutChanged(text) => {
                let cause = BreakCause::LayoutChanged(text);
                self.park(Break {
                    table: changes.table().clone(),
                    cause,
                    at: changes.txn,
                });
            }
        }
    }

    /// Ends a table's flow at once; the keeper makes it durable before the position passes.
    fn park(&mut self, one: Break) {
        if self.shared.routes.break_at(&one.table, one.at) {
            self.breaks.push(one);
        }
    }

    /// Hands over what was gathered. Returns whether to go on.
    async fn flush(&mut self) -> Result<bool, PipelineError> {
        if self.batcher.is_empty() && self.breaks.is_empty() {
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
            let pending = match self.sink.write(batch).await {
                Ok(pending) => pending,
                Err(error) => Box::pin(async { Err(error) }),
            };
            deliveries.push(Delivery { table, at, pending });
        }
        for point in &flush.points {
            self.flushed.pass(point);
        }
        self.shared.status.reading(&self.flushed);
        let unit = Message::Unit {
            points: flush.points,
            deliveries,
            breaks: std::mem::take(&mut self.breaks),
        };
        self.shared.in_flight.begin();
        self.tell(unit).await
    }

    async fn tell(&self, message: Message) -> Result<(), PipelineError> {
        self.keeper
            .send(message)
            .await
            .map_err(|_| PipelineError::Gone("keeper"))
    }

    /// Follows tables from this boundary on: durable first, then the first row.
    async fn open_tables(&mut self, request: OpenRequest) -> Result<(), PipelineError> {
        let floor = self.taken.next;
        let phase = || match request.opening {
            Opening::Copied => Phase::Snapshot(SnapshotState::new(floor, self.taken.gtids.clone())),
            Opening::CopiedLocked => Phase::Opening,
            Opening::Followed => Phase::Streaming,
        };
        let states: Vec<TableState> = request
            .layouts
            .iter()
            .map(|layout| TableState {
                layout: layout.clone(),
                floor,
                phase: phase(),
            })
            .collect();
        let (reply, durable) = oneshot::channel();
        self.tell(Message::Open(states.clone(), reply)).await?;
        durable.await.map_err(|_| PipelineError::Gone("keeper"))?;
        for layout in request.layouts {
            tracing::info!(table = %layout.table, floor = %floor, "table opened");
            self.shared.routes.open(Arc::new(layout), floor);
        }
        // The asker may be stopping; the tables are open all the same.
        let _gone = request.reply.send((states, self.taken.clone()));
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
                    if position.next.epoch != last {
                        let (reply, durable) = oneshot::channel();
                        self.tell(Message::Epoch(position.next.epoch, reply)).await?;
                        durable.await.map_err(|_| PipelineError::Gone("keeper"))?;
                    }
                    self.flushed = position.clone();
                    self.taken = position;
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
                    Fault::Table(_) | Fault::Fatal => return Err(PipelineError::Source(error)),
                },
            }
        }
    }
}

/// The longest wait between two attempts.
const MAX_DELAY: Duration = Duration::from_secs(30);

/// Waits between attempts, growing, never ending.
pub(super) fn delays() -> backon::ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(MAX_DELAY)
        .with_jitter()
        .without_max_times()
        .build()
}

/// Moves items from the log to the queue until either side ends; a failure is the last element.
async fn read(mut items: Box<dyn ItemStream>, queue: queue::Sender<Received>) {
    loop {
        let item = items.next().await;
        let failed = item.is_err();
        let bytes = match &item {
            Ok(Item::Rows(changes)) => changes.images.bytes(),
            Ok(Item::Break(_) | Item::Layout(..) | Item::Commit(_)) | Err(_) => 0,
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
