//! How far everything is safe. Deliveries end in any order; the position may pass only a contiguous
//! prefix of them, and only up to a commit point.

use std::collections::VecDeque;

use crate::event::{CommitPoint, LogPosition};

/// A flush's number, rising by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitId(pub u64);

/// Flushes that are under way, oldest first.
#[derive(Debug)]
pub struct Frontier {
    position: LogPosition,
    first: u64,
    units: VecDeque<Unit>,
}

#[derive(Debug)]
struct Unit {
    /// Commit points that lie before the next unit's first row.
    points: Vec<CommitPoint>,
    durable: bool,
}

impl Frontier {
    /// A frontier at a position with nothing under way.
    pub fn new(position: LogPosition) -> Frontier {
        Frontier {
            position,
            first: 0,
            units: VecDeque::new(),
        }
    }

    /// Where it is safe to begin again.
    pub fn position(&self) -> &LogPosition {
        &self.position
    }

    /// Notes a flush: its rows come after those of every unit before, and `points` are the commits among
    /// and after them. Units must be opened in the order of the log.
    pub fn open(&mut self, points: Vec<CommitPoint>) -> UnitId {
        self.units.push_back(Unit {
            points,
            durable: false,
        });
        UnitId(self.first + u64::try_from(self.units.len()).unwrap_or(u64::MAX) - 1)
    }

    /// Notes that every row of a unit is durable. Returns whether the position moved.
    pub fn durable(&mut self, id: UnitId) -> bool {
        let index = usize::try_from(id.0.saturating_sub(self.first)).unwrap_or(usize::MAX);
        if let Some(unit) = self.units.get_mut(index).filter(|_| id.0 >= self.first) {
            unit.durable = true;
        }
        let mut moved = false;
        while self.units.front().is_some_and(|unit| unit.durable) {
            let Some(unit) = self.units.pop_front() else { break };
            self.first += 1;
            for point in &unit.points {
                self.position.pass(point);
                moved = true;
            }
        }
        moved
    }

    /// Units that are not durable.
    pub fn in_flight(&self) -> usize {
        self.units.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::event::{BinlogCoord, Epoch, GlobalId, Gtid, GtidSet, GtidSource, TxnStart};

    fn position() -> LogPosition {
        let next = TxnStart {
            epoch: Epoch(1),
            coord: BinlogCoord { file: 1, offset: 0 },
        };
        LogPosition {
            server: "s".into(),
            file_name: "f".into(),
            file_born: 0,
            next,
            gtids: Some(GtidSet::default()),
            domains: None,
            last_event: None,
            prepared: Vec::new(),
            streams: Vec::new(),
        }
    }

    fn gtid(number: u64) -> Gtid {
        Gtid {
            source: GtidSource {
                uuid: 1,
                tag: Arc::from(""),
            },
            number,
        }
    }

    /// Transaction `number` ends at offset `number`.
    fn point(number: u64) -> CommitPoint {
        CommitPoint {
            next: TxnStart {
                epoch: Epoch(1),
                coord: BinlogCoord {
                    file: 1,
                    offset: number,
                },
            },
            file_name: "f".into(),
            gtid: Some(GlobalId::Gtid(gtid(number))),
            file_born: 0,
            last_event: None,
            committed_micros: Some(1),
            executed: None,
            xa: Vec::new(),
            streams: Vec::new(),
        }
    }

    proptest! {
        /// Whatever the order of completion, the position is that of the longest durable prefix, and
        /// the set holds exactly the transactions before it.
        #[test]
        fn the_position_is_the_longest_durable_prefix(
            sizes in proptest::collection::vec(0usize..4, 1..30),
            order in Just(()).prop_perturb(|(), mut rng| rng.random::<u64>()),
        ) {
            let mut frontier = Frontier::new(position());
            let mut number = 0;
            let mut ends = Vec::new();
            let ids: Vec<UnitId> = sizes.iter().map(|size| {
                let points = (0..*size).map(|_| { number += 1; point(number) }).collect();
                ends.push(number);
                frontier.open(points)
            }).collect();
            let mut rest: Vec<usize> = (0..ids.len()).collect();
            let mut random = fastrand::Rng::with_seed(order);
            random.shuffle(&mut rest);
            let mut done = vec![false; ids.len()];
            for index in rest {
                frontier.durable(ids[index]);
                done[index] = true;
                let prefix = done.iter().take_while(|done| **done).count();
                let expected = if prefix == 0 { 0 } else { ends[prefix - 1] };
                prop_assert_eq!(frontier.position().next.coord.offset, expected);
                let set = frontier.position().gtids.clone().unwrap();
                for number in 1..=number {
                    prop_assert_eq!(set.contains(&gtid(number)), number <= expected);
                }
                prop_assert_eq!(frontier.in_flight(), ids.len() - prefix);
            }
        }
    }

    #[test]
    fn a_unit_that_was_durable_before_changes_nothing() {
        let mut frontier = Frontier::new(position());
        let first = frontier.open(vec![point(1)]);
        assert!(frontier.durable(first));
        let second = frontier.open(vec![point(2)]);
        assert!(!frontier.durable(first));
        assert_eq!(frontier.in_flight(), 1);
        assert!(frontier.durable(second));
    }
}
