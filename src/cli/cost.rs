//! `replicator check --cost`: the bill of a month before there is one.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::Failure;
use super::origin::Origin;
use super::start::failed;
use crate::bill::staleness::{Terms, choose, spelled};
use crate::bill::{self, Bill, Prices, Rate, Table, real};
use crate::config::{Config, Staleness};
use crate::source::mysql::Mysql;
use crate::source::mysql::catalog_read::{TableFacts, list_tables};
use crate::source::mysql::writes::{Counted, read_writes};

const DAY: f64 = 86_400.0;

/// What the bill is asked with.
#[derive(Debug, Args)]
pub(super) struct CostArguments {
    /// Print what a month costs, for each table and in total, instead of the checks.
    #[arg(long)]
    cost: bool,
    /// Print the bill as JSON.
    #[arg(long, requires = "cost")]
    json: bool,
    /// A price list to use, of the shape of config/prices.yaml.
    #[arg(long, value_name = "FILE", requires = "cost")]
    prices: Option<PathBuf>,
    /// Changes a day of each table, instead of what the server has counted.
    #[arg(long, value_name = "NUMBER", requires = "cost")]
    changes_per_day: Option<u32>,
}

impl CostArguments {
    /// Whether the bill is asked for.
    pub(super) fn asked(&self) -> bool {
        self.cost
    }
}

/// Prints the bill.
///
/// # Errors
/// The price list or the source cannot be read.
pub(super) async fn print(
    arguments: &CostArguments,
    origin: &Origin,
    config: &Config,
) -> Result<(), Failure> {
    let prices = prices(arguments.prices.as_deref())?;
    let tables = origin.tables(arguments.changes_per_day).await?;
    let bill = bill::reckon(&tables, &prices);
    let chosen = chosen(&tables, config, &prices);
    let text = if arguments.json {
        let json = serde_json::to_string_pretty(&Shown { bill, chosen }).map_err(Failure::usage)?;
        format!("{json}\n")
    } else {
        let chosen = chosen.map(|chosen| {
            format!(
                "\nmax_staleness: auto is {}: {}\n",
                chosen.max_staleness, chosen.why
            )
        });
        bill.render() + &chosen.unwrap_or_default()
    };
    std::io::stdout()
        .lock()
        .write_all(text.as_bytes())
        .map_err(|error| Failure::system("cannot write to standard output", &error))
}

/// The bill, and what `max_staleness: auto` makes of it.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    bill: Bill,
    #[serde(rename = "auto", skip_serializing_if = "Option::is_none")]
    chosen: Option<Chosen>,
}

/// What all tables get once they are loaded, as far as that is known before.
#[derive(Debug, Serialize)]
struct Chosen {
    max_staleness: String,
    why: String,
}

fn chosen(tables: &[Table], config: &Config, prices: &Prices) -> Option<Chosen> {
    let terms = Terms {
        slowest_apply: None,
        budget: budget(config.sink.max_staleness)?,
        prices,
    };
    let choice = choose(tables, &terms);
    Some(Chosen {
        max_staleness: spelled(choice.max_staleness),
        why: choice.reason.to_string(),
    })
}

/// The budget of `auto` in US dollars, if there is one; `None` where nothing is to be chosen.
pub(super) fn budget(staleness: Staleness) -> Option<Option<f64>> {
    match staleness {
        Staleness::Fixed(_) => None,
        Staleness::Auto { budget_cents } => Some(budget_cents.map(|cents| real(cents) / 100.0)),
    }
}

/// The captured tables of a MySQL server with their sizes and rates; `given`: changes of each in a day, instead of what was counted.
///
/// # Errors
/// The source cannot be read.
pub(super) async fn tables(source: &Mysql, given: Option<u32>) -> Result<Vec<Table>, Failure> {
    let mut conn = source
        .connector()
        .connect_query()
        .await
        .map_err(|error| failed(&error))?;
    let facts = list_tables(&mut conn, &source.connector().source().tables)
        .await
        .map_err(|error| failed(&error))?;
    let counted = read_writes(&mut conn).await.map_err(|error| failed(&error))?;
    let tables = facts.iter().map(|facts| table(facts, counted.as_ref(), given));
    Ok(tables.collect())
}

fn prices(file: Option<&Path>) -> Result<Prices, Failure> {
    let Some(path) = file else {
        return Prices::own().map_err(Failure::usage);
    };
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::system(&format!("cannot read {}", path.display()), &error))?;
    Prices::parse(&text).map_err(Failure::usage)
}

/// So many changes a day.
pub(super) fn rate(changes: u32) -> Rate {
    Rate {
        inserts: 0.0,
        others: f64::from(changes),
    }
}

fn table(facts: &TableFacts, counted: Option<&Counted>, given: Option<u32>) -> Table {
    let given = given.map(rate);
    let read = || {
        let counted = counted?;
        let writes = counted.tables.get(&facts.id)?;
        let days = counted.up.as_secs_f64() / DAY;
        Some(Rate {
            inserts: real(writes.inserts) / days,
            others: (real(writes.updates) + real(writes.deletes)) / days,
        })
    };
    Table {
        name: facts.id.to_string(),
        rows: facts.estimate.rows,
        bytes: facts.estimate.bytes,
        rate: given.or_else(read),
    }
}
