//! Real servers that fail over, are reset, purge their logs, renumber them, or have GTIDs turned on and
//! off under a running copy. Either it goes on without a gap and without a change that comes back, or it
//! says that the position is lost and stands still.

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
use replicator::config::MysqlSource;
use replicator::sink::memory::Memory;
use replicator::source::Source;
use replicator::source::mysql::Mysql;
use replicator::status::TableProgress;
use serde_json::Value;
use support::pipeline::{Pipeline, SCHEMA, load};
use support::{Flavour, TestDb};

/// What is followed.
const TABLES: &[&str] = &["shop.orders"];

type Stopped = (Memory, Arc<tempfile::TempDir>);

/// The durable position, as JSON.
fn position(folder: &tempfile::TempDir) -> Value {
    let text = std::fs::read_to_string(folder.path().join("test.json")).unwrap();
    let mut document: Value = serde_json::from_str(&text).unwrap();
    document["position"].take()
}

fn epoch(folder: &tempfile::TempDir) -> u64 {
    position(folder)["next"]["epoch"].as_u64().unwrap()
}

/// Starts again and waits until the target equals the source.
async fn go_on(db: &TestDb, (target, folder): Stopped) -> Pipeline {
    let pipeline = Pipeline::go_on(db, TABLES, target, folder);
    pipeline.equal(db).await;
    pipeline
}

/// Looks again at once, and waits until the log goes on.
async fn found(pipeline: &Pipeline) {
    pipeline
        .wait("position found", async || {
            pipeline.clock.advance(Duration::from_secs(31));
            pipeline.view().position_lost.is_none()
        })
        .await;
}

async fn text(db: &TestDb, query: &str) -> String {
    let mut conn = db.connect().await;
    let row: Option<String> = conn.query_first(query).await.unwrap();
    row.unwrap().replace('\n', "")
}

async fn replicate(replica: &TestDb, source: &TestDb) {
    replica
        .run(&[
            &format!(
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {}, SOURCE_USER = 'root', \
                 SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1",
                source.port
            ),
            "START REPLICA",
        ])
        .await;
}

/// Waits until a replica has what its source has, and ends its replication.
async fn caught_up(replica: &TestDb, source: &TestDb) {
    let executed = text(source, "SELECT @@GLOBAL.gtid_executed").await;
    let waited = text(
        replica,
        &format!("SELECT CAST(WAIT_FOR_EXECUTED_GTID_SET('{executed}', 30) AS CHAR)"),
    )
    .await;
    assert_eq!(waited, "0");
    replica.run(&["STOP REPLICA"]).await;
}

const FLOOR: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

/// The numbering of the log grows a digit under the reader, with tagged transactions in each file.
async fn grow_a_digit(one: &TestDb) {
    for round in 0..3 {
        load(one, 1000 + round * 10, 1005 + round * 10).await;
        one.run(&[
            "FLUSH BINARY LOGS",
            "UPDATE shop.orders SET amount = amount + 1 WHERE id > 900",
        ])
        .await;
        let mut tagged = one.connect().await;
        for statement in [
            "SET gtid_next = 'AUTOMATIC:blue'",
            "UPDATE shop.orders SET note = 'tagged' WHERE id % 10 = 1",
            "SET gtid_next = 'AUTOMATIC'",
        ] {
            tagged.query_drop(statement).await.unwrap();
        }
    }
}

