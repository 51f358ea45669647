use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::event::TableId;

fn shard(name: &str) -> ShardId {
    ShardId::new(name)
}

fn listed(name: &str, parent: Option<&str>) -> Listed {
    Listed {
        id: shard(name),
        parent: parent.map(shard),
        closed: false,
    }
}

fn empty() -> StreamPlace {
    StreamPlace {
        table: TableId::new("s", "t"),
        arn: "arn".into(),
        shards: BTreeMap::new(),
    }
}

fn number(value: u64) -> SequenceNumber {
    value.to_string().parse().unwrap()
}

fn readable(tree: &Tree) -> Vec<&str> {
    tree.readable().map(ShardId::as_str).collect()
}

#[test]
fn a_child_waits_for_its_parent_whatever_the_order_of_the_listing() {
    let listing = [
        listed("c", Some("b")),
        listed("b2", Some("a")),
        listed("b", Some("a")),
        listed("a", Some("trimmed long ago")),
    ];
    let mut tree = Tree::begin(empty(), &listing);
    assert_eq!(readable(&tree), ["a"]);
    tree.drained(&shard("a"));
    assert_eq!(readable(&tree), ["b", "b2"]);
    tree.drained(&shard("b"));
    assert_eq!(readable(&tree), ["b2", "c"]);
    assert_eq!(tree.last(&shard("c")), None);
}

#[test]
fn a_child_that_is_not_listed_yet_is_asked_for() {
    let mut tree = Tree::begin(empty(), &[listed("a", None)]);
    assert!(!tree.wants_listing());
    tree.drained(&shard("a"));
    assert!(tree.wants_listing() && tree.all_drained());
    assert_eq!(tree.listed(&[listed("a", None)]), Ok(vec![]));
    assert!(tree.wants_listing());
    let moves = tree.listed(&[listed("a", None), listed("b", Some("a"))]).unwrap();
    assert_eq!(
        moves,
        [(
            shard("b"),
            ShardMove::Found {
                parent: Some(shard("a"))
            }
        )]
    );
    assert!(!tree.wants_listing());
    assert_eq!(readable(&tree), ["b"]);
}

#[test]
fn what_was_read_and_begun_may_go() {
    let both = [listed("a", None), listed("b", Some("a"))];
    let mut tree = Tree::begin(empty(), &both);
    tree.read(&shard("a"), [&number(5)]).unwrap();
    tree.drained(&shard("a"));
    let only = [listed("b", Some("a"))];
    // Where the child begins is not known yet.
    assert_eq!(tree.listed(&only), Ok(vec![]));
    tree.read(&shard("b"), [&number(6)]).unwrap();
    assert_eq!(tree.listed(&only), Ok(vec![(shard("a"), ShardMove::Forgotten)]));
    assert_eq!(readable(&tree), ["b"]);
    assert_eq!(tree.listed(&only), Ok(vec![]));
}

#[test]
fn what_vanished_unread_is_a_gap() {
    let both = [listed("a", None), listed("b", Some("a"))];
    let mut tree = Tree::begin(empty(), &both);
    let gone = tree.listed(&[listed("b", Some("a"))]);
    assert_eq!(gone, Err(Gap::Unread(shard("a"))));
    tree.drained(&shard("a"));
    assert_eq!(tree.listed(&[]), Err(Gap::Unread(shard("b"))));
    tree.drained(&shard("b"));
    let gone = tree.listed(&[listed("d", Some("c"))]);
    assert_eq!(gone, Err(Gap::Childless(shard("b"))));
    let orphan = [listed("b", Some("a")), listed("d", Some("c"))];
    let (d, c) = (shard("d"), shard("c"));
    assert_eq!(tree.listed(&orphan), Err(Gap::Orphan { shard: d, parent: c }));
    // Nothing of it was taken in, and a late child is none.
    assert_eq!(tree.place().shards.len(), 2);
    assert!(tree.listed(&[listed("c", Some("b"))]).is_ok());
}

