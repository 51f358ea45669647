//! One AppendRows call: what it remembers between requests, and what it refuses before the storage sees it.

use std::sync::Arc;

use prost::Message as _;
use tokio::sync::oneshot;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use super::answers::{api_status, status};
use crate::emulator::engine::Engine;
use crate::emulator::faults::{Call, Effect, RowErrors, StatusEffect};
use crate::emulator::schema::{DatasetRef, TableRef};
use crate::emulator::store::append::{Append, AppendError, Appended, Writer};
use crate::emulator::store::sight::Link;
use crate::proto::storage::AppendRowsRequest;
use crate::proto::storage::append_rows_request::Rows;
use crate::proto::storage::storage_error::StorageErrorCode;

/// A request must be smaller than this (documented: 20 MB).
const REQUEST_BYTES: usize = 20_000_000;
/// The routing header.
const ROUTING: &str = "x-goog-request-params";

/// An answer, or one that the storage has yet to give.
pub(super) enum Pending {
    Waiting {
        answer: oneshot::Receiver<Result<Appended, AppendError>>,
        stream: String,
        /// What a fault makes of the answer.
        spoil: Option<Spoil>,
    },
    /// The storage never sees the request.
    Spoiled { stream: String, spoil: Spoil },
    /// The connection ends with this.
    End(Status),
}

/// What takes the place of an answer.
pub(super) enum Spoil {
    Status(StatusEffect),
    Cut,
    End,
    Hang,
}

/// What a fault makes of a request.
#[derive(Default)]
struct Ordered {
    spoil: Option<Spoil>,
    /// Whether the storage sees the request all the same.
    is_applied: bool,
    refuse: Option<Box<RowErrors>>,
}

/// The values of the routing header, decoded.
pub(super) fn routes(metadata: &MetadataMap) -> Vec<(String, String)> {
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
pub(super) struct Connection {
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
    pub(super) fn new(engine: Engine, routes: Vec<(String, String)>) -> Connection {
        let opened = engine.script().moment();
        Connection {
            engine,
            routes,
            link: Arc::new(Link::new(opened)),
            stream: String::new(),
            table: None,
            writer: None,
            is_multiplexed: false,
        }
    }

    /// The stream of the last request; empty before the first.
    pub(super) fn stream(&self) -> &str {
        &self.stream
    }

    /// Takes one request.
    ///
    /// # Errors
    /// The status that ends the call.
    pub(super) async fn take(&mut self, request: AppendRowsRequest) -> Result<Pending, Status> {
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
        let rows = data.rows.unwrap_or_default().serialized_rows;
        self.hand_over(table, writer, rows, bytes).await
    }

    /// Gives a request that keeps the rules to the storage, or does what a fault says.
    async fn hand_over(
        &self,
        table: TableRef,
        writer: Arc<Writer>,
        rows: Vec<bytes::Bytes>,
        bytes: usize,
    ) -> Result<Pending, Status> {
        let stream = self.stream.clone();
        let ordered = match self.engine.script().strike(Call::Append(&table)) {
            Some(effect) => self.order(effect).await,
            None => Ordered::default(),
        };
        match ordered.spoil {
            Some(spoil) if !ordered.is_applied => Ok(Pending::Spoiled { stream, spoil }),
            spoil => {
                let append = Append {
                    table,
                    link: Arc::clone(&self.link),
                    writer,
                    rows,
                    refuse: ordered.refuse,
                };
                let answer = self.engine.append(append, bytes).await;
                Ok(Pending::Waiting {
                    answer: answer.map_err(|error| Status::unavailable(error.to_string()))?,
                    stream,
                    spoil,
                })
            }
        }
    }

    async fn order(&self, effect: Effect) -> Ordered {
        let spoiled = |spoil, is_applied| Ordered {
            spoil: Some(spoil),
            is_applied,
            refuse: None,
        };
        match effect {
            Effect::Status(status) => {
                let is_applied = status.applied;
                spoiled(Spoil::Status(status), is_applied)
            }
            Effect::Cut(cut) => spoiled(Spoil::Cut, cut.applied),
            Effect::End(end) => spoiled(Spoil::End, end.applied),
            Effect::Hang(hang) => spoiled(Spoil::Hang, hang.applied),
            Effect::RowErrors(errors) => Ordered {
                refuse: Some(Box::new(errors)),
                ..Ordered::default()
            },
            Effect::Delay(delay) => {
                let millis = delay.seconds.saturating_mul(1_000);
                self.engine.script().sleep_ms(millis).await;
                Ordered::default()
            }
            Effect::Http(_) | Effect::Pending(_) | Effect::Fail(_) | Effect::Stall => Ordered::default(),
        }
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

    /// Looks whether the call was routed to where the table is.
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
        check_route(&location, is_routed, stream)
    }
}

/// Refuses a call that does not say where it goes: it arrives in the US multi-region, which knows no tables
/// elsewhere.
pub(super) fn check_route(location: &str, is_routed: bool, stream: &str) -> Result<(), Status> {
    if is_routed || location.eq_ignore_ascii_case("us") {
        return Ok(());
    }
    Err(Status::permission_denied(format!(
        "Permission 'TABLES_UPDATE_DATA' denied on resource '{stream}' (or it may not exist)."
    )))
}

/// The table of a default stream's name.
pub(super) fn table_of(stream: &str) -> Result<TableRef, Status> {
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
