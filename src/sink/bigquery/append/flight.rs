//! What a connection has to deliver: in which order, how much of it at once, and what must be sent
//! alone. Pure: the time is an argument, and nothing here sends anything.
//!
//! Deliveries are sent in the order in which they came. Three things break that order, none of them
//! within a table: a table that is in trouble is held back while the others go on; what may have ended
//! a stream is sent alone, so that the guilty one shows; and a table in trouble is tried again alone
//! and first on a new stream, so that it can end nobody else's.
//!
//! A table that was changed or made anew has a destination of its own, and that begins on a new stream too: an
//! open one goes on for seconds to take rows for the table as it was, and loses them
//! (measured by others, <https://github.com/abdolence/bigquery-rs>).

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::ExponentialBackoff;
use tonic::Code;

use super::super::delivery::{Delivery, Destination};
use super::super::load::Parcel;
use super::super::status::Streak;
use super::super::waits::waits;
use super::{WINDOW, WINDOW_BYTES};

/// The longest wait between two tries of a table in trouble.
const LONGEST_HOLD: Duration = Duration::from_secs(30);

/// A table is gone once it was looked up and not found for so long, and so often: one that was made a moment
/// ago may be shown late.
const GONE: (Duration, u32) = (Duration::from_secs(10), 3);

/// All deliveries of a connection that are not ended.
#[derive(Debug, Default)]
pub(super) struct Flight {
    /// By number, which is the order in which they came.
    waiting: BTreeMap<u64, Waiting>,
    /// Those of them that are not on the present stream.
    unsent: BTreeSet<u64>,
    /// Requests on the present stream, oldest first.
    sent: VecDeque<Sent>,
    sent_bytes: usize,
    /// What the present stream has been used for, by the names of the write streams.
    served: HashMap<String, Arc<Destination>>,
    next: u64,
    /// Tables that cannot be written, by the names of their streams.
    troubles: HashMap<String, Trouble>,
    /// BigQuery said that it is too much: one request at a time until one is acknowledged.
    slow: bool,
}

#[derive(Debug)]
struct Waiting {
    parcel: Parcel,
    since: Instant,
    /// It was on a stream that one of several requests ended.
    suspect: bool,
    /// It was sent before.
    tried: bool,
}

/// A request without its answer.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) number: u64,
    pub(super) at: Instant,
    /// Whether it carried its writer schema.
    pub(super) with_schema: bool,
    bytes: usize,
    alone: bool,
}

/// Why a table is held back.
#[derive(Debug)]
pub(super) struct Trouble {
    /// The failure that comes again and again.
    streak: Streak,
    /// Since when, and how often, it was looked up and not found.
    missing: Option<(Instant, u32)>,
    hold: Hold,
    delays: ExponentialBackoff,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    /// Until it is known whether the table is there.
    Known,
    Until(Instant),
}

impl Trouble {
    fn new(now: Instant) -> Trouble {
        Trouble {
            streak: Streak::default(),
            missing: None,
            hold: Hold::Until(now),
            delays: waits(Duration::from_secs(1), LONGEST_HOLD),
        }
    }

    fn holds(&self, now: Instant) -> bool {
        match self.hold {
            Hold::Known => true,
            Hold::Until(until) => until > now,
        }
    }

    /// Notes a failure; gives for how long nothing else came. Several at once count as one.
    pub(super) fn meet(&mut self, code: Code, now: Instant) -> Duration {
        if self.holds(now) {
            return Duration::ZERO;
        }
        if code != Code::NotFound {
            self.missing = None;
        }
        self.streak.meet(code, now)
    }

    /// It was looked up and not found; says whether that is enough to call it gone.
    pub(super) fn not_found(&mut self, now: Instant) -> bool {
        let (since, times) = self.missing.unwrap_or((now, 0));
        self.missing = Some((since, times + 1));
        now.saturating_duration_since(since) >= GONE.0 && times + 1 >= GONE.1
    }

    /// It was looked up and found.
    pub(super) fn found(&mut self) {
        self.missing = None;
    }

