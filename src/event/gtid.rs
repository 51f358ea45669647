//! Global transaction identifiers of MySQL: one transaction's [`Gtid`] and sets of them, as pure set
//! algebra. Text forms and order are the server's own, so that sets can be compared with what it prints
//! (<https://dev.mysql.com/doc/refman/8.4/en/replication-gtids-concepts.html>); a property test holds the
//! algebra to `GTID_SUBSET`, `GTID_SUBTRACT` and friends.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A source of GTIDs: the UUID of the server where transactions began and the optional tag (MySQL 8.3+).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GtidSource {
    /// The server's UUID as a big-endian number.
    pub uuid: u128,
    /// Empty without a tag; else 1–32 characters of `[a-z_][a-z0-9_]*`.
    pub tag: Arc<str>,
}

/// One transaction's identifier.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Gtid {
    /// Where it began.
    pub source: GtidSource,
    /// Its number there, from 1.
    pub number: u64,
}

/// Numbers `start..end`: half-open, never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// The first number, at least 1.
    pub start: u64,
    /// One past the last number.
    pub end: u64,
}

/// A set of GTIDs. Intervals of a source are sorted, disjoint and never touch, so equal sets are equal values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GtidSet(BTreeMap<GtidSource, Vec<Interval>>);

/// Text that is no GTID set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a GTID set: {reason} in {text:?}")]
pub struct GtidParseError {
    /// The part that does not parse.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl GtidSet {
    /// Whether the set has no member.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every source with its intervals, in the server's order.
    pub fn sources(&self) -> impl Iterator<Item = (&GtidSource, &[Interval])> {
        self.0
            .iter()
            .map(|(source, intervals)| (source, intervals.as_slice()))
    }

    /// Adds one transaction.
    pub fn insert(&mut self, gtid: &Gtid) {
        let interval = Interval {
            start: gtid.number,
            end: gtid.number.saturating_add(1),
        };
        self.insert_all(&gtid.source, interval);
    }

    /// Adds the transactions of an interval, which must not be empty.
    pub fn insert_all(&mut self, source: &GtidSource, interval: Interval) {
        match self.0.get_mut(source) {
            Some(intervals) => add(intervals, interval),
            None => {
                self.0.insert(source.clone(), vec![interval]);
            }
        }
    }

    /// Whether the transaction is a member.
    pub fn contains(&self, gtid: &Gtid) -> bool {
        self.0.get(&gtid.source).is_some_and(|intervals| {
            let after = intervals.partition_point(|interval| interval.start <= gtid.number);
            after
                .checked_sub(1)
                .and_then(|index| intervals.get(index))
                .is_some_and(|found| gtid.number < found.end)
        })
    }

    /// Adds every member of `other`.
    pub fn union(&mut self, other: &GtidSet) {
        for (source, intervals) in &other.0 {
            let mine = self.0.entry(source.clone()).or_default();
            for interval in intervals {
                add(mine, *interval);
            }
        }
    }

    /// The members of `self` that are not in `other`: the server's `GTID_SUBTRACT(self, other)`.
    #[must_use]
    pub fn subtract(&self, other: &GtidSet) -> GtidSet {
        let mut left = BTreeMap::new();
        for (source, intervals) in &self.0 {
            let removed = other.0.get(source).map_or(&[][..], Vec::as_slice);
            let rest = subtract(intervals, removed);
            if !rest.is_empty() {
                left.insert(source.clone(), rest);
            }
        }
        GtidSet(left)
    }

    /// Whether every member of `self` is in `other`: the server's `GTID_SUBSET(self, other)`.
    pub fn is_subset(&self, other: &GtidSet) -> bool {
        self.subtract(other).is_empty()
    }

    /// The members of both.
    #[must_use]
    pub fn intersect(&self, other: &GtidSet) -> GtidSet {
        self.subtract(&self.subtract(other))
    }
}

