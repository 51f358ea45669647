//! Statements that change tables, under a load, and the program killed amid what follows from them.

mod alter;
mod history;
mod keys;
mod plan;
mod programs;
mod steps;
mod suite;
mod tables;

use std::time::Duration;

use replicator::clock::Clock;

use crate::support::{Flavour, TestDb};
use crate::world::World;

const SCHEMA: &[&str] = &[
    "CREATE DATABASE shop",
    "CREATE TABLE shop.t (id BIGINT PRIMARY KEY, a INT, b VARCHAR(20), c DECIMAL(10,2), x INT UNSIGNED)",
    "CREATE TABLE shop.other (id INT PRIMARY KEY, n INT)",
    "CREATE TABLE shop.parts (id INT, day DATE, PRIMARY KEY (id, day)) PARTITION BY RANGE (TO_DAYS(day)) (
        PARTITION p0 VALUES LESS THAN (TO_DAYS('2024-01-01')), PARTITION p1 VALUES LESS THAN MAXVALUE)",
];

async fn filled() -> World {
    let mut world = World::with(TestDb::start(Flavour::Mysql, &[]), SCHEMA).await;
    // A sweep waits as long as a query may lag behind.
    world.staleness = "5s";
    let rows =
        |from: u32, to: u32, make: &dyn Fn(u32) -> String| (from..to).map(make).collect::<Vec<_>>().join(",");
    world
        .db
        .run(&[
            &format!(
                "INSERT INTO shop.t VALUES {}",
                rows(0, 1500, &|id| format!("({id},{id},'b{id}',{id}.25,{id})"))
            ),
            &format!(
                "INSERT INTO shop.other VALUES {}",
                rows(0, 100, &|id| format!("({id},{id})"))
            ),
            &format!(
                "INSERT INTO shop.parts VALUES {}",
                rows(0, 60, &|id| format!("({id},'{}-02-03')", 2023 + id % 2))
            ),
        ])
        .await;
    world
}

/// Changes of rows, whatever the columns are by now.
async fn touch(world: &World, round: u32) {
    world
        .db
        .run(&[
            &format!("INSERT INTO shop.t (id, a) VALUES ({}, {round})", 10_000 + round),
            &format!("UPDATE shop.t SET a = a + 1 WHERE id % 7 = {}", round % 7),
            &format!("DELETE FROM shop.t WHERE id % 101 = {round}"),
            &format!("UPDATE shop.other SET n = n + 1 WHERE id % 3 = {}", round % 3),
            &format!("INSERT INTO shop.parts VALUES ({}, '2023-05-06')", 1000 + round),
        ])
        .await;
}

/// What may happen to a table of which nobody has to be asked; `a` stays what it is.
const STATEMENTS: &[&str] = &[
    "ALTER TABLE shop.t ADD COLUMN d VARCHAR(10)",
    "ALTER TABLE shop.t ADD COLUMN e INT NOT NULL DEFAULT 7, ADD COLUMN f DATE FIRST",
    "ALTER TABLE shop.t DROP COLUMN b",
    "ALTER TABLE shop.t RENAME COLUMN c TO c2",
    "ALTER TABLE shop.t CHANGE c2 c3 DECIMAL(14,4)",
    "ALTER TABLE shop.t MODIFY x BIGINT UNSIGNED",
    "ALTER TABLE shop.t ADD COLUMN g INT AS (a * 2) STORED",
    "ALTER TABLE shop.t ADD INDEX (a)",
    "ALTER TABLE shop.t CONVERT TO CHARACTER SET latin1",
    "ALTER TABLE shop.t ADD COLUMN b DATETIME(3) NULL DEFAULT '2020-01-01'",
    "ALTER TABLE shop.parts DROP PARTITION p0",
    "CREATE TABLE shop.made (id INT PRIMARY KEY, v JSON)",
    "INSERT INTO shop.made VALUES (1, '{}'), (2, '[1]')",
    "CREATE TABLE shop.empty LIKE shop.other",
    "CREATE TABLE shop.chosen (PRIMARY KEY (id)) SELECT * FROM shop.other",
    "RENAME TABLE shop.made TO shop.made2",
    "DROP TABLE shop.chosen",
    "CREATE TABLE shop.chosen (id INT PRIMARY KEY, n INT, more TEXT)",
    "INSERT INTO shop.chosen VALUES (1, 2, 'x'), (500, 1, NULL)",
    "RENAME TABLE shop.other TO shop.tmp, shop.empty TO shop.other, shop.tmp TO shop.empty",
    "TRUNCATE TABLE shop.t",
    "INSERT INTO shop.t (id, a) VALUES (1, 1), (2, 2)",
];

/// Every statement under a load, each followed by itself; nobody does anything, and the tables are equal.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn statements_that_change_tables_are_followed() {
    let world = filled().await;
    let _running = world.start(None);
    world.equal().await;
    for (round, statement) in (0..).zip(STATEMENTS) {
        touch(&world, round).await;
        world.db.run(&[statement]).await;
        touch(&world, round + 50).await;
        Clock::real().sleep(Duration::from_millis(300)).await;
    }
    world.equal_but(&[("t", "b", "b_v2")]).await;
}

