//! What happens to a table's changes on their way from the log. Shared, because a table may be parked
//! by what the target says of its snapshot or its stream.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::event::{RowChanges, TableId, TableLayout, TxnStart};

/// What happens to a table's changes.
#[derive(Debug, Clone)]
enum Route {
    /// Captured, not opened yet: what its changes did will be in the snapshot.
    Closed,
    /// Changes of transactions from `floor` on are sent.
    Flowing {
        floor: TxnStart,
        layout: Arc<TableLayout>,
    },
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
    /// Leave them out and say so: nobody ever opened this table.
    Unknown,
    /// Their columns are not those of the target: what differs.
    LayoutChanged(String),
}

/// Every captured table's route.
#[derive(Debug, Default)]
pub struct Routes(Mutex<HashMap<TableId, Route, foldhash::fast::RandomState>>);

impl Routes {
    fn with<T>(&self, act: impl FnOnce(&mut HashMap<TableId, Route, foldhash::fast::RandomState>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Announces a table that will be opened.
    pub fn close(&self, table: &TableId) {
        self.with(|routes| routes.insert(table.clone(), Route::Closed));
    }

    /// Lets a table's changes flow, from the transaction `floor` on.
    pub fn open(&self, layout: Arc<TableLayout>, floor: TxnStart) {
        self.with(|routes| routes.insert(layout.table.clone(), Route::Flowing { floor, layout }));
    }

    /// Ends a table's flow. Returns whether it was not parked before.
    pub fn park(&self, table: &TableId) -> bool {
        self.with(|routes| !matches!(routes.insert(table.clone(), Route::Parked), Some(Route::Parked)))
    }

    /// Ends a table's flow at a place of the log. Returns whether it was flowing there: what lies before its
    /// floor is in its snapshot, and a table that is not opened has nothing to end.
    pub fn break_at(&self, table: &TableId, at: TxnStart) -> bool {
        self.with(|routes| match routes.get_mut(table) {
            Some(route @ Route::Flowing { .. }) => {
                let flows = matches!(route, Route::Flowing { floor, .. } if at >= *floor);
                if flows {
                    *route = Route::Parked;
                }
                flows
            }
            Some(Route::Closed | Route::Parked) | None => false,
        })
    }

    /// What differs between a table's columns at a place of the log and those that flow; `None` if nothing
    /// does, or the place lies before the table's floor.
    pub fn differs(&self, layout: &TableLayout, at: TxnStart) -> Option<String> {
        self.with(|routes| match routes.get(&layout.table) {
            Some(Route::Flowing {
                floor,
                layout: flowing,
            }) if at >= *floor => flowing.difference(layout),
            Some(_) | None => None,
        })
    }

    /// Every announced table.
    pub fn tables(&self) -> Vec<TableId> {
        self.with(|routes| routes.keys().cloned().collect())
    }

    /// Whether a table is parked.
    pub fn is_parked(&self, table: &TableId) -> bool {
        self.with(|routes| matches!(routes.get(table), Some(Route::Parked)))
    }

    /// Judges changes from the log.
    pub fn judge(&self, changes: &RowChanges) -> Verdict {
        self.with(|routes| match routes.get_mut(changes.table()) {
            None => Verdict::Unknown,
            Some(Route::Closed | Route::Parked) => Verdict::Skip,
            Some(Route::Flowing { floor, .. }) if changes.txn < *floor => Verdict::Skip,
            Some(Route::Flowing { layout, .. }) => {
                if Arc::ptr_eq(layout, &changes.layout) {
                    return Verdict::Send;
                }
                match difference(layout, &changes.layout) {
                    Some(text) => Verdict::LayoutChanged(text),
                    None => {
                        // Equal by value: remember this one, the next comparison is of pointers.
                        *layout = Arc::clone(&changes.layout);
                        Verdict::Send
                    }
                }
            }
        })
    }
}

/// What differs between two layouts of a table, as text for people; `None` if nothing does.
pub fn difference(old: &TableLayout, new: &TableLayout) -> Option<String> {
    if old.columns == new.columns {
        return None;
    }
    let find = |layout: &TableLayout, name: &crate::event::ColumnName| {
        layout.columns.iter().find(|column| column.name == *name).cloned()
    };
    let mut parts = Vec::new();
    for column in &old.columns {
        match find(new, &column.name) {
            None => parts.push(format!("column {} is gone", column.name)),
            Some(now) if now.declared != column.declared => {
                parts.push(format!(
                    "column {} was {} and is {}",
                    column.name, column.declared, now.declared
                ));
            }
            Some(now) if now.key != column.key => {
                parts.push(format!("column {} changed its place in the key", column.name))
            }
            Some(now) if now != *column => {
                parts.push(format!("column {} changed whether it admits NULL", column.name))
            }
            Some(_) => {}
        }
    }
    for column in new
        .columns
        .iter()
        .filter(|column| find(old, &column.name).is_none())
    {
        parts.push(format!("column {} {} is new", column.name, column.declared));
    }
    if parts.is_empty() {
        parts.push("the order of its columns changed".to_owned());
    }
    Some(parts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Column, ColumnName, ColumnType};

    fn layout(columns: &[(&str, &str)]) -> TableLayout {
        let column = |(name, declared): &(&str, &str)| Column {
            name: ColumnName::new(*name),
            kind: ColumnType::Int64,
            declared: (*declared).to_owned(),
            nullable: true,
            key: None,
        };
        TableLayout {
            table: TableId::new("s", "t"),
            columns: columns.iter().map(column).collect(),
        }
    }

    #[test]
    fn differences_name_every_column() {
        let old = layout(&[("a", "int"), ("b", "int"), ("c", "int")]);
        let new = layout(&[("a", "int"), ("b", "bigint"), ("d", "text")]);
        let text = difference(&old, &new).unwrap();
        assert_eq!(
            text,
            "column b was int and is bigint; column c is gone; column d text is new"
        );
        assert_eq!(difference(&old, &old.clone()), None);
        let moved = layout(&[("b", "int"), ("a", "int"), ("c", "int")]);
        assert_eq!(
            difference(&old, &moved).unwrap(),
            "the order of its columns changed"
        );
    }
}
