//! The real sink with one defect each, made by a man in the middle: the emulator refuses it, counts what it did
//! wrong, or shows rows that are not the source's. Without a defect everything passes the same way.

use std::time::Duration;

use replicator::event::{ColumnType, TableId, Value};
use serde_json::json;

use crate::chaos::{BY_DAY, COLUMNS};
use crate::client::Emulator;
use crate::load::{Found, Load};
use crate::middle::{Defect, Middle};
use crate::world::{World, layout};

/// An emulator whose data set is far from the US, and the sink before it with a man in between.
async fn world(defect: Defect) -> (World, Middle) {
    let emulator = Emulator::start().await;
    emulator
        .run(&["CREATE SCHEMA d OPTIONS (location = 'asia-northeast1')", BY_DAY])
        .await;
    let middle = Middle::before(emulator.running.write_url(), defect).await;
    let world = World::before(emulator, &middle.url, Duration::from_secs(1));
    (world, middle)
}

/// A load with rows that are refused, a table that is made anew in between, and one answer of NOT_FOUND; then the
/// comparison. Or what the sink stopped with.
async fn judged(defect: Defect) -> Result<Found, String> {
    let (world, _middle) = world(defect).await;
    let mut load = Load::new(11, &["dated", "plain"], &COLUMNS[..4]);
    for layout in load.layouts() {
        world.prepare_surely(layout).await;
    }
    load.run(&world, 12).await?;
    world.emulator.run(&["DROP TABLE d.plain"]).await;
    world.prepare_surely(load.layouts()[1]).await;
    load.copy_again(&world, 1).await?;
    let unknown = json!({ "code": "NOT_FOUND", "storage_error": "TABLE_NOT_FOUND", "in_band": true });
    world
        .emulator
        .order(json!({ "on": "append", "table": "d.dated", "times": 1, "effect": { "status": unknown } }))
        .await;
    load.run(&world, 6).await?;
    Ok(load.compare(&world).await)
}

#[tokio::test]
async fn without_a_defect_all_is_well() {
    let found = judged(Defect::None).await.expect("all rows are safe");
    assert_eq!((found.differences, found.audited), (Vec::new(), Vec::new()));
}

/// Rules: routing-header.
#[tokio::test]
async fn a_sink_that_does_not_say_where_it_writes_is_refused() {
    let refused = judged(Defect::NoRoute).await.expect_err("refused");
    assert!(refused.contains("TABLES_UPDATE_DATA"), "{refused}");
}

/// Rules: row-errors.
#[tokio::test]
async fn a_sink_that_takes_row_errors_for_a_success_loses_rows() {
    let found = judged(Defect::IgnoresRowErrors).await.expect("it believes in it");
    let lost = found
        .differences
        .iter()
        .filter(|text| text.contains("None is none of"));
    assert!(lost.count() > 0, "{found:?}");
    let letters = found.differences.iter().filter(|text| text.contains("\"born\""));
    assert!(letters.count() > 0, "{found:?}");
}

#[tokio::test]
async fn a_sink_that_acknowledges_what_it_did_not_send_loses_rows() {
    let found = judged(Defect::Claims).await.expect("it believes in it");
    assert!(!found.differences.is_empty());
}

/// Rules: answers-in-order.
#[tokio::test]
async fn a_sink_that_mistakes_one_answer_for_another_loses_rows() {
    let found = judged(Defect::Swaps).await.expect("it believes in it");
    assert!(!found.differences.is_empty());
}

#[tokio::test]
async fn a_sink_that_sends_a_number_with_another_content_is_counted() {
    let found = judged(Defect::SendsOtherContent)
        .await
        .expect("it believes in it");
    assert!(found.audited.contains(&"numbers_with_two_contents"), "{found:?}");
    assert!(!found.differences.is_empty());
}

/// Rules: table-not-found.
#[tokio::test]
async fn a_sink_that_takes_not_found_for_a_success_loses_rows() {
    let found = judged(Defect::SwallowsNotFound).await.expect("it believes in it");
    assert!(!found.differences.is_empty());
}

/// Rules: recreated-swallowed.
#[tokio::test]
async fn a_sink_that_keeps_its_connection_to_a_table_made_anew_loses_rows() {
    let found = judged(Defect::KeepsStream).await.expect("it believes in it");
    assert!(found.audited.contains(&"rows_swallowed"), "{found:?}");
    assert!(!found.differences.is_empty());
}

/// A column that is dropped and comes back with another type; gives its new values.
async fn retyped(defect: Defect) -> Vec<Vec<Option<String>>> {
    let (world, _middle) = world(defect).await;
    let columns = |kind| [("id", ColumnType::Int64), ("c", kind)];
    let table = || TableId::new("d", "t");
    let before = layout(table(), &columns(ColumnType::Text));
    world.prepare_surely(&before).await;
    assert_eq!(
        world
            .write(&before, vec![vec![Value::Int(1), Value::Text("a")]])
            .await,
        0
    );
    world
        .emulator
        .run(&[
            "ALTER TABLE d.t DROP COLUMN c",
            "ALTER TABLE d.t ADD COLUMN c JSON",
        ])
        .await;
    let after = layout(table(), &columns(ColumnType::Json));
    assert_eq!(
        world
            .write(&after, vec![vec![Value::Int(2), Value::Json("7")]])
            .await,
        0
    );
    let rows = world.emulator.query("SELECT c FROM d.t WHERE id = 2").await;
    rows.expect("a row")
}

/// Rules: dropped-swallowed.
#[tokio::test]
async fn a_sink_that_keeps_its_connection_over_ddl_loses_values() {
    assert_eq!(retyped(Defect::None).await, [[Some("7".to_owned())]]);
    assert_eq!(retyped(Defect::KeepsStream).await, [[None]]);
}
