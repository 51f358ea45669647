//! One connection to the Storage Write API. Requests are sent without waiting for the answers to those
//! before, up to a window; answers come in the order of the requests; what is unanswered when a
//! stream ends is sent again in the same order on the next. A delivery ends with BigQuery's own
//! "appended" or with an error that another sending cannot cure; nothing else ends it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Endpoint;

use super::auth::{Tokens, address};
use super::block::Block;
use super::error::Error;
use super::plan::Target;
use super::status::{Failure, Verdict};
use super::wire::{AppendCodec, Frame};
use crate::clock::Clock;
use crate::event::TableId;
use crate::failpoint;
use crate::fault::{Classify, Fault, chain};
use crate::proto::storage::append_rows_response::Response;
use crate::proto::storage::{AppendRowsResponse, RowError};

/// Requests sent and unanswered, at most.
const WINDOW: usize = 64;

/// Their bytes, at most (one request may be larger).
const WINDOW_BYTES: usize = 32_000_000;

/// Deliveries that wait for the connection to take them.
pub(super) const INBOX: usize = 64;

/// Without any answer for so long the stream is taken for dead.
const SILENCE: Duration = Duration::from_secs(300);

/// A block on its way.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) target: Arc<Target>,
    pub(super) block: Block,
    /// Its share of the memory for rows in flight, given back when the delivery ends.
    pub(super) room: OwnedSemaphorePermit,
    pub(super) done: oneshot::Sender<Result<(), Error>>,
}

impl Delivery {
    fn end(self, result: Result<(), Error>) {
        drop(self.room);
        // Who asked may be gone; the rows are in the table all the same.
        let _unheard = self.done.send(result);
    }
}

/// What all connections have in common.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) endpoint: Endpoint,
    pub(super) tokens: Tokens,
    pub(super) trace_id: Bytes,
    pub(super) clock: Clock,
}

/// Runs a connection until nobody can hand it anything more.
pub(super) async fn run(link: Link, inbox: mpsc::Receiver<Delivery>) {
    let mut worker = Worker {
        link,
        inbox,
        unsent: BTreeMap::new(),
        sent: VecDeque::new(),
        sent_bytes: 0,
        next: 0,
        alone: 0,
        delays: delays(),
        slower: slower(),
        pause: None,
        troubles: HashMap::new(),
    };
    worker.run().await;
}

/// Waits before a new stream.
fn delays() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(30))
        .with_jitter()
        .without_max_times()
        .build()
}

/// Waits where BigQuery says that it is too much, or not there yet.
fn slower() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_secs(1))
        .with_max_delay(Duration::from_secs(60))
        .with_jitter()
        .without_max_times()
        .build()
}

/// A request without its answer.
#[derive(Debug)]
struct Sent {
    number: u64,
    delivery: Delivery,
    bytes: usize,
    at: Instant,
}

struct Worker {
    link: Link,
    inbox: mpsc::Receiver<Delivery>,
    /// Deliveries to send, by their number.
    unsent: BTreeMap<u64, Delivery>,
    /// Requests on the present stream, oldest first.
    sent: VecDeque<Sent>,
    sent_bytes: usize,
    next: u64,
    /// So many deliveries are sent one by one, to see which of them ends the stream.
    alone: usize,
    delays: ExponentialBackoff,
    slower: ExponentialBackoff,
    /// Nothing is sent before.
    pause: Option<Instant>,
    /// Since when a table cannot be written.
    troubles: HashMap<TableId, Instant>,
}

/// How a stream ended.
enum Ended {
    /// By the server, or there never was one.
    Failed(Failure),
    /// The server said nothing for too long.
    Silent,
    /// An answer could not be understood, or a request of its own needs a new stream.
    Renew,
    /// Nobody can hand over anything more, and everything is answered.
    Done,
}

/// The sending side of a stream.
struct Outbound {
    frames: mpsc::Sender<Frame>,
    /// The target that the last request named.
    named: Option<Arc<Target>>,
}

