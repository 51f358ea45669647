//! A piece of a table's key range. Bounds are literals that the server rendered and that only the
//! server compares: the program never orders keys itself, because it does not know the collations.

use serde::{Deserialize, Serialize};

use super::position::TxnStart;

/// A key as the server's own SQL literals, one for each key column in key order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bound(pub Vec<String>);

/// The rows with `lower < key <= upper`; a side without a bound is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Exclusive; `None`: from the first key on.
    pub lower: Option<Bound>,
    /// Inclusive; `None`: to the last key.
    pub upper: Option<Bound>,
}

/// One read of a chunk: what its rows are numbered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadAt {
    /// The low watermark. Of a table without a primary key: exactly what the read saw, all that was committed
    /// before and nothing after.
    pub low: TxnStart,
    /// When it began, microseconds since 1970-01-01T00:00:00Z: tells two reads apart.
    pub began_micros: i64,
}
