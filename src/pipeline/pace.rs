//! Holds copies back to a number of rows a second, over all of them. A chunk is read at full speed, because a read
//! that pauses is a transaction that stays open and a connection that the server may give up; the time by which its
//! rows came too early is waited before the next chunk begins.

use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::clock::Clock;

/// When the next rows may be read.
#[derive(Debug)]
pub struct Pace {
    rate: Option<NonZeroU64>,
    due: Mutex<Instant>,
    clock: Clock,
}

impl Pace {
    /// At most `rate` rows a second; `None`: no limit.
    pub fn new(rate: Option<NonZeroU64>, clock: Clock) -> Pace {
        Pace {
            rate,
            due: Mutex::new(clock.now()),
            clock,
        }
    }

    /// Notes rows that were read.
    pub fn read(&self, rows: u64) {
        let Some(rate) = self.rate else { return };
        let nanos = u128::from(rows) * 1_000_000_000 / u128::from(rate.get());
        let time = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let now = self.clock.now();
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        // What was not used while nothing was read is not made up for.
        let from = now.max(*due);
        *due = from.checked_add(time).unwrap_or(from);
    }

    /// Waits until all rows that were read by now were due.
    pub async fn allows(&self) {
        loop {
            let due = *self.due.lock().unwrap_or_else(PoisonError::into_inner);
            let early = due.saturating_duration_since(self.clock.now());
            if early.is_zero() {
                return;
            }
            self.clock.sleep(early).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn the_next_chunk_waits_until_the_rows_before_were_due() {
        let clock = Clock::manual();
        let pace = Pace::new(NonZeroU64::new(100), clock.clone());
        assert!(pace.allows().now_or_never().is_some());
        pace.read(150);
        pace.read(50);
        clock.advance(Duration::from_millis(1999));
        assert!(pace.allows().now_or_never().is_none());
        clock.advance(Duration::from_millis(1));
        assert!(pace.allows().now_or_never().is_some());
        // An hour without rows is no credit for a burst.
        clock.advance(Duration::from_secs(3600));
        pace.read(100);
        assert!(pace.allows().now_or_never().is_none());
        clock.advance(Duration::from_secs(1));
        assert!(pace.allows().now_or_never().is_some());
    }

    #[test]
    fn without_a_limit_nothing_waits() {
        let pace = Pace::new(None, Clock::manual());
        pace.read(u64::MAX);
        assert!(pace.allows().now_or_never().is_some());
    }
}
