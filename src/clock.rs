//! Time as an argument. Everything that waits or looks at a clock takes a [`Clock`], so that a test
//! turns it by hand and a simulation is repeatable.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;

/// A monotonic clock, a wall clock and a way to wait. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Clock(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Real,
    Manual(Arc<Manual>),
}

#[derive(Debug)]
struct Manual {
    base: Instant,
    /// The wall time at `base`, since 1970-01-01T00:00:00Z.
    wall: Duration,
    /// Whether it also runs by itself, as the machine's clock does.
    runs: bool,
    /// How far it was turned.
    elapsed: Mutex<Duration>,
    turned: Notify,
}

/// The wall time that a manual clock shows before it is turned: 2026-01-01T00:00:00Z, in seconds.
const MANUAL_EPOCH_SECONDS: u64 = 1_767_225_600;

impl Clock {
    /// The machine's clock.
    pub fn real() -> Clock {
        Clock(Kind::Real)
    }

    /// A clock that stands still until [`Clock::advance`] turns it.
    #[expect(clippy::disallowed_methods, reason = "this module is where the clock is read")]
    pub fn manual() -> Clock {
        Clock(Kind::Manual(Arc::new(Manual {
            base: Instant::now(),
            wall: Duration::from_secs(MANUAL_EPOCH_SECONDS),
            runs: false,
            elapsed: Mutex::new(Duration::ZERO),
            turned: Notify::new(),
        })))
    }

    /// A clock that runs as the machine's does and that [`Clock::advance`] can turn forward besides.
    #[expect(clippy::disallowed_methods, reason = "this module is where the clock is read")]
    pub fn turnable() -> Clock {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH);
        Clock(Kind::Manual(Arc::new(Manual {
            base: Instant::now(),
            wall: wall.unwrap_or(Duration::ZERO),
            runs: true,
            elapsed: Mutex::new(Duration::ZERO),
            turned: Notify::new(),
        })))
    }

    /// Monotonic time, for durations.
    #[expect(clippy::disallowed_methods, reason = "this module is where the clock is read")]
    pub fn now(&self) -> Instant {
        match &self.0 {
            Kind::Real => Instant::now(),
            Kind::Manual(manual) => manual.base + manual.elapsed(),
        }
    }

    /// Wall time in microseconds since 1970-01-01T00:00:00Z.
    #[expect(clippy::disallowed_methods, reason = "this module is where the clock is read")]
    pub fn unix_micros(&self) -> i64 {
        let since = match &self.0 {
            Kind::Real => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or(Duration::ZERO),
            Kind::Manual(manual) => manual.wall + manual.elapsed(),
        };
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    }

    /// Wall time in whole seconds since 1970-01-01T00:00:00Z.
    pub fn unix_seconds(&self) -> u64 {
        u64::try_from(self.unix_micros() / 1_000_000).unwrap_or(0)
    }

    /// Waits for `duration` of this clock's time.
    pub fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let clock = self.clone();
        let until = self.now() + duration;
        Box::pin(async move { clock.sleep_until(until, duration).await })
    }

    #[expect(clippy::disallowed_methods, reason = "this module is where waiting happens")]
    async fn sleep_until(self, until: Instant, duration: Duration) {
        let manual = match &self.0 {
            Kind::Real => return tokio::time::sleep(duration).await,
            Kind::Manual(manual) => manual,
        };
        loop {
            let turned = manual.turned.notified();
            tokio::pin!(turned);
            turned.as_mut().enable();
            let left = until.saturating_duration_since(self.now());
            if left.is_zero() {
                return;
            }
            if manual.runs {
                tokio::select! {
                    () = turned => {}
                    () = tokio::time::sleep(left) => {}
                }
            } else {
                turned.await;
            }
        }
    }

    /// Turns a manual or turnable clock forward and wakes who waits on it; does nothing to the machine's clock.
    pub fn advance(&self, by: Duration) {
        if let Kind::Manual(manual) = &self.0 {
            *manual.elapsed.lock().unwrap_or_else(PoisonError::into_inner) += by;
            manual.turned.notify_waiters();
        }
    }
}

impl Manual {
    #[expect(clippy::disallowed_methods, reason = "this module is where the clock is read")]
    fn elapsed(&self) -> Duration {
        let turned = *self.elapsed.lock().unwrap_or_else(PoisonError::into_inner);
        if self.runs {
            Instant::now().saturating_duration_since(self.base) + turned
        } else {
            turned
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn manual_clock_wakes_a_sleeper_only_when_turned_far_enough() {
        let clock = Clock::manual();
        let mut sleep = clock.sleep(Duration::from_secs(10));
        clock.advance(Duration::from_secs(9));
        assert!(futures_util::poll!(&mut sleep).is_pending());
        clock.advance(Duration::from_secs(1));
        assert!(futures_util::poll!(&mut sleep).is_ready());
    }

    #[tokio::test]
    async fn turnable_clock_runs_and_can_be_turned() {
        let clock = Clock::turnable();
        let (now, wall) = (clock.now(), clock.unix_micros());
        assert!((Clock::real().unix_micros() - wall).abs() < 60_000_000);
        clock.sleep(Duration::from_micros(1)).await;
        assert!(clock.now() > now);
        let mut sleep = clock.sleep(Duration::from_secs(7_200));
        assert!(futures_util::poll!(&mut sleep).is_pending());
        clock.advance(Duration::from_secs(7_200));
        assert!(futures_util::poll!(&mut sleep).is_ready());
        assert!(clock.unix_micros() - wall >= 7_200_000_000);
    }
}
