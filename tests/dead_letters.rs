//! Rows that the target cannot hold, from real MySQL through the program as it is run into the local
//! BigQuery: each is a dead letter with its key, its column and its place, every other row is in the
//! target, and no position passes a row that is neither.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use replicator::clock::Clock;
use replicator::emulator::Running;
use serde_json::{Value, json};
use support::local::{self, Process};
use support::{Flavour, TestDb};

const SCHEMA: &[&str] = &[
    "CREATE DATABASE shop",
    "CREATE TABLE shop.people (id INT PRIMARY KEY, born DATE, note VARCHAR(20) CHARACTER SET cp1250)",
    "CREATE TABLE shop.days (day DATE PRIMARY KEY, n INT)",
    "CREATE TABLE shop.blobs (id INT PRIMARY KEY, body LONGTEXT)",
];

/// A target that takes births of the last ten years only: rows outside its partitions are refused one by one.
const TARGET: &[&str] = &[
    "CREATE SCHEMA shop",
    "CREATE TABLE shop.people (id INT64 NOT NULL, born DATE, note STRING, _replicator_commit_time TIMESTAMP, \
     PRIMARY KEY (id) NOT ENFORCED) PARTITION BY born",
];

const LETTERS: &str = "SELECT source_table, TO_JSON_STRING(key), `column`, operation, stale, position, payload, payload_bytes, reason, id \
                       FROM shop._replicator_dead_letters";

struct World {
    db: TestDb,
    target: Running,
    folder: tempfile::TempDir,
    http: reqwest::Client,
}

impl World {
    async fn new(schema: &[&str], target_schema: &[&str]) -> World {
        let db = TestDb::start(Flavour::Mysql, &["--max-allowed-packet=1G", "--sql-mode="]);
        db.run(schema).await;
        let world = World {
            db,
            target: local::bigquery(false, Clock::real()).await,
            folder: tempfile::tempdir().unwrap(),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
        };
        for sql in target_schema {
            world.query(sql).await.unwrap();
        }
        world
    }

    /// Rows as texts, or what BigQuery says.
    async fn query(&self, sql: &str) -> Result<Vec<Vec<String>>, String> {
        let url = format!("{}/bigquery/v2/projects/test/queries", self.target.rest_url());
        let body = json!({ "query": sql, "useLegacySql": false, "maxResults": 10_000 });
        let answer = self.http.post(url).json(&body).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        if answer.get("error").is_some() {
            return Err(answer["error"]["message"].to_string());
        }
        let text = |cell: &Value| cell["v"].as_str().unwrap_or("NULL").to_owned();
        let row = |row: &Value| row["f"].as_array().unwrap().iter().map(text).collect();
        Ok(answer["rows"].as_array().into_iter().flatten().map(row).collect())
    }

    /// Waits until a query gives this many rows.
    async fn until(&self, sql: &str, rows: usize) -> Vec<Vec<String>> {
        let mut last = Ok(Vec::new());
        for _ in 0..600 {
            last = self.query(sql).await;
            match &last {
                Ok(found) if found.len() == rows => return last.unwrap(),
                _ => Clock::real().sleep(Duration::from_millis(100)).await,
            }
        }
        let found = last.map(|found| found.len());
        panic!("{sql} never gave {rows} rows: {found:?}\n{}", self.log());
    }

    /// Waits until the log has a line with this text so often.
    async fn logged(&self, text: &str, times: usize) {
        for _ in 0..600 {
            if self.log().matches(text).count() >= times {
                return;
            }
            Clock::real().sleep(Duration::from_millis(50)).await;
        }
        panic!("never logged: {text}\n{}", self.log());
    }

    /// Waits until every table is copied: what happens from then on comes from the binlog alone.
    async fn copied(&self) {
        self.logged("snapshot done", 3).await;
    }

    /// Waits until the letters are of this many keys; a kill may have had some written twice.
    async fn until_all(&self, letters: &str, keys: usize) -> Vec<Vec<String>> {
        for _ in 0..600 {
            let found = self.query(letters).await.unwrap();
            let of: BTreeSet<&String> = found.iter().map(|letter| &letter[1]).collect();
            if of.len() >= keys {
                return found;
            }
            Clock::real().sleep(Duration::from_millis(100)).await;
        }
        panic!("letters are missing\n{}", self.log());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap()
    }

