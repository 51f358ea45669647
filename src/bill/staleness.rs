//! Which `max_staleness` the tables get where it is chosen and not set. Pure: the smallest one whose applies, of all
//! tables together, fit a budget; never below what BigQuery's documentation recommends; the longest while a table
//! is being loaded (<https://cloud.google.com/bigquery/docs/change-data-capture#manage_table_staleness>).

use std::fmt;
use std::time::Duration;

use super::{Prices, SHORT, Table, apply, text};
use crate::config::Staleness;

/// What is chosen where nothing asks for more.
pub const USUAL: Duration = SHORT;

/// What the documented recommendation adds to twice an apply's duration.
const CONVERSION: Duration = Duration::from_secs(7 * 60);

/// Values that may be chosen, in order: (up to, in steps of), both in minutes.
const STEPS: [(u64, u64); 3] = [(60, 1), (360, 15), (1440, 60)];

/// A value that is set is lowered only if it is above the wanted one by more than a quarter: sizes and rates move a
/// little all the time, and a table takes few changes of its options.
const SLACK: (u32, u32) = (5, 4);

/// What a choice rests on.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// 95 of 100 applies of the last time took no longer; `None`: not known.
    pub slowest_apply: Option<Duration>,
    /// What applies of all tables may cost in a month, US dollars.
    pub budget: Option<f64>,
    /// What they cost.
    pub prices: &'a Prices,
}

/// Why it is what it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reason {
    /// The table is being copied: each apply would read what the next one reads again.
    Loading,
    /// There is no budget, and applies are not slow.
    Usual {
        /// What applies of all tables cost in a month, US dollars.
        cost: f64,
    },
    /// BigQuery's documentation recommends no less for applies that take so long.
    Recommended {
        /// 95 of 100 took no longer.
        slowest_apply: Duration,
        /// What applies of all tables cost in a month, US dollars.
        cost: f64,
    },
    /// The least of what is within the budget.
    Budget {
        /// The budget, US dollars a month.
        budget: f64,
        /// What applies of all tables cost in a month, US dollars.
        cost: f64,
    },
    /// The longest is not within the budget.
    OverBudget {
        /// The budget, US dollars a month.
        budget: f64,
        /// What applies of all tables cost in a month even so, US dollars.
        cost: f64,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = |cost: f64| format!("applies of all tables cost about {} a month", text::dollars(cost));
        match self {
            Reason::Loading => write!(f, "the table is being loaded"),
            Reason::Usual { cost } => {
                write!(f, "the usual one without apply_budget_per_month; {}", all(*cost))
            }
            Reason::Recommended { slowest_apply, cost } => write!(
                f,
                "95 % of applies take up to {} s, twice that and 7 minutes are recommended; {}",
                slowest_apply.as_secs(),
                all(*cost)
            ),
            Reason::Budget { budget, cost } => write!(
                f,
                "the smallest within apply_budget_per_month of {}: {}",
                text::dollars(*budget),
                all(*cost)
            ),
            Reason::OverBudget { budget, cost } => write!(
                f,
                "the longest, and still above apply_budget_per_month of {}: {}; raise the budget, replicate fewer \
                 tables, or assign a BACKGROUND reservation",
                text::dollars(*budget),
                all(*cost)
            ),
        }
    }
}

/// A value and why.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    /// `max_staleness`.
    pub max_staleness: Duration,
    /// Why.
    pub reason: Reason,
}

/// What all tables get once they are loaded.
pub fn choose(tables: &[Table], terms: &Terms<'_>) -> Choice {
    let cost = |staleness: Duration| -> f64 {
        let each = tables.iter().map(|table| apply(table, staleness, terms.prices));
        each.sum()
    };
    let choice = |max_staleness, reason: &dyn Fn(f64) -> Reason| Choice {
        max_staleness,
        reason: reason(cost(max_staleness)),
    };
    let recommended = terms
        .slowest_apply
        .map(|slowest| slowest.saturating_mul(2).saturating_add(CONVERSION));
    let Some(budget) = terms.budget else {
        return match (recommended, terms.slowest_apply) {
            (Some(least), Some(slowest_apply)) if least > USUAL => {
                choice(step(least), &|cost| Reason::Recommended { slowest_apply, cost })
            }
            _ => choice(USUAL, &|cost| Reason::Usual { cost }),
        };
    };
    // Without a duration that was measured, what is usual is as low as it may be.
    let least = recommended.unwrap_or(USUAL);
    let fitting = steps().find(|step| *step >= least && cost(*step) <= budget);
    match (fitting, terms.slowest_apply) {
        (Some(value), Some(slowest_apply)) if value > USUAL && value == step(least) => {
            choice(value, &|cost| Reason::Recommended { slowest_apply, cost })
        }
        (Some(value), _) => choice(value, &|cost| Reason::Budget { budget, cost }),
        (None, _) if cost(Staleness::LONGEST) <= budget => {
            choice(Staleness::LONGEST, &|cost| Reason::Budget { budget, cost })
        }
        (None, _) => choice(Staleness::LONGEST, &|cost| Reason::OverBudget { budget, cost }),
    }
}

impl Choice {
    /// What one table gets: while it is loaded, the longest.
    #[must_use]
    pub fn of(self, is_loading: bool) -> Choice {
        if is_loading {
            return Choice {
                max_staleness: Staleness::LONGEST,
                reason: Reason::Loading,
            };
        }
        self
    }

    /// Whether a table that has `now` is to be changed.
    pub fn replaces(&self, now: Duration) -> bool {
        let (times, parts) = SLACK;
        now < self.max_staleness || now > self.max_staleness.saturating_mul(times) / parts
    }
}

/// All values that may be chosen, the smallest first.
fn steps() -> impl Iterator<Item = Duration> {
    let mut from = 0;
    STEPS.into_iter().flat_map(move |(to, by)| {
        let first = from + by;
        from = to;
        (0..=(to - first) / by).map(move |count| Duration::from_secs(60 * (first + count * by)))
    })
}

/// The smallest value that may be chosen and is not below.
fn step(least: Duration) -> Duration {
    steps().find(|step| *step >= least).unwrap_or(Staleness::LONGEST)
}

/// A duration for people: `15m`, `2h30m`, `90s`.
pub fn spelled(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes, rest) {
        (0, 0, _) => format!("{rest}s"),
        (0, _, 0) => format!("{minutes}m"),
        (_, 0, 0) => format!("{hours}h"),
        (_, _, 0) => format!("{hours}h{minutes}m"),
        _ => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests;
