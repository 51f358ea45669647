//! What became of the source's statements is kept in the target, and told by the program.

use replicator::clock::Clock;
use serde_json::Value;
use std::time::Duration;

use super::filled;
use crate::world::{World, free_port};

/// The change of a table that a test looks for.
fn one<'a>(changes: &'a [Value], table: &str, text: &str) -> Option<&'a Value> {
    changes
        .iter()
        .find(|change| change["table"] == table && change.to_string().contains(text))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn changes_of_tables_are_kept_in_the_target() {
    let mut world = filled().await;
    world.http = free_port();
    let mut running = world.start(None);
    world.equal().await;
    let add = "ALTER TABLE shop.t ADD COLUMN d VARCHAR(10) DEFAULT 'x'";
    world
        .db
        .run(&[
            add,
            "CREATE TABLE shop.made (id INT PRIMARY KEY, v JSON)",
            "INSERT INTO shop.made VALUES (1, '{}')",
            "TRUNCATE TABLE shop.other",
        ])
        .await;
    world.equal().await;
    let key = "ALTER TABLE shop.parts ADD pad INT NOT NULL, DROP PRIMARY KEY, ADD PRIMARY KEY (day, id, pad)";
    world.db.run(&[key]).await;
    world.logged("table parked").await;
    running.kill();
    let _running = world.start(None);
    let mut changes = Vec::new();
    for _ in 0..240 {
        changes = told(&world).await;
        if one(&changes, "shop.parts", "parked").is_some() && one(&changes, "shop.other", "swept").is_some() {
            break;
        }
        world.clock.advance(Duration::from_secs(61));
        Clock::real().sleep(Duration::from_millis(250)).await;
    }
    let columns = one(&changes, "shop.t", "columns").expect("the new column");
    assert_eq!(columns["statement"], add);
    let ran = columns["ran"].as_str().unwrap();
    assert!(
        ran.starts_with("ALTER TABLE `test.shop.t` ADD COLUMN `d` STRING"),
        "{ran}"
    );
    assert_eq!(columns["target"], "test.shop.t");
    assert!(columns["cause"].as_str().unwrap().contains('d'), "{columns}");
    assert!(
        columns["position"].as_str().unwrap().contains("/000001:"),
        "{columns}"
    );
    assert!(one(&changes, "shop.made", "it is new").is_some(), "{changes:#?}");
    assert!(one(&changes, "shop.other", "swept").is_some(), "{changes:#?}");
    let parked = one(&changes, "shop.parts", "parked").expect("the table that was parked");
    assert_eq!(parked["statement"], key);
    let ids: std::collections::BTreeSet<&str> = changes
        .iter()
        .map(|change| change["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), changes.len(), "each of them once");
}

/// What is told once the program answers.
async fn told(world: &World) -> Vec<Value> {
    let url = format!("http://127.0.0.1:{}/api/schema-changes", world.http);
    for _ in 0..240 {
        match reqwest::get(&url).await {
            Ok(answer) if answer.status().is_success() => {
                let mut answer: Value = answer.json().await.unwrap();
                return serde_json::from_value(answer["changes"].take()).unwrap();
            }
            Ok(_) | Err(_) => Clock::real().sleep(Duration::from_millis(250)).await,
        }
    }
    panic!("it never tells\n{}", world.log());
}
