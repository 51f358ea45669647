//! Writers with one defect each, as they have been written by others: the service they meet here must show
//! it, by a refusal or by a loss that can be counted. And one writer without defect, which nothing stops.

use replicator::proto::descriptor::field_descriptor_proto::Type;
use replicator::proto::storage::append_rows_response::Response as Answer;
use serde_json::json;
use tonic::Code;

use crate::client::{Connection, Emulator, Row, Schema, request};

async fn shop(location: &str) -> Emulator {
    let emulator = Emulator::start().await;
    let dataset = format!("CREATE SCHEMA d OPTIONS (location = '{location}')");
    emulator
        .run(&[
            &dataset,
            "CREATE TABLE d.t (id INT64 NOT NULL, name STRING, PRIMARY KEY (id) NOT ENFORCED)",
        ])
        .await;
    emulator
}

async fn ids(emulator: &Emulator) -> Vec<String> {
    let rows = emulator
        .query("SELECT id FROM d.t ORDER BY id")
        .await
        .expect("rows");
    rows.into_iter().filter_map(|row| row[0].clone()).collect()
}

/// Sends rows and believes in every answer that is no end of the call, as a writer does that looks at the
/// transport's status only.
async fn send_and_believe(connection: &mut Connection, schema: &Schema, rows: Vec<Row>) -> usize {
    let sent = rows.len();
    connection
        .send(request("t", Some(schema), rows))
        .await
        .expect("an answer");
    sent
}

/// Rules: routing-header.
#[tokio::test]
async fn a_sink_that_does_not_say_where_it_writes_is_refused() {
    let emulator = shop("asia-northeast1").await;
    let mut connection = emulator.connect_with(None).await;
    let row = vec![Row::upsert(1, "a", "1")];
    let refused = connection
        .append("t", &Schema::changes(), row)
        .await
        .expect_err("refused");
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(ids(&emulator).await, [""; 0]);
}

/// Rules: row-errors.
#[tokio::test]
async fn a_sink_that_ignores_row_errors_loses_the_whole_request() {
    let emulator = shop("US").await;
    emulator
        .order(json!({ "on": "append", "effect": {
            "row_errors": { "rows": { "where": { "column": "id", "value": "2" } } } } }))
        .await;
    let rows = || (1..=3).map(|id| Row::upsert(id, "x", "1")).collect::<Vec<_>>();
    let mut careless = emulator.connect("t").await;
    assert_eq!(
        send_and_believe(&mut careless, &Schema::changes(), rows()).await,
        3
    );
    assert_eq!(ids(&emulator).await, [""; 0], "nothing of the request is there");
    // One that drops the listed rows and believes that the others were taken loses them as well.
    let mut careful = emulator.connect("t").await;
    let bad = careful
        .append("t", &Schema::changes(), rows())
        .await
        .expect("row errors");
    assert_eq!((bad, ids(&emulator).await), (vec![1], Vec::new()));
    let rest = vec![Row::upsert(1, "x", "1"), Row::upsert(3, "x", "1")];
    careful
        .append("t", &Schema::changes(), rest)
        .await
        .expect("taken");
    assert_eq!(ids(&emulator).await, ["1", "3"], "it must send the rest again");
}

/// Rules: dropped-swallowed, columns-late-open, recreated-swallowed.
#[tokio::test]
async fn a_sink_that_keeps_its_connection_over_ddl_is_refused_or_loses_values() {
    let emulator = shop("US").await;
    let mut open = emulator.connect("t").await;
    send_and_believe(&mut open, &Schema::changes(), vec![Row::upsert(1, "a", "1")]).await;
    // The column is dropped and comes back with another type under the open connection.
    emulator
        .run(&[
            "ALTER TABLE d.t DROP COLUMN name",
            "ALTER TABLE d.t ADD COLUMN name STRING",
        ])
        .await;
    send_and_believe(&mut open, &Schema::changes(), vec![Row::upsert(2, "b", "1")]).await;
    assert_eq!(emulator.audit("p.d.t").await["values_swallowed"], json!(1));
    let rows = emulator
        .query("SELECT name FROM d.t WHERE id = 2")
        .await
        .expect("rows");
    assert_eq!(rows, [[None]], "the value is lost, and was acknowledged");
    emulator.wait(10);
    // A column is added: the same connection does not know it for seconds.
    emulator.run(&["ALTER TABLE d.t ADD COLUMN late INT64"]).await;
    let wider = Schema::of(&[
        ("id", Type::Int64),
        ("late", Type::Int64),
        ("_CHANGE_TYPE", Type::String),
    ]);
    let row = || Row::default().int(1, 3).int(2, 9).text(3, "UPSERT");
    let answer = open
        .send(request("t", Some(&wider), vec![row()]))
        .await
        .expect("an answer");
    let Some(Answer::Error(error)) = answer.response else {
        panic!("it is refused");
    };
    assert!(error.message.contains("more fields"), "{}", error.message);
    // The table is made anew.
    emulator.wait(10);
    let mut open = emulator.connect("t").await;
    send_and_believe(&mut open, &Schema::changes(), vec![Row::upsert(4, "c", "1")]).await;
    emulator
        .run(&["CREATE OR REPLACE TABLE d.t (id INT64, name STRING, PRIMARY KEY (id) NOT ENFORCED)"])
        .await;
    send_and_believe(&mut open, &Schema::changes(), vec![Row::upsert(5, "d", "1")]).await;
    assert_eq!(ids(&emulator).await, [""; 0]);
    assert_eq!(emulator.audit("p.d.t").await["rows_swallowed"], json!(1));
}

#[tokio::test]
async fn a_sink_that_drains_and_reconnects_around_ddl_loses_nothing() {
    let emulator = shop("asia-northeast1").await;
    let mut connection = emulator.connect("t").await;
    let taken = connection
        .append("t", &Schema::changes(), vec![Row::upsert(1, "a", "1")])
        .await;
    assert_eq!(taken.expect("taken"), [0_i64; 0]);
    drop(connection);
    emulator
        .run(&["ALTER TABLE d.t DROP COLUMN name, ADD COLUMN late INT64"])
        .await;
    let schema = Schema::of(&[
        ("id", Type::Int64),
        ("late", Type::Int64),
        ("_CHANGE_TYPE", Type::String),
    ]);
    let mut connection = emulator.connect("t").await;
    let row = Row::default().int(1, 2).int(2, 9).text(3, "UPSERT");
    let taken = connection.append("t", &schema, vec![row]).await;
    assert_eq!(taken.expect("taken"), [0_i64; 0]);
    let rows = emulator
        .query("SELECT id, late FROM d.t ORDER BY id")
        .await
        .expect("rows");
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(rows, [[text("1"), None], [text("2"), text("9")]]);
    let counted = emulator.audit("p.d.t").await;
    assert_eq!(
        (&counted["rows_swallowed"], &counted["values_swallowed"]),
        (&json!(0), &json!(0))
    );
}
