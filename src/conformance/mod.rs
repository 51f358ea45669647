//! What the program believes of BigQuery, as cases that can be run: against Google's service with credentials, and
//! against the local BigQuery. Rows are written by the sink itself and read back by queries; where the belief is a
//! refusal, the case sends what is refused. Each case has tables of its own, which it removes; one that could not be
//! removed expires within a day.

use std::time::Duration;

use crate::clock::Clock;
use crate::config::Config;
use crate::fault::{Classify, chain};
use crate::sink::SinkError;
use crate::sink::bigquery::Error;

mod changes;
mod probe;
mod refusals;
mod rows;
mod tables;
mod types;
mod world;

pub use probe::{Probed, probe};
use world::World;

/// How long the service may take to show what was done; metadata is the slowest.
const PATIENCE: Duration = Duration::from_secs(600);

/// A belief.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Its name, for ever.
    pub id: &'static str,
    /// What is believed.
    pub belief: &'static str,
    /// What goes wrong if it is not so.
    pub stake: &'static str,
    /// When a run confirmed it on Google's service, as a date; `None`: only the local BigQuery has.
    pub proven: Option<&'static str>,
    what: What,
}

/// What a case does.
#[derive(Debug, Clone, Copy)]
enum What {
    Change(changes::Case),
    Type(types::Case),
    Table(tables::Case),
    Refusal(refusals::Case),
}

const fn case(id: &'static str, belief: &'static str, stake: &'static str, what: What) -> Case {
    Case {
        id,
        belief,
        stake,
        proven: None,
        what,
    }
}

/// Every case, in the order of running.
pub const CASES: &[Case] = &[
    case(
        "types.values",
        "every type's first and last value reads back exactly",
        "values change silently",
        What::Type(types::Case::Values),
    ),
    case(
        "types.past-the-end",
        "a number past BIGNUMERIC's end is put aside as a dead letter, and its neighbours arrive",
        "one row stops a table, or is lost",
        What::Type(types::Case::PastTheEnd),
    ),
    case(
        "changes.order",
        "the greater sequence number wins, whatever arrives last",
        "rows go back in time",
        What::Change(changes::Case::Order),
    ),
    case(
        "changes.sections",
        "sections compare one by one as unsigned numbers; without leading zeros",
        "rows go back in time when a number grows by a digit",
        What::Change(changes::Case::Sections),
    ),
    case(
        "changes.equal",
        "of equal sequence numbers the row that was ingested last wins",
        "a row sent twice with the same content would still be safe; one put right would not",
        What::Change(changes::Case::Equal),
    ),
    case(
        "changes.late-upsert",
        "an upsert below a delete's number does not bring the row back",
        "deleted rows come back after a repeated sending",
        What::Change(changes::Case::LateUpsert),
    ),
    case(
        "changes.key-alone",
        "a delete needs the key alone, also where other columns are REQUIRED",
        "deletes are refused",
        What::Change(changes::Case::KeyAlone),
    ),
    case(
        "changes.two-tables",
        "one connection takes rows of two tables, each with its schema where it changes",
        "tables that share a connection stop",
        What::Change(changes::Case::TwoTables),
    ),
    case(
        "tables.key",
        "INFORMATION_SCHEMA shows the primary key that tables.insert was given",
        "tables are made without CDC",
        What::Table(tables::Case::Key),
    ),
    case(
        "tables.staleness",
        "max_staleness is set by tables.insert and read back",
        "queries cost more, or show older rows, than configured",
        What::Table(tables::Case::Staleness),
    ),
    case(
        "tables.watermark",
        "INFORMATION_SCHEMA.TABLES has upsert_stream_apply_watermark",
        "the age of the target cannot be told",
        What::Table(tables::Case::Watermark),
    ),
    case(
        "tables.stream",
        "GetWriteStream shows the table's schema on its default stream",
        "a new table is written before it is known",
        What::Table(tables::Case::Stream),
    ),
    case(
        "tables.added-column",
        "rows with an added column are taken on a new connection within ten minutes",
        "a table stops after ADD COLUMN",
        What::Table(tables::Case::AddedColumn),
    ),
    case(
        "tables.flexible-name",
        "the annotation column_name names a column of any script",
        "tables with such columns cannot be written",
        What::Table(tables::Case::FlexibleName),
    ),
    case(
        "refusals.row",
        "a bad row is named by its index, and none of its request is appended",
        "rows are lost or written beside a refused one",
        What::Refusal(refusals::Case::Row),
    ),
    case(
        "refusals.unknown-field",
        "a field that the table lacks is refused with SCHEMA_MISMATCH_EXTRA_FIELDS",
        "the sink waits for no column, or values are dropped silently",
        What::Refusal(refusals::Case::UnknownField),
    ),
    case(
        "refusals.size",
        "a request of 20 MB or more is refused with INVALID_ARGUMENT",
        "the sink's own limit is the wrong one",
        What::Refusal(refusals::Case::Size),
    ),
    case(
        "refusals.route",
        "a connection without routing header is refused outside the US",
        "none: the sink always sends it",
        What::Refusal(refusals::Case::Route),
    ),
    case(
        "refusals.dml",
        "UPDATE of a table that is active with CDC is refused",
        "somebody changes rows that the replica will not put right",
        What::Refusal(refusals::Case::Dml),
    ),
    case(
        "refusals.rename",
        "a table with a primary key cannot be renamed",
        "a renamed target would be made anew, and copied again",
        What::Refusal(refusals::Case::Rename),
    ),
    case(
        "refusals.bytes",
        "a query that would bill more than maximumBytesBilled is refused, or bills nothing",
        "a check costs more than it may",
        What::Refusal(refusals::Case::Bytes),
    ),
];