    /// Holds the table until it is known whether it exists; `false` if somebody looks already.
    pub(super) fn hold_until_known(&mut self) -> bool {
        std::mem::replace(&mut self.hold, Hold::Known) != Hold::Known
    }

    /// It is known whether the table exists, or that this cannot be found out.
    pub(super) fn known(&mut self, now: Instant) {
        if self.hold == Hold::Known {
            self.hold = Hold::Until(now);
            self.hold(now);
        }
    }

    /// Holds the table for a while, longer each time; several failures at once count as one.
    pub(super) fn hold(&mut self, now: Instant) {
        if matches!(self.hold, Hold::Until(until) if until > now) {
            return;
        }
        let delay = self.delays.next().unwrap_or(LONGEST_HOLD);
        self.hold = Hold::Until(now + delay);
    }
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing may be sent now.
    Nothing,
    /// The next delivery needs a stream of its own to begin with; the present one is at rest.
    Renew,
    /// Send this one.
    Send(u64),
}

impl Flight {
    /// Whether everything has ended.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Requests on the present stream.
    pub(super) fn on_stream(&self) -> usize {
        self.sent.len()
    }

    /// Whether the oldest request on the present stream brought all that it needs, so that an error is its own.
    pub(super) fn proves(&self) -> bool {
        self.sent.front().is_some_and(|sent| sent.with_schema)
    }

    /// When the oldest request on the present stream was sent.
    pub(super) fn oldest_sent(&self) -> Option<Instant> {
        self.sent.front().map(|sent| sent.at)
    }

    /// The delivery that has waited longest: its number, since when, and whose it is.
    pub(super) fn oldest(&self) -> Option<(u64, Instant, &Destination)> {
        let (number, waiting) = self.waiting.first_key_value()?;
        Some((*number, waiting.since, &*waiting.parcel.delivery.destination))
    }

    pub(super) fn delivery(&self, number: u64) -> Option<&Delivery> {
        Some(&self.waiting.get(&number)?.parcel.delivery)
    }

    /// Takes a delivery in.
    pub(super) fn enter(&mut self, parcel: Parcel, now: Instant) {
        let waiting = Waiting {
            parcel,
            since: now,
            suspect: false,
            tried: false,
        };
        self.waiting.insert(self.next, waiting);
        self.unsent.insert(self.next);
        self.next += 1;
    }

    /// A new stream is opened.
    pub(super) fn opened(&mut self) {
        self.served.clear();
    }

    /// What to send next on a stream, `fresh` if nothing was sent on it yet.
    pub(super) fn next(&self, now: Instant, fresh: bool) -> Next {
        let mut unsent = self.unsent.iter().filter_map(|number| {
            let waiting = self.waiting.get(number)?;
            let trouble = self.troubles.get(&waiting.parcel.delivery.destination.stream);
            Some((*number, waiting, trouble))
        });
        let free = unsent.find(|(_, _, trouble)| trouble.is_none_or(|trouble| !trouble.holds(now)));
        let Some((number, waiting, trouble)) = free else {
            return Next::Nothing;
        };
        let bytes = self.sent_bytes + waiting.parcel.delivery.block.body.len();
        let full = self.sent.len() >= WINDOW || bytes > WINDOW_BYTES;
        let alone = self.slow || waiting.suspect || trouble.is_some();
        let company = self.sent.iter().any(|sent| sent.alone);
        let destination = &waiting.parcel.delivery.destination;
        let served = self.served.get(&destination.stream);
        let changed = served.is_some_and(|served| !Arc::ptr_eq(served, destination));
        let renew = !fresh && (trouble.is_some() || changed);
        if !self.sent.is_empty() && (full || alone || company || renew) {
            return Next::Nothing;
        }
        if renew {
            return Next::Renew;
        }
        Next::Send(number)
    }

    /// When a table that is held back, and has something to send, may be tried again.
    pub(super) fn wake(&self, now: Instant) -> Option<Instant> {
        let held = self.troubles.values().filter_map(|trouble| match trouble.hold {
            Hold::Known => None,
            Hold::Until(until) => (until > now).then_some(until),
        });
        held.min()
    }

