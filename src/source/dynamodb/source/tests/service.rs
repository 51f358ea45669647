//! A table and its stream that a test makes up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use super::super::super::api::{
    Answer, Api, CallError, Happened, LatestStream, Page, Record, Refusal, StreamInfo, TableInfo, View,
};
use super::super::super::item;
use super::super::super::layout::{KeyAttribute, KeyKind};
use super::super::super::lineage::Listed;
use crate::event::{LogPosition, SequenceNumber, ShardId};

/// A table and its stream, in memory, that a test writes to and that fails as it is told.
#[derive(Debug)]
pub(super) struct Service(Mutex<World>);

#[derive(Debug)]
pub(super) struct World {
    random: fastrand::Rng,
    /// One in so many calls fails; 0: none.
    pub(super) trouble: u32,
    pub(super) arn: String,
    pub(super) on: bool,
    pub(super) shards: Vec<Shard>,
    /// What a number is multiplied by, so that they have many digits.
    pub(super) next: u128,
    pub(super) items: BTreeMap<u8, u32>,
    /// Calls of GetRecords.
    pub(super) reads: usize,
    /// Shards that were asked for records that are not kept.
    pub(super) trimmed: Option<usize>,
}

#[derive(Debug, Default)]
pub(super) struct Shard {
    pub(super) parent: Option<usize>,
    pub(super) records: Vec<Record>,
    pub(super) closed: bool,
    pub(super) hidden: bool,
}

fn name(index: usize) -> ShardId {
    ShardId::new(format!("shardId-{index:020}"))
}

fn refused(refusal: Refusal) -> CallError {
    CallError {
        action: "dynamodb:Test",
        subject: "test".to_owned(),
        refusal,
        text: "as told".to_owned(),
    }
}