impl Worker {
    async fn run(&mut self) {
        loop {
            if self.unsent.is_empty() {
                match self.inbox.recv().await {
                    Some(delivery) => self.enter(delivery),
                    None => return,
                }
            }
            self.rest().await;
            let ended = self.stream().await;
            let last = self.sent.len();
            let oldest = self.sent.front().map(|sent| sent.number);
            self.take_back();
            match ended {
                Ended::Done => return,
                Ended::Renew => self.pause_longer(None),
                Ended::Silent => {
                    tracing::warn!(
                        requests = last,
                        "no answer from BigQuery for too long, connecting anew"
                    );
                    self.pause();
                }
                Ended::Failed(failure) => self.failed(&failure, last, oldest),
            }
        }
    }

    fn enter(&mut self, delivery: Delivery) {
        self.unsent.insert(self.next, delivery);
        self.next += 1;
    }

    /// Waits out a pause.
    async fn rest(&mut self) {
        if let Some(until) = self.pause.take() {
            let left = until.saturating_duration_since(self.link.clock.now());
            self.link.clock.sleep(left).await;
        }
    }

    /// Sends nothing for a moment, longer each time until something is acknowledged.
    fn pause(&mut self) {
        let delay = self.delays.next().unwrap_or(SILENCE);
        self.pause = Some(self.link.clock.now() + delay);
    }

    /// Sends nothing for seconds: BigQuery said that it is too much, or that it does not know the table yet.
    fn pause_longer(&mut self, asked: Option<Duration>) {
        let delay = self.slower.next().unwrap_or(SILENCE);
        self.pause = Some(self.link.clock.now() + delay.max(asked.unwrap_or_default()));
    }

    /// Puts the unanswered requests back, each to its old place in the order.
    fn take_back(&mut self) {
        self.sent_bytes = 0;
        for sent in self.sent.drain(..) {
            sent.delivery.target.meters.again();
            self.unsent.insert(sent.number, sent.delivery);
        }
    }

    /// Opens a stream and drives it to its end.
    async fn stream(&mut self) -> Ended {
        let Some(first) = self.unsent.first_key_value() else {
            return Ended::Renew;
        };
        let name = first.1.target.stream.clone();
        let (frames, outbound) = mpsc::channel(WINDOW);
        let mut out = Outbound { frames, named: None };
        // Some servers answer only once there is a request.
        self.fill(&mut out);
        let silence = self.link.clock.sleep(SILENCE);
        let opened = tokio::select! {
            opened = self.open(&name, outbound) => opened,
            () = silence => return Ended::Silent,
        };
        let mut answers = match opened {
            Ok(answers) => answers,
            Err(failure) => return Ended::Failed(failure),
        };
        let mut heard = self.link.clock.now();
        let mut open = true;
        loop {
            self.fill(&mut out);
            if !open && self.sent.is_empty() && self.unsent.is_empty() {
                return Ended::Done;
            }
            let now = self.link.clock.now();
            let waiting = self.sent.front().map_or(heard, |oldest| oldest.at.max(heard));
            let silence = (waiting + SILENCE).saturating_duration_since(now);
            let pause = self.pause.map(|until| until.saturating_duration_since(now));
            tokio::select! {
                biased;
                answer = answers.message() => {
                    heard = self.link.clock.now();
                    let ended = match answer {
                        Ok(Some(answer)) => {
                            if !matches!(answer.response, Some(Response::AppendResult(_))) {
                                // Whether the server kept the schema of what it refused is not said.
                                out.named = None;
                            }
                            self.answered(answer)
                        }
                        Ok(None) => Some(Ended::Failed(Failure::of_call(&tonic::Status::aborted("stream closed")))),
                        Err(status) => Some(Ended::Failed(Failure::of_call(&status))),
                    };
                    if let Some(ended) = ended {
                        return ended;
                    }
                }
                delivery = self.inbox.recv(), if open => match delivery {
                    Some(delivery) => self.enter(delivery),
                    None => open = false,
                },
                () = self.link.clock.sleep(silence), if !self.sent.is_empty() => return Ended::Silent,
                () = self.link.clock.sleep(pause.unwrap_or_default()), if pause.is_some() => self.pause = None,
            }
        }
    }