/// Files past `.999999`, tags, a floor that was purged long ago, purges, a failover, a server that is
/// behind, a RESET: one life of a pipeline by GTIDs.
#[tokio::test]
async fn by_gtids_from_server_to_server() {
    let (one, two) = (
        TestDb::start(Flavour::Mysql, &[]),
        TestDb::start(Flavour::Mysql, &["--server-id=2"]),
    );
    let floor = format!("SET GLOBAL gtid_purged = '+{FLOOR}:1-100:old:1-5'");
    one.run(&["RESET BINARY LOGS AND GTIDS TO 999999", &floor]).await;
    two.run(&["RESET BINARY LOGS AND GTIDS", &floor]).await;
    one.run(SCHEMA).await;
    replicate(&two, &one).await;
    load(&one, 1, 300).await;
    let pipeline = Pipeline::start(&one, TABLES);
    pipeline.copied().await;
    grow_a_digit(&one).await;
    pipeline.equal(&one).await;
    let stopped = pipeline.stop().await;
    let (saved, uuid) = (position(&stopped.1), text(&one, "SELECT @@server_uuid").await);
    assert_eq!(saved["server"], uuid.as_str());
    assert!(
        saved["file_name"].as_str().unwrap().contains(".100000"),
        "{saved}"
    );
    let executed = text(&one, "SELECT @@GLOBAL.gtid_executed").await;
    assert_eq!(saved["gtids"], executed.as_str(), "floor, tags and all");
    assert!(
        executed.contains(":old:1-5") && executed.contains(":blue:"),
        "{executed}"
    );

    // Purged is only what was copied: it goes on, in the same numbering.
    let before = epoch(&stopped.1);
    let current = end_of_log(&one).await.0;
    load(&one, 2000, 2010).await;
    one.run(&[&format!("PURGE BINARY LOGS TO '{current}'")]).await;
    let stopped = go_on(&one, stopped).await.stop().await;
    assert_eq!(epoch(&stopped.1), before, "the log was proven by its content");

    // A failover while it is down: other files, another uuid, the same transactions.
    one.run(&["DELETE FROM shop.orders WHERE id % 5 = 0"]).await;
    caught_up(&two, &one).await;
    let pipeline = go_on(&two, stopped).await;
    two.run(&["UPDATE shop.orders SET note = 'from the new one' WHERE id % 3 = 0"])
        .await;
    load(&two, 3000, 3010).await;
    pipeline.equal(&two).await;
    let stopped = pipeline.stop().await;
    assert!(
        epoch(&stopped.1) > before,
        "its places say nothing about the old ones"
    );

    // Back to the old one, which lacks what the new one wrote: it waits until that has caught up.
    let pipeline = Pipeline::go_on(&one, TABLES, stopped.0, stopped.1);
    pipeline.lost("does not have transactions that were copied").await;
    let stopped = pipeline.stop().await;
    let pipeline = Pipeline::go_on(&one, TABLES, stopped.0, stopped.1);
    pipeline.lost("does not have transactions that were copied").await;
    replicate(&one, &two).await;
    caught_up(&one, &two).await;
    found(&pipeline).await;
    pipeline.equal(&one).await;
    load(&one, 4000, 4010).await;
    pipeline.equal(&one).await;

    purged_and_reset(&one, &two, pipeline).await;
}

/// A copy from a replica whose applier is held up begins no chunk until it goes on.
#[tokio::test]
async fn a_copy_waits_for_the_replica_that_it_reads() {
    let (source, replica) = (
        TestDb::start(Flavour::Mysql, &[]),
        TestDb::start(Flavour::Mysql, &["--server-id=2"]),
    );
    for db in [&source, &replica] {
        db.run(&["RESET BINARY LOGS AND GTIDS"]).await;
    }
    source.run(SCHEMA).await;
    load(&source, 1, 300).await;
    let mut read = replica.source(TABLES);
    read.snapshot.max_replica_lag = Some(Duration::from_secs(1));
    let server = Mysql::new(read.clone(), Clock::real());
    assert_eq!(server.lag().await.unwrap(), None, "it copies no other yet");
    replicate(&replica, &source).await;
    let executed = text(&source, "SELECT @@GLOBAL.gtid_executed").await;
    let wait = format!("SELECT CAST(WAIT_FOR_EXECUTED_GTID_SET('{executed}', 30) AS CHAR)");
    assert_eq!(text(&replica, &wait).await, "0");

    let mut holding = replica.connect().await;
    holding.query_drop("LOCK TABLES shop.orders READ").await.unwrap();
    load(&source, 300, 310).await;
    let mut lag = None;
    for _ in 0..600 {
        lag = server.lag().await.unwrap();
        if lag > Some(Duration::from_secs(1)) {
            break;
        }
        Clock::real().sleep(Duration::from_millis(50)).await;
    }
    assert!(lag > Some(Duration::from_secs(1)), "{lag:?}");
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let pipeline = Pipeline::reading(read, TABLES, Memory::new(Clock::real()), folder);
    let progress = || {
        pipeline
            .view()
            .tables
            .get("shop.orders")
            .map(|table| table.progress.clone())
    };
    pipeline
        .wait("begun", async || {
            matches!(progress(), Some(TableProgress::Snapshot { .. }))
        })
        .await;
    for _ in 0..20 {
        let seen = progress();
        assert!(
            matches!(seen, Some(TableProgress::Snapshot { chunks: 0, .. })),
            "{seen:?}"
        );
        pipeline.clock.advance(Duration::from_secs(5));
        Clock::real().sleep(Duration::from_millis(50)).await;
    }
    holding.query_drop("UNLOCK TABLES").await.unwrap();
    pipeline
        .wait("copied", async || {
            pipeline.clock.advance(Duration::from_secs(5));
            matches!(progress(), Some(TableProgress::Streaming { .. }))
        })
        .await;
    assert_eq!(text(&replica, &wait).await, "0");
    pipeline.equal(&source).await;
}

