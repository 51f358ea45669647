//! A man in the middle between the sink and the emulator, who makes the sink look like one with a defect: he
//! stands on the way of the Storage Write API and changes what passes.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use replicator::clock::Clock;
use replicator::proto::storage::append_rows_request::Rows;
use replicator::proto::storage::append_rows_response::{AppendResult, Response as Answer};
use replicator::proto::storage::big_query_write_client::BigQueryWriteClient;
use replicator::proto::storage::big_query_write_server::{BigQueryWrite, BigQueryWriteServer};
use replicator::proto::storage::{AppendRowsRequest, AppendRowsResponse, GetWriteStreamRequest, WriteStream};
use replicator::task::{self, Task};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Server};
use tonic::{Code, Request, Response, Status, Streaming};

/// What the sink is made to do wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Defect {
    None,
    /// It does not say where its calls go.
    NoRoute,
    /// It takes an answer with row errors for a success.
    IgnoresRowErrors,
    /// It takes some of its requests for sent and acknowledged.
    Claims,
    /// It sends two requests in the wrong order, and takes their answers as they come.
    Swaps,
    /// It sends every request again, with another content.
    SendsOtherContent,
    /// It goes on with its connection where it should take a new one.
    KeepsStream,
    /// It takes NOT_FOUND for a success.
    SwallowsNotFound,
}

/// The man in the middle, as long as he is held.
pub(crate) struct Middle {
    pub(crate) url: String,
    _serving: Task<()>,
}

impl Middle {
    /// Stands before the Storage Write API at `url`.
    pub(crate) async fn before(url: String, defect: Defect) -> Middle {
        let upstream = Channel::from_shared(url).expect("an address").connect_lazy();
        let man = Man {
            upstream: BigQueryWriteClient::new(upstream).max_encoding_message_size(usize::MAX),
            defect,
            kept: Arc::default(),
            calls: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let service = BigQueryWriteServer::new(man).max_decoding_message_size(usize::MAX);
        let serving = Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener));
        Middle {
            url,
            _serving: task::spawn("middle", async move { serving.await.expect("it serves") }),
        }
    }
}

/// A call of the service behind.
struct Upstream {
    requests: mpsc::Sender<AppendRowsRequest>,
    answers: Streaming<AppendRowsResponse>,
}

#[derive(Clone)]
struct Man {
    upstream: BigQueryWriteClient<Channel>,
    defect: Defect,
    /// A call that is gone on with.
    kept: Arc<Mutex<Option<Upstream>>>,
    calls: Arc<Mutex<Vec<Task<()>>>>,
}

type Answers = Pin<Box<dyn Stream<Item = Result<AppendRowsResponse, Status>> + Send>>;

#[tonic::async_trait]
impl BigQueryWrite for Man {
    type AppendRowsStream = Answers;

    async fn append_rows(
        &self,
        request: Request<Streaming<AppendRowsRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let (metadata, _, requests) = request.into_parts();
        let kept = self.kept.lock().expect("no panic").take();
        let upstream = match kept {
            Some(kept) => kept,
            None => self.open(metadata).await?,
        };
        let (send, answers) = mpsc::channel(64);
        let call = Call {
            man: self.clone(),
            upstream,
            send,
            waiting: VecDeque::new(),
            held: None,
            seen: 0,
        };
        let call = task::spawn("middle call", call.run(requests));
        self.calls.lock().expect("no panic").push(call);
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn get_write_stream(
        &self,
        request: Request<GetWriteStreamRequest>,
    ) -> Result<Response<WriteStream>, Status> {
        let (metadata, _, asked) = request.into_parts();
        let mut request = Request::new(asked);
        *request.metadata_mut() = metadata;
        self.upstream.clone().get_write_stream(request).await
    }
}

impl Man {
    async fn open(&self, mut metadata: MetadataMap) -> Result<Upstream, Status> {
        if self.defect == Defect::NoRoute {
            metadata.remove("x-goog-request-params");
        }
        let (requests, queue) = mpsc::channel(64);
        let mut request = Request::new(ReceiverStream::new(queue));
        *request.metadata_mut() = metadata;
        let answers = self.upstream.clone().append_rows(request).await?.into_inner();
        Ok(Upstream { requests, answers })
    }
}

/// What a request of the sink's waits for.
enum Waits {
    /// So many answers of the service, of which the first is passed on.
    ForAnswers(usize),
    /// Nothing: it was never sent.
    ForNothing,
}

/// A call of the sink's.
struct Call {
    man: Man,
    upstream: Upstream,
    send: mpsc::Sender<Result<AppendRowsResponse, Status>>,
    waiting: VecDeque<Waits>,
    /// A request that the next one is sent before.
    held: Option<AppendRowsRequest>,
    seen: usize,
}

impl Call {
    async fn run(mut self, mut requests: Streaming<AppendRowsRequest>) {
        let real = Clock::real();
        loop {
            self.claim().await;
            let is_held = self.held.is_some();
            tokio::select! {
                next = requests.message() => match next {
                    Ok(Some(request)) => self.take(request).await,
                    Ok(None) | Err(_) => break,
                },
                answer = self.upstream.answers.message() => match answer {
                    Ok(Some(answer)) => self.pass(answer).await,
                    Ok(None) => return,
                    Err(status) => return self.end(status).await,
                },
                // No other request comes that could be sent before it.
                () = real.sleep(Duration::from_millis(5)), if is_held => {
                    if let Some(held) = self.held.take() {
                        self.forward(held).await;
                    }
                }
            }
        }
        if self.man.defect == Defect::KeepsStream {
            *self.man.kept.lock().expect("no panic") = Some(self.upstream);
        }
    }

