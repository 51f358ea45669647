//! Tables and items.

use std::time::Duration;

use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, ReturnValue, WriteRequest};
use replicator::clock::Clock;
use serde_json::{Value, json};

use crate::clients::{choose_tls, create, item, n, put, s, tables};
use crate::server::{Fault, Server};

async fn world() -> (Server, aws_sdk_dynamodb::Client) {
    let server = Server::start(Clock::manual(), 1).await;
    let client = tables(&server.url);
    create(&client, "shop", None).await;
    (server, client)
}

#[tokio::test]
async fn numbers_are_normalised_and_bounded() {
    let (_server, client) = world().await;
    let kept = [
        ("1.0", "1"),
        ("-0", "0"),
        ("1E3", "1000"),
        ("+0012.340e-1", "1.234"),
        ("1e-3", "0.001"),
        (
            "99999999999999999999999999999999999999",
            "99999999999999999999999999999999999999",
        ),
    ];
    for (given, expected) in kept {
        put(&client, "shop", item([("id", s("a")), ("n", n(given))])).await;
        let got = client
            .get_item()
            .table_name("shop")
            .key("id", s("a"))
            .send()
            .await
            .unwrap();
        assert_eq!(got.item.unwrap()["n"], n(expected), "{given}");
    }
    let refused = [
        "x",
        "",
        "1e",
        "123456789012345678901234567890123456789",
        "1e126",
        "1e-131",
    ];
    for given in refused {
        let wanted = item([("id", s("a")), ("n", n(given))]);
        let put = client.put_item().table_name("shop").set_item(Some(wanted));
        let error = put.send().await.unwrap_err();
        assert_eq!(error.code(), Some("ValidationException"), "{given}");
    }
}

#[tokio::test]
async fn keys_sizes_and_empty_values_are_looked_at() {
    let (_server, client) = world().await;
    let refused = [
        item([("other", s("a"))]),
        item([("id", s(""))]),
        item([("id", n("1"))]),
        item([("id", s("a")), ("set", AttributeValue::Ss(Vec::new()))]),
        item([
            ("id", s("a")),
            ("set", AttributeValue::Ns(vec!["1".into(), "1.0".into()])),
        ]),
        item([("id", s("a")), ("large", s(&"x".repeat(400 * 1024)))]),
    ];
    for wanted in refused {
        let put = client
            .put_item()
            .table_name("shop")
            .set_item(Some(wanted.clone()));
        let error = put.send().await.expect_err(&format!("{:?}", wanted.keys()));
        assert_eq!(error.code(), Some("ValidationException"));
    }
    put(&client, "shop", item([("id", s("a")), ("empty", s(""))])).await;
    let missing = client
        .get_item()
        .table_name("none")
        .key("id", s("a"))
        .send()
        .await;
    assert_eq!(missing.unwrap_err().code(), Some("ResourceNotFoundException"));
}

#[tokio::test]
async fn updates_conditions_and_batches_do_what_they_say() {
    let (server, client) = world().await;
    let update = client
        .update_item()
        .table_name("shop")
        .key("id", s("a"))
        .update_expression("SET #c = :c, d = if_not_exists(d, :c)")
        .expression_attribute_names("#c", "colour")
        .expression_attribute_values(":c", s("red"))
        .return_values(ReturnValue::AllNew);
    let new = update.send().await.unwrap().attributes.unwrap();
    assert_eq!(new, item([("id", s("a")), ("colour", s("red")), ("d", s("red"))]));
    let remove = client
        .update_item()
        .table_name("shop")
        .key("id", s("a"))
        .update_expression("REMOVE d");
    remove.send().await.unwrap();
    let again = client
        .put_item()
        .table_name("shop")
        .set_item(Some(item([("id", s("a"))])))
        .condition_expression("attribute_not_exists(id)");
    let error = again.send().await.unwrap_err();
    assert_eq!(error.code(), Some("ConditionalCheckFailedException"));
    assert_eq!(server.items("shop").len(), 1);
    assert_eq!(server.items("shop")[0].len(), 2);

    let requests = (0..25).map(|id| {
        let put = PutRequest::builder().set_item(Some(item([("id", s(&format!("b{id}")))])));
        WriteRequest::builder().put_request(put.build().unwrap()).build()
    });
    let batch = client
        .batch_write_item()
        .request_items("shop", requests.collect());
    batch.send().await.unwrap();
    assert_eq!(server.items("shop").len(), 26);
}

