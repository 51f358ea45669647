//! One table's stream as it is read: which shards are due, and what a page or a refusal means for them. The calls
//! themselves, and their number, are [`super::stream`]'s affair.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::api::{CallError, Refusal, StreamInfo, TableInfo};
use super::layout::Shape;
use super::lineage::{Moved, Tree};
use crate::event::{ShardId, StreamStep, TableId};

/// The wait after a page with few records: each call is billed.
const FEW: Duration = Duration::from_secs(1);
/// Records of a page after which the next is read at once.
const MANY: usize = 200;
/// The wait after a page of a closed shard, which others may wait for.
const CLOSED: Duration = Duration::from_millis(200);
/// Empty pages in a row that are waited after as after few records; then the wait doubles to [`IDLE`].
const PATIENT: u32 = 5;
/// The longest wait after an empty page: fifteen calls a minute of an idle shard.
const IDLE: Duration = Duration::from_secs(4);
/// The longest wait after a refusal.
const REFUSED: Duration = Duration::from_secs(30);
/// How long a shard or a listing may fail before the stream is opened anew, and everybody told.
const FAILING: Duration = Duration::from_secs(60);
/// How often a stream is listed when nothing asks for it.
const LIST: Duration = Duration::from_secs(60);
/// A stream keeps its records for a day; what is trimmed within less time since a table was opened was written
/// before, and is in the table's copy.
const KEPT: Duration = Duration::from_secs(23 * 3600);

/// Failures in a row.
#[derive(Debug, Default)]
struct Failures {
    count: u32,
    since: Option<Instant>,
}

impl Failures {
    /// Notes one. Returns how long to wait; `None` after too many.
    fn note(&mut self, refusal: Refusal, now: Instant) -> Option<Duration> {
        self.count += 1;
        let since = *self.since.get_or_insert(now);
        let patient = refusal == Refusal::Throttled || now.saturating_duration_since(since) < FAILING;
        patient.then(|| doubled(FEW, self.count - 1, REFUSED))
    }
}

/// `first`, doubled as often as `times` says, and at most `longest`.
fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first.saturating_mul(1 << times.min(16)).min(longest)
}

/// A shard that is read.
#[derive(Debug, Default)]
struct Reader {
    /// Where to read on; `None`: to be asked for.
    iterator: Option<String>,
    empty: u32,
    failures: Failures,
}

/// Why a table's stream cannot be read on.
#[derive(Debug)]
pub(super) enum Halt {
    /// Changes may be lost.
    Lost(String),
    /// A call fails for good, or for too long.
    Call(CallError),
}

/// A table that is followed.
#[derive(Debug)]
pub(super) struct Followed {
    /// Which.
    pub(super) table: TableId,
    /// How its rows are made.
    pub(super) shape: Shape,
    /// Its shards.
    pub(super) tree: Tree,
    readers: BTreeMap<ShardId, Reader>,
    /// When it was opened for the first time, if that was by this run.
    first: Option<Instant>,
    /// When it is to be listed; `None` while it is.
    pub(super) list_at: Option<Instant>,
    missed: u32,
    failures: Failures,
    /// Why nothing comes any more once everything was read.
    off: Option<String>,
}

impl Followed {
    /// A table whose stream was listed just now.
    pub(super) fn new(table: TableId, shape: Shape, tree: Tree, now: Instant, first: bool) -> Followed {
        let mut followed = Followed {
            table,
            shape,
            tree,
            readers: BTreeMap::new(),
            first: first.then_some(now),
            list_at: None,
            missed: 0,
            failures: Failures::default(),
            off: None,
        };
        followed.list_later(now);
        followed
    }

    /// Moves as the position has them.
    pub(super) fn steps(&self, moves: Vec<Moved>) -> Vec<StreamStep> {
        let step = |(shard, moved)| StreamStep::Shard {
            table: self.table.clone(),
            shard,
            moved,
        };
        moves.into_iter().map(step).collect()
    }

    /// Shards that may be read and that nobody reads yet: from now on somebody does.
    pub(super) fn begin(&mut self) -> Vec<ShardId> {
        let new = self
            .tree
            .readable()
            .filter(|shard| !self.readers.contains_key(shard));
        let new: Vec<ShardId> = new.cloned().collect();
        for shard in &new {
            self.readers.insert(shard.clone(), Reader::default());
        }
        new
    }

    /// Takes where to read a shard on.
    pub(super) fn iterator(&mut self, shard: &ShardId) -> Option<String> {
        self.readers.get_mut(shard)?.iterator.take()
    }