/// A statement that changes rows past the log, right behind the CREATE: the table is copied again, also if the server is
/// idle from then on. Without GTIDs that tell what a server has executed a copy begins some time after its opening.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_new_table_that_changes_while_it_is_opened_is_copied_from_an_idle_server() {
    let mut world = World::with(TestDb::start(Flavour::MariaDb, &[]), SCHEMA).await;
    world.staleness = "5s";
    let _running = world.start(None);
    world.equal().await;
    for round in 0..6 {
        let create = format!("CREATE TABLE shop.new{round} (id INT PRIMARY KEY, x INT)");
        let fill = format!("INSERT INTO shop.new{round} VALUES (1, 1), (2, 1), (3, 2)");
        let change = format!("ALTER IGNORE TABLE shop.new{round} ADD UNIQUE (x)");
        world.db.run(&[&create, &fill, &change]).await;
        world.equal().await;
    }
    let log = world.log();
    assert!(!log.contains("waits until anything is committed"), "{log}");
}

/// Where foreign keys change rows of which the log does not tell, that is said of a table that comes later too.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_foreign_key_that_comes_later_is_warned_of() {
    let db = TestDb::start(Flavour::Mysql, &["--innodb-native-foreign-keys=ON"]);
    let world = World::with(db, SCHEMA).await;
    let _running = world.start(None);
    world.equal().await;
    let child = "CREATE TABLE shop.child (id INT PRIMARY KEY, other INT, \
                 CONSTRAINT of_other FOREIGN KEY (other) REFERENCES shop.other (id) ON DELETE CASCADE)";
    world.db.run(&[child]).await;
    world.equal().await;
    let log = world.log();
    assert!(log.contains("shop.child by of_other of shop.other"), "{log}");
}

/// The program is killed where it is about to change a target's columns, where it has, and where it has swept,
/// and goes on.
#[cfg(feature = "failpoints")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn killed_amid_changes_of_tables() {
    use replicator::failpoint::{CHANGE_INTENDED, CHANGE_MADE, SWEPT};
    let world = filled().await;
    {
        let _running = world.start(None);
        world.equal().await;
    }
    for (round, point) in (0..).zip([CHANGE_INTENDED, CHANGE_MADE, SWEPT]) {
        let mut running = world.start(Some(point));
        let add =
            format!("ALTER TABLE shop.t ADD COLUMN n{round} INT NOT NULL DEFAULT 5, RENAME COLUMN x TO y");
        world
            .db
            .run(&[&add, "ALTER TABLE shop.t RENAME COLUMN y TO x"])
            .await;
        touch(&world, round).await;
        if point == SWEPT {
            world.db.run(&["TRUNCATE TABLE shop.other"]).await;
            touch(&world, round + 1).await;
        }
        let turning = async {
            loop {
                world.clock.advance(Duration::from_secs(61));
                Clock::real().sleep(Duration::from_millis(250)).await;
            }
        };
        let status = tokio::select! {
            status = running.ended() => status,
            () = turning => unreachable!("it never ends"),
        };
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        assert_eq!(
            signal,
            Some(9),
            "{point} was never met: {status}\n{}",
            world.log()
        );
        let _running = world.start(None);
        world.equal().await;
    }
}

/// The program is killed where it has made targets and has not recorded them, and the tables are others by the next start.
#[cfg(feature = "failpoints")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_target_that_was_made_and_not_recorded_is_made_anew() {
    let world = filled().await;
    for statement in [
        "ALTER TABLE shop.parts ADD COLUMN note TEXT FIRST",
        "ALTER TABLE shop.other MODIFY n VARCHAR(20)",
        "ALTER TABLE shop.parts DROP COLUMN note",
        "ALTER TABLE shop.other DROP PRIMARY KEY, ADD PRIMARY KEY (n)",
    ] {
        let mut running = world.start(Some(replicator::failpoint::TABLE_CREATED));
        running.ended().await;
        world.db.run(&[statement]).await;
    }
    let _running = world.start(None);
    world.equal().await;
}

/// Everything that can be done to the columns of a table.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_change_of_columns() {
    suite::follow_all(alter::CASES, tables::PARKED, 1, 0).await;
}

/// Everything else that statements do to tables.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_change_of_tables() {
    suite::follow_all(tables::CASES, &[], 2, 0).await;
}

/// Where random programs begin, if somebody says so: a longer run takes others each time.
#[expect(clippy::disallowed_methods, reason = "a test has no configuration")]
fn seed(usual: u64) -> u64 {
    std::env::var("REPLICATOR_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(usual)
}

/// Whatever statements are thrown at tables, beside each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn random_programs() {
    let round = programs::Round {
        seed: seed(1),
        kills: None,
    };
    programs::hold(48, round).await;
}

/// The same, with the process killed between statements.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn random_programs_through_kills() {
    let seed = seed(2);
    let round = programs::Round {
        seed,
        // Every boundary has its turn, in one round or another.
        kills: Some((23, usize::try_from(seed % 23).unwrap())),
    };
    programs::hold(36, round).await;
}
