//! What a target holds: rows, or changes with a view beside them.

use serde_json::json;

use super::super::fixture::rest::{Answer, answer, refusal};
use super::super::fixture::{column, layout, plain};
use super::super::*;
use super::{DATASET, QUERY, TABLE, ends};
use crate::event::ColumnType;
use crate::fault::Classify;

const VIEW: &str = "GET projects/p/datasets/shop/tables/orders_latest";

fn appending(modes: &[(&str, TableMode)]) -> crate::config::Overrides {
    let mut overrides = crate::config::Overrides::default();
    for (pattern, mode) in modes {
        overrides.add(pattern, Some(*mode)).unwrap();
    }
    overrides
}

/// What a table of changes is, and that a view of somebody else's is left alone.
#[tokio::test]
async fn a_table_of_changes_has_no_key_and_a_view_of_the_latest_rows() {
    let made = |view: Vec<Answer>| {
        let table = vec![
            refusal(TABLE, 404, "notFound"),
            answer(DATASET, 200, json!({})),
            answer("POST projects/p/datasets/shop/tables", 200, json!({})),
        ];
        [table, view].concat()
    };
    let query = answer(QUERY, 200, json!({ "jobComplete": true }));
    let mut first = ends(
        made(vec![refusal(VIEW, 404, "notFound"), query.clone()]),
        Vec::new(),
    )
    .await;
    first.sink.config.tables = appending(&[("shop.*", TableMode::Append)]);
    assert_eq!(first.prepare().await.unwrap(), Prepared::Created);
    let calls = first.rest.calls();
    let names: Vec<&str> = calls[2].1["schema"]["fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|field| field["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "id",
            "v",
            "_replicator_commit_time",
            "_replicator_operation",
            "_replicator_sequence"
        ]
    );
    assert_eq!(calls[2].1["schema"]["fields"][0]["mode"], "NULLABLE");
    assert_eq!(calls[2].1["clustering"], json!({ "fields": ["id"] }));
    assert_eq!(
        (&calls[2].1["tableConstraints"], &calls[2].1["maxStaleness"]),
        (&json!(null), &json!(null))
    );
    let statement = calls[4].1["query"].as_str().unwrap();
    assert!(
        statement.starts_with("CREATE OR REPLACE VIEW `p.shop.orders_latest`"),
        "{statement}"
    );
    // The same view again is not made again; a stranger's is not replaced, and rows go on.
    let (_, text) = statement.split_once(" AS ").unwrap();
    let ours =
        json!({ "type": "VIEW", "labels": { "replicator_pipeline": "shop" }, "view": { "query": text } });
    let strangers = json!({ "type": "VIEW", "view": { "query": text } });
    for found in [ours, strangers] {
        let mut next = ends(made(vec![answer(VIEW, 200, found)]), Vec::new()).await;
        next.sink.config.tables = appending(&[("shop.*", TableMode::Append)]);
        assert_eq!(next.prepare().await.unwrap(), Prepared::Created);
        assert_eq!(next.rest.left(), 0);
    }
}

#[tokio::test]
async fn the_mode_follows_the_key_unless_it_is_written() {
    let keyless = layout(vec![column("v", ColumnType::Text, None)]);
    let mut ends = ends(Vec::new(), Vec::new()).await;
    assert!(ends.sink.target(&keyless).unwrap().is_log());
    ends.sink.forget(&keyless.table);
    assert!(!ends.sink.target(&plain()).unwrap().is_log());
    ends.sink.forget(&keyless.table);
    ends.sink.config.tables = appending(&[("shop.*", TableMode::Upsert)]);
    let error = ends.sink.target(&keyless).unwrap_err();
    assert!(matches!(error, Error::Key { columns: 0, .. }), "{error}");
    assert!(error.hint().unwrap().contains("mode: append"));
}

#[tokio::test]
async fn a_view_and_a_table_do_not_share_a_name() {
    let mut ends = ends(Vec::new(), Vec::new()).await;
    ends.sink.config.tables = appending(&[("shop.orders", TableMode::Append)]);
    ends.sink.target(&plain()).unwrap();
    let mut other = (*plain()).clone();
    other.table = TableId::new("shop", "orders_latest");
    let error = ends.sink.target(&Arc::new(other)).unwrap_err();
    assert!(matches!(error, Error::Collision { .. }), "{error}");
}
