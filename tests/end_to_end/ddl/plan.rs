//! What the program says that it would do to the targets is what it does then; saying it changes nothing.

use std::time::Duration;

use replicator::clock::Clock;
use serde_json::Value;

use super::filled;
use crate::world::World;

fn plan(world: &World, more: &[&str]) -> String {
    let output = world.command("plan").args(more).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

/// A table's part of the plan.
fn of(world: &World, table: &str) -> Value {
    let whole: Value = serde_json::from_str(&plan(world, &["--json"])).unwrap();
    let tables = whole["tables"].as_array().unwrap();
    let found = tables.iter().find(|entry| entry["table"] == table);
    found
        .unwrap_or_else(|| panic!("{table} is not in {whole}"))
        .clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_would_be_done_is_said_before_it_is_done() {
    let mut world = filled().await;
    let first = plan(&world, &[]);
    for line in [
        "  add_column: add\n",
        "+ shop.other → test.shop.other: its target is made, and it is copied\n    CREATE TABLE `test.shop.other` (\n",
        "PRIMARY KEY (`id`) NOT ENFORCED",
        "OPTIONS (max_staleness = INTERVAL '0-0 0 0:0:5' YEAR TO SECOND)",
    ] {
        assert!(first.contains(line), "{line:?} is not in\n{first}");
    }
    assert!(world.copied().await.is_empty(), "nothing was made");
    {
        let _running = world.start(None);
        world.equal().await;
        assert!(plan(&world, &[]).ends_with("tables:\n  3 tables: nothing to do\n"));
    }
    let (checkpoint, targets) = (world.checkpoint(), world.copied().await);
    world
        .db
        .run(&[
            "ALTER TABLE shop.t ADD COLUMN d VARCHAR(10), MODIFY b BIGINT NULL, MODIFY x BIGINT UNSIGNED",
            "ALTER TABLE shop.parts ADD pad INT NOT NULL, DROP PRIMARY KEY, ADD PRIMARY KEY (day, id, pad)",
            "DROP TABLE shop.other",
            "CREATE TABLE shop.made (id INT PRIMARY KEY, v JSON)",
        ])
        .await;
    let changed = of(&world, "shop.t");
    assert_eq!(changed["action"], "change");
    let statements: Vec<String> = serde_json::from_value(changed["statements"].clone()).unwrap();
    assert_eq!(
        statements,
        [
            "ALTER TABLE `test.shop.t` ALTER COLUMN `x` SET DATA TYPE NUMERIC",
            "ALTER TABLE `test.shop.t` ADD COLUMN `b_v2` INT64, ADD COLUMN `d` STRING",
        ]
    );
    assert!(
        changed["copied_again"]
            .as_str()
            .unwrap()
            .contains("column b is bigint"),
        "{changed}"
    );
    world.changes = "{ added_default: leave }";
    let left = of(&world, "shop.t");
    assert!(
        left["copied_again"].is_null() && left["problem"].is_string(),
        "{left}"
    );
    world.changes = "{}";
    assert_eq!(of(&world, "shop.made")["action"], "create");
    assert_eq!(of(&world, "shop.other")["action"], "gone");
    let refused = of(&world, "shop.parts");
    assert_eq!(refused["action"], "refused");
    assert!(
        refused["problem"].as_str().unwrap().contains("its key changed"),
        "{refused}"
    );
    assert_eq!((world.checkpoint(), world.copied().await), (checkpoint, targets));

    let _running = world.start(None);
    world.logged("columns of the target changed").await;
    world.logged("table parked").await;
    let log = std::fs::read_to_string(world.log_path()).unwrap();
    for sql in statements {
        assert!(log.contains(&sql), "{sql} was not run:\n{log}");
    }
    assert_eq!(of(&world, "shop.parts")["action"], "parked");
}

/// What is held back by name is in no target, of whatever table and by whatever way it comes, until a person has it copied.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn columns_that_are_held_back_by_name_reach_no_target() {
    let mut world = filled().await;
    world.changes = "{ hold_names: ['*phone*', x] }";
    assert_eq!(held(&world, "shop.t"), ["x"]);
    let statement = of(&world, "shop.t")["statements"][0].as_str().unwrap().to_owned();
    assert!(!statement.contains("`x`"), "{statement}");
    {
        let _running = world.start(None);
        world.logged("snapshot done").await;
        world
            .db
            .run(&[
                "CREATE TABLE shop.made (id INT PRIMARY KEY, phone VARCHAR(20), n INT)",
                "INSERT INTO shop.made VALUES (1, '555', 1)",
                "ALTER TABLE shop.other ADD phone_2 VARCHAR(20), ADD y INT",
                "UPDATE shop.other SET phone_2 = '555', y = 1",
            ])
            .await;
        for _ in 0..240 {
            world.clock.advance(Duration::from_secs(61));
            let other = columns(&world, "other").await;
            if other.contains(&"y".to_owned()) && columns(&world, "made").await.len() == 2 {
                break;
            }
            Clock::real().sleep(Duration::from_millis(250)).await;
        }
        world
            .db
            .run(&[
                "ALTER TABLE shop.made RENAME COLUMN phone TO contact, ADD z INT",
                "INSERT INTO shop.made VALUES (2, '556', 2, 2)",
            ])
            .await;
        world.logged("ADD COLUMN `z`").await;
        assert_eq!(columns(&world, "t").await, ["id", "a", "b", "c"]);
        assert_eq!(columns(&world, "other").await, ["id", "n", "y"]);
        assert_eq!(columns(&world, "made").await, ["id", "n", "z"]);
        assert_eq!(held(&world, "shop.other"), ["phone_2"]);
        assert_eq!(held(&world, "shop.made"), ["contact"]);
    }
    // A start with other policies lets nothing in by itself; a person does.
    world.changes = "{}";
    let resync = world.output_of(&["resync", "shop.t", "shop.other", "shop.made"]);
    assert_eq!(resync.0, Some(0), "{resync:?}");
    let _running = world.start(None);
    world.equal().await;
}

/// The columns of a table that the plan says are held back.
fn held(world: &World, table: &str) -> Vec<String> {
    let entry = of(world, table);
    let columns = entry["held"].as_array().cloned().unwrap_or_default();
    let names = columns
        .iter()
        .map(|one| one["column"].as_str().unwrap().to_owned());
    names.collect()
}

/// The columns of a target, ours left out.
async fn columns(world: &World, table: &str) -> Vec<String> {
    let url = format!(
        "{}/bigquery/v2/projects/test/datasets/shop/tables/{table}",
        world.target.rest_url()
    );
    let found: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    let fields = found["schema"]["fields"].as_array().cloned().unwrap_or_default();
    let names = fields
        .iter()
        .map(|field| field["name"].as_str().unwrap().to_owned());
    names.filter(|name| !name.starts_with('_')).collect()
}
