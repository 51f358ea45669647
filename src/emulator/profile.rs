//! How late and how rough the service is where nothing is scripted: delays that Google documents or that
//! others measured. The usual profile has those that decide whether a writer loses rows around DDL; the
//! strict one has all of them. Refusals are no part of it: they are always on.

use serde::{Deserialize, Serialize};

/// Delays and limits of a running emulator; milliseconds of its clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Profile {
    /// After a change of a table's columns: until a connection that is opened later sees it.
    pub columns_new_connection_ms: u64,
    /// The same of a connection that was open before.
    pub columns_open_connection_ms: u64,
    /// After a column was dropped or renamed: how long an open connection still takes values for the old
    /// name, which are lost.
    pub dropped_column_swallow_ms: u64,
    /// After a table was made again: how long an open connection still gets acknowledgements for rows that
    /// are lost.
    pub recreated_swallow_ms: u64,
    /// After that: how long its requests wait before DEADLINE_EXCEEDED.
    pub recreated_hang_ms: u64,
    /// After a table was made again: how long a new connection finds no table.
    pub recreated_unknown_ms: u64,
    /// How long a connection may be without requests before it ends with ABORTED.
    pub idle_ms: u64,
    /// Row errors that one answer lists; more are cut.
    pub row_errors_listed: usize,
    /// How many times a job's state or results are asked for before it is done.
    pub job_polls: u32,
    /// Whether requests of different connections that wait together are done in a random order.
    pub shuffle: bool,
    /// Seed of that order.
    pub seed: u64,
}

impl Profile {
    /// What open connections see of DDL, as measured; all else at once.
    pub const USUAL: Profile = Profile {
        columns_new_connection_ms: 0,
        columns_open_connection_ms: 7_000,
        dropped_column_swallow_ms: 9_000,
        recreated_swallow_ms: 5_000,
        recreated_hang_ms: 120_000,
        recreated_unknown_ms: 0,
        idle_ms: 600_000,
        row_errors_listed: 50,
        job_polls: 0,
        shuffle: false,
        seed: 0,
    };

    /// Every delay.
    pub const STRICT: Profile = Profile {
        columns_new_connection_ms: 1_000,
        recreated_unknown_ms: 120_000,
        row_errors_listed: 3,
        job_polls: 2,
        shuffle: true,
        ..Profile::USUAL
    };
}

impl Default for Profile {
    fn default() -> Profile {
        Profile::USUAL
    }
}
