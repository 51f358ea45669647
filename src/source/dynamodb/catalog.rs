//! The columns of tables as this process knows them: those that a checkpoint kept, held against what the configuration
//! asks for, and those that items have shown since. They only ever become more and wider, so that a row can always be
//! made for the newest; who follows the log is told before the first of it comes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::columns;
use super::item::Item;
use super::layout::Shape;
use crate::event::{AlterSaid, TableId, TableLayout};
use crate::source::Kept;

/// The same for all who read.
#[derive(Debug, Clone, Default)]
pub(super) struct Catalog {
    known: Arc<Mutex<Known>>,
    /// Columns became more.
    grown: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Known {
    /// What a checkpoint kept, until a table is opened anew.
    kept: BTreeMap<TableId, Kept>,
    /// Tables of the layout `columns`.
    growing: BTreeMap<TableId, Growing>,
}

/// A table whose columns follow from its items.
#[derive(Debug)]
struct Growing {
    shape: Shape,
    /// The columns that the pipeline knows without being told.
    asked: Arc<TableLayout>,
    /// Names of those that came since the process began.
    new: Vec<String>,
}

impl Catalog {
    fn with<T>(&self, look: impl FnOnce(&mut Known) -> T) -> T {
        look(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes what a checkpoint kept.
    pub(super) fn keep(&self, kept: Vec<Kept>) {
        let by_table = kept.into_iter().map(|kept| (kept.layout.table.clone(), kept));
        self.with(|known| known.kept.extend(by_table));
    }

    /// A table's columns, given those that the configuration asks for before any item is seen.
    pub(super) fn shape(&self, first: TableLayout) -> Option<Shape> {
        let shape = Shape::of(Arc::new(first))?;
        if !shape.is_of_attributes() {
            return Some(shape);
        }
        self.with(|known| {
            let table = shape.layout.table.clone();
            if let Some(growing) = known.growing.get(&table)
                && continues(&growing.shape, &shape)
            {
                return Some(growing.shape.clone());
            }
            let kept = known.kept.get(&table);
            let kept = kept.and_then(|kept| Shape::of(Arc::new(kept.layout.clone())));
            let shape = kept.filter(|kept| continues(kept, &shape)).unwrap_or(shape);
            let growing = Growing {
                asked: Arc::clone(&shape.layout),
                shape: shape.clone(),
                new: Vec::new(),
            };
            known.growing.insert(table, growing);
            Some(shape)
        })
    }

    /// The columns that a table is followed with, if they are not those of `first` or what became of them.
    pub(super) fn differing(&self, first: &TableLayout) -> Option<TableLayout> {
        let kept = self.with(|known| known.kept.get(&first.table).cloned())?;
        let read = |layout: &TableLayout| Shape::of(Arc::new(layout.clone()));
        let same = kept.layout == *first
            || read(&kept.layout)
                .zip(read(first))
                .is_some_and(|(kept, first)| continues(&kept, &first));
        (kept.followed && !same).then_some(kept.layout)
    }

    /// A table is opened anew, with the columns that it has now.
    pub(super) fn opened(&self, table: &TableId) {
        self.with(|known| {
            known.kept.remove(table);
            if let Some(growing) = known.growing.get_mut(table) {
                growing.asked = Arc::clone(&growing.shape.layout);
            }
        });
    }

    /// Makes room for items. Returns the table's columns then; `None` for a table whose columns do not follow from its
    /// items.
    pub(super) fn room<'a>(
        &self,
        table: &TableId,
        items: impl IntoIterator<Item = &'a Item>,
    ) -> Option<Shape> {
        let (shape, grown) = self.with(|known| {
            let growing = known.growing.get_mut(table)?;
            let grown = columns::grown(&growing.shape, items);
            let is_grown = grown.is_some();
            if let Some((shape, new)) = grown {
                growing.shape = shape;
                growing.new.extend(new);
            }
            Some((growing.shape.clone(), is_grown))
        })?;
        if grown {
            self.grown.notify_one();
        }
        Some(shape)
    }

    /// Waits until columns became more.
    pub(super) async fn grown(&self) {
        self.grown.notified().await;
    }

    /// A table's columns now, if they are others than those.
    pub(super) fn since(&self, layout: &Arc<TableLayout>) -> Option<Shape> {
        self.with(|known| {
            let shape = &known.growing.get(&layout.table)?.shape;
            (!Arc::ptr_eq(&shape.layout, layout) && shape.layout != *layout).then(|| shape.clone())
        })
    }

    /// What is to be said of a table's columns when the log is opened again: whoever was told may have forgotten it.
    pub(super) fn untold(&self, table: &TableId) -> Option<AlterSaid> {
        self.with(|known| {
            let growing = known.growing.get(table)?;
            (growing.asked != growing.shape.layout).then(|| said(&growing.new))
        })
    }

    /// What is said of a table's columns: no row that exists has anything in those that are new.
    pub(super) fn said(&self, table: &TableId) -> AlterSaid {
        self.with(|known| said(known.growing.get(table).map_or(&[], |growing| &growing.new)))
    }
}

fn said(new: &[String]) -> AlterSaid {
    AlterSaid {
        added_empty: new.to_vec(),
        columns: true,
        copies_go_on: true,
        ..AlterSaid::default()
    }
}

/// Whether columns are those of a table of which no item was seen, with others behind that items have shown.
fn continues(shape: &Shape, first: &Shape) -> bool {
    shape.is_of_attributes()
        && first.is_of_attributes()
        && shape.layout.columns.starts_with(&first.layout.columns)
}

#[cfg(test)]
mod tests {
    use super::super::item::parse;
    use super::super::layout::{KeyAttribute, KeyKind, document};
    use super::*;
    use crate::config::{Path, Promoted, PromotedType};

