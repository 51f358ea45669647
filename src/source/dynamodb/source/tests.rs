use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::event::{CellVisitor, Change, Op, OrderKey, RowChanges, RowError, Value};
use crate::fault::Fault;

mod service;

use service::{Service, Shard};

fn source_of(service: &Arc<Service>, clock: &Clock, reload: bool) -> Dynamodb {
    let source = DynamodbSource {
        name: "shop".to_owned(),
        region: "eu-west-1".to_owned(),
        tables: vec!["carts".to_owned()],
        first_load: FirstLoad::None,
        layout: Layout::Document,
        promoted: BTreeMap::new(),
        parallelism: 1,
        role: None,
        endpoint: None,
        reload,
    };
    let aws = SdkConfig::builder()
        .behavior_version(aws_config::BehaviorVersion::latest())
        .build();
    let loader = Loader::new(&source, "p", &aws, clock.clone()).unwrap();
    let api: Arc<Service> = Arc::clone(service);
    Dynamodb::with(source, api, loader, clock.clone())
}

/// The next item; the clock is turned whenever nothing happens.
async fn next(opened: &mut Opened, clock: &Clock) -> Result<Item, SourceError> {
    let mut item = opened.items.next();
    loop {
        match futures_util::poll!(&mut item) {
            std::task::Poll::Ready(item) => return item,
            std::task::Poll::Pending => clock.advance(Duration::from_millis(100)),
        }
    }
}

async fn open(
    source: &Dynamodb,
    clock: &Clock,
    from: Option<LogPosition>,
    last: Epoch,
) -> Result<Opened, SourceError> {
    loop {
        match source.open(from.clone(), last, Vec::new()).await {
            Err(error) if error.fault() == Fault::RETRY => clock.advance(Duration::from_secs(1)),
            opened => return opened,
        }
    }
}

#[derive(Default)]
struct Cells(Vec<String>);

impl CellVisitor for Cells {
    fn cell(&mut self, _column: usize, value: Value<'_>) -> Result<(), RowError> {
        if let Value::Text(text) | Value::Json(text) = value {
            self.0.push(text.to_owned());
        }
        Ok(())
    }
}

/// A target that keeps of each key the row with the highest number, as BigQuery does.
#[derive(Default)]
struct Target {
    rows: HashMap<String, (OrderKey, Option<String>)>,
    sent: HashMap<OrderKey, Option<String>>,
}

impl Target {
    fn write(&mut self, rows: &RowChanges) {
        for change in &rows.changes {
            let (order, row, gone) = placed(rows, change);
            let mut cells = Cells::default();
            rows.images.visit(row, &mut cells).unwrap();
            let item = (!gone).then(|| cells.0[1].clone());
            // One number is one content, for good.
            assert_eq!(self.sent.entry(order).or_insert_with(|| item.clone()), &item);
            let newest = self
                .rows
                .entry(cells.0[0].clone())
                .or_insert_with(|| (order, item.clone()));
            if newest.0 <= order {
                *newest = (order, item);
            }
        }
    }

    fn items(&self) -> BTreeMap<String, String> {
        let rows = self.rows.iter();
        rows.filter_map(|(key, (_, item))| Some((key.clone(), item.clone()?)))
            .collect()
    }
}

fn placed(rows: &RowChanges, change: &Change) -> (OrderKey, crate::event::RowRef, bool) {
    match change.op {
        Op::Insert { after } | Op::Update { after, .. } => (rows.upsert_order(change), after, false),
        Op::Delete { before } => (rows.delete_order(change), before, true),
    }
}

