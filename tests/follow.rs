//! Real servers, the whole pipeline, a target in memory: whatever is done to the source, and to the
//! connection on the way, in the end every row of the target is the source's row.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use replicator::clock::Clock;
use replicator::sink::memory::Memory;
use replicator::status::{StatusView, TableProgress};
use replicator::task;
use support::pipeline::{Pipeline, SCHEMA, load};
use support::{Flavour, TestDb};

/// What is followed.
const TABLES: &[&str] = &["shop.orders"];

/// Everything that can happen to rows.
const CHANGES: &[&str] = &[
    "UPDATE shop.orders SET amount = amount + 1 WHERE id % 3 = 0",
    "DELETE FROM shop.orders WHERE id % 10 = 1",
    "INSERT INTO shop.orders VALUES (9001, NULL, 1), (9002, 'é ü 漢字 🙂', 2), (9003, '', 3)",
    "UPDATE shop.orders SET id = id + 100000 WHERE id % 7 = 0",
    // A chain: 9001 → 9004, 9002 → 9001, 9003 → 9002 in one statement.
    "UPDATE shop.orders SET id = CASE id WHEN 9001 THEN 9004 WHEN 9002 THEN 9001 ELSE 9002 END WHERE id IN (9001, 9002, 9003) ORDER BY id",
    "BEGIN",
    "INSERT INTO shop.orders VALUES (9100, 'a', 1)",
    "UPDATE shop.orders SET note = 'b' WHERE id = 9100",
    "INSERT INTO shop.ignored VALUES (1, 'x')",
    "DELETE FROM shop.orders WHERE id = 9100",
    "INSERT INTO shop.orders VALUES (9100, 'c', 2)",
    "SAVEPOINT s",
    "DELETE FROM shop.orders WHERE id < 50",
    "ROLLBACK TO SAVEPOINT s",
    "COMMIT",
    "BEGIN",
    "DELETE FROM shop.orders",
    "ROLLBACK",
    "FLUSH BINARY LOGS",
    "REPLACE INTO shop.orders VALUES (9100, 'd', 3), (9101, 'e', 4)",
    "INSERT INTO shop.orders VALUES (9101, 'f', 5) ON DUPLICATE KEY UPDATE note = 'g'",
    "DELETE FROM shop.ignored",
];

async fn copies_and_follows(flavour: Flavour, options: &[&str]) {
    let db = TestDb::start(flavour, options);
    db.run(SCHEMA).await;
    load(&db, 1, 1500).await;
    let pipeline = Pipeline::start(&db, TABLES);
    pipeline.copied().await;
    pipeline.equal(&db).await;
    db.run(CHANGES).await;
    pipeline.equal(&db).await;
    // Stopped, changed meanwhile, started again.
    let (target, folder) = pipeline.stop().await;
    db.run(&[
        "UPDATE shop.orders SET note = CONCAT(IFNULL(note, ''), '!')",
        "DELETE FROM shop.orders WHERE id % 2",
    ])
    .await;
    let pipeline = Pipeline::go_on(&db, TABLES, target, folder);
    pipeline.equal(&db).await;
    // The source restarts; then all its connections are cut.
    db.restart();
    load(&db, 20_000, 20_100).await;
    pipeline.equal(&db).await;
    db.cut().await;
    db.run(&["UPDATE shop.orders SET amount = -amount"]).await;
    pipeline.equal(&db).await;
    pipeline.stop().await;
}

#[tokio::test]
async fn mysql_by_gtid() {
    copies_and_follows(Flavour::Mysql, &[]).await;
}

#[tokio::test]
async fn mysql_by_position() {
    copies_and_follows(
        Flavour::Mysql,
        &["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"],
    )
    .await;
}

#[tokio::test]
async fn mysql_compressed_and_without_checksums() {
    let options = ["--binlog-transaction-compression=ON", "--binlog-checksum=NONE"];
    copies_and_follows(Flavour::Mysql, &options).await;
}

#[tokio::test]
async fn mysql_with_minimal_metadata() {
    copies_and_follows(Flavour::Mysql, &["--binlog-row-metadata=MINIMAL"]).await;
}