fn attributes(key: u8, value: Option<u32>) -> item::Item {
    let value = value.map_or(String::new(), |value| format!(r#","v":{{"N":"{value}"}}"#));
    item::parse(format!(r#"{{"id":{{"N":"{key}"}}{value}}}"#).as_bytes()).unwrap()
}

impl World {
    /// Writes to a key in the shard that has it: one item's changes are all in one line of shards.
    pub(super) fn write(&mut self, key: u8, value: Option<u32>) {
        let open: Vec<usize> = (0..self.shards.len())
            .filter(|at| !self.shards[*at].closed)
            .collect();
        let root = usize::from(key) % 2;
        let lines = open.iter().filter(|at| self.root(**at) == root).copied();
        let at = lines.max().unwrap();
        self.next += u128::from(self.random.u64(1..u64::MAX)) << self.random.u8(0..20);
        let new = match value {
            Some(value) => self.items.insert(key, value).is_none(),
            None if self.items.remove(&key).is_none() => return,
            None => false,
        };
        let happened = match value {
            Some(_) => Happened::Put {
                new,
                item: attributes(key, value),
            },
            None => Happened::Removed {
                item: None,
                expired: false,
            },
        };
        self.shards[at].records.push(Record {
            number: self.next.to_string().parse().unwrap(),
            written: 1_767_225_600,
            key: attributes(key, None),
            happened,
        });
    }

    fn root(&self, mut at: usize) -> usize {
        while let Some(parent) = self.shards[at].parent {
            at = parent;
        }
        at
    }

    /// Whether a position lies behind every record.
    pub(super) fn is_read(&self, position: &LogPosition) -> bool {
        let places = &position.streams[0].shards;
        let mut shards = (0..).zip(&self.shards);
        shards.all(|(at, shard)| {
            let Some(place) = places.get(&name(at)) else {
                return false;
            };
            let last = shard.records.last().map(|record| &record.number);
            place.drained == shard.closed && last.is_none_or(|last| place.last.as_ref() == Some(last))
        })
    }

    /// Closes the last shard of a line; what goes on from it is listed later.
    pub(super) fn roll(&mut self, root: usize) {
        let open = (0..self.shards.len()).filter(|at| !self.shards[*at].closed && self.root(*at) == root);
        let at = open.max().unwrap();
        self.shards[at].closed = true;
        self.shards.push(Shard {
            parent: Some(at),
            hidden: true,
            ..Shard::default()
        });
    }

    fn fails(&mut self) -> Result<(), CallError> {
        let trouble = self.trouble;
        if trouble == 0 || self.random.u32(0..trouble) > 0 {
            return Ok(());
        }
        Err(refused(if self.random.bool() {
            Refusal::Throttled
        } else {
            Refusal::Busy
        }))
    }
}

impl Service {
    pub(super) fn new(seed: u64, trouble: u32) -> Arc<Service> {
        Arc::new(Service(Mutex::new(World {
            random: fastrand::Rng::with_seed(seed),
            trouble,
            arn: "arn:1".to_owned(),
            on: true,
            shards: vec![Shard::default(), Shard::default()],
            next: 10_u128.pow(23),
            items: BTreeMap::new(),
            reads: 0,
            trimmed: None,
        })))
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }
}

impl Api for Service {
    fn table<'a>(&'a self, _name: &'a str) -> Answer<'a, TableInfo> {
        let mut world = self.world();
        let failed = world.fails();
        let (arn, on) = (world.arn.clone(), world.on);
        Box::pin(async move {
            failed?;
            Ok(TableInfo {
                key: vec![KeyAttribute {
                    name: "id".to_owned(),
                    kind: KeyKind::N,
                }],
                stream: Some(LatestStream {
                    arn,
                    on,
                    view: View::New,
                }),
                items: 0,
                bytes: 0,
            })
        })
    }

    fn stream<'a>(&'a self, _arn: &'a str) -> Answer<'a, StreamInfo> {
        let mut world = self.world();
        let failed = world.fails();
        let mut shards = Vec::new();
        for at in 0..world.shards.len() {
            let shard = &world.shards[at];
            if !shard.hidden {
                shards.push(Listed {
                    id: name(at),
                    parent: shard.parent.map(name),
                    closed: shard.closed,
                });
            } else if !shard.parent.is_some_and(|parent| world.shards[parent].hidden) && world.random.bool() {
                world.shards[at].hidden = false;
            }
        }
        world.random.shuffle(&mut shards);
        let on = world.on;
        Box::pin(async move {
            failed?;
            Ok(StreamInfo { on, shards })
        })
    }

    fn iterator<'a>(
        &'a self,
        _arn: &'a str,
        shard: &'a ShardId,
        after: Option<&'a SequenceNumber>,
    ) -> Answer<'a, String> {
        let failed = self.world().fails();
        let after = after.map_or(String::new(), ToString::to_string);
        Box::pin(async move {
            failed?;
            Ok(format!("{shard} {after}"))
        })
    }

    fn records<'a>(&'a self, shard: &'a ShardId, iterator: String) -> Answer<'a, Page> {
        let mut world = self.world();
        world.reads += 1;
        let (from, after) = iterator.split_once(' ').unwrap();
        assert_eq!(from, shard.as_str());
        let at: usize = from.trim_start_matches("shardId-").parse().unwrap();
        let mut failed = world.fails();
        let trouble = world.trouble;
        if trouble > 0 && world.random.u32(0..trouble) == 0 {
            failed = Err(refused(Refusal::Expired));
        }
        if world.trimmed == Some(at) {
            failed = Err(refused(Refusal::Trimmed));
        }
        let after: Option<SequenceNumber> = (!after.is_empty()).then(|| after.parse().unwrap());
        let rest = world.shards[at]
            .records
            .iter()
            .filter(|record| after.as_ref().is_none_or(|after| record.number > *after));
        let rest: Vec<Record> = rest.cloned().collect();
        // Empty pages, too, though more follows.
        let count = world.random.usize(0..=rest.len().min(7));
        let done = count == rest.len() && world.shards[at].closed;
        let records = rest[..count].to_vec();
        let last = records.last().map(|record| &record.number).or(after.as_ref());
        let next = (!done).then(|| format!("{from} {}", last.map_or(String::new(), ToString::to_string)));
        Box::pin(async move {
            failed?;
            Ok(Page { records, next })
        })
    }
}
