//! A stream's shards: records with rising numbers, closes, children, and what a day trims.

use std::collections::VecDeque;

use fastrand::Rng;
use serde_json::{Value, json};

/// Microseconds.
pub(crate) const SECOND: i64 = 1_000_000;
pub(crate) const HOUR: i64 = 3_600 * SECOND;
/// How long records are kept.
pub(crate) const KEPT: i64 = 24 * HOUR;
/// How old a shard grows before another takes over.
const ROLL: i64 = 4 * HOUR;

/// A record as `GetRecords` shows it.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) number: String,
    pub(crate) at: i64,
    pub(crate) size: usize,
    pub(crate) shown: Value,
}

#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) id: String,
    pub(crate) parent: Option<String>,
    opened: i64,
    pub(crate) closed: Option<i64>,
    /// The hashes of keys that it takes, both ends included.
    range: (u64, u64),
    start: String,
    last: String,
    /// How many records were trimmed from the front.
    pub(crate) trimmed: usize,
    last_trimmed: Option<String>,
    pub(crate) records: VecDeque<Record>,
    /// Listings of the stream that do not show it yet.
    pub(crate) hidden: usize,
    /// Calls of `GetRecords` that are under way.
    pub(crate) readers: usize,
}

impl Shard {
    fn new(parent: Option<&Shard>, range: (u64, u64), now: i64, rng: &mut Rng) -> Shard {
        let start = match parent {
            Some(parent) => after_parent(&parent.last, rng),
            None => format!("{}{:020}", rng.u8(1..=9), rng.u64(0..u64::MAX)),
        };
        Shard {
            id: format!("shardId-{:020}-{:08x}", now / 1_000, rng.u32(..)),
            parent: parent.map(|parent| parent.id.clone()),
            opened: now,
            closed: None,
            range,
            last: start.clone(),
            start,
            trimmed: 0,
            last_trimmed: None,
            records: VecDeque::new(),
            hidden: 0,
            readers: 0,
        }
    }

    pub(crate) fn end(&self) -> usize {
        self.trimmed + self.records.len()
    }

    pub(crate) fn describe(&self) -> Value {
        let mut range = json!({"StartingSequenceNumber": self.start});
        if self.closed.is_some() {
            range["EndingSequenceNumber"] = json!(self.last);
        }
        let mut shown = json!({"ShardId": self.id, "SequenceNumberRange": range});
        if let Some(parent) = &self.parent {
            shown["ParentShardId"] = json!(parent);
        }
        shown
    }

    /// Where reading at a number, or after it, begins; `None` if that part was trimmed.
    pub(crate) fn position(&self, number: &str, after: bool) -> Option<usize> {
        let wanted = key(number);
        if self.last_trimmed.as_ref().is_some_and(|last| wanted <= key(last)) {
            return None;
        }
        let passed = self.records.iter().take_while(|record| {
            let found = key(&record.number);
            found < wanted || (after && found == wanted)
        });
        Some(self.trimmed + passed.count())
    }

    /// Whether a number can be one of this shard's.
    pub(crate) fn holds(&self, number: &str) -> bool {
        let digits = (1..=40).contains(&number.len()) && number.bytes().all(|digit| digit.is_ascii_digit());
        let below_end = self.closed.is_none() || key(number) <= key(&self.last);
        digits && key(number) >= key(&self.start) && below_end
    }

    fn trim(&mut self, now: i64) {
        while self.records.front().is_some_and(|record| record.at + KEPT <= now) {
            let gone = self.records.pop_front();
            self.trimmed += 1;
            self.last_trimmed = gone.map(|gone| gone.number);
        }
    }

    fn gone(&self, now: i64) -> bool {
        self.closed.is_some_and(|closed| closed + KEPT <= now)
    }
}

/// Numbers compare by their value, and have no leading zeros.
pub(crate) fn key(number: &str) -> (usize, &str) {
    let number = number.trim_start_matches('0');
    (number.len(), number)
}

/// A larger number, of up to 40 digits.
fn next(number: &str, rng: &mut Rng) -> String {
    let zeros = rng.usize(0..=number.len().saturating_sub(14));
    add(number, rng.u32(1..=9_999), zeros)
}

/// A child's first number: often with one digit more.
fn after_parent(number: &str, rng: &mut Rng) -> String {
    if number.len() < 40 && rng.bool() {
        return format!("{number}{}", rng.u8(0..=9));
    }
    next(number, rng)
}

