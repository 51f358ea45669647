//! `max_staleness`: the baseline that queries see, the jobs that bring it up to date, and what those read.

use serde_json::json;

use crate::client::{Connection, Emulator, Row, Schema};

/// A table with ten minutes of staleness, and a connection to it.
async fn stale() -> (Emulator, Connection) {
    let emulator = Emulator::start().await;
    emulator
        .run(&[
            "CREATE SCHEMA d",
            "CREATE TABLE d.t (id INT64, name STRING, PRIMARY KEY (id) NOT ENFORCED)
               OPTIONS (max_staleness = INTERVAL 10 MINUTE)",
        ])
        .await;
    let connection = emulator.connect("t").await;
    (emulator, connection)
}

async fn upsert(connection: &mut Connection, id: i64, name: &str, number: &str) {
    let rows = vec![Row::upsert(id, name, number)];
    let taken = connection.append("t", &Schema::changes(), rows).await;
    assert_eq!(taken.expect("taken"), [0_i64; 0]);
}

async fn names(emulator: &Emulator) -> Vec<String> {
    let rows = emulator
        .query("SELECT name FROM d.t ORDER BY id")
        .await
        .expect("rows");
    rows.into_iter()
        .map(|row| row[0].clone().unwrap_or_default())
        .collect()
}

async fn watermark(emulator: &Emulator) -> Option<i64> {
    let sql = "SELECT upsert_stream_apply_watermark FROM d.INFORMATION_SCHEMA.TABLES WHERE table_name = 't'";
    let rows = emulator.query(sql).await.expect("rows");
    rows[0][0]
        .as_ref()
        .map(|micros| micros.parse().expect("microseconds"))
}

/// Rules: baseline-read, apply-interval, apply-watermark, apply-bytes, deletes-late, no-changes-no-apply.
#[tokio::test]
async fn queries_see_the_baseline_until_changes_are_applied() {
    let (emulator, mut connection) = stale().await;
    upsert(&mut connection, 1, "abc", "1").await;
    upsert(&mut connection, 2, "de", "1").await;
    assert_eq!(
        (names(&emulator).await, watermark(&emulator).await),
        (Vec::new(), None)
    );
    emulator.wait(599);
    assert_eq!(names(&emulator).await.len(), 0);
    let appended = emulator.clock.unix_micros();
    emulator.wait(1);
    assert_eq!(names(&emulator).await, ["abc", "de"]);
    let first = watermark(&emulator).await.expect("applied");
    assert!(first > appended);
    let counted = emulator.audit("p.d.t").await;
    // Two rows: 8 bytes of INT64 and 2 bytes beside the text.
    assert_eq!(
        (&counted["applies"], &counted["apply_bytes"]),
        (&json!(1), &json!(25))
    );
    connection = emulator.connect("t").await;
    let delete = vec![Row::delete(2, "2")];
    connection
        .append("t", &Schema::changes(), delete)
        .await
        .expect("taken");
    assert_eq!(names(&emulator).await, ["abc", "de"], "a deletion waits as well");
    emulator.wait(3600);
    assert_eq!(names(&emulator).await, ["abc"]);
    assert_eq!(watermark(&emulator).await, Some(first + 600_000_000));
    let counted = emulator.audit("p.d.t").await;
    // The whole baseline was read for one row's change; the five jobs after it had nothing to do.
    assert_eq!(
        (&counted["applies"], &counted["apply_bytes"]),
        (&json!(2), &json!(50))
    );
}

/// Rules: apply-jobs-listed.
#[tokio::test]
async fn apply_jobs_are_among_the_projects_jobs() {
    let (emulator, mut connection) = stale().await;
    upsert(&mut connection, 1, "abc", "1").await;
    emulator.wait(600);
    let sql = "SELECT user_email, total_bytes_processed FROM `region-us`.INFORMATION_SCHEMA.JOBS \
               WHERE job_id LIKE '%cdc_background%'";
    let rows = emulator.query(sql).await.expect("rows");
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        rows,
        [[text("bigquery-adminbot@system.gserviceaccount.com"), text("13")]]
    );
}

