//! The program as it is run, real MySQL on one side, the local BigQuery on the other: killed at every
//! point where something has just become durable or not yet, and at any moment; cut off; restarted. Then
//! every table is compared, and no stream row's number may have come with two contents.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use replicator::clock::Clock;
use replicator::compare::{Columns, Comparison, TargetTable, compare};
use replicator::emulator::Running;
use replicator::event::TableLayout;
use replicator::source::Source;
use replicator::source::mysql::Mysql;
use serde_json::Value;
use support::local::{self, Process};
use support::{Flavour, TestDb};

const SCHEMA: &[&str] = &[
    "CREATE DATABASE shop",
    "CREATE TABLE shop.customers (id INT PRIMARY KEY, email VARCHAR(100) NOT NULL, score DOUBLE, since DATE)",
    "CREATE TABLE shop.orders (
        id BIGINT UNSIGNED PRIMARY KEY, customer INT NOT NULL, state ENUM('new','paid','sent') NOT NULL,
        total DECIMAL(12,2) NOT NULL, details JSON, note TEXT CHARACTER SET latin1, raw VARBINARY(40),
        made DATETIME(6) NOT NULL, seen TIMESTAMP(3) NULL, span TIME, flags BIT(5), tags SET('a','b','c'))",
    "CREATE TABLE shop.items (orders BIGINT UNSIGNED, line CHAR(3), amount INT, PRIMARY KEY (orders, line))",
];

struct World {
    db: TestDb,
    /// The target's.
    clock: Clock,
    target: Running,
    folder: tempfile::TempDir,
}

impl World {
    async fn new(options: &[&str]) -> World {
        World::with(TestDb::start(Flavour::Mysql, options), SCHEMA).await
    }

