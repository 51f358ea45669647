//! A server, a local BigQuery and the program between them.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::local::{self, Process};
use crate::support::s3::{BUCKET, S3};
use crate::support::{Flavour, TestDb};
use mysql_async::prelude::Queryable;
use replicator::clock::Clock;
use replicator::compare::{Columns, Comparison, TargetTable, compare, compare_changes};
use replicator::emulator::Running;
use replicator::event::{ColumnName, TableLayout};
use replicator::sink::bigquery::{column_name, dataset_name, table_name};
use replicator::source::Source;
use replicator::source::mysql::Mysql;
use serde_json::Value;

pub(super) const SCHEMA: &[&str] = &[
    "CREATE DATABASE shop",
    "CREATE TABLE shop.customers (id INT PRIMARY KEY, email VARCHAR(100) NOT NULL, score DOUBLE, since DATE)",
    "CREATE TABLE shop.orders (
        id BIGINT UNSIGNED PRIMARY KEY, customer INT NOT NULL, state ENUM('new','paid','sent') NOT NULL,
        total DECIMAL(12,2) NOT NULL, details JSON, note TEXT CHARACTER SET latin1, raw VARBINARY(40),
        made DATETIME(6) NOT NULL, seen TIMESTAMP(3) NULL, span TIME, flags BIT(5), tags SET('a','b','c'))",
    "CREATE TABLE shop.items (orders BIGINT UNSIGNED, line CHAR(3), amount INT, PRIMARY KEY (orders, line))",
    "CREATE TABLE shop.clicks (page VARCHAR(20), at DATETIME(3), weight FLOAT, detail JSON)",
    "CREATE TABLE shop.events (id INT PRIMARY KEY, kind VARBINARY(9), note TEXT)",
];

pub(super) struct World {
    pub(super) db: TestDb,
    /// The target's.
    pub(super) clock: Clock,
    pub(super) target: Running,
    pub(super) folder: tempfile::TempDir,
    /// What is captured.
    pub(super) tables: &'static [&'static str],
    /// `max_staleness` as configured.
    pub(super) staleness: &'static str,
    /// `schema_changes` as configured.
    pub(super) changes: &'static str,
    /// Where health is served.
    pub(super) http: u16,
    /// Where the checkpoint is, if not in the folder.
    pub(super) bucket: Option<S3>,
}

impl World {
    pub(super) async fn new(options: &[&str]) -> World {
        World::with(TestDb::start(Flavour::Mysql, options), SCHEMA).await
    }

    pub(super) async fn with(db: TestDb, schema: &[&str]) -> World {
        db.run(schema).await;
        let clock = Clock::turnable();
        World {
            db,
            target: local::bigquery(true, clock.clone()).await,
            clock,
            folder: tempfile::tempdir().unwrap(),
            tables: &["shop.*"],
            staleness: "1m",
            changes: "{}",
            http: 0,
            bucket: None,
        }
    }

