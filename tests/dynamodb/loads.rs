//! The join of a first load with a stream, while the export takes longer than a stream's day and the files longer
//! than the two days for which BigQuery remembers a delete. The load is the program's own; the stream is read here, by
//! AWS's client, and the target keeps BigQuery's rules alone: the higher number wins, a delete is forgotten in the end.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::types::StreamViewType;
use aws_sdk_dynamodbstreams::types::{OperationType, Shard, ShardIteratorType};
use fastrand::Rng;
use replicator::aws::of_source;
use replicator::clock::Clock;
use replicator::config::{DynamodbSource, ExportPlace, FirstLoad, Layout};
use replicator::event::{
    BinlogCoord, CellVisitor, Chunk, Epoch, Op, RowChanges, RowError, TableId, TxnStart, Value as Cell,
};
use replicator::source::dynamodb::layout::{KeyAttribute, KeyKind, document};
use replicator::source::dynamodb::load::Loader;
use replicator::source::{ChunkRead, Reached};
use replicator::task;
use serde_json::Value;

use crate::clients::{choose_tls, create, item, n, put, recoverable, s, streams, tables};
use crate::server::Server;

const STEP: Duration = Duration::from_secs(10 * 60);
const HOUR: Duration = Duration::from_secs(3600);
/// How long a delete is remembered, in microseconds.
const REMEMBERED: i64 = 48 * 3600 * 1_000_000;

/// Rows of the load are below all of the stream's; numbers compare by width and then as texts.
type Order = (u8, usize, String);

/// What is known of a key: its number, the item's counter if it is there, when that was written.
#[derive(Clone, Debug)]
struct Known {
    order: Order,
    count: Option<String>,
    at: i64,
}

/// A table with a primary key, as BigQuery applies changes to it.
#[derive(Clone, Debug, Default)]
struct Target(BTreeMap<String, Known>);

impl Target {
    fn apply(&mut self, id: &str, order: Order, count: Option<String>, now: i64) {
        let forgotten = |known: &Known| known.count.is_none() && known.at + REMEMBERED < now;
        let before = self.0.get(id).filter(|known| !forgotten(known));
        if before.is_none_or(|known| known.order <= order) {
            let at = now;
            self.0.insert(id.to_owned(), Known { order, count, at });
        }
    }

    fn rows(&self) -> BTreeMap<String, String> {
        let there = self.0.iter();
        there
            .filter_map(|(id, known)| Some((id.clone(), known.count.clone()?)))
            .collect()
    }
}

struct World {
    server: Server,
    tables: aws_sdk_dynamodb::Client,
    streams: aws_sdk_dynamodbstreams::Client,
    arn: String,
    rng: Rng,
    written: u32,
    target: Target,
    iterators: BTreeMap<String, String>,
    drained: HashSet<String>,
}

impl World {
    async fn start(seed: u64) -> World {
        choose_tls();
        let server = Server::start(Clock::manual(), seed).await;
        let (tables, streams) = (tables(&server.url), streams(&server.url));
        server.create_bucket("exports");
        let arn = create(&tables, "shop", Some(StreamViewType::NewAndOldImages)).await;
        recoverable(&tables, "shop").await;
        World {
            server,
            tables,
            streams,
            arn: arn.unwrap(),
            rng: Rng::with_seed(seed),
            written: 0,
            target: Target::default(),
            iterators: BTreeMap::new(),
            drained: HashSet::new(),
        }
    }

    async fn write(&mut self) {
        let id = format!("{}", self.rng.u32(0..200));
        if self.rng.u32(0..3) == 0 {
            let delete = self.tables.delete_item().table_name("shop").key("id", s(&id));
            delete.send().await.unwrap();
            return;
        }
        self.written += 1;
        let count = n(&self.written.to_string());
        put(&self.tables, "shop", item([("id", s(&id)), ("n", count)])).await;
    }

    /// Ten minutes: a write now and then, and the stream is read to where it is.
    async fn step(&mut self) {
        if self.rng.u32(0..6) == 0 {
            self.write().await;
        }
        self.server.advance(STEP);
        self.follow().await;
    }