fn expected(service: &Service) -> BTreeMap<String, String> {
    let world = service.world();
    let item = |(key, value): (&u8, &u32)| (key.to_string(), format!(r#"{{"id":{key},"v":{value}}}"#));
    world.items.iter().map(item).collect()
}

/// Writes at random while a reader follows that is killed now and then, behind what it sent; then lets it catch up.
async fn simulate(seed: u64, trouble: u32) {
    let (service, clock) = (Service::new(seed, trouble), Clock::manual());
    let mut random = fastrand::Rng::with_seed(seed ^ 1);
    let mut source = source_of(&service, &clock, false);
    let mut target = Target::default();
    let mut opened = open(&source, &clock, None, Epoch(0)).await.unwrap();
    let mut reached = opened.position.clone();
    // What was acknowledged is a prefix of what was reached.
    let mut durable = reached.clone();
    for step in 0.. {
        if step >= 600 && service.world().is_read(&reached) {
            break;
        }
        assert!(step < 100_000, "seed {seed}: never caught up");
        if step < 600 {
            let mut world = service.world();
            for _ in 0..random.usize(0..4) {
                let (key, value) = (random.u8(0..12), random.u32(0..1000));
                world.write(key, (random.u8(0..4) > 0).then_some(value));
            }
            if random.u8(0..40) == 0 {
                world.roll(random.usize(0..2));
            }
        }
        let again = match next(&mut opened, &clock).await {
            Ok(Item::Rows(rows)) => {
                target.write(&rows);
                false
            }
            Ok(Item::Commit(point)) => {
                reached.pass(&point);
                if random.u8(0..4) == 0 {
                    durable.clone_from(&reached);
                }
                random.u8(0..30) == 0
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => {
                assert_eq!(error.fault(), Fault::RETRY, "{error}");
                true
            }
        };
        if again {
            let text = serde_json::to_string(&durable).unwrap();
            let from: LogPosition = serde_json::from_str(&text).unwrap();
            let last = from.next.epoch;
            if random.bool() {
                source = source_of(&service, &clock, false);
            }
            opened = open(&source, &clock, Some(from), last).await.unwrap();
            assert_eq!(opened.position.next.epoch, last);
            reached.clone_from(&opened.position);
        }
    }
    assert_eq!(target.items(), expected(&service), "seed {seed}");
    assert!(target.sent.len() > 50);
}

#[tokio::test]
async fn every_item_arrives_through_rolls_kills_and_failures() {
    for seed in 0..8 {
        simulate(seed, if seed % 2 == 0 { 0 } else { 6 }).await;
    }
}

/// Reads until the log ends; what it gave.
async fn until_end(opened: &mut Opened, clock: &Clock) -> (Vec<Item>, SourceError) {
    let mut items = Vec::new();
    loop {
        match next(opened, clock).await {
            Ok(item) => items.push(item),
            Err(error) => return (items, error),
        }
    }
}

async fn trimmed(reload: bool) -> (Arc<Service>, Clock, Dynamodb, Opened, SourceError) {
    let (service, clock) = (Service::new(1, 0), Clock::manual());
    for _ in 0..9 {
        service.world().write(2, Some(7));
    }
    let source = source_of(&service, &clock, reload);
    let mut opened = open(&source, &clock, None, Epoch(0)).await.unwrap();
    while !matches!(next(&mut opened, &clock).await.unwrap(), Item::Rows(_)) {}
    service.world().trimmed = Some(0);
    let (_, error) = until_end(&mut opened, &clock).await;
    (service, clock, source, opened, error)
}

#[tokio::test]
async fn trimmed_records_are_a_lost_position_that_stays_lost() {
    let (_service, clock, source, opened, error) = trimmed(false).await;
    assert!(error.position_lost() && error.fault() == Fault::Fatal, "{error}");
    let from = opened.position;
    let last = from.next.epoch;
    for _ in 0..2 {
        let error = open(&source, &clock, Some(from.clone()), last).await.unwrap_err();
        assert!(error.position_lost(), "{error}");
    }
}

#[tokio::test]
async fn a_table_with_a_gap_is_copied_again_under_a_new_generation_and_the_position_says_so_last() {
    let (service, clock, source, opened, error) = trimmed(true).await;
    assert!(error.fault() == Fault::RETRY && !error.position_lost());
    service.world().trimmed = None;
    let from = opened.position;
    let last = from.next.epoch;
    let mut again = open(&source, &clock, Some(from.clone()), last).await.unwrap();
    let generation = again.position.next.epoch;
    assert!(generation > last);
    // Until the copy is asked for durably, the position is the one that is lost.
    assert_eq!(again.position.streams, from.streams);
    let Item::Ddl(ddl) = next(&mut again, &clock).await.unwrap() else {
        panic!("no word of the gap")
    };
    assert_eq!((ddl.what, ddl.at), (DdlWhat::RowsChanged, start(generation)));
    let mut position = again.position.clone();
    let Item::Commit(point) = next(&mut again, &clock).await.unwrap() else {
        panic!("no new place")
    };
    position.pass(&point);
    assert!(
        position.streams[0]
            .shards
            .values()
            .all(|shard| shard.last.is_none())
    );
    let Item::Rows(rows) = next(&mut again, &clock).await.unwrap() else {
        panic!("no rows")
    };
    assert_eq!(rows.txn.epoch, generation);
}

#[tokio::test]
async fn a_stream_that_is_another_one_is_read_out_and_then_lost() {
    let (service, clock) = (Service::new(1, 0), Clock::manual());
    let source = source_of(&service, &clock, false);
    let mut opened = open(&source, &clock, None, Epoch(0)).await.unwrap();
    {
        let mut world = service.world();
        for _ in 0..9 {
            world.write(2, Some(7));
        }
        world.arn = "arn:2".to_owned();
        world.shards.iter_mut().for_each(|shard| shard.closed = true);
    }
    let (items, error) = until_end(&mut opened, &clock).await;
    let rows = items.iter().map(|item| match item {
        Item::Rows(rows) => rows.changes.len(),
        Item::Break(_) | Item::Ddl(_) | Item::Commit(_) => 0,
    });
    assert_eq!(rows.sum::<usize>(), 9);
    assert!(
        error.position_lost() && error.to_string().contains("turned off and on again"),
        "{error}"
    );
}

#[tokio::test]
async fn a_child_below_its_parent_begins_a_new_generation_once() {
    let (service, clock) = (Service::new(1, 0), Clock::manual());
    {
        let mut world = service.world();
        world.write(2, Some(7));
        world.roll(0);
        world.next = 10_u128.pow(22);
        world.write(2, Some(8));
    }
    let source = source_of(&service, &clock, false);
    let mut opened = open(&source, &clock, None, Epoch(0)).await.unwrap();
    let first = opened.position.next.epoch;
    let (items, error) = until_end(&mut opened, &clock).await;
    assert_eq!(error.fault(), Fault::RETRY, "{error}");
    let (mut position, mut target) = (opened.position.clone(), Target::default());
    for item in &items {
        match item {
            Item::Rows(rows) => target.write(rows),
            Item::Commit(point) => position.pass(point),
            Item::Break(_) | Item::Ddl(_) => panic!("{item:?}"),
        }
    }
    let mut again = open(&source, &clock, Some(position), first).await.unwrap();
    assert!(again.position.next.epoch > first);
    loop {
        if let Item::Rows(rows) = next(&mut again, &clock).await.unwrap() {
            target.write(&rows);
            break;
        }
    }
    assert_eq!(target.items(), expected(&service));
}

#[tokio::test]
async fn an_epoch_that_no_position_has_is_not_used_again() {
    let (service, clock) = (Service::new(1, 0), Clock::manual());
    let source = source_of(&service, &clock, false);
    let opened = open(&source, &clock, None, Epoch(0)).await.unwrap();
    let from = opened.position;
    let announced = Epoch(from.next.epoch.0 + 500);
    let again = open(&source, &clock, Some(from), announced).await.unwrap();
    assert!(again.position.next.epoch > announced);
}

#[tokio::test]
async fn a_copy_above_what_was_read_begins_a_new_generation_and_holds_the_table_back() {
    let (service, clock) = (Service::new(1, 0), Clock::manual());
    let source = source_of(&service, &clock, false);
    let mut opened = open(&source, &clock, None, Epoch(0)).await.unwrap();
    let table = source.id("carts");
    let least = source.renumber(&table).unwrap();
    let (_, error) = until_end(&mut opened, &clock).await;
    assert_eq!(error.fault(), Fault::RETRY);
    let from = opened.position;
    let last = from.next.epoch;
    service.world().write(2, Some(7));
    let mut again = open(&source, &clock, Some(from), last).await.unwrap();
    assert!(again.position.next.epoch >= least);
    for _ in 0..20 {
        assert!(matches!(next(&mut again, &clock).await.unwrap(), Item::Commit(_)));
    }
    assert_eq!(service.world().reads, 0);
    source.findings.with(|found| found.gates.clear());
    while !matches!(next(&mut again, &clock).await.unwrap(), Item::Rows(_)) {}
}

#[tokio::test]
async fn idle_shards_are_asked_fifteen_times_a_minute() {
    let (service, clock) = (Service::new(1, 0), Clock::manual());
    service.world().shards = (0..1_000).map(|_| Shard::default()).collect();
    let source = source_of(&service, &clock, false);
    let mut opened = open(&source, &clock, None, Epoch(0)).await.unwrap();
    let minute = async |opened: &mut Opened| {
        let (before, began) = (service.world().reads, clock.now());
        while clock.now() - began < Duration::from_secs(60) {
            next(opened, &clock).await.unwrap();
        }
        service.world().reads - before
    };
    minute(&mut opened).await;
    let reads = minute(&mut opened).await;
    assert!((10_000..=17_000).contains(&reads), "{reads}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    /// Any seed: what fails here is replayed by its number.
    #[test]
    fn any_history_arrives(seed: u64, trouble in 2u32..9) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(simulate(seed, trouble));
    }
}
