//! The vocabulary: what a source says and a sink hears. Pure data, no I/O, nothing of MySQL or
//! BigQuery beyond the forms that positions and values need.
//!
//! Order of reading: [`table`] (which table, which columns), [`value`] (one cell), [`row`] (images
//! that decode themselves into a visitor), [`order`] (the number that decides which row is newer),
//! [`gtid`], [`domain`], [`sequence`], [`shards`], [`position`] and [`xa`] (where a reader is), [`change`] (what
//! travels).

pub mod change;
pub mod chunk;
pub mod domain;
pub mod gtid;
pub mod order;
pub mod position;
pub mod row;
pub mod sequence;
pub mod shards;
pub mod table;
pub mod value;
pub mod xa;

pub use change::{
    AlterSaid, Break, BreakCause, Change, CommitPoint, Ddl, DdlWhat, Item, Late, Op, RowChanges,
};
pub use chunk::{Bound, Chunk, ReadAt};
pub use domain::{DomainGtid, DomainPosition, DomainState, GlobalId, Seen};
pub use gtid::{Gtid, GtidSet, GtidSource, Interval};
pub use order::{OrderKey, Ordinal};
pub use position::{BinlogCoord, Epoch, LastEvent, LogPosition, TxnStart};
pub use row::{CellVisitor, RowError, RowImages, RowRef};
pub use sequence::{SequenceError, SequenceNumber};
pub use shards::{ShardId, ShardMove, ShardPlace, StreamPlace, StreamStep};
pub use table::{Column, ColumnName, ColumnType, TableId, TableLayout};
pub use value::{CivilDate, CivilDateTime, Unrepresentable, Value};
pub use xa::{Prepared, XaStep, Xid};
