//! What the target of a table without a primary key holds, row by row, and what is refused.

use std::time::Duration;

use replicator::clock::Clock;
use replicator::compare::TargetTable;

use crate::support::{Flavour, TestDb};
use crate::world::{World, free_port};

const SCHEMA: &[&str] = &[
    "CREATE DATABASE shop",
    "CREATE TABLE shop.clicks (page VARCHAR(20), n INT)",
    "INSERT INTO shop.clicks VALUES ('a', 1), ('a', 1), (NULL, NULL)",
    // A unique key is no primary one, whatever the catalog flags it as.
    "CREATE TABLE shop.codes (code INT NOT NULL UNIQUE, n INT)",
    "INSERT INTO shop.codes VALUES (1, 1), (2, 2)",
    "CREATE TABLE shop.empty (n INT)",
    "CREATE TABLE shop.events (id INT PRIMARY KEY, kind VARCHAR(9))",
    "INSERT INTO shop.events VALUES (1, 'a'), (2, 'b')",
];

impl World {
    fn table(&self, name: &str) -> TargetTable {
        TargetTable {
            client: reqwest::Client::new(),
            rest: self.target.rest_url(),
            project: "test".to_owned(),
            jobs_project: "test".to_owned(),
            dataset: "shop".to_owned(),
            table: name.to_owned(),
            bearer: None,
        }
    }

    /// How many rows of a table there are for each operation that is asked for.
    async fn operations(&self, table: &str, operations: &[&str]) -> Vec<u64> {
        let mut counts = Vec::new();
        for operation in operations {
            let count = format!("COUNTIF(_replicator_operation = '{operation}')");
            let value = self.table(table).value(&count).await.unwrap();
            counts.push(value.unwrap().parse().unwrap());
        }
        counts
    }
}

/// Each image is a row, and no row is there that nothing sent; a UNIQUE index is no primary key.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_change_of_a_table_without_a_key_is_a_row() {
    let world = World::with(TestDb::start(Flavour::Mysql, &[]), SCHEMA).await;
    let mut process = world.start(None);
    world.equal().await;
    world
        .db
        .run(&[
            "INSERT INTO shop.clicks VALUES ('a', 1), ('b', 2)",
            "UPDATE shop.clicks SET n = 9 WHERE page = 'a'",
            "DELETE FROM shop.clicks WHERE page IS NULL",
            "UPDATE shop.codes SET n = n + 1",
            "INSERT INTO shop.empty VALUES (1), (1)",
            "UPDATE shop.events SET kind = 'c' WHERE id = 1",
            "UPDATE shop.events SET id = 3 WHERE id = 2",
            "DELETE FROM shop.events WHERE id = 1",
        ])
        .await;
    world.equal().await;
    process.terminate();
    assert!(process.ended().await.success());
    let all = [
        "SNAPSHOT",
        "SNAPSHOT_DONE",
        "INSERT",
        "UPDATE_BEFORE",
        "UPDATE",
        "DELETE",
    ];
    for (table, expected) in [
        ("clicks", [3, 1, 2, 3, 3, 1]),
        ("codes", [2, 1, 0, 2, 2, 0]),
        ("empty", [0, 1, 2, 0, 0, 0]),
        // One row an update with a key, two if the key changed.
        ("events", [2, 0, 0, 1, 2, 1]),
    ] {
        assert_eq!(world.operations(table, &all).await, expected, "{table}");
    }
    // A row that is sent twice is in the view once; the rows of a read without its end are not.
    assert_eq!(world.operations("clicks_latest", &all).await, [3, 0, 2, 3, 3, 1]);
}

const CHANGING: &[&str] = &[
    "CREATE DATABASE shop",
    "CREATE TABLE shop.clicks (page VARCHAR(40), n INT)",
    "INSERT INTO shop.clicks WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 900) \
     SELECT CONCAT('p', i % 90), i FROM n",
    "CREATE TABLE shop.parts (page VARCHAR(40), day DATE) PARTITION BY RANGE (TO_DAYS(day)) (
        PARTITION p0 VALUES LESS THAN (TO_DAYS('2024-01-01')), PARTITION p1 VALUES LESS THAN MAXVALUE)",
    "INSERT INTO shop.parts VALUES ('a', '2023-05-06'), ('b', '2024-05-06'), ('b', '2024-05-06')",
    "CREATE TABLE shop.events (id INT PRIMARY KEY, kind VARCHAR(40))",
    "INSERT INTO shop.events WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 300) \
     SELECT i, CONCAT('k', i) FROM n",
];

/// What may happen to tables of changes of which nobody has to be asked; `page` and `kind` stay what they are.
const STATEMENTS: &[&str] = &[
    "ALTER TABLE shop.clicks ADD COLUMN at DATETIME(3)",
    "ALTER TABLE shop.clicks ADD COLUMN c INT NOT NULL DEFAULT 7",
    "ALTER TABLE shop.clicks RENAME COLUMN n TO m",
    "ALTER TABLE shop.clicks DROP COLUMN at",
    "ALTER TABLE shop.clicks MODIFY m BIGINT UNSIGNED",
    "ALTER TABLE shop.events ADD COLUMN note INT NOT NULL DEFAULT 3",
    "ALTER TABLE shop.events RENAME COLUMN note TO remark",
    "ALTER TABLE shop.parts DROP PARTITION p0",
    // A unique index is no primary key, nor is it one of a table that comes while the program runs.
    "CREATE TABLE shop.made (code INT NOT NULL UNIQUE, n INT)",
    "INSERT INTO shop.made VALUES (1, 1), (2, 1)",
    "TRUNCATE TABLE shop.clicks",
    "DROP TABLE shop.made",
    "CREATE TABLE shop.made (code INT NOT NULL UNIQUE, n INT)",
    "INSERT INTO shop.made VALUES (2, 2), (3, 1)",
    "TRUNCATE TABLE shop.events",
];

