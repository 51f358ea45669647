//! A DynamoDB of our own for tests, with its streams, its exports and the S3 that they go to, on loopback.
//! Written from AWS's API reference. Time is a clock that a test turns, or the machine's; shards split, hand over
//! and are trimmed by it; what goes wrong is scripted or drawn by a seed.

#![allow(dead_code, reason = "every test binary uses its own part of this module")]

mod errors;
mod exports;
mod expressions;
mod faults;
mod http;
mod items;
mod reads;
mod s3;
mod shards;
mod streams;
mod tables;
mod value;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use fastrand::Rng;
use replicator::clock::Clock;
use replicator::task::{self, Task};
use tokio::net::TcpListener;

use self::exports::Exports;
use self::faults::Faults;
use self::http::Service;
use self::tables::State;
use self::value::Item;

pub(crate) use self::faults::Fault;

/// A server that runs; it stops when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) clock: Clock,
    service: Service,
    _serving: Task<()>,
}

impl Server {
    /// Starts one with a clock and a seed.
    pub(crate) async fn start(clock: Clock, seed: u64) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = State {
            now: clock.unix_micros(),
            rng: Rng::with_seed(seed),
            tables: BTreeMap::new(),
            streams: Vec::new(),
            faults: Faults::default(),
            exports: Exports::default(),
            buckets: BTreeMap::new(),
            partitions: 4,
            reads_per_second: None,
            recent_reads: Vec::new(),
            transactions: BTreeMap::new(),
        };
        let service = Service {
            state: Arc::new(Mutex::new(state)),
            clock: clock.clone(),
        };
        let router = Router::new().fallback(http::answer).with_state(service.clone());
        let serving = task::spawn("dynamodb", async move {
            axum::serve(listener, router).await.expect("it serves");
        });
        Server {
            url: format!("http://{address}"),
            clock,
            service,
            _serving: serving,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.service.state()
    }

    /// Turns the clock and lets time do its work.
    pub(crate) fn advance(&self, by: Duration) {
        self.clock.advance(by);
        drop(self.state());
    }

    /// How many shards streams have that begin from now on, and how many files exports.
    pub(crate) fn partitions(&self, parts: u64) {
        self.state().partitions = parts;
    }

    /// The next `times` calls of an operation go wrong.
    pub(crate) fn fail(&self, operation: &str, fault: Fault, times: usize) {
        self.state().faults.next(operation, fault, times);
    }

    /// That many of a thousand calls of an operation go wrong, until [`Server::heal`].
    pub(crate) fn fail_sometimes(&self, operation: &str, fault: Fault, per_mille: u32) {
        self.state().faults.sometimes(operation, fault, per_mille);
    }

    pub(crate) fn heal(&self) {
        self.state().faults.clear();
    }

    /// How often an operation was called.
    pub(crate) fn calls(&self, operation: &str) -> u64 {
        self.state().faults.calls(operation)
    }

    /// Calls of `GetRecords` by shard.
    pub(crate) fn reads(&self) -> HashMap<String, u64> {
        self.state().faults.reads()
    }

    pub(crate) fn reset_counts(&self) {
        self.state().faults.reset_counts();
    }

    /// Bounds the calls of `GetRecords` that a shard answers within a second.
    pub(crate) fn reads_per_second(&self, most: Option<usize>) {
        self.state().reads_per_second = most;
    }

    pub(crate) fn create_bucket(&self, name: &str) {
        self.state().buckets.entry(name.to_owned()).or_default();
    }

    /// The keys of a bucket.
    pub(crate) fn objects(&self, bucket: &str) -> Vec<String> {
        let state = self.state();
        let objects = state.buckets.get(bucket).into_iter().flatten();
        objects.map(|(key, _)| key.clone()).collect()
    }

    /// Replaces an object's bytes, as a broken copy would be.
    pub(crate) fn put_object(&self, bucket: &str, key: &str, bytes: Vec<u8>) {
        let mut state = self.state();
        let now = state.now;
        let objects = state.buckets.entry(bucket.to_owned()).or_default();
        objects.insert(key.to_owned(), s3::Object::new(bytes, now));
    }

    /// How long exports take that begin from now on.
    pub(crate) fn export_duration(&self, duration: Duration) {
        self.state().exports.duration = i64::try_from(duration.as_micros()).expect("it fits");
    }

    /// The next export fails with this code.
    pub(crate) fn fail_export(&self, code: &str, message: &str) {
        self.state().exports.failure = Some((code.to_owned(), message.to_owned()));
    }

    /// The ids of a table's open shards.
    pub(crate) fn open_shards(&self, table: &str) -> Vec<String> {
        let state = self.state();
        let live = state
            .streams
            .iter()
            .find(|stream| stream.table == table && stream.disabled.is_none());
        live.map(|stream| stream.open_shards()).unwrap_or_default()
    }

    /// Closes an open shard; so many children take its keys over. Gives their ids.
    pub(crate) fn split(&self, table: &str, shard: &str, children: u64) -> Vec<String> {
        let mut state = self.state();
        let State {
            now, rng, streams, ..
        } = &mut *state;
        let live = streams
            .iter_mut()
            .find(|stream| stream.table == table && stream.disabled.is_none());
        live.expect("a stream").close(shard, children, *now, rng)
    }

    /// Children that begin from now on are left out of so many listings.
    pub(crate) fn hide_children(&self, table: &str, listings: usize) {
        let mut state = self.state();
        for stream in state.streams.iter_mut().filter(|stream| stream.table == table) {
            stream.hide_children = listings;
        }
    }

    /// What a table holds.
    pub(crate) fn items(&self, table: &str) -> Vec<Item> {
        let state = self.state();
        let table = state.tables.get(table).expect("the table");
        table.items.values().cloned().collect()
    }
}
