//! A position that the source does not continue: its log was purged or reset, or another server answers
//! that lacks what was copied. What was copied stays right and nothing newer can come, so the pipeline
//! stands still, loudly: not ready, with the reason and the cure, looking again now and then. A restart
//! would only say it again, and the other server may still come.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::fault::{Classify, chain};
use crate::status::Status;

/// How long to wait before looking again.
const LOOK: Duration = Duration::from_secs(30);
/// Looks after which the log says again that nothing changed: half an hour.
const REMIND: u64 = 60;

/// How long an opened log must hold to count as found, if nothing was committed in it.
const SETTLED: Duration = Duration::from_secs(10);

/// What is done about a lost position.
#[derive(Debug, Clone, Copy, Default)]
pub struct Patience {
    /// Whether it is waited for.
    pub waits: bool,
    /// Whether every table is copied again where that makes it good.
    pub copies: bool,
}

impl Patience {
    /// Whether the source may continue what was read by itself, and is looked at again.
    pub(super) fn waits_for(self, error: &(dyn Classify + Send + Sync)) -> bool {
        self.waits && error.position_lost() && !self.begins_anew(error)
    }

    /// Whether every table is copied again.
    pub(super) fn begins_anew(self, error: &(dyn Classify + Send + Sync)) -> bool {
        self.copies && error.mended_by_copy()
    }
}

/// Keeps watch over a lost position.
#[derive(Debug)]
pub(super) struct Vigil {
    status: Arc<Status>,
    /// How often it was looked in vain, since the position was lost.
    looks: u64,
    opened: Option<Instant>,
}

impl Vigil {
    /// One with nothing to watch.
    pub(super) fn new(status: Arc<Status>) -> Vigil {
        Vigil {
            status,
            looks: 0,
            opened: None,
        }
    }

    /// Whether the position is lost.
    pub(super) fn watching(&self) -> bool {
        self.looks > 0
    }

    /// The position is lost, or still is. Returns how long to wait before looking again.
    pub(super) fn lost(&mut self, error: &(dyn Classify + Send + Sync)) -> Duration {
        let (reason, hint) = (chain(error), error.hint());
        if self.looks.is_multiple_of(REMIND) {
            tracing::error!(
                error = reason,
                hint,
                on_position_lost = "stop",
                "position lost: nothing is copied any more until it is found again"
            );
        }
        self.looks += 1;
        self.status.position_lost(Some((reason, hint)));
        LOOK
    }

    /// The log was opened; whether what follows can be read shows later.
    pub(super) fn opened(&mut self, clock: &Clock) {
        self.opened = Some(clock.now());
    }

    /// A place in the opened log was passed, at the end of a transaction or for want of one.
    pub(super) fn passed(&mut self, clock: &Clock, committed: bool) {
        let settled = |since: Instant| clock.now().saturating_duration_since(since) >= SETTLED;
        if self.watching() && (committed || self.opened.is_some_and(settled)) {
            self.found();
        }
    }

    /// The log goes on.
    pub(super) fn found(&mut self) {
        if self.watching() {
            tracing::info!(looks = self.looks, "position found again: copying goes on");
            self.looks = 0;
            self.status.position_lost(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Fault;

    #[derive(Debug, thiserror::Error)]
    #[error("purged")]
    struct Purged;

    impl Classify for Purged {
        fn fault(&self) -> Fault {
            Fault::Fatal
        }
        fn hint(&self) -> Option<String> {
            Some("copy anew".to_owned())
        }
        fn position_lost(&self) -> bool {
            true
        }
    }

    #[test]
    fn an_opened_log_counts_as_found_only_when_it_goes_on() {
        let (status, clock) = (Arc::new(Status::default()), Clock::manual());
        let mut vigil = Vigil::new(Arc::clone(&status));
        let lost = || status.view(&clock).position_lost.is_some();
        vigil.lost(&Purged);
        vigil.opened(&clock);
        // A rotation on the way to what the server refuses.
        vigil.passed(&clock, false);
        assert!(lost());
        let problems = status.view(&clock).problems;
        assert_eq!(
            problems.first().map(String::as_str),
            Some("position lost: purged; copy anew")
        );
        vigil.passed(&clock, true);
        assert!(!lost());
        vigil.lost(&Purged);
        vigil.opened(&clock);
        clock.advance(SETTLED);
        vigil.passed(&clock, false);
        assert!(!lost());
    }
}
