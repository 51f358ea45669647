//! Streams: shards, iterators, records, what time does to them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_dynamodb::types::{StreamSpecification, StreamViewType};
use aws_sdk_dynamodbstreams::error::ProvideErrorMetadata;
use aws_sdk_dynamodbstreams::operation::get_records::GetRecordsOutput;
use aws_sdk_dynamodbstreams::types::{
    OperationType, Record, Shard, ShardFilter, ShardFilterType, ShardIteratorType,
};
use replicator::clock::Clock;

use crate::clients::{create, item, n, put, s, streams, tables};
use crate::server::{Fault, Server};

const HOUR: Duration = Duration::from_secs(3600);

struct World {
    server: Server,
    tables: aws_sdk_dynamodb::Client,
    streams: aws_sdk_dynamodbstreams::Client,
    arn: String,
}

async fn world(view: StreamViewType, partitions: u64) -> World {
    let server = Server::start(Clock::manual(), 7).await;
    server.partitions(partitions);
    let (tables, streams) = (tables(&server.url), streams(&server.url));
    let arn = create(&tables, "shop", Some(view)).await.expect("a stream");
    World {
        server,
        tables,
        streams,
        arn,
    }
}

impl World {
    /// Every shard that is listed, page by page.
    async fn shards(&self) -> Vec<Shard> {
        let mut shards = Vec::new();
        let mut after = None;
        loop {
            let page = self
                .streams
                .describe_stream()
                .stream_arn(&self.arn)
                .set_exclusive_start_shard_id(after)
                .send()
                .await
                .unwrap()
                .stream_description
                .unwrap();
            assert!(page.shards().len() <= 100);
            shards.extend(page.shards().iter().cloned());
            after = page.last_evaluated_shard_id;
            if after.is_none() {
                return shards;
            }
        }
    }

    async fn iterator(
        &self,
        shard: &str,
        at: ShardIteratorType,
        number: Option<&str>,
    ) -> Result<String, String> {
        let answer = self
            .streams
            .get_shard_iterator()
            .stream_arn(&self.arn)
            .shard_id(shard)
            .shard_iterator_type(at)
            .set_sequence_number(number.map(str::to_owned))
            .send()
            .await;
        match answer {
            Ok(answer) => Ok(answer.shard_iterator.unwrap()),
            Err(error) => Err(error.code().unwrap_or("no code").to_owned()),
        }
    }

    async fn page(&self, iterator: &str) -> Result<GetRecordsOutput, String> {
        let answer = self.streams.get_records().shard_iterator(iterator).send().await;
        answer.map_err(|error| error.code().unwrap_or("no code").to_owned())
    }

    /// What a shard holds, and whether it is drained.
    async fn read(&self, shard: &str) -> (Vec<Record>, bool) {
        let mut records = Vec::new();
        let mut next = self
            .iterator(shard, ShardIteratorType::TrimHorizon, None)
            .await
            .unwrap();
        loop {
            let page = self.page(&next).await.unwrap();
            let count = page.records().len();
            records.extend(page.records().iter().cloned());
            match page.next_shard_iterator {
                None => return (records, true),
                Some(_) if count == 0 => return (records, false),
                Some(iterator) => next = iterator,
            }
        }
    }

    async fn put(&self, id: &str, value: &str) {
        put(&self.tables, "shop", item([("id", s(id)), ("n", n(value))])).await;
    }
}

fn number(record: &Record) -> String {
    record.dynamodb.as_ref().unwrap().sequence_number.clone().unwrap()
}

/// Numbers of one width compare as texts.
fn wide(number: &str) -> String {
    assert!((21..=40).contains(&number.len()), "{number}");
    format!("{number:0>40}")
}

