//! Scripted faults from outside: what is ordered over HTTP happens over gRPC and HTTP.

use replicator::clock::Clock;
use replicator::emulator::{Options, Profile};
use replicator::proto::storage::append_rows_response::Response as Answer;
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::client::{Connection, Emulator, Row, Schema, request};

async fn with_table() -> Emulator {
    let emulator = Emulator::start().await;
    emulator
        .run(&[
            "CREATE SCHEMA d",
            "CREATE TABLE d.t (id INT64, name STRING, PRIMARY KEY (id) NOT ENFORCED)",
        ])
        .await;
    emulator
}

async fn upsert(connection: &mut Connection, id: i64) -> Result<Vec<i64>, Status> {
    let rows = vec![Row::upsert(id, "x", "1")];
    connection.append("t", &Schema::changes(), rows).await
}

async fn count(emulator: &Emulator) -> String {
    let rows = emulator.query("SELECT COUNT(*) FROM d.t").await.expect("rows");
    rows[0][0].clone().expect("a count")
}

/// Rules: quota-in-band.
#[tokio::test]
async fn resource_exhausted_for_minutes_leaves_the_connection_usable() {
    let emulator = with_table().await;
    emulator
        .order(
            json!({ "on": "append", "table": "d.t", "seconds": 180, "effect": {
            "status": { "code": "RESOURCE_EXHAUSTED", "in_band": true } } }),
        )
        .await;
    let mut connection = emulator.connect("t").await;
    for _ in 0..3 {
        let refused = upsert(&mut connection, 1).await.expect_err("refused");
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert_eq!(count(&emulator).await, "0");
        emulator.wait(60);
    }
    upsert(&mut connection, 1).await.expect("the same connection");
    assert_eq!(count(&emulator).await, "1");
}