    async fn follow(&mut self) {
        let shards = self.shards().await;
        let listed: HashSet<&str> = shards.iter().filter_map(Shard::shard_id).collect();
        let mut left: Vec<&Shard> = shards
            .iter()
            .filter(|shard| !self.drained.contains(shard.shard_id().unwrap()))
            .collect();
        // Parents before their children.
        while !left.is_empty() {
            let (ready, later): (Vec<&Shard>, Vec<&Shard>) = left.into_iter().partition(|shard| {
                let parent = shard.parent_shard_id();
                parent.is_none_or(|parent| self.drained.contains(parent) || !listed.contains(parent))
            });
            if ready.is_empty() {
                return;
            }
            for shard in ready {
                self.read(shard.shard_id().unwrap()).await;
            }
            left = later;
        }
    }

    async fn shards(&self) -> Vec<Shard> {
        let described = self.streams.describe_stream().stream_arn(&self.arn).send().await;
        let described = described.unwrap().stream_description.unwrap();
        assert_eq!(described.last_evaluated_shard_id, None);
        described.shards.unwrap()
    }

    async fn read(&mut self, shard: &str) {
        let mut next = match self.iterators.remove(shard) {
            Some(iterator) => iterator,
            None => {
                let horizon = self
                    .streams
                    .get_shard_iterator()
                    .stream_arn(&self.arn)
                    .shard_id(shard)
                    .shard_iterator_type(ShardIteratorType::TrimHorizon);
                horizon.send().await.unwrap().shard_iterator.unwrap()
            }
        };
        loop {
            let page = self
                .streams
                .get_records()
                .shard_iterator(&next)
                .send()
                .await
                .unwrap();
            for record in page.records() {
                let change = record.dynamodb.as_ref().unwrap();
                let number = change.sequence_number.clone().unwrap();
                let id = change.keys.as_ref().unwrap()["id"].as_s().unwrap();
                let image = change.new_image.as_ref();
                let count = image.map(|image| image["n"].as_n().unwrap().clone());
                assert_eq!(count.is_none(), record.event_name == Some(OperationType::Remove));
                let now = self.server.clock.unix_micros();
                self.target.apply(id, (1, number.len(), number), count, now);
            }
            let empty = page.records().is_empty();
            match page.next_shard_iterator {
                None => {
                    self.drained.insert(shard.to_owned());
                    return;
                }
                Some(iterator) if empty => {
                    self.iterators.insert(shard.to_owned(), iterator);
                    return;
                }
                Some(iterator) => next = iterator,
            }
        }
    }

    /// Takes rows of the load over.
    fn load(&mut self, rows: Vec<RowChanges>) {
        let now = self.server.clock.unix_micros();
        for changes in rows {
            for change in &changes.changes {
                let (at, order, gone) = match change.op {
                    Op::Insert { after } => (after, changes.upsert_order(change), false),
                    Op::Delete { before } => (before, changes.delete_order(change), true),
                    Op::Update { .. } => panic!("no row changes in a load"),
                };
                let mut cells = Cells::default();
                changes.images.visit(at, &mut cells).unwrap();
                let sections: String = order
                    .sections()
                    .iter()
                    .map(|part| format!("{part:020}"))
                    .collect();
                assert_eq!(gone, cells.count.is_none());
                self.target.apply(&cells.id, (0, 0, sections), cells.count, now);
            }
        }
    }

    fn source(&self) -> BTreeMap<String, String> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let items = self.server.items("shop").into_iter();
        items
            .map(|item| (text(&item["id"]["S"]), text(&item["n"]["N"])))
            .collect()
    }
}

#[derive(Default)]
struct Cells {
    id: String,
    count: Option<String>,
}

impl CellVisitor for Cells {
    fn cell(&mut self, column: usize, value: Cell<'_>) -> Result<(), RowError> {
        if let (0, Cell::Text(text)) = (column, &value) {
            self.id = (*text).to_owned();
        }
        if let (1, Cell::Json(text)) = (column, &value) {
            let item: Value = serde_json::from_str(text).unwrap();
            self.count = Some(item["n"].to_string());
        }
        Ok(())
    }
}

