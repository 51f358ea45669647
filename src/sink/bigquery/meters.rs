//! What the sink measures. Every name is here, with its meaning; the label is the source table, and for values
//! that BigQuery cannot hold their kind and policy.

use std::time::Duration;

use metrics::{
    Counter, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use super::misfit::{KINDS, Misfit, Misfits};
use crate::config::Values;
use crate::event::TableId;

const ROWS: &str = "replicator_sink_rows_total";
const BYTES: &str = "replicator_sink_bytes_total";
const APPENDS: &str = "replicator_sink_appends_total";
const RETRIES: &str = "replicator_sink_retries_total";
const SECONDS: &str = "replicator_sink_append_seconds";
const DEAD_LETTERS: &str = "replicator_dead_letters_total";
const OLDEST: &str = "replicator_sink_oldest_unacknowledged_seconds";
const MISFITS: &str = "replicator_sink_values_by_policy_total";

/// Gives every meter its unit and meaning; to be called once, after the recorder is installed.
pub(super) fn describe() {
    describe_counter!(ROWS, Unit::Count, "Rows that BigQuery acknowledged");
    describe_counter!(BYTES, Unit::Bytes, "Encoded row bytes that BigQuery acknowledged");
    describe_counter!(APPENDS, Unit::Count, "Append requests that BigQuery acknowledged");
    describe_counter!(RETRIES, Unit::Count, "Append requests that had to be sent again");
    describe_histogram!(
        SECONDS,
        Unit::Seconds,
        "Time from sending an append request to its acknowledgement"
    );
    describe_gauge!(
        OLDEST,
        Unit::Seconds,
        "Time that the oldest append request waits for its acknowledgement, 0 if none does"
    );
    describe_counter!(
        DEAD_LETTERS,
        Unit::Count,
        "Rows that BigQuery cannot take, put aside as dead letters"
    );
    describe_counter!(
        MISFITS,
        Unit::Count,
        "Values that BigQuery cannot hold, by kind and by the policy that was followed"
    );
}

/// The oldest request that is not acknowledged has waited for so long.
pub(super) fn oldest_unacknowledged(age: Duration) {
    gauge!(OLDEST).set(age.as_secs_f64());
}

/// The meters of one table.
pub(super) struct TableMeters {
    rows: Counter,
    bytes: Counter,
    appends: Counter,
    retries: Counter,
    seconds: Histogram,
    dead_letters: Counter,
    table: String,
}

impl TableMeters {
    pub(super) fn of(table: &TableId) -> TableMeters {
        let table = table.to_string();
        let count = |name: &'static str| counter!(name, "table" => table.clone());
        TableMeters {
            rows: count(ROWS),
            bytes: count(BYTES),
            appends: count(APPENDS),
            retries: count(RETRIES),
            seconds: histogram!(SECONDS, "table" => table.clone()),
            dead_letters: count(DEAD_LETTERS),
            table,
        }
    }

    /// A request was acknowledged.
    pub(super) fn acknowledged(&self, rows: u64, bytes: u64, took: Duration) {
        self.rows.increment(rows);
        self.bytes.increment(bytes);
        self.appends.increment(1);
        self.seconds.record(took);
    }

    /// A request has to be sent again.
    pub(super) fn again(&self) {
        self.retries.increment(1);
    }

    /// A row was put aside.
    pub(super) fn put_aside(&self) {
        self.dead_letters.increment(1);
    }

    /// Shows the policies in force before there is anything to count.
    pub(super) fn policies(&self, values: &Values) {
        for kind in KINDS {
            self.misfit(kind, values).increment(0);
        }
    }

    /// A row had values that BigQuery cannot hold, and the policies were followed.
    pub(super) fn misfits(&self, found: &Misfits, values: &Values) {
        for (kind, count) in found.counts() {
            self.misfit(kind, values).increment(count);
        }
    }

    fn misfit(&self, kind: Misfit, values: &Values) -> Counter {
        let policy = kind.policy(values).as_str();
        counter!(MISFITS, "table" => self.table.clone(), "kind" => kind.name(), "policy" => policy)
    }
}

impl std::fmt::Debug for TableMeters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TableMeters").finish_non_exhaustive()
    }
}