#[test]
fn numbers_rise_along_a_lineage_and_begin_anew_with_a_generation() {
    let chain = [listed("a", None), listed("b", Some("a")), listed("c", Some("b"))];
    let mut tree = Tree::begin(empty(), &chain);
    let (a, b, c) = (shard("a"), shard("b"), shard("c"));
    let moved = tree.read(&a, [&number(1), &number(9)]).unwrap();
    assert_eq!(moved, Some((a.clone(), ShardMove::Read(number(9)))));
    assert_eq!(tree.read(&a, []), Ok(None));
    assert!(matches!(
        tree.read(&a, [&number(9)]),
        Err(Disorder::Record { .. })
    ));
    assert!(matches!(
        tree.read(&a, [&number(12), &number(11)]),
        Err(Disorder::Record { .. })
    ));
    assert_eq!(tree.last(&a), Some(&number(9)));
    tree.drained(&a);
    // Nothing is in it: its parent's numbers bind its child.
    assert_eq!(tree.drained(&b), (b, ShardMove::Drained(Some(number(9)))));
    assert!(matches!(tree.read(&c, [&number(9)]), Err(Disorder::Child { .. })));
    tree.new_generation();
    assert!(tree.read(&c, [&number(9), &number(10)]).is_ok());
    assert!(matches!(
        tree.read(&c, [&number(10)]),
        Err(Disorder::Record { .. })
    ));
}

/// A stream as a service keeps it, and a reader that looks at it now and then.
struct World {
    random: fastrand::Rng,
    /// Every shard there ever was: its parent, its records, whether it is closed, and when.
    shards: Vec<Shard>,
    now: u64,
    next: u64,
    /// Ticks for which a closed shard stays listed.
    kept: u64,
    /// Ticks for which a child is not listed after its parent was closed.
    late: u64,
    /// Nothing is written any more; time goes on for so many ticks.
    quiet: Option<u64>,
}

struct Shard {
    parent: Option<usize>,
    records: Vec<u64>,
    born: u64,
    closed: Option<u64>,
    /// It is not listed any more.
    trimmed: bool,
}

fn name(index: usize) -> ShardId {
    shard(&format!("shardId-{index:05}"))
}

fn index(shard: &ShardId) -> usize {
    shard.as_str().trim_start_matches("shardId-").parse().unwrap()
}

impl World {
    fn new(seed: u64, roots: usize, kept: u64) -> World {
        let mut world = World {
            random: fastrand::Rng::with_seed(seed),
            shards: Vec::new(),
            now: 0,
            next: 1,
            kept,
            late: 3,
            quiet: None,
        };
        for _ in 0..roots {
            world.grow(None);
        }
        world
    }

    fn grow(&mut self, parent: Option<usize>) {
        self.shards.push(Shard {
            parent,
            records: Vec::new(),
            born: self.now,
            closed: None,
            trimmed: false,
        });
    }

    /// Writes to open shards, and closes some: one or two go on from each.
    fn tick(&mut self) {
        if let Some(left) = &mut self.quiet {
            self.now += u64::from(*left > 0);
            *left = left.saturating_sub(1);
            return;
        }
        self.now += 1;
        for shard in &mut self.shards {
            shard.trimmed |= shard.closed.is_some_and(|at| at + self.kept < self.now);
        }
        for index in 0..self.shards.len() {
            if self.shards[index].closed.is_some() {
                continue;
            }
            for _ in 0..self.random.usize(0..3) {
                self.shards[index].records.push(self.next);
                self.next += 1;
            }
            if self.random.u8(0..12) == 0 {
                self.shards[index].closed = Some(self.now);
                for _ in 0..1 + usize::from(self.random.u8(0..8) == 0) {
                    self.grow(Some(index));
                }
            }
        }
    }

    fn is_listed(&self, index: usize) -> bool {
        let shard = &self.shards[index];
        let late = shard.parent.is_some() && shard.born + self.late > self.now;
        !shard.trimmed && !late
    }

    /// Pages of a listing, in any order; the stream goes on between them.
    fn list(&mut self, page: usize) -> Vec<Listed> {
        let mut order: Vec<usize> = (0..self.shards.len())
            .filter(|index| self.is_listed(*index))
            .collect();
        self.random.shuffle(&mut order);
        let (mut listing, mut ticks) = (Vec::new(), 0);
        for (count, index) in order.into_iter().enumerate() {
            if count % page == page - 1 && ticks < 1 && self.random.bool() {
                ticks += 1;
                self.tick();
            }
            let shard = &self.shards[index];
            listing.push(Listed {
                id: name(index),
                parent: shard.parent.map(name),
                closed: shard.closed.is_some(),
            });
        }
        listing
    }
}