    fn start(&self) -> Process {
        let mysql = format!(
            "{{ url: 'mysql://root@127.0.0.1:{}', tls: {{ mode: disabled }}, tables: ['shop.*'] }}",
            self.db.port
        );
        let endpoints = json!({ "rest": self.target.rest_url(), "write": self.target.write_url() });
        let config = [
            "pipeline: shop".to_owned(),
            format!("sources: [{{ name: shop, mysql: {mysql} }}]"),
            format!(
                "sink: {{ bigquery: {{ project: test, auth: none, max_staleness: '0', endpoints: {endpoints} }} }}"
            ),
            format!("checkpoint: 'file://{}'", self.path("checkpoint").display()),
            "http: 127.0.0.1:0".to_owned(),
        ];
        std::fs::write(self.path("config.yaml"), config.join("\n")).unwrap();
        let mut program = Command::new(env!("CARGO_BIN_EXE_replicator"));
        program.arg("run").arg("--config").arg(self.path("config.yaml"));
        Process::start(&mut program, &self.path("log"))
    }
}

async fn stop(mut process: Process) {
    process.terminate();
    assert!(process.ended().await.success());
}

/// The letters of a table: key, column, operation, stale.
fn letters_of<'a>(letters: &'a [Vec<String>], table: &str) -> Vec<[&'a str; 4]> {
    let of_table = letters.iter().filter(|letter| letter[0] == table);
    let mut found: Vec<[&str; 4]> = of_table
        .map(|row| [1, 2, 3, 4].map(|index| row[index].as_str()))
        .collect();
    found.sort_unstable();
    found
}