    /// A page came, with so many records. Returns when the next one is due; `None` after the last, which makes
    /// other shards due.
    pub(super) fn page(
        &mut self,
        shard: &ShardId,
        records: usize,
        next: Option<String>,
        now: Instant,
    ) -> Option<Instant> {
        if next.is_none() {
            self.readers.remove(shard);
            if self.tree.wants_listing() && self.list_at.is_some() {
                self.missed = 0;
                self.list_at = Some(now);
            }
            return None;
        }
        let closed = self.tree.is_closed(shard);
        let reader = self.readers.entry(shard.clone()).or_default();
        reader.iterator = next;
        reader.failures = Failures::default();
        reader.empty = if records == 0 {
            reader.empty.saturating_add(1)
        } else {
            0
        };
        let wait = match records {
            MANY.. => Duration::ZERO,
            _ if closed => CLOSED,
            _ => doubled(FEW, reader.empty.saturating_sub(PATIENT), IDLE),
        };
        Some(now + wait)
    }

    /// A read was refused. Returns when to try again.
    pub(super) fn refused(
        &mut self,
        shard: &ShardId,
        error: CallError,
        now: Instant,
    ) -> Result<Instant, Halt> {
        let reader = self.readers.entry(shard.clone()).or_default();
        match error.refusal {
            Refusal::Expired => {
                tracing::debug!(table = %self.table, %shard, "iterator expired, taken anew");
                return Ok(now);
            }
            Refusal::Trimmed => {
                let opening = self
                    .first
                    .is_some_and(|first| now.saturating_duration_since(first) < KEPT);
                if self.tree.last(shard).is_some() || !opening {
                    return Err(Halt::Lost(format!(
                        "records of shard {shard} were trimmed before they were read"
                    )));
                }
                tracing::info!(table = %self.table, %shard, "records from before the table was opened were trimmed");
                return Ok(now + FEW);
            }
            // It may be gone, and the listing says so.
            Refusal::Missing if self.list_at.is_some() => self.list_at = Some(now),
            Refusal::Missing | Refusal::Throttled | Refusal::Busy => {}
            Refusal::Denied | Refusal::Credentials | Refusal::Other => return Err(Halt::Call(error)),
        }
        match reader.failures.note(error.refusal, now) {
            Some(wait) => {
                let (error, wait_ms) = (error.to_string(), wait.as_millis());
                tracing::warn!(table = %self.table, error, wait_ms, "shard cannot be read yet");
                Ok(now + wait)
            }
            None if error.refusal == Refusal::Missing => {
                Err(Halt::Lost(format!("shard {shard} is listed and cannot be read")))
            }
            None => Err(Halt::Call(error)),
        }
    }

    fn list_later(&mut self, now: Instant) {
        let wait = if self.tree.wants_listing() && self.off.is_none() {
            self.missed = self.missed.saturating_add(1);
            doubled(FEW, self.missed - 1, REFUSED)
        } else {
            self.missed = 0;
            LIST
        };
        self.list_at = Some(now + wait);
    }

    /// A listing came, with the table's description of the same moment. Returns what the position learns.
    pub(super) fn listed(
        &mut self,
        stream: &StreamInfo,
        table: &TableInfo,
        now: Instant,
    ) -> Result<Vec<StreamStep>, Halt> {
        let moves = self
            .tree
            .listed(&stream.shards)
            .map_err(|gap| Halt::Lost(gap.to_string()))?;
        self.failures = Failures::default();
        let latest = table.stream.as_ref().map(|latest| latest.arn.as_str());
        self.off = if latest != Some(&*self.tree.place().arn) {
            Some("its stream was turned off and on again: what was changed in between is in none".to_owned())
        } else if stream.on {
            None
        } else {
            Some("its stream was turned off: what was changed since is in none".to_owned())
        };
        self.list_later(now);
        Ok(self.steps(moves))
    }

    /// What is left to read, if the stream is off: nothing, and what comes after is lost.
    pub(super) fn ended(&self) -> Result<(), Halt> {
        match &self.off {
            Some(why) if self.tree.all_drained() => Err(Halt::Lost(why.clone())),
            Some(_) | None => Ok(()),
        }
    }

    /// A listing was refused.
    pub(super) fn unlisted(&mut self, error: CallError, now: Instant) -> Result<(), Halt> {
        match error.refusal {
            Refusal::Missing => return Err(Halt::Lost(format!("{} is gone", error.subject))),
            Refusal::Throttled | Refusal::Busy => {}
            Refusal::Expired | Refusal::Trimmed | Refusal::Denied | Refusal::Credentials | Refusal::Other => {
                return Err(Halt::Call(error));
            }
        }
        match self.failures.note(error.refusal, now) {
            Some(wait) => {
                self.list_at = Some(now + wait);
                Ok(())
            }
            None => Err(Halt::Call(error)),
        }
    }
}
