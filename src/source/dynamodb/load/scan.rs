//! Reads a table itself, for those who asked for it by name: a parallel Scan within a number of read units a second.
//!
//! A Scan is no snapshot: items are read at different times. What it returns of an item is what was true at some time
//! after the stream was begun to be read, so that whatever happened to the item since comes from the stream with a
//! higher number, and what a segment returned is written within the hour or read again, long before the target
//! forgets a delete.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};
use tokio::sync::Mutex;

use super::error::{LoadError, Refusal};
use crate::clock::Clock;
use crate::config::ScanLimits;
use crate::event::{Bound, Chunk};
use crate::fault::chain;
use crate::source::Estimate;

const SCAN: &str = "dynamodb:Scan";

/// Bytes that one unit reads consistently.
const UNIT: u64 = 4096;

/// How long a segment is meant to take: a chunk that takes an hour is read again from its beginning.
const SEGMENT: u64 = 600;

/// The most segments that are made: AWS takes a million.
const SEGMENTS: u64 = 100_000;

/// Waits after throttling, in seconds; each is tried once.
const PATIENCE: [u64; 8] = [1, 2, 4, 8, 15, 30, 30, 30];

/// What all Scans of a source share.
#[derive(Debug)]
pub(super) struct Scans {
    client: Client,
    clock: Clock,
    rate: u32,
    parallelism: u64,
    /// When what was read so far is paid for.
    paid: Mutex<Option<Instant>>,
}

/// A segment of how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Segment {
    number: u32,
    of: u32,
}

impl Segment {
    fn bound(self) -> Bound {
        Bound(vec![format!("{:06}/{:06}", self.number, self.of)])
    }

    fn read(bound: &Bound) -> Result<Segment, LoadError> {
        let alien = || LoadError::Chunk(bound.0.join(", "));
        let [text] = bound.0.as_slice() else {
            return Err(alien());
        };
        let (number, of) = text.split_once('/').ok_or_else(alien)?;
        let parse = |text: &str| text.parse::<u32>().map_err(|_| alien());
        let (number, of) = (parse(number)?, parse(of)?);
        if number < of {
            Ok(Segment { number, of })
        } else {
            Err(alien())
        }
    }

    fn chunk(self, lower: Option<Bound>) -> Chunk {
        let last = self.number.saturating_add(1) == self.of;
        Chunk {
            lower,
            upper: (!last).then(|| self.bound()),
        }
    }

    /// The segment that a chunk means.
    fn of_chunk(chunk: &Chunk) -> Result<Segment, LoadError> {
        match (&chunk.lower, &chunk.upper) {
            (_, Some(upper)) => Segment::read(upper),
            (Some(lower), None) => {
                let before = Segment::read(lower)?;
                Ok(Segment {
                    number: before.number + 1,
                    of: before.of,
                })
            }
            (None, None) => Ok(Segment { number: 0, of: 1 }),
        }
    }
}

impl Scans {
    pub(super) fn new(client: Client, limits: ScanLimits, parallelism: usize, clock: Clock) -> Scans {
        Scans {
            client,
            clock,
            rate: limits.read_units_per_second.max(1),
            parallelism: u64::try_from(parallelism).unwrap_or(1).max(1),
            paid: Mutex::default(),
        }
    }

    /// The chunk after `after`. Into how many segments a table is taken apart is decided with the first one.
    pub(super) fn plan(&self, after: Option<&Bound>, size: Estimate) -> Result<Chunk, LoadError> {
        let segment = match after {
            None => Segment {
                number: 0,
                of: self.segments(size),
            },
            Some(bound) => {
                let before = Segment::read(bound)?;
                Segment {
                    number: before.number + 1,
                    of: before.of,
                }
            }
        };
        Ok(segment.chunk(after.cloned()))
    }

