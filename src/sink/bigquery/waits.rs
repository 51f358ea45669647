//! How long to wait before the next attempt, as Google advises: longer each time, with jitter
//! (<https://cloud.google.com/storage/docs/retry-strategy#exponential-backoff>).

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// Waits without end, each twice the one before, from `first` to `longest`; jitter adds up to as much again.
pub(super) fn waits(first: Duration, longest: Duration) -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(first)
        .with_max_delay(longest)
        .with_jitter()
        .without_max_times()
        .build()
}