/// Adds an interval to a sorted, disjoint list, joining what touches.
fn add(intervals: &mut Vec<Interval>, new: Interval) {
    // The common case by far: the next number of a running server.
    if let Some(last) = intervals.last_mut()
        && new.start >= last.start
        && new.start <= last.end
    {
        last.end = last.end.max(new.end);
        return;
    }
    let from = intervals.partition_point(|interval| interval.end < new.start);
    let to = intervals.partition_point(|interval| interval.start <= new.end);
    let mut joined = new;
    for interval in intervals.get(from..to).unwrap_or_default() {
        joined.start = joined.start.min(interval.start);
        joined.end = joined.end.max(interval.end);
    }
    intervals.splice(from..to.max(from), [joined]);
}

fn subtract(from: &[Interval], removed: &[Interval]) -> Vec<Interval> {
    let mut rest = Vec::new();
    for interval in from {
        let mut start = interval.start;
        for hole in removed
            .iter()
            .filter(|hole| hole.start < interval.end && hole.end > interval.start)
        {
            if hole.start > start {
                rest.push(Interval {
                    start,
                    end: hole.start,
                });
            }
            start = start.max(hole.end);
        }
        if start < interval.end {
            rest.push(Interval {
                start,
                end: interval.end,
            });
        }
    }
    rest
}

fn write_uuid(f: &mut fmt::Formatter<'_>, uuid: u128) -> fmt::Result {
    let (a, b, c) = (uuid >> 96, (uuid >> 80) & 0xffff, (uuid >> 64) & 0xffff);
    let (d, e) = ((uuid >> 48) & 0xffff, uuid & 0xffff_ffff_ffff);
    write!(f, "{a:08x}-{b:04x}-{c:04x}-{d:04x}-{e:012x}")
}

/// Reads a UUID with or without dashes.
///
/// # Errors
/// [`GtidParseError`] if it is not 32 hexadecimal digits.
pub fn parse_uuid(text: &str) -> Result<u128, GtidParseError> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let error = || GtidParseError {
        text: text.to_owned(),
        reason: "a UUID is 32 hexadecimal digits",
    };
    if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(error());
    }
    u128::from_str_radix(&digits, 16).map_err(|_| error())
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_uuid(f, self.source.uuid)?;
        if !self.source.tag.is_empty() {
            write!(f, ":{}", self.source.tag)?;
        }
        write!(f, ":{}", self.number)
    }
}

/// The server's canonical text: sources in order, the tags of one UUID in one group, single numbers without a dash.
impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut previous = None;
        for (source, intervals) in &self.0 {
            if previous != Some(source.uuid) {
                if previous.is_some() {
                    f.write_str(",")?;
                }
                write_uuid(f, source.uuid)?;
                previous = Some(source.uuid);
            }
            if !source.tag.is_empty() {
                write!(f, ":{}", source.tag)?;
            }
            for interval in intervals {
                if interval.end - interval.start == 1 {
                    write!(f, ":{}", interval.start)?;
                } else {
                    write!(f, ":{}-{}", interval.start, interval.end - 1)?;
                }
            }
        }
        Ok(())
    }
}

impl FromStr for GtidSet {
    type Err = GtidParseError;

    fn from_str(text: &str) -> Result<GtidSet, GtidParseError> {
        let mut set = GtidSet::default();
        for group in text.split(',').map(str::trim).filter(|group| !group.is_empty()) {
            set.parse_group(group)?;
        }
        Ok(set)
    }
}

impl GtidSet {
    fn parse_group(&mut self, group: &str) -> Result<(), GtidParseError> {
        let mut parts = group.split(':').map(str::trim);
        let uuid = parse_uuid(parts.next().unwrap_or_default())?;
        let mut tag: Arc<str> = Arc::from("");
        for part in parts {
            if part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
                tag = Arc::from(parse_tag(part)?);
                continue;
            }
            let interval = parse_interval(part)?;
            add(
                self.0
                    .entry(GtidSource {
                        uuid,
                        tag: Arc::clone(&tag),
                    })
                    .or_default(),
                interval,
            );
        }
        Ok(())
    }
}

fn parse_tag(text: &str) -> Result<String, GtidParseError> {
    let valid = text.len() <= 32
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !valid {
        let reason = "a tag is up to 32 letters, digits and underscores";
        return Err(GtidParseError {
            text: text.to_owned(),
            reason,
        });
    }
    Ok(text.to_ascii_lowercase())
}

