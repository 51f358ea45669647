//! From events to items. Pure: takes one event at a time and says what it means; everything that the
//! meaning depends on (file, transaction, table maps, compressed payload) is kept here and nowhere else.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use super::error::StreamError;
use super::raw::{self, FLAG_ARTIFICIAL, FLAG_IGNORABLE, RawEvent, kind};
use super::xa::{Held, Replay, Undecided};
use crate::config::TablePatterns;
use crate::event::{
    AlterSaid, BinlogCoord, BreakCause, CommitPoint, Epoch, GlobalId, GtidSet, Item, LastEvent, TableId,
    TxnStart,
};
use crate::source::mysql::catalog::CatalogTable;
use crate::source::mysql::decoder::Decoder;
use crate::source::mysql::lexer::Dialect;
use crate::source::mysql::server::LogFile;

/// What an event means.
#[derive(Debug)]
pub enum Out {
    /// For the pipeline.
    Item(Item),
    /// A statement made or altered a captured table: what its columns are, the catalog tells.
    Altered(Altered),
    /// The rows of an XA transaction are due, and are not at hand: they stand in the log.
    Replay(Replay),
}

/// A table that a statement made or altered.
#[derive(Debug)]
pub struct Altered {
    /// Which.
    pub table: TableId,
    /// What the statement said of its columns; `None`: it made the table, or gave it this name.
    pub said: Option<AlterSaid>,
    /// The transaction.
    pub at: TxnStart,
    /// Its identifier, if it has one.
    pub gtid: Option<GlobalId>,
    /// The statement.
    pub statement: Arc<str>,
}

/// Where rows of a table map go.
#[derive(Debug, Clone)]
pub(super) enum Target {
    Ignored,
    Captured(Arc<Decoder>),
    /// Captured, and its columns cannot be told: rows break the table.
    Unclear(TableId, BreakCause),
}

#[derive(Debug)]
pub(super) struct Mapped {
    pub(super) map: Bytes,
    pub(super) target: Target,
}

/// The transaction being read.
#[derive(Debug)]
pub(super) struct Txn {
    pub(super) start: TxnStart,
    pub(super) gtid: Option<GlobalId>,
    pub(super) committed_micros: Option<i64>,
    /// Ordinal of the next row image.
    pub(super) next_ordinal: u64,
    /// Whether a COMMIT, ROLLBACK or XID will end it; else its one statement does.
    pub(super) begun: bool,
    /// Of an XA transaction: what it did, until the log tells what became of it.
    pub(super) held: Option<Held>,
    pub(super) touched: BTreeSet<TableId>,
}

/// The state between events.
#[derive(Debug)]
pub struct Assembler {
    pub(super) epoch: Epoch,
    pub(super) file: Arc<str>,
    pub(super) file_number: u64,
    born: u32,
    /// End of the last event, 64 bit.
    cursor: u64,
    next: BinlogCoord,
    pub(super) txn: Option<Txn>,
    pub(super) maps: HashMap<u64, Mapped, foldhash::fast::RandomState>,
    pub(super) by_table: HashMap<TableId, Mapped>,
    /// Bytes of a compressed transaction that are still to come.
    payload: u64,
    /// The event that holds it.
    payload_event: Option<LastEvent>,
    /// Whether the event at hand is part of one.
    inside: bool,
    /// What was no longer in the log when it was opened.
    pub(super) purged: GtidSet,
    pub(super) patterns: TablePatterns,
    pub(super) dialect: Dialect,
    /// Every table that is or may be followed.
    pub(super) captured: BTreeSet<TableId>,
    /// Captured tables as the catalog has them, for servers without full row metadata.
    pub(super) catalog: HashMap<TableId, CatalogTable>,
    pub(super) undecided: Undecided,
    /// The transaction that this reader reads again, where it was made for that.
    pub(super) replaying: Option<Replay>,
}