#[tokio::test]
async fn each_change_is_one_record_and_no_change_is_none() {
    let world = world(StreamViewType::NewAndOldImages, 1).await;
    world.put("a", "1").await;
    world.put("a", "1.0").await;
    world.put("a", "2").await;
    let delete = world.tables.delete_item().table_name("shop").key("id", s("a"));
    delete.clone().send().await.unwrap();
    delete.send().await.unwrap();
    let shard = world.server.open_shards("shop").remove(0);
    let (records, drained) = world.read(&shard).await;
    let events: Vec<&OperationType> = records
        .iter()
        .map(|record| record.event_name.as_ref().unwrap())
        .collect();
    let expected = [
        OperationType::Insert,
        OperationType::Modify,
        OperationType::Remove,
    ];
    assert_eq!(events, expected.iter().collect::<Vec<_>>());
    assert!(!drained);
    let images: Vec<(bool, bool)> = records
        .iter()
        .map(|record| record.dynamodb.as_ref().unwrap())
        .map(|change| (change.old_image.is_some(), change.new_image.is_some()))
        .collect();
    assert_eq!(images, [(false, true), (true, true), (true, false)]);
    let second = records[1]
        .dynamodb
        .as_ref()
        .unwrap()
        .approximate_creation_date_time
        .unwrap();
    assert_eq!(second.subsec_nanos(), 0);
}

#[tokio::test]
async fn every_view_shows_what_its_name_says() {
    let views = [
        (StreamViewType::KeysOnly, (false, false)),
        (StreamViewType::NewImage, (false, true)),
        (StreamViewType::OldImage, (true, false)),
        (StreamViewType::NewAndOldImages, (true, true)),
    ];
    for (view, expected) in views {
        let world = world(view, 1).await;
        world.put("a", "1").await;
        world.put("a", "2").await;
        let shard = world.server.open_shards("shop").remove(0);
        let (records, _) = world.read(&shard).await;
        let change = records[1].dynamodb.as_ref().unwrap();
        let shown = (change.old_image.is_some(), change.new_image.is_some());
        assert_eq!(shown, expected);
    }
}

#[tokio::test]
async fn numbers_rise_from_parent_to_child_with_growing_width() {
    let world = world(StreamViewType::NewImage, 1).await;
    for round in 0..30 {
        for change in 0..3 {
            world.put("a", &format!("{round}{change}1")).await;
        }
        let open = world.server.open_shards("shop");
        world.server.split("shop", &open[0], 1);
    }
    let shards = world.shards().await;
    let mut numbers = BTreeMap::new();
    let mut widths = BTreeSet::new();
    for shard in &shards {
        let (records, _) = world.read(shard.shard_id().unwrap()).await;
        for record in &records {
            let value = record.dynamodb.as_ref().unwrap().new_image.as_ref().unwrap()["n"].clone();
            widths.insert(number(record).len());
            numbers.insert(wide(&number(record)), value.as_n().unwrap().clone());
        }
    }
    let order: Vec<String> = numbers.into_values().collect();
    let written: Vec<String> = (0..30)
        .flat_map(|round| (0..3).map(move |change| format!("{round}{change}1")))
        .map(|text| text.trim_start_matches('0').to_owned())
        .collect();
    assert_eq!(order, written);
    assert!(widths.len() > 8, "{widths:?}");
    let first = shards.iter().position(|shard| shard.parent_shard_id.is_none());
    assert_ne!(first, Some(0), "a listing is not in the order of lineage");
}