const ZERO_DATE: &str = "{\"day\":\"0000-00-00\"}";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_first_copy_leaves_out_what_the_target_cannot_hold_and_nothing_else() {
    let world = World::new(SCHEMA, TARGET).await;
    // Sixty of three hundred, more than an answer names.
    let people = (0..300).map(|id| {
        format!(
            "({id}, '{}-05-06', 'person {id}')",
            if id < 60 { 1950 } else { 2024 }
        )
    });
    let people = people.collect::<Vec<_>>().join(",");
    world
        .db
        .run(&[
            &format!("INSERT INTO shop.people VALUES {people}"),
            "INSERT INTO shop.days VALUES ('0000-00-00', 1), ('2024-02-29', 2)",
            "INSERT INTO shop.blobs VALUES (1, REPEAT('x', 20000000)), (2, 'small')",
        ])
        .await;
    let process = world.start();
    let letters = world.until(LETTERS, 62).await;
    world
        .until("SELECT id FROM shop.people WHERE id >= 60", 240)
        .await;
    assert_eq!(
        world.query("SELECT id FROM shop.people").await.unwrap().len(),
        240
    );
    assert_eq!(
        world.until("SELECT day FROM shop.days", 1).await,
        [["2024-02-29"]]
    );
    assert_eq!(world.until("SELECT id FROM shop.blobs", 1).await, [["2"]]);
    let mut expected: Vec<String> = (0..60).map(|id| format!("{{\"id\":{id}}}")).collect();
    expected.sort_unstable();
    let expected: Vec<[&str; 4]> = expected
        .iter()
        .map(|key| [key, "born", "UPSERT", "false"])
        .collect();
    assert_eq!(letters_of(&letters, "people"), expected);
    assert_eq!(
        letters_of(&letters, "days"),
        [[ZERO_DATE, "day", "UPSERT", "false"]]
    );
    assert_eq!(
        letters_of(&letters, "blobs"),
        [["{\"id\":1}", "NULL", "UPSERT", "false"]]
    );
    for letter in &letters {
        assert!(letter[5].starts_with("the snapshot at "), "{letter:?}");
        let by_reference = letter[0] == "blobs";
        assert_eq!(letter[6] == "NULL", by_reference, "{letter:?}");
        assert_eq!(
            letter[7].parse::<u64>().unwrap() > 20_000_000,
            by_reference,
            "{letter:?}"
        );
    }
    stop(process).await;
    let log = world.log();
    let line = log
        .lines()
        .find(|line| line.contains("dead letter") && line.contains(":59}"))
        .unwrap();
    for part in ["shop.people", "born", "the snapshot at", "refused by BigQuery"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(
        !log.contains("1950-05-06") && !log.contains("person 59"),
        "a value is in the log"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn changes_that_the_target_cannot_hold_are_dead_letters_and_all_others_are_there() {
    let world = World::new(SCHEMA, TARGET).await;
    world
        .db
        .run(&[
            "INSERT INTO shop.people VALUES (1, '1950-01-01', 'old'), (2, '1950-01-01', 'old'), (3, '2024-01-01', 'p3'), \
             (4, '2024-01-01', 'p4'), (5, '2024-01-01', 'p5')",
            "INSERT INTO shop.days VALUES ('0000-00-00', 1)",
        ])
        .await;
    let process = world.start();
    world.copied().await;
    world.until(LETTERS, 3).await;
    world.until("SELECT id FROM shop.people", 3).await;
    let statements = [
        // Refused again.
        "UPDATE shop.people SET note = 'again' WHERE id = 1",
        // Bytes that are no text: the target keeps the older version.
        "UPDATE shop.people SET note = X'81' WHERE id = 3",
        // The last version of a key is refused, and the older one of the same flush is not taken in its place.
        "BEGIN",
        "UPDATE shop.people SET note = 'between' WHERE id = 4",
        "UPDATE shop.people SET note = X'81' WHERE id = 4",
        "COMMIT",
        // A row that comes into the target's reach, and one that goes.
        "UPDATE shop.people SET born = '2024-01-01' WHERE id = 2",
        "DELETE FROM shop.people WHERE id = 5",
        // The delete of the old day names a key that BigQuery cannot hold.
        "UPDATE shop.days SET day = '2024-03-01' WHERE n = 1",
        "INSERT INTO shop.people VALUES (6, '2024-01-01', 'last')",
    ];
    world.db.run(&statements).await;
    let letters = world.until(LETTERS, 7).await;
    world.until("SELECT id FROM shop.people WHERE id = 6", 1).await;
    assert_eq!(
        world.until("SELECT day FROM shop.days", 1).await,
        [["2024-03-01"]]
    );
    let expected = [
        ["{\"id\":1}", "born", "UPSERT", "false"],
        ["{\"id\":1}", "born", "UPSERT", "true"],
        ["{\"id\":2}", "born", "UPSERT", "false"],
        ["{\"id\":3}", "note", "UPSERT", "true"],
        ["{\"id\":4}", "note", "UPSERT", "true"],
    ];
    assert_eq!(letters_of(&letters, "people"), expected);
    let of_days = [
        [ZERO_DATE, "day", "DELETE", "true"],
        [ZERO_DATE, "day", "UPSERT", "false"],
    ];
    assert_eq!(letters_of(&letters, "days"), of_days);
    for letter in &letters {
        let followed = letter[4] == "true";
        let place = if followed {
            "transaction "
        } else {
            "the snapshot at "
        };
        assert!(letter[5].starts_with(place), "{letter:?}");
    }
    let kept = world
        .query("SELECT CAST(id AS STRING), note FROM shop.people ORDER BY id")
        .await
        .unwrap();
    assert_eq!(kept, [["2", "old"], ["3", "p3"], ["4", "p4"], ["6", "last"]]);
    stop(process).await;

    // What is put aside is done with: a restart does not read it again.
    let process = world.start();
    world
        .db
        .run(&["INSERT INTO shop.people VALUES (7, '2024-01-01', 'after')"])
        .await;
    world.until("SELECT id FROM shop.people WHERE id = 7", 1).await;
    assert_eq!(world.query(LETTERS).await.unwrap().len(), 7);
    stop(process).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_position_does_not_pass_a_row_whose_dead_letter_cannot_be_written() {
    let world = World::new(SCHEMA, TARGET).await;
    world
        .query("CREATE TABLE shop._replicator_dead_letters (other INT64)")
        .await
        .unwrap();
    let mut process = world.start();
    world.copied().await;
    world
        .db
        .run(&["INSERT INTO shop.people VALUES (1, '2024-01-01', 'good')"])
        .await;
    world.until("SELECT id FROM shop.people", 1).await;
    world
        .db
        .run(&["INSERT INTO shop.people VALUES (2, '1950-01-01', 'bad')"])
        .await;
    let status = process.ended().await;
    assert_eq!(status.code(), Some(1), "{}", world.log());
    let log = world.log();
    assert!(
        log.contains("dead letter of a row of shop.people") && log.contains("column id STRING is missing"),
        "{log}"
    );
    let mut again = world.start();
    assert_eq!(again.ended().await.code(), Some(1));

    world
        .query("DROP TABLE shop._replicator_dead_letters")
        .await
        .unwrap();
    let process = world.start();
    let followed = format!("{LETTERS} WHERE position LIKE 'transaction %'");
    let letters = world.until(&followed, 1).await;
    assert_eq!(
        letters_of(&letters, "people"),
        [["{\"id\":2}", "born", "UPSERT", "false"]]
    );
    stop(process).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_table_that_takes_no_row_is_parked_and_the_others_flow() {
    let world = World::new(SCHEMA, TARGET).await;
    let people = (0..5000).map(|id| format!("({id}, '1950-01-01', 'bad')"));
    let people = people.collect::<Vec<_>>().join(",");
    world
        .db
        .run(&[&format!("INSERT INTO shop.people VALUES {people}")])
        .await;
    let process = world.start();
    world
        .db
        .run(&["INSERT INTO shop.days VALUES ('2024-03-01', 1)"])
        .await;
    world.until("SELECT day FROM shop.days", 1).await;
    world.logged("table parked", 1).await;
    let log = world.log();
    assert!(
        log.contains("more rows of shop.people are refused than may be put aside"),
        "{log}"
    );
    let letters = world.query(LETTERS).await.unwrap().len();
    assert!((100..5000).contains(&letters), "{letters}");
    assert_eq!(world.query("SELECT id FROM shop.people").await.unwrap().len(), 0);
    world
        .db
        .run(&["INSERT INTO shop.days VALUES ('2024-03-02', 1)"])
        .await;
    world.until("SELECT day FROM shop.days", 2).await;
    stop(process).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_kill_while_rows_are_put_aside_loses_none_and_writes_none_that_is_new() {
    let world = World::new(SCHEMA, TARGET).await;
    let row = |id: u32| {
        let year = if id.is_multiple_of(2) { 1950 } else { 2024 };
        format!("({id}, '{year}-01-01', 'x')")
    };
    let load = async {
        for round in 0..80 {
            let rows: Vec<String> = (round * 10..round * 10 + 10).map(row).collect();
            let insert = format!("INSERT INTO shop.people VALUES {}", rows.join(","));
            world.db.run(&[&insert]).await;
            Clock::real().sleep(Duration::from_millis(50)).await;
        }
    };
    let kills = async {
        let mut random = fastrand::Rng::with_seed(11);
        for _ in 0..6 {
            let mut process = world.start();
            Clock::real()
                .sleep(Duration::from_millis(random.u64(300..1200)))
                .await;
            process.kill();
        }
    };
    tokio::join!(load, kills);
    let process = world.start();
    world.until("SELECT id FROM shop.people", 400).await;
    world
        .db
        .run(&["INSERT INTO shop.days VALUES ('2024-01-01', 1)"])
        .await;
    world.until("SELECT day FROM shop.days", 1).await;
    let mut ids: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for letter in world.until_all(LETTERS, 400).await {
        let of_key = ids.entry(letter[1].clone()).or_default();
        // A row that the first copy read too has a letter of that reading as well.
        if letter[5].starts_with("transaction ") {
            of_key.insert(letter[9].clone());
        }
    }
    assert!(ids.values().all(|ids| ids.len() <= 1), "{ids:?}");
    let keys: BTreeSet<String> = (0..800).step_by(2).map(|id| format!("{{\"id\":{id}}}")).collect();
    assert_eq!(ids.into_keys().collect::<BTreeSet<_>>(), keys);
    stop(process).await;
}
