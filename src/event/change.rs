//! What travels from a source to the pipeline: the row changes of one rows event, the end of a
//! transaction, and the point at which a table can no longer be followed.

use std::sync::Arc;

use super::domain::GlobalId;
use super::gtid::GtidSet;
use super::order::{OrderKey, Ordinal};
use super::position::{LastEvent, LogPosition, TxnStart};
use super::row::{RowImages, RowRef};
use super::shards::StreamStep;
use super::table::{TableId, TableLayout};
use super::xa::XaStep;

/// What happened to a row. Images are walked through the [`RowChanges`] they belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// A new row.
    Insert {
        /// The row.
        after: RowRef,
    },
    /// A row with new values.
    Update {
        /// The row as it was.
        before: RowRef,
        /// The row as it is.
        after: RowRef,
        /// Whether any key column's bytes differ: the old key then needs a DELETE of its own.
        key_changed: bool,
    },
    /// A row that is gone.
    Delete {
        /// The row as it was.
        before: RowRef,
    },
}

/// One row's change with its place in the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// What happened.
    pub op: Op,
    /// Place in the transaction.
    pub ordinal: Ordinal,
}

/// The changes of one rows event: one table, one layout, one transaction, shared bytes.
#[derive(Debug, Clone)]
pub struct RowChanges {
    /// The layout in force at this place of the log. The same `Arc` as long as nothing changed, so a
    /// consumer may compare pointers first.
    pub layout: Arc<TableLayout>,
    /// The images.
    pub images: Arc<dyn RowImages>,
    /// The transaction.
    pub txn: TxnStart,
    /// When the transaction was committed at the source, microseconds since 1970-01-01T00:00:00Z.
    pub committed_micros: i64,
    /// Changes in log order.
    pub changes: Vec<Change>,
    /// Rows of a snapshot, numbered by [`OrderKey::snapshot`] of `txn`, and deletes of those that it did not
    /// find, numbered by [`OrderKey::sweep`]. The ordinals of inserts count the rows of the read that began at
    /// `committed_micros`.
    pub snapshot: bool,
}

impl RowChanges {
    /// The table.
    pub fn table(&self) -> &TableId {
        &self.layout.table
    }

    /// The number of a change's upsert.
    pub fn upsert_order(&self, change: &Change) -> OrderKey {
        if self.snapshot {
            OrderKey::snapshot(self.txn)
        } else {
            OrderKey::upsert(self.txn, change.ordinal)
        }
    }

    /// The number of a change's delete.
    pub fn delete_order(&self, change: &Change) -> OrderKey {
        if self.snapshot {
            OrderKey::sweep(self.txn)
        } else {
            OrderKey::delete(self.txn, change.ordinal)
        }
    }
}

/// A point at which everything before has been emitted and no transaction is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitPoint {
    /// Where the next transaction begins.
    pub next: TxnStart,
    /// Name of the file that `next` lies in.
    pub file_name: Arc<str>,
    /// The transaction that ended here; `None` for anonymous ones, heartbeats and rotations.
    pub gtid: Option<GlobalId>,
    /// The file's birth: timestamp of its FORMAT_DESCRIPTION event, Unix seconds.
    pub file_born: u32,
    /// The last event of the transaction that ended here; `None` where none did.
    pub last_event: Option<LastEvent>,
    /// Commit time of that transaction, microseconds since 1970-01-01T00:00:00Z; `None` where nothing was committed.
    pub committed_micros: Option<i64>,
    /// What became of XA transactions since the last point, in the order of the log.
    pub xa: Vec<XaStep>,
    /// Every transaction with a GTID that lies before, where the log itself says so.
    pub executed: Option<GtidSet>,
    /// How far DynamoDB's streams were read since the last point.
    pub streams: Vec<StreamStep>,
}

