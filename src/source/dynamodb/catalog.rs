//! The columns that tables' rows were written with when the process began, held against those that the configuration
//! asks for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::event::{TableId, TableLayout};
use crate::source::Kept;

/// The same for all who read.
#[derive(Debug, Clone, Default)]
pub(super) struct Catalog(Arc<Mutex<BTreeMap<TableId, Kept>>>);

impl Catalog {
    fn with<T>(&self, look: impl FnOnce(&mut BTreeMap<TableId, Kept>) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes what a checkpoint kept.
    pub(super) fn keep(&self, kept: Vec<Kept>) {
        let by_table = kept.into_iter().map(|kept| (kept.layout.table.clone(), kept));
        self.with(|tables| tables.extend(by_table));
    }

    /// The columns that a table is followed with, if they are others than these.
    pub(super) fn differing(&self, layout: &TableLayout) -> Option<TableLayout> {
        self.with(|tables| {
            let kept = tables.get(&layout.table)?;
            (kept.followed && kept.layout != *layout).then(|| kept.layout.clone())
        })
    }

    /// A table is opened anew, with the columns that it has now.
    pub(super) fn opened(&self, table: &TableId) {
        self.with(|tables| tables.remove(table));
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::{KeyAttribute, KeyKind, document};
    use super::*;
    use crate::config::{Path, Promoted, PromotedType};

    #[test]
    fn a_followed_table_with_other_columns_is_told_until_it_is_opened_anew() {
        let key = [KeyAttribute {
            name: "id".to_owned(),
            kind: KeyKind::S,
        }];
        let promoted = Promoted::new(Path::parse("a").unwrap(), PromotedType::Int64);
        let id = |name: &str| TableId::new("s", name);
        let kept = |name: &str, followed| Kept {
            layout: document(id(name), &key, &[]),
            followed,
        };
        let catalog = Catalog::default();
        catalog.keep(vec![kept("t", true), kept("parked", false)]);
        let now = |name: &str| document(id(name), &key, std::slice::from_ref(&promoted));
        assert_eq!(catalog.differing(&document(id("t"), &key, &[])), None);
        assert_eq!(catalog.differing(&now("t")), Some(document(id("t"), &key, &[])));
        assert_eq!(catalog.differing(&now("parked")), None);
        assert_eq!(catalog.differing(&now("new")), None);
        catalog.opened(&id("t"));
        assert_eq!(catalog.differing(&now("t")), None);
    }
}
