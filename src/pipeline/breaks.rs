//! Why a table was parked, in words that name the cure, and which breaks of the log a fresh copy mends.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::event::{Break, BreakCause, TableId};
use crate::fault::{Classify, chain};
use crate::schema::Unfit;

/// How often a table is copied again by itself within [`WITHIN`] because the log does not say what became of it.
const COPIES: usize = 5;
/// See [`COPIES`].
const WITHIN: Duration = Duration::from_secs(3600);

/// When tables were copied again by themselves. A writer that goes on as it does would have its table copied for
/// ever; a process that starts anew counts anew.
#[derive(Debug, Default)]
pub struct Copies(HashMap<TableId, VecDeque<Instant>>);

impl Copies {
    /// Whether a table may be copied once more; counts it then.
    pub fn may(&mut self, table: &TableId, now: Instant) -> bool {
        let times = self.0.entry(table.clone()).or_default();
        times.retain(|time| now.saturating_duration_since(*time) < WITHIN);
        let may = times.len() < COPIES;
        if may {
            times.push_back(now);
        }
        may
    }

    /// A person saw to the table.
    pub fn forget(&mut self, table: &TableId) {
        self.0.remove(table);
    }
}

/// Whether a table is as it is to be again once it is copied. What the log lacks is in the source's rows; columns
/// that no target takes are not mended by reading them.
pub fn a_copy_helps(cause: &BreakCause) -> bool {
    match cause {
        BreakCause::StatementFormat
        | BreakCause::PartialImage
        | BreakCause::Xa
        | BreakCause::LayoutUnknown(_) => true,
        BreakCause::LayoutChanged(_) => false,
    }
}

/// The way back for a table that is parked.
pub fn resync(table: &TableId) -> String {
    format!("`replicator resync {table}` copies it again and follows it")
}

/// The same where the target's columns cannot become what they would have to be.
fn resync_anew(table: &TableId) -> String {
    format!("drop or rename its target table; then {}", resync(table))
}

/// Describes what was found in the log.
pub fn cause(cause: &BreakCause) -> String {
    match cause {
        BreakCause::LayoutChanged(text) => text.clone(),
        BreakCause::LayoutUnknown(text) => format!("its columns cannot be told from the log: {text}"),
        BreakCause::StatementFormat => {
            "a session wrote to it with binlog_format other than ROW: the log has the statement, not the rows"
                .to_owned()
        }
        BreakCause::PartialImage => {
            "a session wrote to it without full row images (binlog_row_image)"
                .to_owned()
        }
        BreakCause::Xa => {
            "an XA transaction was committed whose rows are not in the server's log any more; it may have written to it"
                .to_owned()
        }
    }
}

/// Describes a break that parks its table.
pub fn describe(one: &Break) -> String {
    let what = cause(&one.cause);
    match one.cause {
        BreakCause::LayoutChanged(_) => format!("{what}; {}", resync_anew(&one.table)),
        BreakCause::StatementFormat
        | BreakCause::PartialImage
        | BreakCause::Xa
        | BreakCause::LayoutUnknown(_) => {
            format!("{what}; {}", resync(&one.table))
        }
    }
}

/// Describes a change of columns that no target can follow.
pub fn unfit(table: &TableId, unfit: &Unfit) -> String {
    format!("{unfit}; {}", resync_anew(table))
}

/// Describes a failure that concerns one table.
pub fn explain(table: &TableId, error: &(dyn Classify + Send + Sync)) -> String {
    let hint = error.hint().unwrap_or_else(|| resync(table));
    format!("{}; {hint}", chain(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn a_table_is_copied_again_a_few_times_an_hour_and_each_counts_alone() {
        let (clock, mut copies) = (Clock::manual(), Copies::default());
        let (one, other) = (TableId::new("s", "one"), TableId::new("s", "other"));
        for _ in 0..COPIES {
            assert!(copies.may(&one, clock.now()));
            clock.advance(Duration::from_secs(60));
        }
        assert!(!copies.may(&one, clock.now()));
        assert!(copies.may(&other, clock.now()));
        clock.advance(WITHIN - Duration::from_secs(60) * 5);
        assert!(copies.may(&one, clock.now()));
        assert!(!copies.may(&one, clock.now()));
        copies.forget(&one);
        assert!(copies.may(&one, clock.now()));
    }

    #[test]
    fn every_parked_table_has_a_way_back() {
        let one = |cause| Break {
            table: TableId::new("s", "t"),
            cause,
            at: crate::event::TxnStart {
                epoch: crate::event::Epoch(1),
                coord: crate::event::BinlogCoord::file_start(1),
            },
        };
        for cause in [
            BreakCause::LayoutChanged("x".to_owned()),
            BreakCause::LayoutUnknown("x".to_owned()),
            BreakCause::StatementFormat,
            BreakCause::PartialImage,
            BreakCause::Xa,
        ] {
            let text = describe(&one(cause));
            assert!(text.contains("replicator resync s.t"), "{text}");
        }
    }
}