/// What MariaDB does unless it is told otherwise: the log has types, and neither names nor signs nor character sets.
#[tokio::test]
async fn mariadb_without_metadata() {
    copies_and_follows(Flavour::MariaDb, &["--binlog-row-metadata=NO_LOG"]).await;
}

#[tokio::test]
async fn mariadb_by_position() {
    copies_and_follows(Flavour::MariaDb, &[]).await;
}

#[tokio::test]
async fn mariadb_with_compressed_events() {
    let options = ["--log-bin-compress=ON", "--log-bin-compress-min-len=10"];
    copies_and_follows(Flavour::MariaDb, &options).await;
}

/// A replica takes over: other coordinates, the same transactions, in two domains.
#[tokio::test]
async fn mariadb_goes_on_by_gtid_at_another_server() {
    let first = TestDb::start(Flavour::MariaDb, &["--log-slave-updates=ON"]);
    let second = TestDb::start(Flavour::MariaDb, &["--server-id=2", "--log-slave-updates=ON"]);
    // So that its coordinates are others.
    second
        .run(&[
            "SET GLOBAL gtid_domain_id = 9",
            "FLUSH BINARY LOGS",
            "FLUSH BINARY LOGS",
        ])
        .await;
    let replicate = format!(
        "CHANGE MASTER TO MASTER_HOST='{}', MASTER_PORT={}, MASTER_USER='copy', MASTER_USE_GTID=slave_pos",
        first.host, first.port
    );
    first
        .run(&[
            "CREATE USER copy@'%'",
            "GRANT REPLICATION SLAVE ON *.* TO copy@'%'",
        ])
        .await;
    second.run(&[replicate.as_str(), "START SLAVE"]).await;
    first.run(SCHEMA).await;
    load(&first, 1, 300).await;
    let pipeline = Pipeline::start(&first, TABLES);
    pipeline.copied().await;
    first
        .run(&[
            "DELETE FROM shop.orders WHERE id % 10 = 1",
            "SET SESSION gtid_domain_id = 1",
            "INSERT INTO shop.orders VALUES (9001, 'another domain', 1)",
        ])
        .await;
    pipeline.equal(&first).await;
    let (target, folder) = pipeline.stop().await;
    first
        .run(&["UPDATE shop.orders SET note = 'before the failover', id = id + 1000 WHERE id % 3 = 0"])
        .await;
    let end: Option<String> = first
        .connect()
        .await
        .query_first("SELECT @@GLOBAL.gtid_binlog_pos")
        .await
        .unwrap();
    let replicated: Option<i64> = second
        .connect()
        .await
        .exec_first("SELECT MASTER_GTID_WAIT(?, 30)", (end,))
        .await
        .unwrap();
    assert_eq!(replicated, Some(0));
    second.run(&["STOP SLAVE", "RESET SLAVE ALL"]).await;
    first
        .run(&["INSERT INTO shop.orders VALUES (9002, 'lost with the first server', 1)"])
        .await;
    second
        .run(&["UPDATE shop.orders SET amount = amount + 1 WHERE id % 2 = 0"])
        .await;
    let pipeline = Pipeline::go_on(&second, TABLES, target, folder);
    pipeline.equal(&second).await;
    second.restart();
    load(&second, 20_000, 20_010).await;
    pipeline.equal(&second).await;
    let (target, folder) = pipeline.stop().await;
    // The first one has none of what was written since.
    let pipeline = Pipeline::go_on(&first, TABLES, target, folder);
    pipeline.lost("copied already: 0-2-9,9-2-1").await;
    pipeline.stop().await;
}

/// Rows that are written while the snapshot runs.
#[tokio::test]
async fn a_snapshot_beside_a_load() {
    let db = TestDb::start(Flavour::Mysql, &[]);
    db.run(SCHEMA).await;
    load(&db, 1, 5000).await;
    let pipeline = Pipeline::start(&db, TABLES);
    for round in 0..40 {
        let from = 10_000 + round * 10;
        load(&db, from, from + 10).await;
        db.run(&[
            &format!("UPDATE shop.orders SET amount = amount + 1, id = id + 30000 WHERE id % 97 = {round}"),
            &format!("DELETE FROM shop.orders WHERE id % 89 = {round}"),
        ])
        .await;
    }
    pipeline.copied().await;
    pipeline.equal(&db).await;
    pipeline.stop().await;
}

