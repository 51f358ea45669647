//! What follows from an answer, and from the end of a stream, for each delivery on it.

use std::sync::Arc;
use std::time::Duration;

use tonic::Code;

use super::super::delivery::{Delivery, Destination};
use super::super::error::Error;
use super::super::rest::Rest;
use super::super::status::{Failure, Lasting, Verdict};
use super::super::tables;
use super::flight::Sent;
use super::{Ended, Lookup, Outbound, REFUSALS, Worker, delays, slower};
use crate::failpoint;
use crate::fault::chain;
use crate::proto::storage::append_rows_response::Response;
use crate::proto::storage::{AppendRowsResponse, RowError};
use crate::sink::BoxFuture;

impl Worker {
    /// Takes one answer: it belongs to the oldest request.
    pub(super) fn answered(&mut self, answer: AppendRowsResponse, out: &mut Outbound) -> Option<Ended> {
        failpoint::hit(failpoint::APPEND_SENT);
        let Some(sent) = self.flight.answered() else {
            tracing::warn!("BigQuery answered a request that was not sent");
            return Some(Ended::Confused);
        };
        if answer.updated_schema.is_some()
            && let Some(delivery) = self.flight.delivery(sent.number)
        {
            tracing::debug!(table = %delivery.destination.table, "BigQuery tells of a new schema");
        }
        if !matches!(answer.response, Some(Response::AppendResult(_))) || !answer.row_errors.is_empty() {
            // The next request brings its schema again.
            out.named = None;
            out.unsure |= sent.with_schema;
        }
        if !answer.row_errors.is_empty() {
            if let Some(delivery) = self.flight.end(sent.number) {
                rows_refused(delivery, answer.row_errors);
            }
            return None;
        }
        match answer.response {
            Some(Response::AppendResult(_)) => {
                out.unsure &= !sent.with_schema;
                self.appended(&sent);
                None
            }
            Some(Response::Error(status)) => {
                let excused = out.unsure && !sent.with_schema;
                self.refused(sent.number, &Failure::of(status), excused)
            }
            // No word of success is no success.
            None => {
                self.flight.again(sent.number);
                Some(Ended::Confused)
            }
        }
    }

    fn appended(&mut self, sent: &Sent) {
        self.delays = delays();
        self.slower = slower();
        self.refusals = 0;
        let Some(delivery) = self.flight.delivery(sent.number) else {
            return;
        };
        let took = self.link.clock.now().saturating_duration_since(sent.at);
        let count = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
        let (rows, bytes) = (delivery.block.rows, delivery.block.body.len());
        let destination = Arc::clone(&delivery.destination);
        destination.meters.acknowledged(count(rows), count(bytes), took);
        self.flight.well(&destination.stream);
        if let Some(delivery) = self.flight.end(sent.number) {
            delivery.appended();
        }
    }

    /// A request that was answered with an error, `excused` if it may have lacked a schema that the server
    /// forgot; says whether it needs a new stream.
    fn refused(&mut self, number: u64, failure: &Failure, excused: bool) -> Option<Ended> {
        let destination = Arc::clone(&self.flight.delivery(number)?.destination);
        let (table, verdict) = (&destination.table, failure.verdict());
        if verdict == Verdict::Block {
            // What BigQuery says of rows may quote a value.
            tracing::warn!(%table, code = ?failure.code, "append refused");
        } else {
            tracing::warn!(%table, error = %failure, "append failed");
        }
        match verdict {
            Verdict::Again => {
                self.pause();
                self.refusals += 1;
                self.flight.again(number);
                self.flight.otherwise(&destination.stream);
                (self.refusals >= REFUSALS).then_some(Ended::Renew)
            }
            Verdict::Slower(asked) => {
                self.flight.slow_down();
                self.pause_longer(asked);
                self.flight.again(number);
                self.flight.otherwise(&destination.stream);
                None
            }
            Verdict::Within(limit, lasting) => {
                self.flight.again(number);
                self.troubled(&destination, failure, (limit, lasting));
                None
            }
            Verdict::Block if excused => {
                self.flight.again(number);
                None
            }
            Verdict::Block => {
                if let Some(delivery) = self.flight.end(number) {
                    delivery.refused(failure.message.clone());
                }
                None
            }
            Verdict::Never => {
                self.flight.again(number);
                self.give_up(&destination, |destination| Error::Refused {
                    table: destination.table.clone(),
                    target: destination.place.to_string(),
                    status: failure.to_string(),
                });
                None
            }
        }
    }