    /// Takes a request of the sink's.
    async fn take(&mut self, request: AppendRowsRequest) {
        self.seen += 1;
        let defect = self.man.defect;
        if defect == Defect::Claims && self.seen.is_multiple_of(3) {
            self.waiting.push_back(Waits::ForNothing);
            return;
        }
        if defect == Defect::SendsOtherContent {
            self.waiting.push_back(Waits::ForAnswers(2));
            let changed = changed(request.clone());
            self.forward(request).await;
            self.forward(changed).await;
            return;
        }
        self.waiting.push_back(Waits::ForAnswers(1));
        // Who comes first has the schema, without which nothing is taken.
        if defect == Defect::Swaps && self.seen > 1 && self.held.is_none() {
            self.held = Some(request);
            return;
        }
        self.forward(request).await;
        if let Some(held) = self.held.take() {
            self.forward(held).await;
        }
    }

    async fn forward(&mut self, request: AppendRowsRequest) {
        // A call that has ended takes no more; its end says why.
        let _ended = self.upstream.requests.send(request).await;
    }

    /// Acknowledges what was never sent, once it is its turn.
    async fn claim(&mut self) {
        while let Some(Waits::ForNothing) = self.waiting.front() {
            self.waiting.pop_front();
            self.success(String::new()).await;
        }
    }

    async fn success(&mut self, stream: String) {
        let answer = AppendRowsResponse {
            response: Some(Answer::AppendResult(AppendResult { offset: None })),
            write_stream: stream,
            ..AppendRowsResponse::default()
        };
        let _gone = self.send.send(Ok(answer)).await;
    }

    /// Passes an answer of the service on.
    async fn pass(&mut self, answer: AppendRowsResponse) {
        if let Some(Waits::ForAnswers(left)) = self.waiting.pop_front()
            && left > 1
        {
            let _gone = self.send.send(Ok(answer)).await;
            self.waiting.push_front(Waits::ForAnswers(0));
            return;
        }
        let not_found =
            matches!(&answer.response, Some(Answer::Error(error)) if error.code == i32::from(Code::NotFound));
        let defect = self.man.defect;
        if defect == Defect::SendsOtherContent {
            // The answer to what was sent again.
            return;
        }
        let is_success = defect == Defect::IgnoresRowErrors && !answer.row_errors.is_empty()
            || defect == Defect::SwallowsNotFound && not_found;
        if is_success {
            return self.success(answer.write_stream).await;
        }
        let _gone = self.send.send(Ok(answer)).await;
    }

    /// Passes the end of a call on.
    async fn end(&mut self, status: Status) {
        if self.man.defect == Defect::SwallowsNotFound && status.code() == Code::NotFound {
            while self.waiting.pop_front().is_some() {
                self.success(String::new()).await;
            }
            return;
        }
        let _gone = self.send.send(Err(status)).await;
    }
}

/// The same rows with the same numbers and another text in them.
fn changed(mut request: AppendRowsRequest) -> AppendRowsRequest {
    if let Some(Rows::ProtoRows(data)) = &mut request.rows
        && let Some(rows) = &mut data.rows
    {
        for row in &mut rows.serialized_rows {
            let mut bytes = row.to_vec();
            let is_note = |part: &[u8]| matches!(part, [left, b' ', right] if left.is_ascii_digit() && right.is_ascii_digit());
            if let Some(at) = bytes.windows(3).position(is_note) {
                bytes[at + 1] = b'_';
            }
            *row = Bytes::from(bytes);
        }
    }
    request
}