    async fn with(db: TestDb, schema: &[&str]) -> World {
        db.run(schema).await;
        let clock = Clock::turnable();
        World {
            db,
            target: local::bigquery(true, clock.clone()).await,
            clock,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn config(&self) -> PathBuf {
        let path = self.folder.path().join("config.yaml");
        let text = format!(
            "pipeline: shop\nsources:\n  - name: shop\n    mysql:\n      url: mysql://root@127.0.0.1:{}\n      \
             tls: {{ mode: disabled }}\n      tables: ['shop.*']\n      snapshot: {{ parallelism: 2, chunk_rows: 500 }}\n\
             sink:\n  bigquery:\n    project: test\n    auth: none\n    max_staleness: 1m\n    endpoints: {{ rest: '{}', write: '{}' }}\n\
             checkpoint: file://{}\nhttp: 127.0.0.1:0\n",
            self.db.port,
            self.target.rest_url(),
            self.target.write_url(),
            self.folder.path().join("checkpoint").display(),
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    fn command(&self, command: &str) -> Command {
        let mut program = Command::new(env!("CARGO_BIN_EXE_replicator"));
        program.arg(command).arg("--config").arg(self.config());
        program
    }

    fn start(&self, failpoint: Option<&str>) -> Process {
        let mut program = self.command("run");
        if let Some(name) = failpoint {
            program.env("REPLICATOR_FAILPOINT", name);
        }
        Process::start(&mut program, &self.log_path())
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// The last things that the program said, for whoever reads a failure.
    fn log(&self) -> String {
        let log = std::fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(8000)..]).into_owned()
    }

    /// Runs a command to its end: exit code and what it said on standard error.
    fn output(&self, command: &str) -> (Option<i32>, String) {
        let output = self.command(command).stdin(Stdio::null()).output().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }

    async fn layouts(&self) -> Vec<TableLayout> {
        Mysql::new(self.db.source(&["shop.*"]), Clock::real())
            .tables(&[])
            .await
            .unwrap()
    }

    async fn compare(&self) -> Result<Vec<Comparison>, String> {
        let mut found = Vec::new();
        let mut conn = self.db.connect().await;
        for layout in self.layouts().await {
            let target = TargetTable {
                client: reqwest::Client::new(),
                rest: self.target.rest_url(),
                project: "test".to_owned(),
                jobs_project: "test".to_owned(),
                dataset: layout.table.schema().to_owned(),
                table: layout.table.name().to_owned(),
                bearer: None,
            };
            let one = compare(&mut conn, &target, &Columns::same_names(&layout)).await;
            found.push(one.map_err(|error| replicator::fault::chain(&error))?);
        }
        Ok(found)
    }

    /// Waits until every table is equal; the source is at rest. Queries see what was applied, so the target's
    /// clock is turned past `max_staleness` each time.
    async fn equal(&self) {
        let mut last = String::new();
        for _ in 0..240 {
            self.clock.advance(Duration::from_secs(61));
            match self.compare().await {
                Ok(found) if found.iter().all(Comparison::equal) => return self.audit().await,
                Ok(found) => {
                    last = found
                        .iter()
                        .map(ToString::to_string)
                        .collect::<Vec<_>>()
                        .join("\n")
                }
                Err(error) => last = error,
            }
            Clock::real().sleep(Duration::from_millis(250)).await;
        }
        panic!("never equal: {last}\n{}\n{}", self.checkpoint(), self.log());
    }

    fn checkpoint(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("checkpoint/shop.json")).unwrap_or_default()
    }

    /// No number of a stream row came with two contents.
    async fn audit(&self) {
        let audit = local::tell(&self.target, "GET", "audit", "").await;
        let counts = numbers(&audit, "numbers_with_two_contents");
        assert!(
            !counts.is_empty() && counts.iter().all(|count| *count == 0),
            "{audit}"
        );
    }

    async fn fill(&self, rows: u32) {
        let mut conn = self.db.connect().await;
        for from in (0..rows).step_by(500) {
            let ids: Vec<u32> = (from..(from + 500).min(rows)).collect();
            let each = |make: &dyn Fn(&u32) -> String| ids.iter().map(make).collect::<Vec<_>>().join(",");
            for statement in [
                format!(
                    "INSERT INTO shop.customers VALUES {}",
                    each(&|id| format!("({id},'c{id}@x',{id}/7,'2020-01-02')"))
                ),
                format!(
                    "INSERT INTO shop.orders VALUES {}",
                    each(&|id| format!(
                        "({id},{id},'new',{id}.25,'{{\"a\": [{id}, null, \"é\"]}}','ÿ{id}',X'00FF','2024-02-29 01:02:03.000004',\
                         '2024-01-01 00:00:00.5','-12:34:56',{},'a,c')",
                        id % 32
                    ))
                ),
                format!(
                    "INSERT INTO shop.items VALUES {}",
                    each(&|id| format!("({id},'a',1),({id},'b',2)"))
                ),
            ] {
                conn.query_drop(statement).await.unwrap();
            }
        }
    }

    /// Rounds of everything that can happen to rows.
    async fn load(&self, rounds: std::ops::Range<u32>) {
        let mut conn = self.db.connect().await;
        for round in rounds {
            let new = 1_000_000 + round;
            for statement in [
                "BEGIN".to_owned(),
                format!(
                    "INSERT INTO shop.orders (id, customer, state, total, made) VALUES ({new}, 1, 'paid', 1, NOW(6))"
                ),
                format!("INSERT INTO shop.items VALUES ({new}, 'a', 1), ({new}, 'b', {round})"),
                "COMMIT".to_owned(),
                format!(
                    "UPDATE shop.orders SET state = 'sent', total = total + 1, seen = NOW(3) WHERE id % 53 = {} AND id < 1000000",
                    round % 53
                ),
                format!("DELETE FROM shop.items WHERE orders = {round}"),
                format!(
                    "UPDATE shop.items SET line = 'z' WHERE orders = {} AND line = 'a'",
                    round + 1000
                ),
                format!("UPDATE shop.customers SET id = id + 5000000 WHERE id = {round}"),
                format!(
                    "DELETE FROM shop.customers WHERE id % 61 = {} AND id < 1000000",
                    round % 61
                ),
                "BEGIN".to_owned(),
                format!("DELETE FROM shop.orders WHERE id = {}", round * 3),
                format!(
                    "INSERT INTO shop.orders (id, customer, state, total, made, details) VALUES ({}, 9, 'new', 2.5, NOW(6), '[1, 2.50, \"x\"]')",
                    round * 3
                ),
                "COMMIT".to_owned(),
            ] {
                conn.query_drop(&statement)
                    .await
                    .unwrap_or_else(|error| panic!("{statement}: {error}"));
            }
        }
    }

    async fn kill_dump_threads(&self) {
        let mut conn = self.db.connect().await;
        let query = "SELECT CAST(id AS UNSIGNED) FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'";
        let ids: Vec<u64> = conn.query(query).await.unwrap();
        for id in ids {
            // It may have gone by itself.
            drop(conn.query_drop(format!("KILL {id}")).await);
        }
    }
}

/// Every number under a name, at any depth.
fn numbers(value: &Value, name: &str) -> Vec<u64> {
    match value {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(key, value)| match value.as_u64() {
                Some(number) if key == name => vec![number],
                _ => numbers(value, name),
            })
            .collect(),
        Value::Array(values) => values.iter().flat_map(|value| numbers(value, name)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

/// Every failpoint in turn, on one pair of servers: the program dies there, is started again, goes on.
#[cfg(feature = "failpoints")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn killed_at_every_failpoint() {
    for point in replicator::failpoint::ALL {
        let world = World::new(&[]).await;
        world.fill(1500).await;
        let mut process = world.start(Some(point));
        let load = world.load(0..30);
        let (status, ()) = tokio::join!(process.ended(), load);
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(9),
            "{point} was never met: {status}"
        );
        let _process = world.start(None);
        world.load(30..40).await;
        world.equal().await;
    }
}

/// Killed at ten random moments under a load, its connections cut in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn killed_at_any_moment() {
    let world = World::new(&[]).await;
    world.fill(4000).await;
    let kills = async {
        let mut random = fastrand::Rng::with_seed(7);
        for round in 0..10 {
            let mut process = world.start(None);
            Clock::real()
                .sleep(Duration::from_millis(random.u64(100..2000)))
                .await;
            if round % 3 == 1 {
                world.kill_dump_threads().await;
                Clock::real()
                    .sleep(Duration::from_millis(random.u64(10..600)))
                    .await;
            }
            process.kill();
        }
    };
    let load = async {
        for round in 0..60 {
            world.load(round * 5..round * 5 + 5).await;
            Clock::real().sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::join!(kills, load);
    let _process = world.start(None);
    world.equal().await;
}

/// What does not fit small buffers: a transaction of 200,000 rows, an event of 40 MB, a row of 18 MB.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn large_transactions_events_and_rows() {
    let options = [
        "--binlog-row-event-max-size=67108864",
        "--max-allowed-packet=1G",
        "--cte-max-recursion-depth=1000000",
    ];
    let db = TestDb::start(Flavour::Mysql, &options);
    let world = World::with(
        db,
        &[
            "CREATE DATABASE shop",
            "CREATE TABLE shop.blobs (id INT PRIMARY KEY, body LONGTEXT)",
        ],
    )
    .await;
    let mut process = world.start(None);
    let numbers = "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 200000) SELECT i, CONCAT('row ', i) FROM n";
    world
        .db
        .run(&[
            "INSERT INTO shop.blobs VALUES (0, REPEAT('x', 18000000))",
            &format!("INSERT INTO shop.blobs {numbers}"),
            "UPDATE shop.blobs SET body = REPEAT('y', 2000) WHERE id BETWEEN 1 AND 10000",
            "UPDATE shop.blobs SET body = REPEAT('z', 18000000) WHERE id = 0",
        ])
        .await;
    world.equal().await;
    process.terminate();
    assert!(process.ended().await.success());
}

/// More tables than connections: they share them, in the first copy and in the stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tables_share_connections() {
    let tables = 0..50;
    let each = |statement: &dyn Fn(u32) -> String| tables.clone().map(statement).collect::<Vec<_>>();
    let mut schema = vec!["CREATE DATABASE shop".to_owned()];
    schema.extend(each(&|n| {
        format!("CREATE TABLE shop.t{n} (id INT PRIMARY KEY, c{n} VARCHAR(20))")
    }));
    schema.extend(each(&|n| {
        format!("INSERT INTO shop.t{n} VALUES (1, 'a'), (2, 'b'), (3, '{n}')")
    }));
    let schema: Vec<&str> = schema.iter().map(String::as_str).collect();
    let world = World::with(TestDb::start(Flavour::Mysql, &[]), &schema).await;
    let mut process = world.start(None);
    world.equal().await;
    for round in 4..10 {
        let changes = each(&|n| {
            format!(
                "INSERT INTO shop.t{n} VALUES ({round}, 'n'); UPDATE shop.t{n} SET c{n} = '{round}' WHERE id = 1; \
                 DELETE FROM shop.t{n} WHERE id = {round} - 2"
            )
        });
        let changes: Vec<&str> = changes.iter().flat_map(|text| text.split("; ")).collect();
        world.db.run(&changes).await;
    }
    world.equal().await;
    process.terminate();
    assert!(process.ended().await.success());
}

/// What the local BigQuery is told to do to appends, each with its chance.
const ROUGH: &str = r#"{ "faults": [
    { "on": "append", "probability": 0.05, "seed": 1, "effect": { "cut": { "applied": true } } },
    { "on": "append", "probability": 0.05, "seed": 2, "effect": { "status": { "code": "UNAVAILABLE", "applied": true } } },
    { "on": "append", "probability": 0.10, "seed": 3, "effect": { "status": { "code": "RESOURCE_EXHAUSTED", "in_band": true } } },
    { "on": "jobs", "probability": 0.20, "seed": 4, "effect": { "fail": { "reason": "backendError" } } }
] }"#;