/// Rules: no-staleness-merges, apply-watermark.
#[tokio::test]
async fn without_staleness_every_query_merges() {
    let (emulator, mut connection) = stale().await;
    upsert(&mut connection, 1, "a", "1").await;
    emulator
        .run(&["ALTER TABLE d.t SET OPTIONS (max_staleness = NULL)"])
        .await;
    assert_eq!(names(&emulator).await, ["a"]);
    upsert(&mut connection, 1, "b", "2").await;
    assert_eq!(names(&emulator).await, ["b"]);
    let counted = emulator.audit("p.d.t").await;
    assert_eq!(
        (&counted["applies"], &counted["runtime_merges"]),
        (&json!(0), &json!(2))
    );
    assert_eq!(counted["runtime_merge_bytes"], json!(22));
    emulator
        .run(&["ALTER TABLE d.t SET OPTIONS (max_staleness = INTERVAL 10 MINUTE)"])
        .await;
    upsert(&mut connection, 1, "c", "3").await;
    assert_eq!(names(&emulator).await, ["b"]);
}

/// Rules: late-apply-merges, merge-leaves-watermark.
#[tokio::test]
async fn when_applies_are_late_queries_merge_and_the_watermark_stands() {
    let (emulator, mut connection) = stale().await;
    upsert(&mut connection, 1, "a", "1").await;
    emulator
        .order(json!({ "on": "applies", "table": "d.t", "effect": "stall" }))
        .await;
    emulator.wait(600);
    assert_eq!(names(&emulator).await.len(), 0, "just within the staleness");
    emulator.wait(1);
    assert_eq!(
        (names(&emulator).await, watermark(&emulator).await),
        (vec!["a".to_owned()], None)
    );
    assert_eq!(emulator.audit("p.d.t").await["runtime_merges"], json!(1));
    emulator.control("DELETE", "faults", None).await;
    assert_eq!(names(&emulator).await, ["a"]);
    assert_eq!(watermark(&emulator).await, Some(emulator.clock.unix_micros()));
}

/// Rules: plain-rows.
#[tokio::test]
async fn rows_that_are_no_changes_are_seen_at_once() {
    let (emulator, mut connection) = stale().await;
    upsert(&mut connection, 1, "changed", "1").await;
    let plain = Schema::of(&[
        (
            "id",
            replicator::proto::descriptor::field_descriptor_proto::Type::Int64,
        ),
        (
            "name",
            replicator::proto::descriptor::field_descriptor_proto::Type::String,
        ),
    ]);
    let mut other = emulator.connect("t").await;
    let row = Row::default().int(1, 2).text(2, "appended");
    other.append("t", &plain, vec![row]).await.expect("taken");
    assert_eq!(names(&emulator).await, ["appended"]);
    emulator.wait(600);
    assert_eq!(names(&emulator).await, ["changed", "appended"]);
}

#[tokio::test]
async fn columns_come_and_go_under_a_baseline() {
    let (emulator, mut connection) = stale().await;
    upsert(&mut connection, 1, "a", "1").await;
    emulator.wait(600);
    emulator
        .run(&["ALTER TABLE d.t ADD COLUMN n INT64, DROP COLUMN name, ALTER COLUMN id SET DATA TYPE NUMERIC"])
        .await;
    let rows = emulator.query("SELECT * FROM d.t").await.expect("rows");
    assert_eq!(rows, [[Some("1".to_owned()), None]]);
    emulator.run(&["DROP TABLE d.t"]).await;
}

/// Rules: streaming-buffer.
#[tokio::test]
async fn a_table_says_what_waits_to_be_applied() {
    let (emulator, mut connection) = stale().await;
    let path = "/datasets/d/tables/t";
    let (_, empty) = emulator.call("GET", path, None).await;
    assert!(empty["streamingBuffer"].is_null(), "{empty}");
    upsert(&mut connection, 1, "abc", "1").await;
    let (_, waiting) = emulator.call("GET", path, None).await;
    assert_eq!(
        (&waiting["numRows"], &waiting["numBytes"]),
        (&json!("0"), &json!("0"))
    );
    assert_eq!(waiting["streamingBuffer"]["estimatedRows"], "1");
    assert_eq!(waiting["streamingBuffer"]["estimatedBytes"], "13");
    emulator.wait(600);
    let (_, applied) = emulator.call("GET", path, None).await;
    assert!(applied["streamingBuffer"].is_null(), "{applied}");
    assert_eq!(
        (&applied["numRows"], &applied["numBytes"]),
        (&json!("1"), &json!("13"))
    );
}
