//! What a case works with: the sink, the bare service, tables with names of their own, and a bound on the bill.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value as Json, json};

use super::rows::{self, Row};
use super::{PATIENCE, Trouble};
use crate::clock::Clock;
use crate::config::{Config, Staleness};
use crate::event::{ColumnType, TableLayout};
use crate::fault::chain;
use crate::sink::bigquery::{Access, BigQuery, Error, Refused, dataset_name, quoted_name};
use crate::sink::{Prepared, Sink};

/// The least that a query of a table bills: 10 MB (<https://cloud.google.com/bigquery/pricing#on_demand_pricing>).
const LEAST_BILLED: u64 = 10 << 20;

/// What one query may bill.
const MOST_BILLED: u64 = 100 << 20;

/// Between two looks at what takes its time.
const LOOK: Duration = Duration::from_secs(3);

/// How long a table lives that nobody removes, milliseconds.
const LIFE_MS: i64 = 24 * 3600 * 1_000;

/// Where the sink puts rows that are refused.
const DEAD_LETTERS: &str = "_replicator_dead_letters";

/// A query's rows, as text.
pub(super) type Table = Vec<Vec<Option<String>>>;

/// A case's surroundings.
#[derive(Debug)]
pub(super) struct World {
    pub(super) access: Access,
    sink: BigQuery,
    config: Config,
    dataset: String,
    clock: Clock,
    prefix: String,
    made: Vec<String>,
    /// Whether the data set was not there before.
    made_dataset: bool,
    left: u64,
    billed: u64,
}

impl World {
    /// Surroundings in `dataset`, whose queries may bill `max_bytes` in all.
    ///
    /// # Errors
    /// No credentials, or no address.
    pub(super) fn new(config: &Config, dataset: &str, clock: Clock, max_bytes: u64) -> Result<World, Error> {
        let mut config = config.clone();
        // As the sink would name it.
        let dataset = dataset_name(dataset);
        dataset.clone_into(&mut config.sink.dataset);
        "{table}".clone_into(&mut config.sink.table);
        Ok(World {
            access: Access::new(&config, clock.clone())?,
            sink: BigQuery::new(&config, clock.clone())?,
            config,
            dataset,
            clock,
            prefix: format!("conformance_{:016x}", fastrand::u64(..)),
            made: Vec::new(),
            made_dataset: false,
            left: max_bytes,
            billed: 0,
        })
    }

    /// Makes every table that follows have this `max_staleness`.
    pub(super) fn stale(&mut self, staleness: Duration) -> Result<(), Error> {
        self.config.sink.max_staleness = Staleness::Fixed(staleness);
        self.renew()
    }

    /// Takes a new sink: what it had learned of tables is gone, as after a restart.
    pub(super) fn renew(&mut self) -> Result<(), Error> {
        self.sink = BigQuery::new(&self.config, self.clock.clone())?;
        Ok(())
    }

    /// What the queries have billed, bytes.
    pub(super) fn billed(&self) -> u64 {
        self.billed
    }

    /// A table made by the sink, with its first column as key.
    pub(super) async fn table(
        &mut self,
        name: &str,
        columns: &[(&str, ColumnType)],
    ) -> Result<Arc<TableLayout>, Trouble> {
        let table = format!("{}_{name}", self.prefix);
        let layout = rows::layout(&table, columns);
        self.made.push(table.clone());
        let prepared = self.sink.prepare(&layout).await?;
        // The second net: a process that is killed removes nothing.
        let until = self.clock.unix_micros() / 1_000 + LIFE_MS;
        let expires = json!({ "expirationTime": until.to_string() });
        self.allowed(Method::PATCH, &table, Some(expires)).await?;
        match prepared {
            Prepared::Created => Ok(layout),
            Prepared::Absent | Prepared::Empty | Prepared::NotEmpty => {
                Err(Trouble::failed(format!("{table} was there before it was made")))
            }
        }
    }