impl Assembler {
    /// A reader that knows nothing of the log yet.
    pub fn new(
        epoch: Epoch,
        patterns: TablePatterns,
        dialect: Dialect,
        (catalog, known): (Vec<CatalogTable>, Vec<TableId>),
        purged: GtidSet,
    ) -> Assembler {
        Assembler {
            epoch,
            file: Arc::from(""),
            file_number: 0,
            born: 0,
            cursor: 4,
            next: BinlogCoord::file_start(0),
            txn: None,
            maps: HashMap::default(),
            by_table: HashMap::new(),
            payload: 0,
            payload_event: None,
            inside: false,
            purged,
            patterns,
            dialect,
            captured: known
                .into_iter()
                .chain(catalog.iter().map(|table| table.id.clone()))
                .collect(),
            catalog: catalog
                .into_iter()
                .map(|table| (table.id.clone(), table))
                .collect(),
            undecided: Undecided::default(),
            replaying: None,
        }
    }

    /// Replaces what is known of a table's columns, after the catalog was read again.
    pub fn learn(&mut self, table: CatalogTable) {
        self.by_table.remove(&table.id);
        self.maps.clear();
        self.catalog.insert(table.id.clone(), table);
    }

    /// Whether the next event is part of a compressed transaction.
    pub fn in_payload(&self) -> bool {
        self.payload > 0
    }

    /// Where the event just read ends, for messages.
    pub fn place(&self) -> BinlogCoord {
        BinlogCoord {
            file: self.file_number,
            offset: self.cursor,
        }
    }

    /// The file being read, and how much of it was.
    pub fn end(&self) -> LogFile {
        LogFile {
            name: self.file.to_string(),
            bytes: self.cursor,
        }
    }

    pub(super) fn malformed(&self, event: u8, reason: impl Into<String>) -> StreamError {
        StreamError::Malformed {
            kind: event,
            at: self.place(),
            reason: reason.into(),
        }
    }

    /// Takes an event and appends what it means.
    ///
    /// # Errors
    /// What makes it unsafe to read on.
    pub fn event(&mut self, event: &RawEvent, out: &mut Vec<Out>) -> Result<(), StreamError> {
        self.inside = self.payload > 0;
        if self.inside {
            self.inflate(event)?;
        } else if event.end != 0
            && event.flags & FLAG_ARTIFICIAL == 0
            && event.kind != kind::FORMAT_DESCRIPTION
        {
            self.advance(event);
        }
        match event.kind {
            kind::TABLE_MAP => self.table_map(event),
            kind::WRITE_ROWS_V1..=kind::DELETE_ROWS_V1
            | kind::WRITE_ROWS..=kind::DELETE_ROWS
            | kind::MARIADB_WRITE_ROWS_COMPRESSED_V1..=kind::MARIADB_DELETE_ROWS_COMPRESSED => {
                self.rows(event, out)
            }
            kind::PARTIAL_UPDATE_ROWS => self.partial_rows(event, out),
            kind::XID => self.commit(event, out),
            kind::XA_PREPARE => self.xa_prepare(event, out),
            kind::QUERY | kind::MARIADB_QUERY_COMPRESSED => self.query(event, out),
            kind::GTID | kind::GTID_TAGGED | kind::ANONYMOUS_GTID => {
                let parsed = event.gtid.clone();
                let (gtid, micros) = parsed.ok_or_else(|| self.malformed(event.kind, "it does not parse"))?;
                self.begin(event, gtid, micros, false)
            }
            kind::MARIADB_GTID => {
                let group =
                    raw::mariadb_group(&event.body).ok_or_else(|| self.malformed(event.kind, "too short"))?;
                let gtid = event.gtid.clone().and_then(|(gtid, _)| gtid);
                self.begin(event, gtid, 0, !group.standalone)?;
                if group.prepared {
                    self.xa_start(event)
                } else {
                    Ok(())
                }
            }
            kind::TRANSACTION_PAYLOAD => self.compressed(event),
            kind::ROTATE => self.rotate(event),
            kind::FORMAT_DESCRIPTION => self.format_description(event, out),
            kind::HEARTBEAT | kind::HEARTBEAT_V2 => {
                self.quiet(out);
                Ok(())
            }
            kind::PREVIOUS_GTIDS => {
                self.previous_gtids(event, out);
                Ok(())
            }
            kind::INCIDENT => Err(StreamError::Incident { at: self.place() }),
            kind::STOP
            | kind::INTVAR
            | kind::RAND
            | kind::USER_VAR
            | kind::IGNORABLE
            | kind::ROWS_QUERY
            | kind::TRANSACTION_CONTEXT
            | kind::VIEW_CHANGE
            | kind::MARIADB_ANNOTATE
            | kind::MARIADB_CHECKPOINT
            | kind::MARIADB_GTID_LIST
            | kind::MARIADB_START_ENCRYPTION => Ok(()),
            _ if event.flags & FLAG_IGNORABLE != 0 => Ok(()),
            unknown => Err(StreamError::Unknown {
                kind: unknown,
                at: self.place(),
            }),
        }
    }

