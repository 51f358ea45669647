//! The Storage Write API's service: AppendRows and GetWriteStream for default streams.

mod answers;

use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use prost::Message as _;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status, Streaming};

use super::engine::Engine;
use super::schema::{DatasetRef, TableRef};
use super::store::append::{Append, AppendError, Appended, Link, Writer};
use crate::proto::storage::append_rows_request::Rows;
use crate::proto::storage::big_query_write_server::BigQueryWrite;
use crate::proto::storage::storage_error::StorageErrorCode;
use crate::proto::storage::write_stream::{Type as StreamType, WriteMode};
use crate::proto::storage::{
    AppendRowsRequest, AppendRowsResponse, GetWriteStreamRequest, WriteStream, WriteStreamView,
};
use crate::task;
use answers::{api_status, respond, status, table_schema};

/// A request must be smaller than this (documented: 20 MB).
const REQUEST_BYTES: usize = 20_000_000;
/// What the transport takes, so that a request that is too large is refused by the rule above.
pub(crate) const TRANSPORT_BYTES: usize = 64 * 1024 * 1024;
/// Requests of a connection that may wait for their answers.
const INFLIGHT: usize = 64;
/// The routing header.
const ROUTING: &str = "x-goog-request-params";

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

/// An answer, or one that the storage has yet to give.
enum Pending {
    Waiting {
        answer: oneshot::Receiver<Result<Appended, AppendError>>,
        stream: String,
    },
    /// The connection ends with this.
    End(Status),
}

#[tonic::async_trait]
impl BigQueryWrite for Service {
    type AppendRowsStream = Pin<Box<dyn Stream<Item = Result<AppendRowsResponse, Status>> + Send>>;