/// Rules: answer-lost.
#[tokio::test]
async fn rows_may_be_applied_though_no_answer_comes() {
    let effects = [
        json!({ "status": { "code": "UNAVAILABLE", "applied": true } }),
        json!({ "cut": { "applied": true } }),
        json!({ "hang": { "applied": true } }),
        json!({ "status": { "code": "INTERNAL" } }),
        json!({ "cut": {} }),
        json!({ "hang": {} }),
    ];
    for (place, effect) in effects.into_iter().enumerate() {
        let emulator = with_table().await;
        emulator
            .order(json!({ "on": "append", "times": 1, "effect": effect.clone() }))
            .await;
        let mut connection = emulator.connect("t").await;
        connection
            .push(request(
                "t",
                Some(&Schema::changes()),
                vec![Row::upsert(1, "x", "1")],
            ))
            .await;
        if effect.get("hang").is_none() {
            let status = connection.answer().await.expect_err("no answer");
            assert_ne!(status.code(), Code::Ok, "{effect}");
        } else {
            // A second connection's answer comes after the storage has seen what the first one sent.
            loop {
                let (_, list) = emulator.control("GET", "faults", None).await;
                if list["faults"][0]["fired"] == json!(1) {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        let mut other = emulator.connect("t").await;
        upsert(&mut other, 2).await.expect("a new connection works");
        let expected = if place < 3 { "2" } else { "1" };
        assert_eq!(count(&emulator).await, expected, "{effect}");
    }
}

/// Rules: row-errors-cut.
#[tokio::test]
async fn ordered_row_errors_are_cut() {
    let emulator = with_table().await;
    emulator
        .order(json!({ "on": "append", "times": 1, "effect": {
            "row_errors": { "rows": { "indexes": [1, 3] }, "listed": 1 } } }))
        .await;
    emulator
        .order(json!({ "on": "append", "effect": {
            "row_errors": { "rows": { "where": { "column": "id", "value": "2" } }, "message": "no twos" } } }))
        .await;
    let mut connection = emulator.connect("t").await;
    let rows = || (0..5).map(|id| Row::upsert(id, "x", "1")).collect::<Vec<_>>();
    let schema = Schema::changes();
    let listed = connection.append("t", &schema, rows()).await.expect("row errors");
    assert_eq!(listed, [1], "two rows are wrong, one is told");
    let answer = connection
        .send(request("t", Some(&schema), rows()))
        .await
        .expect("an answer");
    assert_eq!(answer.row_errors.len(), 1);
    assert_eq!(
        (answer.row_errors[0].index, answer.row_errors[0].message.as_str()),
        (2, "no twos")
    );
    assert_eq!(count(&emulator).await, "0");
    let emulator = Emulator::of(Options {
        profile: Profile::STRICT,
        ..Options::local(Clock::manual())
    })
    .await;
    emulator
        .run(&[
            "CREATE SCHEMA d",
            "CREATE TABLE d.t (id INT64, name STRING, PRIMARY KEY (id) NOT ENFORCED)",
        ])
        .await;
    let bad = (0..9).map(|id| Row::upsert(id, "x", "no number")).collect();
    let mut connection = emulator.connect("t").await;
    let listed = connection.append("t", &schema, bad).await.expect("row errors");
    assert_eq!(listed, [0, 1, 2], "nine rows are wrong, the profile tells three");
}

/// Rules: order-across-connections.
#[tokio::test]
async fn a_delayed_request_is_overtaken_by_another_connection() {
    let emulator = with_table().await;
    emulator
        .order(json!({ "on": "append", "times": 1, "effect": { "delay": { "seconds": 30 } } }))
        .await;
    let mut slow = emulator.connect("t").await;
    let upsert_named = |name: &str| request("t", Some(&Schema::changes()), vec![Row::upsert(1, name, "5")]);
    slow.push(upsert_named("sent first")).await;
    loop {
        let (_, list) = emulator.control("GET", "faults", None).await;
        if list["faults"][0]["fired"] == json!(1) {
            break;
        }
        tokio::task::yield_now().await;
    }
    let mut fast = emulator.connect("t").await;
    fast.send(upsert_named("sent second")).await.expect("taken");
    emulator.wait(30);
    let answer = slow.answer().await.expect("an answer");
    assert!(matches!(answer.response, Some(Answer::AppendResult(_))));
    let rows = emulator.query("SELECT name FROM d.t").await.expect("rows");
    assert_eq!(
        rows,
        [[Some("sent first".to_owned())]],
        "equal numbers: what came last wins"
    );
}

#[tokio::test]
async fn rest_calls_fail_and_may_have_worked_all_the_same() {
    let emulator = with_table().await;
    emulator
        .order(json!({ "faults": [
            { "on": "rest", "method": "PATCH", "times": 1, "effect": {
                "http": { "code": 503, "reason": "backendError", "applied": true } } },
            { "on": "jobs", "sql": "COUNT", "times": 1, "effect": { "fail": { "reason": "rateLimitExceeded" } } },
        ] }))
        .await;
    let patch = || Some(json!({ "description": "changed" }));
    let (status, answer) = emulator.call("PATCH", "/datasets/d/tables/t", patch()).await;
    assert_eq!(
        (status, &answer["error"]["errors"][0]["reason"]),
        (503, &json!("backendError"))
    );
    let (_, table) = emulator.call("GET", "/datasets/d/tables/t", None).await;
    assert_eq!(table["description"], json!("changed"));
    let failed = emulator
        .query("SELECT COUNT(*) FROM d.t")
        .await
        .expect_err("it fails");
    assert_eq!(failed.0, "rateLimitExceeded");
    assert_eq!(count(&emulator).await, "0");
}

#[tokio::test]
async fn orders_are_checked_listed_and_withdrawn() {
    let emulator = with_table().await;
    let wrong: [(Value, &str); 4] = [
        (json!({ "on": "append" }), "missing field `effect`"),
        (
            json!({ "on": "nowhere", "effect": "stall" }),
            "unknown variant `nowhere`",
        ),
        (
            json!({ "on": "append", "effect": "stall" }),
            "it has no meaning at the place",
        ),
        (
            json!({ "on": "append", "effect": { "status": { "code": "OK" } } }),
            "no gRPC code",
        ),
    ];
    for (fault, text) in wrong {
        let (status, answer) = emulator.control("POST", "faults", Some(fault)).await;
        let message = answer["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(status == 400 && message.contains(text), "{text}: {answer}");
    }
    for _ in 0..2 {
        emulator
            .order(json!({ "on": "append", "effect": { "cut": {} } }))
            .await;
    }
    assert_eq!(emulator.control("DELETE", "faults/1", None).await.0, 204);
    assert_eq!(emulator.control("DELETE", "faults/1", None).await.0, 404);
    let (_, list) = emulator.control("GET", "faults", None).await;
    assert_eq!(
        (list["faults"].as_array().map(Vec::len), &list["faults"][0]["id"]),
        (Some(1), &json!(2))
    );
    assert_eq!(emulator.control("DELETE", "faults", None).await.0, 204);
    let (_, list) = emulator.control("GET", "faults", None).await;
    assert_eq!(list, json!({ "faults": [] }));
    let mut connection = emulator.connect("t").await;
    upsert(&mut connection, 1).await.expect("nothing is in force");
}

#[tokio::test]
async fn the_clock_and_the_profile_are_turned_over_http() {
    let emulator = with_table().await;
    let (_, before) = emulator.control("GET", "clock", None).await;
    assert_eq!(before["time"], json!("2026-01-01T00:00:00Z"));
    let (_, after) = emulator
        .control("POST", "clock/advance", Some(json!({ "seconds": 86_400 })))
        .await;
    assert_eq!(after["time"], json!("2026-01-02T00:00:00Z"));
    let refused = emulator
        .control("POST", "clock/advance", Some(json!({ "seconds": -1 })))
        .await;
    assert_eq!(refused.0, 400);
    let (_, profile) = emulator
        .control("PUT", "profile", Some(json!({ "job_polls": 3 })))
        .await;
    assert_eq!(
        (&profile["job_polls"], &profile["idle_ms"]),
        (&json!(3), &json!(600_000))
    );
    assert_eq!(
        emulator
            .control("PUT", "profile", Some(json!({ "jobs": 3 })))
            .await
            .0,
        400
    );
}
