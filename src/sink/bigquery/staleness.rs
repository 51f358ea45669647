//! What `max_staleness` is chosen from at the target, and the way to change it: sizes and options of tables, and how long
//! applies took (<https://cloud.google.com/bigquery/docs/change-data-capture#manage_table_staleness>).

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::BigQuery;
use super::error::Error;
use super::name::quoted;
use super::plan::Place;
use super::query::Answered;
use super::rest::Call;
use super::tables;
use crate::config::Staleness;
use crate::event::TableId;

/// Applies older than this say nothing of the present.
const RECENT: Duration = Duration::from_secs(86_400);

/// Applies that are looked at, at most: the newest.
const APPLIES: u32 = 1000;

/// A target table as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    /// Logical bytes, those that wait to be applied included.
    pub bytes: u64,
    /// Its `max_staleness`; zero: none.
    pub max_staleness: Duration,
    /// Where it is, such as `US`.
    pub location: String,
    /// Whether changes are applied to it: not without a primary key, as in append mode.
    pub is_applied: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Found {
    num_bytes: Option<String>,
    streaming_buffer: Buffer,
    max_staleness: Option<String>,
    location: String,
    table_constraints: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Buffer {
    estimated_bytes: Option<String>,
}

impl BigQuery {
    /// A table's target as it is; `None` if there is none.
    ///
    /// # Errors
    /// What the call failed with.
    pub async fn extent(&self, table: &TableId) -> Result<Option<Extent>, Error> {
        let place = self.place(table);
        let Some(resource) = tables::get(&self.tables.rest, &place).await? else {
            return Ok(None);
        };
        let found: Found = tables::read(resource)?;
        let bytes = |text: Option<String>| text.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        let waiting = bytes(found.streaming_buffer.estimated_bytes);
        Ok(Some(Extent {
            bytes: bytes(found.num_bytes).saturating_add(waiting),
            max_staleness: found.max_staleness.as_deref().map_or(Duration::ZERO, duration),
            location: found.location,
            is_applied: found.table_constraints.is_some(),
        }))
    }

    /// Sets a table's `max_staleness`.
    ///
    /// # Errors
    /// What the call failed with.
    pub async fn set_max_staleness(&self, table: &TableId, value: Duration) -> Result<(), Error> {
        let place = self.place(table);
        let call = Call {
            method: reqwest::Method::PATCH,
            path: tables::path(&place),
            body: Some(json!({ "maxStaleness": interval(value) })),
        };
        let answer = self.tables.rest.call(&call).await?;
        answer
            .map(drop)
            .map_err(|refusal| tables::refused(&place, refusal))
    }

    /// How long 95 of 100 applies took at most, of the project's at a location in the last day; `None` if there was none
    /// or there are too many to look at.
    ///
    /// # Errors
    /// What the query failed with; it needs `bigquery.jobs.listAll` on the project.
    pub async fn slowest_apply(&self, location: &str) -> Result<Option<Duration>, Error> {
        let region = format!("region-{}", location.to_lowercase());
        let from = self.tables.rest.clock().unix_micros() - i64::try_from(RECENT.as_micros()).unwrap_or(0);
        let sql = format!(
            "SELECT UNIX_MICROS(creation_time), UNIX_MICROS(end_time) FROM {}.{}.INFORMATION_SCHEMA.JOBS \
             WHERE creation_time > TIMESTAMP_MICROS({from}) AND job_id LIKE '%cdc_background%' \
             AND end_time IS NOT NULL ORDER BY creation_time DESC LIMIT {APPLIES}",
            quoted(&self.config.sink.project),
            quoted(region)
        );
        let rows = match self.tables.jobs.rows(&self.tables.rest, &sql, APPLIES).await? {
            Answered::Rows(rows) => rows,
            Answered::TooDear => return Ok(None),
        };
        Ok(slowest(rows.iter().filter_map(took).collect()))
    }
}

/// Tells that a table has another `max_staleness` than is configured: somebody set it, who knows why.
pub(super) fn tell_drift(configured: Staleness, place: &Place, found: Option<&str>) {
    let Staleness::Fixed(configured) = configured else {
        return;
    };
    let found = found.map_or(Duration::ZERO, duration);
    if found != configured {
        tracing::warn!(
            target_table = %place,
            seconds = found.as_secs(),
            configured_seconds = configured.as_secs(),
            cure = format!(
                "ALTER TABLE {} SET OPTIONS (max_staleness = INTERVAL '{}' YEAR TO SECOND)",
                quoted(place),
                interval(configured)
            ),
            "the table's max_staleness is not the configured one, and is left as it is"
        );
    }
}

/// A duration as INTERVAL in canonical form.
pub(super) fn interval(duration: Duration) -> String {
    let seconds = duration.as_secs();
    format!("0-0 0 {}:{}:{}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// The duration of a row of two moments in microseconds.
fn took(row: &Value) -> Option<Duration> {
    let cell = |at: usize| row.pointer(&format!("/f/{at}/v"))?.as_str()?.parse::<i64>().ok();
    let micros = cell(1)?.checked_sub(cell(0)?)?;
    u64::try_from(micros).ok().map(Duration::from_micros)
}

/// The duration that 95 of 100 do not exceed.
fn slowest(mut durations: Vec<Duration>) -> Option<Duration> {
    durations.sort_unstable();
    let place = (durations.len() * 95).div_ceil(100).saturating_sub(1);
    durations.get(place).copied()
}

/// An INTERVAL in canonical form, `Y-M D H:M:S`; what cannot be read counts as none. A month has 30 days here.
pub(super) fn duration(text: &str) -> Duration {
    let read = || {
        let mut parts = text.split(' ');
        let (months, days, time) = (parts.next()?, parts.next()?, parts.next()?);
        let (years, months) = months.split_once('-')?;
        let number = |text: &str| text.parse::<u64>().ok();
        let days = number(years)?
            .checked_mul(360)?
            .checked_add(number(months)?.checked_mul(30)?)?
            .checked_add(number(days)?)?;
        let time = time.split('.').next()?;
        let seconds = time.split(':').try_fold(0u64, |all, part| {
            all.checked_mul(60)?.checked_add(part.parse::<u64>().ok()?)
        })?;
        days.checked_mul(86_400)?.checked_add(seconds)
    };
    read().map_or(Duration::ZERO, Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nineteen_of_twenty_are_not_slower() {
        let of = |count: u64| slowest((1..=count).rev().map(Duration::from_secs).collect());
        assert_eq!(of(0), None);
        assert_eq!(of(1), Some(Duration::from_secs(1)));
        assert_eq!(of(20), Some(Duration::from_secs(19)));
        assert_eq!(of(1000), Some(Duration::from_secs(950)));
    }

    #[test]
    fn rows_without_an_end_count_for_nothing() {
        let row = |began: Value, ended: Value| took(&json!({ "f": [{ "v": began }, { "v": ended }] }));
        assert_eq!(
            row(json!("1000000"), json!("3500000")),
            Some(Duration::from_millis(2500))
        );
        assert_eq!(row(json!("2"), json!("1")), None);
        assert_eq!(row(json!("2"), Value::Null), None);
        assert_eq!(took(&json!({})), None);
    }

    proptest! {
        #[test]
        fn intervals_are_read_as_they_are_written(seconds in 0u64..10_000_000) {
            let written = Duration::from_secs(seconds);
            prop_assert_eq!(duration(&interval(written)), written);
        }

        #[test]
        fn what_is_no_interval_is_none(text in "\\PC*") {
            prop_assert!(duration(&text) == Duration::ZERO || text.contains(':') || text.contains('-'));
        }
    }

    #[test]
    fn days_and_months_count() {
        assert_eq!(duration("0-0 2 1:0:0.5"), Duration::from_secs(2 * 86_400 + 3600));
        assert_eq!(duration("1-1 0 0:0:0"), Duration::from_secs(390 * 86_400));
        assert_eq!(duration("0-0 0 18446744073709551615:0:0"), Duration::ZERO);
    }
}
