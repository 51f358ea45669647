//! The binlog as a stream of items: [`open`] finds the place and proves that the log is the one it was
//! taken in, [`assemble`] says what each event means, and this shell reads events off the wire, checks
//! their sums and asks the catalog where a statement may have changed a table's columns. Rows of XA
//! transactions that are due and not at hand, `replay` reads again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use mysql_common::binlog::events::GtidEvent;
use mysql_common::packets::Tag;

pub mod assemble;
mod committed;
pub mod error;
#[cfg(test)]
mod golden;
pub mod open;
mod previous;
mod query;
mod quiet;
pub mod raw;
pub mod reader_id;
pub mod refusal;
mod replay;
mod tables;
mod xa;

use assemble::{Altered, Assembler, Out};
use error::StreamError;
use open::Dumps;
use quiet::Quiet;
use raw::{FLAG_ARTIFICIAL, RawEvent, kind};
use refusal::{ER_BINLOG, Refusal};
use replay::{Replaying, Waits};

use super::catalog_read::{Cascade, read_cascades, read_table};
use super::decoder::Decoder;
use super::dump::{Dump, Event, uncompressed_size};
use super::error::MysqlError;
use crate::clock::Clock;
use crate::event::{
    BinlogCoord, Break, BreakCause, Ddl, DdlWhat, GlobalId, Gtid, GtidSource, Item, Late, TableId,
};
use crate::fault::boxed;
use crate::source::{BoxFuture, ItemStream, SourceError};

/// How often an idle server shows life.
pub const HEARTBEAT: Duration = Duration::from_secs(5);
/// Silence after which the connection counts as dead.
const SILENCE: Duration = Duration::from_secs(30);

/// An open binlog stream.
pub struct BinlogItems {
    stream: Dump,
    assembler: Assembler,
    dumps: Dumps,
    clock: Clock,
    out: VecDeque<Out>,
    replay: Option<Replaying>,
    waits: Waits,
    quiet: Quiet,
    /// Shows where the log ends.
    end_statement: &'static str,
    /// Up to where the log may be in the columns that were read of a table.
    read_to: HashMap<TableId, BinlogCoord>,
    /// The log's end when it was opened.
    opened_to: BinlogCoord,
}

impl std::fmt::Debug for BinlogItems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BinlogItems")
            .field("assembler", &self.assembler)
            .finish_non_exhaustive()
    }
}

impl BinlogItems {
    fn new(
        stream: Dump,
        assembler: Assembler,
        dumps: Dumps,
        clock: Clock,
        (end_statement, opened_to): (&'static str, BinlogCoord),
    ) -> BinlogItems {
        BinlogItems {
            stream,
            assembler,
            quiet: Quiet::new(dumps.connector.clone(), clock.clone(), end_statement),
            dumps,
            clock,
            out: VecDeque::new(),
            replay: None,
            waits: Waits::default(),
            end_statement,
            read_to: HashMap::new(),
            opened_to,
        }
    }

    /// Reads one event and queues what it means. Returns the event's type.
    async fn step(&mut self) -> Result<u8, StreamError> {
        let event = read_event(&mut self.stream, &self.clock)
            .await
            .map_err(|error| self.displaced(error))?;
        let mut out = Vec::new();
        let event_kind = take(&mut self.assembler, &event, &mut out)?;
        self.out.extend(out);
        match event_kind {
            kind::HEARTBEAT | kind::HEARTBEAT_V2 => self.quiet.heartbeat(&self.assembler.end()).await?,
            _ => self.quiet.event(),
        }
        Ok(event_kind)
    }

    /// Gives way to another reader with the same id, where that can be done.
    fn displaced(&self, error: StreamError) -> StreamError {
        let StreamError::Refused {
            refusal: Refusal::SameId,
            ..
        } = &error
        else {
            return error;
        };
        StreamError::SameId {
            id: self.dumps.reader_id.get(),
            renewed: self.dumps.reader_id.renew(),
        }
    }

    async fn next_item(&mut self) -> Result<Item, StreamError> {
        loop {
            if let Some(replay) = &mut self.replay {
                if let Some(item) = replay.next(&self.clock).await? {
                    return Ok(item);
                }
                self.replay = None;
            }
            match self.out.pop_front() {
                Some(Out::Item(item)) => return Ok(item),
                Some(Out::Altered(altered)) => return self.altered(altered).await,
                Some(Out::Replay(due)) => {
                    let replay = Replaying::begin(&self.dumps, &self.assembler, due, &self.clock);
                    self.replay = Some(replay.await?);
                }
                None => {
                    self.step().await?;
                    self.waits.look(&self.assembler, &self.clock);
                }
            }
        }
    }

    /// What a table's columns are after a statement made or altered it. Whether they are others than those that
    /// flow, only the pipeline knows: the catalog may have been read after the statement already.
    async fn altered(&mut self, altered: Altered) -> Result<Item, StreamError> {
        let Altered {
            table,
            said,
            at,
            gtid,
            statement,
        } = altered;
        let late = match self.read_to.get(&table) {
            _ if said.as_ref().is_none_or(|said| !said.columns) => Late::No,
            Some(read_to) if at.coord < *read_to => Late::Yes,
            Some(_) => Late::No,
            None if at.coord < self.opened_to => Late::IfUnchanged,
            None => Late::No,
        };
        let mut conn = self.dumps.connector.connect_query().await?;
        committed::committed(&mut conn, &table, gtid.as_ref()).await?;
        let after = read_table(&mut conn, &table).await?;
        if self.dumps.hidden_cascades && after.is_some() {
            for cascade in read_cascades(&mut conn, &[&table]).await? {
                let cure = Cascade::CURE;
                tracing::warn!(%table, foreign_key = %cascade, cure, "rows that a foreign key changes by itself are not in the log");
            }
        }
        // What is in the log by now may be in those columns.
        if let Some(end) = open::end(&mut conn, self.end_statement).await? {
            self.read_to.insert(table.clone(), end);
        }
        // The connection's end needs no answer.
        drop(conn);
        let decoder = after.as_ref().map(Decoder::from_catalog);
        if let Some(after) = after {
            self.assembler.learn(after);
        }
        let what = match (said, decoder) {
            // What it has by then is read where it is opened.
            (None, _) => DdlWhat::Created,
            // By a later statement.
            (Some(_), None) => DdlWhat::Dropped,
            (Some(said), Some(decoder)) => match decoder {
                Ok(decoder) => DdlWhat::Altered {
                    layout: Arc::clone(decoder.layout()),
                    said,
                    late,
                },
                Err(error) => {
                    let cause = BreakCause::LayoutUnknown(error.to_string());
                    return Ok(Item::Break(Break { table, cause, at }));
                }
            },
        };
        Ok(Item::Ddl(Ddl {
            table,
            what,
            at,
            statement,
        }))
    }
}

impl ItemStream for BinlogItems {
    fn next(&mut self) -> BoxFuture<'_, Result<Item, SourceError>> {
        Box::pin(async { self.next_item().await.map_err(boxed) })
    }
}

