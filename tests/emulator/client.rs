//! A small client of its own, so that these tests see the wire and nobody's idea of it.

use std::path::PathBuf;

use bytes::Bytes;
use prost::Message as _;
use replicator::clock::Clock;
use replicator::emulator::{Options, Running, serve};
use replicator::proto::descriptor::field_descriptor_proto::{Label, Type};
use replicator::proto::descriptor::{DescriptorProto, FieldDescriptorProto};
use replicator::proto::storage::append_rows_request::{ProtoData, Rows};
use replicator::proto::storage::append_rows_response::Response as Answer;
use replicator::proto::storage::big_query_write_client::BigQueryWriteClient;
use replicator::proto::storage::{AppendRowsRequest, AppendRowsResponse, ProtoRows, ProtoSchema};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

/// A running emulator and what talks to it.
pub(crate) struct Emulator {
    pub(crate) running: Running,
    pub(crate) clock: Clock,
    http: reqwest::Client,
}

impl Emulator {
    pub(crate) async fn start() -> Emulator {
        Emulator::with(None, Clock::manual()).await
    }

    pub(crate) async fn with(data: Option<PathBuf>, clock: Clock) -> Emulator {
        Emulator::of(Options {
            data,
            ..Options::local(clock)
        })
        .await
    }

    pub(crate) async fn of(options: Options) -> Emulator {
        // The client wants one even where nothing is encrypted; another test may have been first.
        let _first = rustls::crypto::ring::default_provider().install_default();
        let clock = options.clock.clone();
        Emulator {
            running: serve(options).await.expect("it starts"),
            clock,
            http: reqwest::Client::builder().no_proxy().build().expect("a client"),
        }
    }

    /// One call of the REST API: the status and the body.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let url = format!("{}/bigquery/v2/projects/p{path}", self.running.rest_url());
        self.send(method, url, body).await
    }

    async fn send(&self, method: &str, url: String, body: Option<Value>) -> (u16, Value) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = self.http.request(method, url);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.expect("it answers");
        let status = response.status().as_u16();
        let bytes = response.bytes().await.expect("a body");
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    /// Runs a statement and gives its rows as texts, or the error's reason and message.
    pub(crate) async fn query(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>, (String, String)> {
        self.query_with(sql, json!([])).await
    }

    pub(crate) async fn query_with(
        &self,
        sql: &str,
        parameters: Value,
    ) -> Result<Vec<Vec<Option<String>>>, (String, String)> {
        let body = json!({
            "query": sql,
            "useLegacySql": false,
            "queryParameters": parameters,
            "formatOptions": { "useInt64Timestamp": true },
        });
        let (status, answer) = self.call("POST", "/queries", Some(body)).await;
        if status != 200 {
            let error = &answer["error"]["errors"][0];
            let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
            return Err((text("reason"), text("message")));
        }
        let rows = answer["rows"].as_array().cloned().unwrap_or_default();
        Ok(rows.iter().map(row).collect())
    }

    /// Runs statements that must succeed.
    pub(crate) async fn run(&self, statements: &[&str]) {
        for sql in statements {
            self.query(sql)
                .await
                .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        }
    }

    /// One call of what is below `/emulator`: the status and the body.
    pub(crate) async fn control(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let url = format!("{}/emulator/{path}", self.running.rest_url());
        self.send(method, url, body).await
    }

    /// Orders one fault.
    pub(crate) async fn order(&self, fault: Value) {
        let (status, answer) = self.control("POST", "faults", Some(fault)).await;
        assert_eq!(status, 200, "{answer}");
    }

    /// What was counted of a table.
    pub(crate) async fn audit(&self, table: &str) -> Value {
        let (_, all) = self.control("GET", "audit", None).await;
        all["tables"][table].clone()
    }

    /// Turns the clock.
    pub(crate) fn wait(&self, seconds: u64) {
        self.clock.advance(std::time::Duration::from_secs(seconds));
    }

    pub(crate) async fn write_client(&self) -> BigQueryWriteClient<Channel> {
        let channel = Channel::from_shared(self.running.write_url()).expect("an address");
        let channel = channel.connect().await.expect("it connects");
        BigQueryWriteClient::new(channel).max_encoding_message_size(usize::MAX)
    }

    /// A connection that says where its rows go.
    pub(crate) async fn connect(&self, table: &str) -> Connection {
        self.connect_with(Some(format!("write_stream={}", stream(table))))
            .await
    }

    pub(crate) async fn connect_with(&self, route: Option<String>) -> Connection {
        let (requests, queue) = mpsc::channel(16);
        let mut request = Request::new(ReceiverStream::new(queue));
        if let Some(route) = route {
            let route = route.parse().expect("a header");
            request.metadata_mut().insert("x-goog-request-params", route);
        }
        let answers = self.write_client().await.append_rows(request).await;
        Connection {
            requests,
            answers: answers.expect("a stream").into_inner(),
        }
    }
}

fn row(row: &Value) -> Vec<Option<String>> {
    let cells = row["f"].as_array().expect("cells");
    cells
        .iter()
        .map(|cell| cell["v"].as_str().map(str::to_owned))
        .collect()
}