/// Reads what may be read, checks that parents come first and that nothing comes twice, and forgets all but the
/// position now and then. Returns what was read.
fn follow(world: &mut World, ticks: u64, page: usize) -> Result<BTreeMap<usize, Vec<u64>>, Gap> {
    let listing = world.list(page);
    let mut tree = Tree::begin(empty(), &listing);
    let mut durable = tree.place().clone();
    let mut read: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
    for round in 0..ticks + 150 {
        if round == ticks {
            world.quiet = Some(world.late);
        }
        world.tick();
        if tree.wants_listing() || world.random.u8(0..8) == 0 {
            for (shard, moved) in tree.listed(&world.list(page))? {
                durable.apply(&shard, &moved);
            }
        }
        let mut due: VecDeque<ShardId> = tree.readable().cloned().collect();
        while let Some(id) = due.pop_front() {
            let at = index(&id);
            let shard = &world.shards[at];
            assert!(shard.parent.is_none_or(|parent| {
                // Read to its end, or older than the reader.
                world.shards[parent].records.last() == read.get(&parent).and_then(|all| all.last())
                    || !durable.shards.contains_key(&name(parent))
            }));
            let after = tree.last(&id).map_or(0, |last| last.as_str().parse().unwrap());
            let all: Vec<u64> = shard.records.iter().copied().filter(|one| *one > after).collect();
            let some = world.random.usize(0..=all.len());
            let part = &all[..if world.random.bool() { some } else { all.len() }];
            let numbers: Vec<SequenceNumber> = part.iter().map(|one| number(*one)).collect();
            if let Some((shard, moved)) = tree.read(&id, &numbers).unwrap() {
                durable.apply(&shard, &moved);
            }
            read.entry(at).or_default().extend(part);
            if shard.closed.is_some() && part.len() == all.len() {
                let (shard, moved) = tree.drained(&id);
                durable.apply(&shard, &moved);
            }
        }
        assert_eq!(tree.place(), &durable);
        if world.random.u8(0..10) == 0 {
            let text = serde_json::to_string(&durable).unwrap();
            tree = Tree::resume(serde_json::from_str(&text).unwrap());
            tree.listed(&world.list(page)).map(|moves| {
                for (shard, moved) in moves {
                    durable.apply(&shard, &moved);
                }
            })?;
        }
    }
    Ok(read)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// A reader that looks often enough reads every record once, each shard's in order, parents before children.
    #[test]
    fn nothing_is_lost_or_read_twice(seed: u64, roots in 1usize..4, ticks in 1u64..60, page in 1usize..9) {
        let mut world = World::new(seed, roots, 60);
        for _ in 0..80 {
            world.tick();
        }
        // What is listed at the beginning stays for as long as it takes to read it.
        world.kept = 200;
        let older: Vec<bool> = world.shards.iter().map(|shard| shard.trimmed).collect();
        let read = follow(&mut world, ticks, page).map_err(|gap| TestCaseError::fail(gap.to_string()))?;
        for (at, shard) in world.shards.iter().enumerate() {
            let there = older.get(at) != Some(&true);
            let all = read.get(&at).map_or(&[][..], |numbers| numbers);
            prop_assert_eq!(all, if there { &shard.records[..] } else { &[] }, "shard {}", at);
        }
    }

    /// A reader that was away too long is told, whatever it finds.
    #[test]
    fn who_was_away_too_long_hears_of_a_gap(seed: u64, away in 200u64..300) {
        let mut world = World::new(seed, 2, 25);
        let mut tree = Tree::begin(empty(), &world.list(100));
        let closed_unread = |world: &World| world.shards.iter().take(2)
            .any(|shard| shard.closed.is_some_and(|closed| closed + 25 < world.now));
        for _ in 0..away {
            world.tick();
            if world.shards.len() > 400 { break; }
        }
        let gap = tree.listed(&world.list(100));
        prop_assert_eq!(gap.is_err(), closed_unread(&world));
    }
}

#[test]
fn a_listing_of_250_shards_is_taken_whole() {
    let mut listing: Vec<Listed> = (0..250)
        .map(|index| Listed {
            id: name(index),
            parent: index.checked_sub(1).map(name),
            closed: index < 249,
        })
        .collect();
    listing.reverse();
    let mut tree = Tree::begin(empty(), &listing);
    for index in 0..250 {
        assert_eq!(tree.readable().collect::<Vec<_>>(), [&name(index)]);
        tree.drained(&name(index));
    }
    assert!(tree.all_drained());
}
