//! The tree of a stream's shards: which may be read, and when something is missing. Pure: it hears listings and what
//! was read, and says what that means for the position.
//!
//! A shard is read when its parent was read to its end, and always from its beginning, so that the changes of one
//! item come in their order. What a listing lacks is judged strictly: DynamoDB lists a shard for a day after it was
//! closed, so a shard that vanished before it was read, or before its children were seen, means that nobody looked
//! for a day, and changes may be lost
//! (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Streams.html#Streams.Processing>).

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{SequenceNumber, ShardId, ShardMove, StreamPlace};

/// A shard as a listing has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Which.
    pub id: ShardId,
    /// The shard that it goes on from.
    pub parent: Option<ShardId>,
    /// Whether nothing is added to it any more.
    pub closed: bool,
}

/// Changes that may be lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Gap {
    /// A shard is gone of which not everything was read.
    #[error("shard {0} is gone, and was not read to its end")]
    Unread(ShardId),
    /// A shard is gone whose children were never seen.
    #[error("shard {0} is gone, and what came after it was never seen")]
    Childless(ShardId),
    /// A shard goes on from one that was never seen.
    #[error("shard {shard} goes on from {parent}, which was never seen")]
    Orphan {
        /// The shard.
        shard: ShardId,
        /// The one before.
        parent: ShardId,
    },
}

/// Records that are not in the order of their numbers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Disorder {
    /// A shard's first record does not lie above all of its ancestors': numbers of the next generation are higher.
    #[error("shard {shard} begins at {first}, which is not above {before} in the shards before it")]
    Child {
        /// The shard.
        shard: ShardId,
        /// Its first record.
        first: SequenceNumber,
        /// The highest before.
        before: SequenceNumber,
    },
    /// A record does not lie above the one before in its shard.
    #[error("record {next} of shard {shard} comes after {before}")]
    Record {
        /// The shard.
        shard: ShardId,
        /// The record.
        next: SequenceNumber,
        /// The one before.
        before: SequenceNumber,
    },
}

/// A shard's move.
pub type Moved = (ShardId, ShardMove);

/// A stream's shards and how far each was read.
#[derive(Debug, Clone)]
pub struct Tree {
    place: StreamPlace,
    /// Shards that the last listing has as closed.
    closed: BTreeSet<ShardId>,
}

impl Tree {
    /// A stream that is followed from its beginning: whatever is listed now is read from its beginning.
    pub fn begin(mut place: StreamPlace, listing: &[Listed]) -> Tree {
        place.shards.clear();
        for shard in listing {
            let parent = shard.parent.clone();
            place.apply(&shard.id, &ShardMove::Found { parent });
        }
        let mut tree = Tree::resume(place);
        tree.note_closed(listing);
        tree
    }

    /// A stream that was followed to this place; it must be listed before it is read.
    pub fn resume(place: StreamPlace) -> Tree {
        Tree {
            place,
            closed: BTreeSet::new(),
        }
    }

    /// How far the stream was read.
    pub fn place(&self) -> &StreamPlace {
        &self.place
    }

    /// How far a shard was read: the record after which it goes on; `None` for its beginning.
    pub fn last(&self, shard: &ShardId) -> Option<&SequenceNumber> {
        self.place.shards.get(shard)?.last.as_ref()
    }

    /// Whether the last listing had a shard as closed.
    pub fn is_closed(&self, shard: &ShardId) -> bool {
        self.closed.contains(shard)
    }

    /// Numbers of a new generation lie above all others: those of shards that were read to their ends bind nobody.
    pub fn new_generation(&mut self) {
        for place in self.place.shards.values_mut().filter(|place| place.drained) {
            place.last = None;
        }
    }

    /// Takes in a listing, which must be whole: all of its pages, in whatever order. Returns what it says that was
    /// not known.
    ///
    /// # Errors
    /// [`Gap`]; nothing of the listing is taken in.
    pub fn listed(&mut self, listing: &[Listed]) -> Result<Vec<Moved>, Gap> {
        let there: BTreeSet<&ShardId> = listing.iter().map(|shard| &shard.id).collect();
        let parents: BTreeSet<&ShardId> = self.parents().into_keys().collect();
        for (shard, place) in &self.place.shards {
            if there.contains(shard) {
                continue;
            }
            if !place.drained {
                return Err(Gap::Unread(shard.clone()));
            }
            // One that is listed now, late as it is, was there all the time.
            let late = listing.iter().any(|one| one.parent.as_ref() == Some(shard));
            if !parents.contains(shard) && !late {
                return Err(Gap::Childless(shard.clone()));
            }
        }
        let mut moves = Vec::new();
        for shard in listing
            .iter()
            .filter(|shard| !self.place.shards.contains_key(&shard.id))
        {
            if let Some(parent) = &shard.parent
                && !there.contains(parent)
                && !self.place.shards.contains_key(parent)
            {
                return Err(Gap::Orphan {
                    shard: shard.id.clone(),
                    parent: parent.clone(),
                });
            }
            let parent = shard.parent.clone();
            moves.push((shard.id.clone(), ShardMove::Found { parent }));
        }
        self.apply_all(&moves);
        self.note_closed(listing);
        let forgotten = self.forgettable(&there);
        self.apply_all(&forgotten);
        moves.extend(forgotten);
        Ok(moves)
    }

