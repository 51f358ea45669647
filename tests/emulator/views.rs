//! Views, and the window function that they are made of.

use replicator::proto::descriptor::field_descriptor_proto::Type;
use serde_json::json;

use crate::client::{Emulator, Row, Schema};

fn texts(rows: Vec<Vec<Option<String>>>) -> Vec<Vec<String>> {
    let text = |cell: Option<String>| cell.unwrap_or_else(|| "NULL".to_owned());
    rows.into_iter()
        .map(|row| row.into_iter().map(text).collect())
        .collect()
}

/// A table of versions `(id, version, name)`.
async fn versions(rows: &[(i64, i64, &str)]) -> Emulator {
    let emulator = Emulator::start().await;
    emulator
        .run(&[
            "CREATE SCHEMA d",
            "CREATE TABLE d.t (id INT64, version INT64, name STRING)",
        ])
        .await;
    append(&emulator, rows).await;
    emulator
}

async fn append(emulator: &Emulator, rows: &[(i64, i64, &str)]) {
    let schema = Schema::of(&[
        ("id", Type::Int64),
        ("version", Type::Int64),
        ("name", Type::String),
    ]);
    let rows = rows
        .iter()
        .map(|(id, version, name)| Row::default().int(1, *id).int(2, *version).text(3, name));
    let mut connection = emulator.connect("t").await;
    let errors = connection.append("t", &schema, rows.collect()).await;
    assert_eq!(errors.expect("rows"), Vec::<i64>::new());
}

const LATEST: &str = "SELECT * FROM `p.d.t` WHERE TRUE \
     QUALIFY ROW_NUMBER() OVER (PARTITION BY id ORDER BY version DESC) = 1 AND name <> 'gone'";

/// Rules: view-query, view-replace.
#[tokio::test]
async fn a_view_is_its_query_and_is_replaced_by_a_view_only() {
    let emulator = versions(&[(1, 1, "a"), (1, 2, "b"), (2, 1, "c"), (2, 2, "gone"), (3, 1, "d")]).await;
    let create =
        format!("CREATE OR REPLACE VIEW `p.d.t_latest` OPTIONS (labels = [('team', 'x')]) AS {LATEST}");
    emulator.run(&[&create]).await;
    let latest = || async {
        let rows = emulator
            .query("SELECT id, name FROM d.t_latest ORDER BY id")
            .await;
        texts(rows.expect("the view"))
    };
    assert_eq!(latest().await, [["1", "b"], ["3", "d"]]);
    append(&emulator, &[(3, 2, "e")]).await;
    assert_eq!(latest().await, [["1", "b"], ["3", "e"]]);
    let (_, found) = emulator.call("GET", "/datasets/d/tables/t_latest", None).await;
    assert_eq!(
        (&found["type"], &found["view"]["query"], &found["labels"]["team"]),
        (&json!("VIEW"), &json!(LATEST), &json!("x"))
    );
    assert_eq!(found["schema"]["fields"][2]["name"], json!("name"));
    emulator
        .run(&["CREATE OR REPLACE VIEW d.t_latest AS\n  SELECT name FROM d.t WHERE id = 3;"])
        .await;
    let (_, found) = emulator.call("GET", "/datasets/d/tables/t_latest", None).await;
    assert_eq!(found["view"]["query"], json!("SELECT name FROM d.t WHERE id = 3"));
    for refused in [
        "CREATE OR REPLACE VIEW d.t AS SELECT 1 AS x",
        "CREATE OR REPLACE TABLE d.t_latest (x INT64)",
        "CREATE VIEW d.t_latest AS SELECT 1 AS x",
        "CREATE VIEW d.other AS SELECT * FROM d.none",
        "DROP TABLE d.t_latest",
        "DROP VIEW d.t",
    ] {
        emulator.query(refused).await.expect_err(refused);
    }
    emulator
        .run(&["DROP VIEW d.t_latest", "DROP VIEW IF EXISTS d.t_latest"])
        .await;
}

/// Rules: view-rows, view-levels.
#[tokio::test]
async fn a_view_has_no_rows_of_its_own() {
    let emulator = versions(&[]).await;
    emulator.run(&["CREATE VIEW d.v AS SELECT id FROM d.t"]).await;
    let schema = Schema::of(&[("id", Type::Int64)]);
    let mut connection = emulator.connect("v").await;
    let sent = connection
        .append("v", &schema, vec![Row::default().int(1, 1)])
        .await;
    assert!(sent.is_err(), "{sent:?}");
    let (status, _) = emulator.call("GET", "/datasets/d/tables/v/data", None).await;
    assert_eq!(status, 400);
    emulator
        .query("ALTER TABLE d.v ADD COLUMN x INT64")
        .await
        .expect_err("no table");
    for level in 1..17 {
        let below = if level == 1 {
            "v".to_owned()
        } else {
            format!("v{}", level - 1)
        };
        let made = emulator
            .query(&format!("CREATE VIEW d.v{level} AS SELECT * FROM d.{below}"))
            .await;
        assert_eq!(made.is_ok(), level < 16, "level {level}: {made:?}");
    }
}

/// Rules: qualify, window-partition.
#[tokio::test]
async fn qualify_filters_by_the_place_in_a_window() {
    let emulator = versions(&[(1, 1, "a"), (1, 1, "a"), (2, 7, "b")]).await;
    let rows = emulator
        .query(
            "SELECT name FROM (SELECT * FROM d.t WHERE id > 0 \
             QUALIFY ROW_NUMBER() OVER (PARTITION BY name) = 1) ORDER BY name",
        )
        .await;
    assert_eq!(texts(rows.expect("rows")), [["a"], ["b"]]);
    for refused in [
        "SELECT id FROM d.t WHERE TRUE QUALIFY ROW_NUMBER() OVER (PARTITION BY CAST(id AS FLOAT64)) = 1",
        "SELECT id FROM d.t WHERE ROW_NUMBER() OVER (PARTITION BY id) = 1",
    ] {
        emulator.query(refused).await.expect_err(refused);
    }
}