    async fn open(
        &self,
        stream: &str,
        outbound: mpsc::Receiver<Frame>,
    ) -> Result<Streaming<AppendRowsResponse>, Failure> {
        let channel = self.link.endpoint.connect_lazy();
        let mut client = tonic::client::Grpc::new(channel);
        client
            .ready()
            .await
            .map_err(|error| Failure::of_call(&tonic::Status::unavailable(chain(&error))))?;
        let mut request = tonic::Request::new(ReceiverStream::new(outbound));
        let bearer = self.link.tokens.bearer().await.map_err(|error| {
            let code = match error.fault() {
                Fault::Transient { .. } => tonic::Code::Unavailable,
                Fault::Table(_) | Fault::Fatal => tonic::Code::Unauthenticated,
            };
            Failure::of_call(&tonic::Status::new(code, chain(&error)))
        })?;
        address(request.metadata_mut(), "write_stream", stream, bearer);
        let path = http::uri::PathAndQuery::from_static(
            "/google.cloud.bigquery.storage.v1.BigQueryWrite/AppendRows",
        );
        client
            .streaming(request, path, AppendCodec)
            .await
            .map(tonic::Response::into_inner)
            .map_err(|status| Failure::of_call(&status))
    }

    /// Sends what the window admits.
    fn fill(&mut self, out: &mut Outbound) {
        let window = if self.alone > 0 { 1 } else { WINDOW };
        while self.pause.is_none() && self.sent.len() < window {
            if !self.sent.is_empty() && self.sent_bytes >= WINDOW_BYTES {
                return;
            }
            let Some((number, delivery)) = self.unsent.pop_first() else {
                return;
            };
            let target = &delivery.target;
            let named = out.named.as_ref().is_some_and(|named| Arc::ptr_eq(named, target));
            let frame = Frame {
                stream: Bytes::copy_from_slice(target.stream.as_bytes()),
                schema: (!named).then(|| target.schema.clone()),
                rows: delivery.block.body.clone(),
                trace_id: self.link.trace_id.clone(),
            };
            let bytes = frame.len();
            let target = Arc::clone(target);
            if out.frames.try_send(frame).is_err() {
                // The stream is ending; its end is about to be read.
                self.unsent.insert(number, delivery);
                return;
            }
            out.named = Some(target);
            self.sent_bytes += bytes;
            self.sent.push_back(Sent {
                number,
                delivery,
                bytes,
                at: self.link.clock.now(),
            });
        }
    }

    /// Takes one answer: it belongs to the oldest request.
    fn answered(&mut self, answer: AppendRowsResponse) -> Option<Ended> {
        failpoint::hit(failpoint::APPEND_SENT);
        let Some(sent) = self.sent.pop_front() else {
            tracing::warn!("BigQuery answered a request that was not sent");
            return Some(Ended::Renew);
        };
        self.sent_bytes = self.sent_bytes.saturating_sub(sent.bytes);
        if !answer.row_errors.is_empty() {
            let error = row_refused(&sent.delivery, &answer.row_errors);
            self.end(sent.delivery, Err(error));
            return None;
        }
        match answer.response {
            Some(Response::AppendResult(_)) => {
                let took = self.link.clock.now().saturating_duration_since(sent.at);
                let block = &sent.delivery.block;
                let count = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
                let meters = &sent.delivery.target.meters;
                meters.acknowledged(count(block.origins.len()), count(block.body.len()), took);
                self.delays = delays();
                self.slower = slower();
                self.troubles.remove(&sent.delivery.target.layout.table);
                self.end(sent.delivery, Ok(()));
                None
            }
            Some(Response::Error(status)) => {
                let failure = Failure::of(status);
                self.refused(sent.number, sent.delivery, &failure)
            }
            // No word of success is no success.
            None => {
                self.unsent.insert(sent.number, sent.delivery);
                Some(Ended::Renew)
            }
        }
    }

