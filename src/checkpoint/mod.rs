//! What survives a restart. One value, written as a whole: the position and the state of every table
//! move together, so a table that is parked is parked in the very write that lets the position pass it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::{Bound, Chunk, Epoch, LogPosition, Seen, TableId, TableLayout, TxnStart};

mod bucket;
mod columns;
mod error;
mod file;
mod form;
mod store;

pub use bucket::{ABANDONED, Bucket, BucketStore, Standby};
pub use columns::{Applying, Columns, Version};
pub use error::CheckpointError;
pub use file::FileStore;
pub use form::Lease;
pub use store::{Opening, Store};

/// The form that this version writes; it reads those before too.
pub const VERSION: u32 = 2;

/// A pipeline's durable state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// [`VERSION`].
    pub version: u32,
    /// The pipeline that it belongs to.
    pub pipeline: String,
    /// The highest epoch that a row may carry already.
    pub epoch: Epoch,
    /// Every change before this place is acknowledged, or its table parked.
    pub position: LogPosition,
    /// The tables that were ever opened.
    #[serde(with = "tables_as_list")]
    pub tables: BTreeMap<TableId, TableState>,
}

/// A table that was opened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableState {
    /// The columns that the target was made for.
    pub layout: TableLayout,
    /// Changes of transactions that begin before it are not sent: what they did is in the snapshot.
    pub floor: TxnStart,
    /// How far the table has come.
    pub phase: Phase,
    /// Where its columns are written to, now and at earlier places of the log.
    #[serde(default, skip_serializing_if = "Columns::is_plain")]
    pub columns: Columns,
    /// A change of columns that was begun at the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applying: Option<Box<Applying>>,
    /// Rows of the target that are older than this place and were not confirmed since are to be deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<TxnStart>,
    /// The low watermark of the last copy that is not under way any more: rows of the next one are numbered above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied: Option<TxnStart>,
}

/// How far a table has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// Followed since its floor; its low watermark is not known yet.
    Opening,
    /// Being copied, beside the stream.
    Snapshot(SnapshotState),
    /// Copied; the stream alone keeps it equal.
    Streaming,
    /// Followed, and to be copied again beside the stream.
    Refill {
        /// Why.
        cause: String,
    },
    /// To be copied again from where the log is then; not followed until it is.
    Reopening {
        /// Why.
        cause: String,
        /// Whether rows of the target may be gone from the source.
        sweep: bool,
        /// Whether it is copied by itself only up to the size that the configuration allows.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        bounded: bool,
    },
    /// The source dropped it; its target is kept.
    Dropped,
    /// Not followed any more; a person has to decide.
    Parked {
        /// Why, and the cure.
        cause: String,
        /// The transaction at which it ended.
        at: String,
    },
}

/// A table's snapshot under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SnapshotState {
    /// The low watermark: every transaction that begins before it is visible to a SELECT on a server
    /// that has executed `seen`. Never taken again.
    pub low: TxnStart,
    /// The transactions that a chunk's server must have executed; `None` without GTIDs.
    pub seen: Option<Seen>,
    /// Chunks that were planned and are not acknowledged, in key order.
    pub open: Vec<Chunk>,
    /// Keys up to here are planned: acknowledged unless in `open`. `None`: none.
    pub planned_to: Option<Bound>,
    /// Whether the last chunk is planned.
    pub planned_all: bool,
    /// Rows acknowledged.
    pub rows: u64,
    /// Chunks acknowledged.
    pub chunks: u64,
}

impl SnapshotState {
    /// A snapshot of which nothing is done yet.
    pub fn new(low: TxnStart, seen: Option<Seen>) -> SnapshotState {
        SnapshotState {
            low,
            seen,
            open: Vec::new(),
            planned_to: None,
            planned_all: false,
            rows: 0,
            chunks: 0,
        }
    }

    /// Notes that a chunk was planned, unless it was before: it begins where the last one ended.
    pub fn planned(&mut self, chunk: Chunk) {
        if self.planned_all || chunk.lower != self.planned_to {
            return;
        }
        match &chunk.upper {
            Some(upper) => self.planned_to = Some(upper.clone()),
            None => self.planned_all = true,
        }
        self.open.push(chunk);
    }

    /// Notes that every row of a chunk is acknowledged.
    pub fn acknowledged(&mut self, chunk: &Chunk, rows: u64) {
        let before = self.open.len();
        self.open.retain(|open| open != chunk);
        if self.open.len() < before {
            self.rows += rows;
            self.chunks += 1;
        }
    }

    /// Whether every row is acknowledged.
    pub fn is_done(&self) -> bool {
        self.planned_all && self.open.is_empty()
    }
}

impl Checkpoint {
    /// The table of a name, as people write it: `database.table`.
    pub fn named(&self, name: &str) -> Option<&TableId> {
        self.tables.keys().find(|table| table.to_string() == name)
    }

    /// The state of a pipeline that has sent nothing.
    pub fn new(pipeline: &str, position: LogPosition) -> Checkpoint {
        let epoch = position.next.epoch;
        Checkpoint {
            version: VERSION,
            pipeline: pipeline.to_owned(),
            epoch,
            position,
            tables: BTreeMap::new(),
        }
    }
}

