//! The whole pipeline from a real server to a target in memory.

use std::sync::Arc;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use replicator::checkpoint::{FileStore, Store};
use replicator::clock::Clock;
use replicator::config::{MysqlSource, SchemaChanges};
use replicator::event::TableId;
use replicator::fault::chain;
use replicator::pipeline::{Parts, PipelineError, Plan, run};
use replicator::sink::memory::Memory;
use replicator::source::Source;
use replicator::source::mysql::Mysql;
use replicator::status::{Status, StatusView, TableProgress};
use replicator::task::{self, Task};
use tokio_util::sync::CancellationToken;

use super::TestDb;

/// Two tables, of which one is followed.
pub const SCHEMA: &[&str] = &[
    "CREATE DATABASE shop",
    "CREATE TABLE shop.orders (id INT PRIMARY KEY, note VARCHAR(200), amount INT NOT NULL)",
    "CREATE TABLE shop.ignored (id INT PRIMARY KEY, note TEXT)",
];

/// A pipeline that runs, its target in memory.
pub struct Pipeline {
    pub target: Memory,
    pub status: Arc<Status>,
    tables: &'static [&'static str],
    stop: CancellationToken,
    task: Task<Result<(), PipelineError>>,
    /// Its clock, which can be turned forward.
    pub clock: Clock,
    pub folder: Arc<tempfile::TempDir>,
}

impl Pipeline {
    /// Copies tables, each of the columns `id`, `note` and `amount`, and follows them.
    pub fn start(db: &TestDb, tables: &'static [&'static str]) -> Pipeline {
        Pipeline::go_on(
            db,
            tables,
            Memory::new(Clock::real()),
            Arc::new(tempfile::tempdir().unwrap()),
        )
    }

    /// The same with the target and the checkpoint of one that was stopped.
    pub fn go_on(
        db: &TestDb,
        tables: &'static [&'static str],
        target: Memory,
        folder: Arc<tempfile::TempDir>,
    ) -> Pipeline {
        Pipeline::reading(db.source(tables), tables, target, folder)
    }

    /// The same, reading as a configured source says.
    pub fn reading(
        source: MysqlSource,
        tables: &'static [&'static str],
        target: Memory,
        folder: Arc<tempfile::TempDir>,
    ) -> Pipeline {
        let clock = Clock::turnable();
        let limits = (source.copied_when_lost, source.snapshot.max_replica_lag);
        let source = Arc::new(Mysql::new(source, clock.clone()));
        Pipeline::from(source, clock, limits, tables, (target, folder))
    }

    /// The same from any source.
    pub fn from(
        source: Arc<dyn Source>,
        clock: Clock,
        (copied_when_lost, max_replica_lag): (bool, Option<Duration>),
        tables: &'static [&'static str],
        (target, folder): (Memory, Arc<tempfile::TempDir>),
    ) -> Pipeline {
        let (status, stop) = (Arc::new(Status::default()), CancellationToken::new());
        let parts = Parts {
            source,
            sink: Arc::new(target.clone()),
            store: Store::File(Arc::new(FileStore::open(folder.path(), "test").unwrap())),
            status: Arc::clone(&status),
            clock: clock.clone(),
        };
        let plan = Plan {
            policies: SchemaChanges::default(),
            pipeline: "test".to_owned(),
            copy: true,
            parallelism: 2,
            max_rows_per_second: None,
            max_replica_lag,
            copied_when_lost,
            until_copied: false,
        };
        let (running, report) = (run(parts, plan, stop.clone()), Arc::clone(&status));
        let task = task::spawn("pipeline", async move {
            let end = running.await;
            if let Err(error) = &end {
                report.fatal(&chain(error));
            }
            end
        });
        Pipeline {
            target,
            status,
            tables,
            stop,
            task,
            clock,
            folder,
        }
    }

    /// What it says of itself.
    pub fn view(&self) -> StatusView {
        self.status.view(&self.clock)
    }

    /// Waits until something is so.
    pub async fn wait(&self, what: &str, done: impl AsyncFn() -> bool) {
        for _ in 0..600 {
            if done().await {
                return;
            }
            let problems = self.view().problems;
            assert!(
                !self.task.is_finished(),
                "the pipeline ended while waiting for {what}: {problems:?}"
            );
            Clock::real().sleep(Duration::from_millis(50)).await;
        }
        panic!("never came: {what}; {:?}", self.view());
    }

    /// Waits until every table is copied.
    pub async fn copied(&self) {
        self.wait("snapshot", async || {
            let view = self.view();
            !view.tables.is_empty()
                && view
                    .tables
                    .values()
                    .all(|table| matches!(table.progress, TableProgress::Streaming { .. }))
        })
        .await;
    }

    /// Waits until the target equals the source.
    pub async fn equal(&self, db: &TestDb) {
        for table in self.tables {
            let expected = source_rows(db, table).await;
            self.wait(table, async || self.rows(table) == expected).await;
        }
        assert_eq!(self.target.conflicts(), Vec::<String>::new());
    }

    /// The rows of a table of the target.
    pub fn rows(&self, table: &str) -> Vec<Vec<String>> {
        let (schema, name) = table.split_once('.').unwrap();
        let mut rows = self.target.rows(&TableId::new(schema, name));
        rows.sort();
        rows
    }

    /// Waits until it says that its position is lost, for a reason that holds `text`.
    pub async fn lost(&self, text: &str) {
        self.wait(text, async || {
            let view = self.view();
            let said = view
                .problems
                .first()
                .is_some_and(|problem| problem.contains(text));
            view.position_lost.is_some_and(|lost| lost.cure.is_some()) && said && !view.ready
        })
        .await;
    }

    /// Stops it; what is left goes on with [`Pipeline::go_on`].
    pub async fn stop(self) -> (Memory, Arc<tempfile::TempDir>) {
        self.stop.cancel();
        self.task.join().await.unwrap().unwrap();
        (self.target, self.folder)
    }
}

async fn source_rows(db: &TestDb, table: &str) -> Vec<Vec<String>> {
    let mut conn = db.connect().await;
    let rows: Vec<(i64, Option<String>, i64)> = conn
        .query(format!("SELECT id, note, amount FROM {table}"))
        .await
        .unwrap();
    let text =
        |note: Option<String>| note.map_or_else(|| "Null".to_owned(), |note| format!("Text({note:?})"));
    let mut rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(id, note, amount)| vec![format!("Int({id})"), text(note), format!("Int({amount})")])
        .collect();
    rows.sort();
    rows
}

/// Inserts rows.
pub async fn load(db: &TestDb, from: i32, to: i32) {
    let values: Vec<String> = (from..to)
        .map(|id| format!("({id}, 'note {id}', {})", id * 3))
        .collect();
    db.run(&[&format!("INSERT INTO shop.orders VALUES {}", values.join(","))])
        .await;
}