/// `number + by × 10^zeros`.
fn add(number: &str, by: u32, zeros: usize) -> String {
    let mut digits: Vec<u32> = number
        .bytes()
        .rev()
        .map(|digit| u32::from(digit - b'0'))
        .collect();
    let (mut carry, mut place) = (by, zeros);
    while carry > 0 {
        if place == digits.len() {
            digits.push(0);
        }
        carry += digits[place];
        digits[place] = carry % 10;
        carry /= 10;
        place += 1;
    }
    let text: String = digits
        .iter()
        .rev()
        .map(|digit| char::from_digit(*digit, 10).expect("a digit"))
        .collect();
    assert!(text.len() <= 40, "sequence numbers have at most 40 digits");
    text
}

/// A table's stream, also after it was disabled.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) arn: String,
    pub(crate) label: String,
    pub(crate) table: String,
    pub(crate) view: String,
    pub(crate) created: i64,
    pub(crate) disabled: Option<i64>,
    pub(crate) key_schema: Value,
    pub(crate) shards: Vec<Shard>,
    /// How many listings leave out shards that begin.
    pub(crate) hide_children: usize,
}

impl Stream {
    /// The key space in so many equal parts.
    pub(crate) fn open(&mut self, parts: u64, now: i64, rng: &mut Rng) {
        let width = u64::MAX / parts;
        for part in 0..parts {
            let last = part + 1 == parts;
            let range = (part * width, if last { u64::MAX } else { (part + 1) * width - 1 });
            self.shards.push(Shard::new(None, range, now, rng));
        }
    }

    /// Adds a record to the open shard of a key.
    pub(crate) fn append(
        &mut self,
        hash: u64,
        at: i64,
        rng: &mut Rng,
        record: impl FnOnce(&str) -> (Value, usize),
    ) {
        let shard = self
            .shards
            .iter_mut()
            .find(|shard| shard.closed.is_none() && (shard.range.0..=shard.range.1).contains(&hash))
            .expect("the open shards cover all keys");
        shard.last = next(&shard.last, rng);
        let number = shard.last.clone();
        let (shown, size) = record(&number);
        shard.records.push_back(Record {
            number,
            at,
            size,
            shown,
        });
    }

    /// Closes an open shard; `parts` children take over.
    pub(crate) fn close(&mut self, id: &str, parts: u64, now: i64, rng: &mut Rng) -> Vec<String> {
        let hidden = self.hide_children;
        let shard = self
            .shards
            .iter_mut()
            .find(|shard| shard.id == id && shard.closed.is_none())
            .expect("an open shard");
        shard.closed = Some(now);
        let (from, to) = shard.range;
        let width = (to - from) / parts;
        let children: Vec<Shard> = (0..parts)
            .map(|part| {
                let last = if part + 1 == parts {
                    to
                } else {
                    from + (part + 1) * width - 1
                };
                let mut child = Shard::new(Some(shard), (from + part * width, last), now, rng);
                child.hidden = hidden;
                child
            })
            .collect();
        let ids = children.iter().map(|child| child.id.clone()).collect();
        self.shards.extend(children);
        ids
    }

    pub(crate) fn open_shards(&self) -> Vec<String> {
        let open = self.shards.iter().filter(|shard| shard.closed.is_none());
        open.map(|shard| shard.id.clone()).collect()
    }

    /// Ends the stream: every shard is closed, none begins.
    pub(crate) fn disable(&mut self, now: i64) {
        if self.disabled.is_none() {
            self.disabled = Some(now);
            for shard in self.shards.iter_mut().filter(|shard| shard.closed.is_none()) {
                shard.closed = Some(now);
            }
        }
    }

    /// What time does: old shards hand over, old records and shards go.
    pub(crate) fn tick(&mut self, now: i64, rng: &mut Rng) {
        while let Some(due) = self
            .shards
            .iter()
            .find(|shard| shard.closed.is_none() && shard.opened + ROLL <= now)
            .map(|shard| (shard.id.clone(), shard.opened + ROLL))
        {
            self.close(&due.0, 1, due.1, rng);
        }
        for shard in &mut self.shards {
            shard.trim(now);
        }
        self.shards.retain(|shard| !shard.gone(now));
    }

    pub(crate) fn shard(&mut self, id: &str) -> Option<&mut Shard> {
        self.shards.iter_mut().find(|shard| shard.id == id)
    }
}
