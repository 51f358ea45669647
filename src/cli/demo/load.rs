//! A live load on the shop: several writers, each change a transaction, until told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error, Opts};

use super::error::DemoError;
use super::shop;
use crate::clock::Clock;
use crate::task::{self, Task};

/// Connections that write at the same time.
const WRITERS: u64 = 3;

/// Pause between the transactions of one writer: a busy shop, not a benchmark.
const PAUSE: Duration = Duration::from_millis(6);

/// What the load did so far.
#[derive(Debug, Default)]
struct Counters {
    committed: AtomicU64,
    rolled_back: AtomicU64,
    stop: AtomicBool,
}

/// A running load.
#[derive(Debug)]
pub(super) struct Load {
    counters: Arc<Counters>,
    writers: Vec<Task<Result<(), DemoError>>>,
}

impl Load {
    /// Connects the writers and lets them run.
    pub(super) async fn start(opts: &Opts, clock: &Clock) -> Result<Load, DemoError> {
        let counters = Arc::new(Counters::default());
        let mut writers = Vec::new();
        for seed in 0..WRITERS {
            let writer = Writer {
                conn: Conn::new(opts.clone()).await?,
                rng: Rng::with_seed(100 + seed),
                clock: clock.clone(),
                counters: Arc::clone(&counters),
            };
            writers.push(task::spawn("load", writer.run()));
        }
        Ok(Load { counters, writers })
    }

    /// Stops the writers; (transactions committed, rolled back).
    pub(super) async fn stop(self) -> Result<(u64, u64), DemoError> {
        self.counters.stop.store(true, Ordering::Relaxed);
        for writer in self.writers {
            writer.join().await??;
        }
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Ok((read(&self.counters.committed), read(&self.counters.rolled_back)))
    }

    pub(super) fn committed(&self) -> u64 {
        self.counters.committed.load(Ordering::Relaxed)
    }
}

struct Writer {
    conn: Conn,
    rng: Rng,
    clock: Clock,
    counters: Arc<Counters>,
}

impl Writer {
    async fn run(mut self) -> Result<(), DemoError> {
        while !self.counters.stop.load(Ordering::Relaxed) {
            let end = match self.transaction().await {
                // Writers get into each other's way; so do users.
                Err(error) if is_conflict(&error) => "ROLLBACK",
                Err(error) => return Err(error.into()),
                Ok(()) if self.rng.u8(..40) == 0 => "ROLLBACK",
                Ok(()) => "COMMIT",
            };
            self.conn.query_drop(end).await?;
            let counter = match end {
                "COMMIT" => &self.counters.committed,
                _ => &self.counters.rolled_back,
            };
            counter.fetch_add(1, Ordering::Relaxed);
            self.clock.sleep(PAUSE).await;
        }
        self.conn.disconnect().await?;
        Ok(())
    }

    async fn transaction(&mut self) -> Result<(), Error> {
        self.conn.query_drop("BEGIN").await?;
        match self.rng.u8(..100) {
            0..45 => self.place_order().await,
            45..65 => self.advance_order().await,
            65..75 => self.reprice().await,
            75..85 => self.cancel_order().await,
            85..90 => self.rename_product().await,
            90..95 => self.renumber_lines().await,
            _ => self.customer_leaves_and_another_comes().await,
        }
    }

    async fn place_order(&mut self) -> Result<(), Error> {
        let order = shop::order(&mut self.rng);
        self.run_sql(format!(
            "INSERT INTO shop.orders (customer_id, status, total, placed, details, note) VALUES {order}"
        ))
        .await?;
        let id = self.conn.last_insert_id().unwrap_or(0);
        let lines: Vec<String> = (1..=self.rng.u64(1..=4))
            .map(|line| shop::item(&mut self.rng, id, line))
            .collect();
        self.run_sql(format!("INSERT INTO shop.order_items VALUES {}", lines.join(",")))
            .await?;
        let customer = self.rng.u64(1..=shop::CUSTOMERS);
        self.run_sql(format!(
            "UPDATE shop.customers SET balance = balance - 9.99 WHERE id = {customer}"
        ))
        .await
    }

    async fn advance_order(&mut self) -> Result<(), Error> {
        let id = self.any_order();
        self.run_sql(format!(
            "UPDATE shop.orders SET status = ELT(1 + FIELD(status, 'new', 'paid', 'shipped'), \
             'paid', 'shipped', 'returned', 'returned'), \
             details = JSON_SET(COALESCE(details, '{{}}'), '$.checked', NOW(6)) WHERE id = {id}"
        ))
        .await
    }

