//! Does the target equal the source? One answer for tests, the demo and `verify`.
//!
//! Both sides are read whole and every cell is brought into one canonical text (`canon`); equal text
//! is what "equal" means. Nothing of the way a row takes from the log to the target is used here, so
//! that a mistake in a decoder, in the encoder or in the order of changes cannot hide itself: the source
//! side is rendered by the server or from the driver's own types, the target side is what a query returns.
//!
//! Of each row only two hashes are kept (32 bytes a row and side), sorted and merged; the keys and
//! columns of the first differences come from a second read, which equal tables never need.

mod canon;
mod changes;
mod error;
mod items;
mod json;
mod prints;
mod source;
mod target;

use std::collections::HashMap;
use std::fmt;

use mysql_async::Conn;

pub use changes::compare_changes;
pub use error::CompareError;
use target::TargetColumn;
pub use target::{Bearer, TargetTable};

use crate::event::{ColumnName, TableId, TableLayout};
use canon::Cell;
use prints::{Difference, Prints};

/// Differences that are reported with their key, per kind; the rest is only counted.
pub const DETAILS: usize = 20;

/// The columns that are compared: those of the layout, under their names in the target.
#[derive(Debug, Clone)]
pub struct Columns<'a> {
    /// The source's columns.
    pub layout: &'a TableLayout,
    /// Names in the target of columns that are not called there as in the source. Target columns that
    /// no source column maps to are not looked at.
    pub renamed: HashMap<ColumnName, String>,
}

impl<'a> Columns<'a> {
    /// Every column under its own name.
    pub fn same_names(layout: &'a TableLayout) -> Columns<'a> {
        Columns {
            layout,
            renamed: HashMap::new(),
        }
    }

    fn target_name(&self, column: &'a ColumnName) -> &str {
        self.renamed.get(column).map_or(column.as_str(), String::as_str)
    }
}

/// Where the source's rows are read.
#[derive(Debug)]
pub enum Origin<'a> {
    /// A table of MySQL. The connection is left with another time zone, sql_mode and character set than it came with.
    Mysql(&'a mut Conn),
    /// A table of DynamoDB in the layout `document`. Costs the read capacity of two strongly consistent Scans at most.
    Dynamodb(&'a aws_sdk_dynamodb::Client),
}

impl<'a> From<&'a mut Conn> for Origin<'a> {
    fn from(conn: &'a mut Conn) -> Origin<'a> {
        Origin::Mysql(conn)
    }
}

impl<'a> From<&'a aws_sdk_dynamodb::Client> for Origin<'a> {
    fn from(client: &'a aws_sdk_dynamodb::Client) -> Origin<'a> {
        Origin::Dynamodb(client)
    }
}

impl Origin<'_> {
    /// Reads every row, in no order.
    async fn read(
        &mut self,
        layout: &TableLayout,
        forms: &[TargetColumn],
        take: impl FnMut(Vec<Cell>),
    ) -> Result<(), CompareError> {
        match self {
            Origin::Mysql(conn) => source::read(conn, layout, forms, take).await,
            Origin::Dynamodb(client) => items::read(client, layout, take).await,
        }
    }
}

/// A row's key in canonical text, cell by cell in key order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub Vec<String>);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({})", self.0.join(", "))
    }
}

/// What comparing one table found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// The source's table.
    pub table: TableId,
    /// Rows of the source.
    pub source_rows: u64,
    /// Rows of the target.
    pub target_rows: u64,
    /// Sum of all row hashes of the source: the same for the same rows in any order.
    pub source_checksum: u128,
    /// The same of the target.
    pub target_checksum: u128,
    /// Rows that only the source holds.
    pub missing_rows: u64,
    /// Rows that only the target holds.
    pub extra_rows: u64,
    /// Rows that both hold with different contents.
    pub different_rows: u64,
    /// Keys of the first [`DETAILS`] missing rows, as the second read saw them.
    pub missing: Vec<Key>,
    /// Keys of the first [`DETAILS`] extra rows.
    pub extra: Vec<Key>,
    /// Key and column of the cells that differ in the first [`DETAILS`] different rows.
    pub different: Vec<(Key, ColumnName)>,
}

