//! `replicator snapshot` of some tables, and within a number of rows a second.

use std::process::{Command, Stdio};
use std::time::Duration;

use replicator::clock::Clock;

use crate::world::World;

/// What was copied once stays followed by every command after, whichever tables that one is asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn some_tables_are_copied_and_none_is_lost_sight_of() {
    let world = World::new(&[]).await;
    world.fill(1200).await;
    let snapshot = |tables: &[&str]| {
        let options = tables.iter().flat_map(|table| ["--table", table]);
        world.output_of(&["snapshot"].into_iter().chain(options).collect::<Vec<&str>>())
    };
    for wrong in ["shop.nothing", "crm.*", "orders"] {
        let (code, said) = snapshot(&["shop.orders", wrong]);
        assert_eq!(code, Some(1), "{said}");
        assert!(
            said.contains(&format!("--table {wrong}")) || said.contains("--table: "),
            "{said}"
        );
    }
    assert_eq!(world.copied().await, Vec::<String>::new());
    let (code, said) = snapshot(&["shop.orders", "shop.c?i*"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(world.copied().await, ["clicks", "clicks_latest", "orders"]);
    // Of tables that are followed, and of others.
    world.load(0..5).await;
    let (code, said) = snapshot(&["shop.items"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(
        world.copied().await,
        ["clicks", "clicks_latest", "items", "orders"]
    );
    world.load(5..10).await;
    let _process = world.start(None);
    world.load(10..20).await;
    world.equal().await;
}

/// The time is a lower bound: no server is too fast for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_copy_keeps_to_its_rate() {
    let world = World::new(&[]).await;
    world.fill(1200).await;
    let path = world.config();
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text.replace("chunk_rows: 500", "chunk_rows: 500, max_rows_per_second: 400");
    assert!(text.contains("max_rows_per_second"));
    std::fs::write(&path, text).unwrap();
    let clock = Clock::real();
    let began = clock.now();
    let program = Command::new(env!("CARGO_BIN_EXE_replicator"))
        .args(["snapshot", "--table", "shop.orders", "--config"])
        .arg(&path)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let end = program.wait_with_output().unwrap();
    let took = clock.now() - began;
    assert!(end.status.success(), "{}", String::from_utf8_lossy(&end.stderr));
    // 1,200 rows in three chunks: the third begins when at least 500 rows were due.
    assert!(took >= Duration::from_millis(1250), "{took:?}");
    let _process = world.start(None);
    world.equal().await;
}
