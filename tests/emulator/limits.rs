//! What BigQuery refuses by number or by kind.

use replicator::proto::descriptor::field_descriptor_proto::Type;
use replicator::proto::storage::append_rows_request::{ArrowData, Rows};
use serde_json::json;
use tonic::Code;

use crate::client::{Emulator, Row, Schema, request};

async fn refused(emulator: &Emulator, sql: &str, part: &str) {
    emulator.wait(10);
    let (reason, message) = emulator.query(sql).await.expect_err(sql);
    assert!(message.contains(part), "{sql}: {reason}: {message}");
}

fn columns(count: usize) -> String {
    (0..count)
        .map(|place| format!("c{place} INT64"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn names(count: usize) -> String {
    (0..count)
        .map(|place| format!("c{place}"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Rules: key-sixteen, key-types, cluster-four, column-count.
#[tokio::test]
async fn tables_have_limits() {
    let emulator = Emulator::start().await;
    emulator.run(&["CREATE SCHEMA d"]).await;
    let (wide, sixteen, seventeen) = (columns(17), names(16), names(17));
    let key = |names: &str| format!("CREATE TABLE d.k ({wide}, PRIMARY KEY ({names}) NOT ENFORCED)");
    refused(&emulator, &key(&seventeen), "more than 16 columns").await;
    emulator.run(&[&key(&sixteen)]).await;
    let cluster = |names: &str| format!("CREATE TABLE d.c ({wide}) CLUSTER BY {names}");
    refused(&emulator, &cluster(&names(5)), "more than 4 columns").await;
    emulator.run(&[&cluster(&names(4))]).await;
    for kind in ["BYTES", "FLOAT64", "TIME", "JSON", "INTERVAL"] {
        let sql = format!("CREATE TABLE d.bad (k {kind}, PRIMARY KEY (k) NOT ENFORCED)");
        refused(&emulator, &sql, "not supported for primary key").await;
    }
    let many = format!("CREATE TABLE d.many ({})", columns(10_001));
    refused(&emulator, &many, "at most 10000").await;
    let unstored = format!("CREATE TABLE d.many ({})", columns(1_991));
    refused(&emulator, &unstored, "The emulator stores at most").await;
}

/// Rules: change-needs-key.
#[tokio::test]
async fn changes_need_a_key() {
    let emulator = Emulator::start().await;
    emulator
        .run(&["CREATE SCHEMA d", "CREATE TABLE d.t (id INT64)"])
        .await;
    let schema = Schema::of(&[("id", Type::Int64), ("_CHANGE_TYPE", Type::String)]);
    let mut connection = emulator.connect("t").await;
    let row = Row::default().int(1, 1).text(2, "UPSERT");
    let status = connection
        .append("t", &schema, vec![row])
        .await
        .expect_err("refused");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("primary key"), "{status}");
}

/// Rules: partition-window.
#[tokio::test]
async fn streaming_reaches_partitions_from_ten_years_ago_to_one_year_ahead() {
    let emulator = Emulator::start().await;
    emulator
        .run(&[
            "CREATE SCHEMA d",
            "CREATE TABLE d.t (id INT64, at DATE, PRIMARY KEY (id) NOT ENFORCED) PARTITION BY DATE_TRUNC(at, MONTH)",
        ])
        .await;
    let schema = Schema::of(&[
        ("id", Type::Int64),
        ("at", Type::String),
        ("_CHANGE_TYPE", Type::String),
    ]);
    let mut connection = emulator.connect("t").await;
    // The clock stands at 2026-01-01.
    for (day, fits) in [
        ("2016-01-02", true),
        ("2015-11-01", false),
        ("2026-12-31", true),
        ("2027-02-01", false),
        ("9999-12-31", false),
    ] {
        let row = Row::default().int(1, 1).text(2, day).text(3, "UPSERT");
        let errors = connection
            .append("t", &schema, vec![row])
            .await
            .expect("an answer");
        assert_eq!(errors.is_empty(), fits, "{day}");
    }
    let deletion = Row::default().int(1, 1).text(3, "DELETE");
    let errors = connection
        .append("t", &schema, vec![deletion])
        .await
        .expect("an answer");
    assert_eq!(errors, [0_i64; 0], "a deletion names no partition");
}

/// Rules: partition-filter, partition-filter-merges.
#[tokio::test]
async fn a_partition_filter_may_be_required_but_not_while_queries_merge() {
    let emulator = Emulator::start().await;
    emulator
        .run(&[
            "CREATE SCHEMA d",
            "CREATE TABLE d.t (id INT64, at DATE, PRIMARY KEY (id) NOT ENFORCED) PARTITION BY at
               OPTIONS (require_partition_filter = TRUE)",
        ])
        .await;
    refused(
        &emulator,
        "SELECT id FROM d.t",
        "without a filter over column(s) 'at'",
    )
    .await;
    refused(&emulator, "SELECT id FROM d.t WHERE id = 1", "without a filter").await;
    let filtered = "SELECT id FROM d.t WHERE at = DATE '2026-01-01'";
    emulator.run(&[filtered]).await;
    let schema = Schema::of(&[("id", Type::Int64), ("_CHANGE_TYPE", Type::String)]);
    let mut connection = emulator.connect("t").await;
    let row = Row::default().int(1, 1).text(2, "UPSERT");
    connection.append("t", &schema, vec![row]).await.expect("taken");
    refused(&emulator, filtered, "not supported while changes are merged").await;
    emulator
        .run(&[
            "ALTER TABLE d.t SET OPTIONS (max_staleness = INTERVAL 10 MINUTE)",
            filtered,
        ])
        .await;
}

/// Rules: rename-table.
#[tokio::test]
async fn a_table_with_a_key_keeps_its_name() {
    let emulator = Emulator::start().await;
    emulator
        .run(&[
            "CREATE SCHEMA d",
            "CREATE TABLE d.t (id INT64, PRIMARY KEY (id) NOT ENFORCED)",
            "CREATE TABLE d.u (id INT64)",
        ])
        .await;
    refused(
        &emulator,
        "ALTER TABLE d.t RENAME TO x",
        "cannot be renamed: it has a primary key",
    )
    .await;
    refused(&emulator, "ALTER TABLE d.u RENAME TO t", "Already Exists").await;
    emulator
        .run(&["ALTER TABLE d.u RENAME TO x", "SELECT id FROM d.x"])
        .await;
    refused(&emulator, "SELECT id FROM d.u", "Not found").await;
}

/// Rules: widening.
#[tokio::test]
async fn columns_widen_and_never_narrow() {
    let emulator = Emulator::start().await;
    emulator.run(&["CREATE SCHEMA d"]).await;
    for (from, to, fits) in [
        ("INT64", "NUMERIC", true),
        ("INT64", "BIGNUMERIC", true),
        ("INT64", "FLOAT64", false),
        ("NUMERIC", "BIGNUMERIC", true),
        ("NUMERIC(5, 2)", "NUMERIC(7, 3)", true),
        ("NUMERIC(5, 2)", "NUMERIC(5, 3)", false),
        ("STRING(5)", "STRING(9)", true),
        ("STRING(5)", "STRING", true),
        ("STRING", "STRING(9)", false),
        ("BYTES(5)", "BYTES", true),
        ("DATE", "DATETIME", false),
        ("STRING", "INT64", false),
    ] {
        emulator.wait(10);
        let make = format!("CREATE OR REPLACE TABLE d.t (c {from})");
        emulator.run(&[&make]).await;
        let altered = emulator
            .query(&format!("ALTER TABLE d.t ALTER COLUMN c SET DATA TYPE {to}"))
            .await;
        assert_eq!(altered.is_ok(), fits, "{from} to {to}: {altered:?}");
    }
}

/// Rules: metadata-rate-partitioned.
#[tokio::test]
async fn a_partitioned_table_takes_fifty_changes_in_ten_seconds() {
    let emulator = Emulator::start().await;
    emulator
        .run(&["CREATE SCHEMA d", "CREATE TABLE d.t (at DATE) PARTITION BY at"])
        .await;
    for place in 0..49 {
        let patch = json!({ "description": format!("{place}") });
        let (status, answer) = emulator.call("PATCH", "/datasets/d/tables/t", Some(patch)).await;
        assert_eq!(status, 200, "{answer}");
    }
    let (status, _) = emulator
        .call(
            "PATCH",
            "/datasets/d/tables/t",
            Some(json!({ "description": "x" })),
        )
        .await;
    assert_eq!(status, 403);
}

/// Rules: arrow-refused, stream-names.
#[tokio::test]
async fn rows_in_arrow_form_and_other_streams_are_refused() {
    let emulator = Emulator::start().await;
    emulator
        .run(&["CREATE SCHEMA d", "CREATE TABLE d.t (id INT64, name STRING)"])
        .await;
    let mut arrow = request("t", None, Vec::new());
    arrow.rows = Some(Rows::ArrowRows(ArrowData::default()));
    let mut connection = emulator.connect("t").await;
    assert_eq!(
        connection.send(arrow).await.expect_err("refused").code(),
        Code::Unimplemented
    );
    let mut named = request("t", Some(&Schema::changes()), Vec::new());
    named.write_stream = named.write_stream.replace("_default", "s1");
    let mut connection = emulator.connect("t").await;
    assert_eq!(
        connection.send(named).await.expect_err("refused").code(),
        Code::NotFound
    );
}

/// Rules: sequence-absent.
#[tokio::test]
async fn a_change_without_a_number_ranks_lowest_and_is_counted() {
    let emulator = Emulator::start().await;
    emulator
        .run(&[
            "CREATE SCHEMA d",
            "CREATE TABLE d.t (id INT64, name STRING, PRIMARY KEY (id) NOT ENFORCED)",
        ])
        .await;
    let mut connection = emulator.connect("t").await;
    let rows = vec![
        Row::upsert(1, "numbered", "0"),
        Row::upsert(1, "without", ""),
        Row::upsert(2, "first", ""),
        Row::upsert(2, "last", ""),
    ];
    connection
        .append("t", &Schema::changes(), rows)
        .await
        .expect("taken");
    let rows = emulator
        .query("SELECT name FROM d.t ORDER BY id")
        .await
        .expect("rows");
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(rows, [[text("numbered")], [text("last")]]);
    assert_eq!(emulator.audit("p.d.t").await["changes_without_number"], json!(3));
}

/// Rules: absent-is-null, column-case, answers-in-order, delete-key-only.
#[tokio::test]
async fn fields_are_columns_by_name_and_absent_ones_null() {
    let emulator = Emulator::start().await;
    emulator
        .run(&[
            "CREATE SCHEMA d",
            "CREATE TABLE d.t (Id INT64, NAME STRING NOT NULL, n INT64, PRIMARY KEY (Id) NOT ENFORCED)",
        ])
        .await;
    let mut connection = emulator.connect("t").await;
    let schema = Schema::changes();
    connection
        .push(request("t", Some(&schema), vec![Row::upsert(1, "", "1")]))
        .await;
    connection
        .push(request("t", None, vec![Row::upsert(2, "x", "no number")]))
        .await;
    connection
        .push(request(
            "t",
            None,
            vec![Row::upsert(3, "", "1"), Row::delete(1, "2")],
        ))
        .await;
    let mut errors = Vec::new();
    for _ in 0..3 {
        errors.push(connection.answer().await.expect("an answer").row_errors.len());
    }
    assert_eq!(errors, [0, 1, 0]);
    let rows = emulator.query("SELECT id, name, n FROM d.t").await.expect("rows");
    assert_eq!(rows, [[Some("3".to_owned()), Some(String::new()), None]]);
}
