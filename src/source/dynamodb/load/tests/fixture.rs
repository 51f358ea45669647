//! Servers on loopback that speak the wire forms of DynamoDB and S3, what they hold and what they were asked; and
//! rows that say what they were made of.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Mutex as Lock;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use md5::{Digest, Md5};
use serde_json::{Value, json};

use super::super::*;
use crate::config::ExportPlace;
use crate::event::{BinlogCoord, CellVisitor, Epoch, Op, OrderKey, RowError, TableId, Value as CellValue};
use crate::source::Reached;
use crate::source::dynamodb::layout::{KeyAttribute, KeyKind, document};
use crate::task::{self, Task};

/// What the servers hold and were asked.
#[derive(Default)]
pub(super) struct Told {
    pub(super) exports: Vec<Value>,
    pub(super) objects: BTreeMap<String, Vec<u8>>,
    pub(super) calls: Vec<(String, Value)>,
    /// Answers that come before the usual ones, by action.
    pub(super) answers: Vec<(&'static str, StatusCode, Value)>,
    /// Items of full exports and of Scans.
    pub(super) items: Vec<Value>,
    /// Lines of exports of changes.
    pub(super) changes: Vec<Value>,
    /// How often an export is described before it is done.
    pub(super) slow: usize,
    pub(super) label: Option<&'static str>,
}

pub(super) struct Aws {
    pub(super) told: Arc<Lock<Told>>,
    pub(super) clock: Clock,
    endpoint: String,
    _server: Task<()>,
}

type Shared = (Arc<Lock<Told>>, Clock);

impl Aws {
    pub(super) async fn start() -> Aws {
        let clock = Clock::turnable();
        let told: Arc<Lock<Told>> = Arc::default();
        let app = Router::new()
            .fallback(answer)
            .with_state((Arc::clone(&told), clock.clone()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let server = task::spawn(
            "fixture",
            async move { axum::serve(listener, app).await.unwrap() },
        );
        Aws {
            told,
            clock,
            endpoint,
            _server: server,
        }
    }

    pub(super) fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap()
    }

    pub(super) fn calls(&self, action: &str) -> Vec<Value> {
        let told = self.told();
        let calls = told.calls.iter().filter(|(name, _)| name == action);
        calls.map(|(_, body)| body.clone()).collect()
    }

    pub(super) async fn loader(&self, first_load: FirstLoad) -> Arc<Loader> {
        let source = DynamodbSource {
            name: "sessions".to_owned(),
            region: "eu-west-1".to_owned(),
            tables: vec!["carts".to_owned()],
            first_load,
            layout: crate::config::Layout::Document,
            promoted: BTreeMap::new(),
            parallelism: 2,
            role: None,
            endpoint: Some(self.endpoint.clone()),
            reload: false,
        };
        let credentials = aws_credential_types::Credentials::new("AKID", "SECRET", None, None, "test");
        let provider = aws_credential_types::provider::SharedCredentialsProvider::new(credentials);
        let aws = crate::aws::of_source(&source)
            .await
            .into_builder()
            .credentials_provider(provider)
            .build();
        Arc::new(Loader::new(&source, "shop", &aws, self.clock.clone()).unwrap())
    }

    pub(super) async fn exporting(&self) -> Arc<Loader> {
        let place = ExportPlace {
            bucket: "exports".to_owned(),
            prefix: "folder".to_owned(),
        };
        self.loader(FirstLoad::Export(place)).await
    }

    pub(super) fn low(&self) -> TxnStart {
        TxnStart {
            epoch: Epoch(self.clock.unix_seconds()),
            coord: BinlogCoord { file: 0, offset: 0 },
        }
    }
}

/// What both services answer.
async fn answer(
    State((told, clock)): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, Vec<u8>) {
    let mut told = told.lock().unwrap();
    let Some(target) = headers.get("x-amz-target") else {
        return object(&told, uri.path());
    };
    let action = target.to_str().unwrap().rsplit_once('.').unwrap().1.to_owned();
    let body: Value = serde_json::from_slice(&body).unwrap();
    told.calls.push((action.clone(), body.clone()));
    if let Some(at) = told.answers.iter().position(|(name, ..)| *name == action) {
        let (_, status, value) = told.answers.remove(at);
        return (status, value.to_string().into_bytes());
    }
    let value = match action.as_str() {
        "DescribeTable" => json!({ "Table": {
            "TableArn": "arn:aws:dynamodb:eu-west-1:1:table/carts", "ItemCount": 2, "TableSizeBytes": 100,
            "LatestStreamLabel": told.label,
        }}),
        "ListExports" => json!({ "ExportSummaries": told.exports.iter()
            .map(|export| json!({ "ExportArn": export["ExportArn"], "ExportStatus": export["ExportStatus"] }))
            .collect::<Vec<_>>() }),
        "DescribeExport" => {
            let done = told.slow == 0;
            told.slow = told.slow.saturating_sub(1);
            let export = told
                .exports
                .iter_mut()
                .find(|export| export["ExportArn"] == body["ExportArn"]);
            let export = export.unwrap();
            if done && export["ExportStatus"] == "IN_PROGRESS" {
                export["ExportStatus"] = json!("COMPLETED");
            }
            json!({ "ExportDescription": export })
        }
        "ExportTableToPointInTime" => export(&mut told, &clock, &body),
        "Scan" => scan(&told, &body),
        other => panic!("{other}"),
    };
    (StatusCode::OK, value.to_string().into_bytes())
}

fn object(told: &Told, path: &str) -> (StatusCode, Vec<u8>) {
    match told.objects.get(path.strip_prefix("/exports/").unwrap()) {
        Some(bytes) => (StatusCode::OK, bytes.clone()),
        None => (
            StatusCode::NOT_FOUND,
            b"<Error><Code>NoSuchKey</Code></Error>".to_vec(),
        ),
    }
}

/// Writes an export of two files.
fn export(told: &mut Told, clock: &Clock, body: &Value) -> Value {
    if let Some(same) = told
        .exports
        .iter()
        .find(|it| it["ClientToken"] == body["ClientToken"])
    {
        return json!({ "ExportDescription": same });
    }
    let id = format!("{:014}-{}", clock.unix_seconds() * 1000, told.exports.len());
    let prefix = body["S3Prefix"].as_str().unwrap();
    let lines: Vec<String> = if body["ExportType"] == "INCREMENTAL_EXPORT" {
        told.changes.iter().map(Value::to_string).collect()
    } else {
        told.items
            .iter()
            .map(|item| json!({ "Item": item }).to_string())
            .collect()
    };
    let mut list = String::new();
    for (number, half) in [&lines[..lines.len() / 2], &lines[lines.len() / 2..]]
        .into_iter()
        .enumerate()
    {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(half.join("\n").as_bytes()).unwrap();
        let bytes = encoder.finish().unwrap();
        let key = format!("AWSDynamoDB/{id}/data/{number}.json.gz");
        list += &json!({ "itemCount": half.len(), "md5Checksum": STANDARD.encode(Md5::digest(&bytes)), "dataFileS3Key": key })
            .to_string();
        list.push('\n');
        told.objects.insert(format!("{prefix}/{key}"), bytes);
    }
    let folder = format!("{prefix}/AWSDynamoDB/{id}");
    let summary = json!({ "manifestFilesS3Key": format!("AWSDynamoDB/{id}/manifest-files.json"),
        "itemCount": lines.len(), "outputFormat": "DYNAMODB_JSON" });
    for (name, text) in [
        ("manifest-files", list),
        ("manifest-summary", summary.to_string()),
    ] {
        let sum = STANDARD.encode(Md5::digest(text.as_bytes()));
        told.objects
            .insert(format!("{folder}/{name}.json"), text.into_bytes());
        told.objects
            .insert(format!("{folder}/{name}.checksum"), sum.into_bytes());
    }
    let described = json!({ "ExportArn": format!("arn:aws:dynamodb:eu-west-1:1:table/carts/export/{id}"),
        "ExportStatus": "IN_PROGRESS", "ExportTime": body["ExportTime"].as_i64().unwrap_or_else(|| clock.unix_seconds().cast_signed()),
        "ClientToken": body["ClientToken"], "S3Bucket": body["S3Bucket"], "S3Prefix": prefix });
    told.exports.push(described.clone());
    json!({ "ExportDescription": described })
}

/// One item a page, those of a segment by their place.
fn scan(told: &Told, body: &Value) -> Value {
    let number = |name: &str| usize::try_from(body[name].as_u64().unwrap()).unwrap();
    let of_segment = |at: &usize| at % number("TotalSegments") == number("Segment");
    let mine: Vec<usize> = (0..told.items.len()).filter(of_segment).collect();
    let start = Some(&body["ExclusiveStartKey"]).filter(|key| key.is_object());
    let from = start.map_or(0, |key| {
        1 + mine
            .iter()
            .position(|at| told.items[*at]["id"] == key["id"])
            .unwrap()
    });
    let Some(at) = mine.get(from) else {
        return json!({ "Items": [], "Count": 0, "ScannedCount": 0 });
    };
    let item = &told.items[*at];
    json!({ "Items": [item], "Count": 1, "ScannedCount": 1, "LastEvaluatedKey": { "id": item["id"] },
        "ConsumedCapacity": { "CapacityUnits": 10.0 } })
}

fn layout() -> TableLayout {
    let key = KeyAttribute {
        name: "id".to_owned(),
        kind: KeyKind::S,
    };
    document(TableId::new("sessions", "carts"), &[key], &[])
}

pub(super) fn item(id: &str) -> Value {
    json!({ "id": { "S": id }, "n": { "N": "1" } })
}

/// What a row is: its id, whether it is a delete, its number and time.
pub(super) type Row = (String, bool, OrderKey, i64);

struct Id(String);

impl CellVisitor for Id {
    fn cell(&mut self, column: usize, value: CellValue<'_>) -> Result<(), RowError> {
        if let (0, CellValue::Text(text)) = (column, value) {
            text.clone_into(&mut self.0);
        }
        Ok(())
    }
}

pub(super) async fn read(
    loader: &Arc<Loader>,
    low: TxnStart,
    chunk: &Chunk,
) -> Result<Vec<Row>, SourceError> {
    let asked = ChunkRead {
        layout: layout(),
        chunk: chunk.clone(),
        low,
        seen: None,
        reached: Reached {
            server: "".into(),
            next: low,
            seen: None,
        },
    };
    let boxed = |error| crate::fault::boxed::<LoadError>(error);
    let mut chunk = loader.read(&asked).await.map_err(boxed)?;
    let mut rows = Vec::new();
    while let Some(changes) = chunk.next().await? {
        for change in &changes.changes {
            let (at, gone, order) = match change.op {
                Op::Insert { after } => (after, false, changes.upsert_order(change)),
                Op::Delete { before } => (before, true, changes.delete_order(change)),
                Op::Update { .. } => panic!("no row changes in a load"),
            };
            let mut id = Id(String::new());
            changes.images.visit(at, &mut id).unwrap();
            rows.push((id.0, gone, order, changes.committed_micros / 1_000_000));
        }
    }
    Ok(rows)
}

/// All chunks in their order.
pub(super) async fn plan(loader: &Loader, low: TxnStart) -> Result<Vec<Chunk>, LoadError> {
    let mut chunks: Vec<Chunk> = Vec::new();
    loop {
        let after = chunks.last().and_then(|chunk| chunk.upper.clone());
        chunks.push(loader.plan("carts", low, after.as_ref()).await?);
        if chunks.last().unwrap().upper.is_none() {
            return Ok(chunks);
        }
    }
}

/// Seconds as the wire has them: a number, with or without a point.
pub(super) fn seconds(value: &Value) -> i64 {
    let text = value.to_string();
    text.split_once('.')
        .map_or(text.as_str(), |(whole, _)| whole)
        .parse()
        .unwrap()
}

pub(super) fn ids(rows: &[Row]) -> Vec<&str> {
    rows.iter().map(|(id, ..)| id.as_str()).collect()
}