impl LogPosition {
    /// Moves past a commit point, which must be the next one of the same log.
    pub fn pass(&mut self, point: &CommitPoint) {
        // A log that is opened by GTIDs is read from the beginning of a file: no copy may begin at a place that rows
        // which were sent lie behind.
        if point.next >= self.next {
            self.next = point.next;
            self.file_name = Arc::clone(&point.file_name);
            self.file_born = point.file_born;
        }
        match (&mut self.gtids, &point.gtid) {
            (Some(set), Some(GlobalId::Gtid(gtid))) => set.insert(gtid),
            (_, Some(GlobalId::Domain(gtid))) => {
                if let Some(domains) = &mut self.domains {
                    domains.pass(*gtid);
                }
            }
            // A transaction without a GTID: from here on the place in the file says what a set cannot.
            (gtids, None) if point.committed_micros.is_some() => (*gtids, self.domains) = (None, None),
            (_, _) => {}
        }
        if self.gtids.is_none() {
            self.gtids.clone_from(&point.executed);
        }
        for step in &point.xa {
            step.apply(&mut self.prepared);
        }
        // Proof by an event of a file that may be purged by now is worth less than by the file at hand.
        let proof = point.last_event.or(self.last_event);
        self.last_event = proof.filter(|event| event.start.file == self.next.coord.file);
        for step in &point.streams {
            step.apply(&mut self.streams);
        }
    }
}

/// Why a table cannot be followed past a point of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BreakCause {
    /// Its columns changed in a way that is not followed: what differs, as text.
    LayoutChanged(String),
    /// Its columns cannot be told from the log at this place.
    LayoutUnknown(String),
    /// A statement-format write: the log has the statement, not the rows.
    StatementFormat,
    /// A row image without all columns (binlog_row_image MINIMAL or NOBLOB set by a session).
    PartialImage,
    /// A two-phase (XA) transaction was committed whose rows the log does not hold any more.
    Xa,
}

/// From `at` on, the table's rows can not be followed: it must be parked before the frontier passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Break {
    /// Which table.
    pub table: TableId,
    /// Why.
    pub cause: BreakCause,
    /// The transaction at which it happened.
    pub at: TxnStart,
}

/// What a statement did to a captured table, beside what row events tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ddl {
    /// Which table.
    pub table: TableId,
    /// What happened to it.
    pub what: DdlWhat,
    /// The transaction that the statement is.
    pub at: TxnStart,
    /// The statement as the log holds it, cut to a bounded length; for people.
    pub statement: Arc<str>,
}

/// What happened to a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DdlWhat {
    /// Its columns may be other ones.
    Altered {
        /// The columns as they are now, which may be later than the statement.
        layout: Arc<TableLayout>,
        /// What the statement said of them.
        said: AlterSaid,
        /// Whether they were read too late to tell what it did.
        late: Late,
    },
    /// A table of this name is there that was not before, or in the place of another one.
    Created,
    /// It is gone.
    Dropped,
    /// All of its rows are gone.
    Truncated,
    /// Some of its rows are others, without row events.
    RowsChanged,
}

/// What an ALTER said of columns, as far as it could be read. Columns themselves are never taken from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlterSaid {
    /// Columns that got another name: old, new.
    pub renamed: Vec<(String, String)>,
    /// Columns that were added with nothing but NULL in the rows that existed.
    pub added_empty: Vec<String>,
    /// Whether it did anything to columns at all.
    pub columns: bool,
    /// Whether rows that a copy under way has read stay as they are, so that it goes on with the new columns.
    pub copies_go_on: bool,
}

/// Whether the columns that were read after a statement may be those after several ones. What each of them did to
/// the values of rows that exist cannot be told then: a column that was dropped and added again looks like one that stayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Late {
    /// No.
    No,
    /// An earlier process may have read them after this statement too; if so, nothing seems to change.
    IfUnchanged,
    /// They were read before, when this statement was in the log already.
    Yes,
}

/// One thing that a source says.
#[derive(Debug, Clone)]
pub enum Item {
    /// Row changes of a captured table.
    Rows(RowChanges),
    /// A table that cannot be followed past this place.
    Break(Break),
    /// A statement that did something to a captured table.
    Ddl(Ddl),
    /// A transaction's end, a heartbeat or a rotation.
    Commit(CommitPoint),
}