    fn end(&mut self, delivery: Delivery, result: Result<(), Error>) {
        self.alone = self.alone.saturating_sub(1);
        delivery.end(result);
    }

    /// Ends a delivery and those of its table that wait behind it.
    fn give_up(&mut self, delivery: Delivery, error: impl Fn(&Target) -> Error) {
        let target = Arc::clone(&delivery.target);
        let table = &target.layout.table;
        self.end(delivery, Err(error(&target)));
        let behind = self
            .unsent
            .extract_if(.., |_, waiting| waiting.target.layout.table == *table)
            .map(|(_, waiting)| waiting);
        for waiting in behind.collect::<Vec<_>>() {
            self.end(waiting, Err(error(&target)));
        }
    }

    /// A request that was answered with an error; says whether it needs a new stream.
    fn refused(&mut self, number: u64, delivery: Delivery, failure: &Failure) -> Option<Ended> {
        let now = self.link.clock.now();
        tracing::warn!(table = %delivery.target.layout.table, error = %failure, "append failed");
        match failure.verdict() {
            Verdict::Again => self.pause(),
            Verdict::Slower(asked) => self.pause_longer(asked),
            Verdict::Within(limit, lasting) => {
                let table = delivery.target.layout.table.clone();
                let since = *self.troubles.entry(table).or_insert(now);
                let waited = now.saturating_duration_since(since);
                if waited >= limit {
                    self.give_up(delivery, |target| lasting.error(target, failure, waited));
                    return None;
                }
                delivery.target.meters.again();
                self.unsent.insert(number, delivery);
                return Some(Ended::Renew);
            }
            Verdict::Never => {
                let error = Error::Refused {
                    table: delivery.target.layout.table.clone(),
                    target: delivery.target.place.to_string(),
                    status: failure.to_string(),
                };
                self.end(delivery, Err(error));
                return None;
            }
        }
        delivery.target.meters.again();
        self.unsent.insert(number, delivery);
        None
    }

    /// A stream that ended with an error, `requests` of it unanswered, `oldest` the first of them. Others may
    /// wait to be sent again before it: they are not to blame.
    fn failed(&mut self, failure: &Failure, requests: usize, oldest: Option<u64>) {
        match failure.verdict() {
            Verdict::Again if requests == 0 => {
                // Idle streams and servers that restart end this way; the next delivery connects anew.
                tracing::debug!(error = %failure, "connection closed while idle");
                if !self.unsent.is_empty() {
                    self.pause();
                }
            }
            Verdict::Again => {
                tracing::info!(error = %failure, requests, "connection lost, connecting anew");
                self.pause();
            }
            Verdict::Slower(asked) => {
                tracing::warn!(error = %failure, requests, "connection refused, waiting");
                self.pause_longer(asked);
            }
            Verdict::Within(..) | Verdict::Never => {
                if requests > 1 {
                    // Any of them may be the cause: one by one shows which.
                    tracing::warn!(error = %failure, requests, "connection ended by one of several requests");
                    self.alone = requests;
                } else if requests == 1
                    && let Some(number) = oldest
                    && let Some(delivery) = self.unsent.remove(&number)
                {
                    // The stream is gone in any case; a pause is due where the request is tried again.
                    if self.refused(number, delivery, failure).is_some() {
                        self.pause_longer(None);
                    }
                }
            }
        }
    }
}

fn row_refused(delivery: &Delivery, errors: &[RowError]) -> Error {
    let table = delivery.target.layout.table.clone();
    let named = errors.iter().find_map(|error| {
        let index = usize::try_from(error.index).ok()?;
        Some((*delivery.block.origins.get(index)?, error.message.clone()))
    });
    match named {
        Some((at, message)) => Error::RowRefused {
            table,
            at,
            message,
            others: errors.len().saturating_sub(1),
        },
        None => Error::Refused {
            table,
            target: delivery.target.place.to_string(),
            status: "row errors for rows that were not sent".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests;
