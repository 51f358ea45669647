//! DDL as writers see it: late, and later on open connections; re-created tables; connections without work.

use replicator::clock::Clock;
use replicator::emulator::{Options, Profile};
use replicator::proto::descriptor::field_descriptor_proto::Type;
use replicator::proto::storage::{GetWriteStreamRequest, WriteStreamView};
use serde_json::json;
use tonic::Code;

use crate::client::{Connection, Emulator, Row, Schema, request, stream};

const TABLE: &str = "CREATE TABLE d.t (id INT64 NOT NULL, name STRING, PRIMARY KEY (id) NOT ENFORCED)";

async fn with_table(profile: Profile) -> Emulator {
    let options = Options {
        profile,
        ..Options::local(Clock::manual())
    };
    let emulator = Emulator::of(options).await;
    emulator.run(&["CREATE SCHEMA d", TABLE]).await;
    emulator
}

fn wider() -> Schema {
    Schema::of(&[
        ("id", Type::Int64),
        ("name", Type::String),
        ("_CHANGE_TYPE", Type::String),
        ("_CHANGE_SEQUENCE_NUMBER", Type::String),
        ("late", Type::Int64),
    ])
}

async fn upsert(connection: &mut Connection, schema: &Schema, id: i64) -> Result<(), Code> {
    let row = Row::upsert(id, "x", "1").int(5, 7);
    let taken = connection.append("t", schema, vec![row]).await;
    taken.map(drop).map_err(|status| status.code())
}

/// Rules: columns-late-open, columns-late-new.
#[tokio::test]
async fn a_new_column_is_seen_late() {
    let emulator = with_table(Profile::STRICT).await;
    let mut open = emulator.connect("t").await;
    upsert(&mut open, &Schema::changes(), 1).await.expect("taken");
    emulator.run(&["ALTER TABLE d.t ADD COLUMN late INT64"]).await;
    let mut new = emulator.connect("t").await;
    assert_eq!(upsert(&mut new, &wider(), 2).await, Err(Code::InvalidArgument));
    emulator.wait(1);
    upsert(&mut new, &wider(), 2).await.expect("seen after a second");
    assert_eq!(upsert(&mut open, &wider(), 3).await, Err(Code::InvalidArgument));
    emulator.wait(6);
    upsert(&mut open, &wider(), 3)
        .await
        .expect("seen after seven seconds");
}

/// Rules: dropped-swallowed.
#[tokio::test]
async fn values_of_a_dropped_column_are_swallowed_on_open_connections() {
    let emulator = with_table(Profile::USUAL).await;
    let mut open = emulator.connect("t").await;
    upsert(&mut open, &Schema::changes(), 1).await.expect("taken");
    emulator.run(&["ALTER TABLE d.t DROP COLUMN name"]).await;
    let mut new = emulator.connect("t").await;
    let refused = upsert(&mut new, &Schema::changes(), 2).await;
    assert_eq!(refused, Err(Code::InvalidArgument));
    emulator.wait(8);
    upsert(&mut open, &Schema::changes(), 3)
        .await
        .expect("acknowledged");
    assert_eq!(emulator.audit("p.d.t").await["values_swallowed"], json!(1));
    emulator.wait(1);
    let refused = upsert(&mut open, &Schema::changes(), 4).await;
    assert_eq!(refused, Err(Code::InvalidArgument));
    let rows = emulator
        .query("SELECT * FROM d.t ORDER BY id")
        .await
        .expect("rows");
    assert_eq!(rows, [[Some("1".to_owned())], [Some("3".to_owned())]]);
}

/// Rules: dropped-swallowed.
#[tokio::test]
async fn values_under_an_old_name_are_lost() {
    let emulator = with_table(Profile::USUAL).await;
    let mut open = emulator.connect("t").await;
    upsert(&mut open, &Schema::changes(), 1).await.expect("taken");
    emulator
        .run(&["ALTER TABLE d.t RENAME COLUMN name TO label"])
        .await;
    upsert(&mut open, &Schema::changes(), 2)
        .await
        .expect("acknowledged");
    assert_eq!(emulator.audit("p.d.t").await["values_swallowed"], json!(1));
    let rows = emulator
        .query("SELECT label FROM d.t WHERE id = 2")
        .await
        .expect("rows");
    assert_eq!(rows, [[None]]);
}

/// Rules: not-null-late.
#[tokio::test]
async fn an_open_connection_goes_on_to_refuse_null() {
    let emulator = with_table(Profile::USUAL).await;
    emulator
        .run(&["CREATE TABLE d.n (id INT64, name STRING NOT NULL, PRIMARY KEY (id) NOT ENFORCED)"])
        .await;
    let null = || Row::default().int(1, 2).text(3, "UPSERT").text(4, "1");
    let mut open = emulator.connect("n").await;
    let schema = Schema::changes();
    open.append("n", &schema, vec![Row::upsert(1, "x", "1")])
        .await
        .expect("taken");
    emulator
        .run(&["ALTER TABLE d.n ALTER COLUMN name DROP NOT NULL"])
        .await;
    assert_eq!(
        open.append("n", &schema, vec![null()]).await.expect("row errors"),
        [0]
    );
    let mut new = emulator.connect("n").await;
    assert_eq!(
        new.append("n", &schema, vec![null()]).await.expect("taken"),
        [0_i64; 0]
    );
}