/// A key that changes parks its table, with the column in the cause, and nothing else stops.
#[tokio::test]
async fn a_changed_key_parks_the_table() {
    let db = TestDb::start(Flavour::Mysql, &[]);
    db.run(SCHEMA).await;
    load(&db, 1, 10).await;
    let pipeline = Pipeline::start(&db, TABLES);
    pipeline.copied().await;
    db.run(&["ALTER TABLE shop.orders DROP PRIMARY KEY, ADD PRIMARY KEY (id, amount)"])
        .await;
    pipeline
        .wait("parked", async || {
            let view = pipeline.status.view(&Clock::real());
            matches!(&view.tables["shop.orders"].progress, TableProgress::Parked { cause } if cause.contains("(id, amount)"))
        })
        .await;
    let (target, folder) = pipeline.stop().await;
    // It stays parked.
    let pipeline = Pipeline::go_on(&db, TABLES, target, folder);
    pipeline
        .wait("parked again", async || {
            let view = pipeline.status.view(&Clock::real());
            matches!(
                view.tables.get("shop.orders").map(|table| &table.progress),
                Some(TableProgress::Parked { .. })
            )
        })
        .await;
    pipeline.stop().await;
}

/// An index changes nothing, a TRUNCATE changes rows without events, and what comes after it stays.
#[tokio::test]
async fn statements_without_row_events_are_followed() {
    let db = TestDb::start(Flavour::Mysql, &[]);
    db.run(SCHEMA).await;
    load(&db, 1, 10).await;
    let pipeline = Pipeline::start(&db, TABLES);
    pipeline.copied().await;
    db.run(&[
        "ALTER TABLE shop.orders ADD INDEX (amount)",
        "CREATE TABLE shop.other (id INT)",
        "DROP TABLE shop.other",
    ])
    .await;
    load(&db, 20, 30).await;
    pipeline.equal(&db).await;
    db.run(&["TRUNCATE TABLE shop.orders"]).await;
    load(&db, 5, 25).await;
    pipeline.equal(&db).await;
    pipeline.stop().await;
}

/// A server whose commits stand still between log and engine once `SLOW` was run (semi-synchronous replication, AFTER_SYNC,
/// no replica to acknowledge).
fn slow_to_commit(options: &[&str]) -> TestDb {
    let slow = [
        "--plugin-load-add=semisync_source.so",
        "--rpl-semi-sync-source-wait-point=AFTER_SYNC",
        "--rpl-semi-sync-source-timeout=8000",
    ];
    TestDb::start(Flavour::Mysql, &[options, &slow].concat())
}

const SLOW: &str = "SET GLOBAL rpl_semi_sync_source_enabled = ON";

/// Waits until a commit stands still.
async fn stands_still(db: &TestDb) {
    let mut probe = db.connect().await;
    for _ in 0..100 {
        let waiting: Option<u64> = probe
            .query_first("SELECT COUNT(*) FROM information_schema.processlist WHERE state LIKE 'Waiting for semi-sync%'")
            .await
            .unwrap();
        if waiting == Some(1) {
            return;
        }
        Clock::real().sleep(Duration::from_millis(50)).await;
    }
    panic!("no commit stands still");
}

/// Commits that are in the log and not yet in the engine while the snapshot is taken: it sees the rows as they were, the log has what
/// became of them. Nothing deleted comes back, nothing updated stays old.
#[tokio::test]
async fn a_snapshot_amid_stalled_commits() {
    let db = slow_to_commit(&[]);
    db.run(SCHEMA).await;
    load(&db, 1, 300).await;
    db.run(&[SLOW]).await;
    let mut conn = db.connect().await;
    let stalled = task::spawn("stalled commit", async move {
        for statement in [
            "BEGIN",
            "DELETE FROM shop.orders WHERE id <= 100",
            "UPDATE shop.orders SET note = 'new' WHERE id BETWEEN 101 AND 200",
            "UPDATE shop.orders SET id = id + 1000 WHERE id > 250",
            "COMMIT",
        ] {
            conn.query_drop(statement).await.unwrap();
        }
    });
    stands_still(&db).await;
    assert!(!stalled.is_finished());
    let pipeline = Pipeline::start(&db, TABLES);
    pipeline.copied().await;
    let stale = pipeline.rows("shop.orders");
    assert!(
        !stalled.is_finished(),
        "the snapshot must end while the commit stands still: {} rows",
        stale.len()
    );
    stalled.join().await.unwrap();
    pipeline.equal(&db).await;
    pipeline.stop().await;
}

