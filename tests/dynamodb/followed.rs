//! The program as it is run, from the DynamoDB of our own into the local BigQuery: a table is loaded and followed while it
//! is written to, shards split, calls fail and the program is killed, and in the end every item is equal.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, StreamViewType};
use fastrand::Rng;
use replicator::clock::Clock;
use replicator::emulator::Running;
use serde_json::{Value, json};

use crate::clients::{Attributes, choose_tls, create, item, n, put, recoverable, s, tables};
use crate::server::{Fault, Server};
use crate::support::local::{self, Process};

pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) tables: aws_sdk_dynamodb::Client,
    pub(crate) target: Running,
    folder: tempfile::TempDir,
    /// Lines of the source, as far as tests differ in them.
    pub(crate) settings: String,
    pub(crate) rng: Rng,
    written: u32,
}

/// A row's cells as texts; `None` is NULL.
pub(crate) type Cells = Vec<Option<String>>;

impl World {
    pub(crate) async fn start(settings: &str, seed: u64) -> World {
        choose_tls();
        let server = Server::start(Clock::turnable(), seed).await;
        let tables = tables(&server.url);
        server.create_bucket("exports");
        create(&tables, "shop", Some(StreamViewType::NewAndOldImages)).await;
        recoverable(&tables, "shop").await;
        World {
            server,
            tables,
            target: local::bigquery(true, Clock::real()).await,
            folder: tempfile::tempdir().unwrap(),
            settings: settings.to_owned(),
            rng: Rng::with_seed(seed),
            written: 0,
        }
    }

