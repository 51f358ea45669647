//! When queries see what is acknowledged. With `max_staleness` a query may show a table as it was a while
//! ago, so whoever decides by what a query shows waits first.

use std::time::Duration;

use serde_json::Value;

use super::error::Error;
use super::name::literal;
use super::plan::Place;
use super::staleness::duration;
use super::tables::Tables;

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(5);

impl Tables {
    /// Waits until a query sees every row that is acknowledged now: until changes up to now are applied, or for
    /// as long as a query may lag behind.
    ///
    /// # Errors
    /// What the calls failed with.
    pub(super) async fn wait_until_visible(&self, place: &Place) -> Result<(), Error> {
        let clock = self.rest.clock().clone();
        let staleness = self.staleness_of(place).await?;
        if staleness.is_zero() {
            return Ok(());
        }
        let began = clock.now();
        // BigQuery's clock, which its watermark goes by.
        let there = self.instant("SELECT CURRENT_TIMESTAMP()").await?;
        loop {
            let applied = self.applied_to(place).await?;
            let waited = clock.now().saturating_duration_since(began);
            if waited >= staleness || applied.zip(there).is_some_and(|(to, at)| to > at) {
                return Ok(());
            }
            clock.sleep(staleness.saturating_sub(waited).min(LOOK)).await;
        }
    }

    /// How far queries on a table may lag behind.
    async fn staleness_of(&self, place: &Place) -> Result<Duration, Error> {
        let found = self.find(place).await?;
        let text = found.and_then(|found| found.max_staleness);
        Ok(text.map_or(Duration::ZERO, |text| duration(&text)))
    }

    /// Up to when changes of a table are applied; `None` if none ever were.
    async fn applied_to(&self, place: &Place) -> Result<Option<i64>, Error> {
        let Place {
            project,
            dataset,
            table,
        } = place;
        let sql = format!(
            "SELECT upsert_stream_apply_watermark FROM `{project}`.`{dataset}`.INFORMATION_SCHEMA.TABLES \
             WHERE table_name = {}",
            literal(table)
        );
        self.instant(&sql).await
    }

    /// The one timestamp that a query gives, microseconds since 1970-01-01T00:00:00Z.
    async fn instant(&self, sql: &str) -> Result<Option<i64>, Error> {
        let pages = self.jobs.pages(&self.rest, sql).await?;
        let cell = pages.rows.first().and_then(|row| row.pointer("/f/0/v"));
        Ok(cell.and_then(Value::as_str).and_then(|text| text.parse().ok()))
    }
}