    fn key() -> [KeyAttribute; 1] {
        [KeyAttribute {
            name: "id".to_owned(),
            kind: KeyKind::S,
        }]
    }

    fn id(name: &str) -> TableId {
        TableId::new("s", name)
    }

    fn kept(layout: TableLayout, followed: bool) -> Kept {
        Kept { layout, followed }
    }

    #[test]
    fn a_followed_table_with_other_columns_is_told_until_it_is_opened_anew() {
        let promoted = Promoted::new(Path::parse("a").unwrap(), PromotedType::Int64);
        let catalog = Catalog::default();
        let before = |name: &str| document(id(name), &key(), &[]);
        catalog.keep(vec![kept(before("t"), true), kept(before("parked"), false)]);
        let now = |name: &str| document(id(name), &key(), std::slice::from_ref(&promoted));
        assert_eq!(catalog.differing(&before("t")), None);
        assert_eq!(catalog.differing(&now("t")), Some(before("t")));
        assert_eq!(
            catalog.differing(&columns::first(id("t"), &key())),
            Some(before("t"))
        );
        assert_eq!(catalog.differing(&now("parked")), None);
        assert_eq!(catalog.differing(&now("new")), None);
        catalog.opened(&id("t"));
        assert_eq!(catalog.differing(&now("t")), None);
    }

    #[test]
    fn columns_grow_from_those_that_were_kept_and_are_told_until_asked_for() {
        let first = || columns::first(id("t"), &key());
        let item = |text: &str| parse(format!(r#"{{"id":{{"S":"x"}},{text}}}"#).as_bytes()).unwrap();
        let names = |shape: &Shape| -> Vec<String> {
            let columns = shape.layout.columns.iter();
            columns.map(|column| column.name.as_str().to_owned()).collect()
        };
        let old = Catalog::default();
        old.shape(first()).unwrap();
        let grown = old.room(&id("t"), [&item(r#""a":{"N":"1"}"#)]).unwrap();
        let catalog = Catalog::default();
        catalog.keep(vec![kept((*grown.layout).clone(), true)]);
        assert_eq!(catalog.differing(&first()), None);
        let shape = catalog.shape(first()).unwrap();
        assert_eq!(names(&shape), ["id", "a"]);
        assert_eq!(catalog.untold(&id("t")), None);
        assert!(catalog.since(&shape.layout).is_none());
        let now = catalog
            .room(&id("t"), [&item(r#""b":{"BOOL":true},"a":{"S":""}"#)])
            .unwrap();
        assert_eq!(names(&now), ["id", "a", "a__json", "b"]);
        assert_eq!(names(&catalog.shape(first()).unwrap()), names(&now));
        assert_eq!(names(&catalog.since(&shape.layout).unwrap()), names(&now));
        assert_eq!(catalog.untold(&id("t")).unwrap().added_empty, ["a__json", "b"]);
        catalog.opened(&id("t"));
        assert_eq!(catalog.untold(&id("t")), None);
        assert_eq!(
            catalog.differing(&document(id("t"), &key(), &[])),
            None,
            "it is opened anew"
        );
        assert!(
            catalog
                .room(&id("other"), [&item(r#""b":{"BOOL":true}"#)])
                .is_none()
        );
    }
}
