//! Keeps `max_staleness: auto`: reads how large the tables are, what changes and how long applies take, and gives each table
//! what `bill::staleness` chooses. Beside the pipeline and not in it: no row waits for it, and what fails is tried again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::origin::Origin;
use crate::bill::staleness::{Choice, Terms, choose, spelled};
use crate::bill::{Prices, Table};
use crate::clock::Clock;
use crate::event::TableId;
use crate::fault::chain;
use crate::sink::bigquery::{BigQuery, Error, Extent};
use crate::status::Status;

/// How often it is looked whether a table's copy began or ended.
const LOOK: Duration = Duration::from_secs(5);

/// How often everything is read anew.
const ANEW: Duration = Duration::from_secs(3600);

/// What fails is tried again after this.
const AGAIN: Duration = Duration::from_secs(60);

/// The keeper of `max_staleness`.
#[derive(Debug)]
pub(super) struct Steward {
    prices: Prices,
    budget: Option<f64>,
    origin: Origin,
    sink: Arc<BigQuery>,
    status: Arc<Status>,
    clock: Clock,
    known: Known,
}

/// What was read, and until when that will do.
#[derive(Debug, Default)]
struct Known {
    /// Tables as the source knows them, by name.
    sources: BTreeMap<String, Table>,
    targets: BTreeMap<TableId, Extent>,
    slowest_apply: Option<Duration>,
    /// Whether each table was being loaded when it was looked at last.
    loading: BTreeMap<TableId, bool>,
    next: Option<Instant>,
}

impl Steward {
    /// One for these ends of a pipeline.
    pub(super) fn new(
        (prices, budget): (Prices, Option<f64>),
        (origin, sink): (Origin, Arc<BigQuery>),
        status: Arc<Status>,
        clock: Clock,
    ) -> Steward {
        Steward {
            prices,
            budget,
            origin,
            sink,
            status,
            clock,
            known: Known::default(),
        }
    }

    /// Keeps it until all is `done`, which is looked at for the last time.
    pub(super) async fn run(mut self, done: CancellationToken) {
        loop {
            let last = done.is_cancelled();
            self.look().await;
            if last {
                return;
            }
            tokio::select! {
                () = done.cancelled() => {}
                () = self.clock.sleep(LOOK) => {}
            }
        }
    }

    /// Does what is due.
    pub(super) async fn look(&mut self) {
        let loading = self.status.loading();
        let due = self.known.next.is_none_or(|next| self.clock.now() >= next);
        if loading.is_empty() || !(due || loading != self.known.loading) {
            return;
        }
        if due {
            self.known.targets.clear();
            self.read_source().await;
        }
        let wait = match self.tend(&loading).await {
            Ok(()) => ANEW,
            Err(error) => {
                tracing::warn!(
                    error = chain(&error),
                    "max_staleness is not up to date, trying again"
                );
                AGAIN
            }
        };
        if due || wait == AGAIN {
            self.known.next = Some(self.clock.now() + wait);
        }
        self.known.loading = loading;
    }

    /// Reads sizes and rates of the source; what cannot be read stays as it was.
    async fn read_source(&mut self) {
        match self.origin.tables(None).await {
            Ok(tables) => {
                let tables = tables.into_iter();
                self.known.sources = tables.map(|table| (table.name.clone(), table)).collect();
            }
            Err(failure) => tracing::warn!(%failure, "sizes of the source's tables cannot be read"),
        }
    }

    /// Gives each table what is chosen.
    async fn tend(&mut self, loading: &BTreeMap<TableId, bool>) -> Result<(), Error> {
        let anew = self.known.targets.is_empty();
        // One table that is in trouble does not keep the others from theirs.
        let mut end = Ok(());
        for (table, is_loading) in loading {
            let seen = self.known.loading.get(table) == Some(is_loading);
            if seen && self.known.targets.contains_key(table) {
                continue;
            }
            match self.sink.extent(table).await {
                Ok(Some(extent)) => drop(self.known.targets.insert(table.clone(), extent)),
                Ok(None) => drop(self.known.targets.remove(table)),
                Err(error) => end = end.and(Err(error)),
            }
        }
        if anew && let Some(extent) = self.known.targets.values().next() {
            let slowest = self.sink.slowest_apply(&extent.location).await;
            self.known.slowest_apply = slowest.unwrap_or_else(|error| {
                tracing::info!(
                    error = chain(&error),
                    "how long applies take cannot be read; roles/bigquery.resourceViewer on the project admits it"
                );
                None
            });
        }
        let choice = self.choose(loading);
        for (table, is_loading) in loading {
            let applied = self.apply(table, choice.of(*is_loading)).await;
            end = end.and(applied);
        }
        end
    }

    fn choose(&self, loading: &BTreeMap<TableId, bool>) -> Choice {
        let is_applied = |table: &TableId| {
            self.known
                .targets
                .get(table)
                .is_none_or(|extent| extent.is_applied)
        };
        let tables: Vec<Table> = loading
            .iter()
            .filter(|(table, _)| is_applied(table))
            .map(|(table, is_loading)| {
                let name = table.to_string();
                let stored = self.known.targets.get(table).map_or(0, |extent| extent.bytes);
                let mut billed = self.known.sources.get(&name).cloned().unwrap_or(Table {
                    name,
                    rows: 0,
                    bytes: 0,
                    rate: None,
                });
                // Until it is loaded, the source knows better how large it will be.
                billed.bytes = match (stored, is_loading) {
                    (0, _) => billed.bytes,
                    (_, true) => billed.bytes.max(stored),
                    (_, false) => stored,
                };
                billed
            })
            .collect();
        let terms = Terms {
            slowest_apply: self.known.slowest_apply,
            budget: self.budget,
            prices: &self.prices,
        };
        choose(&tables, &terms)
    }

    /// Gives a table its value, unless what it has is near enough.
    async fn apply(&mut self, table: &TableId, choice: Choice) -> Result<(), Error> {
        let extent = self.known.targets.get_mut(table);
        let Some(extent) = extent.filter(|extent| extent.is_applied) else {
            return Ok(());
        };
        let mut why = choice.reason.to_string();
        if choice.replaces(extent.max_staleness) {
            self.sink.set_max_staleness(table, choice.max_staleness).await?;
            tracing::info!(
                %table,
                before = spelled(extent.max_staleness),
                max_staleness = spelled(choice.max_staleness),
                why,
                "max_staleness set"
            );
            extent.max_staleness = choice.max_staleness;
        } else if extent.max_staleness != choice.max_staleness {
            let wanted = spelled(choice.max_staleness);
            why.push_str(&format!("; {wanted} would do and is too near to change it for"));
        }
        self.status.max_staleness(table, extent.max_staleness, &why);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