    /// A delivery went out on the present stream.
    pub(super) fn sent(&mut self, number: u64, now: Instant, with_schema: bool) {
        let Some(waiting) = self.waiting.get_mut(&number) else {
            return;
        };
        let delivery = &waiting.parcel.delivery;
        if std::mem::replace(&mut waiting.tried, true) {
            delivery.destination.meters.again();
        }
        let destination = &delivery.destination;
        let troubled = self.troubles.contains_key(&destination.stream);
        if !self.served.contains_key(&destination.stream) {
            self.served
                .insert(destination.stream.clone(), Arc::clone(destination));
        }
        let bytes = delivery.block.body.len();
        self.unsent.remove(&number);
        self.sent_bytes += bytes;
        self.sent.push_back(Sent {
            number,
            at: now,
            with_schema,
            bytes,
            alone: self.slow || waiting.suspect || troubled,
        });
    }

    /// The request that an answer belongs to: the oldest. It is to be ended or sent again.
    pub(super) fn answered(&mut self) -> Option<Sent> {
        let sent = self.sent.pop_front()?;
        self.sent_bytes = self.sent_bytes.saturating_sub(sent.bytes);
        Some(sent)
    }

    /// A delivery has to be sent again, in its old place in the order.
    pub(super) fn again(&mut self, number: u64) {
        if self.waiting.contains_key(&number) {
            self.unsent.insert(number);
        }
    }

    /// The stream is gone: what is unanswered has to be sent again. As `suspects` they are sent alone.
    pub(super) fn take_back(&mut self, suspects: bool) {
        while let Some(sent) = self.answered() {
            if let Some(waiting) = self.waiting.get_mut(&sent.number) {
                waiting.suspect |= suspects;
                let stream = waiting.parcel.delivery.destination.stream.clone();
                self.otherwise(&stream);
            }
            self.again(sent.number);
        }
    }

    /// One request at a time from here, until [`Flight::well`].
    pub(super) fn slow_down(&mut self) {
        self.slow = true;
    }

    /// A table was written: neither it nor the connection is in trouble.
    pub(super) fn well(&mut self, stream: &str) {
        self.slow = false;
        self.troubles.remove(stream);
    }

    /// A table that could not be written: since when, and until when it is held back.
    pub(super) fn trouble(&mut self, stream: &str, now: Instant) -> &mut Trouble {
        self.troubles
            .entry(stream.to_owned())
            .or_insert_with(|| Trouble::new(now))
    }

    /// Something else came of a table's request than what troubles it.
    pub(super) fn otherwise(&mut self, stream: &str) {
        if let Some(trouble) = self.troubles.get_mut(stream) {
            trouble.streak.end();
        }
    }

    /// The trouble of a table, if it has one.
    pub(super) fn troubled(&mut self, stream: &str) -> Option<&mut Trouble> {
        self.troubles.get_mut(stream)
    }

    /// Takes a delivery out, to be ended.
    pub(super) fn end(&mut self, number: u64) -> Option<Delivery> {
        self.unsent.remove(&number);
        let delivery = self.waiting.remove(&number)?.parcel.unpack();
        let stream = &delivery.destination.stream;
        // What comes later has its own patience.
        if self.troubles.contains_key(stream) && !self.waiting.values().any(|other| other.is_to(stream)) {
            self.troubles.remove(stream);
        }
        Some(delivery)
    }

    /// Deliveries to a stream that are not on their way.
    pub(super) fn unsent_to(&self, stream: &str) -> Vec<u64> {
        let to = |number: &&u64| {
            self.waiting
                .get(number)
                .is_some_and(|waiting| waiting.is_to(stream))
        };
        self.unsent.iter().filter(to).copied().collect()
    }
}

impl Waiting {
    fn is_to(&self, stream: &str) -> bool {
        self.parcel.delivery.destination.stream == stream
    }
}

#[cfg(test)]
mod tests;
