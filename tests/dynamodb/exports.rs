//! Exports, and the files that they leave, read as a client of S3 reads.

use std::io::Read;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::primitives::DateTime;
use aws_sdk_dynamodb::types::{ExportDescription, ExportStatus, ExportType, IncrementalExportSpecification};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flate2::read::GzDecoder;
use futures_util::TryStreamExt;
use md5::{Digest, Md5};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::{ObjectStore, ObjectStoreExt};
use replicator::clock::Clock;
use serde_json::Value;

use crate::clients::{choose_tls, create, item, n, put, recoverable, s, tables};
use crate::server::Server;

const MINUTE: Duration = Duration::from_secs(60);
const ARN: &str = "arn:aws:dynamodb:us-east-1:123456789012:table/shop";

async fn world() -> (Server, Client, AmazonS3) {
    choose_tls();
    let server = Server::start(Clock::manual(), 3).await;
    let client = tables(&server.url);
    create(&client, "shop", None).await;
    server.create_bucket("exports");
    let objects = AmazonS3Builder::new()
        .with_endpoint(&server.url)
        .with_allow_http(true)
        .with_bucket_name("exports")
        .with_region("us-east-1")
        .with_access_key_id("test")
        .with_secret_access_key("test")
        .build()
        .unwrap();
    (server, client, objects)
}

async fn describe(client: &Client, export: &ExportDescription) -> ExportDescription {
    let described = client.describe_export().export_arn(export.export_arn().unwrap());
    described.send().await.unwrap().export_description.unwrap()
}

async fn read(objects: &AmazonS3, key: &str) -> Bytes {
    let found = objects.get(&key.into()).await.unwrap();
    found.bytes().await.unwrap()
}

async fn json(objects: &AmazonS3, key: &str) -> Value {
    serde_json::from_slice(&read(objects, key).await).unwrap()
}

/// The lines of all data files, each file held against its line in the list.
async fn lines(objects: &AmazonS3, export: &ExportDescription) -> Vec<Value> {
    let summary_key = export.export_manifest().unwrap();
    let summary = json(objects, summary_key).await;
    let files_key = summary["manifestFilesS3Key"].as_str().unwrap();
    for key in [summary_key, files_key] {
        let sum = read(objects, &key.replace(".json", ".checksum")).await;
        assert_eq!(
            sum,
            STANDARD.encode(Md5::digest(&read(objects, key).await)).as_bytes()
        );
    }
    let files = read(objects, files_key).await;
    let mut lines = Vec::new();
    let mut count = 0;
    for file in files.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let file: Value = serde_json::from_slice(file).unwrap();
        let packed = read(objects, file["dataFileS3Key"].as_str().unwrap()).await;
        assert_eq!(file["md5Checksum"], STANDARD.encode(Md5::digest(&packed)));
        let mut text = String::new();
        GzDecoder::new(&packed[..]).read_to_string(&mut text).unwrap();
        let found: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(file["itemCount"], found.len());
        lines.extend(found);
        count += 1;
    }
    assert_eq!(count, 4, "one file of each partition");
    assert_eq!(summary["itemCount"], lines.len());
    lines
}

#[tokio::test]
async fn a_full_export_is_the_table_of_its_moment() {
    let (server, client, objects) = world().await;
    let ask = || {
        client
            .export_table_to_point_in_time()
            .table_arn(ARN)
            .s3_bucket("exports")
            .s3_prefix("some/where")
            .client_token("once")
    };
    let refused = ask().send().await.unwrap_err();
    assert_eq!(refused.code(), Some("PointInTimeRecoveryUnavailableException"));
    recoverable(&client, "shop").await;
    for id in 0..9 {
        put(
            &client,
            "shop",
            item([("id", s(&format!("{id}"))), ("n", n("1"))]),
        )
        .await;
    }
    server.advance(MINUTE);
    let moment = i64::try_from(server.clock.unix_seconds()).unwrap();
    put(&client, "shop", item([("id", s("0")), ("n", n("2"))])).await;
    put(&client, "shop", item([("id", s("late"))])).await;
    server.advance(MINUTE);
    server.export_duration(30 * 60 * MINUTE);
    let future = ask()
        .export_time(DateTime::from_secs(moment + 3600))
        .send()
        .await
        .unwrap_err();
    assert_eq!(future.code(), Some("InvalidExportTimeException"));
    let ask = || ask().export_time(DateTime::from_secs(moment));
    let asked = ask().send().await.unwrap().export_description.unwrap();
    assert_eq!(asked.export_status(), Some(&ExportStatus::InProgress));
    let again = ask().send().await.unwrap().export_description.unwrap();
    assert_eq!(again.export_arn, asked.export_arn);
    let other = ask().s3_prefix("else").send().await.unwrap_err();
    assert_eq!(other.code(), Some("ExportConflictException"));
    server.advance(29 * 60 * MINUTE);
    assert_eq!(
        describe(&client, &asked).await.export_status(),
        Some(&ExportStatus::InProgress)
    );
    server.advance(60 * MINUTE);
    let done = describe(&client, &asked).await;
    assert_eq!(done.export_status(), Some(&ExportStatus::Completed));
    assert_eq!(done.item_count, Some(9));
    let lines = lines(&objects, &done).await;
    assert!(
        lines.iter().all(|line| line["Item"]["n"]["N"] == "1"),
        "{lines:?}"
    );
    assert!(
        server
            .objects("exports")
            .iter()
            .all(|key| key.starts_with("some/where/AWSDynamoDB/"))
    );
    let listed = client.list_exports().table_arn(ARN).send().await.unwrap();
    assert_eq!(listed.export_summaries().len(), 1);
}

