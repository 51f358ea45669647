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

/// Waits until a table is to be copied again for a reason.
async fn reopened(pipeline: &Pipeline, table: &str, cause: &str) {
    pipeline
        .wait("reopened", async || {
            let view = pipeline.status.view(&Clock::real());
            let progress = view.tables.get(table).map(|table| &table.progress);
            matches!(progress, Some(TableProgress::Reopening { cause: found }) if found.contains(cause))
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

/// The log loses the rows of a transaction before it is committed: its table is copied again, no other.
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
    reopened(&pipeline, "shop.orders", "an XA transaction was committed").await;
    assert!(matches!(
        pipeline.status.view(&Clock::real()).tables["shop.big"].progress,
        TableProgress::Streaming { .. }
    ));
    pipeline.equal(db).await;
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

const MORE: &[&str] = &[
    "CREATE TABLE shop.plain (id INT PRIMARY KEY, note VARCHAR(200), amount INT NOT NULL) ENGINE=MyISAM",
    "CREATE TABLE shop.child (id INT PRIMARY KEY, note VARCHAR(200), amount INT NOT NULL, \
     FOREIGN KEY (amount) REFERENCES shop.orders (id) ON DELETE CASCADE ON UPDATE CASCADE)",
    "CREATE TABLE shop.named (id INT PRIMARY KEY, note VARCHAR(200) UNIQUE, amount INT NOT NULL)",
    "CREATE TABLE shop.loose (id INT PRIMARY KEY, note VARCHAR(200), amount INT NOT NULL, \
     FOREIGN KEY (note) REFERENCES shop.named (note) ON DELETE SET NULL ON UPDATE CASCADE)",
    "CREATE TRIGGER shop.spread AFTER UPDATE ON shop.big FOR EACH ROW \
     BEGIN UPDATE shop.named SET amount = amount + 1 WHERE id = NEW.id + 2; \
     INSERT INTO shop.plain VALUES (NEW.id + 1000, 'by trigger', 1) ON DUPLICATE KEY UPDATE amount = amount + 1; END",
    "INSERT INTO shop.big VALUES (1, 'one', 1), (2, 'two', 2)",
];

const TOGETHER: &[&str] = &[
    "shop.orders",
    "shop.big",
    "shop.plain",
    "shop.child",
    "shop.named",
    "shop.loose",
];

/// What belongs together, statement by statement.
const GROUPS: &[&str] = &[
    "USE shop",
    // Savepoints, one within another, and over two tables.
    "BEGIN",
    "INSERT INTO shop.orders VALUES (50, 'kept', 1)",
    "SAVEPOINT outside",
    "UPDATE shop.orders SET note = 'undone'",
    "SAVEPOINT inside",
    "DELETE FROM shop.big",
    "ROLLBACK TO SAVEPOINT inside",
    "INSERT INTO shop.big VALUES (50, 'undone', 1)",
    "ROLLBACK TO SAVEPOINT outside",
    "RELEASE SAVEPOINT outside",
    "INSERT INTO shop.big VALUES (51, 'kept', 1)",
    "COMMIT",
    // A table without transactions amid one that is rolled back, and one that goes back to a savepoint.
    "BEGIN",
    "INSERT INTO shop.orders VALUES (52, 'undone', 1)",
    "INSERT INTO shop.plain VALUES (1, 'stays', 1), (2, 'stays', 2)",
    "ROLLBACK",
    "BEGIN",
    "SAVEPOINT s",
    "INSERT INTO shop.plain VALUES (3, 'stays', 3)",
    "INSERT INTO shop.orders VALUES (53, 'undone', 1)",
    "ROLLBACK TO SAVEPOINT s",
    "UPDATE shop.plain SET note = 'changed' WHERE id = 1",
    "INSERT INTO shop.orders VALUES (54, 'kept', 1)",
    "COMMIT",
    // Over several tables, also by a trigger.
    "UPDATE shop.orders o JOIN shop.big b ON o.id = b.id SET o.note = b.note, b.amount = o.amount + 7",
    "DELETE o, b FROM shop.orders o JOIN shop.big b ON b.id = o.id + 1 WHERE o.id = 50",
    "INSERT INTO shop.orders VALUES (1, 'again', 9) ON DUPLICATE KEY UPDATE amount = amount + 9",
    "REPLACE INTO shop.named VALUES (1, 'n', 1), (2, 'm', 2), (3, 'n', 3)",
    "CREATE TABLE shop.copied AS SELECT id, note FROM shop.orders",
    "DROP TABLE shop.copied",
    "SELECT id, note, amount FROM shop.orders INTO OUTFILE 'orders.txt'",
    "LOAD DATA INFILE 'orders.txt' REPLACE INTO TABLE shop.orders SET amount = amount + 100",
    // Foreign keys that change rows by themselves.
    "INSERT INTO shop.child SELECT id + 100, note, id FROM shop.orders",
    "INSERT INTO shop.loose VALUES (1, 'n', 1), (2, 'm', 2), (3, 'n', 3)",
    "UPDATE shop.orders SET id = 60 WHERE id = 1",
    "DELETE FROM shop.orders WHERE id IN (2, 54)",
    "DELETE FROM shop.named WHERE note = 'm'",
    "UPDATE shop.named SET note = 'nn' WHERE note = 'n'",
    // Images without all columns that the log completes.
    "SET SESSION binlog_row_image = 'MINIMAL'",
    "INSERT INTO shop.named VALUES (10, 'x', 1), (11, 'y', 2), (12, NULL, 3)",
    "DELETE FROM shop.named WHERE id = 11",
    "UPDATE shop.named SET note = 'z', amount = 9 WHERE id = 10",
    "UPDATE shop.named SET id = 13, note = 'w', amount = 8 WHERE id = 12",
    "SET SESSION binlog_row_image = 'NOBLOB'",
    "UPDATE shop.named SET amount = 10 WHERE id = 10",
    "UPDATE shop.big SET note = 'blob' WHERE id = 1",
    "DELETE FROM shop.big WHERE id = 2",
];

/// One server for all of it: without `enforce_gtid_consistency`, which forbids half.
#[tokio::test]
async fn what_belongs_together_arrives_together() {
    let db = TestDb::start(
        Flavour::Mysql,
        &[
            "--gtid-mode=OFF",
            "--enforce-gtid-consistency=OFF",
            "--secure-file-priv=",
        ],
    );
    db.run(SCHEMA).await;
    db.run(MORE).await;
    let pipeline = Pipeline::start(&db, TOGETHER);
    pipeline.copied().await;
    db.run(GROUPS).await;
    pipeline.equal(&db).await;
    // What the log does not hold has the one table copied again.
    db.run(&[
        "SET SESSION binlog_row_image = 'MINIMAL'",
        "UPDATE shop.named SET amount = 11 WHERE id = 10",
    ])
    .await;
    reopened(&pipeline, "shop.named", "without full row images").await;
    db.run(&[
        "SET SESSION binlog_row_image = 'NOBLOB'",
        "UPDATE shop.big SET amount = 11 WHERE id = 1",
    ])
    .await;
    reopened(&pipeline, "shop.big", "without full row images").await;
    db.run(&[
        "SET SESSION binlog_format = 'STATEMENT'",
        "UPDATE shop.plain SET amount = 12",
    ])
    .await;
    reopened(&pipeline, "shop.plain", "binlog_format other than ROW").await;
    db.run(&["INSERT INTO shop.orders VALUES (70, 'goes on', 1)"])
        .await;
    pipeline.equal(&db).await;
    pipeline.stop().await;
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