    fn note_closed(&mut self, listing: &[Listed]) {
        let closed = listing.iter().filter(|shard| shard.closed);
        self.closed = closed.map(|shard| shard.id.clone()).collect();
    }

    fn apply_all(&mut self, moves: &[Moved]) {
        for (shard, moved) in moves {
            self.place.apply(shard, moved);
        }
    }

    /// Every shard that others go on from, with whether all of those were begun: a record of theirs was read, and
    /// held against what lies before, or there is none.
    fn parents(&self) -> BTreeMap<&ShardId, bool> {
        let mut parents = BTreeMap::new();
        for place in self.place.shards.values() {
            if let Some(parent) = &place.parent {
                let begun = place.last.is_some() || place.drained;
                *parents.entry(parent).or_insert(true) &= begun;
            }
        }
        parents
    }

    /// Shards that are not listed any more and were read, as those that go on from them were begun.
    fn forgettable(&self, there: &BTreeSet<&ShardId>) -> Vec<Moved> {
        let parents = self.parents();
        let places = self.place.shards.iter();
        places
            .filter(|(shard, place)| {
                place.drained && !there.contains(shard) && parents.get(shard) == Some(&true)
            })
            .map(|(shard, _)| (shard.clone(), ShardMove::Forgotten))
            .collect()
    }

    /// Shards that may be read now: not at their end, and behind no shard that is not.
    pub fn readable(&self) -> impl Iterator<Item = &ShardId> {
        let shards = &self.place.shards;
        let due = shards.iter().filter(|(_, place)| {
            let parent = place.parent.as_ref().and_then(|parent| shards.get(parent));
            !place.drained && parent.is_none_or(|parent| parent.drained)
        });
        due.map(|(shard, _)| shard)
    }

    /// Whether a shard was read to its end and what comes after it is not listed yet.
    pub fn wants_listing(&self) -> bool {
        let parents = self.parents();
        let mut shards = self.place.shards.iter();
        shards.any(|(shard, place)| place.drained && !parents.contains_key(shard))
    }

    /// Whether everything that is known was read to its end.
    pub fn all_drained(&self) -> bool {
        self.place.shards.values().all(|place| place.drained)
    }

    /// The highest number that was read before a shard.
    fn before(&self, shard: &ShardId) -> Option<&SequenceNumber> {
        let place = self.place.shards.get(shard)?;
        self.last(place.parent.as_ref()?)
    }

    /// Takes in records of a shard, by their numbers in the order in which they came.
    ///
    /// # Errors
    /// [`Disorder`]; nothing is taken in.
    pub fn read<'a>(
        &mut self,
        shard: &ShardId,
        records: impl IntoIterator<Item = &'a SequenceNumber>,
    ) -> Result<Option<Moved>, Disorder> {
        let mut last = self.last(shard);
        let begins = last.is_none();
        for (index, next) in records.into_iter().enumerate() {
            if begins
                && index == 0
                && let Some(before) = self.before(shard).filter(|before| next <= *before)
            {
                return Err(Disorder::Child {
                    shard: shard.clone(),
                    first: next.clone(),
                    before: before.clone(),
                });
            }
            if let Some(before) = last.filter(|before| next <= *before) {
                return Err(Disorder::Record {
                    shard: shard.clone(),
                    next: next.clone(),
                    before: before.clone(),
                });
            }
            last = Some(next);
        }
        let Some(last) = last.filter(|last| self.last(shard) != Some(*last)).cloned() else {
            return Ok(None);
        };
        let moved = (shard.clone(), ShardMove::Read(last));
        self.place.apply(&moved.0, &moved.1);
        Ok(Some(moved))
    }

    /// A shard was read to its end.
    pub fn drained(&mut self, shard: &ShardId) -> Moved {
        let last = self.last(shard).max(self.before(shard)).cloned();
        let moved = (shard.clone(), ShardMove::Drained(last));
        self.place.apply(&moved.0, &moved.1);
        moved
    }
}

#[cfg(test)]
mod tests;