    /// Writes rows of one transaction at `offset` of a log through the sink; gives how many were put aside.
    pub(super) async fn write(
        &self,
        layout: &Arc<TableLayout>,
        offset: u64,
        rows: Vec<Row>,
    ) -> Result<u64, Trouble> {
        let batch = rows::batch(layout, offset, rows);
        let pending = self.sink.write(batch).await?;
        Ok(pending.await?.dead_letters)
    }

    /// A call about a table, which must be allowed.
    pub(super) async fn allowed(
        &self,
        method: Method,
        table: &str,
        body: Option<Json>,
    ) -> Result<Json, Trouble> {
        let (project, dataset) = (&self.config.sink.project, &self.dataset);
        let path = format!("projects/{project}/datasets/{dataset}/tables/{table}");
        let answer = self.access.call(method, path, body).await?;
        answer.map_err(|refused| Trouble::failed(refused.text))
    }

    /// A table's name in SQL.
    pub(super) fn sql(&self, layout: &TableLayout) -> String {
        let (project, dataset) = (&self.config.sink.project, &self.dataset);
        quoted_name(format!("{project}.{dataset}.{}", layout.table.name()))
    }

    /// A view of INFORMATION_SCHEMA, in SQL.
    pub(super) fn schema(&self, view: &str) -> String {
        let dataset = quoted_name(format!("{}.{}", self.config.sink.project, self.dataset));
        format!("{dataset}.INFORMATION_SCHEMA.{view}")
    }

    /// A table's default stream.
    pub(super) fn stream(&self, layout: &TableLayout) -> String {
        format!(
            "projects/{}/datasets/{}/tables/{}/streams/_default",
            self.config.sink.project,
            self.dataset,
            layout.table.name()
        )
    }

    /// Runs a statement.
    ///
    /// # Errors
    /// Outer: no answer, or the bill is at its bound. Inner: the service refused.
    pub(super) async fn run(&mut self, sql: &str) -> Result<Result<Table, Refused>, Trouble> {
        let answer = match self.metered(sql, MOST_BILLED).await? {
            Ok(answer) => answer,
            Err(refused) => return Ok(Err(refused)),
        };
        if answer.get("jobComplete").is_none_or(|done| done != true) {
            return Err(Trouble::failed(format!("the query did not end: {sql}")));
        }
        let rows = answer.get("rows").and_then(Json::as_array);
        let rows = rows.map(Vec::as_slice).unwrap_or_default();
        Ok(Ok(rows.iter().map(cells).collect()))
    }

    /// Runs a statement that may bill `most` bytes, and counts what it billed; gives the answer as it is.
    ///
    /// # Errors
    /// Outer: no answer, or the bill is at its bound. Inner: the service refused.
    pub(super) async fn metered(&mut self, sql: &str, most: u64) -> Result<Result<Json, Refused>, Trouble> {
        if self.left < LEAST_BILLED {
            return Err(Trouble::failed("not run: the bill is at its bound".to_owned()));
        }
        let answer = self.access.query(sql, self.left.min(most)).await?;
        if let Ok(answer) = &answer {
            let billed = billed(answer);
            self.billed = self.billed.saturating_add(billed);
            self.left = self.left.saturating_sub(billed);
        }
        Ok(answer)
    }

    /// Runs a statement that must be allowed.
    pub(super) async fn query(&mut self, sql: &str) -> Result<Table, Trouble> {
        self.run(sql)
            .await?
            .map_err(|refused| Trouble::failed(refused.text))
    }

