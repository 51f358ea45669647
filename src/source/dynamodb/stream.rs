//! The streams of all tables as one log. A bounded number of calls is under way at a time, over all shards, and what
//! they gave is handed on before others begin: who follows the log sets the pace. A shard that is not being read is
//! an iterator and a time.
//!
//! The log's order is that of each shard, with a parent's end before its children's beginning. A position in it is
//! how far each shard was read, told after every page.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use metrics::counter;

use super::api::{Api, CallError, Page, Record, StreamInfo, TableInfo, unreadable};
use super::catalog::Catalog;
use super::error::StreamError;
use super::lineage::Disorder;
use super::pages::{self, Changes};
use super::reader::{Followed, Halt};
use crate::clock::Clock;
use crate::event::{
    AlterSaid, BinlogCoord, CommitPoint, Ddl, DdlWhat, Epoch, Item, Late, SequenceNumber, ShardId,
    StreamStep, TableId, TableLayout, TxnStart,
};
use crate::fault::boxed;
use crate::source::{BoxFuture, ItemStream, SourceError};

/// Calls under way at the same time, at most: each answer has up to 1 MB.
pub(super) const CALLS: usize = 16;
/// How often the log says that it lives when nothing is in it.
const BEAT: Duration = Duration::from_secs(5);

/// How long a table whose copy was asked for again is not read at most: if no copy is planned by then, none is made.
pub(super) const GATE: Duration = Duration::from_secs(3600);
/// How often it is looked whether a table may be read.
const GATED: Duration = Duration::from_secs(1);

/// The metric that counts items whose time to live ended.
pub const EXPIRED: &str = "replicator_dynamodb_ttl_deletes_total";
/// The metric that counts reads of shards, each of which is billed.
pub const READS: &str = "replicator_dynamodb_reads_total";
/// The metric that counts lineages whose numbers did not rise.
pub const DISORDERS: &str = "replicator_dynamodb_disorders_total";

/// The place of every position of a generation, below each of its rows.
pub(super) fn start(generation: Epoch) -> TxnStart {
    TxnStart {
        epoch: generation,
        coord: BinlogCoord { file: 0, offset: 0 },
    }
}

/// A point at which everything that was read has been emitted.
pub(super) fn point(generation: Epoch, streams: Vec<StreamStep>, committed_micros: Option<i64>) -> Item {
    Item::Commit(CommitPoint {
        next: start(generation),
        file_name: "".into(),
        gtid: None,
        file_born: 0,
        last_event: None,
        committed_micros,
        xa: Vec::new(),
        executed: None,
        streams,
    })
}

/// What the statement of a change of columns is, for people.
const SEEN: &str = "items have other attributes";

/// Says that rows have these columns from now on.
pub(super) fn altered(generation: Epoch, layout: &Arc<TableLayout>, said: AlterSaid) -> Item {
    Item::Ddl(Ddl {
        table: layout.table.clone(),
        what: DdlWhat::Altered {
            layout: Arc::clone(layout),
            said,
            late: Late::No,
        },
        // Below every row, so that these columns are for all that comes: older ones fit into them.
        at: start(generation),
        statement: SEEN.into(),
    })
}

/// What the readers found that the next opening has to know.
#[derive(Debug)]
pub(super) struct Found {
    /// Tables of which changes may be lost, and why.
    pub(super) lost: BTreeMap<TableId, String>,
    /// Whether numbers have to begin anew.
    pub(super) anew: bool,
    /// Tables of which nothing was copied when the source was asked which there are.
    pub(super) fresh: BTreeSet<TableId>,
    /// Tables that are not read until their copy is planned, or until this time.
    pub(super) gates: BTreeMap<TableId, Option<Instant>>,
    /// The generation that the log was opened with last.
    pub(super) generation: Epoch,
}

/// The same, shared between a source and its readers.
#[derive(Debug, Clone)]
pub(super) struct Findings(Arc<Mutex<Found>>);

impl Findings {
    /// None.
    pub(super) fn new() -> Findings {
        Findings(Arc::new(Mutex::new(Found {
            lost: BTreeMap::new(),
            anew: false,
            fresh: BTreeSet::new(),
            gates: BTreeMap::new(),
            generation: Epoch(0),
        })))
    }

    /// Looks at them, or changes them.
    pub(super) fn with<T>(&self, look: impl FnOnce(&mut Found) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a table is not to be read yet.
    fn is_gated(&self, table: &TableId, now: Instant) -> bool {
        self.with(|found| match found.gates.get(table) {
            Some(until) => until.is_none_or(|until| now < until),
            None => false,
        })
    }
}

/// What readers are made of.
#[derive(Debug, Clone)]
pub(super) struct Parts {
    /// Whom to ask.
    pub(super) api: Arc<dyn Api>,
    pub(super) clock: Clock,
    pub(super) findings: Findings,
    pub(super) catalog: Catalog,
    /// Whether tables are copied again by themselves of which changes may be lost.
    pub(super) reload: bool,
    /// What the rows' numbers begin with.
    pub(super) generation: Epoch,
}

/// What a call gave.
enum Given {
    Read(ShardId, Result<Page, CallError>),
    Listed(Result<(StreamInfo, TableInfo), CallError>),
}

/// The streams of all tables.
pub(super) struct Streams {
    parts: Parts,
    tables: Vec<Followed>,
    /// Shards that nobody reads at the moment, by the time at which they are due.
    due: BinaryHeap<Reverse<(Instant, usize, ShardId)>>,
    calls: FuturesUnordered<BoxFuture<'static, (usize, Given)>>,
    out: VecDeque<Item>,
    /// What ends the log after everything in `out`.
    end: Option<StreamError>,
    beat_at: Instant,
    /// Whether anything was answered since the last beat.
    alive: bool,
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams")
            .field("tables", &self.tables.len())
            .finish_non_exhaustive()
    }
}

