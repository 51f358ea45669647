//! Change data capture: order, deletion, mixing, errors of rows and of calls.

use std::time::Duration;

use replicator::clock::Clock;
use replicator::proto::descriptor::field_descriptor_proto::Type;
use replicator::proto::storage::append_rows_response::Response as Answer;
use serde_json::json;
use tonic::Code;

use crate::client::{Emulator, Row, Schema, request, stream};

/// No row errors.
const NONE: [i64; 0] = [];

async fn with_table() -> Emulator {
    let emulator = Emulator::start().await;
    emulator
        .run(&[
            "CREATE SCHEMA d",
            "CREATE TABLE d.t (id INT64 NOT NULL, name STRING, PRIMARY KEY (id) NOT ENFORCED) CLUSTER BY id",
        ])
        .await;
    emulator
}

async fn names(emulator: &Emulator) -> Vec<String> {
    let rows = emulator
        .query("SELECT id, name FROM d.t ORDER BY id, name")
        .await
        .expect("rows");
    let text = |cell: &Option<String>| cell.clone().unwrap_or_else(|| "NULL".to_owned());
    rows.iter()
        .map(|row| format!("{}={}", text(&row[0]), text(&row[1])))
        .collect()
}

/// Rules: sequence-order, sequence-equal, sequence-sections.
#[tokio::test]
async fn the_larger_number_wins_whatever_the_order() {
    let emulator = with_table().await;
    let mut connection = emulator.connect("t").await;
    let rows = vec![
        Row::upsert(1, "new", "FFF/ABC"),
        Row::upsert(1, "old", "FFF/B"),
        Row::upsert(2, "old", "BA/FFFFFFFF"),
        Row::upsert(2, "new", "ABC"),
        Row::delete(3, "2"),
        Row::upsert(3, "old", "1"),
        Row::upsert(4, "first", "7"),
        Row::upsert(4, "last", "7"),
    ];
    assert_eq!(
        connection
            .append("t", &Schema::changes(), rows)
            .await
            .expect("taken"),
        NONE
    );
    assert_eq!(names(&emulator).await, ["1=new", "2=new", "4=last"]);
    let late = vec![
        Row::upsert(3, "newer", "3"),
        Row::delete(1, "FFF/1"),
        Row::upsert(2, "x", "1"),
    ];
    assert_eq!(
        connection
            .append("t", &Schema::changes(), late)
            .await
            .expect("taken"),
        NONE
    );
    assert_eq!(names(&emulator).await, ["1=new", "2=new", "3=newer", "4=last"]);
}

/// Rules: upsert-whole-row.
#[tokio::test]
async fn an_upsert_replaces_the_whole_row() {
    let emulator = with_table().await;
    let mut connection = emulator.connect("t").await;
    let rows = vec![
        Row::upsert(1, "a", "1"),
        Row::default().int(1, 1).text(3, "UPSERT").text(4, "2"),
    ];
    connection
        .append("t", &Schema::changes(), rows)
        .await
        .expect("taken");
    assert_eq!(names(&emulator).await, ["1=NULL"]);
}

/// Rules: deletion-two-days.
#[tokio::test]
async fn a_deletion_is_remembered_for_two_days() {
    let emulator = with_table().await;
    let mut connection = emulator.connect("t").await;
    connection
        .append("t", &Schema::changes(), vec![Row::delete(1, "9")])
        .await
        .expect("taken");
    emulator.clock.advance(Duration::from_secs(47 * 3600));
    let mut connection = emulator.connect("t").await;
    connection
        .append("t", &Schema::changes(), vec![Row::upsert(1, "old", "8")])
        .await
        .expect("taken");
    assert_eq!(names(&emulator).await, [""; 0]);
    emulator.clock.advance(Duration::from_secs(3600));
    let mut connection = emulator.connect("t").await;
    connection
        .append("t", &Schema::changes(), vec![Row::upsert(1, "old", "8")])
        .await
        .expect("taken");
    assert_eq!(names(&emulator).await, ["1=old"]);
}

