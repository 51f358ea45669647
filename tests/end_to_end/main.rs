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

mod append;
mod ddl;
mod names;
mod resync;
mod selection;
#[path = "../support/mod.rs"]
mod support;
mod world;

use std::time::Duration;

use replicator::clock::Clock;
use serde_json::Value;
use support::local;
use support::s3::S3;
use support::{Flavour, TestDb};
use world::World;

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

/// A checkpoint in a bucket: killed at random moments, taken over by an instance that stands by, and
/// handed over at once by one that is told to stop.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_checkpoint_in_a_bucket_and_who_owns_it() {
    let mut world = World::new(&[]).await;
    world.bucket = Some(S3::start().await);
    world.fill(600).await;
    let mut first = world.start(None);
    world.equal().await;
    let (code, text) = world.output_of(&["run", "--no-wait"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("is in use by") && text.contains("hint"), "{text}");
    // It stands by; the first dies in the middle of a load, and the second goes on where it was.
    let mut second = world.start(None);
    world.logged("standing by").await;
    world.load(0..10).await;
    first.kill();
    world.load(10..20).await;
    world.logged("shows no life: taking over").await;
    world.equal().await;
    // Told to stop, it gives the pipeline up: the third waits for nobody.
    second.terminate();
    assert!(second.ended().await.success());
    world.load(20..30).await;
    let mut third = world.start(None);
    world.equal().await;
    let bucket = world.bucket.as_ref().unwrap();
    let mut held: Value = serde_json::from_slice(&bucket.read("replicator/shop.json").await).unwrap();
    assert!(held["lease"]["counter"].as_u64().unwrap() > 1, "{held}");
    // Its lease gone to a stranger, it ends and says so.
    held["lease"]["owner"] = "somebody else".into();
    bucket.write("replicator/shop.json", held.to_string()).await;
    assert_eq!(third.ended().await.code(), Some(1));
    world.logged("was taken over by somebody else").await;
}

/// `snapshot` copies and ends; `run` goes on from there. `max_staleness` is chosen, and raised for the copy only; where it
/// is configured, what a table has is told and left.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_snapshot_hands_over_to_run() {
    let mut world = World::new(&[]).await;
    world.staleness = "auto";
    world.fill(1200).await;
    let (code, text) = world.output("snapshot");
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("\"before\":\"24h\",\"max_staleness\":\"15m\""),
        "{text}"
    );
    assert_eq!(world.max_staleness("orders").await, "0-0 0 0:15:0");
    world.staleness = "1m";
    world.equal().await;
    world.load(0..5).await;
    let _process = world.start(None);
    world
        .logged("the table's max_staleness is not the configured one")
        .await;
    world.equal().await;
    assert_eq!(world.max_staleness("orders").await, "0-0 0 0:15:0");
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
    std::fs::write(&path, kept.replace("\"version\": 2", "\"version\": 99")).unwrap();
    let (code, text) = world.output("run");
    assert_eq!(code, Some(1));
    assert!(text.contains("version 99") && text.contains("hint:"), "{text}");
    // A target that is not empty though no query sees it yet, and no checkpoint.
    std::fs::remove_file(&path).unwrap();
    let (code, text) = world.output("run");
    assert_eq!(code, Some(1));
    assert!(text.contains("no checkpoint") && text.contains("hint:"), "{text}");
    assert!(!path.exists(), "nothing is half-written");
}