    pub(crate) fn run(&self) -> Process {
        let path = self.folder.path().join("config.yaml");
        let text = format!(
            "pipeline: sessions\nsources:\n  - name: sessions\n    dynamodb:\n      region: us-east-1\n      tables: [shop]\n      \
             {}\n      endpoint: {}\nsink:\n  bigquery:\n    project: test\n    auth: none\n    max_staleness: '0'\n    \
             endpoints: {{ rest: '{}', write: '{}' }}\ncheckpoint: file://{}\nhttp: 127.0.0.1:0\n",
            self.settings,
            self.server.url,
            self.target.rest_url(),
            self.target.write_url(),
            self.folder.path().join("checkpoint").display(),
        );
        std::fs::write(&path, text).unwrap();
        let mut program = Command::new(env!("CARGO_BIN_EXE_replicator"));
        program
            .args(["run", "--config"])
            .arg(path)
            .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "secret");
        Process::start(&mut program, &self.folder.path().join("log"))
    }

    pub(crate) fn log(&self) -> String {
        let log = std::fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(6000)..]).into_owned()
    }

    /// How often the program has said something.
    pub(crate) fn count(&self, what: &str) -> usize {
        let log = std::fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).matches(what).count()
    }

    /// So many writes: items are put, put again, and deleted.
    async fn write(&mut self, times: u32) {
        for _ in 0..times {
            let id = format!("id {}", self.rng.u32(0..150));
            if self.rng.u32(0..4) == 0 {
                let delete = self.tables.delete_item().table_name("shop").key("id", s(&id));
                delete.send().await.unwrap();
                continue;
            }
            self.written += 1;
            let tags = AttributeValue::L(vec![
                s("é"),
                AttributeValue::Bool(true),
                AttributeValue::Null(true),
            ]);
            let attributes = item([
                ("id", s(&id)),
                ("n", n(&self.written.to_string())),
                ("tags", tags),
            ]);
            put(&self.tables, "shop", attributes).await;
        }
    }

    pub(crate) fn split(&mut self) {
        let shards = self.server.open_shards("shop");
        let shard = &shards[self.rng.usize(0..shards.len())];
        self.server.split("shop", shard, 2);
    }

    /// Every item.
    pub(crate) async fn items(&self) -> Vec<Attributes> {
        let (mut found, mut from) = (Vec::new(), None::<Attributes>);
        loop {
            let scan = self.tables.scan().table_name("shop").consistent_read(true);
            let page = scan.set_exclusive_start_key(from).send().await.unwrap();
            found.extend_from_slice(page.items());
            from = page.last_evaluated_key().cloned();
            if from.is_none() {
                return found;
            }
        }
    }

    /// What the table holds, by key.
    async fn source(&self) -> BTreeMap<String, Value> {
        let items = self.items().await.into_iter();
        let read = items.map(|one| {
            let id = one["id"].as_s().unwrap().clone();
            let count: u64 = one["n"].as_n().unwrap().parse().unwrap();
            let value = json!({ "id": id, "n": count, "tags": ["é", true, null] });
            (id, value)
        });
        read.collect()
    }

    /// What a query of the target gives.
    pub(crate) async fn query(&self, query: &str) -> Result<Vec<Cells>, String> {
        Ok(self.named(query).await?.1)
    }

    /// The same with the columns' names.
    pub(crate) async fn named(&self, query: &str) -> Result<(Vec<String>, Vec<Cells>), String> {
        let url = format!("{}/bigquery/v2/projects/test/queries", self.target.rest_url());
        let body = json!({ "query": query, "useLegacySql": false, "maxResults": 10_000 });
        let answer = reqwest::Client::new().post(url).json(&body).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        if let Some(error) = answer.get("error") {
            return Err(error.to_string());
        }
        let cells = |row: &Value| -> Cells {
            let cells = row["f"].as_array().into_iter().flatten();
            cells.map(|cell| cell["v"].as_str().map(str::to_owned)).collect()
        };
        let fields = answer["schema"]["fields"].as_array().into_iter().flatten();
        let names = fields.map(|field| field["name"].as_str().unwrap().to_owned());
        let rows = answer["rows"].as_array().into_iter().flatten().map(cells);
        Ok((names.collect(), rows.collect()))
    }

    /// What the target holds, by key.
    async fn held(&self) -> Result<BTreeMap<String, Value>, String> {
        let rows = self
            .query("SELECT id, TO_JSON_STRING(item) FROM sessions.shop")
            .await?;
        let text = |cell: &Option<String>| cell.clone().unwrap_or_else(|| "null".to_owned());
        Ok(rows
            .iter()
            .map(|row| (text(&row[0]), serde_json::from_str(&text(&row[1])).unwrap()))
            .collect())
    }

    /// Waits until the target is equal; nobody writes.
    async fn equal(&self) {
        let source = self.source().await;
        self.equals(&source, || self.held()).await;
    }

    /// Waits until the target holds what it is to hold.
    pub(crate) async fn equals<T: PartialEq + std::fmt::Debug, F>(
        &self,
        expected: &BTreeMap<String, T>,
        held: impl Fn() -> F,
    ) where
        F: Future<Output = Result<BTreeMap<String, T>, String>>,
    {
        assert!(expected.len() > 50, "too little to compare");
        let mut last = String::new();
        for _ in 0..480 {
            // Exports and iterators live by the server's clock.
            self.server.advance(Duration::from_secs(2));
            match held().await {
                Ok(held) if held == *expected => return,
                Ok(held) => {
                    let differs = |(id, item): &(&String, &T)| held.get(*id) != Some(*item);
                    let missing: Vec<_> = expected.iter().filter(differs).collect();
                    let one = missing.first().map(|(id, item)| (id, item, held.get(*id)));
                    last = format!(
                        "{} items, {} rows, {} missing or other, such as {one:?}",
                        expected.len(),
                        held.len(),
                        missing.len()
                    );
                }
                Err(error) => last = error,
            }
            Clock::real().sleep(Duration::from_millis(250)).await;
        }
        panic!("never equal: {last}\n{}", self.log());
    }

    /// No number came with two contents.
    pub(crate) async fn audited(&self) {
        let audit = local::tell(&self.target, "GET", "audit", "").await;
        assert_eq!(twice(&audit), 0, "{audit}");
    }
}

async fn through_everything(first_load: &str, seed: u64) {
    let mut world = World::start(first_load, seed).await;
    world.write(400).await;
    let mut running = world.run();
    world.write(100).await;
    world.equal().await;

    world.server.fail_sometimes("GetRecords", Fault::Throttle, 50);
    world
        .server
        .fail_sometimes("GetRecords", Fault::ExpiredIterator, 50);
    world.server.fail_sometimes("GetRecords", Fault::EmptyPage, 50);
    world.server.fail_sometimes("DescribeStream", Fault::Internal, 50);
    for _ in 0..3 {
        world.write(60).await;
        world.split();
        world.write(60).await;
        running.kill();
        world.write(60).await;
        world.split();
        // The first read of a start only looks whether it may.
        world.server.fail("GetRecords", Fault::ExpiredIterator, 1);
        running = world.run();
        world.write(60).await;
    }
    world.server.heal();
    world.equal().await;
    world.audited().await;
}

/// How many numbers came with two contents.
fn twice(audit: &Value) -> u64 {
    match audit {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| match value.as_u64() {
                Some(count) if name == "numbers_with_two_contents" => count,
                _ => twice(value),
            })
            .sum(),
        Value::Array(values) => values.iter().map(twice).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_table_is_scanned_and_followed_through_splits_faults_and_kills() {
    through_everything("first_load: scan", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_table_is_exported_and_followed_through_splits_faults_and_kills() {
    through_everything("first_load: export\n      export_bucket: exports", 2).await;
}
