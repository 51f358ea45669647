//! Records of a shard as row changes: the key decides which row, the record's number its place.

use std::sync::Arc;

use super::api::{Happened, Record};
use super::item::ItemError;
use super::layout::Shape;
use super::rows::Images;
use crate::event::{Change, Epoch, Op, RowChanges, SequenceNumber, TxnStart};

/// The records of a page.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// The rows, in the order of the records.
    pub(super) rows: Vec<RowChanges>,
    /// The records' numbers.
    pub(super) numbers: Vec<SequenceNumber>,
    /// Items whose time to live ended.
    pub(super) expired: u64,
    /// When the last of them was written, microseconds since 1970-01-01T00:00:00Z.
    pub(super) written_micros: Option<i64>,
}

/// Makes rows of records.
///
/// # Errors
/// A record's key is not the table's.
pub(super) fn changes(shape: &Shape, generation: Epoch, records: Vec<Record>) -> Result<Changes, ItemError> {
    let mut images = Images::new(shape);
    // Records with one transaction's place and one time: the last section of their numbers tells them apart.
    let mut groups: Vec<(TxnStart, i64, Vec<Change>)> = Vec::new();
    let (mut numbers, mut expired) = (Vec::with_capacity(records.len()), 0);
    for record in records {
        let op = match &record.happened {
            Happened::Put { new: true, item } => Op::Insert {
                after: images.item(item)?,
            },
            Happened::Put { new: false, item } => Op::Update {
                before: images.key(&record.key)?,
                after: images.item(item)?,
                key_changed: false,
            },
            Happened::Removed { item, expired: ended } => {
                expired += u64::from(*ended);
                Op::Delete {
                    before: match item {
                        Some(item) => images.item(item)?,
                        None => images.key(&record.key)?,
                    },
                }
            }
        };
        let (txn, ordinal) = record.number.place(generation);
        let micros = record.written.saturating_mul(1_000_000);
        let change = Change { op, ordinal };
        match groups.last_mut() {
            Some((place, time, changes)) if (*place, *time) == (txn, micros) => changes.push(change),
            _ => groups.push((txn, micros, vec![change])),
        }
        numbers.push(record.number);
    }
    let images = images.share();
    let written_micros = groups.last().map(|(_, micros, _)| *micros);
    let rows = groups
        .into_iter()
        .map(|(txn, committed_micros, changes)| RowChanges {
            layout: Arc::clone(&shape.layout),
            images: Arc::clone(&images),
            txn,
            committed_micros,
            changes,
            snapshot: false,
        });
    Ok(Changes {
        rows: rows.collect(),
        numbers,
        expired,
        written_micros,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::item::parse;
    use super::super::layout::{KeyAttribute, KeyKind, document};
    use super::*;
    use crate::event::TableId;

    fn shape() -> Shape {
        let key = [KeyAttribute {
            name: "id".to_owned(),
            kind: KeyKind::S,
        }];
        Shape::of(Arc::new(document(TableId::new("s", "t"), &key, &[]))).unwrap()
    }

    fn record(number: &str, written: i64, kind: u8) -> Record {
        let item = parse(br#"{"id":{"S":"a"},"v":{"N":"1"}}"#).unwrap();
        Record {
            number: number.parse().unwrap(),
            written,
            key: parse(br#"{"id":{"S":"a"}}"#).unwrap(),
            happened: match kind {
                0 | 1 => Happened::Put { new: kind == 0, item },
                _ => Happened::Removed {
                    item: (kind == 2).then_some(item),
                    expired: kind == 3,
                },
            },
        }
    }

    proptest! {
        /// Every record is one change, in order, with its own number and time.
        #[test]
        fn no_record_is_lost_or_moved(steps in proptest::collection::vec((1u128..1 << 66, 0i64..2, 0u8..4), 0..40)) {
            let (mut number, mut written) = (1u128 << 60, 1_767_225_600);
            let mut records = Vec::new();
            for (more, later, kind) in steps {
                number += more;
                written += later;
                records.push(record(&number.to_string(), written, kind));
            }
            let made = changes(&shape(), Epoch(7), records.clone()).unwrap();
            let flat: Vec<_> = made.rows.iter()
                .flat_map(|rows| rows.changes.iter().map(move |change| (rows, change))).collect();
            prop_assert_eq!(flat.len(), records.len());
            for ((rows, change), record) in flat.iter().zip(&records) {
                prop_assert_eq!(rows.txn.epoch, Epoch(7));
                prop_assert_eq!(rows.committed_micros, record.written * 1_000_000);
                prop_assert_eq!(SequenceNumber::digits(rows.txn.coord, change.ordinal), record.number.as_str());
                prop_assert_eq!(matches!(change.op, Op::Delete { .. }), matches!(record.happened, Happened::Removed { .. }));
            }
            let orders: Vec<_> = flat.iter().map(|(rows, change)| rows.delete_order(change)).collect();
            prop_assert!(orders.is_sorted());
            let numbers: Vec<_> = records.iter().map(|record| record.number.clone()).collect();
            prop_assert_eq!(made.numbers, numbers);
            let ended = records.iter().filter(|one| matches!(one.happened, Happened::Removed { expired: true, .. }));
            prop_assert_eq!(made.expired, u64::try_from(ended.count()).unwrap());
        }
    }
}
