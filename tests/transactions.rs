//! Every way in which a server logs what belongs together: two-phase transactions, partial rollbacks, engines
//! without transactions, statements over several tables. In the end every row of the target is the source's.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use replicator::clock::Clock;
use replicator::status::TableProgress;
use support::pipeline::Pipeline;
use support::{Flavour, TestDb};

const TABLES: &[&str] = &["shop.orders", "shop.big"];

const SCHEMA: &[&str] = &[
    "CREATE DATABASE shop",
    "CREATE TABLE shop.orders (id INT PRIMARY KEY, note VARCHAR(200), amount INT NOT NULL)",
    "CREATE TABLE shop.big (id INT PRIMARY KEY, note LONGTEXT, amount INT NOT NULL)",
    "CREATE TABLE shop.ignored (id INT PRIMARY KEY, note TEXT)",
    "INSERT INTO shop.orders VALUES (1, 'one', 1), (2, 'two', 2), (3, 'three', 3), (4, 'four', 4)",
];

/// Prepares a transaction in a session of its own.
async fn prepare(db: &TestDb, xid: &str, statements: &[&str]) {
    let (start, end) = (format!("XA START {xid}"), format!("XA END {xid}"));
    let prepare = format!("XA PREPARE {xid}");
    let mut all = vec![start.as_str()];
    all.extend(statements);
    all.extend([end.as_str(), prepare.as_str()]);
    db.run(&all).await;
}

/// More bytes of rows than are held in memory.
fn many(from: u32) -> String {
    let rows: Vec<String> = (from..from + 18)
        .map(|id| format!("({id}, REPEAT('x', 1000000), {id})"))
        .collect();
    format!("INSERT INTO shop.big VALUES {}", rows.join(","))
}

async fn parked(pipeline: &Pipeline, table: &str, cause: &str) {
    pipeline
        .wait("parked", async || {
            let view = pipeline.status.view(&Clock::real());
            let progress = view.tables.get(table).map(|table| &table.progress);
            matches!(progress, Some(TableProgress::Parked { cause: found }) if found.contains(cause))
        })
        .await;
}

async fn two_phases(flavour: Flavour, options: &[&str], by_gtid: bool) {
    let db = TestDb::start(flavour, options);
    db.run(SCHEMA).await;
    // Before the log is ever read.
    prepare(
        &db,
        "'early','branch',7",
        &["INSERT INTO shop.orders VALUES (10, 'early', 1)"],
    )
    .await;
    prepare(
        &db,
        "'never'",
        &["INSERT INTO shop.orders VALUES (11, 'never', 1)"],
    )
    .await;
    db.run(&["FLUSH BINARY LOGS"]).await;
    let pipeline = Pipeline::start(&db, TABLES);
    // Without GTIDs each table's copy begins with a lock, which waits for what is prepared.
    if by_gtid {
        pipeline.copied().await;
    }
    db.run(&["XA COMMIT 'early','branch',7", "XA ROLLBACK 'never'"])
        .await;
    pipeline.copied().await;
    pipeline.equal(&db).await;
    interleaved(&db, &pipeline).await;
    one_phase(&db, &pipeline).await;
    let pipeline = across_a_restart(&db, pipeline).await;
    lost_by_the_log(&db, pipeline).await;
}

/// Decided in another order than prepared, with changes of others between.
async fn interleaved(db: &TestDb, pipeline: &Pipeline) {
    prepare(
        db,
        "'a'",
        &[
            "INSERT INTO shop.orders VALUES (20, 'a', 1)",
            "DELETE FROM shop.orders WHERE id = 1",
        ],
    )
    .await;
    prepare(
        db,
        "'b'",
        &[
            "INSERT INTO shop.orders VALUES (21, 'b', 1)",
            "UPDATE shop.orders SET id = 22, note = 'moved' WHERE id = 2",
            "INSERT INTO shop.ignored VALUES (1, 'x')",
            "INSERT INTO shop.big VALUES (1, 'b', 1)",
        ],
    )
    .await;
    prepare(db, "'c'", &["UPDATE shop.orders SET note = 'c' WHERE id = 3"]).await;
    prepare(
        db,
        "'big'",
        &[
            many(100).as_str(),
            "UPDATE shop.big SET note = 'short' WHERE id = 101",
        ],
    )
    .await;
    db.run(&["INSERT INTO shop.orders VALUES (23, 'plain', 1)"]).await;
    pipeline.equal(db).await;
    db.run(&[
        "XA COMMIT 'b'",
        "UPDATE shop.orders SET note = 'later' WHERE id = 22",
    ])
    .await;
    pipeline.equal(db).await;
    db.run(&["XA ROLLBACK 'a'", "DELETE FROM shop.orders WHERE id = 1"])
        .await;
    pipeline.equal(db).await;
    db.run(&["XA COMMIT 'big'", "DELETE FROM shop.big WHERE id = 102"])
        .await;
    pipeline.equal(db).await;
}