/// Rules: row-errors, sequence-form, change-types, strings-utf8, key-has-value.
#[tokio::test]
async fn one_bad_row_keeps_the_whole_request_out() {
    let emulator = with_table().await;
    let mut connection = emulator.connect("t").await;
    let rows = vec![
        Row::upsert(1, "a", "1"),
        Row::upsert(2, "b", "not hex"),
        Row::upsert(3, "c", "1"),
        Row::default().int(1, 4).bytes(2, b"\xFF").text(3, "UPSERT"),
        Row::default().int(1, 5).text(3, "INSERT"),
        Row::default().text(2, "no key").text(3, "UPSERT"),
        Row(vec![0xFF, 0xFF]),
    ];
    let answer = connection
        .send(request("t", Some(&Schema::changes()), rows))
        .await
        .expect("an answer");
    let places: Vec<i64> = answer.row_errors.iter().map(|error| error.index).collect();
    assert_eq!(places, [1, 3, 4, 5, 6]);
    assert!(
        answer
            .row_errors
            .iter()
            .all(|error| error.code == 1 && !error.message.is_empty())
    );
    let Some(Answer::Error(error)) = answer.response else {
        panic!("it is an error");
    };
    assert_eq!(error.code, i32::from(Code::InvalidArgument));
    assert_eq!(names(&emulator).await, [""; 0]);
    // The connection goes on.
    connection
        .append("t", &Schema::changes(), vec![Row::upsert(1, "a", "1")])
        .await
        .expect("taken");
    assert_eq!(names(&emulator).await, ["1=a"]);
}

/// Rules: change-mixing, plain-rows.
#[tokio::test]
async fn changes_and_plain_rows_do_not_share_a_connection() {
    let emulator = with_table().await;
    let plain = Schema::of(&[("id", Type::Int64), ("name", Type::String)]);
    let mut connection = emulator.connect("t").await;
    let row = Row::default().int(1, 1).text(2, "plain");
    assert_eq!(
        connection
            .append("t", &plain, vec![row.clone(), row])
            .await
            .expect("taken"),
        NONE
    );
    let refused = connection
        .append("t", &Schema::changes(), vec![Row::upsert(2, "b", "1")])
        .await;
    assert_eq!(refused.expect("row errors"), [0]);
    assert_eq!(names(&emulator).await, ["1=plain", "1=plain"]);
    // A change of that key replaces what was appended.
    let mut other = emulator.connect("t").await;
    other
        .append("t", &Schema::changes(), vec![Row::upsert(1, "one", "1")])
        .await
        .expect("taken");
    assert_eq!(names(&emulator).await, ["1=one"]);
}

/// Rules: request-size, offset-refused, first-request, table-not-found, form-mismatch.
#[tokio::test]
async fn calls_that_break_the_protocol_end() {
    let emulator = with_table().await;
    let schema = Schema::changes();
    let code = async |mut request: replicator::proto::storage::AppendRowsRequest, offset: bool| {
        request.offset = offset.then_some(3);
        let mut connection = emulator.connect("t").await;
        connection.send(request).await.expect_err("it ends").code()
    };
    let row = || vec![Row::upsert(1, "a", "1")];
    assert_eq!(
        code(request("", Some(&schema), row()), false).await,
        Code::InvalidArgument
    );
    assert_eq!(
        code(request("t", None, row()), false).await,
        Code::InvalidArgument
    );
    assert_eq!(
        code(request("t", Some(&schema), row()), true).await,
        Code::InvalidArgument
    );
    assert_eq!(
        code(request("absent", Some(&schema), row()), false).await,
        Code::NotFound
    );
    let wrong = Schema::of(&[("id", Type::String), ("_CHANGE_TYPE", Type::String)]);
    assert_eq!(
        code(request("t", Some(&wrong), row()), false).await,
        Code::InvalidArgument
    );
    let large = vec![Row::upsert(1, &"x".repeat(20_000_000), "1")];
    assert_eq!(
        code(request("t", Some(&schema), large), false).await,
        Code::InvalidArgument
    );
    assert_eq!(names(&emulator).await, [""; 0]);
}