/// Waits for the next event.
async fn read_event(stream: &mut Dump, clock: &Clock) -> Result<Event, StreamError> {
    let event = tokio::select! {
        biased;
        event = stream.next() => event,
        () = clock.sleep(SILENCE) => return Err(StreamError::Silent(SILENCE.as_secs())),
    };
    event.map_err(refused)?.ok_or(StreamError::Ended)
}

/// Tells what ends a dump by its text.
fn refused(error: MysqlError) -> StreamError {
    let MysqlError::Server(server) = &error else {
        return StreamError::Server(error);
    };
    if server.code != ER_BINLOG {
        return StreamError::Server(error);
    }
    StreamError::Refused {
        refusal: Refusal::of(&server.message),
        text: server.message.clone(),
    }
}

/// Checks an event's sum and hands it to the assembler.
pub(super) fn take(assembler: &mut Assembler, event: &Event, out: &mut Vec<Out>) -> Result<u8, StreamError> {
    let crc = event.crc();
    if event.sum().is_some_and(|sum| sum != crc) {
        return Err(StreamError::Checksum {
            at: assembler.place(),
        });
    }
    let mut raw = RawEvent {
        kind: event.kind(),
        timestamp: event.timestamp(),
        size: event.size(),
        end: event.end(),
        flags: event.flags(),
        body: event.body(),
        crc,
        gtid: None,
        previous: None,
        payload: None,
    };
    match raw.kind {
        kind::GTID | kind::GTID_TAGGED | kind::ANONYMOUS_GTID => raw.gtid = gtid(&raw),
        kind::MARIADB_GTID => {
            raw.gtid = raw::mariadb_gtid(event.server(), &raw.body).map(|gtid| (Some(gtid), 0));
        }
        kind::PREVIOUS_GTIDS => raw.previous = previous::parse(&raw.body),
        kind::TRANSACTION_PAYLOAD => raw.payload = uncompressed_size(&raw.body),
        kind::ROTATE if !event.summed() && raw.flags & FLAG_ARTIFICIAL != 0 => {
            raw.body = raw::without_unannounced_checksum(event.header(), &raw.body);
        }
        _ => {}
    }
    assembler.event(&raw, out)?;
    Ok(raw.kind)
}

/// The identifier and the commit time that a GTID event carries.
fn gtid(event: &RawEvent) -> Option<(Option<GlobalId>, u64)> {
    let parsed: GtidEvent = event.parsed()?;
    let micros = parsed.immediate_commit_timestamp();
    if event.kind == kind::ANONYMOUS_GTID {
        return Some((None, micros));
    }
    let gtid = Gtid {
        source: source(parsed.sid(), parsed.tag()),
        number: parsed.gno(),
    };
    Some((Some(GlobalId::Gtid(gtid)), micros))
}

fn source(uuid: [u8; 16], tag: Option<&Tag<'_>>) -> GtidSource {
    GtidSource {
        uuid: u128::from_be_bytes(uuid),
        tag: tag.map(Tag::as_str).unwrap_or_default().into(),
    }
}