    async fn append_rows(
        &self,
        request: Request<Streaming<AppendRowsRequest>>,
    ) -> Result<Response<Self::AppendRowsStream>, Status> {
        let (metadata, _, mut requests) = request.into_parts();
        let (pending, mut answers) = mpsc::channel::<Pending>(INFLIGHT);
        let (send, responses) = mpsc::channel(INFLIGHT);
        let mut connection = Connection::new(self.engine.clone(), routes(&metadata));
        let reading = task::spawn("append rows", async move {
            loop {
                let next = match requests.message().await {
                    Ok(Some(request)) => connection.take(request).await,
                    Ok(None) => return,
                    Err(status) => Err(status),
                };
                let end = next.is_err();
                if pending.send(next.unwrap_or_else(Pending::End)).await.is_err() || end {
                    return;
                }
            }
        });
        let stop = self.stop.clone();
        let answering = task::spawn("append rows answers", async move {
            // The reader lives as long as somebody takes its answers.
            let _reading = reading;
            loop {
                let response = tokio::select! {
                    biased;
                    () = stop.cancelled() => Err(Status::unavailable("the emulator is stopping")),
                    next = answers.recv() => match next {
                        Some(next) => respond(next).await,
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
        let GetWriteStreamRequest { name, view } = request.into_inner();
        let table = table_of(&name)?;
        let asked = table.clone();
        let found = self
            .engine
            .run(move |store| Ok((store.table(&asked)?, store.dataset(&asked.dataset)?)));
        let (table, dataset) = found.await.map_err(|error| api_status(&error, &table))?;
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

/// The values of the routing header, decoded.
fn routes(metadata: &MetadataMap) -> Vec<(String, String)> {
    let mut routes = Vec::new();
    for value in metadata.get_all(ROUTING) {
        for pair in value.to_str().unwrap_or_default().split('&') {
            if let Some((name, value)) = pair.split_once('=') {
                routes.push((name.to_owned(), unescape(value)));
            }
        }
    }
    routes
}

/// Undoes percent-encoding.
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let code = if byte == b'%' {
            bytes.clone().take(2).collect()
        } else {
            Vec::new()
        };
        let code = std::str::from_utf8(&code).ok().filter(|code| code.len() == 2);
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(decoded) => {
                out.push(decoded);
                bytes.nth(1);
            }
            None => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// What a connection remembers between requests.
struct Connection {
    engine: Engine,
    routes: Vec<(String, String)>,
    link: Arc<Link>,
    /// The stream of the last request.
    stream: String,
    table: Option<TableRef>,
    writer: Option<Arc<Writer>>,
    /// Whether more than one table or schema was written to: then every request names its stream.
    is_multiplexed: bool,
}

impl Connection {
    fn new(engine: Engine, routes: Vec<(String, String)>) -> Connection {
        Connection {
            engine,
            routes,
            link: Arc::new(Link::default()),
            stream: String::new(),
            table: None,
            writer: None,
            is_multiplexed: false,
        }
    }

    async fn take(&mut self, request: AppendRowsRequest) -> Result<Pending, Status> {
        let bytes = request.encoded_len();
        if bytes >= REQUEST_BYTES {
            return Err(Status::invalid_argument(format!(
                "Request of {bytes} bytes is too large: it must be smaller than {REQUEST_BYTES}"
            )));
        }
        if request.offset.is_some() {
            return Err(Status::invalid_argument(
                "Offset must not be set on a default stream",
            ));
        }
        let data = match request.rows {
            Some(Rows::ProtoRows(data)) => data,
            Some(Rows::ArrowRows(_)) => {
                return Err(Status::unimplemented(
                    "The emulator takes rows in protobuf form only",
                ));
            }
            None => return Err(Status::invalid_argument("The request has no rows")),
        };
        self.switch_stream(request.write_stream, data.writer_schema.is_some())
            .await?;
        if let Some(schema) = data.writer_schema {
            let descriptor = schema.proto_descriptor;
            let descriptor = descriptor
                .ok_or_else(|| Status::invalid_argument("writer_schema has no proto_descriptor"))?;
            let known = self
                .writer
                .as_ref()
                .is_some_and(|writer| writer.descriptor == descriptor);
            if !known {
                self.is_multiplexed |= self.writer.is_some();
                self.writer = Some(Arc::new(Writer::new(descriptor)));
            }
        }
        let (Some(table), Some(writer)) = (self.table.clone(), self.writer.clone()) else {
            return Err(Status::invalid_argument(
                "The first request must have a writer_schema",
            ));
        };
        let append = Append {
            table,
            link: Arc::clone(&self.link),
            writer,
            rows: data.rows.unwrap_or_default().serialized_rows,
        };
        let answer = self.engine.append(append, bytes).await;
        Ok(Pending::Waiting {
            answer: answer.map_err(|error| Status::unavailable(error.to_string()))?,
            stream: self.stream.clone(),
        })
    }

    async fn switch_stream(&mut self, stream: String, has_schema: bool) -> Result<(), Status> {
        if stream.is_empty() {
            return if self.table.is_none() {
                Err(Status::invalid_argument(
                    "The first request must have a write_stream",
                ))
            } else if self.is_multiplexed {
                Err(Status::invalid_argument(
                    "Every request of a connection with several destinations must have a write_stream",
                ))
            } else {
                Ok(())
            };
        }
        if stream == self.stream {
            return Ok(());
        }
        let table = table_of(&stream)?;
        if !has_schema {
            return Err(Status::invalid_argument(
                "A request that changes the destination must have a writer_schema",
            ));
        }
        self.check_route(&stream, &table).await?;
        self.is_multiplexed |= self.table.is_some();
        (self.stream, self.table, self.writer) = (stream, Some(table), None);
        Ok(())
    }

    /// Requests that do not say where they go arrive in the US, which knows no tables elsewhere.
    async fn check_route(&self, stream: &str, table: &TableRef) -> Result<(), Status> {
        let asked = table.clone();
        let found = self.engine.run(move |store| {
            store.table(&asked)?;
            store.dataset(&asked.dataset)
        });
        let dataset = found.await.map_err(|error| api_status(&error, table))?;
        let location = dataset.location.to_ascii_lowercase();
        let place = format!("projects/{}/locations/{location}", table.dataset.project);
        let is_routed = self.routes.iter().any(|(name, value)| match name.as_str() {
            // A multiplexed connection was opened for another table of the same place.
            "write_stream" => value == stream || self.table.is_some(),
            "write_location" => value.to_ascii_lowercase() == place,
            _ => false,
        });
        if location == "us" || is_routed {
            return Ok(());
        }
        Err(Status::permission_denied(format!(
            "Permission 'TABLES_UPDATE_DATA' denied on resource '{stream}' (or it may not exist)."
        )))
    }
}

/// The table of a default stream's name.
fn table_of(stream: &str) -> Result<TableRef, Status> {
    let parts: Vec<&str> = stream.split('/').collect();
    let [
        "projects",
        project,
        "datasets",
        dataset,
        "tables",
        table,
        rest @ ..,
    ] = parts.as_slice()
    else {
        return Err(Status::invalid_argument(format!("Invalid stream name: {stream}")));
    };
    match rest {
        ["_default"] | ["streams", "_default"] => Ok(TableRef {
            dataset: DatasetRef {
                project: (*project).to_owned(),
                dataset: (*dataset).to_owned(),
            },
            table: (*table).to_owned(),
        }),
        ["streams", _] => Err(status(
            Code::NotFound,
            StorageErrorCode::StreamNotFound,
            stream,
            &format!(
                "Requested entity was not found. Entity: {stream}; the emulator has default streams only"
            ),
        )),
        _ => Err(Status::invalid_argument(format!("Invalid stream name: {stream}"))),
    }
}
