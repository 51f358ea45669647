//! Comparing a table without a primary key, whose target holds changes: the rows that they leave, each as
//! often as it is there.

use std::collections::HashMap;

use mysql_async::Conn;

use super::canon::Cell;
use super::error::CompareError;
use super::target::TargetTable;
use super::{Columns, Comparison, prints, source};

/// How often each row is there, by its hash.
#[derive(Debug, Default)]
struct Counts(HashMap<u128, i64>);

impl Counts {
    fn add(&mut self, cells: &[Cell], times: i64) {
        let all: Vec<usize> = (0..cells.len()).collect();
        *self.0.entry(prints::key_hash(cells, &all)).or_default() += times;
    }

    fn rows(&self) -> u64 {
        u64::try_from(self.0.values().sum::<i64>()).unwrap_or(0)
    }

    /// The sum of the hashes, each as often as its row is there.
    fn checksum(&self) -> u128 {
        let each = self.0.iter();
        each.map(|(hash, times)| hash.wrapping_mul(times.unsigned_abs().into()))
            .fold(0, u128::wrapping_add)
    }

    /// How many rows are here more often than there.
    fn beyond(&self, there: &Counts) -> u64 {
        let more = self.0.iter().map(|(hash, times)| {
            let other = there.0.get(hash).copied().unwrap_or(0);
            u64::try_from(times - other).unwrap_or(0)
        });
        more.sum()
    }
}

/// What an operation does to how often its row is there.
fn times(operation: &str) -> Option<i64> {
    match operation {
        "SNAPSHOT" | "INSERT" | "UPDATE" => Some(1),
        "DELETE" | "UPDATE_BEFORE" => Some(-1),
        _ => None,
    }
}

/// Compares a table without a primary key with the changes that the view beside its target shows. The source
/// should be at rest. Rows that differ count as missing and as extra; nothing tells which belong together.
///
/// `source` is left with another time zone, sql_mode and character set than it came with.
///
/// # Errors
/// [`CompareError`] if a side cannot be read, or a column of the view is missing or of a type that cannot hold the
/// source's.
pub async fn compare_changes(
    source: &mut Conn,
    view: &TargetTable,
    columns: &Columns<'_>,
) -> Result<Comparison, CompareError> {
    let layout = columns.layout;
    let forms = view.forms(columns).await?;
    let (mut here, mut there) = (Counts::default(), Counts::default());
    tokio::try_join!(
        source::read(source, layout, &forms, |cells| here.add(&cells, 1)),
        view.read_changes(columns, &forms, |cells, operation| {
            let times = times(&operation).ok_or(CompareError::Operation(operation))?;
            there.add(&cells, times);
            Ok(())
        }),
    )?;
    Ok(Comparison {
        table: layout.table.clone(),
        source_rows: here.rows(),
        target_rows: there.rows(),
        source_checksum: here.checksum(),
        target_checksum: there.checksum(),
        missing_rows: here.beyond(&there),
        extra_rows: there.beyond(&here),
        different_rows: 0,
        missing: Vec::new(),
        extra: Vec::new(),
        different: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(rows: &[(&str, i64)]) -> Counts {
        let mut counts = Counts::default();
        for (text, times) in rows {
            counts.add(&[Cell::Text((*text).to_owned())], *times);
        }
        counts
    }

    #[test]
    fn rows_count_as_often_as_they_are_there() {
        let here = counts(&[("a", 1), ("a", 1), ("b", 1)]);
        let same = counts(&[("b", 1), ("c", 1), ("a", 2), ("c", -1)]);
        assert_eq!((here.beyond(&same), same.beyond(&here)), (0, 0));
        assert_eq!((here.rows(), here.checksum()), (same.rows(), same.checksum()));
        let other = counts(&[("a", 1), ("b", 2), ("d", 1)]);
        assert_eq!((here.beyond(&other), other.beyond(&here)), (1, 2));
        // More deletions than rows are rows that are missing, and no rows too many.
        let fewer = counts(&[("a", -1)]);
        assert_eq!((here.beyond(&fewer), fewer.beyond(&here)), (4, 0));
    }
}