/// Rules: extra-fields.
#[tokio::test]
async fn more_columns_than_the_table_has_are_refused_in_band() {
    let emulator = with_table().await;
    let schema = Schema::of(&[
        ("id", Type::Int64),
        ("name", Type::String),
        ("_CHANGE_TYPE", Type::String),
        ("late", Type::Int64),
    ]);
    let mut connection = emulator.connect("t").await;
    let row = Row::upsert(1, "a", "").int(4, 5);
    let answer = connection
        .send(request("t", Some(&schema), vec![row.clone()]))
        .await
        .expect("an answer");
    let Some(Answer::Error(error)) = &answer.response else {
        panic!("it is an error");
    };
    assert!(
        error.details[0]
            .type_url
            .ends_with("google.cloud.bigquery.storage.v1.StorageError")
    );
    assert!(
        crate::client::encoded(&answer)
            .windows(2)
            .any(|pair| pair == [8, 7]),
        "SCHEMA_MISMATCH_EXTRA_FIELDS"
    );
    emulator.run(&["ALTER TABLE d.t ADD COLUMN late INT64"]).await;
    emulator.wait(7);
    connection
        .append("t", &schema, vec![row])
        .await
        .expect("taken after the column came");
    let rows = emulator.query("SELECT late FROM d.t").await.expect("rows");
    assert_eq!(rows, [[Some("5".to_owned())]]);
}

/// Rules: updated-schema.
#[tokio::test]
async fn an_open_connection_is_told_of_new_columns_once() {
    let emulator = with_table().await;
    let mut connection = emulator.connect("t").await;
    let send = |row| request("t", Some(&Schema::changes()), vec![row]);
    let before = connection
        .send(send(Row::upsert(1, "a", "1")))
        .await
        .expect("taken");
    assert!(before.updated_schema.is_none());
    emulator
        .run(&["ALTER TABLE d.t ADD COLUMN late NUMERIC(10, 2)"])
        .await;
    let early = connection
        .send(send(Row::upsert(2, "b", "1")))
        .await
        .expect("taken");
    assert!(early.updated_schema.is_none());
    emulator.wait(7);
    let told = connection
        .send(send(Row::upsert(2, "b", "1")))
        .await
        .expect("taken");
    let schema = told.updated_schema.expect("it is told");
    assert_eq!(schema.fields[2].name, "late");
    assert_eq!((schema.fields[2].precision, schema.fields[2].scale), (10, 2));
    let after = connection
        .send(send(Row::upsert(3, "c", "1")))
        .await
        .expect("taken");
    assert!(after.updated_schema.is_none());
}

/// Rules: routing-header.
#[tokio::test]
async fn outside_the_us_a_call_must_say_where_it_goes() {
    let emulator = Emulator::start().await;
    emulator
        .run(&[
            "CREATE SCHEMA d OPTIONS(location = 'asia-northeast1')",
            "CREATE TABLE d.t (id INT64, name STRING, PRIMARY KEY (id) NOT ENFORCED)",
        ])
        .await;
    let row = || vec![Row::upsert(1, "a", "1")];
    for route in [
        None,
        Some("write_stream=projects/p/datasets/d/tables/other/streams/_default".to_owned()),
    ] {
        let mut connection = emulator.connect_with(route).await;
        let refused = connection.append("t", &Schema::changes(), row()).await;
        assert_eq!(refused.expect_err("refused").code(), Code::PermissionDenied);
    }
    let escaped = format!("write_stream={}", stream("t").replace('/', "%2F"));
    for route in [
        escaped,
        "write_location=projects/p/locations/asia-northeast1".to_owned(),
    ] {
        let mut connection = emulator.connect_with(Some(route)).await;
        connection
            .append("t", &Schema::changes(), row())
            .await
            .expect("taken");
    }
}

