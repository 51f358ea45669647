//! Opens the log at a position. Coordinates mean something only in one lineage of log files: that the
//! server's log is the one that a position was taken in is proven by its content (the last event that
//! was read is still there, byte for byte), never by a server's name. Where it cannot be proven, but
//! nothing is missing (GTIDs), the epoch rises, so that every later row outranks every earlier one.

use std::sync::Arc;

use mysql_common::packets::{GnoInterval, Sid, Tag};

use super::assemble::{Assembler, Out};
use super::error::StreamError;
use super::raw::kind;
use super::reader_id::ReaderId;
use super::{BinlogItems, HEARTBEAT, read_event, refused};
use crate::clock::Clock;
use crate::event::{BinlogCoord, DomainPosition, Epoch, GtidSet, Item, LogPosition, TableId, TxnStart};
use crate::source::mysql::catalog::CatalogTable;
use crate::source::mysql::connect::Connector;
use crate::source::mysql::domains::read_domains_at;
use crate::source::mysql::dump::{Begin, Dump, Request};
use crate::source::mysql::error::MysqlError;
use crate::source::mysql::lexer::Dialect;
use crate::source::mysql::server::{Flavour, LogFile, ServerInfo, read_end};

/// What opening needs.
#[derive(Debug)]
pub struct Opener<'a> {
    /// The way to the server.
    pub connector: &'a Connector,
    /// Time.
    pub clock: &'a Clock,
    /// The reader's id among replicas.
    pub reader_id: Arc<ReaderId>,
    /// Captured tables as the catalog has them.
    pub catalog: Vec<CatalogTable>,
    /// Tables that are followed.
    pub known: Vec<TableId>,
}

/// Where a dump begins.
#[derive(Debug)]
pub(super) enum Start {
    Gtids(GtidSet),
    Domains(DomainPosition),
    File(String, u32),
}

