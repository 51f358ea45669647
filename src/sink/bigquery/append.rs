//! One connection to the Storage Write API. Requests are sent without waiting for the answers to those
//! before, up to a window; answers come in the order of the requests; what is unanswered when a
//! stream ends is sent again in the same order on the next. A delivery ends with BigQuery's own
//! "appended" or with an error that another sending cannot cure; nothing else ends it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::ExponentialBackoff;
use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt, future};
use tokio::sync::mpsc;
use tonic::Status;

use super::auth::Tokens;
use super::connect::Server;
use super::delivery::Destination;
use super::error::Error;
use super::load::{Load, Oldest, Parcel};
use super::rest::Rest;
use super::status::Failure;
use super::waits::waits;
use super::wire::Frame;
use crate::clock::Clock;
use crate::proto::storage::AppendRowsResponse;
use crate::sink::BoxFuture;

use flight::{Flight, Next};
use open::{Answers, open};

mod answer;
mod flight;
mod open;

/// Requests sent and unanswered, at most.
pub(super) const WINDOW: usize = 64;

/// Their bytes, at most (one request may be larger).
pub(super) const WINDOW_BYTES: usize = 32_000_000;

/// Deliveries that wait for the connection to take them.
pub(super) const INBOX: usize = 64;

/// Without any answer for so long the stream is taken for dead, as Google's own clients do.
const SILENCE: Duration = Duration::from_secs(300);

/// A stream without traffic is closed after this; BigQuery ends it after 600 s.
const IDLE: Duration = Duration::from_secs(540);

/// How long a stream that takes no more requests may keep the reason to itself.
const FAREWELL: Duration = Duration::from_secs(10);

/// Requests in a row that a stream may refuse with errors that are said to pass; then another stream is tried.
const REFUSALS: u32 = 5;

/// What all connections have in common.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) server: Server,
    pub(super) tokens: Tokens,
    /// Asked whether a table that the write API does not know is there.
    pub(super) rest: Rest,
    pub(super) trace_id: Bytes,
    pub(super) clock: Clock,
}

/// Runs a connection until nobody can hand it anything more.
pub(super) async fn run(link: Link, inbox: mpsc::Receiver<Parcel>, load: Arc<Load>) {
    let mut worker = Worker {
        link,
        inbox,
        open: true,
        flight: Flight::default(),
        delays: delays(),
        slower: slower(),
        pause: None,
        refusals: 0,
        lookups: FuturesUnordered::new(),
        load,
        noted: None,
    };
    worker.run().await;
}

/// Waits before a new stream.
fn delays() -> ExponentialBackoff {
    waits(Duration::from_millis(50), Duration::from_secs(60))
}

/// Waits where BigQuery says that it is too much.
fn slower() -> ExponentialBackoff {
    waits(Duration::from_secs(1), Duration::from_secs(60))
}

struct Worker {
    link: Link,
    inbox: mpsc::Receiver<Parcel>,
    /// Whether anybody can hand over anything more.
    open: bool,
    flight: Flight,
    delays: ExponentialBackoff,
    slower: ExponentialBackoff,
    /// Nothing is sent before.
    pause: Option<Instant>,
    /// In-band errors that are said to pass, since the last acknowledgement or stream.
    refusals: u32,
    /// Questions whether tables exist.
    lookups: FuturesUnordered<BoxFuture<'static, Lookup>>,
    load: Arc<Load>,
    /// The number of the delivery that the load shows as the oldest.
    noted: Option<u64>,
}

/// Whether a table exists.
struct Lookup {
    destination: Arc<Destination>,
    exists: Result<bool, Error>,
}

/// How a stream ended.
enum Ended {
    /// By the server, or there never was one.
    Failed(Failure),
    /// The server said nothing for too long.
    Silent,
    /// There was nothing to send for long.
    Idle,
    /// An answer could not be understood.
    Confused,
    /// A request needs a new stream.
    Renew,
    /// Nobody can hand over anything more, and everything has ended.
    Done,
}

/// What can happen.
enum Event {
    Answer(Option<Result<AppendRowsResponse, Status>>),
    Looked(Lookup),
    Handed(Option<Parcel>),
    /// The time that was asked for has come.
    Woke,
}

/// The sending side of a stream.
struct Outbound {
    frames: mpsc::Sender<Frame>,
    /// The destination that the last request named.
    named: Option<Arc<Destination>>,
    /// Nothing was sent yet.
    fresh: bool,
    /// When something was last sent or heard.
    active: Instant,
    /// Since when the stream takes no more requests.
    closed: Option<Instant>,
    /// A request with its schema was refused: whether the server kept the schema is not said.
    unsure: bool,
}

impl Worker {
    async fn run(&mut self) {
        loop {
            let now = self.link.clock.now();
            if !self.pausing(now) && matches!(self.flight.next(now, true), Next::Send(_)) {
                let ended = self.stream().await;
                self.ended(&ended);
                continue;
            }
            if !self.open && self.flight.is_empty() {
                return;
            }
            let wake = self.wake(now);
            let event = self.event(None, wake).await;
            self.take(event);
        }
    }

    /// Waits for the next thing to happen; answers first, so that a clock that jumps cannot outrun them.
    async fn event(&mut self, answers: Option<&mut Answers>, wake: Option<Instant>) -> Event {
        self.note();
        let left = wake.map(|at| at.saturating_duration_since(self.link.clock.now()));
        let answer = async {
            match answers {
                Some(answers) => answers.next().await,
                None => future::pending().await,
            }
        };
        tokio::select! {
            biased;
            answer = answer => Event::Answer(answer),
            Some(lookup) = self.lookups.next() => Event::Looked(lookup),
            handed = self.inbox.recv(), if self.open => Event::Handed(handed),
            () = self.link.clock.sleep(left.unwrap_or_default()), if left.is_some() => Event::Woke,
        }
    }

