//! Reads one prepared XA transaction again, on a connection beside the reader's own, and hands its rows on
//! as they come. Where its rows begin is known from when it was prepared; where it was prepared before
//! this replicator read the log, or in the log of another server, it is looked for, newest file first.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::assemble::{Assembler, Out};
use super::error::StreamError;
use super::open::{Dumps, Start};
use super::raw::{self, kind};
use super::refusal::Refusal;
use super::xa::{Replay, prepare_body};
use super::{read_event, take};
use crate::clock::Clock;
use crate::event::{BinlogCoord, Item, Xid};
use crate::source::mysql::dump::Dump;
use crate::source::mysql::server::ServerInfo;

/// A transaction that is being read again.
pub(super) struct Replaying {
    /// `None` once it is read, or where the log does not hold it any more.
    stream: Option<(Dump, Assembler)>,
    ready: VecDeque<Item>,
}

impl Replaying {
    /// Finds the transaction's rows in the log. `reader` is what reads the log at large.
    pub(super) async fn begin(
        dumps: &Dumps,
        reader: &Assembler,
        due: Replay,
        clock: &Clock,
    ) -> Result<Replaying, StreamError> {
        let found = match due.from {
            Some(from) => Some(from.coord),
            None => search(dumps, reader, &due, clock).await?,
        };
        let stream = match found {
            None => None,
            Some(coord) => at(dumps, reader, coord, clock).await?,
        };
        let Some(stream) = stream else {
            tracing::error!(xid = %due.xid, tables = due.tables.len(), "rows of a committed XA transaction are not in the log any more");
            return Ok(Replaying {
                stream: None,
                ready: Assembler::lost(&due).into(),
            });
        };
        tracing::info!(xid = %due.xid, from = ?found, "reading the rows of an XA transaction again");
        Ok(Replaying {
            stream: Some((stream, reader.replaying(due))),
            ready: VecDeque::new(),
        })
    }

    /// The next of its rows; `None` after the last.
    pub(super) async fn next(&mut self, clock: &Clock) -> Result<Option<Item>, StreamError> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Ok(Some(item));
            }
            let Some((stream, assembler)) = &mut self.stream else {
                return Ok(None);
            };
            let event = read_event(stream, clock).await?;
            let mut out = Vec::new();
            let event_kind = take(assembler, &event, &mut out)?;
            // Its end is told by the log itself, at the commit.
            self.ready.extend(out.into_iter().filter_map(|out| match out {
                Out::Item(item @ (Item::Rows(_) | Item::Break(_))) => Some(item),
                Out::Item(Item::Commit(_) | Item::Ddl(_)) | Out::Altered(..) | Out::Replay(_) => None,
            }));
            if event_kind == kind::XA_PREPARE {
                self.stream = None;
            }
        }
    }
}

fn file_name(reader: &Assembler, number: u64) -> Option<String> {
    let (base, _) = reader.file.rsplit_once('.')?;
    Some(format!("{base}.{number:06}"))
}

/// A dump that begins at a transaction; `None` if the server has the file no more.
async fn at(
    dumps: &Dumps,
    reader: &Assembler,
    coord: BinlogCoord,
    clock: &Clock,
) -> Result<Option<Dump>, StreamError> {
    let (Some(name), Ok(offset)) = (file_name(reader, coord.file), u32::try_from(coord.offset)) else {
        return Ok(None);
    };
    let mut stream = dumps.begin(&Start::File(name.clone(), offset), true).await?;
    // The server refuses at the first event.
    let error = match read_event(&mut stream, clock).await {
        Ok(_named) => return Ok(Some(stream)),
        Err(error) => error,
    };
    if let StreamError::Refused {
        refusal: Refusal::Gone | Refusal::Beyond,
        text,
    } = &error
    {
        tracing::warn!(
            reason = text,
            file = name,
            "log file of a prepared XA transaction is gone"
        );
        return Ok(None);
    }
    Err(error)
}

/// Looks for the rows of a transaction of which only the identifier is known.
async fn search(
    dumps: &Dumps,
    reader: &Assembler,
    due: &Replay,
    clock: &Clock,
) -> Result<Option<BinlogCoord>, StreamError> {
    let mut conn = dumps.connector.connect_query().await?;
    let info = ServerInfo::read(&mut conn).await?;
    drop(conn);
    for log in info.logs.iter().rev() {
        let number = raw::suffix(&log.name);
        let Some(file) = number.filter(|number| *number <= due.at.coord.file) else {
            continue;
        };
        tracing::info!(xid = %due.xid, file = log.name, "looking for a prepared XA transaction in the log");
        let Some(stream) = at(dumps, reader, BinlogCoord::file_start(file), clock).await? else {
            return Ok(None);
        };
        if let Some(found) = in_file(stream, file, due, clock).await? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The last place in a file, before the commit, where a transaction of this identifier was prepared.
async fn in_file(
    mut stream: Dump,
    file: u64,
    due: &Replay,
    clock: &Clock,
) -> Result<Option<BinlogCoord>, StreamError> {
    let (mut found, mut start) = (None, 4);
    loop {
        let event = match read_event(&mut stream, clock).await {
            Ok(event) => event,
            Err(StreamError::Ended) => return Ok(found),
            Err(error) => return Err(error),
        };
        match event.kind() {
            // The first one, which names the file, was read already.
            kind::ROTATE => return Ok(found),
            kind::GTID | kind::GTID_TAGGED | kind::ANONYMOUS_GTID | kind::MARIADB_GTID => {
                start = u64::from(event.end()).saturating_sub(u64::from(event.size()));
                let coord = BinlogCoord { file, offset: start };
                if coord >= due.at.coord {
                    return Ok(found);
                }
            }
            kind::XA_PREPARE if is(&due.xid, &event.body()) => {
                found = Some(BinlogCoord { file, offset: start });
            }
            _ => {}
        }
    }
}

fn is(xid: &Xid, body: &[u8]) -> bool {
    prepare_body(body).is_some_and(|(one_phase, found)| !one_phase && found == *xid)
}

/// How often what stays prepared is looked at.
const LOOK: Duration = Duration::from_secs(60);
/// How long a transaction may stay prepared before it is worth a warning.
const LONG_SECONDS: u64 = 600;

/// Watches how long transactions stay prepared: the log must keep their rows as long.
#[derive(Debug, Default)]
pub(super) struct Waits {
    looked: Option<Instant>,
}

impl Waits {
    /// Counts what is prepared, and warns of what has been for long.
    pub(super) fn look(&mut self, assembler: &Assembler, clock: &Clock) {
        let now = clock.now();
        if self
            .looked
            .is_some_and(|looked| now.saturating_duration_since(looked) < LOOK)
        {
            return;
        }
        self.looked = Some(now);
        let (mut count, mut oldest) = (0_u32, 0);
        for one in assembler.undecided() {
            let age = clock.unix_seconds().saturating_sub(u64::from(one.since));
            (count, oldest) = (count.saturating_add(1), age.max(oldest));
            if age >= LONG_SECONDS {
                tracing::warn!(
                    xid = %one.xid, at = %one.at, age_seconds = age,
                    cure = "commit it or roll it back (XA RECOVER shows it); until then keep the log file that holds its rows",
                    "XA transaction is prepared for long"
                );
            }
        }
        metrics::gauge!("replicator_xa_prepared").set(f64::from(count));
        metrics::gauge!("replicator_xa_prepared_oldest_seconds")
            .set(Duration::from_secs(oldest).as_secs_f64());
    }
}
