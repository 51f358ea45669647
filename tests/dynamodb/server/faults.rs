//! What goes wrong on demand, and how often each operation was called.

use std::collections::HashMap;

use fastrand::Rng;

use super::errors::Refusal;

/// What happens to a call instead of, or besides, its answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fault {
    /// `ThrottlingException`.
    Throttle,
    /// `LimitExceededException`, as for too many readers of one shard.
    LimitExceeded,
    /// Status 500.
    Internal,
    /// The call is done and its answer breaks off.
    Cut,
    /// `ExpiredIteratorException`.
    ExpiredIterator,
    /// `TrimmedDataAccessException`.
    Trimmed,
    /// A page of `GetRecords` without records; the iterator stands where it stood.
    EmptyPage,
    /// The answer is held until the clock has gone on so many seconds.
    Slow(u64),
}

impl Fault {
    /// The error that this fault is, if it is one.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        Some(match self {
            Fault::Throttle => Refusal::throttled(),
            Fault::LimitExceeded => Refusal::service(
                "LimitExceededException",
                "Subscriber limit exceeded for this shard",
            ),
            Fault::Internal => Refusal::service("InternalServerError", "Internal server error"),
            Fault::ExpiredIterator => expired(),
            Fault::Trimmed => trimmed(),
            Fault::Cut | Fault::EmptyPage | Fault::Slow(_) => return None,
        })
    }
}

pub(crate) fn expired() -> Refusal {
    Refusal::service("ExpiredIteratorException", "Iterator expired")
}

pub(crate) fn trimmed() -> Refusal {
    Refusal::service(
        "TrimmedDataAccessException",
        "The operation attempted to read past the oldest stream record in a shard",
    )
}

#[derive(Debug)]
struct Script {
    operation: String,
    fault: Fault,
    /// Calls that are still to fail; `None` is without end.
    left: Option<usize>,
    /// Of a thousand calls.
    per_mille: u32,
}

/// The scripts in force, and the counts.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    scripts: Vec<Script>,
    calls: HashMap<String, u64>,
    /// Calls of `GetRecords` by shard.
    reads: HashMap<String, u64>,
}

impl Faults {
    /// The next `times` calls of an operation fail.
    pub(crate) fn next(&mut self, operation: &str, fault: Fault, times: usize) {
        self.scripts.push(Script {
            operation: operation.to_owned(),
            fault,
            left: Some(times),
            per_mille: 1000,
        });
    }

    /// That many of a thousand calls fail, by the server's seed.
    pub(crate) fn sometimes(&mut self, operation: &str, fault: Fault, per_mille: u32) {
        self.scripts.push(Script {
            operation: operation.to_owned(),
            fault,
            left: None,
            per_mille,
        });
    }

    pub(crate) fn clear(&mut self) {
        self.scripts.clear();
    }

    /// Counts a call, and says what goes wrong with it.
    pub(crate) fn call(&mut self, operation: &str, rng: &mut Rng) -> Option<Fault> {
        *self.calls.entry(operation.to_owned()).or_default() += 1;
        let found = self.scripts.iter_mut().find(|script| {
            script.operation == operation && script.left != Some(0) && rng.u32(0..1000) < script.per_mille
        })?;
        if let Some(left) = &mut found.left {
            *left -= 1;
        }
        Some(found.fault.clone())
    }

    pub(crate) fn read(&mut self, shard: &str) {
        *self.reads.entry(shard.to_owned()).or_default() += 1;
    }

    pub(crate) fn calls(&self, operation: &str) -> u64 {
        self.calls.get(operation).copied().unwrap_or_default()
    }

    pub(crate) fn reads(&self) -> HashMap<String, u64> {
        self.reads.clone()
    }

    pub(crate) fn reset_counts(&mut self) {
        self.calls.clear();
        self.reads.clear();
    }
}
