//! A database that exists only as a seed: tables of (key, value), a log of transactions, and a state
//! that trails the log, because a server writes its log before its engine commits. Everything random
//! comes from one generator, so a failing seed fails again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use replicator::clock::Clock;
use replicator::event::*;
use replicator::fault::{Classify, Fault};
use replicator::source::*;

use crate::reader::{Images, Reader, bound, key_of};

/// What a table holds: key to value.
pub(crate) type Rows = BTreeMap<i64, i64>;

/// A change to one row: before and after.
type RowChange = (Option<(i64, i64)>, Option<(i64, i64)>);

#[derive(Debug, Clone)]
struct Transaction {
    coord: BinlogCoord,
    next: BinlogCoord,
    changes: Vec<(TableId, RowChange)>,
    number: u64,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) random: fastrand::Rng,
    log: Vec<Transaction>,
    /// Transactions that the engine has committed: a prefix of the log.
    visible: usize,
    /// What the engine holds, and what it will hold once all of the log is committed.
    held: BTreeMap<TableId, Rows>,
    written: BTreeMap<TableId, Rows>,
    /// How many more transactions may be written.
    pub(crate) budget: usize,
    /// Rises when the log's coordinates begin anew.
    lineage: u32,
    pub(crate) faults: bool,
    pub(crate) gtids: bool,
    values: i64,
    /// Tables that the catalog shows: later ones are created while the pipeline runs.
    pub(crate) shown: usize,
    /// Whether the last reader has handed out all of the log.
    pub(crate) drained: bool,
}

/// The database, shared.
#[derive(Debug, Clone)]
pub(crate) struct Database(Arc<Mutex<State>>, Clock);

#[derive(Debug, thiserror::Error)]
#[error("simulated failure")]
struct Simulated(Fault);

impl Classify for Simulated {
    fn fault(&self) -> Fault {
        self.0.clone()
    }
    fn hint(&self) -> Option<String> {
        None
    }
}

fn transient() -> SourceError {
    Box::new(Simulated(Fault::RETRY))
}

pub(crate) fn table(index: usize) -> TableId {
    TableId::new("sim", format!("t{index}"))
}

fn layout(table: &TableId) -> TableLayout {
    let column = |name: &str, key| Column {
        name: ColumnName::new(name),
        kind: ColumnType::Int64,
        declared: "bigint".to_owned(),
        nullable: false,
        key,
    };
    TableLayout {
        table: table.clone(),
        columns: vec![column("id", Some(0)), column("value", None)],
    }
}

/// Keys are few, so that rows meet again and again.
const KEYS: i64 = 40;

impl Database {
    pub(crate) fn new(seed: u64, tables: usize, gtids: bool, clock: Clock) -> Database {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut held = BTreeMap::new();
        for index in 0..tables {
            let rows: Rows = (0..KEYS)
                .filter(|_| random.bool())
                .map(|key| (key, -key))
                .collect();
            held.insert(table(index), rows);
        }
        let state = State {
            random,
            log: Vec::new(),
            visible: 0,
            written: held.clone(),
            held,
            budget: 300,
            lineage: 1,
            faults: true,
            gtids,
            values: 0,
            shown: 1,
            drained: false,
        };
        Database(Arc::new(Mutex::new(state)), clock)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// What every table must hold in the end.
    pub(crate) fn final_rows(&self) -> BTreeMap<TableId, Rows> {
        self.state().written.clone()
    }

    /// Ends the load: everything written is committed.
    pub(crate) fn settle(&self) {
        let mut state = self.state();
        (state.budget, state.faults) = (0, false);
        while state.visible < state.log.len() {
            state.commit_one();
        }
    }
}

impl State {
    fn end(&self) -> BinlogCoord {
        match self.log.last() {
            Some(last) => last.next,
            None => BinlogCoord::file_start(1),
        }
    }

    /// Moves the world on by a little.
    fn tick(&mut self) {
        if self.budget > 0 && self.random.u8(..) < 120 {
            self.budget -= 1;
            self.write();
        }
        if self.visible < self.log.len() && (self.budget == 0 || self.random.u8(..) < 110) {
            self.commit_one();
        }
    }

    fn write(&mut self) {
        let tables: Vec<TableId> = self.written.keys().cloned().collect();
        let count = if self.random.u8(..) < 8 {
            60
        } else {
            self.random.usize(1..5)
        };
        let mut changes = Vec::new();
        for _ in 0..count {
            let table = tables[self.random.usize(..tables.len())].clone();
            let change = self.change(&table);
            changes.push((table, change));
        }
        let coord = self.end();
        let next = match self.random.u8(..) < 10 {
            true => BinlogCoord::file_start(coord.file + 1),
            false => BinlogCoord {
                offset: coord.offset + self.random.u64(50..500),
                ..coord
            },
        };
        let number = u64::try_from(self.log.len()).unwrap() + 1;
        self.log.push(Transaction {
            coord,
            next,
            changes,
            number,
        });
    }

