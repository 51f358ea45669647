//! The layout `columns` from end to end: attributes appear, change their types and come back while a table is loaded and
//! followed, shards split and the program is killed, and in the end every attribute of every item is in its columns.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use replicator::clock::Clock;
use serde_json::{Value, json};

use crate::clients::{Attributes, item, n, put, s};
use crate::followed::World;

/// Names in the order in which they appear: twins but for case, and names that BigQuery bars.
const NAMES: [&str; 10] = [
    "price",
    "Name",
    "name",
    "tags",
    "a.b",
    "_CHANGE_TYPE",
    "note",
    "flag",
    "größe",
    "ID",
];

/// What the program says of a change of columns, before and behind it.
const SAYS: [&str; 2] = ["\"columns changed\"", "\"columns of the target changed\""];

/// An item as JSON, by attribute.
type Shown = BTreeMap<String, Value>;

fn value(world: &mut World, name: &str) -> AttributeValue {
    let number = world.rng.u32(0..1000);
    match world.rng.u32(0..24) {
        0 => AttributeValue::Null(true),
        1 => n("1E100"),
        2 => AttributeValue::Bool(true),
        3 => AttributeValue::B(Blob::new([0xFF, 0, 1])),
        4 => s(""),
        5 => AttributeValue::M(item([(
            "deep",
            AttributeValue::L(vec![n("1"), AttributeValue::Null(true)]),
        )])),
        _ => match name {
            "price" => n(&number.to_string()),
            "flag" => AttributeValue::Bool(false),
            "tags" => AttributeValue::Ss(vec!["a b".to_owned(), "c d".to_owned()]),
            "ID" => n(&format!("{number}.000000000000000000000000000000001")),
            "a.b" => n(&format!("{number}.5")),
            _ => s(&format!("text {number}")),
        },
    }
}

/// So many writes of items with some of the first `known` attributes.
async fn write(world: &mut World, times: u32, known: usize) {
    for _ in 0..times {
        let id = format!("id {}", world.rng.u32(0..120));
        if world.rng.u32(0..6) == 0 {
            let delete = world.tables.delete_item().table_name("shop").key("id", s(&id));
            delete.send().await.unwrap();
            continue;
        }
        let mut attributes = item([("id", s(&id))]);
        for name in &NAMES[..known] {
            if world.rng.bool() {
                let value = value(world, name);
                attributes.insert((*name).to_owned(), value);
            }
        }
        put(&world.tables, "shop", attributes).await;
    }
}

/// Numbers as doubles, also those that a target's JSON has as text.
fn plain(value: Value) -> Value {
    match &value {
        Value::String(text) => match text.parse::<f64>() {
            Ok(number) => json!(number),
            Err(_) => value,
        },
        Value::Number(number) => json!(number.as_f64()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => value,
    }
}

fn shown(value: &AttributeValue) -> Value {
    if let Ok(text) = value.as_n() {
        return json!(text.parse::<f64>().unwrap());
    }
    if let Ok(bytes) = value.as_b() {
        return json!(STANDARD.encode(bytes));
    }
    if value.is_m() {
        return json!({ "deep": [1, null] });
    }
    if let Ok(texts) = value.as_ss() {
        let mut texts = texts.clone();
        texts.sort();
        return json!(texts);
    }
    match (value.as_s(), value.as_bool()) {
        (Ok(text), _) => json!(text),
        (_, Ok(truth)) => json!(truth),
        (Err(_), Err(_)) => Value::Null,
    }
}

/// The attribute that a column of the target is of.
fn attribute(column: &str) -> Option<&str> {
    if matches!(column, "id" | "_replicator_commit_time") {
        return None;
    }
    for (part, name) in [("CHANGE_TYPE", "_CHANGE_TYPE"), ("a_b_", "a.b")] {
        if column.contains(part) {
            return Some(name);
        }
    }
    // The first column of its name has none behind.
    let column = column.strip_suffix("_2").unwrap_or(column);
    Some(column.strip_suffix("__json").unwrap_or(column))
}

/// What the target holds, by key; each attribute once.
async fn held(world: &World) -> Result<BTreeMap<String, Shown>, String> {
    let (names, rows) = world.named("SELECT * FROM sessions.shop").await?;
    let mut all = BTreeMap::new();
    for row in rows {
        let (mut id, mut found) = (String::new(), Shown::new());
        for (column, cell) in names.iter().zip(row) {
            let Some(text) = cell else { continue };
            let Some(name) = attribute(column) else {
                if column == "id" {
                    id = text;
                }
                continue;
            };
            // The reader of JSON rounds some numbers otherwise than the one of numbers.
            let read = |_| serde_json::from_str(&text).unwrap_or_else(|_| json!(text));
            let value = text.parse::<f64>().map_or_else(read, |number| json!(number));
            if found.insert(name.to_owned(), plain(value)).is_some() {
                return Err(format!("{name} of {id} stands in two columns"));
            }
        }
        all.insert(id, found);
    }
    Ok(all)
}

/// An item as its row is to show it.
fn folded(item: &Attributes) -> (String, Shown) {
    let id = item["id"].as_s().unwrap().clone();
    let others = item.iter().filter(|(name, _)| *name != "id");
    (
        id,
        others
            .map(|(name, value)| (name.clone(), plain(shown(value))))
            .collect(),
    )
}

async fn equal(world: &World) {
    let expected: BTreeMap<String, Shown> = world.items().await.iter().map(folded).collect();
    world.equals(&expected, || held(world)).await;
}

/// Waits until the program says something more often than so, as long as that may be due.
async fn told(world: &World, what: &str, seen: usize) {
    for _ in 0..100 {
        if world.count(what) > seen {
            return;
        }
        world.server.advance(Duration::from_secs(1));
        Clock::real().sleep(Duration::from_millis(50)).await;
    }
}

async fn attributes_are_columns(first_load: &str, seed: u64) {
    let mut world = World::start(&format!("{first_load}\n      layout: columns"), seed).await;
    write(&mut world, 200, 3).await;
    let mut running = world.run();
    write(&mut world, 100, 4).await;
    equal(&world).await;
    let mut seen = 0;
    for known in 5..=NAMES.len() {
        write(&mut world, 40, known).await;
        if known % 2 == 0 {
            world.split();
        }
        write(&mut world, 20, known).await;
        // Amid a change of columns, and right behind one.
        let what = SAYS[known % 2];
        told(&world, what, seen).await;
        running.kill();
        seen = world.count(SAYS[(known + 1) % 2]);
        write(&mut world, 20, known).await;
        running = world.run();
        write(&mut world, 20, known).await;
    }
    equal(&world).await;
    world.audited().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn attributes_are_columns_of_a_scanned_table() {
    attributes_are_columns("first_load: scan", 21).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn attributes_are_columns_of_an_exported_table() {
    attributes_are_columns("first_load: export\n      export_bucket: exports", 22).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_table_of_documents_gets_columns_when_the_configuration_says_so() {
    let mut world = World::start("first_load: scan", 23).await;
    write(&mut world, 200, 6).await;
    let mut running = world.run();
    told(&world, "\"snapshot done\"", 0).await;
    running.kill();
    world.settings.push_str("\n      layout: columns");
    write(&mut world, 20, 6).await;
    let _running = world.run();
    write(&mut world, 20, 7).await;
    equal(&world).await;
    world.audited().await;
}
