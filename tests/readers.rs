//! What a reader of the log meets beside rows: another one with its id, a log that is purged before it is
//! read, and what the server says of how long it keeps it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use mysql_async::prelude::Queryable;
use mysql_async::{BinlogStream, BinlogStreamRequest};
use replicator::clock::Clock;
use replicator::config::MysqlSource;
use replicator::sink::memory::Memory;
use replicator::source::mysql::server::{ServerInfo, read_rds_retention};
use serde_json::Value;
use support::local::Process;
use support::pipeline::{Pipeline, SCHEMA, load};
use support::{Flavour, TestDb};

/// What is followed.
const TABLES: &[&str] = &["shop.orders"];

/// Reads the log under an id, as another replica or another replicator would.
async fn read_as(db: &TestDb, id: u32) -> BinlogStream {
    let mut stream = db
        .connect()
        .await
        .get_binlog_stream(BinlogStreamRequest::new(id))
        .await
        .unwrap();
    stream.next().await.unwrap().unwrap();
    stream
}

/// The one reader's id that was not seen yet.
async fn own(db: &TestDb, seen: &[u32]) -> Option<u32> {
    let mut conn = db.connect().await;
    let rows: Vec<mysql_async::Row> = conn.query("SHOW REPLICAS").await.unwrap();
    let ids = rows.iter().map(|row| row.get::<u32, _>(0).unwrap());
    let mut new = ids.filter(|id| !seen.contains(id));
    let first = new.next();
    assert_eq!(new.next(), None);
    first
}

#[tokio::test]
async fn two_readers_with_one_id() {
    let db = TestDb::start(Flavour::Mysql, &[]);
    db.run(SCHEMA).await;
    load(&db, 1, 50).await;
    let named = MysqlSource {
        server_id: Some(77),
        ..db.source(&["shop.orders"])
    };
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let pipeline = Pipeline::reading(named, TABLES, Memory::new(Clock::real()), folder);
    pipeline.copied().await;
    pipeline.equal(&db).await;
    // A configured id is kept: it says so, and comes back after a minute.
    let other = read_as(&db, 77).await;
    pipeline
        .wait("displaced", async || {
            let error = pipeline.view().source_error;
            error.is_some_and(|error| error.contains("another reader connected with server_id 77"))
        })
        .await;
    drop(other);
    load(&db, 100, 110).await;
    pipeline.clock.advance(Duration::from_secs(61));
    pipeline.equal(&db).await;

    // One of its own choice gives way, again and again.
    let (target, folder) = pipeline.stop().await;
    let pipeline = Pipeline::go_on(&db, TABLES, target, folder);
    pipeline.equal(&db).await;
    let mut seen = vec![77];
    for round in 0..3 {
        pipeline
            .wait("an id of its own", async || own(&db, &seen).await.is_some())
            .await;
        let chosen = own(&db, &seen).await.unwrap();
        let other = read_as(&db, chosen).await;
        load(&db, 200 + round * 10, 205 + round * 10).await;
        pipeline.equal(&db).await;
        seen.push(chosen);
        drop(other);
    }
    pipeline.stop().await;
}

/// What RDS keeps in a table, and shows by a procedure to users who may not read the table.
#[tokio::test]
async fn the_retention_of_rds_is_read_from_its_table_or_its_procedure() {
    let db = TestDb::start(Flavour::Mysql, &[]);
    let mut conn = db.connect().await;
    assert_eq!(read_rds_retention(&mut conn).await.unwrap(), None);
    let create = "CREATE TABLE mysql.rds_configuration (name VARCHAR(60), value VARCHAR(60), description VARCHAR(300))";
    let rows = "('source delay', '0', ''), ('binlog retention hours', NULL, 'hours to keep')";
    db.run(&[
        create,
        &format!("INSERT INTO mysql.rds_configuration VALUES {rows}"),
    ])
    .await;
    assert_eq!(read_rds_retention(&mut conn).await.unwrap(), Some(0));
    db.run(&["UPDATE mysql.rds_configuration SET value = '72' WHERE name LIKE 'binlog%'"])
        .await;
    assert_eq!(read_rds_retention(&mut conn).await.unwrap(), Some(72));
    db.run(&[
        "CREATE PROCEDURE mysql.rds_show_configuration() SELECT 'binlog retention hours' name, '24' value, '' description",
        "DROP TABLE mysql.rds_configuration",
    ])
    .await;
    assert_eq!(read_rds_retention(&mut conn).await.unwrap(), Some(24));
    // The connection is as good as before.
    assert_eq!(
        ServerInfo::read(&mut conn).await.unwrap().rds_retention_hours,
        None
    );
}

