//! Random programs: statements that change columns, rows and whole tables, each program on a table of its own, several abreast.
//! MySQL is the oracle: what it refuses is no part of a program, and what it has at the end the target must have. A program that
//! ends otherwise is made smaller before it is shown, in many copies, for what goes wrong may be a matter of moments.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use replicator::clock::Clock;
use replicator::task;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::steps::{Step, program, statements};
use super::suite::{self, beginning, spelled};
use crate::world::World;

/// Programs that are under way at the same time.
const ABREAST: usize = 6;

async fn columns(conn: &mut Conn, name: &str) -> Vec<String> {
    let query = "SELECT column_name FROM information_schema.columns WHERE table_schema = 'shop' AND table_name = ? \
                 AND column_name <> 'id' ORDER BY ordinal_position";
    conn.exec(query, (name,)).await.unwrap()
}

/// When the process is killed: at every so many boundaries between statements, beginning with one of them.
#[derive(Debug)]
struct Kills {
    met: AtomicUsize,
    every: usize,
    first: usize,
    orders: Sender<()>,
}

impl Kills {
    async fn boundary(&self) {
        let number = self.met.fetch_add(1, Ordering::Relaxed);
        if number % self.every == self.first {
            self.orders.send(()).await.unwrap();
        }
    }
}

/// What one run of programs is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    /// Of what is random beside the programs.
    pub(super) seed: u64,
    /// One boundary of so many, beginning with which one; `None`: nobody is killed.
    pub(super) kills: Option<(usize, usize)>,
}

/// Runs a program; returns what it said to the server.
async fn play(
    conn: &mut Conn,
    name: &str,
    program: &[Step],
    kills: &Kills,
    mut random: fastrand::Rng,
) -> Vec<String> {
    let mut said = Vec::new();
    conn.query_drop("SET SESSION sql_mode = ''").await.unwrap();
    for step in program {
        if let Step::Rest(tenths) = step {
            let wait = u64::from(*tenths) * 2;
            Clock::real().sleep(Duration::from_millis(wait)).await;
        }
        let columns = columns(conn, name).await;
        for statement in statements(step, &columns) {
            let statement = spelled(&statement, name);
            match conn.query_drop(&statement).await {
                Ok(()) => said.push(statement),
                Err(_refused) => continue,
            }
            kills.boundary().await;
            if random.u8(0..3) == 0 {
                Clock::real()
                    .sleep(Duration::from_millis(random.u64(0..120)))
                    .await;
            }
        }
    }
    said
}

/// Plays programs, a few at a time; returns what each of them said.
async fn play_all(
    world: &World,
    programs: &[Vec<Step>],
    kills: Kills,
    seed: u64,
) -> BTreeMap<String, Vec<String>> {
    let kills = Arc::new(kills);
    let mut lanes = Vec::new();
    for lane in 0..ABREAST {
        let mut conn = world.db.connect().await;
        let numbered: Vec<(String, Vec<Step>)> = (0..)
            .zip(programs)
            .skip(lane)
            .step_by(ABREAST)
            .map(|(number, program)| (table(number), program.clone()))
            .collect();
        let kills = Arc::clone(&kills);
        let mut random = fastrand::Rng::with_seed(seed + u64::try_from(lane).unwrap());
        lanes.push(task::spawn("programs", async move {
            let mut said = BTreeMap::new();
            for (name, program) in numbered {
                let one = play(&mut conn, &name, &program, &kills, random.fork()).await;
                said.insert(name, one);
            }
            said
        }));
    }
    let mut said = BTreeMap::new();
    for lane in lanes {
        said.extend(lane.join().await.unwrap());
    }
    said
}

fn table(number: usize) -> String {
    format!("p{number}")
}

/// Keeps the process running, and kills it when told to.
async fn keep(world: &World, mut orders: Receiver<()>) {
    loop {
        let mut process = world.start(None);
        tokio::select! {
            order = orders.recv() => order.unwrap(),
            status = process.end() => panic!("it ended by itself: {status}\n{}", world.log()),
        }
        process.kill();
    }
}