/// Jobs that take their time, requests in any order, answers that are lost, quotas: every row arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn arrives_through_faults_and_delays() {
    let world = World::new(&[]).await;
    let slow = r#"{ "job_polls": 2, "shuffle": true, "columns_new_connection_ms": 1000 }"#;
    local::tell(&world.target, "PUT", "profile", slow).await;
    local::tell(&world.target, "POST", "faults", ROUGH).await;
    world.fill(1500).await;
    let mut process = world.start(None);
    world.load(0..30).await;
    world.equal().await;
    let told = local::tell(&world.target, "GET", "faults", "").await;
    let struck = (0..3).any(|place: usize| told["faults"][place]["fired"] != 0);
    assert!(struck, "{told}");
    process.terminate();
    assert!(process.ended().await.success());
}

/// SIGTERM ends it with exit code 0 within ten seconds, also when the target answers no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn stops_when_told_although_the_target_is_gone() {
    let world = World::new(&[]).await;
    world.fill(200).await;
    let mut process = world.start(None);
    world.equal().await;
    let World {
        db, target, folder, ..
    } = world;
    target.shutdown().await.unwrap();
    db.run(&["UPDATE shop.customers SET score = 1"]).await;
    Clock::real().sleep(Duration::from_secs(1)).await;
    process.terminate();
    let ended = tokio::time::timeout(Duration::from_secs(10), process.ended())
        .await
        .expect("it ends within 10 s");
    assert_eq!(ended.code(), Some(0));
    drop(folder);
}