/// The answer's code and body.
async fn ask(port: u16, path: &str) -> Option<(u16, String)> {
    let answer = reqwest::get(format!("http://127.0.0.1:{port}{path}"))
        .await
        .ok()?;
    let code = answer.status().as_u16();
    Some((code, answer.text().await.ok()?))
}

/// The program: alive, not ready, loud, and ended by SIGTERM as ever; the job ends with an error.
#[tokio::test(flavor = "multi_thread")]
async fn the_process_outlives_a_lost_position() {
    let db = TestDb::start(Flavour::Mysql, &["--binlog-expire-logs-seconds=7200"]);
    db.run(SCHEMA).await;
    load(&db, 1, 20).await;
    let target = support::local::bigquery(true, Clock::real()).await;
    let folder = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .unwrap()
        .port();
    let config = folder.path().join("config.yaml");
    let text = format!(
        "pipeline: shop\nsources:\n  - name: shop\n    mysql:\n      url: mysql://root@127.0.0.1:{}\n      \
         tls: {{ mode: disabled }}\n      tables: ['shop.orders']\n      on_position_lost: stop\n\
         sink:\n  bigquery:\n    project: test\n    auth: none\n    endpoints: {{ rest: '{}', write: '{}' }}\n\
         checkpoint: file://{}\nhttp: 127.0.0.1:{port}\n",
        db.port,
        target.rest_url(),
        target.write_url(),
        folder.path().join("checkpoint").display(),
    );
    std::fs::write(&config, text).unwrap();
    let command = |name: &str| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_replicator"));
        program.arg(name).arg("--config").arg(&config);
        program
    };
    assert!(command("snapshot").output().unwrap().status.success());
    load(&db, 100, 110).await;
    db.run(&["FLUSH BINARY LOGS"]).await;
    // The file that is written to is never purged.
    db.run(&["PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 DAY"]).await;

    let job = command("snapshot").output().unwrap();
    let said = String::from_utf8_lossy(&job.stderr).into_owned();
    assert_eq!(job.status.code(), Some(1), "{said}");
    assert!(said.contains("purged") && said.contains("hint"), "{said}");

    let log = folder.path().join("log");
    let mut process = Process::start(&mut command("run"), &log);
    let mut ready = None;
    for _ in 0..600 {
        ready = ask(port, "/readyz")
            .await
            .filter(|(_, body)| body.contains("position lost"));
        if ready.is_some() {
            break;
        }
        Clock::real().sleep(Duration::from_millis(50)).await;
    }
    let (code, body) = ready.expect("it says so");
    assert_eq!(code, 503);
    assert!(body.contains("purged") && body.contains("resnapshot"), "{body}");
    assert_eq!(ask(port, "/livez").await.unwrap().0, 200);
    let status: Value = serde_json::from_str(&ask(port, "/api/status").await.unwrap().1).unwrap();
    assert!(status["position_lost"]["cure"].is_string(), "{status}");
    let metrics = ask(port, "/metrics").await.unwrap().1;
    let gauge = metrics
        .lines()
        .find(|line| line.starts_with("replicator_position_lost"));
    assert!(gauge.is_some_and(|line| line.ends_with(" 1")), "{metrics}");
    let begun = Clock::real().now();
    process.terminate();
    assert!(process.ended().await.success());
    assert!(begun.elapsed() < Duration::from_secs(10));
    let said = std::fs::read_to_string(log).unwrap();
    assert_eq!(said.matches("position lost:").count(), 1, "{said}");
}