    /// Waits until a query shows `expected`.
    ///
    /// # Errors
    /// [`Trouble::Differs`] with what it showed last.
    pub(super) async fn shows(&mut self, sql: &str, expected: &[&[Option<&str>]]) -> Result<(), Trouble> {
        let began = self.clock.now();
        loop {
            let found = self.query(sql).await?;
            let same = found.len() == expected.len()
                && found
                    .iter()
                    .zip(expected)
                    .all(|(row, expected)| row.iter().map(Option::as_deref).eq(expected.iter().copied()));
            if same {
                return Ok(());
            }
            // Rows are there once they are acknowledged; a minute is for what is not documented.
            if self.clock.now().saturating_duration_since(began) > Duration::from_secs(60) {
                return Err(Trouble::Differs(format!(
                    "{sql} shows {found:?}, not {expected:?}"
                )));
            }
            self.clock.sleep(LOOK).await;
        }
    }

    /// Waits for the next look; an error once `began` is too long ago.
    pub(super) async fn again(&self, began: std::time::Instant, last: &str) -> Result<(), Trouble> {
        if self.clock.now().saturating_duration_since(began) > PATIENCE {
            return Err(Trouble::Differs(format!("after ten minutes: {last}")));
        }
        self.clock.sleep(LOOK).await;
        Ok(())
    }

    pub(super) fn now(&self) -> std::time::Instant {
        self.clock.now()
    }

    /// Makes [`World::clean`] remove a table that the case caused to be there.
    pub(super) fn also_made(&mut self, table: &str) {
        self.made.push(table.to_owned());
    }

    /// Looks whether there are dead letters already: if not, the table that will hold them is this case's.
    pub(super) async fn mind_letters(&mut self) -> Result<(), Trouble> {
        let (project, dataset) = (&self.config.sink.project, &self.dataset);
        let path = format!("projects/{project}/datasets/{dataset}/tables/{DEAD_LETTERS}");
        if self
            .access
            .call(Method::GET, path, None)
            .await?
            .is_err_and(|refused| refused.status == 404)
        {
            self.also_made(DEAD_LETTERS);
        }
        Ok(())
    }

    /// Looks whether the data set is there already: if not, the one that will be made is this world's, and is removed
    /// with its tables.
    pub(super) async fn mind_dataset(&mut self) -> Result<(), Trouble> {
        let found = self.access.call(Method::GET, self.dataset_path(), None).await?;
        self.made_dataset = found.is_err_and(|refused| refused.status == 404);
        Ok(())
    }

    fn dataset_path(&self) -> String {
        format!("projects/{}/datasets/{}", self.config.sink.project, self.dataset)
    }

    /// Removes every table, and the data set if it was not there before; gives what stays, with the reason.
    pub(super) async fn clean(&mut self) -> Vec<String> {
        let mut left = Vec::new();
        for table in std::mem::take(&mut self.made) {
            if let Err(Trouble::Failed { text, .. } | Trouble::Differs(text)) =
                self.allowed(Method::DELETE, &table, None).await
            {
                left.push(format!("{table}: {text}"));
            }
        }
        if std::mem::take(&mut self.made_dataset) {
            // One that somebody else has put a table into meanwhile is refused, and stays.
            match self.access.call(Method::DELETE, self.dataset_path(), None).await {
                Ok(Ok(_)) => {}
                Ok(Err(refused)) if refused.status == 404 => {}
                Ok(Err(refused)) => left.push(format!("{}: {}", self.dataset, refused.text)),
                Err(error) => left.push(format!("{}: {}", self.dataset, chain(&error))),
            }
        }
        left
    }
}

/// What an answer says it billed; where it only says what was read, no less than the least.
fn billed(answer: &Json) -> u64 {
    let number = |name: &str| answer[name].as_str().and_then(|text| text.parse::<u64>().ok());
    number("totalBytesBilled").unwrap_or_else(|| match number("totalBytesProcessed") {
        Some(0) | None => 0,
        Some(read) => read.max(LEAST_BILLED),
    })
}

fn cells(row: &Json) -> Vec<Option<String>> {
    let cells = row["f"].as_array().map(Vec::as_slice).unwrap_or_default();
    cells
        .iter()
        .map(|cell| cell["v"].as_str().map(str::to_owned))
        .collect()
}
