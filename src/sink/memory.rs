//! A target in memory, for tests of what lies before a target. It keeps BigQuery's rule (of two rows
//! with one key the greater number wins, equal ones: the last), answers late and in any order, fails
//! as scripted, and remembers every number's content to tell whether one was ever given twice.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Batch, BoxFuture, Durable, Pending, Prepared, Sink, SinkError};
use crate::clock::Clock;
use crate::event::{
    CellVisitor, ColumnType, Op, OrderKey, ReadAt, RowChanges, RowError, RowRef, TableId, TableLayout,
    TxnStart, Value,
};
use crate::fault::{Classify, Fault, boxed};
use crate::schema::{Evolution, Fit, Projection};

/// A row as text, column by column.
pub type RowText = Vec<String>;

/// What a scripted delivery does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Script {
    /// Takes the rows and acknowledges them after a while.
    Acknowledge(Duration),
    /// Takes the rows and never says so.
    Swallow,
    /// Fails.
    Fail(Fault),
}

/// The failure that a script asked for.
#[derive(Debug, Clone, thiserror::Error)]
#[error("scripted failure")]
pub struct Scripted(Fault);

impl Classify for Scripted {
    fn fault(&self) -> Fault {
        self.0.clone()
    }

    fn hint(&self) -> Option<String> {
        None
    }
}

type Version = (OrderKey, Option<RowText>);

#[derive(Debug, Default)]
struct State {
    tables: BTreeSet<TableId>,
    rows: BTreeMap<(TableId, RowText), Version>,
    contents: HashMap<(TableId, RowText, OrderKey), Option<RowText>>,
    conflicts: Vec<String>,
    script: VecDeque<Script>,
    projections: HashMap<TableId, Vec<Projection>>,
    evolutions: Vec<(TableId, Evolution)>,
}

/// The target. Clones share their rows.
#[derive(Debug, Clone)]
pub struct Memory {
    state: Arc<Mutex<State>>,
    clock: Clock,
}