/// The default stream of a table in dataset `d`.
pub(crate) fn stream(table: &str) -> String {
    format!("projects/p/datasets/d/tables/{table}/streams/_default")
}

/// One AppendRows call.
pub(crate) struct Connection {
    requests: mpsc::Sender<AppendRowsRequest>,
    answers: Streaming<AppendRowsResponse>,
}

impl Connection {
    pub(crate) async fn send(&mut self, request: AppendRowsRequest) -> Result<AppendRowsResponse, Status> {
        self.push(request).await;
        self.answer().await
    }

    /// Sends a request without waiting for its answer.
    pub(crate) async fn push(&mut self, request: AppendRowsRequest) {
        // A call that has ended takes no more; its answer says why.
        let _ended = self.requests.send(request).await;
    }

    /// The next answer.
    pub(crate) async fn answer(&mut self) -> Result<AppendRowsResponse, Status> {
        let next = self.answers.message().await?;
        next.ok_or_else(|| Status::cancelled("the call ended"))
    }

    /// Sends rows and gives their errors' places, or fails as the call or the answer does.
    pub(crate) async fn append(
        &mut self,
        table: &str,
        schema: &Schema,
        rows: Vec<Row>,
    ) -> Result<Vec<i64>, Status> {
        let answer = self.send(request(table, Some(schema), rows)).await?;
        if !answer.row_errors.is_empty() {
            return Ok(answer.row_errors.iter().map(|error| error.index).collect());
        }
        match answer.response {
            Some(Answer::AppendResult(_)) => Ok(Vec::new()),
            Some(Answer::Error(error)) => Err(Status::new(error.code.into(), error.message)),
            None => Err(Status::internal("no response")),
        }
    }
}

/// A request for a table.
pub(crate) fn request(table: &str, schema: Option<&Schema>, rows: Vec<Row>) -> AppendRowsRequest {
    AppendRowsRequest {
        write_stream: if table.is_empty() {
            String::new()
        } else {
            stream(table)
        },
        rows: Some(Rows::ProtoRows(ProtoData {
            writer_schema: schema.map(|schema| ProtoSchema {
                proto_descriptor: Some(schema.0.clone()),
            }),
            rows: Some(ProtoRows {
                serialized_rows: rows.into_iter().map(|row| Bytes::from(row.0)).collect(),
            }),
        })),
        ..AppendRowsRequest::default()
    }
}

/// A writer's schema.
#[derive(Clone)]
pub(crate) struct Schema(pub(crate) DescriptorProto);

impl Schema {
    /// Fields numbered from 1.
    pub(crate) fn of(fields: &[(&str, Type)]) -> Schema {
        let field = |(place, (name, kind)): (usize, &(&str, Type))| FieldDescriptorProto {
            name: Some((*name).to_owned()),
            number: Some(i32::try_from(place).expect("few fields") + 1),
            label: Some(Label::Optional.into()),
            r#type: Some((*kind).into()),
            ..FieldDescriptorProto::default()
        };
        Schema(DescriptorProto {
            name: Some("row".to_owned()),
            field: fields.iter().enumerate().map(field).collect(),
            ..DescriptorProto::default()
        })
    }

    /// `id`, `name`, and the two pseudo-columns.
    pub(crate) fn changes() -> Schema {
        Schema::of(&[
            ("id", Type::Int64),
            ("name", Type::String),
            ("_CHANGE_TYPE", Type::String),
            ("_CHANGE_SEQUENCE_NUMBER", Type::String),
        ])
    }
}

/// A row's bytes.
#[derive(Clone, Default)]
pub(crate) struct Row(pub(crate) Vec<u8>);

impl Row {
    pub(crate) fn int(mut self, number: u32, value: i64) -> Row {
        prost::encoding::int64::encode(number, &value, &mut self.0);
        self
    }

    pub(crate) fn text(mut self, number: u32, value: &str) -> Row {
        prost::encoding::string::encode(number, &value.to_owned(), &mut self.0);
        self
    }

    pub(crate) fn bytes(mut self, number: u32, value: &[u8]) -> Row {
        prost::encoding::bytes::encode(number, &value.to_vec(), &mut self.0);
        self
    }

    pub(crate) fn double(mut self, number: u32, value: f64) -> Row {
        prost::encoding::double::encode(number, &value, &mut self.0);
        self
    }

    pub(crate) fn upsert(id: i64, name: &str, number: &str) -> Row {
        let row = Row::default().int(1, id).text(2, name).text(3, "UPSERT");
        if number.is_empty() {
            row
        } else {
            row.text(4, number)
        }
    }

    pub(crate) fn delete(id: i64, number: &str) -> Row {
        Row::default().int(1, id).text(3, "DELETE").text(4, number)
    }
}

/// A status of the answer's details as bytes, for who looks into them.
pub(crate) fn encoded(answer: &AppendRowsResponse) -> Vec<u8> {
    answer.encode_to_vec()
}