/// How a case ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is as believed; the text says what was seen where that says more.
    Holds(Option<String>),
    /// The service does otherwise.
    Differs(String),
    /// It could not be found out.
    Failed(String),
}

/// A case and its end.
#[derive(Debug)]
pub struct CaseResult {
    /// The case's name.
    pub id: &'static str,
    /// Its end.
    pub outcome: Outcome,
}

/// A run of the suite.
#[derive(Debug, Default)]
pub struct Report {
    /// One for each case.
    pub results: Vec<CaseResult>,
    /// Tables that could not be removed, with the reason; they expire within a day.
    pub left: Vec<String>,
    /// What the queries billed, bytes.
    pub billed: u64,
}

/// Why a case ended early.
#[derive(Debug)]
enum Trouble {
    Differs(String),
    /// With what to do about it, where an error knows.
    Failed {
        text: String,
        hint: Option<String>,
    },
}

impl Trouble {
    fn failed(text: String) -> Trouble {
        Trouble::Failed { text, hint: None }
    }
}

type Done = Result<Option<String>, Trouble>;

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        Trouble::Failed {
            text: chain(&error),
            hint: error.hint(),
        }
    }
}

impl From<SinkError> for Trouble {
    fn from(error: SinkError) -> Trouble {
        Trouble::Failed {
            text: chain(&*error),
            hint: error.hint(),
        }
    }
}

/// Runs every case in `dataset`, one after the other, until the queries have billed `max_bytes`. The data set must be
/// there; `config` says how the service is reached.
///
/// # Errors
/// There is no way to the service: no credentials, or no address.
pub async fn run(config: &Config, dataset: &str, clock: Clock, max_bytes: u64) -> Result<Report, Error> {
    let mut report = Report::default();
    for case in CASES {
        let left = max_bytes.saturating_sub(report.billed);
        let mut world = World::new(config, dataset, clock.clone(), left)?;
        let done = match case.what {
            What::Change(case) => changes::run(case, &mut world).await,
            What::Type(case) => types::run(case, &mut world).await,
            What::Table(case) => tables::run(case, &mut world).await,
            What::Refusal(case) => refusals::run(case, &mut world).await,
        };
        let outcome = match done {
            Ok(seen) => Outcome::Holds(seen),
            Err(Trouble::Differs(text)) => Outcome::Differs(text),
            Err(Trouble::Failed { text, .. }) => Outcome::Failed(text),
        };
        tracing::info!(case = case.id, ?outcome, "case ended");
        report.results.push(CaseResult { id: case.id, outcome });
        report.left.extend(world.clean().await);
        report.billed = report.billed.saturating_add(world.billed());
    }
    Ok(report)
}

impl Report {
    /// Whether every belief holds.
    pub fn holds(&self) -> bool {
        self.results
            .iter()
            .all(|one| matches!(one.outcome, Outcome::Holds(_)))
    }

    /// A table for people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for CaseResult { id, outcome } in &self.results {
            let (word, seen) = match outcome {
                Outcome::Holds(seen) => ("pass", seen.as_deref().unwrap_or_default()),
                Outcome::Differs(seen) => ("DIFFERS", seen.as_str()),
                Outcome::Failed(seen) => ("FAIL", seen.as_str()),
            };
            text.push_str(format!("{id:24} {word:8} {seen}").trim_end());
            text.push('\n');
        }
        for table in &self.left {
            text.push_str(&format!("not removed, expires within a day: {table}\n"));
        }
        text.push_str(&format!("billed by queries: {} bytes\n", self.billed));
        text
    }
}

/// The cases that no run on Google's service has confirmed, as the lines of a table in Markdown.
pub fn unproven() -> String {
    let unproven = CASES.iter().filter(|case| case.proven.is_none());
    unproven
        .map(|case| format!("| `{}` | {} | {} |\n", case.id, case.belief, case.stake))
        .collect()
}
