//! What happens to a table's changes on their way from the log. Shared, because a table may be parked
//! by what the target says of its snapshot or its stream, and because changes of its columns are carried
//! out beside the log's reading.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::work::Work;
use crate::checkpoint::TableState;
use crate::event::{RowChanges, TableId, TableLayout, TxnStart};

/// A layout and the transaction that it is valid from; `None`: from the floor.
type Since = (Option<TxnStart>, Arc<TableLayout>);

/// What happens to a table's changes.
#[derive(Debug, Clone)]
enum Route {
    /// Captured, not opened yet: what its changes did will be in the snapshot.
    Closed,
    /// Changes of transactions from `floor` on are sent.
    Flowing {
        floor: TxnStart,
        /// Oldest first, never empty.
        layouts: Vec<Since>,
        /// Changes wait until the target has the columns that they need.
        held: bool,
    },
    /// The source dropped it.
    Gone,
    /// Not followed any more.
    Parked,
}

/// What to do with one set of changes.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send them.
    Send,
    /// Leave them out: they are in the snapshot, or their table is closed or parked.
    Skip,
    /// Leave them out and open the table: it is new.
    Unknown,
    /// Keep them until the table is released.
    Hold,
    /// Their columns are others than those before.
    Changed,
    /// Their columns are others than the ones that were valid at their place when it was read before.
    Contradicts,
}

#[derive(Debug, Default)]
struct Tables {
    routes: HashMap<TableId, Route, foldhash::fast::RandomState>,
    /// How often each table was opened: who copies one that was opened again since stops.
    openings: HashMap<TableId, u64>,
    /// Deliveries and chunk reads under way.
    writers: HashMap<TableId, usize>,
    /// What is to be done about a table, one thing at a time.
    work: HashMap<TableId, Work>,
    /// Closed tables that the log had a statement of since they were looked at.
    stirred: HashSet<TableId>,
}

/// Every captured table's route.
#[derive(Debug, Default)]
pub struct Routes {
    tables: Mutex<Tables>,
    /// Somebody stopped writing.
    ended: Notify,
    /// There is work.
    wanted: Notify,
    /// Tables are held, opened again or flow no more.
    turned: Notify,
}

/// Somebody writes to a table as long as this lives.
#[derive(Debug)]
pub struct Writing {
    routes: Arc<Routes>,
    table: TableId,
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.routes.with(|tables| {
            if let Some(count) = tables.writers.get_mut(&self.table) {
                *count = count.saturating_sub(1);
            }
        });
        self.routes.ended.notify_waiters();
    }
}