    /// Announces a compressed transaction.
    fn compressed(&mut self, event: &RawEvent) -> Result<(), StreamError> {
        self.payload = event
            .payload
            .ok_or_else(|| self.malformed(event.kind, "its header does not parse"))?;
        let offset = self.cursor.saturating_sub(u64::from(event.size));
        let start = BinlogCoord {
            file: self.file_number,
            offset,
        };
        self.payload_event = Some(LastEvent {
            start,
            crc: event.crc,
        });
        Ok(())
    }

    /// Counts down a compressed transaction. What comes is counted against what was promised.
    fn inflate(&mut self, event: &RawEvent) -> Result<(), StreamError> {
        let outside = matches!(
            event.kind,
            kind::ROTATE
                | kind::FORMAT_DESCRIPTION
                | kind::GTID
                | kind::GTID_TAGGED
                | kind::ANONYMOUS_GTID
                | kind::HEARTBEAT
                | kind::HEARTBEAT_V2
                | kind::TRANSACTION_PAYLOAD
        );
        match self.payload.checked_sub(u64::from(event.size)) {
            Some(left) if !outside => {
                self.payload = left;
                Ok(())
            }
            _ => Err(self.malformed(
                kind::TRANSACTION_PAYLOAD,
                "it was not inflated to its announced size",
            )),
        }
    }

    /// Moves the cursor past an event of a file. Header offsets have 32 bits; events come in the order of the
    /// file, so a smaller one has wrapped. A heartbeat tells a place that was reached, never a later one.
    fn advance(&mut self, event: &RawEvent) {
        let place = (self.cursor & !u64::from(u32::MAX)) | u64::from(event.end);
        let heartbeat = matches!(event.kind, kind::HEARTBEAT | kind::HEARTBEAT_V2);
        if place >= self.cursor {
            self.cursor = place;
        } else if !heartbeat {
            self.cursor = place + (1 << 32);
        }
    }

    fn begin(
        &mut self,
        event: &RawEvent,
        gtid: Option<GlobalId>,
        micros: u64,
        begun: bool,
    ) -> Result<(), StreamError> {
        if let Some(open) = &self.txn {
            return Err(StreamError::Cut {
                start: open.start.coord,
            });
        }
        let offset = self
            .cursor
            .checked_sub(u64::from(event.size))
            .ok_or_else(|| self.malformed(event.kind, "its size exceeds its position"))?;
        let coord = BinlogCoord {
            file: self.file_number,
            offset,
        };
        let start = TxnStart {
            epoch: self.epoch,
            coord,
        };
        let micros = i64::try_from(micros).ok().filter(|micros| *micros > 0);
        // Rows that are read again are numbered by the commit that made them so.
        let (start, committed_micros) = match &self.replaying {
            Some(replay) => (replay.at, Some(replay.committed_micros)),
            None => (start, micros),
        };
        self.txn = Some(Txn {
            start,
            gtid,
            committed_micros,
            next_ordinal: 1,
            begun,
            held: None,
            touched: BTreeSet::new(),
        });
        Ok(())
    }

    /// The transaction that an event belongs to. Servers without GTID events (MariaDB with an old
    /// capability, MySQL 5.6) begin one by the statement itself.
    pub(super) fn open_txn(&mut self, event: &RawEvent) -> Result<&mut Txn, StreamError> {
        if self.txn.is_none() {
            self.begin(event, None, 0, false)?;
        }
        let place = self.place();
        self.txn.as_mut().ok_or(StreamError::Cut { start: place })
    }

