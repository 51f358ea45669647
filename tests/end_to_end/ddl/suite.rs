//! Runs many short histories of tables side by side, on one server and one process, under a load of changes to rows of all
//! of them; then every table that the source has equals its target, column by column.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use replicator::checkpoint::{Checkpoint, Phase};
use replicator::clock::Clock;
use replicator::event::TableId;
use replicator::task;

use crate::support::{Flavour, TestDb};
use crate::world::World;

/// A name and statements, one after the other on one connection.
pub(super) type Case = (&'static str, &'static [&'static str]);

/// The table that a case begins with.
pub(super) const BASE: &str = "CREATE TABLE T (id INT PRIMARY KEY, n INT, a INT, b VARCHAR(20), c DECIMAL(10,2), \
                               d DATETIME, e ENUM('x','y'), f TEXT)";

/// Cases whose rows nobody else may change.
const SWAPPED: [&str; 2] = ["gh_ost", "pt_online_schema_change"];

/// Cases that are under way at the same time.
const ABREAST: usize = 6;

/// A statement of the table `name`: `T` becomes `shop.name`, `T_b` and `_T_b` what belongs to it.
pub(super) fn spelled(statement: &str, name: &str) -> String {
    let mut text = String::new();
    let mut word = String::new();
    for letter in statement.chars().chain(['\0']) {
        if letter.is_ascii_alphanumeric() || letter == '_' {
            word.push(letter);
            continue;
        }
        let ours = word == "T" || word.starts_with("T_") || word.starts_with("_T_");
        if ours && !text.ends_with('.') {
            text.push_str("shop.");
        }
        if ours || word == "chk_T" {
            word = word.replacen('T', name, 1);
        }
        text.push_str(&word);
        word.clear();
        text.push(letter);
    }
    text.trim_end_matches('\0').to_owned()
}

/// The table of a case with a few rows of every kind.
pub(super) fn beginning(name: &str) -> Vec<String> {
    let row = |id: u32| {
        format!(
            "({id}, {id}, {}, '{id}', {id}.25, '2024-02-29 01:02:{:02}', '{}', 'text {id}')",
            if id.is_multiple_of(5) {
                "NULL".to_owned()
            } else {
                (id * 3).to_string()
            },
            id % 60,
            if id.is_multiple_of(2) { "x" } else { "y" },
        )
    };
    let rows: Vec<String> = (0..40).map(row).collect();
    let fill = format!("INSERT INTO T VALUES {}", rows.join(","));
    vec![spelled(BASE, name), spelled(&fill, name)]
}

/// A world with a server that is in no hurry to write to the disk, and two schemas.
pub(super) async fn empty_world() -> World {
    let db = TestDb::start(
        Flavour::Mysql,
        &["--innodb-flush-log-at-trx-commit=0", "--sync-binlog=0"],
    );
    let mut world = World::with(db, &["CREATE DATABASE shop", "CREATE DATABASE aside"]).await;
    world.staleness = "5s";
    world
}

/// A world with the tables of cases.
pub(super) async fn world(cases: &[Case]) -> World {
    let world = empty_world().await;
    let mut conn = world.db.connect().await;
    for (name, _) in cases {
        for statement in beginning(name) {
            conn.query_drop(statement).await.unwrap();
        }
    }
    world
}

/// Runs a statement that may meet rows of the load which it cannot take, or locks: with the one before, again.
async fn persist(conn: &mut Conn, before: Option<&str>, statement: &str) -> Option<String> {
    let mut last = String::new();
    for _ in 0..8 {
        match conn.query_drop(statement).await {
            Ok(()) => return None,
            Err(error) => last = error.to_string(),
        }
        if let Some(before) = before {
            drop(conn.query_drop(before).await);
        }
    }
    Some(format!("{statement}: {last}"))
}

/// Runs the cases, a few at a time, each with pauses that bring its statements to the replicator together or apart.
async fn play(db: &TestDb, cases: &[Case], seed: u64) {
    let mut tasks = Vec::new();
    for lane in 0..ABREAST {
        let mut conn = db.connect().await;
        let mut random = fastrand::Rng::with_seed(seed + u64::try_from(lane).unwrap());
        let ours: Vec<Case> = cases.iter().skip(lane).step_by(ABREAST).copied().collect();
        tasks.push(task::spawn("cases", async move {
            let mut refused = Vec::new();
            for (name, statements) in ours {
                let mut before: Option<String> = None;
                for statement in statements {
                    let statement = spelled(statement, name);
                    refused.extend(persist(&mut conn, before.as_deref(), &statement).await);
                    before = Some(statement);
                    if random.bool() {
                        Clock::real()
                            .sleep(Duration::from_millis(random.u64(0..250)))
                            .await;
                    }
                }
                conn.reset().await.unwrap();
            }
            refused
        }));
    }
    let mut refused = Vec::new();
    for task in tasks {
        refused.extend(task.join().await.unwrap());
    }
    assert!(
        refused.is_empty(),
        "the server takes every statement: {refused:#?}"
    );
}

/// Changes rows of any table, for ever; what a table does not take by then is left.
async fn load(db: &TestDb, cases: &[Case], seed: u64) {
    let mut conn = db.connect().await;
    conn.query_drop("SET innodb_lock_wait_timeout = 1, lock_wait_timeout = 1")
        .await
        .unwrap();
    let mut random = fastrand::Rng::with_seed(seed);
    // A copy that is swapped in has the same rows only while a tool keeps it so; here nobody does.
    let cases: Vec<&Case> = cases.iter().filter(|(name, _)| !SWAPPED.contains(name)).collect();
    loop {
        let (name, _) = cases[random.usize(..cases.len())];
        let (id, part) = (random.u32(100..600), random.u32(0..9));
        let statement = match random.u32(0..5) {
            0 => format!("INSERT INTO T (id, n, a) VALUES ({id}, 1, 1)"),
            1 => format!(
                "INSERT INTO T (id, n, a, b) VALUES ({id}, 2, 2, '2'), ({}, 3, 3, '3')",
                id + 1
            ),
            2 => format!("DELETE FROM T WHERE id % 19 = {part}"),
            _ => format!("UPDATE T SET n = n + 1 WHERE id % 9 = {part}"),
        };
        drop(conn.query_drop(spelled(&statement, name)).await);
        Clock::real().sleep(Duration::from_millis(random.u64(0..8))).await;
    }
}

/// Plays cases beside a load.
async fn play_beside(world: &World, cases: &[Case], seed: u64) {
    tokio::select! {
        () = play(&world.db, cases, seed) => {}
        () = load(&world.db, cases, seed) => unreachable!("a load has no end"),
    }
}

/// The program's state as it is kept.
pub(super) fn checkpoint(world: &World) -> Option<Checkpoint> {
    serde_json::from_str(&world.checkpoint()).ok()
}

/// Why a table is not known to be equal yet; `None` if it is.
async fn unequal(world: &World, conn: &mut Conn, layout: &replicator::event::TableLayout) -> Option<String> {
    let Some(state) = checkpoint(world).and_then(|mut all| all.tables.remove(&layout.table)) else {
        return Some("not in the checkpoint".to_owned());
    };
    if state.phase != Phase::Streaming || state.applying.is_some() || state.sweep.is_some() {
        let (change, sweep) = (state.applying.as_ref().map(|applying| applying.at), state.sweep);
        return Some(format!("{:?}, change {change:?}, sweep {sweep:?}", state.phase));
    }
    let projection = state.projection();
    let names: BTreeMap<&str, &str> = projection
        .layout
        .columns
        .iter()
        .zip(&projection.columns)
        .filter_map(|(column, target)| Some((column.name.as_str(), target.as_ref()?.name.as_str())))
        .collect();
    let table = layout.table.name();
    let renamed: Vec<(&str, &str, &str)> = layout
        .columns
        .iter()
        .filter_map(|column| {
            let name = column.name.as_str();
            Some((table, name, *names.get(name)?))
        })
        .collect();
    if renamed.len() < layout.columns.len() {
        return Some(format!("columns: {names:?}"));
    }
    match world.compare_table(conn, layout, &renamed).await {
        Ok(found) if found.equal() => None,
        Ok(found) => Some(found.to_string()),
        Err(error) => Some(error),
    }
}

/// Waits until every keyed table of the source equals its target, but for those that are `parked`. Returns those that do
/// not, with what is wrong.
pub(super) async fn settle(world: &World, parked: &BTreeSet<String>, looks: u32) -> BTreeMap<String, String> {
    let mut conn = world.db.connect().await;
    let mut all = world.layouts().await;
    all.retain(|layout| layout.is_keyed() && !parked.contains(layout.table.name()));
    let (mut left, mut wrong) = (all.clone(), BTreeMap::new());
    for _ in 0..looks {
        world.clock.advance(Duration::from_secs(61));
        wrong.clear();
        for layout in &left {
            if let Some(why) = unequal(world, &mut conn, layout).await {
                wrong.insert(layout.table.name().to_owned(), why);
            }
        }
        if !wrong.is_empty() {
            left.retain(|layout| wrong.contains_key(layout.table.name()));
            Clock::real().sleep(Duration::from_millis(250)).await;
        } else if left.len() == all.len() {
            break;
        } else {
            // What was equal may have changed while others were waited for.
            left.clone_from(&all);
        }
    }
    wrong
}

/// Waits until a table is parked.
pub(super) async fn parked(world: &World, name: &str) {
    let table = TableId::new("shop", name);
    for _ in 0..240 {
        let state = checkpoint(world).and_then(|mut all| all.tables.remove(&table));
        if state.is_some_and(|state| matches!(state.phase, Phase::Parked { .. })) {
            return;
        }
        Clock::real().sleep(Duration::from_millis(250)).await;
    }
    panic!("{name} is never parked\n{}", world.log());
}

/// Plays all of the cases, waits, and says everything that is wrong at once.
pub(super) async fn follow_all(cases: &[Case], parks: &[Case], seed: u64, kills: u32) {
    let all: Vec<Case> = cases.iter().chain(parks).copied().collect();
    let world = world(&all).await;
    let running = async {
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..kills {
            let mut process = world.start(None);
            Clock::real()
                .sleep(Duration::from_millis(random.u64(700..4000)))
                .await;
            process.kill();
        }
        let _process = world.start(None);
        std::future::pending::<()>().await;
    };
    let judging = async {
        let set = BTreeSet::new();
        if kills == 0 {
            let wrong = settle(&world, &set, 240).await;
            assert!(
                wrong.is_empty(),
                "before anything changed: {wrong:#?}\n{}",
                world.log_of(wrong.keys())
            );
        }
        play_beside(&world, &all, seed).await;
        let set: BTreeSet<String> = parks.iter().map(|(name, _)| (*name).to_owned()).collect();
        for name in &set {
            parked(&world, name).await;
        }
        let wrong = settle(&world, &set, 240).await;
        assert!(
            wrong.is_empty(),
            "{} are wrong: {wrong:#?}\n{}",
            wrong.len(),
            world.log_of(wrong.keys())
        );
        world.audit().await;
    };
    tokio::select! {
        () = running => unreachable!("it never ends"),
        () = judging => {}
    }
}