fn parse_interval(text: &str) -> Result<Interval, GtidParseError> {
    let error = |reason| GtidParseError {
        text: text.to_owned(),
        reason,
    };
    let number = |part: &str| {
        part.trim()
            .parse::<u64>()
            .map_err(|_| error("a number is expected"))
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    if first == 0 || last < first || last >= u64::MAX >> 1 {
        return Err(error("numbers run from 1, upwards, below 2^63"));
    }
    Ok(Interval {
        start: first,
        end: last + 1,
    })
}

impl TryFrom<String> for GtidSet {
    type Error = GtidParseError;

    fn try_from(text: String) -> Result<GtidSet, GtidParseError> {
        text.parse()
    }
}

impl From<GtidSet> for String {
    fn from(set: GtidSet) -> String {
        set.to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    #[test]
    fn text_is_the_servers_canonical_form() {
        for (given, expected) in [
            ("", ""),
            (
                "3E11FA47-71CA-11E1-9E33-C80AA9429562:23",
                "3e11fa47-71ca-11e1-9e33-c80aa9429562:23",
            ),
            (
                "3E11FA47-71CA-11E1-9E33-C80AA9429562:1-3:11:4:47-49",
                "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-4:11:47-49",
            ),
            (
                "\n3e11fa4771ca11e19e33c80aa9429562:domain_1:1-3:5:Domain_2:8,3e11fa4771ca11e19e33c80aa9429562:9",
                "3e11fa47-71ca-11e1-9e33-c80aa9429562:9:domain_1:1-3:5:domain_2:8",
            ),
        ] {
            assert_eq!(given.parse::<GtidSet>().unwrap().to_string(), expected);
        }
    }

    #[test]
    fn text_that_is_no_set_is_refused() {
        for text in [
            "x",
            "3e11fa47:1",
            &format!("{A}:0"),
            &format!("{A}:5-3"),
            &format!("{A}:1-"),
            &format!("{A}:a-b:1"),
        ] {
            assert!(text.parse::<GtidSet>().is_err(), "{text}");
        }
    }

    fn source(tagged: bool) -> GtidSource {
        GtidSource {
            uuid: 7,
            tag: if tagged { "t".into() } else { "".into() },
        }
    }

    fn build(members: &BTreeSet<(bool, u64)>) -> GtidSet {
        let mut set = GtidSet::default();
        for (tagged, number) in members {
            set.insert(&Gtid {
                source: source(*tagged),
                number: *number,
            });
        }
        set
    }

    fn members() -> impl Strategy<Value = BTreeSet<(bool, u64)>> {
        proptest::collection::btree_set((any::<bool>(), 1u64..40), 0..40)
    }

    proptest! {
        #[test]
        fn algebra_equals_that_of_plain_sets(a in members(), b in members()) {
            let (left, right) = (build(&a), build(&b));
            let mut union = left.clone();
            union.union(&right);
            prop_assert_eq!(&union, &build(&a.union(&b).copied().collect()));
            prop_assert_eq!(left.subtract(&right), build(&a.difference(&b).copied().collect()));
            prop_assert_eq!(left.intersect(&right), build(&a.intersection(&b).copied().collect()));
            prop_assert_eq!(left.is_subset(&right), a.is_subset(&b));
            for (tagged, number) in &b {
                let gtid = Gtid { source: source(*tagged), number: *number };
                prop_assert_eq!(left.contains(&gtid), a.contains(&(*tagged, *number)));
            }
        }

        #[test]
        fn insertion_order_does_not_matter(mut list in proptest::collection::vec((any::<bool>(), 1u64..40), 0..60)) {
            let expected = build(&list.iter().copied().collect());
            let mut set = GtidSet::default();
            for (tagged, number) in list.drain(..) {
                set.insert(&Gtid { source: source(tagged), number });
            }
            prop_assert_eq!(&set.to_string().parse::<GtidSet>().unwrap(), &expected);
            prop_assert_eq!(set, expected);
        }
    }
}
