//! A Storage Write server that answers as a script says and keeps what it applied.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::Stream;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Code, Request, Response as Reply, Status, Streaming};

use super::super::super::fixture::{Field, fields};
use crate::proto::rpc;
use crate::proto::storage::append_rows_request::Rows;
use crate::proto::storage::append_rows_response::{AppendResult, Response};
use crate::proto::storage::big_query_write_server::{BigQueryWrite, BigQueryWriteServer};
use crate::proto::storage::{
    AppendRowsRequest, AppendRowsResponse, GetWriteStreamRequest, RowError, WriteStream,
};
use crate::task::{self, Task};

/// What the server does with the next request.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Applies it and says so.
    Take,
    /// Applies it and ends the stream without a word.
    TakeAndDrop,
    /// Ends the stream.
    End(Code),
    /// Answers in-band with an error.
    Refuse(Code),
    /// Answers that a row is bad.
    RowErrors(i64),
    /// Answers without a result.
    NoWord,
    /// Keeps the answer until so many requests have come on the stream.
    TakeAfter(usize),
}

/// A request that was applied: stream name, whether it had a schema, rows.
#[derive(Debug, Clone)]
pub(super) struct Applied {
    pub(super) write_stream: String,
    pub(super) with_schema: bool,
    pub(super) first_key: u64,
}

#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) script: VecDeque<Step>,
    pub(super) applied: Vec<Applied>,
    /// Per stream: the routing header and how many requests came.
    pub(super) streams: Vec<(String, usize)>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Server(Arc<Mutex<Seen>>);

impl Server {
    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn scripted(steps: impl IntoIterator<Item = Step>) -> Server {
        let server = Server::default();
        server.seen().script.extend(steps);
        server
    }

    /// First keys of the applied requests, in order.
    pub(super) fn keys(&self) -> Vec<u64> {
        self.seen()
            .applied
            .iter()
            .map(|applied| applied.first_key)
            .collect()
    }

    pub(super) async fn start(&self) -> (String, Task<()>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let incoming = TcpListenerStream::new(listener);
        let service = BigQueryWriteServer::new(self.clone()).max_decoding_message_size(20_000_000);
        let serving = tonic::transport::Server::builder().add_service(service);
        let task = task::spawn("server", async move {
            serving.serve_with_incoming(incoming).await.unwrap();
        });
        (url, task)
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<AppendRowsResponse, Status>> + Send>>;

#[tonic::async_trait]
impl BigQueryWrite for Server {
    type AppendRowsStream = Answers;

    async fn append_rows(
        &self,
        request: Request<Streaming<AppendRowsRequest>>,
    ) -> Result<Reply<Answers>, Status> {
        let route = request.metadata().get("x-goog-request-params").unwrap();
        let route = route.to_str().unwrap().to_owned();
        let number = {
            let mut seen = self.seen();
            seen.streams.push((route, 0));
            seen.streams.len() - 1
        };
        let (answers, stream) = mpsc::channel(1000);
        let server = self.clone();
        let mut requests = request.into_inner();
        // Held by the answer stream, so that it ends with it.
        let task = task::spawn("stream", async move {
            let mut held = Vec::new();
            while let Some(Ok(request)) = requests.next().await {
                let (count, step) = {
                    let mut seen = server.seen();
                    seen.streams[number].1 += 1;
                    (
                        seen.streams[number].1,
                        seen.script.pop_front().unwrap_or(Step::Take),
                    )
                };
                if let Step::TakeAfter(wanted) = step {
                    server.apply(&request);
                    held.push((wanted, answer(&Step::Take).unwrap()));
                } else {
                    if matches!(step, Step::Take | Step::TakeAndDrop) {
                        server.apply(&request);
                    }
                    match answer(&step) {
                        Some(answer) => held.push((0, answer)),
                        None => return end(&step, &answers).await,
                    }
                }
                while held.first().is_some_and(|(wanted, _)| *wanted <= count) {
                    answers.send(Ok(held.remove(0).1)).await.unwrap();
                }
            }
        });
        let stream = ReceiverStream::new(stream).map(move |answer| {
            let _running = &task;
            answer
        });
        Ok(Reply::new(Box::pin(stream)))
    }

    async fn get_write_stream(
        &self,
        _request: Request<GetWriteStreamRequest>,
    ) -> Result<Reply<WriteStream>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

impl Server {
    fn apply(&self, request: &AppendRowsRequest) {
        let Some(Rows::ProtoRows(data)) = &request.rows else {
            panic!("no proto rows");
        };
        assert!(!request.write_stream.is_empty());
        let row = data.rows.as_ref().unwrap().serialized_rows.first().unwrap();
        let Field::Varint(first_key) = fields(row)[0].1 else {
            panic!("no key");
        };
        let with_schema = data.writer_schema.is_some();
        self.seen().applied.push(Applied {
            write_stream: request.write_stream.clone(),
            with_schema,
            first_key,
        });
    }
}

fn answer(step: &Step) -> Option<AppendRowsResponse> {
    let mut answer = AppendRowsResponse::default();
    match step {
        Step::Take | Step::TakeAfter(_) => {
            answer.response = Some(Response::AppendResult(AppendResult::default()));
        }
        Step::Refuse(code) => {
            answer.response = Some(Response::Error(rpc::Status {
                code: (*code).into(),
                message: "scripted".to_owned(),
                details: Vec::new(),
            }));
        }
        Step::RowErrors(index) => answer.row_errors.push(RowError {
            index: *index,
            code: 1,
            message: "field v is bad".to_owned(),
        }),
        Step::NoWord => {}
        Step::TakeAndDrop | Step::End(_) => return None,
    }
    Some(answer)
}

async fn end(step: &Step, answers: &mpsc::Sender<Result<AppendRowsResponse, Status>>) {
    if let Step::End(code) = step {
        answers.send(Err(Status::new(*code, "scripted"))).await.unwrap();
    }
}