impl TableState {
    /// The table is to be copied again, as a whole: what its target has beyond that is deleted then. A change of
    /// columns that was begun at the target stays known: it is finished before.
    pub fn reopen(&mut self, cause: String, bounded: bool) {
        self.remember_copy();
        self.phase = Phase::Reopening {
            cause,
            sweep: true,
            bounded,
        };
    }

    /// The low watermark of a copy beside the stream that begins at a place of the log: its rows are numbered above those of
    /// earlier copies and not below what is swept. `None` where that cannot be; after a restart the log is read
    /// again from before the places at which a table was opened, copied or changed.
    pub fn low_at(&self, at: TxnStart) -> Option<TxnStart> {
        let low = match self.copied {
            None => at.first_low(),
            Some(copied) => at.low_after(copied)?,
        };
        let late_enough = at >= self.floor
            && self.columns.since.is_none_or(|since| at >= since)
            && self.sweep.is_none_or(|due| low >= due);
        late_enough.then_some(low)
    }

    /// Remembers how the rows of a copy under way are numbered; to be called when its phase ends.
    pub fn remember_copy(&mut self) {
        if let Phase::Snapshot(snapshot) = &self.phase {
            self.copied = self.copied.max(Some(snapshot.low));
        }
    }

    /// How the rows of the last copy are numbered. Where none is known of, none began: then at most the number of an
    /// opening was taken, and above it there are more to be had without the log's moving on.
    pub fn numbered(&self) -> TxnStart {
        self.copied.unwrap_or_else(|| self.floor.first_low())
    }
}

/// JSON keys are strings and table names hold points: tables are a list of pairs.
mod tables_as_list {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::TableState;
    use crate::event::TableId;

    #[derive(Serialize)]
    struct Written<'a> {
        table: &'a TableId,
        #[serde(flatten)]
        state: &'a TableState,
    }

    #[derive(Deserialize)]
    struct Read {
        table: TableId,
        #[serde(flatten)]
        state: TableState,
    }

    pub(super) fn serialize<S: Serializer>(
        tables: &BTreeMap<TableId, TableState>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        tables
            .iter()
            .map(|(table, state)| Written { table, state })
            .collect::<Vec<_>>()
            .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<TableId, TableState>, D::Error> {
        Ok(Vec::<Read>::deserialize(deserializer)?
            .into_iter()
            .map(|read| (read.table, read.state))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::BinlogCoord;

    fn chunk(lower: Option<&str>, upper: Option<&str>) -> Chunk {
        let bound = |text: &str| Bound(vec![text.to_owned()]);
        Chunk {
            lower: lower.map(bound),
            upper: upper.map(bound),
        }
    }

    #[test]
    fn a_snapshot_is_done_when_every_planned_chunk_is_acknowledged_in_any_order() {
        let low = TxnStart {
            epoch: Epoch(1),
            coord: BinlogCoord::file_start(1),
        };
        let mut state = SnapshotState::new(low, None);
        let (first, last) = (chunk(None, Some("5")), chunk(Some("5"), None));
        state.planned(first.clone());
        state.planned(last.clone());
        assert_eq!(state.planned_to, Some(Bound(vec!["5".to_owned()])));
        state.acknowledged(&last, 2);
        assert!(!state.is_done());
        state.acknowledged(&first, 5);
        state.acknowledged(&first, 5);
        assert!(state.is_done());
        assert_eq!((state.rows, state.chunks), (7, 2));
    }

    /// After a restart the log is read again from before the places that a state speaks of.
    #[test]
    fn a_copy_begins_above_what_was_copied_changed_or_is_to_be_swept() {
        let at = |offset| TxnStart {
            epoch: Epoch(1),
            coord: BinlogCoord { file: 1, offset },
        };
        let layout = TableLayout {
            table: TableId::new("shop", "orders"),
            columns: Vec::new(),
        };
        let cause = "a column came".to_owned();
        let state = TableState::new(layout, at(1000), Phase::Refill { cause });
        assert_eq!(state.low_at(at(999)), None, "not followed yet");
        assert_eq!(state.low_at(at(1000)), Some(at(997)));
        let copied = |low: u64| TableState {
            copied: Some(at(low)),
            ..state.clone()
        };
        assert_eq!(copied(1997).low_at(at(1500)), None, "older than the copy before");
        assert_eq!(
            copied(1997).low_at(at(2000)),
            Some(at(1998)),
            "the second one here"
        );
        assert_eq!(copied(2000).low_at(at(2000)), None, "no number is left here");
        assert_eq!(copied(1997).low_at(at(3000)), Some(at(2997)));
        let swept = TableState {
            sweep: Some(at(2000)),
            ..state.clone()
        };
        assert_eq!(swept.low_at(at(2000)), None, "its rows would be swept");
        assert_eq!(swept.low_at(at(2003)), Some(at(2000)));
        let mut changed = state;
        changed.columns.since = Some(at(2000));
        assert_eq!(
            changed.low_at(at(1999)),
            None,
            "rows of the old columns would come after it"
        );
        assert_eq!(changed.low_at(at(2000)), Some(at(1997)));
    }
}
