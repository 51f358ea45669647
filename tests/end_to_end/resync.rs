//! Tables that are copied again: because somebody wants it, of a process that runs and of one that does not, or by
//! themselves because the log does not say what became of them.

use crate::support::{Flavour, TestDb};
use crate::world::{World, free_port};

const SCHEMA: &[&str] = &[
    "CREATE DATABASE shop",
    "CREATE TABLE shop.t (id INT PRIMARY KEY, n INT NOT NULL, note TEXT)",
    "CREATE TABLE shop.other (id INT PRIMARY KEY, n INT)",
];

async fn filled() -> World {
    let mut world = World::with(TestDb::start(Flavour::Mysql, &[]), SCHEMA).await;
    world.staleness = "5s";
    world.http = free_port();
    let rows: Vec<String> = (0..1200).map(|id| format!("({id},{id},'note {id}')")).collect();
    world
        .db
        .run(&[
            &format!("INSERT INTO shop.t VALUES {}", rows.join(",")),
            "INSERT INTO shop.other VALUES (1, 1), (2, 2)",
        ])
        .await;
    world
}

/// What no log tells: nobody can know, but who asks for a copy.
const UNLOGGED: &[&str] = &[
    "SET sql_log_bin = 0",
    "DELETE FROM shop.t WHERE id % 5 = 0",
    "UPDATE shop.t SET note = 'changed' WHERE id % 7 = 0",
    "INSERT INTO shop.t VALUES (9000, 1, 'added')",
    "SET sql_log_bin = 1",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_live_table_is_copied_again_on_request() {
    let world = filled().await;
    let mut running = world.start(None);
    world.equal().await;
    world.db.run(UNLOGGED).await;
    let (code, said) = world.output_of(&["resync", "shop.t"]);
    assert_eq!(code, Some(0), "{said}\n{}", world.log());
    // Beside a load.
    for round in 0..10 {
        world
            .db
            .run(&[
                &format!("UPDATE shop.t SET n = n + 1 WHERE id % 11 = {round}"),
                &format!("DELETE FROM shop.t WHERE id % 97 = {round}"),
                &format!("INSERT INTO shop.t VALUES ({}, 0, 'new')", 20_000 + round),
            ])
            .await;
    }
    world.equal().await;
    let (code, said) = world.output_of(&["resync", "shop.nothing"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("no table shop.nothing is known"), "{said}");
    // Of a process that is stopped: the checkpoint says so, and the next start does it.
    running.terminate();
    assert!(running.ended().await.success());
    world
        .db
        .run(&[
            "SET sql_log_bin = 0",
            "DELETE FROM shop.t WHERE id % 3 = 0",
            "UPDATE shop.other SET n = 9",
        ])
        .await;
    let (code, said) = world.output_of(&["resync", "shop.t", "shop.gone"]);
    assert_eq!(code, Some(1), "all of them or none: {said}");
    assert!(
        !world.checkpoint().contains("reopening"),
        "{}",
        world.checkpoint()
    );
    let (code, said) = world.output_of(&["resync", "shop.t", "shop.other"]);
    assert_eq!(code, Some(0), "{said}");
    let _running = world.start(None);
    world.equal().await;
}

/// A table whose key changed has no target that could follow it: once that is dropped, a copy makes a new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_parked_table_comes_back() {
    let world = filled().await;
    let _running = world.start(None);
    world.equal().await;
    world
        .db
        .run(&[
            "ALTER TABLE shop.t DROP PRIMARY KEY, ADD PRIMARY KEY (id, n)",
            "INSERT INTO shop.t VALUES (1, 5000, 'another')",
        ])
        .await;
    world.logged("table parked").await;
    // Its target is what it was: the request is heard, and ends as before.
    let (code, said) = world.output_of(&["resync", "shop.t"]);
    assert_eq!(code, Some(0), "{said}");
    world.drop_target("t").await;
    let (code, said) = world.output_of(&["resync", "shop.t"]);
    assert_eq!(code, Some(0), "{said}");
    world.db.run(&["DELETE FROM shop.t WHERE id % 2 = 0"]).await;
    world.equal().await;
}

/// A session writes statements and not rows into the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_the_log_lacks_is_copied_again_without_being_asked_for() {
    let world = filled().await;
    let mut running = world.start(None);
    world.equal().await;
    let unlogged = [
        "SET SESSION binlog_format = 'STATEMENT'",
        "UPDATE shop.t SET note = 'by statement' WHERE id % 3 = 0",
        "DELETE FROM shop.t WHERE id % 4 = 0",
    ];
    world.db.run(&unlogged).await;
    world.equal().await;
    assert!(world.log().contains("table is copied again"));
    // Killed before it is done.
    world
        .db
        .run(&[
            "SET SESSION binlog_format = 'STATEMENT'",
            "DELETE FROM shop.t WHERE id % 5 = 1",
        ])
        .await;
    running.kill();
    let _running = world.start(None);
    world.equal().await;
}
