//! Promoted paths from end to end: typed columns beside the whole item, the same by a load and by the stream, also those
//! that are added to the configuration of a table that is copied already.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::clients::{Attributes, item, n, put, s};
use crate::followed::{Cells, World};

/// A few types, of which those at the paths are some.
fn some(world: &mut World) -> Option<AttributeValue> {
    Some(match world.rng.u32(0..8) {
        0 => return None,
        1 => AttributeValue::Null(true),
        2 => AttributeValue::Bool(true),
        3 => n("1709175600"),
        4 => n("1.50"),
        5 => n("12345678901234567890123456789"),
        6 => s("2024-02-29T12:00:00.5+09:00"),
        _ => s("Kyōto"),
    })
}

async fn write(world: &mut World, times: u32) {
    for _ in 0..times {
        let id = format!("id {}", world.rng.u32(0..120));
        if world.rng.u32(0..5) == 0 {
            let delete = world.tables.delete_item().table_name("shop").key("id", s(&id));
            delete.send().await.unwrap();
            continue;
        }
        let (first, second) = (some(world), some(world));
        let mut attributes = item([("id", s(&id))]);
        if let Some(first) = first {
            attributes.insert("a".to_owned(), first);
        }
        let second = second.into_iter().map(|value| ("b".to_owned(), value)).collect();
        let list = AttributeValue::L(vec![AttributeValue::M(second)]);
        attributes.insert("l".to_owned(), list);
        put(&world.tables, "shop", attributes).await;
    }
}

/// As the target shows what is an instant: seconds as text.
fn instant(value: &AttributeValue) -> Option<String> {
    let text = value.as_n().or_else(|_| value.as_s()).ok()?;
    let seconds = match text.as_str() {
        "1709175600" => "1709175600.000000",
        "1.5" | "1.50" => "1.500000",
        text if text.starts_with("2024") => "1709175600.500000",
        _ => return None,
    };
    Some(seconds.to_owned())
}

fn number(value: &AttributeValue) -> Option<String> {
    let text = value.as_n().ok()?;
    Some(text.trim_end_matches('0').to_owned())
        .map(|short| if text.contains('.') { short } else { text.clone() })
}

/// The first element of the list as JSON, where a number that no double gives back is a text.
fn document(value: Option<&AttributeValue>) -> String {
    let Some(value) = value else {
        return "{}".to_owned();
    };
    let text = match (value.as_n(), value.as_s(), value.as_bool()) {
        (Ok(text), _, _) if text.len() > 20 => format!("\"{text}\""),
        (Ok(_), _, _) => number(value).unwrap(),
        (_, Ok(text), _) => format!("\"{text}\""),
        (_, _, Ok(truth)) => truth.to_string(),
        (Err(_), Err(_), Err(_)) => "null".to_owned(),
    };
    format!("{{\"b\":{text}}}")
}

/// The columns that an item makes.
fn cells(item: &Attributes, promoted: &[fn(&Attributes) -> Option<String>]) -> (String, Cells) {
    let id = item["id"].as_s().unwrap().clone();
    (id, promoted.iter().map(|column| column(item)).collect())
}

fn second(item: &Attributes) -> Option<&AttributeValue> {
    item["l"].as_l().unwrap()[0].as_m().unwrap().get("b")
}

async fn equal(world: &World, columns: &str, promoted: &[fn(&Attributes) -> Option<String>]) {
    let items = world.items().await;
    let expected: BTreeMap<String, Cells> = items.iter().map(|item| cells(item, promoted)).collect();
    let query = format!("SELECT id, {columns} FROM sessions.shop");
    let held = || async {
        let rows = world.query(&query).await?.into_iter();
        Ok(rows
            .map(|mut row| (row.remove(0).unwrap_or_default(), row))
            .collect())
    };
    world.equals(&expected, held).await;
}

/// `more`: whether another path is added in the end.
async fn promoted(first_load: &str, seed: u64, more: bool) {
    let paths = "promote: { shop: { a: TIMESTAMP, 'l[0].b': NUMERIC";
    let mut world = World::start(&format!("{first_load}\n      {paths} }} }}"), seed).await;
    write(&mut world, 250).await;
    let mut running = world.run();
    let columns: [fn(&Attributes) -> Option<String>; 2] =
        [|item| instant(item.get("a")?), |item| number(second(item)?)];
    equal(&world, "a, l_0_b", &columns).await;
    write(&mut world, 60).await;
    equal(&world, "a, l_0_b", &columns).await;
    if !more {
        return world.audited().await;
    }
    running.kill();
    write(&mut world, 60).await;
    // Items that nobody writes to any more have values there, too.
    world.settings = format!("{first_load}\n      {paths}, 'l[0]': JSON }} }}");
    let last = world.run();
    write(&mut world, 60).await;
    equal(&world, "a, l_0_b", &columns).await;
    equal(
        &world,
        "TO_JSON_STRING(l_0)",
        &[|item| Some(document(second(item)))],
    )
    .await;
    drop(last);
    world.audited().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn promoted_paths_are_columns_of_a_scanned_table() {
    promoted("first_load: scan", 11, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn promoted_paths_are_columns_of_an_exported_table() {
    promoted("first_load: export\n      export_bucket: exports", 12, false).await;
}
