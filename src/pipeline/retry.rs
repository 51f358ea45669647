//! Waiting between attempts, and what ends it. A step of a copy is repeated until it succeeds, for as long as it is of
//! use: a table may be dropped or get other columns between the look at it and the place of the log that it is
//! followed from, and then no later part of the log says so.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use super::breaks;
use super::error::PipelineError;
use super::snapshot::{Copying, Failed};
use crate::fault::{Fault, chain};
use crate::source::SourceError;

/// The longest wait between two attempts.
pub(super) const MAX_DELAY: Duration = Duration::from_secs(30);
/// So often a table is found to be another than it was opened as before it is opened anew: about ten seconds, in which
/// the log has its say first.
const OUTDATED: u32 = 6;

/// Waits between attempts, growing, never ending.
pub(super) fn delays() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(MAX_DELAY)
        .with_jitter()
        .without_max_times()
        .build()
}

/// Attempts at one step.
pub(super) struct Attempts {
    delays: ExponentialBackoff,
    outdated: u32,
}

impl Default for Attempts {
    fn default() -> Attempts {
        Attempts {
            delays: delays(),
            outdated: 0,
        }
    }
}

impl Copying {
    /// Repeats a step of the source until it succeeds, for good or for ill.
    pub(super) async fn again<'a, T, F, Step>(&'a self, what: &'static str, step: Step) -> Result<T, Failed>
    where
        Step: FnMut() -> F,
        F: Future<Output = Result<T, SourceError>> + 'a,
    {
        self.again_while(|| true, what, step).await
    }

    /// The same for as long as it is of use: what the log says of a table ends the copying of it.
    pub(super) async fn again_while<'a, T, F, Step>(
        &'a self,
        of_use: impl Fn() -> bool,
        what: &'static str,
        mut step: Step,
    ) -> Result<T, Failed>
    where
        Step: FnMut() -> F,
        F: Future<Output = Result<T, SourceError>> + 'a,
    {
        let mut attempts = Attempts::default();
        loop {
            if !of_use() {
                return Err(Failed::Parked);
            }
            let done = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(Failed::Stopped),
                done = step() => done,
            };
            match done {
                Ok(value) => return Ok(value),
                Err(error) => self.wait(what, error, &mut attempts).await?,
            }
        }
    }

    /// Waits before the next attempt, if there may be one.
    pub(super) async fn wait(
        &self,
        what: &'static str,
        error: SourceError,
        attempts: &mut Attempts,
    ) -> Result<(), Failed> {
        let after = match error.fault() {
            Fault::Table(table) => return Err(Failed::Table(breaks::explain(&table, &*error))),
            Fault::Fatal => return Err(Failed::Pipeline(PipelineError::Source(error))),
            Fault::Transient { after } => after,
        };
        if error.outdated() {
            attempts.outdated += 1;
            if attempts.outdated > OUTDATED {
                return Err(Failed::Outdated(chain(&*error)));
            }
        }
        let delay = attempts.delays.next().unwrap_or(MAX_DELAY);
        let delay = delay.max(after.unwrap_or(Duration::ZERO));
        let delay_ms = delay.as_millis();
        tracing::warn!(
            what,
            error = chain(&*error),
            delay_ms,
            "snapshot step failed, trying again"
        );
        self.shared.status.source_error(&chain(&*error));
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Failed::Stopped),
            () = self.shared.clock.sleep(delay) => Ok(()),
        }
    }
}
