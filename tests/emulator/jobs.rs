//! Query jobs that are not done at once, and requests that are sent again.

use replicator::clock::Clock;
use replicator::emulator::{Options, Profile};
use serde_json::{Value, json};

use crate::client::{Emulator, Row, Schema};

async fn query(emulator: &Emulator, sql: &str, request: &str) -> Value {
    let body = json!({ "query": sql, "useLegacySql": false, "requestId": request });
    let (status, answer) = emulator.call("POST", "/queries", Some(body)).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

fn id(answer: &Value) -> String {
    answer["jobReference"]["jobId"]
        .as_str()
        .expect("a job")
        .to_owned()
}

/// Rules: job-pending.
#[tokio::test]
async fn a_query_is_asked_for_until_it_is_complete() {
    let emulator = Emulator::of(Options {
        profile: Profile::STRICT,
        ..Options::local(Clock::manual())
    })
    .await;
    let first = query(&emulator, "SELECT 7", "a").await;
    assert_eq!((&first["jobComplete"], first.get("rows")), (&json!(false), None));
    let path = format!("/queries/{}", id(&first));
    let (_, second) = emulator.call("GET", &path, None).await;
    assert_eq!(
        (&second["jobComplete"], second.get("rows")),
        (&json!(false), None)
    );
    let (_, third) = emulator.call("GET", &path, None).await;
    assert_eq!(
        (&third["jobComplete"], &third["rows"][0]["f"][0]["v"]),
        (&json!(true), &json!("7"))
    );
    let job = json!({ "configuration": { "query": { "query": "SELECT x", "useLegacySql": false } } });
    let (_, made) = emulator.call("POST", "/jobs", Some(job)).await;
    assert_eq!(
        (&made["status"]["state"], made["status"].get("errorResult")),
        (&json!("RUNNING"), None)
    );
    let path = format!("/jobs/{}", id(&made));
    emulator.call("GET", &path, None).await;
    let (_, done) = emulator.call("GET", &path, None).await;
    assert_eq!(done["status"]["errorResult"]["reason"], json!("invalidQuery"));
}

/// Rules: job-pending.
#[tokio::test]
async fn a_fault_keeps_one_job_pending() {
    let emulator = Emulator::start().await;
    emulator
        .order(json!({ "on": "jobs", "sql": "CREATE", "times": 1, "effect": { "pending": { "polls": 1 } } }))
        .await;
    let first = query(&emulator, "CREATE SCHEMA d", "a").await;
    assert_eq!(first["jobComplete"], json!(false));
    let (_, second) = emulator
        .call("GET", &format!("/queries/{}", id(&first)), None)
        .await;
    assert_eq!(
        (&second["jobComplete"], &second["ddlOperationPerformed"]),
        (&json!(true), &json!("CREATE"))
    );
    let other = query(&emulator, "SELECT 1", "b").await;
    assert_eq!(other["jobComplete"], json!(true));
}

/// Rules: request-id.
#[tokio::test]
async fn a_request_that_is_sent_again_finds_its_job() {
    let emulator = Emulator::start().await;
    let first = query(&emulator, "CREATE SCHEMA d", "same").await;
    let again = query(&emulator, "CREATE SCHEMA d", "same").await;
    assert_eq!(id(&first), id(&again));
    assert_eq!(
        again["ddlOperationPerformed"],
        json!("CREATE"),
        "it was not run twice"
    );
    emulator.wait(15 * 60);
    let body = json!({ "query": "CREATE SCHEMA d", "useLegacySql": false, "requestId": "same" });
    let (status, answer) = emulator.call("POST", "/queries", Some(body)).await;
    assert_eq!(
        (status, &answer["error"]["errors"][0]["reason"]),
        (409, &json!("duplicate"))
    );
}

/// Rules: bytes-billed.
#[tokio::test]
async fn a_query_bills_no_more_than_it_may() {
    let emulator = Emulator::start().await;
    emulator
        .run(&[
            "CREATE SCHEMA d",
            "CREATE TABLE d.t (id INT64, name STRING, PRIMARY KEY (id) NOT ENFORCED)",
        ])
        .await;
    let mut connection = emulator.connect("t").await;
    let rows = vec![Row::upsert(1, "a", "1")];
    connection
        .append("t", &Schema::changes(), rows)
        .await
        .expect("the row");
    let ask = async |most: &str| {
        let body =
            json!({ "query": "SELECT id FROM d.t", "useLegacySql": false, "maximumBytesBilled": most });
        emulator.call("POST", "/queries", Some(body)).await
    };
    let (status, answer) = ask("1").await;
    assert_eq!(status, 400, "{answer}");
    assert_eq!(answer["error"]["errors"][0]["reason"], "bytesBilledLimitExceeded");
    let (status, answer) = ask("104857600").await;
    assert_eq!(
        (status, answer["rows"][0]["f"][0]["v"].as_str()),
        (200, Some("1")),
        "{answer}"
    );
}