/// Changes of rows, whatever the columns are by now.
async fn touch(world: &World, round: u32) {
    world
        .db
        .run(&[
            &format!("INSERT INTO shop.clicks (page) VALUES ('p{round}'), ('p{round}'), (NULL)"),
            &format!(
                "UPDATE shop.clicks SET page = CONCAT(page, 'x') WHERE page LIKE 'p{}%'",
                round % 9
            ),
            "DELETE FROM shop.clicks ORDER BY page LIMIT 3",
            &format!(
                "INSERT INTO shop.events (id, kind) VALUES ({}, 'new')",
                10_000 + round
            ),
            &format!(
                "UPDATE shop.events SET kind = CONCAT(kind, 'x') WHERE id % 7 = {}",
                round % 7
            ),
            &format!("UPDATE shop.events SET id = id + 50000 WHERE id = {}", round + 1),
            &format!("DELETE FROM shop.events WHERE id % 61 = {}", round % 61),
            &format!("INSERT INTO shop.parts VALUES ('c', '2023-07-08'), ('d{round}', '2024-05-06')"),
        ])
        .await;
}

/// Every statement under a load, then a copy of what no log tells: the views are the tables, each row as often.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn statements_that_change_tables_of_changes_are_followed() {
    let mut world = World::with(TestDb::start(Flavour::Mysql, &[]), CHANGING).await;
    world.http = free_port();
    let _running = world.start(None);
    world.equal().await;
    for (round, statement) in (0..).zip(STATEMENTS) {
        touch(&world, round).await;
        world.db.run(&[statement]).await;
        touch(&world, round + 50).await;
        Clock::real().sleep(Duration::from_millis(300)).await;
    }
    world.equal().await;
    for (table, at_least) in [("clicks", 1), ("events", 1), ("parts", 1), ("made", 1)] {
        let cleared = world.operations(table, &["CLEARED"]).await;
        assert!(cleared[0] >= at_least, "{table}: {cleared:?}");
        let shown = world.operations(&format!("{table}_latest"), &["CLEARED"]).await;
        assert_eq!(shown, [0], "{table}");
    }
    world
        .db
        .run(&[
            "SET sql_log_bin = 0",
            "DELETE FROM shop.clicks LIMIT 5",
            "INSERT INTO shop.clicks (page) VALUES ('silent')",
            "DELETE FROM shop.events WHERE id % 5 = 0",
            "UPDATE shop.events SET kind = 'silent' WHERE id % 3 = 0",
            "SET sql_log_bin = 1",
        ])
        .await;
    for table in ["shop.clicks", "shop.events"] {
        let (code, said) = world.output_of(&["resync", table]);
        assert_eq!(code, Some(0), "{said}\n{}", world.log());
    }
    for round in 100..110 {
        touch(&world, round).await;
    }
    world.equal().await;
}

/// A large table without a key, killed in its copy again and again: what the broken reads left is not in the view.
async fn killed_in_copies(flavour: Flavour, options: &[&str]) {
    let schema = [
        "CREATE DATABASE shop",
        "CREATE TABLE shop.clicks (page VARCHAR(200), n INT)",
        "INSERT INTO shop.clicks WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 60000) \
         SELECT REPEAT('x', i % 200), i % 1000 FROM n",
    ];
    let world = World::with(TestDb::start(flavour, options), &schema).await;
    for round in 0..3 {
        let mut process = world.start(None);
        world.logged("snapshot begins").await;
        Clock::real().sleep(Duration::from_millis(300 * round)).await;
        process.kill();
        std::fs::remove_file(world.log_path()).unwrap();
        world
            .db
            .run(&[
                "UPDATE shop.clicks SET n = -1 WHERE n = 7 LIMIT 5",
                "DELETE FROM shop.clicks LIMIT 3",
            ])
            .await;
    }
    let mut process = world.start(None);
    world.equal().await;
    // Killed in the stream too, on a copy that counts already.
    for _ in 0..3 {
        world
            .db
            .run(&[
                "INSERT INTO shop.clicks SELECT page, -2 FROM shop.clicks WHERE n < 50",
                "UPDATE shop.clicks SET n = n - 1 WHERE n < 0",
                "DELETE FROM shop.clicks WHERE n BETWEEN 20 AND 25",
            ])
            .await;
        process.kill();
        process = world.start(None);
    }
    world.equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_copy_without_a_key_begins_anew_and_counts_once() {
    killed_in_copies(Flavour::Mysql, &["--cte-max-recursion-depth=1000000"]).await;
}

/// Its log is gone on with by identifiers of domains.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_copy_without_a_key_from_mariadb() {
    killed_in_copies(Flavour::MariaDb, &["--max-recursive-iterations=1000000"]).await;
}

/// The read of a table without a key begins on a server on which nothing else happens, and is whole all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_copy_without_a_key_is_whole_where_nothing_is_written() {
    for flavour in [Flavour::Mysql, Flavour::MariaDb] {
        let world = World::with(TestDb::start(flavour, &[]), SCHEMA).await;
        let (code, said) = world.output("snapshot");
        assert_eq!(code, Some(0), "{said}");
        world.equal().await;
    }
}