impl Opener<'_> {
    /// Opens the log at `from`, or at the present; `last` is the highest epoch that was ever durable.
    ///
    /// # Errors
    /// [`StreamError::Lost`] and [`StreamError::Errant`] if the log does not continue what was read.
    pub async fn open(
        self,
        from: Option<LogPosition>,
        last: Epoch,
    ) -> Result<(LogPosition, BinlogItems), StreamError> {
        let mut conn = self.connector.connect_query().await?;
        let info = ServerInfo::read(&mut conn).await?;
        let (mut position, start) = match from {
            None => self.present(&info, last)?,
            Some(from) => self.resume(&info, from, last).await?,
        };
        if let (Flavour::MariaDb, None, Start::File(name, offset)) = (info.flavour, &position.domains, &start)
        {
            let place = LogFile {
                name: name.clone(),
                bytes: u64::from(*offset),
            };
            position.domains = read_domains_at(&mut conn, &place).await?;
        }
        drop(conn);
        tracing::info!(start = %describe(&start), epoch = position.next.epoch.0, "opening the binlog");
        let dumps = self.dumps(&info);
        let stream = dumps.begin(&start, false).await?;
        let patterns = self.connector.source().tables.clone();
        let mut assembler = Assembler::new(
            position.next.epoch,
            patterns,
            Dialect::of(&info),
            (self.catalog, self.known),
            info.gtid_purged.clone().unwrap_or_default(),
        );
        assembler.resume(&position.prepared);
        let opened_to = coord(info.current.as_ref()).unwrap_or_else(|| BinlogCoord::file_start(0));
        let end = (info.end_statement(), opened_to);
        let mut items = BinlogItems::new(stream, assembler, dumps, self.clock.clone(), end);
        // The first events name the file: the position comes back in the coordinates of this log.
        while items.step().await? != kind::FORMAT_DESCRIPTION {}
        for out in items.out.drain(..) {
            if let Out::Item(Item::Commit(point)) = out {
                position.pass(&point);
            }
        }
        Ok((position, items))
    }

    fn dumps(&self, info: &ServerInfo) -> Dumps {
        Dumps {
            connector: self.connector.clone(),
            flavour: info.flavour,
            hidden_cascades: info.hidden_cascades,
            reader_id: Arc::clone(&self.reader_id),
        }
    }

    /// The present end of the log.
    fn present(&self, info: &ServerInfo, last: Epoch) -> Result<(LogPosition, Start), StreamError> {
        let epoch = last.next(self.clock.unix_seconds());
        let position = |coord: BinlogCoord, gtids: Option<GtidSet>, name: &str| LogPosition {
            server: identity(info).into(),
            file_name: name.into(),
            file_born: 0,
            next: TxnStart { epoch, coord },
            gtids,
            domains: None,
            last_event: None,
            prepared: Vec::new(),
            streams: Vec::new(),
        };
        if let Some(executed) = &info.gtid_executed {
            let start = Start::Gtids(executed.clone());
            return Ok((
                position(BinlogCoord::file_start(0), Some(executed.clone()), ""),
                start,
            ));
        }
        let current = info
            .current
            .as_ref()
            .ok_or_else(|| lost("the server shows no binlog position"))?;
        let file =
            super::raw::suffix(&current.name).ok_or_else(|| lost("the binlog's file name has no number"))?;
        let offset =
            u32::try_from(current.bytes).map_err(|_| lost("the current binlog file is larger than 4 GiB, beyond which no reader without GTIDs can begin; it passes with the next file, or with FLUSH BINARY LOGS"))?;
        let coord = BinlogCoord {
            file,
            offset: current.bytes,
        };
        Ok((
            position(coord, None, &current.name),
            Start::File(current.name.clone(), offset),
        ))
    }

    async fn resume(
        &self,
        info: &ServerInfo,
        mut from: LogPosition,
        last: Epoch,
    ) -> Result<(LogPosition, Start), StreamError> {
        // Beyond 4 GiB no dump can begin, and one by GTIDs shows the place modulo that: another numbering.
        let offset = u32::try_from(from.next.coord.offset).ok();
        let proven = offset.is_some() && self.prove(info, &from).await?;
        // Opened by GTIDs, a position names the file of what comes next, and the very place only once
        // something came.
        let exact = from.gtids.is_none() || from.last_event.is_some();
        let start = match offset {
            Some(offset) if proven && exact => Start::File(from.file_name.to_string(), offset),
            Some(_) | None => elsewhere(info, &from, proven)?,
        };
        // A position of an older epoch than rows already carry is not gone on with in it, proven or not.
        if !proven || from.next.epoch < last {
            let epoch = last.max(from.next.epoch).next(self.clock.unix_seconds());
            tracing::warn!(
                epoch = epoch.0,
                "another log than the one read so far: numbering rows in a new epoch"
            );
            from.next.epoch = epoch;
        }
        if !proven {
            // Nor do places of the old log say anything of the new one.
            from.next.coord = BinlogCoord::file_start(0);
            // What proved the old log must not prove it again under the new epoch.
            (from.last_event, from.file_born) = (None, 0);
        }
        from.server = identity(info).into();
        Ok((from, start))
    }

    /// Whether the server's log holds what was read last.
    async fn prove(&self, info: &ServerInfo, from: &LogPosition) -> Result<bool, StreamError> {
        let Some((base, _)) = from.file_name.rsplit_once('.') else {
            return Ok(false);
        };
        let (name, at) = match &from.last_event {
            Some(event) => (format!("{base}.{:06}", event.start.file), event.start.offset),
            None => (from.file_name.to_string(), 4),
        };
        let Ok(offset) = u32::try_from(at) else {
            return Ok(false);
        };
        if !info.logs.iter().any(|file| file.name == name && file.bytes >= at) {
            return Ok(false);
        }
        let mut stream = self.dumps(info).begin(&Start::File(name, offset), true).await?;
        loop {
            let event = match read_event(&mut stream, self.clock).await {
                Ok(event) => event,
                Err(StreamError::Ended | StreamError::Refused { .. }) => return Ok(false),
                // Bytes amid an event parse as nonsense.
                Err(StreamError::Server(MysqlError::Protocol(_))) => return Ok(false),
                Err(error) => return Err(error),
            };
            match (&from.last_event, event.kind()) {
                (_, kind::ROTATE | kind::HEARTBEAT | kind::HEARTBEAT_V2) => {}
                (None, kind::FORMAT_DESCRIPTION) => return Ok(event.timestamp() == from.file_born),
                (Some(_), kind::FORMAT_DESCRIPTION) => {}
                (Some(last), _) => return Ok(event.crc() == last.crc),
                (None, _) => return Ok(false),
            }
        }
    }
}

/// The end of the log that a server writes now; `None` where it does not say.
///
/// # Errors
/// The server cannot be asked.
pub(super) async fn end(
    conn: &mut mysql_async::Conn,
    statement: &'static str,
) -> Result<Option<BinlogCoord>, MysqlError> {
    Ok(coord(read_end(conn, statement).await?.as_ref()))
}

fn coord(current: Option<&LogFile>) -> Option<BinlogCoord> {
    let current = current?;
    let file = super::raw::suffix(&current.name)?;
    Some(BinlogCoord {
        file,
        offset: current.bytes,
    })
}

/// Begins dumps of one server's log.
#[derive(Debug, Clone)]
pub(super) struct Dumps {
    pub(super) connector: Connector,
    pub(super) flavour: Flavour,
    /// Whether foreign keys change rows of which the log does not tell.
    pub(super) hidden_cascades: bool,
    pub(super) reader_id: Arc<ReaderId>,
}

impl Dumps {
    /// A dump from `start`; one that is `aside` of the reader's own ends at the end of the log.
    pub(super) async fn begin(&self, start: &Start, aside: bool) -> Result<Dump, StreamError> {
        let request = Request {
            // It must not push the reader itself out: a server has one reader for each id.
            server_id: match aside {
                true => self.reader_id.probe(),
                false => self.reader_id.get(),
            },
            to_the_end: aside,
            from: match start {
                Start::File(name, offset) => Begin::File(name, *offset),
                Start::Gtids(set) => Begin::Gtids(sids(set)),
                // Where it goes on is said in the session: the place is the first of a file's.
                Start::Domains(_) => Begin::File("", 4),
            },
        };
        let mut session = session(self.flavour);
        if let Start::Domains(position) = start {
            // Strict: a log that goes on behind a hole where the position should be is another one.
            session.push(format!(
                "SET @slave_connect_state = '{position}', @slave_gtid_strict_mode = 1, @slave_gtid_ignore_duplicates = 0"
            ));
        }
        Dump::begin(&self.connector, &session, request)
            .await
            .map_err(refused)
    }
}