impl Memory {
    /// An empty target.
    pub fn new(clock: Clock) -> Memory {
        Memory {
            state: Arc::default(),
            clock,
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the next deliveries do; without a script they are acknowledged at once.
    pub fn script(&self, scripts: impl IntoIterator<Item = Script>) {
        self.with(|state| state.script.extend(scripts));
    }

    /// Forgets what was scripted.
    pub fn clear_script(&self) {
        self.with(|state| state.script.clear());
    }

    /// The rows of a table, in the order of their keys' texts.
    pub fn rows(&self, table: &TableId) -> Vec<RowText> {
        self.with(|state| {
            let of_table = state.rows.iter().filter(|((id, _), _)| id == table);
            of_table.filter_map(|(_, (_, row))| row.clone()).collect()
        })
    }

    /// Changes of columns, in the order in which they were asked for.
    pub fn evolutions(&self) -> Vec<(TableId, Evolution)> {
        self.with(|state| state.evolutions.clone())
    }

    /// Numbers of stream rows that were given to two contents.
    pub fn conflicts(&self) -> Vec<String> {
        self.with(|state| state.conflicts.clone())
    }

    fn apply(&self, batch: &Batch) -> Result<u64, RowError> {
        let key = batch.layout.key_columns();
        let mut count = 0;
        for piece in &batch.pieces {
            for change in &piece.changes {
                count += 1;
                let text = |row: &RowRef| read(piece, *row);
                match &change.op {
                    Op::Insert { after } => {
                        self.put(piece, &key, text(after)?, piece.upsert_order(change), true)
                    }
                    Op::Delete { before } => {
                        self.put(piece, &key, text(before)?, piece.delete_order(change), false)
                    }
                    Op::Update {
                        before,
                        after,
                        key_changed,
                    } => {
                        if *key_changed {
                            self.put(piece, &key, text(before)?, piece.delete_order(change), false);
                        }
                        self.put(piece, &key, text(after)?, piece.upsert_order(change), true);
                    }
                }
            }
        }
        Ok(count)
    }

    fn put(&self, piece: &RowChanges, key: &[usize], row: RowText, order: OrderKey, upsert: bool) {
        let id: RowText = key.iter().filter_map(|index| row.get(*index).cloned()).collect();
        let content = upsert.then_some(row);
        let table = piece.table().clone();
        self.with(|state| {
            if !piece.snapshot {
                let seen = state
                    .contents
                    .entry((table.clone(), id.clone(), order))
                    .or_insert_with(|| content.clone());
                if *seen != content {
                    state.conflicts.push(format!("{table} {id:?} {order}"));
                }
            }
            let newer = state
                .rows
                .get(&(table.clone(), id.clone()))
                .is_none_or(|(held, _)| order >= *held);
            if newer {
                state.rows.insert((table, id), (order, content));
            }
        });
    }
}

/// One row as text.
fn read(piece: &RowChanges, row: RowRef) -> Result<RowText, RowError> {
    struct Texts(RowText);
    impl CellVisitor for Texts {
        fn cell(&mut self, _column: usize, value: Value<'_>) -> Result<(), RowError> {
            self.0.push(format!("{value:?}"));
            Ok(())
        }
    }
    let mut texts = Texts(Vec::new());
    piece.images.visit(row, &mut texts)?;
    Ok(texts.0)
}

impl Sink for Memory {
    fn inspect<'a>(&'a self, layout: &'a TableLayout) -> BoxFuture<'a, Result<Prepared, SinkError>> {
        let occupied = !self.rows(&layout.table).is_empty();
        let absent = !self.with(|state| state.tables.contains(&layout.table));
        Box::pin(async move {
            if absent {
                return Ok(Prepared::Absent);
            }
            Ok(if occupied {
                Prepared::NotEmpty
            } else {
                Prepared::Empty
            })
        })
    }

    fn prepare<'a>(&'a self, layout: &'a TableLayout) -> BoxFuture<'a, Result<Prepared, SinkError>> {
        let created = self.with(|state| state.tables.insert(layout.table.clone()));
        Box::pin(async move {
            if created {
                Ok(Prepared::Created)
            } else {
                self.inspect(layout).await
            }
        })
    }

    fn fit(&self, was: ColumnType, is: ColumnType, _key: bool) -> Fit {
        match (was, is) {
            _ if was == is => Fit::Same,
            (ColumnType::UInt64, ColumnType::Int64) => Fit::Same,
            (ColumnType::Int64, ColumnType::UInt64) => Fit::Widen,
            _ => Fit::Never,
        }
    }

    fn project(&self, table: &TableId, projections: Vec<Projection>) {
        self.with(|state| state.projections.insert(table.clone(), projections));
    }

    fn evolve<'a>(
        &'a self,
        projection: &'a Projection,
        evolution: &'a Evolution,
    ) -> BoxFuture<'a, Result<Vec<String>, SinkError>> {
        let table = projection.layout.table.clone();
        self.with(|state| state.evolutions.push((table, evolution.clone())));
        Box::pin(async move {
            self.clock.sleep(Duration::from_millis(1)).await;
            Ok(vec![format!("{evolution:?}")])
        })
    }

    fn sweep<'a>(
        &'a self,
        projection: &'a Projection,
        at: TxnStart,
    ) -> BoxFuture<'a, Result<u64, SinkError>> {
        Box::pin(async move {
            self.clock.sleep(Duration::from_millis(1)).await;
            let order = OrderKey::sweep(at);
            Ok(self.with(|state| {
                let of_table = state.rows.iter_mut();
                let of_table = of_table.filter(|((id, _), _)| *id == projection.layout.table);
                let mut keys = 0;
                for (_, version) in of_table {
                    keys += 1;
                    if version.0 < order {
                        *version = (order, None);
                    }
                }
                keys
            }))
        })
    }

    fn seal<'a>(
        &'a self,
        _layout: &'a Arc<TableLayout>,
        _at: ReadAt,
    ) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async { Ok(()) })
    }

    fn write(&self, batch: Batch) -> BoxFuture<'_, Result<Pending, SinkError>> {
        let script = self
            .with(|state| state.script.pop_front())
            .unwrap_or(Script::Acknowledge(Duration::ZERO));
        let target = self.clone();
        let pending: Pending = Box::pin(async move {
            if let Script::Fail(fault) = script {
                return Err(boxed(Scripted(fault)));
            }
            let rows = target.apply(&batch).map_err(|error| -> SinkError {
                tracing::error!(%error, "row cannot be read");
                Box::new(Scripted(Fault::Fatal))
            })?;
            match script {
                Script::Acknowledge(after) => target.clock.sleep(after).await,
                Script::Swallow | Script::Fail(_) => std::future::pending().await,
            }
            Ok(Durable::proven(rows, rows))
        });
        Box::pin(async move { Ok(pending) })
    }
}