impl Routes {
    fn with<T>(&self, act: impl FnOnce(&mut Tables) -> T) -> T {
        act(&mut self.tables.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Announces a table that will be opened, or ends its flow until it is opened again.
    pub fn close(&self, table: &TableId) {
        self.with(|tables| tables.routes.insert(table.clone(), Route::Closed));
        self.turned.notify_waiters();
    }

    /// A table's columns are about to be looked at, to open it with them.
    pub fn settle(&self, table: &TableId) {
        self.with(|tables| tables.stirred.remove(table));
    }

    /// The log has a statement of a table: one that is closed may be another by now than was seen.
    pub fn stir(&self, table: &TableId) {
        self.with(|tables| {
            if matches!(tables.routes.get(table), Some(Route::Closed)) {
                tables.stirred.insert(table.clone());
            }
        });
    }

    /// Whether the log had a statement of a closed table since it was looked at.
    pub fn is_stirred(&self, table: &TableId) -> bool {
        self.with(|tables| tables.stirred.contains(table))
    }

    /// Takes back what was announced.
    pub fn forget(&self, table: &TableId) {
        self.with(|tables| tables.routes.remove(table));
    }

    /// The source dropped a table.
    pub fn gone(&self, table: &TableId) {
        self.with(|tables| tables.routes.insert(table.clone(), Route::Gone));
        self.turned.notify_waiters();
    }

    /// Whether the source dropped a table.
    pub fn is_gone(&self, table: &TableId) -> bool {
        self.with(|tables| matches!(tables.routes.get(table), Some(Route::Gone)))
    }

    /// Lets a table's changes flow, from its floor on. Whoever copies the table as it was opened before is
    /// superseded.
    pub fn open(&self, state: &TableState) {
        let table = state.layout.table.clone();
        self.with(|tables| {
            *tables.openings.entry(table.clone()).or_default() += 1;
            tables.routes.insert(table, flowing(state));
        });
        self.turned.notify_waiters();
    }

    /// A table is copied again beside its stream: whoever copies it as it was is superseded.
    pub fn again(&self, table: &TableId) {
        self.with(|tables| *tables.openings.entry(table.clone()).or_default() += 1);
        self.turned.notify_waiters();
    }

    /// The same columns and floor as before for a table, but for what `state` says.
    pub fn release(&self, state: &TableState) {
        self.with(|tables| tables.routes.insert(state.layout.table.clone(), flowing(state)));
    }

    /// Keeps a table's changes from flowing until it is released. Returns whether it flowed.
    pub fn hold(&self, table: &TableId) -> bool {
        let held = self.with(|tables| match tables.routes.get_mut(table) {
            Some(Route::Flowing { held, .. }) => !std::mem::replace(held, true),
            Some(Route::Closed | Route::Gone | Route::Parked) | None => false,
        });
        self.turned.notify_waiters();
        held
    }

    /// How often a table was opened.
    pub fn opening(&self, table: &TableId) -> u64 {
        self.with(|tables| tables.openings.get(table).copied().unwrap_or_default())
    }

    /// Whether a table flows as it was opened `opening` times, and is not held.
    pub fn is_open(&self, table: &TableId, opening: u64) -> bool {
        self.with(|tables| {
            tables.openings.get(table).copied().unwrap_or_default() == opening
                && matches!(tables.routes.get(table), Some(Route::Flowing { held: false, .. }))
        })
    }

    /// Waits until a table does not flow any more as it was opened `opening` times, or is held.
    pub async fn turned(&self, table: &TableId, opening: u64) {
        loop {
            let turned = self.turned.notified();
            tokio::pin!(turned);
            turned.as_mut().enable();
            if !self.is_open(table, opening) {
                return;
            }
            turned.await;
        }
    }

    /// Ends a table's flow. Returns whether it was not parked before.
    pub fn park(&self, table: &TableId) -> bool {
        let parked = self.with(|tables| {
            tables.work.remove(table);
            !matches!(
                tables.routes.insert(table.clone(), Route::Parked),
                Some(Route::Parked)
            )
        });
        self.turned.notify_waiters();
        parked
    }

    /// Whether a table flows at a place of the log: what lies before its floor is in its snapshot.
    pub fn flows_at(&self, table: &TableId, at: TxnStart) -> bool {
        self.with(
            |tables| matches!(tables.routes.get(table), Some(Route::Flowing { floor, .. }) if at >= *floor),
        )
    }

    /// Raises a table's floor: what lies before is of no use any more.
    pub fn raise(&self, table: &TableId, to: TxnStart) {
        self.with(|tables| {
            if let Some(Route::Flowing { floor, .. }) = tables.routes.get_mut(table) {
                *floor = to.max(*floor);
            }
        });
    }

    /// Whether a table's columns at a place of the log are those that flow there.
    pub fn is_current(&self, layout: &TableLayout, at: TxnStart) -> bool {
        self.with(|tables| match tables.routes.get(&layout.table) {
            Some(Route::Flowing { layouts, .. }) => {
                valid(layouts, at).is_some_and(|(_, valid)| valid.columns == layout.columns)
            }
            Some(Route::Closed | Route::Gone | Route::Parked) | None => false,
        })
    }

    /// Whether columns changed after a place of the log, as far as was read before.
    pub fn changed_after(&self, table: &TableId, at: TxnStart) -> bool {
        self.with(|tables| match tables.routes.get(table) {
            Some(Route::Flowing { layouts, .. }) => layouts
                .last()
                .is_some_and(|(since, _)| since.is_some_and(|since| since > at)),
            Some(Route::Closed | Route::Gone | Route::Parked) | None => false,
        })
    }

    /// Whether columns changed at a place of the log or after it, as far as was read before.
    pub fn changed_from(&self, table: &TableId, at: TxnStart) -> bool {
        self.with(|tables| match tables.routes.get(table) {
            Some(Route::Flowing { layouts, .. }) => layouts
                .last()
                .is_some_and(|(since, _)| since.is_some_and(|since| since >= at)),
            Some(Route::Closed | Route::Gone | Route::Parked) | None => false,
        })
    }

    /// Every announced table.
    pub fn tables(&self) -> Vec<TableId> {
        self.with(|tables| tables.routes.keys().cloned().collect())
    }

    /// Whether a table was ever announced.
    pub fn knows(&self, table: &TableId) -> bool {
        self.with(|tables| tables.routes.contains_key(table))
    }

    /// Whether a table is parked.
    pub fn is_parked(&self, table: &TableId) -> bool {
        self.with(|tables| matches!(tables.routes.get(table), Some(Route::Parked)))
    }

    /// Whether a table's changes go on to the target, or wait to.
    pub fn is_flowing(&self, table: &TableId) -> bool {
        self.with(|tables| matches!(tables.routes.get(table), Some(Route::Flowing { .. })))
    }

    /// Whether a table's changes wait.
    pub fn is_held(&self, table: &TableId) -> bool {
        self.with(|tables| matches!(tables.routes.get(table), Some(Route::Flowing { held: true, .. })))
    }

    /// Judges changes from the log.
    pub fn judge(&self, changes: &RowChanges) -> Verdict {
        self.with(|tables| match tables.routes.get_mut(changes.table()) {
            None => Verdict::Unknown,
            Some(Route::Closed | Route::Gone | Route::Parked) => Verdict::Skip,
            Some(Route::Flowing { floor, .. }) if changes.txn < *floor => Verdict::Skip,
            Some(Route::Flowing { held: true, .. }) => Verdict::Hold,
            Some(Route::Flowing { layouts, .. }) => {
                let last = layouts.len().saturating_sub(1);
                let index = valid_index(layouts, changes.txn);
                let Some((_, layout)) = layouts.get_mut(index) else {
                    return Verdict::Contradicts;
                };
                if Arc::ptr_eq(layout, &changes.layout) {
                    return Verdict::Send;
                }
                if layout.columns == changes.layout.columns {
                    // Equal by value: remember this one, the next comparison is of pointers.
                    *layout = Arc::clone(&changes.layout);
                    Verdict::Send
                } else if index == last {
                    Verdict::Changed
                } else {
                    Verdict::Contradicts
                }
            }
        })
    }

    /// Notes that somebody writes to a table.
    pub fn writing(self: &Arc<Self>, table: &TableId) -> Writing {
        self.with(|tables| *tables.writers.entry(table.clone()).or_default() += 1);
        Writing {
            routes: Arc::clone(self),
            table: table.clone(),
        }
    }

    /// Waits until nobody writes to a table.
    pub async fn drained(&self, table: &TableId) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if self.with(|tables| tables.writers.get(table).is_none_or(|count| *count == 0)) {
                return;
            }
            ended.await;
        }
    }