/// Small and large, by an identifier that was used before.
async fn one_phase(db: &TestDb, pipeline: &Pipeline) {
    db.run(&[
        "XA START 'a'",
        "INSERT INTO shop.orders VALUES (30, 'one phase', 1)",
        "XA END 'a'",
        "XA COMMIT 'a' ONE PHASE",
    ])
    .await;
    db.run(&[
        "XA START 'one'",
        many(200).as_str(),
        "XA END 'one'",
        "XA COMMIT 'one' ONE PHASE",
    ])
    .await;
    pipeline.equal(db).await;
}

/// Of both sides, and to another log file; 'c' is still prepared.
async fn across_a_restart(db: &TestDb, pipeline: Pipeline) -> Pipeline {
    prepare(
        db,
        "'d'",
        &[
            "INSERT INTO shop.big VALUES (2, 'd', 2)",
            "DELETE FROM shop.big WHERE id = 103",
        ],
    )
    .await;
    db.run(&["INSERT INTO shop.orders VALUES (31, 'before', 1)"])
        .await;
    pipeline.equal(db).await;
    let (target, folder) = pipeline.stop().await;
    db.restart();
    db.run(&["FLUSH BINARY LOGS", "XA COMMIT 'c'"]).await;
    let pipeline = Pipeline::go_on(db, TABLES, target, folder);
    pipeline.equal(db).await;
    db.run(&["XA COMMIT 'd'"]).await;
    pipeline.equal(db).await;
    pipeline
}

/// The log loses the rows of a transaction before it is committed: its table is parked, no other.
async fn lost_by_the_log(db: &TestDb, pipeline: Pipeline) {
    prepare(db, "'lost'", &["INSERT INTO shop.orders VALUES (40, 'lost', 1)"]).await;
    db.run(&["FLUSH BINARY LOGS", "INSERT INTO shop.big VALUES (3, 'e', 3)"])
        .await;
    pipeline.equal(db).await;
    let (target, folder) = pipeline.stop().await;
    purge(db).await;
    db.run(&["XA COMMIT 'lost'", "INSERT INTO shop.big VALUES (4, 'f', 4)"])
        .await;
    let pipeline = Pipeline::go_on(db, TABLES, target, folder);
    parked(&pipeline, "shop.orders", "an XA transaction was committed").await;
    assert!(matches!(
        pipeline.status.view(&Clock::real()).tables["shop.big"].progress,
        TableProgress::Streaming { .. }
    ));
    pipeline.stop().await;
}

/// Removes all log files but the last.
async fn purge(db: &TestDb) {
    use mysql_async::prelude::Queryable;
    let mut conn = db.connect().await;
    let logs: Vec<mysql_async::Row> = conn.query("SHOW BINARY LOGS").await.unwrap();
    let last: String = logs.last().unwrap().get(0).unwrap();
    conn.query_drop(format!("PURGE BINARY LOGS TO '{last}'"))
        .await
        .unwrap();
}

#[tokio::test]
async fn two_phases_by_gtid() {
    two_phases(Flavour::Mysql, &[], true).await;
}

#[tokio::test]
async fn two_phases_by_position() {
    two_phases(
        Flavour::Mysql,
        &["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"],
        false,
    )
    .await;
}

#[tokio::test]
async fn two_phases_on_mariadb() {
    two_phases(Flavour::MariaDb, &[], false).await;
}