#[tokio::test]
async fn an_incremental_export_is_the_last_state_of_what_changed() {
    let (server, client, objects) = world().await;
    recoverable(&client, "shop").await;
    for id in ["same", "changed", "deleted"] {
        put(&client, "shop", item([("id", s(id)), ("n", n("1"))])).await;
    }
    server.advance(MINUTE);
    let from = i64::try_from(server.clock.unix_seconds()).unwrap();
    put(&client, "shop", item([("id", s("changed")), ("n", n("2"))])).await;
    put(&client, "shop", item([("id", s("changed")), ("n", n("3"))])).await;
    put(&client, "shop", item([("id", s("added")), ("n", n("1"))])).await;
    let delete = client.delete_item().table_name("shop").key("id", s("deleted"));
    delete.send().await.unwrap();
    server.advance(20 * MINUTE);
    let to = i64::try_from(server.clock.unix_seconds()).unwrap();
    put(&client, "shop", item([("id", s("at the end"))])).await;
    let ask = |from, to| {
        let span = IncrementalExportSpecification::builder()
            .export_from_time(DateTime::from_secs(from))
            .export_to_time(DateTime::from_secs(to))
            .build();
        client
            .export_table_to_point_in_time()
            .table_arn(ARN)
            .s3_bucket("exports")
            .export_type(ExportType::IncrementalExport)
            .incremental_export_specification(span)
            .send()
    };
    let short = ask(to - 60, to).await.unwrap_err();
    assert_eq!(short.code(), Some("ValidationException"));
    let asked = ask(from, to).await.unwrap().export_description.unwrap();
    let lines = lines(&objects, &describe(&client, &asked).await).await;
    let mut found: Vec<(String, Option<String>, Option<String>)> = lines
        .iter()
        .map(|line| {
            let image = |name: &str| line[name]["n"]["N"].as_str().map(str::to_owned);
            let id = line["Keys"]["id"]["S"].as_str().unwrap().to_owned();
            (id, image("OldImage"), image("NewImage"))
        })
        .collect();
    found.sort();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        found,
        [
            ("added".to_owned(), None, some("1")),
            ("changed".to_owned(), some("1"), some("3")),
            ("deleted".to_owned(), some("1"), None),
        ]
    );
}

#[tokio::test]
async fn exports_fail_and_files_are_read_in_parts() {
    let (server, client, objects) = world().await;
    recoverable(&client, "shop").await;
    let ask = |bucket: &str| {
        client
            .export_table_to_point_in_time()
            .table_arn(ARN)
            .s3_bucket(bucket)
            .send()
    };
    let asked = ask("nowhere").await.unwrap().export_description.unwrap();
    let failed = describe(&client, &asked).await;
    assert_eq!(failed.export_status(), Some(&ExportStatus::Failed));
    assert_eq!(failed.failure_code(), Some("S3NoSuchBucket"));
    server.fail_export("UNKNOWN", "scripted");
    let asked = ask("exports").await.unwrap().export_description.unwrap();
    let failed = describe(&client, &asked).await;
    assert_eq!(failed.failure_code(), Some("UNKNOWN"));

    server.put_object("exports", "a/b", b"0123456789".to_vec());
    server.put_object("exports", "a/c", Vec::new());
    assert_eq!(
        objects.get_range(&"a/b".into(), 2..5).await.unwrap(),
        "234".as_bytes()
    );
    let missing = objects.get(&"none".into()).await.unwrap_err();
    assert!(
        matches!(missing, object_store::Error::NotFound { .. }),
        "{missing}"
    );
    assert_eq!(objects.head(&"a/b".into()).await.unwrap().size, 10);
    let listed: Vec<_> = objects.list(Some(&"a".into())).try_collect().await.unwrap();
    let names: Vec<&str> = listed.iter().map(|found| found.location.as_ref()).collect();
    assert_eq!(names, ["a/b", "a/c"]);
}