    /// A table that cannot be written now: it is held back, and given up if that lasts.
    fn troubled(
        &mut self,
        destination: &Arc<Destination>,
        failure: &Failure,
        (limit, lasting): (Duration, Lasting),
    ) {
        let now = self.link.clock.now();
        let trouble = self.flight.trouble(&destination.stream, now);
        let waited = trouble.meet(failure.code, now);
        if waited >= limit {
            self.give_up(destination, |destination| {
                lasting.error(destination, failure, waited)
            });
            return;
        }
        if failure.code == Code::NotFound {
            if trouble.hold_until_known() {
                self.lookups
                    .push(look_up(self.link.rest.clone(), Arc::clone(destination)));
            }
            return;
        }
        trouble.hold(now);
    }

    /// Whether a table exists is known, or could not be found out.
    pub(super) fn looked(&mut self, lookup: Lookup) {
        let Lookup { destination, exists } = lookup;
        let now = self.link.clock.now();
        let trouble = self.flight.troubled(&destination.stream);
        match exists {
            Ok(false) => {
                if trouble.is_none_or(|trouble| trouble.not_found(now)) {
                    self.give_up(&destination, |destination| Error::Gone {
                        table: destination.table.clone(),
                        target: destination.place.to_string(),
                    });
                    return;
                }
                tracing::warn!(table = %destination.table, "the target is not found, looking again");
            }
            Ok(true) => {
                if let Some(trouble) = trouble {
                    trouble.found();
                }
                tracing::info!(table = %destination.table, "the target exists, the write API does not know it yet");
            }
            Err(error) => {
                tracing::warn!(table = %destination.table, error = chain(&error), "whether the target exists is not known");
            }
        }
        if let Some(trouble) = self.flight.troubled(&destination.stream) {
            trouble.known(now);
        }
    }

    /// Ends what is to be sent to a stream.
    fn give_up(&mut self, destination: &Destination, error: impl Fn(&Destination) -> Error) {
        for number in self.flight.unsent_to(&destination.stream) {
            if let Some(delivery) = self.flight.end(number) {
                let error = error(&delivery.destination);
                delivery.failed(error);
            }
        }
    }

    /// A stream is gone; what it means for what was on it.
    pub(super) fn ended(&mut self, ended: &Ended) {
        let requests = self.flight.on_stream();
        match ended {
            Ended::Done | Ended::Renew => self.flight.take_back(false),
            Ended::Idle => tracing::debug!("idle connection closed"),
            Ended::Confused => {
                self.flight.take_back(false);
                self.pause_longer(None);
            }
            Ended::Silent => {
                tracing::warn!(requests, "no answer from BigQuery for too long, connecting anew");
                self.flight.take_back(false);
                self.pause();
            }
            Ended::Failed(failure) => self.failed(failure, requests),
        }
    }

    /// A stream that ended with an error, `requests` of it unanswered. Others may wait to be sent again: they
    /// are not to blame.
    fn failed(&mut self, failure: &Failure, requests: usize) {
        if requests == 0 {
            // Idle streams and servers that restart end this way; the next delivery connects anew.
            tracing::debug!(error = %failure, "connection closed while idle");
            return;
        }
        match failure.verdict() {
            Verdict::Again => {
                tracing::info!(error = %failure, requests, "connection lost, connecting anew");
                self.flight.take_back(false);
                self.pause();
            }
            Verdict::Slower(asked) => {
                tracing::warn!(error = %failure, requests, "connection refused, waiting");
                self.flight.take_back(false);
                self.flight.slow_down();
                self.pause_longer(asked);
            }
            Verdict::Within(..) | Verdict::Block | Verdict::Never
                if requests > 1 || !self.flight.proves() =>
            {
                // Any of them may be the cause, or the lack of a schema that the server forgot: one by one shows which.
                tracing::warn!(code = ?failure.code, requests, "connection ended by one of several requests");
                self.flight.take_back(true);
            }
            Verdict::Within(..) | Verdict::Block | Verdict::Never => {
                if let Some(sent) = self.flight.answered() {
                    self.refused(sent.number, failure, false);
                }
            }
        }
    }
}

/// Asks whether the table of a destination exists.
fn look_up(rest: Rest, destination: Arc<Destination>) -> BoxFuture<'static, Lookup> {
    Box::pin(async move {
        let exists = tables::exists(&rest, &destination.place).await;
        Lookup { destination, exists }
    })
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
        delivery.refused(message.to_owned());
    } else {
        delivery.rows(named);
    }
}