impl Comparison {
    /// Whether the target holds exactly the source's rows.
    pub fn equal(&self) -> bool {
        self.missing_rows == 0
            && self.extra_rows == 0
            && self.different_rows == 0
            && self.source_rows == self.target_rows
            && self.source_checksum == self.target_checksum
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.equal() {
            return write!(f, "{}: equal, {} rows", self.table, self.source_rows);
        }
        write!(
            f,
            "{}: {} rows in the source, {} in the target; {} missing, {} extra, {} different",
            self.table,
            self.source_rows,
            self.target_rows,
            self.missing_rows,
            self.extra_rows,
            self.different_rows
        )?;
        for key in &self.missing {
            write!(f, "\n  missing {key}")?;
        }
        for key in &self.extra {
            write!(f, "\n  extra {key}")?;
        }
        for (key, column) in &self.different {
            write!(f, "\n  different {key} column {column}")?;
        }
        Ok(())
    }
}

/// Compares a table of the source with its target. The source should be at rest: the two reads are
/// not of one instant.
///
/// # Errors
/// [`CompareError`] if a side cannot be read, the table has no key, or a target column is missing or of
/// a type that cannot hold the source's.
pub async fn compare(
    source: impl Into<Origin<'_>>,
    target: &TargetTable,
    columns: &Columns<'_>,
) -> Result<Comparison, CompareError> {
    let (mut source, layout) = (source.into(), columns.layout);
    let key = layout.key_columns();
    if key.is_empty() {
        return Err(CompareError::NoKey(layout.table.clone()));
    }
    let forms = target.forms(columns).await?;
    let (mut here, mut there) = (Prints::new(&key), Prints::new(&key));
    tokio::try_join!(
        source.read(layout, &forms, |cells| here.add(&cells)),
        target.read(columns, &forms, |cells| there.add(&cells)),
    )?;
    let (source_rows, target_rows) = (here.rows(), there.rows());
    let (source_checksum, target_checksum) = (here.checksum(), there.checksum());
    let found = prints::difference(here, there, DETAILS);
    let mut comparison = Comparison {
        table: layout.table.clone(),
        source_rows,
        target_rows,
        source_checksum,
        target_checksum,
        missing_rows: found.missing,
        extra_rows: found.extra,
        different_rows: found.different,
        missing: Vec::new(),
        extra: Vec::new(),
        different: Vec::new(),
    };
    if !found.keys.is_empty() {
        let (mut here, mut there) = (HashMap::new(), HashMap::new());
        tokio::try_join!(
            source.read(layout, &forms, |cells| keep(&mut here, &found, &key, cells)),
            target.read(columns, &forms, |cells| keep(&mut there, &found, &key, cells)),
        )?;
        explain(&mut comparison, layout, &key, &here, &there);
    }
    Ok(comparison)
}

/// Rows by the hash of their key.
type Kept = HashMap<u128, Vec<Cell>>;

fn keep(kept: &mut Kept, found: &Difference, key: &[usize], cells: Vec<Cell>) {
    let hash = prints::key_hash(&cells, key);
    if found.keys.contains(&hash) {
        kept.insert(hash, cells);
    }
}

fn explain(comparison: &mut Comparison, layout: &TableLayout, key: &[usize], here: &Kept, there: &Kept) {
    for (hash, ours) in here {
        let Some(theirs) = there.get(hash) else {
            comparison.missing.push(key_of(ours, key));
            continue;
        };
        for ((column, ours_cell), theirs_cell) in layout.columns.iter().zip(ours).zip(theirs) {
            if ours_cell != theirs_cell {
                let found = (key_of(ours, key), column.name.clone());
                comparison.different.push(found);
            }
        }
    }
    let extra = there.iter().filter(|(hash, _)| !here.contains_key(*hash));
    comparison.extra = extra.map(|(_, cells)| key_of(cells, key)).collect();
    comparison.missing.sort();
    comparison.extra.sort();
    comparison.different.sort();
}

fn key_of(cells: &[Cell], key: &[usize]) -> Key {
    let text = |index: &usize| cells.get(*index).map_or_else(|| "?".to_owned(), Cell::to_string);
    Key(key.iter().map(text).collect())
}