/// A change of columns that is in the log and not yet in the catalog is waited for: rows that exist changed with it.
async fn a_stalled_change_is_followed(options: &[&str]) {
    let db = slow_to_commit(options);
    db.run(SCHEMA).await;
    load(&db, 1, 300).await;
    let pipeline = Pipeline::start(&db, TABLES);
    pipeline.copied().await;
    pipeline.equal(&db).await;
    db.run(&[SLOW]).await;
    let mut conn = db.connect().await;
    let stalled = task::spawn("stalled change", async move {
        for statement in [
            "SET sql_mode = ''",
            "ALTER TABLE shop.orders MODIFY note VARCHAR(6)",
        ] {
            conn.query_drop(statement).await.unwrap();
        }
    });
    stands_still(&db).await;
    assert!(!stalled.is_finished());
    stalled.join().await.unwrap();
    pipeline.equal(&db).await;
    pipeline.stop().await;
}

#[tokio::test]
async fn a_stalled_change_is_followed_by_gtid() {
    a_stalled_change_is_followed(&[]).await;
}

#[tokio::test]
async fn a_stalled_change_is_followed_by_position() {
    a_stalled_change_is_followed(&["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"]).await;
}

/// What is made one statement after the other, faster than tables are opened.
const MADE: &[&str] = &[
    "shop.t0", "shop.t1", "shop.t2", "shop.t3", "shop.t4", "shop.t5", "shop.t6", "shop.t7",
];

/// Nothing is there at the start; then tables come, change, go and come again while they are opened and copied, and so
/// do databases. What is there in the end is followed, and of what is gone nothing is parked.
#[tokio::test]
async fn tables_come_change_and_go_while_they_are_opened() {
    let db = TestDb::start(Flavour::Mysql, &[]);
    db.run(&["CREATE DATABASE shop"]).await;
    let pipeline = Pipeline::reading(
        db.source(&["shop.*", "passing.*"]),
        MADE,
        Memory::new(Clock::real()),
        Arc::new(tempfile::tempdir().unwrap()),
    );
    pipeline
        .wait("the log", async || pipeline.view().read_to.contains(':'))
        .await;
    for table in MADE {
        let of = |statement: &str| {
            statement
                .replace("TABLE", &format!("TABLE {table}"))
                .replace("INTO", &format!("INTO {table}"))
        };
        let statements = [
            "CREATE DATABASE passing",
            "CREATE TABLE passing.orders (id INT PRIMARY KEY)",
            "INSERT INTO passing.orders VALUES (1)",
            &of("CREATE TABLE (id INT PRIMARY KEY)"),
            &of("INSERT INTO VALUES (1)"),
            "ALTER TABLE passing.orders CHANGE COLUMN id number INT",
            &of("ALTER TABLE ADD COLUMN note VARCHAR(200)"),
            &of("INSERT INTO VALUES (2, 'two')"),
            "DROP DATABASE passing",
            &of("DROP TABLE"),
            &of("CREATE TABLE (id INT PRIMARY KEY)"),
            &of("ALTER TABLE ADD COLUMN amount INT NOT NULL DEFAULT 3"),
            &of("INSERT INTO VALUES (3, 4)"),
            &of("ALTER TABLE ADD COLUMN note VARCHAR(200) AFTER id"),
            &of("INSERT INTO VALUES (4, 'four', 5), (5, 'five', 6)"),
        ];
        db.run(&statements).await;
    }
    pipeline.equal(&db).await;
    // The other one may have been opened while its key had the other name: what comes after it has another key, which parks.
    let parked = |view: &StatusView| {
        let tables = view.tables.iter();
        tables
            .filter(|(table, _)| table.starts_with("shop."))
            .filter(|(_, table)| matches!(table.progress, TableProgress::Parked { .. }))
            .count()
    };
    assert_eq!(parked(&pipeline.view()), 0, "{:?}", pipeline.view());
    pipeline.stop().await;
}