#[tokio::test]
async fn shards_hand_over_every_four_hours_and_a_day_trims() {
    let world = world(StreamViewType::NewImage, 2).await;
    world.put("a", "1").await;
    let before = world.shards().await;
    let stale = {
        let holder = before.iter().map(|shard| shard.shard_id().unwrap());
        let mut found = None;
        for id in holder {
            if !world.read(id).await.0.is_empty() {
                found = Some(id.to_owned());
            }
        }
        found.unwrap()
    };
    let horizon = world
        .iterator(&stale, ShardIteratorType::TrimHorizon, None)
        .await
        .unwrap();
    let first = number(&world.page(&horizon).await.unwrap().records()[0]);
    world.server.advance(4 * HOUR);
    assert_eq!(world.shards().await.len(), 4);
    assert_eq!(
        world.page(&horizon).await.unwrap_err(),
        "ExpiredIteratorException"
    );
    assert!(world.read(&stale).await.1, "closed and drained");
    world.server.advance(19 * HOUR + Duration::from_secs(3590));
    let horizon = world
        .iterator(&stale, ShardIteratorType::TrimHorizon, None)
        .await
        .unwrap();
    world.server.advance(Duration::from_secs(10));
    assert_eq!(
        world.page(&horizon).await.unwrap_err(),
        "TrimmedDataAccessException"
    );
    for kind in [
        ShardIteratorType::AtSequenceNumber,
        ShardIteratorType::AfterSequenceNumber,
    ] {
        let refused = world.iterator(&stale, kind, Some(&first)).await;
        assert_eq!(refused.unwrap_err(), "TrimmedDataAccessException");
    }
    world.server.advance(4 * HOUR);
    let left = world.shards().await;
    assert!(left.iter().all(|shard| shard.shard_id() != Some(stale.as_str())));
    let gone = world.iterator(&stale, ShardIteratorType::TrimHorizon, None).await;
    assert_eq!(gone.unwrap_err(), "ResourceNotFoundException");
    let ids: BTreeSet<&str> = left.iter().filter_map(Shard::shard_id).collect();
    let orphan = |shard: &&Shard| !ids.contains(shard.parent_shard_id().unwrap());
    assert_eq!(
        left.iter().filter(orphan).count(),
        2,
        "children outlive their parents"
    );
}

#[tokio::test]
async fn pages_are_bounded_by_count_and_bytes() {
    let world = world(StreamViewType::NewImage, 1).await;
    for id in 0..5 {
        let large = item([("id", s(&format!("{id}"))), ("fill", s(&"x".repeat(300_000)))]);
        put(&world.tables, "shop", large).await;
    }
    let shard = world.server.open_shards("shop").remove(0);
    let mut next = world
        .iterator(&shard, ShardIteratorType::TrimHorizon, None)
        .await
        .unwrap();
    let mut pages = Vec::new();
    world.server.fail("GetRecords", Fault::EmptyPage, 1);
    for _ in 0..4 {
        let page = world.page(&next).await.unwrap();
        pages.push(page.records().len());
        next = page.next_shard_iterator.unwrap();
    }
    assert_eq!(pages, [0, 3, 2, 0]);
    world.put("x", "1").await;
    let latest = world
        .iterator(&shard, ShardIteratorType::Latest, None)
        .await
        .unwrap();
    world.put("y", "1").await;
    assert_eq!(world.page(&latest).await.unwrap().records().len(), 1);
    assert_eq!(world.page(&next).await.unwrap().records().len(), 2);
    let (records, _) = world.read(&shard).await;
    let fifth = number(&records[5]);
    for (kind, expected) in [
        (ShardIteratorType::AtSequenceNumber, 2),
        (ShardIteratorType::AfterSequenceNumber, 1),
    ] {
        let iterator = world.iterator(&shard, kind, Some(&fifth)).await.unwrap();
        assert_eq!(world.page(&iterator).await.unwrap().records().len(), expected);
    }
    let outside = world
        .iterator(&shard, ShardIteratorType::AtSequenceNumber, Some("5"))
        .await;
    assert_eq!(outside.unwrap_err(), "ValidationException");
}

#[tokio::test]
async fn many_shards_come_in_pages_and_children_can_be_late() {
    let world = world(StreamViewType::NewImage, 250).await;
    assert_eq!(world.shards().await.len(), 250);
    assert_eq!(world.server.calls("DescribeStream"), 3);
    let parent = world.server.open_shards("shop").remove(0);
    world.server.hide_children("shop", 1);
    let mut children = world.server.split("shop", &parent, 2);
    assert_eq!(world.shards().await.len(), 250);
    let listed = world.shards().await;
    let mut found: Vec<String> = listed
        .iter()
        .filter(|shard| shard.parent_shard_id() == Some(parent.as_str()))
        .map(|shard| shard.shard_id().unwrap().to_owned())
        .collect();
    found.sort();
    children.sort();
    assert_eq!(found, children);
    let filter = ShardFilter::builder()
        .r#type(ShardFilterType::ChildShards)
        .shard_id(&parent)
        .build();
    let described = world
        .streams
        .describe_stream()
        .stream_arn(&world.arn)
        .shard_filter(filter)
        .send()
        .await
        .unwrap();
    assert_eq!(described.stream_description.unwrap().shards().len(), 2);
}