/// The server lacks what comes next; the other one has it, until it is reset under the reader.
async fn purged_and_reset(one: &TestDb, two: &TestDb, pipeline: Pipeline) {
    // What was not copied is purged while it is down.
    let stopped = pipeline.stop().await;
    load(one, 5000, 5010).await;
    replicate(two, one).await;
    caught_up(two, one).await;
    one.run(&["FLUSH BINARY LOGS"]).await;
    let current = end_of_log(one).await.0;
    one.run(&[&format!("PURGE BINARY LOGS TO '{current}'")]).await;
    let pipeline = Pipeline::go_on(one, TABLES, stopped.0, stopped.1);
    pipeline.lost("purged transactions that were not copied").await;
    // The other one has them.
    let pipeline = go_on(two, pipeline.stop().await).await;

    // RESET under the reader.
    two.run(&["RESET BINARY LOGS AND GTIDS"]).await;
    load(two, 6000, 6010).await;
    pipeline.lost("does not have transactions that were copied").await;
    pipeline.stop().await;
}

/// The place that a restart would begin at, as the server's own words for the end of its log.
fn place(folder: &tempfile::TempDir) -> (String, u64) {
    let position = position(folder);
    let offset = position["next"]["coord"]["offset"].as_u64().unwrap();
    (position["file_name"].as_str().unwrap().to_owned(), offset)
}

async fn end_of_log(db: &TestDb) -> (String, u64) {
    let mut conn = db.connect().await;
    let row: mysql_async::Row = conn.query_first("SHOW BINARY LOG STATUS").await.unwrap().unwrap();
    (row.get(0).unwrap(), row.get(1).unwrap())
}

/// A transaction with a GTID and one without.
async fn with_and_without(db: &TestDb, id: i32) {
    let mut conn = db.connect().await;
    for statement in [
        &format!("SET gtid_next = '{FLOOR}:{id}'"),
        "UPDATE shop.orders SET note = 'by its own GTID' WHERE id % 7 = 0",
        "SET gtid_next = 'ANONYMOUS'",
        "UPDATE shop.orders SET note = 'without' WHERE id % 11 = 0",
        "SET gtid_next = 'AUTOMATIC'",
    ] {
        conn.query_drop(statement).await.unwrap();
    }
}

/// Nothing that is captured for an hour: what is left out moves the position, and so does nothing at all.
async fn an_hour_of_nothing(db: &TestDb, pipeline: Pipeline) -> Pipeline {
    db.run(&[
        "CREATE DATABASE other",
        "CREATE TABLE other.t (id INT PRIMARY KEY)",
    ])
    .await;
    for minute in 0..60 {
        pipeline.clock.advance(Duration::from_secs(60));
        if minute % 10 == 0 {
            db.run(&[
                &format!("INSERT INTO other.t VALUES ({minute})"),
                "DELETE FROM shop.ignored",
            ])
            .await;
        }
    }
    let end = end_of_log(db).await;
    pipeline
        .wait("the end of the log", async || place(&pipeline.folder) == end)
        .await;
    db.run(&["FLUSH BINARY LOGS"]).await;
    let next = end_of_log(db).await.0;
    pipeline
        .wait("the next file", async || place(&pipeline.folder).0 == next)
        .await;
    db.run(&[&format!("PURGE BINARY LOGS TO '{next}'")]).await;
    let stopped = pipeline.stop().await;
    let pipeline = go_on(db, stopped).await;
    load(db, 3000, 3005).await;
    pipeline.equal(db).await;
    pipeline
}

