//! The whole pipeline against a database made of a seed: log and engine out of step, broken streams,
//! logs that begin anew, late and lost acknowledgements, crashes at any moment. Whatever happens, in the
//! end every table equals its source, and no stream row's number ever had two contents.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod alone;
mod database;
mod reader;

use std::sync::Arc;
use std::time::Duration;

use alone::Alone;
use database::{Database, table};
use replicator::checkpoint::{FileStore, Store};
use replicator::clock::Clock;
use replicator::config::SchemaChanges;
use replicator::pipeline::{Parts, Plan, run};
use replicator::sink::memory::{Memory, Script};
use replicator::source::Source;
use replicator::status::{Status, TableProgress};
use tokio_util::sync::CancellationToken;

const TABLES: usize = 3;

struct World {
    database: Database,
    source: Arc<dyn Source>,
    target: Memory,
    folder: tempfile::TempDir,
    clock: Clock,
}

/// How one life of the process ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    /// Without a warning.
    Crash,
    /// By request.
    Stop,
    /// When everything is copied and read.
    Settled,
}

impl World {
    fn new(seed: u64, gtids: bool) -> World {
        let clock = Clock::real();
        let database = Database::new(seed, TABLES, gtids, clock.clone());
        World {
            source: Arc::new(database.clone()),
            database,
            target: Memory::new(clock.clone()),
            folder: tempfile::tempdir().unwrap(),
            clock,
        }
    }

    fn scripts(&self) -> Vec<Script> {
        let mut state = self.database.state();
        (0..400)
            .map(|_| match state.random.u8(..) {
                0..3 => Script::Swallow,
                _ => Script::Acknowledge(Duration::from_millis(state.random.u64(0..120))),
            })
            .collect()
    }

    /// One life of the process.
    async fn live(&self, end: End, millis: u64) {
        let status = Arc::new(Status::default());
        let store = loop {
            // A crashed predecessor's last write may still hold the lock for a moment.
            match FileStore::open(self.folder.path(), "sim") {
                Ok(store) => break Store::File(Arc::new(store)),
                Err(_) => tokio::task::yield_now().await,
            }
        };
        let parts = Parts {
            source: Arc::clone(&self.source),
            sink: Arc::new(self.target.clone()),
            store,
            status: Arc::clone(&status),
            clock: self.clock.clone(),
        };
        let plan = Plan {
            policies: SchemaChanges::default(),
            pipeline: "sim".to_owned(),
            copy: true,
            parallelism: 3,
            max_rows_per_second: None,
            max_replica_lag: None,
            copied_when_lost: false,
            until_copied: false,
        };
        let stop = CancellationToken::new();
        let running = run(parts, plan, stop.clone());
        tokio::pin!(running);
        match end {
            End::Crash | End::Stop => {
                let early = tokio::select! {
                    result = &mut running => Some(result),
                    () = self.clock.sleep(Duration::from_millis(millis)) => None,
                };
                match early {
                    // The log could not be opened: the process ends and is started again.
                    Some(result) => drop(result.unwrap_err()),
                    None if end == End::Crash => {}
                    None => {
                        stop.cancel();
                        running.await.unwrap();
                    }
                }
            }
            End::Settled => {
                let settled = async {
                    self.database.state().drained = false;
                    for round in 0.. {
                        if self.settled(&status) {
                            break;
                        }
                        assert!(round < 500, "never settles: {:?}", status.view(&self.clock));
                        // Longer than anything gathered may linger.
                        self.clock.sleep(Duration::from_secs(5)).await;
                    }
                };
                tokio::select! {
                    result = &mut running => panic!("ended before it was settled: {result:?}"),
                    () = settled => {}
                }
                stop.cancel();
                running.await.unwrap();
            }
        }
    }

    fn settled(&self, status: &Status) -> bool {
        let view = status.view(&self.clock);
        let copied = view.tables.len() == TABLES
            && view
                .tables
                .values()
                .all(|table| matches!(table.progress, TableProgress::Streaming { .. }));
        let kept = view.read_to.is_empty() || view.read_to == view.safe_at;
        copied && self.database.state().drained && kept
    }

    fn check(&self) {
        let written = self.database.final_rows();
        for index in 0..TABLES {
            let rows: Vec<Vec<String>> = self.target.rows(&table(index));
            let mut expected: Vec<Vec<String>> = written[&table(index)]
                .iter()
                .map(|(key, value)| vec![format!("Int({key})"), format!("Int({value})")])
                .collect();
            expected.sort();
            let mut found = rows;
            found.sort();
            assert_eq!(found, expected, "table {index}");
        }
        assert_eq!(self.target.conflicts(), Vec::<String>::new());
    }
}

async fn simulate(seed: u64, gtids: bool) {
    let world = World::new(seed, gtids);
    let lives = world.database.state().random.usize(2..7);
    for _ in 0..lives {
        world.target.script(world.scripts());
        let (millis, stop, restart) = {
            let mut state = world.database.state();
            (
                state.random.u64(20..2500),
                state.random.bool(),
                gtids && state.random.u8(..) < 60,
            )
        };
        world
            .live(if stop { End::Stop } else { End::Crash }, millis)
            .await;
        world.database.state().shown = TABLES;
        if restart {
            world.database.state().restart_log();
        }
    }
    world.target.clear_script();
    world.database.settle();
    world.live(End::Settled, 0).await;
    world.check();
}

fn seeds() -> Vec<u64> {
    let fixed = 0..u64::from(
        option_env!("SIMULATION_SEEDS")
            .and_then(|text| text.parse().ok())
            .unwrap_or(100u32),
    );
    fixed.collect()
}

/// Tables that are copied from a source whose last chunks have to be read alone.
async fn copy_alone(seed: u64) {
    let mut world = World::new(seed, true);
    world.source = Arc::new(Alone::new(world.database.clone()));
    world.database.state().shown = TABLES;
    let late = |script: &Script| matches!(script, Script::Acknowledge(_));
    let scripts: Vec<Script> = world.scripts().into_iter().filter(late).collect();
    world.target.script(scripts);
    world.database.settle();
    world.live(End::Settled, 0).await;
    world.check();
}

#[test]
fn the_last_chunk_is_read_alone_where_the_source_says_so() {
    for seed in 0..20 {
        runtime().block_on(copy_alone(seed));
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
}

fn simulate_all(gtids: bool) {
    for seed in seeds() {
        let runtime = runtime();

        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runtime.block_on(simulate(seed, gtids));
        }));
        drop(runtime);
        assert!(result.is_ok(), "seed {seed} with gtids {gtids} fails");
    }
}

#[test]
fn every_seed_converges_with_gtids() {
    simulate_all(true);
}

#[test]
fn every_seed_converges_by_position() {
    simulate_all(false);
}