/// Rules: recreated-swallowed, recreated-silent.
#[tokio::test]
async fn a_table_made_again_swallows_rows_of_open_connections() {
    let emulator = with_table(Profile::USUAL).await;
    let mut open = emulator.connect("t").await;
    upsert(&mut open, &Schema::changes(), 1).await.expect("taken");
    emulator.run(&["DROP TABLE d.t", TABLE]).await;
    upsert(&mut open, &Schema::changes(), 2)
        .await
        .expect("acknowledged");
    assert_eq!(emulator.audit("p.d.t").await["rows_swallowed"], json!(1));
    assert_eq!(emulator.query("SELECT id FROM d.t").await.expect("rows").len(), 0);
    emulator.wait(5);
    open.push(request(
        "t",
        Some(&Schema::changes()),
        vec![Row::upsert(3, "x", "1")],
    ))
    .await;
    // The answer comes when two minutes have passed; turning the clock until then waits for nothing else.
    let turning = async {
        loop {
            emulator.wait(1);
            tokio::task::yield_now().await;
        }
    };
    let answer = tokio::select! {
        answer = open.answer() => answer,
        () = turning => unreachable!("it turns for ever"),
    };
    assert_eq!(answer.expect_err("it ends").code(), Code::DeadlineExceeded);
    let mut new = emulator.connect("t").await;
    upsert(&mut new, &Schema::changes(), 4)
        .await
        .expect("a new connection knows the new table");
}

/// Rules: recreated-unknown.
#[tokio::test]
async fn a_table_made_again_is_unknown_to_new_connections_for_minutes() {
    let emulator = with_table(Profile::STRICT).await;
    emulator.run(&["DROP TABLE d.t", TABLE]).await;
    let mut new = emulator.connect("t").await;
    assert_eq!(upsert(&mut new, &Schema::changes(), 1).await, Err(Code::NotFound));
    emulator.wait(120);
    let mut new = emulator.connect("t").await;
    upsert(&mut new, &Schema::changes(), 1).await.expect("known");
}

/// Rules: get-write-stream, routing-get-stream.
#[tokio::test]
async fn the_default_stream_shows_what_new_connections_see() {
    let emulator = with_table(Profile::STRICT).await;
    emulator.run(&["ALTER TABLE d.t ADD COLUMN late INT64"]).await;
    let columns = async || {
        let mut client = emulator.write_client().await;
        let asked = GetWriteStreamRequest {
            name: stream("t"),
            view: WriteStreamView::Full.into(),
        };
        let found = client.get_write_stream(asked).await.expect("found").into_inner();
        found.table_schema.expect("columns").fields.len()
    };
    assert_eq!(columns().await, 2);
    emulator.wait(1);
    assert_eq!(columns().await, 3);
    emulator
        .run(&[
            "CREATE SCHEMA far OPTIONS(location = 'EU')",
            "CREATE TABLE far.t (id INT64)",
        ])
        .await;
    let asked = GetWriteStreamRequest {
        name: "projects/p/datasets/far/tables/t/streams/_default".to_owned(),
        view: WriteStreamView::Full.into(),
    };
    let mut client = emulator.write_client().await;
    let refused = client
        .get_write_stream(asked.clone())
        .await
        .expect_err("not routed");
    assert_eq!(refused.code(), Code::PermissionDenied);
    let mut routed = tonic::Request::new(asked.clone());
    let name = format!("name={}", asked.name).parse().expect("a header");
    routed.metadata_mut().insert("x-goog-request-params", name);
    client.get_write_stream(routed).await.expect("routed");
}

/// Rules: idle.
#[tokio::test]
async fn a_connection_without_requests_ends_after_ten_minutes() {
    let emulator = with_table(Profile::USUAL).await;
    let mut open = emulator.connect("t").await;
    upsert(&mut open, &Schema::changes(), 1).await.expect("taken");
    let turning = async {
        loop {
            emulator.wait(10);
            tokio::task::yield_now().await;
        }
    };
    let began = emulator.clock.now();
    let answer = tokio::select! {
        answer = open.answer() => answer,
        () = turning => unreachable!("it turns for ever"),
    };
    let status = answer.expect_err("it ends");
    assert_eq!(status.code(), Code::Aborted);
    assert!(status.message().contains("inactive for 600 seconds"), "{status}");
    assert!(emulator.clock.now() - began >= std::time::Duration::from_secs(600));
}