/// Every mode up and down, with and without a restart, transactions with and without GTIDs side by side.
#[tokio::test]
async fn gtids_turned_on_and_off_under_the_reader() {
    let options = ["--gtid-mode=OFF", "--enforce-gtid-consistency=ON"];
    let db = TestDb::start(Flavour::Mysql, &options);
    let mode = async |mode: &str| db.run(&[&format!("SET GLOBAL gtid_mode = {mode}")]).await;
    db.run(SCHEMA).await;
    load(&db, 1, 50).await;
    let mut pipeline = Pipeline::start(&db, TABLES);
    pipeline.copied().await;
    // Whether the set is whole in the end.
    for (round, (to, whole)) in [
        ("OFF_PERMISSIVE", false),
        ("ON_PERMISSIVE", true),
        ("ON", true),
        ("ON_PERMISSIVE", true),
        ("OFF_PERMISSIVE", false),
        ("ON_PERMISSIVE", true),
        ("ON", true),
    ]
    .into_iter()
    .enumerate()
    {
        let id = 1000 + i32::try_from(round).unwrap() * 10;
        mode(to).await;
        load(&db, id, id + 5).await;
        if to == "OFF_PERMISSIVE" {
            with_and_without(&db, id).await;
        }
        pipeline.equal(&db).await;
        let stopped = pipeline.stop().await;
        assert_eq!(position(&stopped.1)["gtids"].is_string(), whole, "{round} {to}");
        load(&db, id + 5, id + 10).await;
        pipeline = go_on(&db, stopped).await;
    }

    // Stopped in ON, transactions without GTIDs meanwhile, and ON again: such a server does not send them.
    let stopped = pipeline.stop().await;
    let before = epoch(&stopped.1);
    mode("ON_PERMISSIVE").await;
    mode("OFF_PERMISSIVE").await;
    load(&db, 2000, 2005).await;
    db.run(&["FLUSH BINARY LOGS", "DELETE FROM shop.orders WHERE id % 3 = 0"])
        .await;
    mode("ON_PERMISSIVE").await;
    mode("ON").await;
    let pipeline = Pipeline::go_on(&db, TABLES, stopped.0, stopped.1);
    pipeline.lost("anonymous transaction").await;
    mode("ON_PERMISSIVE").await;
    found(&pipeline).await;
    pipeline.equal(&db).await;
    mode("ON").await;

    let pipeline = an_hour_of_nothing(&db, pipeline).await;
    assert_eq!(epoch(&pipeline.folder), before, "always the same log");

    // Without GTIDs, and with a log that begins anew.
    mode("ON_PERMISSIVE").await;
    mode("OFF_PERMISSIVE").await;
    load(&db, 4000, 4005).await;
    pipeline.equal(&db).await;
    let (target, folder) = pipeline.stop().await;
    db.run(&["RESET BINARY LOGS AND GTIDS"]).await;
    let pipeline = Pipeline::go_on(&db, TABLES, target, folder);
    pipeline.lost("the binlog does not hold").await;
    pipeline.stop().await;
}

/// With `on_position_lost: resnapshot`, what the log does not say any more a copy does: after a purge while it was down, and
/// after a RESET under the reader. What was deleted meanwhile goes from the target too.
#[tokio::test]
async fn a_lost_position_is_copied_again_where_the_configuration_says_so() {
    let db = TestDb::start(Flavour::Mysql, &[]);
    db.run(SCHEMA).await;
    load(&db, 1, 300).await;
    let source = || MysqlSource {
        copied_when_lost: true,
        ..db.source(TABLES)
    };
    let (target, folder) = (Memory::new(Clock::real()), Arc::new(tempfile::tempdir().unwrap()));
    let pipeline = Pipeline::reading(source(), TABLES, target, folder);
    pipeline.equal(&db).await;
    let (target, folder) = pipeline.stop().await;
    let before = epoch(&folder);

    db.run(&[
        "DELETE FROM shop.orders WHERE id % 3 = 0",
        "UPDATE shop.orders SET note = 'meanwhile' WHERE id % 7 = 0",
        "FLUSH BINARY LOGS",
    ])
    .await;
    load(&db, 1000, 1010).await;
    let current = end_of_log(&db).await.0;
    db.run(&[&format!("PURGE BINARY LOGS TO '{current}'")]).await;
    let pipeline = Pipeline::reading(source(), TABLES, target, folder);
    pipeline.equal(&db).await;
    assert!(pipeline.view().position_lost.is_none());
    load(&db, 2000, 2010).await;
    pipeline.equal(&db).await;

    db.run(&[
        "DELETE FROM shop.orders WHERE id % 5 = 0",
        "RESET BINARY LOGS AND GTIDS",
    ])
    .await;
    load(&db, 3000, 3010).await;
    db.run(&["DELETE FROM shop.orders WHERE id % 11 = 0"]).await;
    pipeline.equal(&db).await;
    load(&db, 4000, 4010).await;
    pipeline.equal(&db).await;
    let (_, folder) = pipeline.stop().await;
    assert!(epoch(&folder) > before + 1, "two lineages later");
}