/// How a log goes on that is not at the place where it was read.
fn elsewhere(info: &ServerInfo, from: &LogPosition, proven: bool) -> Result<Start, StreamError> {
    let (Some(ours), Some(theirs)) = (&from.domains, &info.domains) else {
        return by_gtids(info, from, proven).map(Start::Gtids);
    };
    let missing = theirs.lacks(ours);
    if !proven && !missing.is_empty() {
        return Err(StreamError::Errant {
            gtids: missing.to_string(),
            // A server_id names no server for good: it may be a replica that is behind.
            reset: false,
        });
    }
    Ok(Start::Domains(ours.clone()))
}

/// What was read, as a set by which another log than the one that it was read from can go on.
fn by_gtids(info: &ServerInfo, from: &LogPosition, proven: bool) -> Result<GtidSet, StreamError> {
    let Some(ours) = &from.gtids else {
        return Err(lost(&format!(
            "the binlog does not hold {from} as it was read; the server has {}",
            files(info)
        )));
    };
    let (Some(executed), Some(purged)) = (&info.gtid_executed, &info.gtid_purged) else {
        return Err(lost(&format!(
            "the binlog does not hold {from} as it was read, and gtid_mode is {}, not ON, so GTIDs cannot tell what follows",
            info.gtid_mode
        )));
    };
    // A transaction is in the log before it is in gtid_executed: a log that is proven to hold the
    // last one is not behind, however gtid_executed looks.
    if !proven && !ours.is_subset(executed) {
        return Err(StreamError::Errant {
            gtids: ours.subtract(executed).to_string(),
            reset: *from.server == *identity(info),
        });
    }
    if !purged.is_subset(ours) {
        let missing = purged.subtract(ours);
        return Err(lost(&format!(
            "the server purged transactions that were not copied: {missing}"
        )));
    }
    Ok(ours.clone())
}

/// What the dump thread reads from the session: checksums as they are in the file, a sign of life
/// when there is nothing to send, and, for MariaDB, GTID events instead of what very old readers know.
fn session(flavour: Flavour) -> Vec<String> {
    let period = HEARTBEAT.as_nanos();
    let mut statements = vec![
        "SET SESSION net_write_timeout = 3600, SESSION net_read_timeout = 3600".to_owned(),
        "SET @master_binlog_checksum = @@GLOBAL.binlog_checksum, @source_binlog_checksum = @@GLOBAL.binlog_checksum"
            .to_owned(),
        format!("SET @master_heartbeat_period = {period}, @source_heartbeat_period = {period}"),
    ];
    if flavour == Flavour::MariaDb {
        statements.push("SET @mariadb_slave_capability = 4".to_owned());
    }
    statements
}

fn sids(set: &GtidSet) -> Vec<Sid<'static>> {
    set.sources()
        .map(|(source, intervals)| {
            let intervals = intervals
                .iter()
                .map(|interval| GnoInterval::new(interval.start, interval.end))
                .collect();
            let sid = Sid::new(source.uuid.to_be_bytes()).with_intervals(intervals);
            // The tag came from a server or a parser that admits nothing else.
            match Tag::new(source.tag.to_string()) {
                Ok(tag) if !source.tag.is_empty() => sid.with_tag(tag),
                _ => sid,
            }
        })
        .collect()
}

/// Names the server in messages and in the checkpoint, and tells it from others; proves nothing about its log.
pub(in crate::source::mysql) fn identity(info: &ServerInfo) -> String {
    info.server_uuid
        .clone()
        .unwrap_or_else(|| format!("server_id {}", info.server_id))
}

fn describe(start: &Start) -> String {
    match start {
        Start::Gtids(set) => format!("after {set}"),
        Start::Domains(position) => format!("after {position}"),
        Start::File(name, offset) => format!("{name}:{offset}"),
    }
}

fn files(info: &ServerInfo) -> String {
    match (info.logs.first(), info.logs.last()) {
        (Some(first), Some(last)) => format!("{} to {}:{}", first.name, last.name, last.bytes),
        _ => "no binlog files".to_owned(),
    }
}

fn lost(reason: &str) -> StreamError {
    StreamError::Lost {
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_go_to_the_server_with_their_tags() {
        let text = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7:tag_a:9";
        let set: GtidSet = text.parse().unwrap();
        let sids = sids(&set);
        assert_eq!(sids.len(), 2);
        let intervals: Vec<(u64, u64)> = sids[0]
            .intervals()
            .iter()
            .map(|interval| (interval.start(), interval.end()))
            .collect();
        assert_eq!(intervals, [(1, 6), (7, 8)]);
        assert!(sids[1].to_string().contains("tag_a"));
    }
}