    /// Takes in what does not concern a stream.
    fn take(&mut self, event: Event) {
        match event {
            Event::Handed(Some(parcel)) => self.flight.enter(parcel, self.link.clock.now()),
            Event::Handed(None) => self.open = false,
            Event::Looked(lookup) => self.looked(lookup),
            Event::Answer(_) | Event::Woke => {}
        }
    }

    /// Shows others since when the oldest delivery waits.
    fn note(&mut self) {
        let oldest = self.flight.oldest();
        let number = oldest.map(|(number, ..)| number);
        if number != self.noted {
            self.noted = number;
            self.load.set_oldest(oldest.map(|(_, since, destination)| Oldest {
                table: destination.table.clone(),
                since,
            }));
        }
    }

    /// Whether nothing may be sent now.
    fn pausing(&mut self, now: Instant) -> bool {
        self.pause = self.pause.filter(|until| *until > now);
        self.pause.is_some()
    }

    /// When something may be sent that may not be sent now.
    fn wake(&self, now: Instant) -> Option<Instant> {
        self.pause.into_iter().chain(self.flight.wake(now)).min()
    }

    /// Sends nothing for a moment, longer each time until something is acknowledged.
    fn pause(&mut self) {
        if self.pause.is_none() {
            let delay = self.delays.next().unwrap_or(SILENCE);
            self.pause = Some(self.link.clock.now() + delay);
        }
    }

    /// Sends nothing for seconds: BigQuery said that it is too much. Several refusals at once count as one.
    fn pause_longer(&mut self, asked: Option<Duration>) {
        let now = self.link.clock.now();
        if self.pause.is_none() {
            self.pause = Some(now + self.slower.next().unwrap_or(SILENCE));
        }
        self.pause = self.pause.max(asked.map(|asked| now + asked));
    }

    /// Opens a stream and drives it to its end.
    async fn stream(&mut self) -> Ended {
        let (frames, outbound) = mpsc::channel(WINDOW);
        let mut out = Outbound {
            frames,
            named: None,
            fresh: true,
            active: self.link.clock.now(),
            closed: None,
            unsure: false,
        };
        self.refusals = 0;
        self.flight.opened();
        self.fill(&mut out);
        let Some(first) = out.named.clone() else {
            return Ended::Renew;
        };
        let mut answers = open(&self.link, &first.stream, outbound);
        loop {
            if self.fill(&mut out) {
                return Ended::Renew;
            }
            if !self.open && self.flight.is_empty() {
                return Ended::Done;
            }
            let now = self.link.clock.now();
            let (deadline, end) = self.deadline(&out);
            let wake = self.wake(now).map_or(deadline, |wake| wake.min(deadline));
            match self.event(Some(&mut answers), Some(wake)).await {
                Event::Answer(Some(Ok(answer))) => {
                    out.active = self.link.clock.now();
                    if let Some(ended) = self.answered(answer, &mut out) {
                        return ended;
                    }
                }
                Event::Answer(Some(Err(status))) => return Ended::Failed(Failure::of_call(&status)),
                Event::Answer(None) => return stream_closed(),
                Event::Woke if self.link.clock.now() >= deadline => return end,
                event @ (Event::Looked(_) | Event::Handed(_) | Event::Woke) => self.take(event),
            }
        }
    }

    /// When the present stream is to be left if nothing happens on it, and how that is to be taken.
    fn deadline(&self, out: &Outbound) -> (Instant, Ended) {
        match (out.closed, self.flight.oldest_sent()) {
            (Some(since), _) => (since + FAREWELL, stream_closed()),
            (None, Some(at)) => (at.max(out.active) + SILENCE, Ended::Silent),
            (None, None) => (out.active + IDLE, Ended::Idle),
        }
    }

    /// Sends what may be sent; says whether what comes next needs a new stream.
    fn fill(&mut self, out: &mut Outbound) -> bool {
        loop {
            let now = self.link.clock.now();
            if self.pausing(now) || out.closed.is_some() {
                return false;
            }
            match self.flight.next(now, out.fresh) {
                Next::Nothing => return false,
                Next::Renew => return true,
                Next::Send(number) => self.send(number, out, now),
            }
        }
    }

    fn send(&mut self, number: u64, out: &mut Outbound, now: Instant) {
        let Some(delivery) = self.flight.delivery(number) else {
            return;
        };
        let destination = Arc::clone(&delivery.destination);
        let named = out
            .named
            .as_ref()
            .is_some_and(|named| Arc::ptr_eq(named, &destination));
        let frame = Frame {
            stream: Bytes::copy_from_slice(destination.stream.as_bytes()),
            schema: (!named).then(|| destination.schema.clone()),
            rows: delivery.block.body.clone(),
            trace_id: self.link.trace_id.clone(),
        };
        if out.frames.try_send(frame).is_err() {
            // There is room for the whole window: it is the stream that is ending, and its end is about to be read.
            out.closed = Some(now);
            return;
        }
        self.flight.sent(number, now, !named);
        out.named = Some(destination);
        out.fresh = false;
        out.active = now;
    }
}

/// A stream that ended without a word.
fn stream_closed() -> Ended {
    Ended::Failed(Failure::of_call(&Status::aborted("stream closed")))
}

#[cfg(test)]
mod tests;