    /// As many segments that each takes minutes, twice as many as the size asks for, because AWS counts it every six
    /// hours only.
    fn segments(&self, size: Estimate) -> u32 {
        let each = (SEGMENT * UNIT).saturating_mul(u64::from(self.rate)) / self.parallelism;
        let asked = size.bytes.saturating_mul(2).div_ceil(each.max(1));
        let segments = asked.max(self.parallelism).min(SEGMENTS);
        u32::try_from(segments).unwrap_or(1)
    }

    /// Items that are read at a time: those of a second, so that the table is not read in bursts.
    fn page(&self, size: Estimate) -> i32 {
        let item = size.bytes.checked_div(size.rows).unwrap_or(UNIT).max(1);
        let items = (UNIT * u64::from(self.rate)) / item;
        i32::try_from(items.clamp(1, 10_000)).unwrap_or(1)
    }

    /// Begins to read a segment.
    pub(super) fn read(
        self: &Arc<Scans>,
        table: &str,
        chunk: &Chunk,
        size: Estimate,
    ) -> Result<Pages, LoadError> {
        Ok(Pages {
            scans: Arc::clone(self),
            table: table.to_owned(),
            segment: Segment::of_chunk(chunk)?,
            limit: self.page(size),
            next: Next::First,
        })
    }

    /// Waits until what was read before is paid for.
    async fn ready(&self) {
        let paid = *self.paid.lock().await;
        if let Some(paid) = paid {
            let wait = paid.saturating_duration_since(self.clock.now());
            if !wait.is_zero() {
                self.clock.sleep(wait).await;
            }
        }
    }

    /// Pays for a page.
    async fn pay(&self, units: f64) {
        let cost =
            Duration::try_from_secs_f64(units.max(0.0) / f64::from(self.rate)).unwrap_or(Duration::MAX);
        let now = self.clock.now();
        let mut paid = self.paid.lock().await;
        let from = paid.unwrap_or(now).max(now);
        *paid = from.checked_add(cost).or(Some(from));
    }
}

/// Where a segment goes on.
#[derive(Debug)]
enum Next {
    First,
    After(HashMap<String, AttributeValue>),
    End,
}

/// A segment that is read page by page.
#[derive(Debug)]
pub(super) struct Pages {
    scans: Arc<Scans>,
    table: String,
    segment: Segment,
    limit: i32,
    next: Next,
}

impl Pages {
    /// The next items, perhaps none; `None` after the last.
    ///
    /// # Errors
    /// AWS refuses, or asks for more patience than there is.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<HashMap<String, AttributeValue>>>, LoadError> {
        let start = match &self.next {
            Next::First => None,
            Next::After(key) => Some(key.clone()),
            Next::End => return Ok(None),
        };
        let mut patience = VecDeque::from(PATIENCE);
        let page = loop {
            self.scans.ready().await;
            let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
            let asked = self
                .scans
                .client
                .scan()
                .table_name(&self.table)
                .consistent_read(true)
                .segment(number(self.segment.number))
                .total_segments(number(self.segment.of))
                .limit(self.limit)
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .set_exclusive_start_key(start.clone())
                .send()
                .await;
            let error = match asked {
                Ok(page) => break page,
                Err(error) => LoadError::call(SCAN, &self.table, error),
            };
            let busy = matches!(
                error,
                LoadError::Call {
                    refusal: Refusal::Busy,
                    ..
                }
            );
            match patience.pop_front() {
                Some(seconds) if busy => {
                    tracing::warn!(table = self.table, error = chain(&error), "Scan is held up");
                    self.scans.clock.sleep(Duration::from_secs(seconds)).await;
                }
                Some(_) | None => return Err(error),
            }
        };
        let units = page
            .consumed_capacity
            .and_then(|consumed| consumed.capacity_units)
            .unwrap_or_else(|| f64::from(page.scanned_count.max(1)));
        self.scans.pay(units).await;
        self.next = match page.last_evaluated_key {
            Some(key) if !key.is_empty() => Next::After(key),
            Some(_) | None => Next::End,
        };
        Ok(Some(page.items.unwrap_or_default()))
    }
}