    async fn reprice(&mut self) -> Result<(), Error> {
        let first = self.rng.u64(1..=shop::PRODUCTS);
        let (low, high) = (shop::sku(first), shop::sku(first + 9));
        self.run_sql(format!(
            "UPDATE shop.products SET price = price * 1.01, weight = weight * 1.1, tags = 'sale' \
             WHERE sku BETWEEN '{low}' AND '{high}'"
        ))
        .await
    }

    async fn cancel_order(&mut self) -> Result<(), Error> {
        let id = self.any_order();
        self.run_sql(format!("DELETE FROM shop.order_items WHERE order_id = {id}"))
            .await?;
        self.run_sql(format!("DELETE FROM shop.orders WHERE id = {id}"))
            .await
    }

    /// A change of key, there or back.
    async fn rename_product(&mut self) -> Result<(), Error> {
        let plain = shop::sku(self.rng.u64(1..=shop::PRODUCTS));
        let (from, to) = match self.rng.bool() {
            true => (plain.clone(), format!("{plain}-b")),
            false => (format!("{plain}-b"), plain),
        };
        self.run_sql(format!(
            "UPDATE shop.products SET sku = '{to}' WHERE sku = '{from}'"
        ))
        .await
    }

    /// Every row takes the key that its neighbour had.
    async fn renumber_lines(&mut self) -> Result<(), Error> {
        let id = self.any_order();
        self.run_sql(format!(
            "UPDATE shop.order_items SET line = line + 1 WHERE order_id = {id} ORDER BY line DESC"
        ))
        .await
    }

    async fn customer_leaves_and_another_comes(&mut self) -> Result<(), Error> {
        let id = self.rng.u64(1..=shop::CUSTOMERS);
        self.run_sql(format!("DELETE FROM shop.customers WHERE id = {id}"))
            .await?;
        let customer = shop::customer(&mut self.rng);
        self.run_sql(format!(
            "INSERT INTO shop.customers (email, name, country, is_member, born, balance, joined, token) \
             VALUES {customer}"
        ))
        .await
    }

    fn any_order(&mut self) -> u64 {
        self.rng
            .u64(1..=shop::ORDERS + self.counters.committed.load(Ordering::Relaxed) / 2)
    }

    async fn run_sql(&mut self, statement: String) -> Result<(), Error> {
        self.conn.query_drop(statement).await
    }
}

/// Deadlock, lock wait timeout, duplicate key.
fn is_conflict(error: &Error) -> bool {
    matches!(error, Error::Server(error) if [1213, 1205, 1062].contains(&error.code))
}

#[cfg(test)]
mod tests {
    use super::super::server::Server;
    use super::*;

    #[tokio::test]
    async fn the_load_changes_every_table_of_the_shop() {
        let (clock, folder) = (Clock::real(), tempfile::tempdir().unwrap());
        let server = Server::start(None, folder.path(), &clock).await.unwrap();
        let mut root = Conn::new(server.root()).await.unwrap();
        shop::create(&mut root).await.unwrap();
        let counts = "SELECT object_name, SUM(count_insert), SUM(count_update), SUM(count_delete) \
                      FROM performance_schema.table_io_waits_summary_by_table \
                      WHERE object_schema = 'shop' GROUP BY object_name ORDER BY object_name";
        root.query_drop("TRUNCATE performance_schema.table_io_waits_summary_by_table")
            .await
            .unwrap();
        let load = Load::start(&server.root(), &clock).await.unwrap();
        let deadline = clock.now() + Duration::from_secs(60);
        while load.committed() < 400 && clock.now() < deadline {
            clock.sleep(PAUSE).await;
        }
        let (committed, rolled_back) = load.stop().await.unwrap();
        assert!(committed >= 400 && rolled_back > 0, "{committed} {rolled_back}");
        let changed: Vec<(String, u64, u64, u64)> = root.query(counts).await.unwrap();
        for name in ["customers", "order_items", "orders", "products"] {
            let (_, inserts, updates, deletes) = changed
                .iter()
                .find(|row| row.0 == name)
                .unwrap_or_else(|| panic!("{name} is untouched: {changed:?}"));
            assert!(*updates > 0, "{name}");
            assert_eq!(
                (*inserts > 0, *deletes > 0),
                (name != "products", name != "products"),
                "{name}"
            );
        }
    }
}
