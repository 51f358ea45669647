//! The number that decides which of two rows with one key is newer: BigQuery's
//! `_CHANGE_SEQUENCE_NUMBER`, four sections compared from left to right as unsigned numbers
//! (<https://cloud.google.com/bigquery/docs/change-data-capture#manage_custom_ordering>).
//!
//! One number stands for one content, for ever, however often a log is read again; so every section
//! comes from the log or from durable state, never from a clock or a counter of this run.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::position::TxnStart;

/// Four sections; derived `Ord` is BigQuery's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OrderKey([u64; 4]);

/// A row's place within its transaction: 1 + the number of row-image bytes that the transaction
/// wrote before it, in all tables. Bytes and not rows, so that the number of a row is the same
/// whichever tables are captured and no table has to be decoded to count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ordinal(pub u64);

impl Ordinal {
    /// The highest ordinal that still fits beside the operation bit.
    pub const MAX: Ordinal = Ordinal(u64::MAX >> 1);
}

impl OrderKey {
    /// The upsert of a row (insert, or the new image of an update).
    pub fn upsert(txn: TxnStart, ordinal: Ordinal) -> OrderKey {
        OrderKey::with_last(txn, (ordinal.0 << 1) | 1)
    }

    /// The delete of a row, or of the old key of an update that changed the key: just below the upsert.
    pub fn delete(txn: TxnStart, ordinal: Ordinal) -> OrderKey {
        OrderKey::with_last(txn, ordinal.0 << 1)
    }

    /// A row read by a snapshot whose low watermark is `low`: above every transaction that began
    /// before it, below every row of those that begin at or after it.
    pub fn snapshot(low: TxnStart) -> OrderKey {
        OrderKey::upsert(low, Ordinal(0))
    }

    /// The delete of a row that a snapshot with the low watermark `low` did not find, or that a statement at
    /// `low` removed without row events: just below the rows that the snapshot did find.
    pub fn sweep(low: TxnStart) -> OrderKey {
        OrderKey::delete(low, Ordinal(0))
    }

    fn with_last(txn: TxnStart, last: u64) -> OrderKey {
        OrderKey([txn.epoch.0, txn.coord.file, txn.coord.offset, last])
    }

    /// The sections, highest first.
    pub fn sections(self) -> [u64; 4] {
        self.0
    }
}

/// BigQuery's form: four hexadecimal sections, `/` between them, without leading zeros (they would
/// be billed bytes).
impl fmt::Display for OrderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.0;
        write!(f, "{a:X}/{b:X}/{c:X}/{d:X}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::position::{BinlogCoord, Epoch};
    use super::*;
    use proptest::prelude::*;

    fn start(epoch: u64, file: u64, offset: u64) -> TxnStart {
        TxnStart {
            epoch: Epoch(epoch),
            coord: BinlogCoord { file, offset },
        }
    }

    /// The documented comparison, written independently: split, parse each section, compare.
    fn documented(a: &str, b: &str) -> std::cmp::Ordering {
        let parse = |text: &str| -> Vec<u64> {
            text.split('/')
                .map(|section| u64::from_str_radix(section, 16).unwrap())
                .collect()
        };
        parse(a).cmp(&parse(b))
    }

    proptest! {
        #[test]
        fn display_orders_as_the_key_does(a: [u64; 4], b: [u64; 4]) {
            let (a, b) = (OrderKey(a), OrderKey(b));
            prop_assert_eq!(a.cmp(&b), documented(&a.to_string(), &b.to_string()));
        }

        #[test]
        fn a_snapshot_row_lies_between_earlier_and_later_transactions(
            epoch in 0u64..4, file in 0u64..1_000_002, offset: u64, ordinal in 1u64..u64::MAX / 2, gap in 1u64..1000,
        ) {
            let low = start(epoch, file, offset);
            let snapshot = OrderKey::snapshot(low);
            prop_assert!(OrderKey::delete(low, Ordinal(ordinal)) > snapshot);
            prop_assert!(OrderKey::sweep(low) < snapshot);
            prop_assert!(OrderKey::upsert(start(epoch, file, offset.saturating_sub(gap)), Ordinal(ordinal)) < snapshot
                || offset < gap);
        }

        #[test]
        fn the_delete_of_an_old_key_is_just_below_its_upsert(offset: u64, ordinal in 1u64..u64::MAX / 2) {
            let txn = start(1, 2, offset);
            let (delete, upsert) = (OrderKey::delete(txn, Ordinal(ordinal)), OrderKey::upsert(txn, Ordinal(ordinal)));
            prop_assert!(delete < upsert);
            prop_assert!(upsert < OrderKey::delete(txn, Ordinal(ordinal + 1)));
        }
    }

    #[test]
    fn file_numbers_order_as_numbers_across_a_million() {
        let before = OrderKey::upsert(start(1, 999_999, 4_000_000_000), Ordinal(9));
        let after = OrderKey::upsert(start(1, 1_000_000, 4), Ordinal(1));
        assert!(before < after);
        assert_eq!(after.to_string(), "1/F4240/4/3");
    }
}
