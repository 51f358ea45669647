//! What is done to tables between the look at them and the opening of the log, which then does not tell of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot start its server has failed"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use replicator::clock::Clock;
use replicator::event::{Bound, Chunk, Epoch, LogPosition, TableId, TableLayout, TxnStart};
use replicator::sink::memory::Memory;
use replicator::source::mysql::Mysql;
use replicator::source::{BoxFuture, ChunkRead, ChunkRows, Estimate, Opened, Source, SourceError, Watermark};
use support::pipeline::{Pipeline, SCHEMA, load};
use support::{Flavour, TestDb};

/// What is copied.
const TABLES: &[&str] = &["shop.orders", "shop.late"];

/// What happens, once each, just before the log is opened.
const BEFORE: [&[&str]; 2] = [
    &[
        "ALTER TABLE shop.orders MODIFY note TEXT, MODIFY amount BIGINT NOT NULL",
        "CREATE TABLE shop.late (id INT PRIMARY KEY, note VARCHAR(200), amount INT NOT NULL)",
        "INSERT INTO shop.late VALUES (1, 'a', 1)",
    ],
    // While it is opened again.
    &["ALTER TABLE shop.late MODIFY id BIGINT"],
];

/// A server on which somebody changes tables while its log is being opened.
#[derive(Debug)]
struct Restless {
    server: Mysql,
    db: Arc<TestDb>,
    opened: AtomicUsize,
}

impl Source for Restless {
    fn tables<'a>(&'a self, known: &'a [TableId]) -> BoxFuture<'a, Result<Vec<TableLayout>, SourceError>> {
        self.server.tables(known)
    }

    fn layout<'a>(&'a self, table: &'a TableId) -> BoxFuture<'a, Result<Option<TableLayout>, SourceError>> {
        self.server.layout(table)
    }

    fn open(
        &self,
        from: Option<LogPosition>,
        last: Epoch,
        known: Vec<TableId>,
    ) -> BoxFuture<'_, Result<Opened, SourceError>> {
        Box::pin(async move {
            if let Some(statements) = BEFORE.get(self.opened.fetch_add(1, Ordering::Relaxed)) {
                self.db.run(statements).await;
            }
            self.server.open(from, last, known).await
        })
    }

    fn captures(&self, table: &TableId) -> bool {
        self.server.captures(table)
    }

    fn watermark<'a>(
        &'a self,
        table: &'a TableId,
        floor: &'a LogPosition,
    ) -> BoxFuture<'a, Result<Watermark, SourceError>> {
        self.server.watermark(table, floor)
    }

    fn plan<'a>(
        &'a self,
        layout: &'a TableLayout,
        low: TxnStart,
        after: Option<&'a Bound>,
    ) -> BoxFuture<'a, Result<Chunk, SourceError>> {
        self.server.plan(layout, low, after)
    }

    fn read(&self, read: ChunkRead) -> BoxFuture<'_, Result<Box<dyn ChunkRows>, SourceError>> {
        self.server.read(read)
    }

    fn estimate<'a>(&'a self, table: &'a TableId) -> BoxFuture<'a, Result<Estimate, SourceError>> {
        self.server.estimate(table)
    }
}

async fn is_followed(flavour: Flavour, options: &[&str]) {
    let db = Arc::new(TestDb::start(flavour, options));
    db.run(SCHEMA).await;
    load(&db, 1, 500).await;
    let clock = Clock::turnable();
    let source = Restless {
        server: Mysql::new(db.source(TABLES), clock.clone()),
        db: Arc::clone(&db),
        opened: AtomicUsize::new(0),
    };
    let kept = (Memory::new(Clock::real()), Arc::new(tempfile::tempdir().unwrap()));
    let pipeline = Pipeline::from(Arc::new(source), clock, (false, None), TABLES, kept);
    pipeline.copied().await;
    pipeline.equal(&db).await;
    db.run(&[
        "UPDATE shop.orders SET amount = amount + 3000000000",
        "INSERT INTO shop.late VALUES (2, NULL, 2)",
    ])
    .await;
    pipeline.equal(&db).await;
    pipeline.stop().await;
}

#[tokio::test]
async fn tables_of_mysql_change_while_its_log_is_opened() {
    is_followed(Flavour::Mysql, &[]).await;
}

#[tokio::test]
async fn tables_of_mysql_change_while_its_log_is_opened_by_position() {
    let options = ["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"];
    is_followed(Flavour::Mysql, &options).await;
}

#[tokio::test]
async fn tables_of_mariadb_change_while_its_log_is_opened() {
    is_followed(Flavour::MariaDb, &["--binlog-row-metadata=NO_LOG"]).await;
}