#[tokio::test]
async fn segments_and_pages_of_a_scan_make_the_table() {
    let (server, client) = world().await;
    for id in 0..40 {
        put(
            &client,
            "shop",
            item([("id", s(&format!("{id:02}"))), ("fill", s(&"x".repeat(1000)))]),
        )
        .await;
    }
    let mut seen = Vec::new();
    for segment in 0..3 {
        let mut pages = client
            .scan()
            .table_name("shop")
            .segment(segment)
            .total_segments(3)
            .limit(7)
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let page = page.unwrap();
            assert!(page.count <= 7);
            seen.extend(
                page.items
                    .unwrap()
                    .into_iter()
                    .map(|item| item["id"].as_s().unwrap().clone()),
            );
        }
    }
    seen.sort();
    let expected: Vec<String> = (0..40).map(|id| format!("{id:02}")).collect();
    assert_eq!(seen, expected);
    assert!(server.calls("Scan") >= 6);
    let query = client
        .query()
        .table_name("shop")
        .key_condition_expression("id = :id")
        .expression_attribute_values(":id", s("07"));
    assert_eq!(query.send().await.unwrap().count, 1);
}

#[tokio::test]
async fn scripted_faults_come_as_often_as_asked() {
    let (server, client) = world().await;
    let get = || client.get_item().table_name("shop").key("id", s("a")).send();
    server.fail("GetItem", Fault::Throttle, 2);
    for _ in 0..2 {
        assert_eq!(get().await.unwrap_err().code(), Some("ThrottlingException"));
    }
    assert!(get().await.is_ok());
    server.fail("GetItem", Fault::Internal, 1);
    let error = get().await.unwrap_err();
    assert_eq!(error.raw_response().unwrap().status().as_u16(), 500);
    server.fail("PutItem", Fault::Cut, 1);
    let put = client
        .put_item()
        .table_name("shop")
        .set_item(Some(item([("id", s("a"))])));
    assert!(put.send().await.is_err());
    assert_eq!(
        server.items("shop").len(),
        1,
        "a cut answer is of a write that was done"
    );
    server.fail_sometimes("GetItem", Fault::Throttle, 500);
    let mut failed = 0;
    for _ in 0..40 {
        failed += usize::from(get().await.is_err());
    }
    assert!((5..=35).contains(&failed), "{failed} of 40");
    server.heal();
    assert!(get().await.is_ok());
    assert_eq!(server.calls("GetItem"), 45);
}

/// A request without the SDK, to look at the bare form.
async fn bare(server: &Server, authorization: &str, body: &Value) -> (u16, Option<String>, Value) {
    choose_tls();
    let answer = reqwest::Client::new()
        .post(&server.url)
        .header("X-Amz-Target", "DynamoDB_20120810.ListTables")
        .header("Content-Type", "application/x-amz-json-1.0")
        .header("X-Amz-Date", "20260101T000000Z")
        .header("Authorization", authorization)
        .body(body.to_string())
        .send()
        .await
        .unwrap();
    let sum = answer.headers().get("x-amz-crc32");
    let sum = sum.map(|sum| sum.to_str().unwrap().to_owned());
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    assert_eq!(sum, Some(crc32fast::hash(text.as_bytes()).to_string()));
    (status, sum, serde_json::from_str(&text).unwrap())
}

#[tokio::test]
async fn who_does_not_sign_is_refused() {
    let (server, _client) = world().await;
    let signature = "0".repeat(64);
    let with = |service: &str| {
        format!(
            "AWS4-HMAC-SHA256 Credential=AK/20260101/us-east-1/{service}/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature={signature}"
        )
    };
    let (status, _, body) = bare(&server, &with("dynamodb"), &json!({})).await;
    assert_eq!((status, body), (200, json!({"TableNames": ["shop"]})));
    for wrong in [with("s3"), "Bearer x".to_owned()] {
        let (status, _, body) = bare(&server, &wrong, &json!({})).await;
        assert_eq!(status, 400);
        let kind = body["__type"].as_str().unwrap();
        assert!(kind.starts_with("com.amazon.coral.service#"), "{kind}");
    }
}

#[tokio::test]
async fn expired_items_go_by_the_clock() {
    let (server, client) = world().await;
    let specification = aws_sdk_dynamodb::types::TimeToLiveSpecification::builder()
        .enabled(true)
        .attribute_name("until")
        .build()
        .unwrap();
    let update = client
        .update_time_to_live()
        .table_name("shop")
        .time_to_live_specification(specification);
    update.send().await.unwrap();
    let until = server.clock.unix_seconds() + 60;
    put(
        &client,
        "shop",
        item([("id", s("a")), ("until", n(&until.to_string()))]),
    )
    .await;
    put(&client, "shop", item([("id", s("b")), ("until", s("never"))])).await;
    server.advance(Duration::from_secs(59));
    assert_eq!(server.items("shop").len(), 2);
    server.advance(Duration::from_secs(1));
    assert_eq!(server.items("shop").len(), 1);
}