async fn loader(server: &Server) -> Arc<Loader> {
    let source = DynamodbSource {
        name: "test".to_owned(),
        region: "us-east-1".to_owned(),
        tables: vec!["shop".to_owned()],
        first_load: FirstLoad::Export(ExportPlace {
            bucket: "exports".to_owned(),
            prefix: "some/where".to_owned(),
        }),
        layout: Layout::Document,
        promoted: BTreeMap::new(),
        parallelism: 2,
        role: None,
        endpoint: Some(server.url.clone()),
        reload: false,
    };
    let credentials = aws_credential_types::Credentials::new("AKIDEXAMPLE", "secret", None, None, "test");
    let credentials = aws_credential_types::provider::SharedCredentialsProvider::new(credentials);
    let found = of_source(&source).await.into_builder();
    let aws = found.credentials_provider(credentials).build();
    Arc::new(Loader::new(&source, "pipeline", &aws, server.clock.clone()).unwrap())
}

async fn chunks(loader: Arc<Loader>, low: TxnStart) -> Vec<Chunk> {
    let mut chunks: Vec<Chunk> = Vec::new();
    loop {
        let after = chunks.last().and_then(|chunk| chunk.upper.clone());
        chunks.push(loader.plan("shop", low, after.as_ref()).await.unwrap());
        if chunks.last().unwrap().upper.is_none() {
            return chunks;
        }
    }
}

async fn rows(loader: Arc<Loader>, low: TxnStart, chunk: Chunk) -> Vec<RowChanges> {
    let key = KeyAttribute {
        name: "id".to_owned(),
        kind: KeyKind::S,
    };
    let read = ChunkRead {
        layout: document(TableId::new("test", "shop"), &[key], &[]),
        chunk,
        low,
        seen: None,
        reached: Reached {
            server: "".into(),
            next: low,
            seen: None,
        },
    };
    let mut reading = loader.read(&read).await.unwrap();
    let mut rows = Vec::new();
    while let Some(some) = reading.next().await.unwrap() {
        rows.push(some);
    }
    rows
}

/// Time goes on, and the table changes, until the work is done.
async fn meanwhile<T: Send + 'static>(
    world: &mut World,
    work: impl Future<Output = T> + Send + 'static,
) -> T {
    let work = task::spawn("load", work);
    while !work.is_finished() {
        world.step().await;
    }
    work.join().await.unwrap()
}

/// Loads a table of which the stream has forgotten the beginning. Gives how many rows would be wrong without the
/// deletes that are sent again.
async fn joined(seed: u64) -> usize {
    let mut world = World::start(seed).await;
    for _ in 0..400 {
        world.write().await;
    }
    world.server.advance(30 * HOUR);
    world.write().await;
    world.follow().await;
    for _ in 0..6 {
        world.step().await;
    }
    let epoch = Epoch(world.server.clock.unix_seconds());
    let coord = BinlogCoord { file: 0, offset: 0 };
    let low = TxnStart { epoch, coord };
    world.server.export_duration(60 * HOUR);
    let loader = loader(&world.server).await;
    let mut planned = meanwhile(&mut world, chunks(Arc::clone(&loader), low)).await;
    let last = planned.pop().unwrap();
    assert_eq!(planned.len(), 4, "one of each file");
    for chunk in planned {
        let read = meanwhile(&mut world, rows(Arc::clone(&loader), low, chunk)).await;
        world.load(read);
        for _ in 0..6 * 6 {
            world.step().await;
        }
    }
    let before = world.target.clone();
    let read = meanwhile(&mut world, rows(Arc::clone(&loader), low, last)).await;
    world.load(read);
    world.follow().await;
    let source = world.source();
    assert_eq!(world.target.rows(), source, "seed {seed}");
    // There by the load, and gone by its last chunk.
    let back = world.target.0.iter().filter(|(id, known)| {
        known.order.0 == 0
            && known.count.is_none()
            && before.0.get(*id).is_some_and(|was| was.count.is_some())
    });
    back.count()
}

#[tokio::test]
async fn nothing_is_lost_stale_or_back_after_a_load_of_days() {
    let mut back = 0;
    for seed in 0..2 {
        back += joined(seed).await;
    }
    assert!(
        back > 0,
        "without the deletes that are sent again, some items would be back"
    );
}
