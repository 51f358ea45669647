//! What becomes of targets that nobody recorded.

use serde_json::json;

use super::*;

/// Only a table of our own, that has other columns and into which nobody ever wrote.
#[tokio::test]
async fn what_an_earlier_start_left_is_removed() {
    let none = || answer(QUERY, 200, json!({ "jobComplete": true }));
    let labelled = |owner: &str, more: &serde_json::Value| {
        let mut table = json!({
            "schema": { "fields": [{ "name": "id", "type": "STRING" }] },
            "labels": { "replicator_pipeline": owner },
        });
        let fields = more.as_object().unwrap().clone();
        table.as_object_mut().unwrap().extend(fields);
        answer(TABLE, 200, table)
    };
    let rows = json!({ "numRows": "1" });
    let deleted = answer(&TABLE.replace("GET", "DELETE"), 200, json!({}));
    for (answers, expected) in [
        (vec![refusal(TABLE, 404, "notFound")], false),
        (
            vec![fitting_with(
                &json!({ "labels": { "replicator_pipeline": "shop" } }),
            )],
            false,
        ),
        (vec![labelled("other", &json!({}))], false),
        (vec![labelled("shop", &rows)], false),
        (vec![labelled("shop", &json!({})), none(), none(), deleted], true),
    ] {
        let ends = ends(answers, Vec::new()).await;
        let discarded = ends.passing(ends.sink.discard_unused(&plain())).await.unwrap();
        assert_eq!((discarded, ends.rest.left()), (expected, 0));
    }
}
