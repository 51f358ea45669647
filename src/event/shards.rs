//! Where a reader of DynamoDB's streams is. A stream is a tree of shards, each with a sequence of records and an end;
//! there is no one place in it, so the position says of every shard that matters how far it was read.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::sequence::SequenceNumber;
use super::table::TableId;

/// A shard's name, which no other shard of its stream ever has.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ShardId(Arc<str>);

impl ShardId {
    /// A shard by its name.
    pub fn new(name: impl Into<Arc<str>>) -> ShardId {
        ShardId(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How far a shard was read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardPlace {
    /// The shard that it goes on from; `None` for one that began with its stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ShardId>,
    /// The last record that was read; `None` if none was. Of a drained shard, the highest number in it and in those
    /// before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<SequenceNumber>,
    /// Whether it was read to its end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drained: bool,
}

/// How far a table's stream was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamPlace {
    /// Whose stream.
    pub table: TableId,
    /// The stream: one that is turned off and on again is another one.
    pub arn: Arc<str>,
    /// Its shards, but for those that are gone and whose children were all begun.
    pub shards: BTreeMap<ShardId, ShardPlace>,
}

/// What became of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShardMove {
    /// It is there, and nothing of it was read.
    Found {
        /// The shard that it goes on from.
        parent: Option<ShardId>,
    },
    /// It was read to this record.
    Read(SequenceNumber),
    /// It was read to its end; the highest number in it and in those before it.
    Drained(Option<SequenceNumber>),
    /// The stream does not have it any more, and nobody needs to know of it.
    Forgotten,
}

/// One move of a reader of streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamStep {
    /// A table's stream is followed from this place.
    At(StreamPlace),
    /// A table is not followed any more.
    Left(TableId),
    /// A shard's place changed.
    Shard {
        /// Whose.
        table: TableId,
        /// Which.
        shard: ShardId,
        /// How.
        moved: ShardMove,
    },
}

impl StreamPlace {
    /// Moves a shard.
    pub fn apply(&mut self, shard: &ShardId, moved: &ShardMove) {
        let known = self.shards.get_mut(shard);
        match (moved, known) {
            (ShardMove::Found { parent }, None) => {
                let place = ShardPlace {
                    parent: parent.clone(),
                    ..ShardPlace::default()
                };
                self.shards.insert(shard.clone(), place);
            }
            (ShardMove::Read(last), Some(place)) => place.last = Some(last.clone()),
            (ShardMove::Drained(last), Some(place)) => {
                place.last.clone_from(last);
                place.drained = true;
            }
            (ShardMove::Forgotten, _) => {
                self.shards.remove(shard);
            }
            (ShardMove::Found { .. }, Some(_)) | (ShardMove::Read(_) | ShardMove::Drained(_), None) => {}
        }
    }
}

impl StreamStep {
    /// Makes the step in the places of all streams.
    pub fn apply(&self, streams: &mut Vec<StreamPlace>) {
        match self {
            StreamStep::At(place) => match streams.iter_mut().find(|one| one.table == place.table) {
                Some(known) => known.clone_from(place),
                None => streams.push(place.clone()),
            },
            StreamStep::Left(table) => streams.retain(|one| one.table != *table),
            StreamStep::Shard { table, shard, moved } => {
                if let Some(place) = streams.iter_mut().find(|one| one.table == *table) {
                    place.apply(shard, moved);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(shard: &str, moved: ShardMove) -> StreamStep {
        StreamStep::Shard {
            table: TableId::new("s", "t"),
            shard: ShardId::new(shard),
            moved,
        }
    }

    #[test]
    fn steps_say_how_far_each_shard_was_read() {
        let number = |text: &str| text.parse::<SequenceNumber>().unwrap();
        let place = StreamPlace {
            table: TableId::new("s", "t"),
            arn: "arn".into(),
            shards: BTreeMap::new(),
        };
        let parent = Some(ShardId::new("a"));
        let mut streams = Vec::new();
        for one in [
            StreamStep::At(StreamPlace {
                table: TableId::new("s", "other"),
                ..place.clone()
            }),
            StreamStep::At(place),
            step("a", ShardMove::Found { parent: None }),
            step("a", ShardMove::Read(number("5"))),
            // Found again.
            step("a", ShardMove::Found { parent: None }),
            step("b", ShardMove::Found { parent }),
            step("a", ShardMove::Drained(Some(number("7")))),
            step("unknown", ShardMove::Read(number("9"))),
            StreamStep::Left(TableId::new("s", "other")),
        ] {
            one.apply(&mut streams);
        }
        let text = serde_json::to_string(&streams).unwrap();
        assert_eq!(
            text,
            r#"[{"table":["s","t"],"arn":"arn","shards":{"a":{"last":"7","drained":true},"b":{"parent":"a"}}}]"#
        );
        assert_eq!(serde_json::from_str::<Vec<StreamPlace>>(&text).unwrap(), streams);
        step("a", ShardMove::Forgotten).apply(&mut streams);
        assert_eq!(streams[0].shards.keys().collect::<Vec<_>>(), [&ShardId::new("b")]);
    }
}
