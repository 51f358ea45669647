//! Fingerprints of rows: what is kept of a table so that millions of rows can be compared in memory.

use std::collections::HashSet;

use sha2::{Digest, Sha256};

use super::canon::Cell;

/// The hashes of a table's rows.
#[derive(Debug)]
pub(super) struct Prints {
    key: Vec<usize>,
    /// (hash of the key, hash of the whole row).
    rows: Vec<(u128, u128)>,
    sum: u128,
}

impl Prints {
    pub(super) fn new(key: &[usize]) -> Prints {
        Prints {
            key: key.to_vec(),
            rows: Vec::new(),
            sum: 0,
        }
    }

    pub(super) fn add(&mut self, cells: &[Cell]) {
        let row = hash(cells.iter());
        self.rows.push((key_hash(cells, &self.key), row));
        self.sum = self.sum.wrapping_add(row);
    }

    pub(super) fn rows(&self) -> u64 {
        u64::try_from(self.rows.len()).unwrap_or(u64::MAX)
    }

    pub(super) fn checksum(&self) -> u128 {
        self.sum
    }
}

/// How two tables differ.
#[derive(Debug, Default)]
pub(super) struct Difference {
    pub(super) missing: u64,
    pub(super) extra: u64,
    pub(super) different: u64,
    /// Key hashes of the first differences of each kind.
    pub(super) keys: HashSet<u128>,
}

/// Merges two tables. A key that occurs more than once on a side counts each time.
pub(super) fn difference(source: Prints, target: Prints, details: usize) -> Difference {
    let (mut here, mut there) = (source.rows, target.rows);
    here.sort_unstable();
    there.sort_unstable();
    let (mut here, mut there) = (here.into_iter().peekable(), there.into_iter().peekable());
    let limit = u64::try_from(details).unwrap_or(u64::MAX);
    let mut found = Difference::default();
    loop {
        let (count, key) = match (here.peek().copied(), there.peek().copied()) {
            (None, None) => return found,
            (Some(ours), Some(theirs)) if ours.0 == theirs.0 => {
                here.next();
                there.next();
                if ours.1 == theirs.1 {
                    continue;
                }
                (&mut found.different, ours.0)
            }
            (Some(ours), theirs) if theirs.is_none_or(|theirs| ours.0 < theirs.0) => {
                here.next();
                (&mut found.missing, ours.0)
            }
            (_, theirs) => {
                there.next();
                (&mut found.extra, theirs.map_or(0, |theirs| theirs.0))
            }
        };
        *count += 1;
        if *count <= limit {
            found.keys.insert(key);
        }
    }
}

/// The hash of a row's key.
pub(super) fn key_hash(cells: &[Cell], key: &[usize]) -> u128 {
    hash(key.iter().filter_map(|index| cells.get(*index)))
}

/// 128 bits of SHA-256 over cells that are told apart by a mark and their length.
fn hash<'a>(cells: impl Iterator<Item = &'a Cell>) -> u128 {
    let mut state = Sha256::new();
    for cell in cells {
        match cell {
            Cell::Null => state.update([0]),
            Cell::Text(text) => {
                state.update([1]);
                state.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
                state.update(text.as_bytes());
            }
            Cell::Unreadable(text) => {
                state.update([2]);
                state.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
                state.update(text.as_bytes());
            }
        }
    }
    let digest = state.finalize();
    digest
        .iter()
        .take(16)
        .fold(0, |sum, byte| (sum << 8) | u128::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }

    fn table(rows: &[(&str, &str)]) -> Prints {
        let mut prints = Prints::new(&[0]);
        for (key, value) in rows {
            prints.add(&[text(key), text(value)]);
        }
        prints
    }

    fn counts(here: &[(&str, &str)], there: &[(&str, &str)]) -> (u64, u64, u64, usize) {
        let found = difference(table(here), table(there), 1);
        (found.missing, found.extra, found.different, found.keys.len())
    }

    #[test]
    fn order_does_not_matter() {
        let (one, other) = ([("1", "a"), ("2", "b")], [("2", "b"), ("1", "a")]);
        assert_eq!(counts(&one, &other), (0, 0, 0, 0));
        assert_eq!(table(&one).checksum(), table(&other).checksum());
    }

    #[test]
    fn every_kind_of_difference_is_counted_and_details_are_bounded() {
        assert_eq!(
            counts(&[("1", "a"), ("2", "a"), ("3", "a")], &[("1", "a")]),
            (2, 0, 0, 1)
        );
        assert_eq!(counts(&[], &[("1", "a"), ("1", "a")]), (0, 2, 0, 1));
        assert_eq!(counts(&[("1", "a")], &[("1", "b")]), (0, 0, 1, 1));
        assert_eq!(counts(&[("1", "a")], &[("1", "a"), ("1", "a")]), (0, 1, 0, 1));
        assert_eq!(counts(&[("1", "a")], &[("2", "a")]), (1, 1, 0, 2));
    }

    #[test]
    fn cell_boundaries_and_nulls_are_part_of_a_row() {
        let cases = [
            vec![text("ab"), text("c")],
            vec![text("a"), text("bc")],
            vec![text("abc"), Cell::Null],
            vec![text("abc"), text("")],
            vec![text("abc")],
            vec![Cell::Unreadable("abc".to_owned())],
        ];
        let hashes: HashSet<u128> = cases.iter().map(|cells| hash(cells.iter())).collect();
        assert_eq!(hashes.len(), cases.len());
    }
}
