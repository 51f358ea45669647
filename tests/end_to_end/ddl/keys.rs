//! Statements under which a table's key stays its key, while the values of rows that exist do not.

use crate::support::{Flavour, TestDb};
use crate::world::World;

/// A table of its own for each, its rows, and what is done to it once they are copied.
const CASES: &[(&str, &str, &str)] = &[
    (
        "k VARCHAR(20) PRIMARY KEY, n INT",
        "('one', 1), ('Ä', 2), ('', 3)",
        "MODIFY k VARBINARY(20)",
    ),
    (
        "k VARBINARY(20) PRIMARY KEY, n INT",
        "('one', 1), (x'c384', 2)",
        "MODIFY k VARCHAR(20) CHARACTER SET utf8mb4",
    ),
    (
        "k DECIMAL(10,4) PRIMARY KEY, n INT",
        "(1.2345, 1), (2, 2), (-0.5, 3)",
        "MODIFY k DECIMAL(10,2)",
    ),
    (
        "k DATETIME(6) PRIMARY KEY, n INT",
        "('2024-01-01 01:02:03.9', 1), ('2024-01-01', 2)",
        "MODIFY k DATETIME",
    ),
    (
        "k VARCHAR(10), n INT, PRIMARY KEY (n, k)",
        "('a  ', 1), ('b', 2)",
        "MODIFY k CHAR(10)",
    ),
    (
        "k INT, n INT NOT NULL, PRIMARY KEY (k)",
        "(1, 10), (2, 20), (3, 1)",
        "DROP PRIMARY KEY, RENAME COLUMN k TO n, RENAME COLUMN n TO k, ADD PRIMARY KEY (k)",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rows_whose_keys_a_statement_changed_are_not_left_under_the_old_ones() {
    let mut world = World::with(TestDb::start(Flavour::Mysql, &[]), &["CREATE DATABASE shop"]).await;
    world.staleness = "5s";
    for (number, (columns, rows, _)) in (0..).zip(CASES) {
        let create = format!("CREATE TABLE shop.t{number} ({columns})");
        let fill = format!("INSERT INTO shop.t{number} (k, n) VALUES {rows}");
        world.db.run(&[&create, &fill]).await;
    }
    let _running = world.start(None);
    world.equal().await;
    for (number, (.., change)) in (0..).zip(CASES) {
        let change = format!("ALTER TABLE shop.t{number} {change}");
        world.db.run(&[&change]).await;
    }
    world.equal().await;
    for number in (0..).take(CASES.len()) {
        let delete = format!("DELETE FROM shop.t{number} LIMIT 1");
        let update = format!("UPDATE shop.t{number} SET n = n + 100 LIMIT 1");
        world.db.run(&[&delete, &update]).await;
    }
    world.equal().await;
    world.audit().await;
}
