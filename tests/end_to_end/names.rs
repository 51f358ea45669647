//! Names as MySQL takes them: each table and column arrives, under a name of its own, by the copy, by the stream and
//! through statements that change it.

use std::collections::BTreeSet;

use replicator::source::mysql::quoted;
use serde_json::Value;

use crate::support::{Flavour, TestDb};
use crate::world::World;

/// Schemas, twins that differ in no more than case among them.
const SCHEMAS: &[&str] = &[
    "shop",
    "Shop",
    "my db",
    "a`b",
    "dot.ted",
    "größe \u{2603}",
    "select",
    "x%_y%",
    "quo\"te's\\",
    "; DROP DATABASE shop; --",
];

/// Tables. The last one is renamed.
const TABLES: &[&str] = &[
    "orders",
    "Orders",
    "ORDERS",
    "a b",
    "tick`y",
    "`",
    "quo\"te's",
    "dot.ted",
    "\u{2603} 雪",
    "select",
    "_CHANGE_TYPE",
    "_replicator_dead_letters",
    "trail_",
    "trail%",
    "back\\slash",
    "a/b",
    "/* c */ -- #",
    "$1",
    "2024",
];

/// Columns, of each table. The first two are its key.
const COLUMNS: &[&str] = &[
    "k`e\"y.1",
    "Primary Key",
    "select",
    "_CHANGE_TYPE",
    "_change_sequence_number",
    "_PARTITIONTIME",
    "_replicator_commit_time",
    "a b",
    "a_b",
    "dot.ted",
    "tick`y",
    "'); DROP TABLE x; --",
    "back\\slash",
    "\u{2603}",
    "%",
    "trail%",
    "trail_",
    "größe",
    "1",
];

fn table(schema: &str, name: &str) -> String {
    format!("{}.{}", quoted(schema), quoted(name))
}

/// Every name in two schemas that differ in case, and three in each of the others.
fn tables() -> impl Iterator<Item = String> {
    let of = |number: usize| match number {
        0 | 1 => TABLES.to_vec(),
        _ => vec![TABLES[number], TABLES[number + 1], TABLES[TABLES.len() - 1]],
    };
    let all = SCHEMAS.iter().enumerate();
    all.flat_map(move |(number, schema)| of(number).into_iter().map(|name| table(schema, name)))
}

fn definition(table: &str) -> String {
    let columns: Vec<String> = COLUMNS
        .iter()
        .map(|name| format!("{} INT NOT NULL", quoted(name)))
        .collect();
    let key: Vec<String> = COLUMNS.iter().take(2).map(|name| quoted(name)).collect();
    format!(
        "CREATE TABLE {table} ({}, PRIMARY KEY ({}))",
        columns.join(", "),
        key.join(", ")
    )
}

/// A row whose values differ from column to column and from table to table.
fn insert(table: &str, row: usize) -> String {
    let values: Vec<String> = (0..COLUMNS.len())
        .map(|column| (row * 10_000 + column * 100 + table.len()).to_string())
        .collect();
    format!("INSERT INTO {table} VALUES ({})", values.join(", "))
}

/// Targets that hold rows, by data set.
async fn targets(world: &World) -> BTreeSet<(String, String)> {
    let base = format!("{}/bigquery/v2/projects/test/datasets", world.target.rest_url());
    let list = async |url: String| -> Value { reqwest::get(url).await.unwrap().json().await.unwrap() };
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut found = BTreeSet::new();
    for dataset in list(base.clone()).await["datasets"].as_array().unwrap() {
        let dataset = text(&dataset["datasetReference"]["datasetId"]);
        let tables = list(format!("{base}/{dataset}/tables?maxResults=1000")).await;
        for table in tables["tables"].as_array().unwrap() {
            found.insert((dataset.clone(), text(&table["tableReference"]["tableId"])));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn names_of_any_kind_arrive() {
    let mut statements: Vec<String> = Vec::new();
    for schema in SCHEMAS {
        statements.push(format!("CREATE DATABASE {}", quoted(schema)));
    }
    for table in tables() {
        statements.extend([definition(&table), insert(&table, 1), insert(&table, 2)]);
    }
    let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
    let mut world = World::with(TestDb::start(Flavour::Mysql, &[]), &statements).await;
    world.tables = &["*.*"];
    let mut process = world.start(None);
    world.equal().await;
    assert_eq!(targets(&world).await.len(), tables().count());

    let (key, value) = (quoted(COLUMNS[0]), quoted(COLUMNS[11]));
    let changes: Vec<String> = tables()
        .flat_map(|table| {
            [
                insert(&table, 3),
                format!("UPDATE {table} SET {value} = 7 WHERE {key} < 20000"),
                format!("DELETE FROM {table} WHERE {key} BETWEEN 20000 AND 29999"),
            ]
        })
        .collect();
    world
        .db
        .run(&changes.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
    world.equal().await;

    let mut changes = vec!["SET SESSION sql_mode = 'ANSI_QUOTES'".to_owned()];
    for (number, schema) in SCHEMAS.iter().enumerate() {
        let name = TABLES[number];
        let (one, other) = (table(schema, name), table(schema, TABLES[number + 1]));
        let ansi = format!("\"{}\"", name.replace('"', "\"\""));
        changes.extend([
            format!(
                "ALTER TABLE {one} ADD COLUMN \"new `.'col\" INT NOT NULL DEFAULT 5, DROP COLUMN {value}"
            ),
            format!("ALTER TABLE {one} RENAME COLUMN \"%\" TO \"per;cent`\""),
            format!("USE {}", quoted(schema)),
            format!("UPDATE {ansi} SET \"per;cent`\" = 9"),
            format!("TRUNCATE TABLE {other}"),
            insert(&other, 4),
            definition(&table(schema, "late `\u{2603}`")),
            insert(&table(schema, "late `\u{2603}`"), 5),
            format!(
                "RENAME TABLE {} TO {}",
                table(schema, "2024"),
                table(schema, "20`25")
            ),
        ]);
    }
    world
        .db
        .run(&changes.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
    world.equal().await;
    process.terminate();
    assert!(process.ended().await.success());
}