/// Runs programs in a world of their own. Returns how many statements the server took, and the programs that ended with
/// something else than the source has, by number.
async fn run(programs: &[Vec<Step>], round: Round) -> (usize, BTreeMap<usize, String>) {
    let names: Vec<String> = (0..programs.len()).map(table).collect();
    let world = suite::empty_world().await;
    let mut conn = world.db.connect().await;
    for name in &names {
        for statement in beginning(name) {
            conn.query_drop(statement).await.unwrap();
        }
    }
    let (orders, ordered) = channel(1);
    let (every, first) = round.kills.unwrap_or((usize::MAX, usize::MAX - 1));
    let kills = Kills {
        met: AtomicUsize::new(0),
        every,
        first,
        orders: orders.clone(),
    };
    let judged = async {
        let nobody = BTreeSet::new();
        if round.kills.is_none() {
            let wrong = suite::settle(&world, &nobody, 240).await;
            assert!(wrong.is_empty(), "before anything changed: {wrong:#?}");
        }
        let said = play_all(&world, programs, kills, round.seed).await;
        let taken: usize = said.values().map(Vec::len).sum();
        let mut wrong = suite::settle(&world, &nobody, 480).await;
        // A table that is opened where the log is behind has the columns of the present: rows from before they changed
        // are sent as far as they can be understood, and all of them again once the log has come to the change. A kill in
        // between has them sent under the same numbers, with what is understood by then.
        let twice = match round.kills {
            None => world.with_two_contents().await,
            Some(_) => Vec::new(),
        };
        for name in twice {
            wrong.insert(name, "a number came with two contents".to_owned());
        }
        let of = |name: &str| -> Option<usize> { name.strip_prefix('p')?.split('_').next()?.parse().ok() };
        let mut found: BTreeMap<usize, String> = BTreeMap::new();
        for (name, why) in &wrong {
            let number = of(name).unwrap();
            let text = found.entry(number).or_insert_with(|| {
                let log = world.log_of(std::iter::once(name));
                format!("{}\n{log}\n", said[&table(number)].join(";\n"))
            });
            text.push_str(&format!("{name}: {why}\n"));
        }
        (taken, found)
    };
    tokio::select! {
        () = keep(&world, ordered) => unreachable!("it never ends"),
        found = judged => {
            drop(orders);
            found
        }
    }
}

/// How often a program that went wrong is tried smaller.
const SMALLER: usize = 30;

/// How many copies of it.
const COPIES: usize = 12;

/// Makes a program smaller as long as any of its copies goes wrong. Returns it with what was wrong.
async fn smallest(mut tree: impl ValueTree<Value = Vec<Step>>, round: Round, first: String) -> String {
    let mut last = first;
    for _ in 0..SMALLER {
        if !tree.simplify() {
            break;
        }
        loop {
            let (_, wrong) = run(&vec![tree.current(); COPIES], round).await;
            if let Some((_, why)) = wrong.into_iter().next() {
                last = format!("{:?}\n{why}", tree.current());
                break;
            }
            if !tree.complicate() {
                return last;
            }
        }
    }
    last
}

/// Runs so many random programs.
pub(super) async fn hold(count: usize, round: Round) {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&round.seed.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    let strategy = program();
    let mut trees: Vec<_> = (0..count)
        .map(|_| strategy.new_tree(&mut runner).unwrap())
        .collect();
    let programs: Vec<Vec<Step>> = trees.iter().map(ValueTree::current).collect();
    let (taken, wrong) = run(&programs, round).await;
    assert!(
        taken > 4 * count,
        "no more than {taken} statements of {count} programs were taken"
    );
    if let Some((number, why)) = wrong.into_iter().next() {
        let first = format!("{:?}\n{why}", programs[number]);
        panic!(
            "{round:?}: {}",
            smallest(trees.swap_remove(number), round, first).await
        );
    }
}
