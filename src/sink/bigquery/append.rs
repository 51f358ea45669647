//! One connection to the Storage Write API. Requests are sent without waiting for the answers to those
//! before, up to a window; answers come in the order of the requests; what is unanswered when a
//! stream ends is sent again in the same order on the next. A delivery ends with BigQuery's own
//! "appended" or with an error that another sending cannot cure; nothing else ends it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::auth::{Generation, Tokens, address};
use super::connect::Server;
use super::delivery::{Delivery, Destination};
use super::error::Error;
use super::status::{Failure, Verdict};
use super::wire::{AppendCodec, Frame};
use crate::clock::Clock;
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

/// What all connections have in common.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) server: Server,
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
        token: Generation::default(),
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
    /// Since when a stream, by its name, cannot be written.
    troubles: HashMap<String, Instant>,
    /// Whose token the present stream was opened with.
    token: Generation,
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
    /// The destination that the last request named.
    named: Option<Arc<Destination>>,
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
            sent.delivery.destination.meters.again();
            self.unsent.insert(sent.number, sent.delivery);
        }
    }

    /// Opens a stream and drives it to its end.
    async fn stream(&mut self) -> Ended {
        let Some(first) = self.unsent.first_key_value() else {
            return Ended::Renew;
        };
        let name = first.1.destination.stream.clone();
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
        &mut self,
        stream: &str,
        outbound: mpsc::Receiver<Frame>,
    ) -> Result<Streaming<AppendRowsResponse>, Failure> {
        let channel = self.link.server.channel();
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
        self.token = bearer.generation;
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
            let bytes = frame.len();
            if out.frames.try_send(frame).is_err() {
                // The stream is ending; its end is about to be read.
                self.unsent.insert(number, delivery);
                return;
            }
            out.named = Some(destination);
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
            self.settled();
            rows_refused(sent.delivery, answer.row_errors);
            return None;
        }
        match answer.response {
            Some(Response::AppendResult(_)) => {
                let took = self.link.clock.now().saturating_duration_since(sent.at);
                let block = &sent.delivery.block;
                let count = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
                let meters = &sent.delivery.destination.meters;
                meters.acknowledged(count(block.rows), count(block.body.len()), took);
                self.delays = delays();
                self.slower = slower();
                self.troubles.remove(&sent.delivery.destination.stream);
                self.settled();
                sent.delivery.appended();
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

    /// One delivery less that has to be sent alone.
    fn settled(&mut self) {
        self.alone = self.alone.saturating_sub(1);
    }

    /// Ends a delivery and those to the same stream that wait behind it.
    fn give_up(&mut self, delivery: Delivery, error: impl Fn(&Destination) -> Error) {
        let destination = Arc::clone(&delivery.destination);
        let behind = self
            .unsent
            .extract_if(.., |_, waiting| waiting.destination.stream == destination.stream)
            .map(|(_, waiting)| waiting)
            .collect::<Vec<_>>();
        for given_up in std::iter::once(delivery).chain(behind) {
            self.settled();
            let error = error(&given_up.destination);
            given_up.failed(error);
        }
    }

    /// A request that was answered with an error; says whether it needs a new stream.
    fn refused(&mut self, number: u64, delivery: Delivery, failure: &Failure) -> Option<Ended> {
        let now = self.link.clock.now();
        let (table, verdict) = (&delivery.destination.table, failure.verdict());
        if verdict == Verdict::Never {
            // What BigQuery says of rows may quote a value.
            tracing::warn!(%table, code = ?failure.code, "append refused");
        } else {
            tracing::warn!(%table, error = %failure, "append failed");
        }
        self.judge_token(failure);
        match verdict {
            Verdict::Again => self.pause(),
            Verdict::Slower(asked) => self.pause_longer(asked),
            Verdict::Within(limit, lasting) => {
                let stream = delivery.destination.stream.clone();
                let since = *self.troubles.entry(stream).or_insert(now);
                let waited = now.saturating_duration_since(since);
                if waited >= limit {
                    self.give_up(delivery, |destination| {
                        lasting.error(destination, failure, waited)
                    });
                    return None;
                }
                delivery.destination.meters.again();
                self.unsent.insert(number, delivery);
                return Some(Ended::Renew);
            }
            Verdict::Never => {
                self.settled();
                delivery.refused(failure.code, failure.message.clone());
                return None;
            }
        }
        delivery.destination.meters.again();
        self.unsent.insert(number, delivery);
        None
    }

    /// A token that was refused is not used again.
    fn judge_token(&self, failure: &Failure) {
        if failure.code == tonic::Code::Unauthenticated {
            self.link.tokens.refused(self.token);
        }
    }

    /// A stream that ended with an error, `requests` of it unanswered, `oldest` the first of them. Others may
    /// wait to be sent again before it: they are not to blame.
    fn failed(&mut self, failure: &Failure, requests: usize, oldest: Option<u64>) {
        self.judge_token(failure);
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
                    tracing::warn!(code = ?failure.code, requests, "connection ended by one of several requests");
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

/// Hands a block back with the rows that the server named.
fn rows_refused(delivery: Delivery, errors: Vec<RowError>) {
    let rows = delivery.block.rows;
    let named: Vec<(usize, String)> = errors
        .into_iter()
        .filter_map(|error| Some((usize::try_from(error.index).ok()?, error.message)))
        .filter(|(index, _)| *index < rows)
        .collect();
    if named.is_empty() {
        let message = "row errors for rows that were not sent";
        delivery.refused(tonic::Code::InvalidArgument, message.to_owned());
    } else {
        delivery.rows(named);
    }
}

#[cfg(test)]
mod tests;