#[tokio::test]
async fn too_many_reads_of_one_shard_are_refused() {
    let world = world(StreamViewType::NewImage, 1).await;
    let shard = world.server.open_shards("shop").remove(0);
    let iterator = world
        .iterator(&shard, ShardIteratorType::TrimHorizon, None)
        .await
        .unwrap();
    world.server.reads_per_second(Some(2));
    assert!(world.page(&iterator).await.is_ok());
    assert!(world.page(&iterator).await.is_ok());
    assert_eq!(world.page(&iterator).await.unwrap_err(), "LimitExceededException");
    world.server.advance(Duration::from_secs(1));
    assert!(world.page(&iterator).await.is_ok());
    assert_eq!(world.server.reads()[&shard], 4);
    let broken = iterator.replace("|1|", "|1|AAAA");
    assert_eq!(world.page(&broken).await.unwrap_err(), "ValidationException");
}

#[tokio::test]
async fn a_disabled_stream_stays_for_a_day_and_a_new_one_has_another_name() {
    let world = world(StreamViewType::NewImage, 1).await;
    world.put("a", "1").await;
    let shard = world.server.open_shards("shop").remove(0);
    let set = |on: bool| {
        let specification = StreamSpecification::builder()
            .stream_enabled(on)
            .set_stream_view_type(on.then_some(StreamViewType::NewImage))
            .build()
            .unwrap();
        world
            .tables
            .update_table()
            .table_name("shop")
            .stream_specification(specification)
            .send()
    };
    set(false).await.unwrap();
    world.put("a", "2").await;
    let (records, drained) = world.read(&shard).await;
    assert_eq!((records.len(), drained), (1, true));
    let new = set(true)
        .await
        .unwrap()
        .table_description
        .unwrap()
        .latest_stream_arn
        .unwrap();
    assert_ne!(new, world.arn);
    let listed = world
        .streams
        .list_streams()
        .table_name("shop")
        .send()
        .await
        .unwrap();
    assert_eq!(listed.streams().len(), 2);
    world.server.advance(24 * HOUR);
    let listed = world
        .streams
        .list_streams()
        .table_name("shop")
        .send()
        .await
        .unwrap();
    assert_eq!(listed.streams().len(), 1);
    let gone = world
        .streams
        .describe_stream()
        .stream_arn(&world.arn)
        .send()
        .await;
    assert_eq!(gone.unwrap_err().code(), Some("ResourceNotFoundException"));
}

#[tokio::test]
async fn an_expiry_says_who_deleted() {
    let world = world(StreamViewType::NewAndOldImages, 1).await;
    let specification = aws_sdk_dynamodb::types::TimeToLiveSpecification::builder()
        .enabled(true)
        .attribute_name("n")
        .build()
        .unwrap();
    let update = world
        .tables
        .update_time_to_live()
        .table_name("shop")
        .time_to_live_specification(specification);
    update.send().await.unwrap();
    world
        .put("a", &(world.server.clock.unix_seconds() + 10).to_string())
        .await;
    world.server.advance(Duration::from_secs(10));
    let shard = world.server.open_shards("shop").remove(0);
    let (records, _) = world.read(&shard).await;
    assert_eq!(records[0].user_identity, None);
    let identity = records[1].user_identity.as_ref().unwrap();
    assert_eq!(identity.r#type(), Some("Service"));
    assert_eq!(identity.principal_id(), Some("dynamodb.amazonaws.com"));
}