    /// Asks for something to be done about a table; replaces what was asked before and is not begun. A change that the
    /// table's rows wait for stays: nothing else would release them, and whatever else is due is looked for after it.
    pub fn ask(&self, table: &TableId, work: Work) {
        self.with(|tables| {
            let waited_for = matches!(tables.routes.get(table), Some(Route::Flowing { held: true, .. }))
                && matches!(tables.work.get(table), Some(Work::Change(_)));
            if !(waited_for && matches!(work, Work::Look)) {
                tables.work.insert(table.clone(), work);
            }
        });
        self.wanted.notify_one();
    }

    /// The next thing to do about a table that is not `busy`; waits for one.
    pub async fn wanted(&self, busy: impl Fn(&TableId) -> bool) -> (TableId, Work) {
        loop {
            let wanted = self.wanted.notified();
            let next = self.with(|tables| {
                let table = tables.work.keys().find(|table| !busy(table)).cloned()?;
                let work = tables.work.remove(&table)?;
                Some((table, work))
            });
            if let Some(next) = next {
                return next;
            }
            wanted.await;
        }
    }

    /// Whether nothing is to be done that was not begun.
    pub fn is_idle(&self) -> bool {
        self.with(|tables| tables.work.is_empty())
    }
}

fn flowing(state: &TableState) -> Route {
    Route::Flowing {
        floor: state.floor,
        layouts: state
            .versions()
            .into_iter()
            .map(|version| (version.since, Arc::new(version.projection.layout)))
            .collect(),
        held: false,
    }
}

/// Which of the layouts is valid at a place of the log.
fn valid_index(layouts: &[Since], at: TxnStart) -> usize {
    layouts
        .iter()
        .rposition(|(since, _)| since.is_none_or(|since| since <= at))
        .unwrap_or_default()
}

fn valid(layouts: &[Since], at: TxnStart) -> Option<&Since> {
    layouts.get(valid_index(layouts, at))
}

#[cfg(test)]
mod tests;