    pub(super) fn config(&self) -> PathBuf {
        let path = self.folder.path().join("config.yaml");
        let text = format!(
            "pipeline: shop\nsources:\n  - name: shop\n    mysql:\n      url: mysql://root@127.0.0.1:{}\n      \
             tls: {{ mode: disabled }}\n      tables: ['{}']\n      snapshot: {{ parallelism: 2, chunk_rows: 500 }}\n\
             sink:\n  bigquery:\n    project: test\n    auth: none\n    max_staleness: {}\n    endpoints: {{ rest: '{}', write: '{}' }}\n\
             tables: {{ 'shop.events': {{ mode: append }} }}\nschema_changes: {}\ncheckpoint: {}\nhttp: 127.0.0.1:{}\n",
            self.db.port,
            self.tables.join("', '"),
            self.staleness,
            self.target.rest_url(),
            self.target.write_url(),
            self.changes,
            match &self.bucket {
                Some(_) => format!("s3://{BUCKET}/replicator"),
                None => format!("file://{}", self.folder.path().join("checkpoint").display()),
            },
            self.http,
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(super) fn command(&self, command: &str) -> Command {
        let mut program = Command::new(env!("CARGO_BIN_EXE_replicator"));
        program.arg(command).arg("--config").arg(self.config());
        if let Some(bucket) = &self.bucket {
            program.envs(bucket.environment());
        }
        program
    }

    pub(super) fn start(&self, failpoint: Option<&str>) -> Process {
        let mut program = self.command("run");
        if let Some(name) = failpoint {
            program.env("REPLICATOR_FAILPOINT", name);
        }
        Process::start(&mut program, &self.log_path())
    }

    pub(super) fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// The tables and views that the target has.
    pub(super) async fn copied(&self) -> Vec<String> {
        let url = format!(
            "{}/bigquery/v2/projects/test/datasets/shop/tables",
            self.target.rest_url()
        );
        let found: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        let name = |table: &Value| table["tableReference"]["tableId"].as_str().unwrap().to_owned();
        let mut names: Vec<String> = found["tables"]
            .as_array()
            .into_iter()
            .flatten()
            .map(name)
            .filter(|name| !name.starts_with('_'))
            .collect();
        names.sort();
        names
    }

    /// Waits until the program has said something.
    pub(super) async fn logged(&self, text: &str) {
        for _ in 0..240 {
            if std::fs::read_to_string(self.log_path()).is_ok_and(|log| log.contains(text)) {
                return;
            }
            Clock::real().sleep(Duration::from_millis(250)).await;
        }
        panic!("never said {text:?}:\n{}", self.log());
    }

    /// The last things that the program said, for whoever reads a failure.
    pub(super) fn log(&self) -> String {
        let log = std::fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(8000)..]).into_owned()
    }