/// `snapshot` copies and ends; `run` goes on from there.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_snapshot_hands_over_to_run() {
    let world = World::new(&[]).await;
    world.fill(1200).await;
    let (code, text) = world.output("snapshot");
    assert_eq!(code, Some(0), "{text}");
    world.equal().await;
    world.load(0..5).await;
    let _process = world.start(None);
    world.equal().await;
}

/// Names that need quotes or an annotation on every way, and a key that the server spells in two ways.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn names_of_any_script_and_keys_of_two_spellings_arrive() {
    let schema = [
        "CREATE DATABASE shop",
        "CREATE TABLE shop.`größe 1-a` (`schlüssel & co` VARCHAR(9) PRIMARY KEY, `2nd` DOUBLE, `注文 #` JSON)",
        "INSERT INTO shop.`größe 1-a` VALUES ('a', -0e0, '[1]'), ('b', 5e-324, '{\"x\": 1.5}'), ('c', 1, NULL)",
    ];
    let world = World::with(TestDb::start(Flavour::Mysql, &[]), &schema).await;
    let _process = world.start(None);
    world.equal().await;
    let update = |to: &str| {
        format!("UPDATE shop.`größe 1-a` SET `schlüssel & co` = '{to}' WHERE `schlüssel & co` = 'a'")
    };
    world
        .db
        .run(&[&update("A"), "DELETE FROM shop.`größe 1-a` WHERE `2nd` = 1"])
        .await;
    world.equal().await;
    world.audit().await;
}

/// What must not start says why and what to do, and leaves everything as it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn refusals_name_the_cure() {
    let world = World::new(&[]).await;
    world.fill(10).await;
    let (code, text) = world.output("snapshot");
    assert_eq!(code, Some(0), "{text}");
    // A second process on one checkpoint.
    let _process = world.start(None);
    Clock::real().sleep(Duration::from_millis(1500)).await;
    let (code, text) = world.output("run");
    assert_eq!(code, Some(1));
    assert!(
        text.contains("in use by another process") && text.contains("hint:"),
        "{text}"
    );
    drop(_process);
    // A checkpoint of a newer version.
    let path = world.folder.path().join("checkpoint/shop.json");
    let kept = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, kept.replace("\"version\": 1", "\"version\": 99")).unwrap();
    let (code, text) = world.output("run");
    assert_eq!(code, Some(1));
    assert!(text.contains("version 99") && text.contains("hint:"), "{text}");
    // A target that is seen not to be empty, and no checkpoint.
    world.clock.advance(Duration::from_secs(61));
    std::fs::remove_file(&path).unwrap();
    let (code, text) = world.output("run");
    assert_eq!(code, Some(1));
    assert!(text.contains("no checkpoint") && text.contains("hint:"), "{text}");
    assert!(!path.exists(), "nothing is half-written");
}
