//! What a pipeline costs in a month, from the sizes and change rates of its tables and a price list. Pure:
//! an apply reads the whole table however few rows changed, and a bill that is seen before the start is the
//! only warning of it (<https://cloud.google.com/bigquery/docs/change-data-capture>).

use std::time::Duration;

use serde::Serialize;

mod prices;
pub mod staleness;
mod text;

pub use prices::{Prices, PricesError, Tier};

/// Hours of a month, as clouds bill it.
const HOURS: f64 = 730.0;

/// Bytes of the change type and the sequence number that go with each row and are billed as data.
const PSEUDO_BYTES: f64 = 75.0;

/// The part of a table's rows that is taken to change in a day where no rate is known.
const ASSUMED_PART: f64 = 0.01;

/// The shorter staleness that is shown.
pub const SHORT: Duration = Duration::from_secs(15 * 60);

/// The longer one.
pub const LONG: Duration = Duration::from_secs(3 * 3600);

/// Applies of a table that cost less than this a month, in dollars, are not worth advice.
const WORTH_ADVICE: f64 = 1.0;

/// How many tables are advised on.
const ADVISED: usize = 3;

/// Changes of a table in a day.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rate {
    /// Rows that are inserted.
    pub inserts: f64,
    /// Rows that are updated or deleted.
    pub others: f64,
}

/// A table to be billed.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// `schema.table`.
    pub name: String,
    /// Rows, estimated.
    pub rows: u64,
    /// Bytes of data at the source, taken for the bytes in BigQuery.
    pub bytes: u64,
    /// Its changes; `None`: not known.
    pub rate: Option<Rate>,
}

/// What one table costs in a month, in dollars.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Costs {
    /// Appending through the Storage Write API.
    pub ingest: f64,
    /// Leaving AWS.
    pub egress: f64,
    /// Applying changes at [`SHORT`].
    pub apply_15m: f64,
    /// Applying changes at [`LONG`].
    pub apply_3h: f64,
    /// Reading the whole table once by a query.
    pub verify: f64,
    /// All of it at [`SHORT`].
    pub total_15m: f64,
    /// All of it at [`LONG`].
    pub total_3h: f64,
    /// All of it if rows were appended only: no applies, but the month's rows are stored in addition.
    pub append: f64,
}

/// A table's part of the bill.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// `schema.table`.
    pub table: String,
    /// Bytes that an apply reads.
    pub bytes: u64,
    /// Changes in a day.
    pub changes_per_day: f64,
    /// Whether the changes are assumed rather than read.
    pub assumed: bool,
    /// What it costs.
    pub costs: Costs,
    #[serde(skip)]
    rate: Rate,
}

/// A bill.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bill {
    /// The day of the prices.
    pub prices_of: String,
    /// The tables, the dearest at 15 minutes first.
    pub tables: Vec<Line>,
    /// Their sum.
    pub total: Costs,
    /// What to do about the dearest.
    pub advice: Vec<String>,
}

/// Reckons a month. What is free or falls in price with the amount is shared by all tables in proportion.
pub fn reckon(tables: &[Table], prices: &Prices) -> Bill {
    let sent: Vec<f64> = tables.iter().map(sent_gib).collect();
    let all: f64 = sent.iter().sum();
    let ingest = (all - prices.ingest_free_gib).max(0.0) * prices.ingest_per_gib;
    let egress = prices.egress(all);
    let mut lines: Vec<Line> = tables
        .iter()
        .zip(sent)
        .map(|(table, gib)| {
            let share = if all > 0.0 { gib / all } else { 0.0 };
            line(table, gib, ingest * share, egress * share, prices)
        })
        .collect();
    lines.sort_by(|a, b| {
        b.costs
            .total_15m
            .total_cmp(&a.costs.total_15m)
            .then_with(|| a.table.cmp(&b.table))
    });
    let mut total = Costs::default();
    for line in &lines {
        total.add(&line.costs);
    }
    Bill {
        prices_of: prices.date.clone(),
        advice: lines.iter().take(ADVISED).filter_map(Line::advice).collect(),
        tables: lines,
        total,
    }
}

impl Costs {
    fn add(&mut self, other: &Costs) {
        self.ingest += other.ingest;
        self.egress += other.egress;
        self.apply_15m += other.apply_15m;
        self.apply_3h += other.apply_3h;
        self.verify += other.verify;
        self.total_15m += other.total_15m;
        self.total_3h += other.total_3h;
        self.append += other.append;
    }
}

impl Line {
    fn advice(&self) -> Option<String> {
        if self.costs.apply_15m < WORTH_ADVICE {
            return None;
        }
        let (short, long) = (
            text::dollars(self.costs.apply_15m),
            text::dollars(self.costs.apply_3h),
        );
        let mut advice = format!(
            "{}: applies cost {short} a month at 15m and {long} at 3h: raise max_staleness, or assign a BACKGROUND \
             reservation (Enterprise edition) so that applies use its slots",
            self.table
        );
        if !self.assumed && self.rate.inserts > 0.0 && self.rate.others == 0.0 {
            advice.push_str(". Its rows are only ever inserted: mode: append needs no applies");
        }
        Some(advice)
    }
}

fn line(table: &Table, sent_gib: f64, ingest: f64, egress: f64, prices: &Prices) -> Line {
    let rate = rate(table);
    let verify = whole(table, prices);
    let (apply_15m, apply_3h) = (apply(table, SHORT, prices), apply(table, LONG, prices));
    let fixed = ingest + egress + verify;
    Line {
        table: table.name.clone(),
        bytes: table.bytes,
        changes_per_day: rate.inserts + rate.others,
        assumed: table.rate.is_none(),
        rate,
        costs: Costs {
            ingest,
            egress,
            apply_15m,
            apply_3h,
            verify,
            total_15m: fixed + apply_15m,
            total_3h: fixed + apply_3h,
            append: fixed + sent_gib * prices.storage_per_gib,
        },
    }
}

/// Reading a table once, in dollars.
fn whole(table: &Table, prices: &Prices) -> f64 {
    let read = real(table.bytes).max(prices.query_least_mib * 1_048_576.0);
    read / 2f64.powi(40) * prices.query_per_tib
}

/// Applying a table's changes for a month at that `max_staleness`, in dollars.
fn apply(table: &Table, staleness: Duration, prices: &Prices) -> f64 {
    let rate = rate(table);
    let changes = (rate.inserts + rate.others) * HOURS / 24.0;
    // Nothing is applied where nothing changed.
    (HOURS * 3600.0 / staleness.as_secs_f64()).min(changes) * whole(table, prices)
}

fn rate(table: &Table) -> Rate {
    table.rate.unwrap_or_else(|| Rate {
        inserts: 0.0,
        others: real(table.rows) * ASSUMED_PART,
    })
}

/// GiB that the changes of a month are on the wire.
fn sent_gib(table: &Table) -> f64 {
    let rate = rate(table);
    let row = real(table.bytes) / real(table.rows.max(1)) + PSEUDO_BYTES;
    (rate.inserts + rate.others) * HOURS / 24.0 * row / 2f64.powi(30)
}

/// A whole number as a real one, rounded where it has more than 53 bits.
pub fn real(number: u64) -> f64 {
    let half = |bits: u64| f64::from(u32::try_from(bits & 0xffff_ffff).unwrap_or(u32::MAX));
    half(number >> 32) * 2f64.powi(32) + half(number)
}

#[cfg(test)]
mod tests;
