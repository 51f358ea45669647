//! A BigQuery that only counts: each append is understood as far as its rows go and acknowledged at once;
//! tables are whatever was created.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::{Json, Router};
use futures_util::{Stream, StreamExt as _};
use replicator::clock::Clock;
use replicator::proto::storage::append_rows_request::Rows;
use replicator::proto::storage::append_rows_response::{AppendResult, Response};
use replicator::proto::storage::big_query_write_server::{BigQueryWrite, BigQueryWriteServer};
use replicator::proto::storage::{AppendRowsRequest, AppendRowsResponse, GetWriteStreamRequest, WriteStream};
use replicator::task::{self, Task};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response as Reply, Status, Streaming};

use crate::Fail;

/// A request may be so large, in bytes, as at Google.
const MAX_REQUEST: usize = 20 << 20;

/// HTTP/2 windows: wide, as for one connection over a wide area.
const WINDOW: u32 = 16 << 20;

/// What has been appended.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) rows: u64,
    /// Bytes of the rows.
    pub(crate) bytes: u64,
    /// Rows of the first append.
    pub(crate) first_rows: u64,
    pub(crate) first: Option<Instant>,
    pub(crate) last: Option<Instant>,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    tally: Mutex<Tally>,
    /// Table resources by their REST path.
    tables: Mutex<HashMap<String, Value>>,
}

/// The running target; stopped when dropped.
#[derive(Debug)]
pub(crate) struct Counter {
    shared: Arc<Shared>,
    /// Where the REST API is.
    pub(crate) rest: String,
    /// Where the Storage Write API is.
    pub(crate) write: String,
    _serving: (Task<()>, Task<()>),
}

impl Counter {
    pub(crate) async fn start() -> Result<Counter, Fail> {
        let shared = Arc::new(Shared {
            clock: Clock::real(),
            tally: Mutex::default(),
            tables: Mutex::default(),
        });
        let (rest, write) = (
            TcpListener::bind("127.0.0.1:0").await?,
            TcpListener::bind("127.0.0.1:0").await?,
        );
        let url = |listener: &TcpListener| listener.local_addr().map(|address| format!("http://{address}"));
        let urls = (url(&rest)?, url(&write)?);
        let app = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let rest = task::spawn("rest", async move {
            if let Err(error) = axum::serve(rest, app).await {
                println!("REST server ended: {error}");
            }
        });
        let service =
            BigQueryWriteServer::new(Service(Arc::clone(&shared))).max_decoding_message_size(MAX_REQUEST);
        let server = tonic::transport::Server::builder()
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .add_service(service);
        // Answers go out at once, not after the other side's delayed acknowledgement.
        let connections = TcpListenerStream::new(write).map(|accepted| {
            let connection = accepted?;
            connection.set_nodelay(true)?;
            Ok::<_, std::io::Error>(connection)
        });
        let write = task::spawn("write", async move {
            if let Err(error) = server.serve_with_incoming(connections).await {
                println!("Storage Write server ended: {error}");
            }
        });
        Ok(Counter {
            shared,
            rest: urls.0,
            write: urls.1,
            _serving: (rest, write),
        })
    }

    /// What was appended since the last [`Counter::reset`].
    pub(crate) fn tally(&self) -> Tally {
        *self.shared.tally()
    }

    /// Begins to count anew.
    pub(crate) fn reset(&self) {
        *self.shared.tally() = Tally::default();
    }
}

impl Shared {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, request: &AppendRowsRequest) {
        let Some(Rows::ProtoRows(data)) = &request.rows else {
            return;
        };
        let rows = data.rows.as_ref().map_or(&[][..], |rows| &rows.serialized_rows);
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let (number, bytes) = (
            count(rows.len()),
            rows.iter().map(|row| count(row.len())).sum::<u64>(),
        );
        let now = self.clock.now();
        let mut tally = self.tally();
        tally.rows += number;
        tally.bytes += bytes;
        tally.last = Some(now);
        if tally.first.is_none() {
            tally.first = Some(now);
            tally.first_rows = number;
        }
    }
}

#[derive(Debug, Clone)]
struct Service(Arc<Shared>);

#[tonic::async_trait]
impl BigQueryWrite for Service {
    type AppendRowsStream = Pin<Box<dyn Stream<Item = Result<AppendRowsResponse, Status>> + Send>>;

    async fn append_rows(
        &self,
        request: Request<Streaming<AppendRowsRequest>>,
    ) -> Result<Reply<Self::AppendRowsStream>, Status> {
        let shared = Arc::clone(&self.0);
        let answers = request.into_inner().map(move |request| {
            shared.count(&request?);
            Ok(AppendRowsResponse {
                response: Some(Response::AppendResult(AppendResult::default())),
                ..AppendRowsResponse::default()
            })
        });
        Ok(Reply::new(Box::pin(answers)))
    }

    async fn get_write_stream(
        &self,
        request: Request<GetWriteStreamRequest>,
    ) -> Result<Reply<WriteStream>, Status> {
        Ok(Reply::new(WriteStream {
            name: request.into_inner().name,
            ..WriteStream::default()
        }))
    }
}

/// Tables are there once created, data sets always, and a query finds nothing.
async fn answer(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    body: Bytes,
) -> (StatusCode, Json<Value>) {
    let path = uri.path();
    let mut tables = shared.tables.lock().unwrap_or_else(PoisonError::into_inner);
    let missing = (
        StatusCode::NOT_FOUND,
        Json(json!({ "error": { "code": 404, "message": "not found" } })),
    );
    if path.ends_with("/queries") {
        return (StatusCode::OK, Json(json!({ "jobComplete": true })));
    }
    if method == Method::POST && path.ends_with("/tables") {
        let Ok(resource) = serde_json::from_slice::<Value>(&body) else {
            return missing;
        };
        let name = resource
            .pointer("/tableReference/tableId")
            .and_then(Value::as_str);
        let name = format!("{path}/{}", name.unwrap_or_default());
        tables.insert(name, resource.clone());
        return (StatusCode::OK, Json(resource));
    }
    if path.contains("/tables/") {
        return tables
            .get(path)
            .map_or(missing, |table| (StatusCode::OK, Json(table.clone())));
    }
    (StatusCode::OK, Json(json!({})))
}