    fn change(&mut self, table: &TableId) -> RowChange {
        self.values += 1;
        let value = self.values;
        let key = self.random.i64(0..KEYS);
        let to = self.random.i64(0..KEYS);
        let choice = self.random.u8(..);
        let rows = self.written.get_mut(table).unwrap();
        let before = rows.get(&key).map(|value| (key, *value));
        let after = match before {
            None => Some((key, value)),
            Some(_) if choice < 80 => None,
            Some(_) if choice < 130 && !rows.contains_key(&to) => Some((to, value)),
            Some(_) => Some((key, value)),
        };
        if let Some((key, _)) = before {
            rows.remove(&key);
        }
        if let Some((key, value)) = after {
            rows.insert(key, value);
        }
        (before, after)
    }

    fn commit_one(&mut self) {
        let transaction = self.log[self.visible].clone();
        for (table, (before, after)) in &transaction.changes {
            let rows = self.held.get_mut(table).unwrap();
            if let Some((key, _)) = before {
                rows.remove(key);
            }
            if let Some((key, value)) = after {
                rows.insert(*key, *value);
            }
        }
        self.visible += 1;
    }

    /// Another server takes over, with all that this one had.
    pub(crate) fn restart_log(&mut self) {
        while self.visible < self.log.len() {
            self.commit_one();
        }
        self.lineage += 1;
        // As on another server: the same transactions at other places.
        let mut at = BinlogCoord::file_start(1);
        for transaction in &mut self.log {
            transaction.coord = at;
            at.offset += self.random.u64(50..500);
            transaction.next = at;
        }
    }

    fn executed(&self) -> GtidSet {
        let mut set = GtidSet::default();
        for number in 1..=u64::try_from(self.visible).unwrap() {
            set.insert(&gtid(number));
        }
        set
    }
}

fn gtid(number: u64) -> Gtid {
    Gtid {
        source: GtidSource {
            uuid: 1,
            tag: "".into(),
        },
        number,
    }
}

/// Items of one transaction, a rows event for each change.
fn items(transaction: &Transaction, epoch: Epoch, gtids: bool) -> Vec<Item> {
    let txn = TxnStart {
        epoch,
        coord: transaction.coord,
    };
    let mut out = Vec::new();
    let mut ordinal = 1;
    for (table, (before, after)) in &transaction.changes {
        let images: Vec<(i64, i64)> = before.iter().chain(after.iter()).copied().collect();
        let row = |at: u32| RowRef { at, len: 16 };
        let op = match (before, after) {
            (Some(before), Some(after)) => Op::Update {
                before: row(0),
                after: row(1),
                key_changed: before.0 != after.0,
            },
            (None, Some(_)) => Op::Insert { after: row(0) },
            _ => Op::Delete { before: row(0) },
        };
        let changes = vec![Change {
            op,
            ordinal: Ordinal(ordinal),
        }];
        ordinal += 16 * u64::try_from(images.len()).unwrap();
        out.push(Item::Rows(RowChanges {
            layout: Arc::new(layout(table)),
            images: Arc::new(Images(images)),
            txn,
            committed_micros: 0,
            changes,
            snapshot: false,
        }));
    }
    out.push(Item::Commit(CommitPoint {
        next: TxnStart {
            epoch,
            coord: transaction.next,
        },
        file_name: format!("sim.{:06}", transaction.next.file).into(),
        gtid: gtids.then(|| GlobalId::Gtid(gtid(transaction.number))),
        file_born: 0,
        last_event: None,
        committed_micros: Some(1),
        xa: Vec::new(),
        executed: None,
        streams: Vec::new(),
    }));
    out
}

struct Stream {
    database: Database,
    at: usize,
    epoch: Epoch,
    lineage: u32,
    ready: std::collections::VecDeque<Item>,
}

impl ItemStream for Stream {
    fn next(&mut self) -> BoxFuture<'_, Result<Item, SourceError>> {
        Box::pin(async {
            loop {
                if let Some(item) = self.ready.pop_front() {
                    let mut state = self.database.state();
                    let cut = state.faults && state.random.u8(..) < 2;
                    return if cut { Err(transient()) } else { Ok(item) };
                }
                self.database.1.sleep(Duration::from_millis(7)).await;
                let mut state = self.database.state();
                if state.lineage != self.lineage {
                    return Err(transient());
                }
                state.tick();
                state.drained = self.at == state.log.len();
                if let Some(transaction) = state.log.get(self.at) {
                    self.ready.extend(items(transaction, self.epoch, state.gtids));
                    self.at += 1;
                }
            }
        })
    }
}

