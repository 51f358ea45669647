//! A server that may be anybody's, a schema of our own in it, a local BigQuery, and the program between them.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use replicator::clock::Clock;
use replicator::compare::{Columns, Comparison, TargetTable, compare};
use replicator::config::{self, MysqlSource, SourceConfig};
use replicator::emulator::Running;
use replicator::source::Source;
use replicator::source::mysql::Mysql;
use replicator::source::mysql::connect::Connector;

use crate::support::local::{self, Process};

/// How a server is reached, in the words of the configuration.
pub(super) struct Server {
    pub(super) url: String,
    pub(super) tls: String,
    pub(super) ca: Option<String>,
    pub(super) auth: String,
}

pub(super) struct World {
    server: Server,
    schema: String,
    conn: Conn,
    target: Running,
    clock: Clock,
    folder: tempfile::TempDir,
}

impl World {
    pub(super) async fn new(server: Server) -> World {
        let clock = Clock::turnable();
        let target = local::bigquery(true, clock.clone()).await;
        let schema = format!("replicator_test_{}", std::process::id());
        let source = source(&text(&server, &schema, &target, "/nowhere"));
        let mut conn = Connector::new(source, Clock::real())
            .connect_query()
            .await
            .unwrap_or_else(|error| panic!("{}", replicator::fault::chain(&error)));
        eprintln!("in the schema {schema}, which is dropped in the end unless something fails");
        for statement in [
            format!("DROP DATABASE IF EXISTS {schema}"),
            format!("CREATE DATABASE {schema}"),
            format!("USE {schema}"),
        ] {
            conn.query_drop(statement).await.unwrap();
        }
        World {
            server,
            schema,
            conn,
            target,
            clock,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Runs statements in the schema.
    pub(super) async fn run(&mut self, statements: &[&str]) {
        for statement in statements {
            if let Err(error) = self.conn.query_drop(*statement).await {
                panic!("{statement}: {error}");
            }
        }
    }

    /// Runs a statement that not every server knows. Returns whether this one does.
    pub(super) async fn tried(&mut self, statement: &str) -> bool {
        match self.conn.query_drop(statement).await {
            Ok(()) => true,
            Err(mysql_async::Error::Server(error)) => {
                eprintln!("left out: {statement}: {}", error.message);
                false
            }
            Err(error) => panic!("{statement}: {error}"),
        }
    }

    fn text(&self) -> String {
        let checkpoint = self.folder.path().join("checkpoint");
        text(
            &self.server,
            &self.schema,
            &self.target,
            &checkpoint.display().to_string(),
        )
    }

    fn command(&self, command: &str) -> Command {
        let config: PathBuf = self.folder.path().join("config.yaml");
        std::fs::write(&config, self.text()).unwrap();
        let mut program = Command::new(env!("CARGO_BIN_EXE_replicator"));
        program.arg(command).arg("--config").arg(config);
        program
    }

    /// The program's own judgement of the server, which must be that it can be copied.
    pub(super) fn check(&self) {
        let output = self.command("check").output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success(), "{said}");
        eprintln!("{said}");
    }

    pub(super) fn start(&self) -> Process {
        Process::start(&mut self.command("run"), &self.folder.path().join("log"))
    }

    fn log(&self) -> String {
        let log = std::fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(log.get(log.len().saturating_sub(8000)..).unwrap_or_default()).into_owned()
    }

    /// Waits until every table is equal. Queries see what was applied, so the target's clock is turned past
    /// `max_staleness` each time.
    pub(super) async fn equal(&mut self) {
        let mut last = String::new();
        for _ in 0..480 {
            self.clock.advance(Duration::from_secs(61));
            match self.compared().await {
                Ok(found) if found.iter().all(Comparison::equal) => {
                    assert!(!found.is_empty());
                    return;
                }
                Ok(found) => {
                    let differing = found.iter().filter(|one| !one.equal());
                    last = differing.map(|one| format!("{one}\n")).collect();
                }
                Err(error) => last = error,
            }
            Clock::real().sleep(Duration::from_millis(250)).await;
        }
        panic!("never equal: {last}\n{}", self.log());
    }

    async fn compared(&mut self) -> Result<Vec<Comparison>, String> {
        let mysql = Mysql::new(source(&self.text()), Clock::real());
        let layouts = mysql.tables(&[]).await.map_err(|error| error.to_string())?;
        let mut found = Vec::new();
        for layout in layouts {
            let target = TargetTable {
                client: reqwest::Client::new(),
                rest: self.target.rest_url(),
                project: "test".to_owned(),
                jobs_project: "test".to_owned(),
                dataset: layout.table.schema().to_owned(),
                table: layout.table.name().to_owned(),
                bearer: None,
            };
            let one = compare(&mut self.conn, &target, &Columns::same_names(&layout)).await;
            found.push(one.map_err(|error| replicator::fault::chain(&error))?);
        }
        Ok(found)
    }

    /// Leaves the server as it was.
    pub(super) async fn end(mut self) {
        let statement = format!("DROP DATABASE {}", self.schema);
        self.conn.query_drop(statement).await.unwrap();
    }
}

fn text(server: &Server, schema: &str, target: &Running, checkpoint: &str) -> String {
    let ca = server
        .ca
        .as_ref()
        .map_or_else(String::new, |ca| format!(", ca: '{ca}'"));
    format!(
        "pipeline: against\nsources:\n  - name: s\n    mysql:\n      url: '{}'\n      auth: {}\n      \
         tls: {{ mode: {}{ca} }}\n      tables: ['{schema}.*']\n      snapshot: {{ parallelism: 2, chunk_rows: 7 }}\n\
         sink:\n  bigquery:\n    project: test\n    auth: none\n    max_staleness: 1m\n    \
         endpoints: {{ rest: '{}', write: '{}' }}\ncheckpoint: file://{checkpoint}\nhttp: 127.0.0.1:0\n",
        server.url,
        server.auth,
        server.tls,
        target.rest_url(),
        target.write_url(),
    )
}

fn source(text: &str) -> MysqlSource {
    let config = config::parse(text, &|_| None).unwrap_or_else(|error| panic!("{error}"));
    match config.source {
        SourceConfig::Mysql(source) => source,
        SourceConfig::Dynamodb(_) => panic!("another kind of source"),
    }
}
