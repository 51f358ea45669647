//! Real servers for tests: each test starts its own on a free port and stops it when it ends.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test binary uses its own part of this module"
)]

pub mod local;
pub mod pipeline;
pub mod python;
pub mod s3;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use replicator::clock::Clock;
use replicator::config::{Login, MysqlSource, Secret, Snapshot, SnapshotMode, TablePatterns, Tls, TlsMode};
use replicator::source::mysql::connect::Connector;

/// Whose server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    Mysql,
    MariaDb,
}

pub const BOTH: [Flavour; 2] = [Flavour::Mysql, Flavour::MariaDb];

/// A running server, stopped when dropped.
#[derive(Debug)]
pub struct TestDb {
    pub flavour: Flavour,
    pub host: String,
    pub port: u16,
    pub dir: PathBuf,
    facts: HashMap<String, String>,
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/db")
}

impl TestDb {
    /// Starts a server with further arguments for it.
    pub fn start(flavour: Flavour, arguments: &[&str]) -> TestDb {
        let name = match flavour {
            Flavour::Mysql => "mysql",
            Flavour::MariaDb => "mariadb",
        };
        let output = Command::new(script())
            .args(["start", name, "--owner", &std::process::id().to_string(), "--"])
            .args(arguments)
            .output()
            .expect("scripts/db runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "scripts/db start {name}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let facts: HashMap<String, String> = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.trim_matches('\'').to_owned()))
            .collect();
        TestDb {
            flavour,
            host: facts
                .get("HOST")
                .cloned()
                .unwrap_or_else(|| "127.0.0.1".to_owned()),
            port: facts["PORT"].parse().expect("PORT is a number"),
            dir: PathBuf::from(&facts["DIR"]),
            facts,
        }
    }

    /// What `scripts/db start` said under a key.
    pub fn fact(&self, key: &str) -> Option<&str> {
        self.facts.get(key).map(String::as_str)
    }

    /// A source of this server as the root user, without TLS.
    pub fn source(&self, tables: &[&str]) -> MysqlSource {
        MysqlSource {
            name: "test".to_owned(),
            host: self.host.clone(),
            port: self.port,
            user: self.fact("USER").unwrap_or("root").to_owned(),
            login: Login::Password(Secret::text(self.fact("PASSWORD").unwrap_or_default())),
            tls: Tls {
                mode: TlsMode::Disabled,
                ca: None,
            },
            tables: TablePatterns::parse(tables).expect("patterns are right"),
            snapshot: Snapshot {
                mode: SnapshotMode::Initial,
                parallelism: 2,
                chunk_rows: 100,
                max_rows_per_second: None,
                max_replica_lag: None,
            },
            server_id: None,
            copied_when_lost: false,
        }
    }

    /// A connector for [`TestDb::source`].
    pub fn connector(&self, tables: &[&str]) -> Connector {
        Connector::new(self.source(tables), Clock::real())
    }

    /// A connection as the root user, its session set as the replicator's are.
    pub async fn connect(&self) -> Conn {
        self.connector(&["*.*"])
            .connect_query()
            .await
            .expect("the server accepts connections")
    }

    /// Stops the server and starts it again with the same data on the same port.
    pub fn restart(&self) {
        self.script("restart");
    }

    /// Kills the server as a lost machine would be, and starts it again.
    pub fn crash(&self) {
        self.script("kill");
        self.script("restart");
    }

    fn script(&self, verb: &str) {
        let output = Command::new(script())
            .arg(verb)
            .arg(&self.dir)
            .output()
            .expect("scripts/db runs");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "scripts/db {verb}: {text}");
    }

    /// Cuts every other connection to the server.
    pub async fn cut(&self) {
        let mut conn = self.connect().await;
        let query = "SELECT CAST(id AS UNSIGNED) FROM information_schema.processlist \
                     WHERE id <> CONNECTION_ID() AND user NOT IN ('system user', 'event_scheduler')";
        let ids: Vec<u64> = conn.query(query).await.expect("processlist is readable");
        for id in ids {
            // It may have gone by itself.
            drop(conn.query_drop(format!("KILL {id}")).await);
        }
    }

    /// Runs statements one after the other.
    pub async fn run(&self, statements: &[&str]) {
        let mut conn = self.connect().await;
        for statement in statements {
            if let Err(error) = conn.query_drop(*statement).await {
                panic!("{statement}: {error}");
            }
        }
        conn.disconnect().await.expect("the server closes the connection");
    }
}

impl Drop for TestDb {
    #[expect(clippy::print_stderr, reason = "a failing test shows it")]
    fn drop(&mut self) {
        let stopped = Command::new(script()).arg("stop").arg(&self.dir).output();
        if !stopped.as_ref().is_ok_and(|output| output.status.success()) {
            eprintln!("scripts/db stop {}: {stopped:?}", self.dir.display());
        }
    }
}
