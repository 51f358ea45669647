//! The price list: one dated file, kept in the program and replaceable, because prices change without it.

use serde::{Deserialize, Serialize};

/// The list that the program carries.
const OWN: &str = include_str!("../../config/prices.yaml");

/// A price list in US dollars.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// The day on which the sources said so.
    pub date: String,
    /// Who said so.
    pub sources: Vec<String>,
    /// A query on demand, per TiB read.
    pub query_per_tib: f64,
    /// What a query is billed for at least, in MiB of each table.
    pub query_least_mib: f64,
    /// The Storage Write API, per GiB.
    pub ingest_per_gib: f64,
    /// GiB a month that cost nothing.
    pub ingest_free_gib: f64,
    /// Active logical storage, per GiB and month.
    pub storage_per_gib: f64,
    /// GB a month that leave AWS for nothing.
    pub egress_free_gb: f64,
    /// Prices of what leaves AWS, in order.
    pub egress: Vec<Tier>,
}

/// A price that holds up to an amount.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// The month's total in GB up to which it holds; `None`: without end.
    pub up_to_gb: Option<f64>,
    /// Dollars per GB.
    pub per_gb: f64,
}

/// Why a price list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PricesError {
    /// It has not the shape of a price list.
    #[error("the price list cannot be read: {0}")]
    Shape(String),
    /// A number is negative or not a number.
    #[error("{0} of the price list is not an amount")]
    Amount(&'static str),
    /// The tiers do not rise, or only the last of them may be without an end and must be.
    #[error("egress of the price list must rise, and only its last price has no up_to_gb")]
    Tiers,
}

impl Prices {
    /// The list that the program carries.
    ///
    /// # Errors
    /// None in a program whose tests passed.
    pub fn own() -> Result<Prices, PricesError> {
        Prices::parse(OWN)
    }

    /// Reads a list of the shape of `config/prices.yaml`.
    ///
    /// # Errors
    /// [`PricesError`].
    pub fn parse(text: &str) -> Result<Prices, PricesError> {
        let options = serde_saphyr::options! { with_snippet: false };
        let prices: Prices = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| PricesError::Shape(error.to_string()))?;
        let amounts = [
            ("query_per_tib", prices.query_per_tib),
            ("query_least_mib", prices.query_least_mib),
            ("ingest_per_gib", prices.ingest_per_gib),
            ("ingest_free_gib", prices.ingest_free_gib),
            ("storage_per_gib", prices.storage_per_gib),
            ("egress_free_gb", prices.egress_free_gb),
        ];
        let of_tiers = prices.egress.iter().map(|tier| ("egress", tier.per_gb));
        for (name, amount) in amounts.into_iter().chain(of_tiers) {
            if !(amount.is_finite() && amount >= 0.0) {
                return Err(PricesError::Amount(name));
            }
        }
        let Some((last, before)) = prices.egress.split_last() else {
            return Err(PricesError::Tiers);
        };
        let mut end = 0.0;
        for tier in before {
            match tier.up_to_gb {
                Some(next) if next > end => end = next,
                _ => return Err(PricesError::Tiers),
            }
        }
        if last.up_to_gb.is_some() {
            return Err(PricesError::Tiers);
        }
        Ok(prices)
    }

    /// Dollars for so many GB out of AWS in a month.
    pub fn egress(&self, gb: f64) -> f64 {
        let mut done = self.egress_free_gb;
        let mut dollars = 0.0;
        for tier in &self.egress {
            let end = tier.up_to_gb.unwrap_or(f64::INFINITY).min(gb);
            if end > done {
                dollars += (end - done) * tier.per_gb;
                done = end;
            }
        }
        dollars
    }
}