    /// Ends the transaction, if one is open.
    pub(super) fn commit(&mut self, event: &RawEvent, out: &mut Vec<Out>) -> Result<(), StreamError> {
        let txn = self.txn.take();
        let place = self.place();
        let start = place.offset.saturating_sub(u64::from(event.size));
        let coord = BinlogCoord {
            file: self.file_number,
            offset: start,
        };
        let seconds = i64::from(event.timestamp) * 1_000_000;
        let committed = txn
            .as_ref()
            .and_then(|txn| txn.committed_micros)
            .unwrap_or(seconds);
        let gtid = txn.and_then(|txn| txn.gtid);
        // A dump cannot begin beyond 4 GiB: the last place before stands for such a one, until the next file.
        let reachable = place.offset <= u64::from(u32::MAX);
        // In a compressed transaction the last event has no place in the file of its own: the whole stands for it.
        let last_event = match self.inside {
            _ if !reachable => None,
            true => self.payload_event,
            false => Some(LastEvent {
                start: coord,
                crc: event.crc,
            }),
        };
        if reachable {
            self.next = place;
        }
        let point = self.point(gtid, last_event, Some(committed));
        out.push(point);
        Ok(())
    }

    fn point(
        &mut self,
        gtid: Option<GlobalId>,
        last_event: Option<LastEvent>,
        committed_micros: Option<i64>,
    ) -> Out {
        Out::Item(Item::Commit(CommitPoint {
            next: TxnStart {
                epoch: self.epoch,
                coord: self.next,
            },
            file_name: Arc::clone(&self.file),
            gtid,
            file_born: self.born,
            last_event,
            committed_micros,
            xa: self.undecided.take_steps(),
            executed: None,
            streams: Vec::new(),
        }))
    }

    /// The log's own word for every transaction with a GTID in the files before. Those that were purged when
    /// the log was opened count as read: they lie before, or the log could not have been opened.
    fn previous_gtids(&mut self, event: &RawEvent, out: &mut Vec<Out>) {
        let Some(mut executed) = event.previous.clone() else {
            return;
        };
        executed.union(&self.purged);
        // Where no transaction has a GTID yet, the empty set would claim that nothing was read.
        if self.txn.is_none()
            && !executed.is_empty()
            && let Out::Item(Item::Commit(point)) = self.point(None, None, None)
        {
            out.push(Out::Item(Item::Commit(CommitPoint {
                executed: Some(executed),
                ..point
            })));
        }
    }

    /// Nothing new: the position stands, and so does the proof that the reader lives.
    fn quiet(&mut self, out: &mut Vec<Out>) {
        if self.txn.is_none() && self.file_number > 0 {
            let point = self.point(None, None, None);
            out.push(point);
        }
    }

    /// Goes on in another file; the position follows once the file's birth is known, which proves it later.
    fn rotate(&mut self, event: &RawEvent) -> Result<(), StreamError> {
        if let Some(open) = &self.txn {
            return Err(StreamError::Cut {
                start: open.start.coord,
            });
        }
        let (position, name) = raw::rotate(&event.body)
            .ok_or_else(|| self.malformed(event.kind, "its file name does not parse"))?;
        let number =
            raw::suffix(name).ok_or_else(|| self.malformed(event.kind, "its file name has no number"))?;
        if *name == *self.file {
            return Ok(());
        }
        self.file = Arc::from(name);
        self.file_number = number;
        self.born = 0;
        self.cursor = position;
        self.next = BinlogCoord {
            file: number,
            offset: position,
        };
        self.maps.clear();
        self.by_table.clear();
        Ok(())
    }

    fn format_description(&mut self, event: &RawEvent, out: &mut Vec<Out>) -> Result<(), StreamError> {
        if let Some(open) = &self.txn {
            return Err(StreamError::Cut {
                start: open.start.coord,
            });
        }
        // Event types changed their layout before version 4; the version is the first field.
        if raw::Fields(&event.body).uint(2) != Some(4) {
            return Err(self.malformed(event.kind, "the binlog has not version 4"));
        }
        self.born = event.timestamp;
        self.quiet(out);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