impl Streams {
    /// Readers of tables whose streams were just listed; `first` goes out before anything that is read.
    pub(super) fn new(parts: Parts, tables: Vec<Followed>, first: VecDeque<Item>) -> Streams {
        let mut streams = Streams {
            beat_at: parts.clock.now() + BEAT,
            parts,
            tables,
            due: BinaryHeap::new(),
            calls: FuturesUnordered::new(),
            out: first,
            end: None,
            alive: true,
        };
        for table in 0..streams.tables.len() {
            streams.begin(table);
        }
        streams
    }

    /// Lets shards be read that may be from now on.
    fn begin(&mut self, table: usize) {
        let now = self.parts.clock.now();
        if let Some(followed) = self.tables.get_mut(table) {
            let new = followed.begin().into_iter();
            self.due.extend(new.map(|shard| Reverse((now, table, shard))));
        }
    }

    async fn advance(&mut self) -> Result<Item, StreamError> {
        loop {
            if self.parts.findings.with(|found| found.anew) {
                return Err(StreamError::Anew);
            }
            if let Some(item) = self.out.pop_front() {
                self.beat_at = self.parts.clock.now() + BEAT;
                return Ok(item);
            }
            if let Some(end) = self.end.take() {
                return Err(end);
            }
            for table in 0..self.tables.len() {
                self.tell_columns(table);
            }
            if !self.out.is_empty() {
                continue;
            }
            self.start_calls();
            if let Some((table, given)) = self.wait().await {
                self.take(table, given)?;
            } else if self.parts.clock.now() >= self.beat_at && std::mem::take(&mut self.alive) {
                self.out.push_back(point(self.parts.generation, Vec::new(), None));
            }
        }
    }

    /// Waits for an answer, or until something is due.
    async fn wait(&mut self) -> Option<(usize, Given)> {
        let clock = &self.parts.clock;
        let mut until = if self.alive {
            self.beat_at
        } else {
            clock.now() + BEAT
        };
        if self.calls.len() < CALLS {
            let listings = self.tables.iter().filter_map(|table| table.list_at);
            let reads = self.due.peek().map(|Reverse((at, _, _))| *at);
            until = listings.chain(reads).fold(until, Instant::min);
        }
        let sleep = clock.sleep(until.saturating_duration_since(clock.now()));
        tokio::select! {
            biased;
            Some(given) = self.calls.next() => Some(given),
            () = self.parts.catalog.grown() => None,
            () = sleep => None,
        }
    }

    /// Begins what is due, as far as there is room.
    fn start_calls(&mut self) {
        let now = self.parts.clock.now();
        for (index, table) in self.tables.iter_mut().enumerate() {
            if self.calls.len() < CALLS && table.list_at.is_some_and(|at| at <= now) {
                table.list_at = None;
                let (api, name) = (Arc::clone(&self.parts.api), table.table.clone());
                let arn = Arc::clone(&table.tree.place().arn);
                self.calls.push(Box::pin(async move {
                    (index, Given::Listed(list(&*api, &name, &arn).await))
                }));
            }
        }
        while self.calls.len() < CALLS && self.due.peek().is_some_and(|Reverse((at, _, _))| *at <= now) {
            let Some(Reverse((_, index, shard))) = self.due.pop() else {
                break;
            };
            let Some(table) = self.tables.get_mut(index) else {
                continue;
            };
            if self.parts.findings.is_gated(&table.table, now) {
                self.due.push(Reverse((now + GATED, index, shard)));
                continue;
            }
            let read = Read {
                api: Arc::clone(&self.parts.api),
                arn: Arc::clone(&table.tree.place().arn),
                iterator: table.iterator(&shard),
                after: table.tree.last(&shard).cloned(),
            };
            counter!(READS, "table" => table.table.to_string()).increment(1);
            self.calls.push(Box::pin(async move {
                let given = read.page(&shard).await;
                (index, Given::Read(shard, given))
            }));
        }
    }