/// Rules: multiplexing.
#[tokio::test]
async fn several_tables_share_a_connection_by_name() {
    let emulator = with_table().await;
    emulator
        .run(&["CREATE TABLE d.u (id INT64, name STRING, PRIMARY KEY (id) NOT ENFORCED)"])
        .await;
    let schema = Schema::changes();
    let mut connection = emulator.connect("t").await;
    let row = || vec![Row::upsert(1, "a", "1")];
    connection
        .send(request("t", Some(&schema), row()))
        .await
        .expect("the first names both");
    connection
        .send(request("", None, row()))
        .await
        .expect("alone it needs no name");
    connection
        .send(request("u", Some(&schema), row()))
        .await
        .expect("another table");
    connection
        .send(request("u", None, row()))
        .await
        .expect("its schema is known");
    let unnamed = connection
        .send(request("", None, row()))
        .await
        .expect_err("it must be named now");
    assert_eq!(unnamed.code(), Code::InvalidArgument);
    let mut connection = emulator.connect("t").await;
    connection
        .send(request("t", Some(&schema), row()))
        .await
        .expect("taken");
    let switched = connection
        .send(request("u", None, row()))
        .await
        .expect_err("a switch needs a schema");
    assert_eq!(switched.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn the_audit_finds_a_number_with_two_contents() {
    let emulator = with_table().await;
    let mut connection = emulator.connect("t").await;
    let rows = vec![
        Row::upsert(1, "a", "1/0/0/2"),
        Row::upsert(1, "a", "1/0/0/2"),
        Row::upsert(2, "a", "1/0/0/2"),
        Row::upsert(3, "read", "1/0/0/0"),
        Row::upsert(3, "read again", "1/0/0/0"),
    ];
    connection
        .append("t", &Schema::changes(), rows)
        .await
        .expect("taken");
    let found = emulator.audit("p.d.t").await;
    assert_eq!(found["numbers_with_two_contents"], json!(0));
    assert_eq!(found["snapshot_numbers_with_two_contents"], json!(1));
    let again = vec![
        Row::upsert(2, "b", "1/0/0/2"),
        Row::delete(2, "1/0/0/2"),
        Row::delete(1, "1/0/0/3"),
    ];
    connection
        .append("t", &Schema::changes(), again)
        .await
        .expect("taken");
    let found = emulator.audit("p.d.t").await;
    assert_eq!(found["numbers_with_two_contents"], json!(1));
    assert_eq!(
        (&found["upserts"], &found["deletes"], &found["requests"]),
        (&json!(6), &json!(2), &json!(2))
    );
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bigquery.db");
    let emulator = Emulator::with(Some(file.clone()), Clock::manual()).await;
    emulator
        .run(&[
            "CREATE SCHEMA d",
            "CREATE TABLE d.t (id INT64, name STRING, PRIMARY KEY (id) NOT ENFORCED)",
        ])
        .await;
    let mut connection = emulator.connect("t").await;
    let rows = vec![Row::upsert(1, "a", "5"), Row::delete(2, "5")];
    connection
        .append("t", &Schema::changes(), rows)
        .await
        .expect("taken");
    // The file as a killed process would leave it: nothing was closed.
    let copy = folder.path().join("copy.db");
    for (from, to) in [("bigquery.db", "copy.db"), ("bigquery.db-wal", "copy.db-wal")] {
        std::fs::copy(folder.path().join(from), folder.path().join(to)).expect("a copy");
    }
    emulator
        .running
        .shutdown()
        .await
        .expect("it stops with an open connection");
    for file in [copy, file] {
        let emulator = Emulator::with(Some(file), Clock::manual()).await;
        assert_eq!(names(&emulator).await, ["1=a"]);
        let mut connection = emulator.connect("t").await;
        let late = vec![Row::upsert(1, "old", "4"), Row::upsert(2, "old", "4")];
        connection
            .append("t", &Schema::changes(), late)
            .await
            .expect("taken");
        assert_eq!(names(&emulator).await, ["1=a"]);
        assert_eq!(emulator.audit("p.d.t").await["requests"], json!(2));
        emulator.running.shutdown().await.expect("it stops");
    }
}