    /// What the log says of tables.
    pub(super) fn log_of<'a>(&self, names: impl Iterator<Item = &'a String>) -> String {
        let log = std::fs::read(self.log_path()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let names: Vec<String> = names.map(|name| format!("shop.{name}\"")).collect();
        let lines = log
            .lines()
            .filter(|line| names.iter().any(|name| line.contains(name)));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Runs a command to its end: exit code and what it said on standard error.
    pub(super) fn output(&self, command: &str) -> (Option<i32>, String) {
        self.output_of(&[command])
    }

    pub(super) fn output_of(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let (command, more) = arguments.split_first().unwrap();
        let mut program = self.command(command);
        let output = program.args(more).stdin(Stdio::null()).output().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }

    /// Drops a table of the target, as a person would.
    pub(super) async fn drop_target(&self, table: &str) {
        let url = format!(
            "{}/bigquery/v2/projects/test/datasets/shop/tables/{table}",
            self.target.rest_url()
        );
        let answer = reqwest::Client::new().delete(url).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }

    pub(super) async fn layouts(&self) -> Vec<TableLayout> {
        Mysql::new(self.db.source(self.tables), Clock::real())
            .tables(&[])
            .await
            .unwrap()
    }

    /// Compares every table; `renamed`: table, column, and the name that the target has for it.
    async fn compare_but(&self, renamed: &[(&str, &str, &str)]) -> Result<Vec<Comparison>, String> {
        let mut found = Vec::new();
        let mut conn = self.db.connect().await;
        for layout in self.layouts().await {
            found.push(self.compare_table(&mut conn, &layout, renamed).await?);
        }
        Ok(found)
    }

    /// Compares one table.
    pub(super) async fn compare_table(
        &self,
        conn: &mut mysql_async::Conn,
        layout: &TableLayout,
        renamed: &[(&str, &str, &str)],
    ) -> Result<Comparison, String> {
        let name = layout.table.name();
        let changes = !layout.is_keyed() || name == "events";
        let target = TargetTable {
            client: reqwest::Client::new(),
            rest: self.target.rest_url(),
            project: "test".to_owned(),
            jobs_project: "test".to_owned(),
            dataset: dataset_name(layout.table.schema()),
            table: format!("{}{}", table_name(name), if changes { "_latest" } else { "" }),
            bearer: None,
        };
        let spelled = layout.columns.iter().map(|column| {
            let there = column_name(column.name.as_str());
            (column.name.clone(), there)
        });
        let mut columns = Columns::same_names(layout);
        columns.renamed = spelled.collect();
        let of_table = renamed.iter().filter(|(table, ..)| *table == name);
        columns
            .renamed
            .extend(of_table.map(|(_, column, there)| (ColumnName::new(*column), column_name(there))));
        let one = if layout.is_keyed() {
            compare(conn, &target, &columns).await
        } else {
            compare_changes(conn, &target, &columns).await
        };
        one.map_err(|error| replicator::fault::chain(&error))
    }

    /// Waits until every table is equal; the source is at rest. Queries see what was applied, so the target's
    /// clock is turned past `max_staleness` each time.
    pub(super) async fn equal(&self) {
        self.equal_but(&[]).await;
    }

    /// The same, where the target has other names for columns.
    pub(super) async fn equal_but(&self, renamed: &[(&str, &str, &str)]) {
        let mut last = String::new();
        for _ in 0..240 {
            self.clock.advance(Duration::from_secs(61));
            match self.compare_but(renamed).await {
                Ok(found) if found.iter().all(Comparison::equal) => return self.audit().await,
                Ok(found) => {
                    last = found
                        .iter()
                        .map(ToString::to_string)
                        .collect::<Vec<_>>()
                        .join("\n")
                }
                Err(error) => last = error,
            }
            Clock::real().sleep(Duration::from_millis(250)).await;
        }
        panic!("never equal: {last}\n{}\n{}", self.checkpoint(), self.log());
    }

    /// A target table's option.
    pub(super) async fn max_staleness(&self, table: &str) -> String {
        let url = format!(
            "{}/bigquery/v2/projects/test/datasets/shop/tables/{table}",
            self.target.rest_url()
        );
        let answer = reqwest::get(url).await.unwrap().text().await.unwrap();
        let resource: Value = serde_json::from_str(&answer).unwrap();
        resource["maxStaleness"].as_str().unwrap_or_default().to_owned()
    }

    pub(super) fn checkpoint(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("checkpoint/shop.json")).unwrap_or_default()
    }

    /// No number of a stream row came with two contents.
    pub(super) async fn audit(&self) {
        let names = self.with_two_contents().await;
        assert!(names.is_empty(), "{names:?}");
    }

    /// The tables of which a number of a stream row came with two contents.
    pub(super) async fn with_two_contents(&self) -> Vec<String> {
        let audit = local::tell(&self.target, "GET", "audit", "").await;
        let tables = audit["tables"].as_object().unwrap();
        assert!(!tables.is_empty(), "{audit}");
        tables
            .iter()
            .filter(|(_, counts)| counts["numbers_with_two_contents"].as_u64().unwrap() != 0)
            .map(|(name, _)| name.rsplit('.').next().unwrap().to_owned())
            .collect()
    }

    pub(super) async fn fill(&self, rows: u32) {
        let mut conn = self.db.connect().await;
        for from in (0..rows).step_by(500) {
            let ids: Vec<u32> = (from..(from + 500).min(rows)).collect();
            let each = |make: &dyn Fn(&u32) -> String| ids.iter().map(make).collect::<Vec<_>>().join(",");
            for statement in [
                format!(
                    "INSERT INTO shop.customers VALUES {}",
                    each(&|id| format!("({id},'c{id}@x',{id}/7,'2020-01-02')"))
                ),
                format!(
                    "INSERT INTO shop.orders VALUES {}",
                    each(&|id| format!(
                        "({id},{id},'new',{id}.25,'{{\"a\": [{id}, null, \"é\"]}}','ÿ{id}',X'00FF','2024-02-29 01:02:03.000004',\
                         '2024-01-01 00:00:00.5','-12:34:56',{},'a,c')",
                        id % 32
                    ))
                ),
                format!(
                    "INSERT INTO shop.items VALUES {}",
                    each(&|id| format!("({id},'a',1),({id},'b',2)"))
                ),
                // Every third row is NULL throughout, the others are there several times.
                format!(
                    "INSERT INTO shop.clicks VALUES {}",
                    each(&|id| match id % 3 {
                        0 => "(NULL,NULL,NULL,NULL)".to_owned(),
                        _ => format!("('p{}','2024-01-02 03:04:05.6',0.1,'[{}]')", id % 7, id % 5),
                    })
                ),
                format!(
                    "INSERT INTO shop.events VALUES {}",
                    each(&|id| format!("({id},X'00FF','n{id}')"))
                ),
            ] {
                conn.query_drop(statement).await.unwrap();
            }
        }
    }

    /// Rounds of everything that can happen to rows.
    pub(super) async fn load(&self, rounds: std::ops::Range<u32>) {
        let mut conn = self.db.connect().await;
        for round in rounds {
            let new = 1_000_000 + round;
            for statement in [
                "BEGIN".to_owned(),
                format!(
                    "INSERT INTO shop.orders (id, customer, state, total, made) VALUES ({new}, 1, 'paid', 1, NOW(6))"
                ),
                format!("INSERT INTO shop.items VALUES ({new}, 'a', 1), ({new}, 'b', {round})"),
                "COMMIT".to_owned(),
                format!(
                    "UPDATE shop.orders SET state = 'sent', total = total + 1, seen = NOW(3) WHERE id % 53 = {} AND id < 1000000",
                    round % 53
                ),
                format!("DELETE FROM shop.items WHERE orders = {round}"),
                format!(
                    "UPDATE shop.items SET line = 'z' WHERE orders = {} AND line = 'a'",
                    round + 1000
                ),
                format!(
                    "INSERT INTO shop.clicks VALUES ('p1', NOW(3), {round}, NULL), ('p1', NULL, 0.1, NULL)"
                ),
                format!(
                    "UPDATE shop.clicks SET weight = {round} WHERE page = 'p{}' LIMIT 20",
                    round % 7
                ),
                format!("DELETE FROM shop.clicks WHERE page = 'p{}' LIMIT 3", round % 5),
                "DELETE FROM shop.clicks WHERE page IS NULL LIMIT 1".to_owned(),
                format!(
                    "UPDATE shop.events SET note = CONCAT(note, '{round}') WHERE id % 47 = {}",
                    round % 47
                ),
                format!("UPDATE shop.events SET id = id + 5000000 WHERE id = {round}"),
                format!(
                    "DELETE FROM shop.events WHERE id % 59 = {} AND id < 1000000",
                    round % 59
                ),
                format!("INSERT INTO shop.events VALUES ({new}, 'x', NULL)"),
                format!("UPDATE shop.customers SET id = id + 5000000 WHERE id = {round}"),
                format!(
                    "DELETE FROM shop.customers WHERE id % 61 = {} AND id < 1000000",
                    round % 61
                ),
                "BEGIN".to_owned(),
                format!("DELETE FROM shop.orders WHERE id = {}", round * 3),
                format!(
                    "INSERT INTO shop.orders (id, customer, state, total, made, details) VALUES ({}, 9, 'new', 2.5, NOW(6), '[1, 2.50, \"x\"]')",
                    round * 3
                ),
                "COMMIT".to_owned(),
            ] {
                conn.query_drop(&statement)
                    .await
                    .unwrap_or_else(|error| panic!("{statement}: {error}"));
            }
        }
    }

    pub(super) async fn kill_dump_threads(&self) {
        let mut conn = self.db.connect().await;
        let query = "SELECT CAST(id AS UNSIGNED) FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'";
        let ids: Vec<u64> = conn.query(query).await.unwrap();
        for id in ids {
            // It may have gone by itself.
            drop(conn.query_drop(format!("KILL {id}")).await);
        }
    }
}

/// A port that nobody listens on.
pub(super) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