    fn take(&mut self, index: usize, given: Given) -> Result<(), StreamError> {
        let now = self.parts.clock.now();
        let Some(table) = self.tables.get_mut(index) else {
            return Ok(());
        };
        let name = table.table.clone();
        let taken = match given {
            Given::Read(shard, Ok(page)) => match self.changes(index, &shard, page.records) {
                Ok(changes) => return self.page(index, &shard, changes, page.next),
                Err(error) => return Err(self.halted(name, Halt::Call(error))),
            },
            Given::Read(shard, Err(error)) => table.refused(&shard, error, now).map(|at| {
                self.due.push(Reverse((at, index, shard)));
            }),
            Given::Listed(Err(error)) => table.unlisted(error, now),
            Given::Listed(Ok((stream, described))) => {
                self.alive = true;
                table.listed(&stream, &described, now).and_then(|steps| {
                    if !steps.is_empty() {
                        self.out.push_back(point(self.parts.generation, steps, None));
                    }
                    table.ended()
                })
            }
        };
        taken.map_err(|halt| self.halted(name, halt))?;
        self.begin(index);
        Ok(())
    }

    /// Says what columns a table's rows have from here on, if they are others than before.
    fn tell_columns(&mut self, index: usize) {
        if let Some(table) = self.tables.get_mut(index)
            && let Some(shape) = self.parts.catalog.since(&table.shape.layout)
        {
            let said = self.parts.catalog.said(&table.table);
            self.out
                .push_back(altered(self.parts.generation, &shape.layout, said));
            table.shape = shape;
        }
    }

    /// Makes rows of a page, with columns that have room for them.
    fn changes(&mut self, index: usize, shard: &ShardId, records: Vec<Record>) -> Result<Changes, CallError> {
        if let Some(table) = self.tables.get(index) {
            let items = records.iter().filter_map(Record::put);
            self.parts.catalog.room(&table.table, items);
        }
        self.tell_columns(index);
        let Some(table) = self.tables.get(index) else {
            return Ok(Changes::default());
        };
        pages::changes(&table.shape, self.parts.generation, records)
            .map_err(|error| unreadable(shard, &error))
    }

    fn page(
        &mut self,
        index: usize,
        shard: &ShardId,
        changes: Changes,
        next: Option<String>,
    ) -> Result<(), StreamError> {
        let now = self.parts.clock.now();
        let Some(table) = self.tables.get_mut(index) else {
            return Ok(());
        };
        self.alive = true;
        let moved = match table.tree.read(shard, &changes.numbers) {
            Ok(moved) => moved,
            Err(disorder) => {
                let table = table.table.clone();
                return Err(self.disordered(table, disorder));
            }
        };
        let mut moves: Vec<_> = moved.into_iter().collect();
        if next.is_none() {
            moves.push(table.tree.drained(shard));
        }
        if changes.expired > 0 {
            counter!(EXPIRED, "table" => table.table.to_string()).increment(changes.expired);
        }
        self.out.extend(changes.rows.into_iter().map(Item::Rows));
        if !moves.is_empty() {
            let steps = table.steps(moves);
            self.out
                .push_back(point(self.parts.generation, steps, changes.written_micros));
        }
        match table.page(shard, changes.numbers.len(), next, now) {
            Some(at) => self.due.push(Reverse((at, index, shard.clone()))),
            None => {
                let (ended, name) = (table.ended(), table.table.clone());
                self.end = ended.err().map(|halt| self.halted(name, halt));
                self.begin(index);
            }
        }
        Ok(())
    }

    fn halted(&self, table: TableId, halt: Halt) -> StreamError {
        match halt {
            Halt::Call(error) => StreamError::Call(error),
            Halt::Lost(why) => {
                let lost = (table.clone(), why.clone());
                self.parts
                    .findings
                    .with(|found| found.lost.insert(lost.0, lost.1));
                StreamError::Lost {
                    table,
                    why,
                    reload: self.parts.reload,
                }
            }
        }
    }

    fn disordered(&self, table: TableId, disorder: Disorder) -> StreamError {
        tracing::error!(%table, %disorder, "a stream is not in the order of its numbers");
        counter!(DISORDERS, "table" => table.to_string()).increment(1);
        if matches!(disorder, Disorder::Child { .. }) {
            self.parts.findings.with(|found| found.anew = true);
        }
        StreamError::Disorder {
            table,
            disorder: Box::new(disorder),
        }
    }
}

async fn list(api: &dyn Api, table: &TableId, arn: &str) -> Result<(StreamInfo, TableInfo), CallError> {
    // What the table says of its stream is never older than what the stream says of itself.
    let stream = api.stream(arn).await?;
    Ok((stream, api.table(table.name()).await?))
}

/// One read of a shard.
struct Read {
    api: Arc<dyn Api>,
    arn: Arc<str>,
    iterator: Option<String>,
    after: Option<SequenceNumber>,
}

impl Read {
    async fn page(self, shard: &ShardId) -> Result<Page, CallError> {
        let iterator = match self.iterator {
            Some(iterator) => iterator,
            None => self.api.iterator(&self.arn, shard, self.after.as_ref()).await?,
        };
        self.api.records(shard, iterator).await
    }
}

impl ItemStream for Streams {
    fn next(&mut self) -> BoxFuture<'_, Result<Item, SourceError>> {
        Box::pin(async { self.advance().await.map_err(boxed) })
    }
}
