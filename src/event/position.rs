//! Where a reader of a log is. Coordinates of two servers do not compare, so they never stand alone in
//! an order: [`TxnStart`] carries the epoch, which changes with the log's lineage.

use std::fmt;
use std::sync::Arc;

use super::domain::{DomainPosition, Seen};
use super::gtid::GtidSet;
use super::shards::StreamPlace;
use super::xa::Prepared;

use serde::{Deserialize, Serialize};

/// The generation of a log's lineage: `max(last + 1, Unix seconds)` whenever the coordinates of the
/// server may have begun anew. Durable before the first row that carries it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch after `self`: greater in any case, and readable as a time where the clock is sane.
    pub fn next(self, unix_seconds: u64) -> Epoch {
        Epoch(self.0.saturating_add(1).max(unix_seconds))
    }
}

/// A place in a server's binary log: the numeric suffix of the file and the byte offset in it, 64 bit
/// (the event header's 32 bits are unwrapped).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BinlogCoord {
    /// Numeric suffix of the file name: 1 for `binlog.000001`.
    pub file: u64,
    /// Byte offset; the first event of a file is at 4.
    pub offset: u64,
}

impl BinlogCoord {
    /// The first event of a file.
    pub fn file_start(file: u64) -> BinlogCoord {
        BinlogCoord { file, offset: 4 }
    }
}

impl fmt::Display for BinlogCoord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:06}:{}", self.file, self.offset)
    }
}

/// The start of a transaction (its GTID event) in a lineage: totally ordered, because epochs are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TxnStart {
    /// The lineage's epoch.
    pub epoch: Epoch,
    /// Where the transaction begins.
    pub coord: BinlogCoord,
}

impl TxnStart {
    /// Copies of one table that may begin at the same place of a log that stands still: their rows need numbers of
    /// their own, for the later ones to win. No transaction begins so shortly before another one: an event's
    /// header alone has 19 bytes (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_replication_binlog_event.html>),
    /// and a file begins with 4 that are no event.
    const COPIES: u64 = 3;

    /// The low watermark of a table's first copy that begins here: above every transaction that began before, below
    /// this one.
    #[must_use]
    pub fn first_low(self) -> TxnStart {
        TxnStart {
            coord: BinlogCoord {
                offset: self.coord.offset.saturating_sub(TxnStart::COPIES),
                ..self.coord
            },
            ..self
        }
    }

    /// The same above the copy `before`; `None` if there is none left, until the log moves.
    #[must_use]
    pub fn low_after(self, before: TxnStart) -> Option<TxnStart> {
        let first = self.first_low();
        if before < first {
            return Some(first);
        }
        let coord = BinlogCoord {
            offset: before.coord.offset.saturating_add(1),
            ..before.coord
        };
        let next = TxnStart { coord, ..before };
        (next > before && next <= self).then_some(next)
    }
}

/// The last event of a committed transaction, by which a later open proves that the log is the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastEvent {
    /// Where the event begins.
    pub start: BinlogCoord,
    /// CRC32 of its header and body.
    pub crc: u32,
}

/// A place in a log from which a reader can go on: between two transactions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPosition {
    /// Which server's log: `server_uuid`, or what stands for it where there is none.
    pub server: Arc<str>,
    /// Name of the file that `next` lies in; empty before any was seen.
    pub file_name: Arc<str>,
    /// The file's birth: timestamp of its FORMAT_DESCRIPTION event, Unix seconds; 0 if not seen.
    pub file_born: u32,
    /// Where the next transaction begins.
    pub next: TxnStart,
    /// Every transaction before, those that were purged long ago included; `None` without GTIDs.
    pub gtids: Option<GtidSet>,
    /// MariaDB: the last transaction before, of each domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domains: Option<DomainPosition>,
    /// The last committed transaction's last event, where one was read.
    pub last_event: Option<LastEvent>,
    /// XA transactions that were prepared before and neither committed nor rolled back yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prepared: Vec<Prepared>,
    /// How far DynamoDB's streams were read, of which `next` says the generation alone; empty for other logs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<StreamPlace>,
}

impl LogPosition {
    /// What a server must have executed to be past it; `None` without identifiers.
    pub fn seen(&self) -> Option<Seen> {
        match (&self.gtids, &self.domains) {
            (Some(set), _) => Some(Seen::Gtids(set.clone())),
            (None, Some(domains)) if !domains.is_empty() => Some(Seen::Domains(domains.clone())),
            (None, _) => None,
        }
    }
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.streams.is_empty() {
            return write!(f, "{}:{}", self.file_name, self.next.coord.offset);
        }
        let shards: usize = self.streams.iter().map(|stream| stream.shards.len()).sum();
        let streams = self.streams.len();
        write!(f, "{shards} shards of {streams} streams")
    }
}

impl fmt::Display for TxnStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.epoch.0, self.coord)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_at_one_place_have_numbers_of_their_own_until_there_are_none() {
        for offset in [4, 126, u64::MAX] {
            let at = TxnStart {
                epoch: Epoch(1),
                coord: BinlogCoord { file: 2, offset },
            };
            let mut low = at.first_low();
            for _ in 0..TxnStart::COPIES {
                let next = at.low_after(low).unwrap();
                assert!(low < next && next <= at);
                low = next;
            }
            assert_eq!(at.low_after(low), None);
            let later = TxnStart {
                coord: BinlogCoord::file_start(3),
                ..at
            };
            assert_eq!(later.low_after(low), Some(later.first_low()));
            assert_eq!(at.low_after(later), None);
        }
    }

    #[test]
    fn an_epoch_rises_even_when_the_clock_goes_back() {
        assert_eq!(Epoch(5).next(100), Epoch(100));
        assert_eq!(Epoch(200).next(100), Epoch(201));
    }

    /// What a version wrote loads for good, and is written the same.
    #[test]
    fn a_position_in_streams_is_kept_as_a_fixture() {
        let kept = std::fs::read_to_string("tests/fixtures/positions/dynamodb-1.json").unwrap();
        let read: LogPosition = serde_json::from_str(&kept).unwrap();
        assert_eq!(read.to_string(), "2 shards of 1 streams");
        let shards: Vec<_> = read.streams[0].shards.values().collect();
        assert!(shards[0].drained && shards[1].parent.is_some());
        assert_eq!(serde_json::to_string_pretty(&read).unwrap(), kept.trim_end());
    }
}