impl Source for Database {
    fn tables<'a>(&'a self, known: &'a [TableId]) -> BoxFuture<'a, Result<Vec<TableLayout>, SourceError>> {
        let tables: Vec<TableLayout> = {
            let state = self.state();
            state
                .held
                .keys()
                .take(state.shown)
                .filter(|table| !known.contains(table))
                .map(layout)
                .collect()
        };
        Box::pin(async move { Ok(tables) })
    }

    fn layout<'a>(&'a self, table: &'a TableId) -> BoxFuture<'a, Result<Option<TableLayout>, SourceError>> {
        let known = self.state().held.contains_key(table);
        Box::pin(async move { Ok(known.then(|| layout(table))) })
    }

    fn captures(&self, _table: &TableId) -> bool {
        true
    }

    fn open(
        &self,
        from: Option<LogPosition>,
        last: Epoch,
        _known: Vec<TableId>,
    ) -> BoxFuture<'_, Result<Opened, SourceError>> {
        Box::pin(async move {
            let mut state = self.state();
            if state.faults && state.random.u8(..) < 30 {
                return Err(transient());
            }
            let server = format!("lineage {}", state.lineage);
            let (epoch, at, gtids) = match &from {
                Some(from) => {
                    let read = match &from.gtids {
                        Some(set) => (1..).take_while(|number| set.contains(&gtid(*number))).count(),
                        None => state
                            .log
                            .iter()
                            .take_while(|one| one.coord < from.next.coord)
                            .count(),
                    };
                    let same = *from.server == *server;
                    (
                        if same { from.next.epoch } else { last.next(0) },
                        read,
                        from.gtids.clone(),
                    )
                }
                // A log read from the present on begins after what is executed; by position, at its end.
                None if state.gtids => (last.next(0), state.visible, Some(state.executed())),
                None => (last.next(0), state.log.len(), None),
            };
            let coord = match at.checked_sub(1) {
                Some(index) => state.log[index].next,
                None => BinlogCoord::file_start(1),
            };
            let position = LogPosition {
                server: server.into(),
                file_name: "sim".into(),
                file_born: 0,
                next: TxnStart { epoch, coord },
                gtids,
                domains: None,
                last_event: None,
                prepared: Vec::new(),
                streams: Vec::new(),
            };
            let (database, lineage) = (self.clone(), state.lineage);
            let items = Box::new(Stream {
                database,
                at,
                epoch,
                lineage,
                ready: Default::default(),
            });
            Ok(Opened { position, items })
        })
    }

    /// Under a lock on the table: nothing is under way, and the log's end is beyond all of it.
    fn watermark<'a>(
        &'a self,
        _table: &'a TableId,
        floor: &'a LogPosition,
    ) -> BoxFuture<'a, Result<Watermark, SourceError>> {
        let mut state = self.state();
        while state.visible < state.log.len() {
            state.commit_one();
        }
        let (epoch, coord) = (floor.next.epoch, state.end());
        let (low, seen) = (TxnStart { epoch, coord }, floor.seen());
        Box::pin(async move { Ok(Watermark { low, seen }) })
    }

    fn plan<'a>(
        &'a self,
        layout: &'a TableLayout,
        _low: TxnStart,
        after: Option<&'a Bound>,
    ) -> BoxFuture<'a, Result<Chunk, SourceError>> {
        let mut state = self.state();
        let from = after.map_or(-1, key_of);
        let size = state.random.usize(1..12);
        let upper = state.held[&layout.table]
            .range(from + 1..)
            .nth(size)
            .map(|(key, _)| bound(*key));
        let chunk = Chunk {
            lower: after.cloned(),
            upper,
        };
        Box::pin(async move { Ok(chunk) })
    }

    fn read(&self, read: ChunkRead) -> BoxFuture<'_, Result<Box<dyn ChunkRows>, SourceError>> {
        Box::pin(async move {
            self.1.sleep(Duration::from_millis(20)).await;
            let mut state = self.state();
            state.tick();
            let behind = matches!(&read.seen, Some(Seen::Gtids(set)) if !set.is_subset(&state.executed()));
            if behind || (state.faults && state.random.u8(..) < 20) {
                return Err(transient());
            }
            let (lower, upper) = (
                read.chunk.lower.as_ref().map(key_of),
                read.chunk.upper.as_ref().map(key_of),
            );
            let rows = state.held[&read.layout.table]
                .iter()
                .filter(|(key, _)| {
                    lower.is_none_or(|lower| **key > lower) && upper.is_none_or(|upper| **key <= upper)
                })
                .map(|(key, value)| (*key, *value))
                .collect();
            let reader: Box<dyn ChunkRows> = Box::new(Reader { rows, read });
            Ok(reader)
        })
    }

    fn estimate<'a>(&'a self, table: &'a TableId) -> BoxFuture<'a, Result<Estimate, SourceError>> {
        let rows = u64::try_from(self.state().held[table].len()).unwrap();
        Box::pin(async move {
            Ok(Estimate {
                rows,
                bytes: rows * 16,
            })
        })
    }
}
