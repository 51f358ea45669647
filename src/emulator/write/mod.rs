//! The Storage Write API's service: AppendRows and GetWriteStream for default streams.

mod answers;
mod connection;

use std::pin::Pin;

use futures_util::Stream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::engine::Engine;
use super::faults::{Call, Effect};
use super::socket::Line;
use crate::proto::storage::big_query_write_server::BigQueryWrite;
use crate::proto::storage::write_stream::{Type as StreamType, WriteMode};
use crate::proto::storage::{
    AppendRowsRequest, AppendRowsResponse, GetWriteStreamRequest, WriteStream, WriteStreamView,
};
use crate::task;
use answers::{Answerer, api_status, ordered_status, table_schema};
use connection::{Connection, Pending, check_route, routes, table_of};

/// What the transport takes, so that a request that is too large is refused by the rule above.
pub(crate) const TRANSPORT_BYTES: usize = 64 * 1024 * 1024;
/// Requests of a connection that may wait for their answers.
const INFLIGHT: usize = 64;

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    engine: Engine,
    stop: CancellationToken,
}

impl Service {
    /// The service; once `stop` is cancelled, its connections end.
    pub(crate) fn new(engine: Engine, stop: CancellationToken) -> Service {
        Service { engine, stop }
    }
}

#[tonic::async_trait]
impl BigQueryWrite for Service {
    type AppendRowsStream = Pin<Box<dyn Stream<Item = Result<AppendRowsResponse, Status>> + Send>>;

    async fn append_rows(
        &self,
        request: Request<Streaming<AppendRowsRequest>>,
    ) -> Result<Response<Self::AppendRowsStream>, Status> {
        let (metadata, extensions, mut requests) = request.into_parts();
        let (pending, mut answers) = mpsc::channel::<Pending>(INFLIGHT);
        let (send, responses) = mpsc::channel(INFLIGHT);
        let script = self.engine.script().clone();
        let mut connection = Connection::new(self.engine.clone(), routes(&metadata));
        let reading = task::spawn("append rows", async move {
            loop {
                let idle = script.profile().idle_ms;
                let next = tokio::select! {
                    biased;
                    next = requests.message() => match next {
                        Ok(Some(request)) => connection.take(request).await,
                        Ok(None) => return,
                        Err(status) => Err(status),
                    },
                    () = script.sleep_ms(idle) => Err(inactive(idle, connection.stream())),
                };
                let end = next.is_err();
                if pending.send(next.unwrap_or_else(Pending::End)).await.is_err() || end {
                    return;
                }
            }
        });
        let stop = self.stop.clone();
        let answerer = Answerer {
            script: self.engine.script().clone(),
            line: extensions.get::<Line>().cloned(),
        };
        let answering = task::spawn("append rows answers", async move {
            // The reader lives as long as somebody takes its answers.
            let _reading = reading;
            loop {
                let next = async {
                    match answers.recv().await {
                        Some(next) => Some(answerer.respond(next).await),
                        None => None,
                    }
                };
                let response = tokio::select! {
                    biased;
                    () = stop.cancelled() => Err(Status::unavailable("the emulator is stopping")),
                    next = next => match next {
                        Some(next) => next,
                        None => return,
                    },
                };
                let end = response.is_err();
                if send.send(response).await.is_err() || end {
                    return;
                }
            }
        });
        let stream = Answers {
            responses: ReceiverStream::new(responses),
            _task: answering,
        };
        Ok(Response::new(Box::pin(stream)))
    }

    async fn get_write_stream(
        &self,
        request: Request<GetWriteStreamRequest>,
    ) -> Result<Response<WriteStream>, Status> {
        let routes = routes(request.metadata());
        let GetWriteStreamRequest { name, view } = request.into_inner();
        let table = table_of(&name)?;
        let effect = self.engine.script().strike(Call::Stream(&table));
        if let Some(Effect::Status(status)) = &effect {
            return Err(ordered_status(status, &name));
        }
        if let Some(Effect::Delay(delay)) = effect {
            let millis = delay.seconds.saturating_mul(1_000);
            self.engine.script().sleep_ms(millis).await;
        }
        let asked = table.clone();
        let found = self.engine.run(move |store| {
            let table = store.table(&asked)?;
            Ok((store.seen_anew(&table)?, store.dataset(&asked.dataset)?))
        });
        let (table, dataset) = found.await.map_err(|error| api_status(&error, &table))?;
        let is_named = routes.iter().any(|(key, value)| key == "name" && *value == name);
        check_route(&dataset.location, is_named, &name)?;
        let is_full = view == i32::from(WriteStreamView::Full);
        Ok(Response::new(WriteStream {
            name,
            r#type: StreamType::Committed.into(),
            create_time: Some(prost_types::Timestamp {
                seconds: table.created_ms.div_euclid(1_000),
                nanos: 0,
            }),
            commit_time: None,
            table_schema: is_full.then(|| table_schema(&table)),
            write_mode: WriteMode::Insert.into(),
            location: dataset.location.clone(),
        }))
    }
}

/// The end of a connection that had no request for too long.
fn inactive(idle_ms: u64, stream: &str) -> Status {
    let seconds = idle_ms / 1_000;
    Status::aborted(format!(
        "Closing the stream because it has been inactive for {seconds} seconds. Entity: {stream}"
    ))
}

/// The answers of a connection; dropping them stops its tasks.
struct Answers {
    responses: ReceiverStream<Result<AppendRowsResponse, Status>>,
    _task: task::Task<()>,
}

impl Stream for Answers {
    type Item = Result<AppendRowsResponse, Status>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        Pin::new(&mut self.responses).poll_next(context)
    }
}
