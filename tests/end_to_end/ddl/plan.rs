//! What the program says that it would do to the targets is what it does then; saying it changes nothing.

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
    let world = filled().await;
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
    let statements: Vec<&str> = changed["statements"]
        .as_array()
        .unwrap()
        .iter()
        .map(|sql| sql.as_str().unwrap())
        .collect();
    assert_eq!(
        statements,
        [
            "ALTER TABLE `test.shop.t` ALTER COLUMN `x` SET DATA TYPE NUMERIC",
            "ALTER TABLE `test.shop.t` ADD COLUMN `b_v2` INT64, ADD COLUMN `d` STRING",
        ]
    );
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
        assert!(log.contains(sql), "{sql} was not run:\n{log}");
    }
    assert_eq!(of(&world, "shop.parts")["action"], "parked");
}
