//! Queries, all of them small, labelled and capped in what they may bill.

use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::Error;
use super::rest::{Call, ErrorItem, Refusal, Rest, delays};

/// What a query may bill at most, in bytes.
const MAX_BYTES_BILLED: u64 = 100 << 20;

/// What a query that reads a table's keys may bill at most, in bytes: 1 TiB.
const MAX_KEYS_BILLED: u64 = 1 << 40;

/// Rows of a page.
const PAGE_ROWS: u32 = 10_000;

/// How long the server waits for a query before it says "not yet", in milliseconds.
const WAIT_MS: u64 = 20_000;

/// How long a query may take in all.
const PATIENCE: Duration = Duration::from_secs(600);

/// What a query goes with.
#[derive(Debug, Clone)]
pub(super) struct Jobs {
    /// Project that is billed.
    pub(super) project: String,
    /// Where the data is; `None`: BigQuery finds out.
    pub(super) location: Option<String>,
    /// Names the pipeline on the bill.
    pub(super) pipeline: String,
}

/// What is read of an answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(default)]
    job_complete: bool,
    job_reference: Option<JobReference>,
    page_token: Option<String>,
    #[serde(default)]
    rows: Vec<Value>,
    #[serde(default)]
    errors: Vec<ErrorItem>,
}

/// A query's rows, page by page.
#[derive(Debug)]
pub(super) struct Pages {
    /// The page at hand: rows as the REST API writes them.
    pub(super) rows: Vec<Value>,
    job: Option<JobReference>,
    token: Option<String>,
}

impl Pages {
    /// Fetches the next page; `false` if there is none.
    ///
    /// # Errors
    /// What the call failed with.
    pub(super) async fn next(&mut self, jobs: &Jobs, rest: &Rest) -> Result<bool, Error> {
        let (Some(job), Some(token)) = (&self.job, self.token.take()) else {
            return Ok(false);
        };
        let call = jobs.results(job, PAGE_ROWS, Some(&token));
        let value = rest.call(&call).await??;
        let answer = read(value)?;
        self.token = answer.page_token;
        self.rows = answer.rows;
        Ok(true)
    }
}

fn read(value: Value) -> Result<Answer, Error> {
    serde_json::from_value(value).map_err(|error| Error::Rest {
        what: "jobs.query".to_owned(),
        message: format!("the answer cannot be read: {error}"),
        transient: false,
    })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct JobReference {
    job_id: String,
    location: Option<String>,
}

/// How a query ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answered {
    /// With these rows, moments in whole microseconds.
    Rows(Vec<Value>),
    /// It would have billed more than it may.
    TooDear,
}

impl Jobs {
    /// The rows that `sql` gives, `most` at most, which must be few enough for one page.
    ///
    /// # Errors
    /// The query failed, or took too long.
    pub(super) async fn rows(&self, rest: &Rest, sql: &str, most: u32) -> Result<Answered, Error> {
        match self.until_done(rest, sql, (most, MAX_BYTES_BILLED)).await? {
            Ok(pages) => Ok(Answered::Rows(pages.rows)),
            Err(refusal) if too_dear(&refusal) => Ok(Answered::TooDear),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// Runs a statement that gives no rows.
    ///
    /// # Errors
    /// It failed, or took too long.
    pub(super) async fn run(&self, rest: &Rest, sql: &str) -> Result<(), Error> {
        self.until_done(rest, sql, (1, MAX_BYTES_BILLED)).await??;
        Ok(())
    }

    /// The rows that `sql` gives.
    ///
    /// # Errors
    /// The query failed, or took too long.
    pub(super) async fn pages(&self, rest: &Rest, sql: &str) -> Result<Pages, Error> {
        Ok(self.until_done(rest, sql, (PAGE_ROWS, MAX_KEYS_BILLED)).await??)
    }

    /// Starts a query again for as long as what it fails with may pass. `limits`: rows of a page, bytes billed.
    async fn until_done(
        &self,
        rest: &Rest,
        sql: &str,
        limits: (u32, u64),
    ) -> Result<Result<Pages, Refusal>, Error> {
        let began = rest.clock().now();
        let mut waits = delays();
        loop {
            let refusal = match self.once(rest, sql, limits).await? {
                Ok(pages) => return Ok(Ok(pages)),
                Err(refusal) => refusal,
            };
            let late = rest.clock().now().saturating_duration_since(began) > PATIENCE;
            if late || too_dear(&refusal) || !refusal.passes() {
                return Ok(Err(refusal));
            }
            rest.clock().sleep(waits.next().unwrap_or(PATIENCE)).await;
        }
    }

    /// One job, to its end.
    async fn once(
        &self,
        rest: &Rest,
        sql: &str,
        (rows, billed): (u32, u64),
    ) -> Result<Result<Pages, Refusal>, Error> {
        let mut body = json!({
            "query": sql,
            "useLegacySql": false,
            "timeoutMs": WAIT_MS,
            "maxResults": rows,
            "maximumBytesBilled": billed.to_string(),
            // Makes a repeated call find the job that the first one started.
            "requestId": format!("{:032x}", fastrand::u128(..)),
            "formatOptions": { "useInt64Timestamp": true },
            "labels": { "replicator_pipeline": self.pipeline },
        });
        if let (Some(location), Some(fields)) = (&self.location, body.as_object_mut()) {
            fields.insert("location".to_owned(), json!(location));
        }
        let began = rest.clock().now();
        let mut waits = delays();
        let mut call = Call::post(format!("projects/{}/queries", self.project), body);
        loop {
            let late = rest.clock().now().saturating_duration_since(began) > PATIENCE;
            let value = match rest.call(&call).await? {
                Ok(value) => value,
                // A job that was begun a moment ago may not be known everywhere.
                Err(refusal) if refusal.status == StatusCode::NOT_FOUND && call.is_get() && !late => {
                    rest.clock().sleep(waits.next().unwrap_or(PATIENCE)).await;
                    continue;
                }
                Err(refusal) => return Ok(Err(refusal)),
            };
            let answer = read(value)?;
            if answer.job_complete {
                return Ok(match (answer.rows.is_empty(), answer.errors.is_empty()) {
                    (true, false) => Err(Refusal::of_job(&call, &answer.errors)),
                    _ => Ok(Pages {
                        rows: answer.rows,
                        job: answer.job_reference,
                        token: answer.page_token,
                    }),
                });
            }
            let (Some(job), false) = (answer.job_reference, late) else {
                return Err(Error::Rest {
                    what: "jobs.query".to_owned(),
                    message: "the query did not end".to_owned(),
                    transient: true,
                });
            };
            rest.clock().sleep(waits.next().unwrap_or(PATIENCE)).await;
            call = self.results(&job, rows, None);
        }
    }

    fn results(&self, job: &JobReference, rows: u32, page: Option<&str>) -> Call {
        let location = job.location.as_ref().or(self.location.as_ref());
        let location = location.map(|location| format!("&location={location}"));
        let page = page.map(|token| format!("&pageToken={token}"));
        Call::get(format!(
            "projects/{}/queries/{}?timeoutMs={WAIT_MS}&maxResults={rows}&formatOptions.useInt64Timestamp=true{}{}",
            self.project,
            job.job_id,
            location.unwrap_or_default(),
            page.unwrap_or_default()
        ))
    }
}

fn too_dear(refusal: &Refusal) -> bool {
    refusal
        .reasons
        .iter()
        .any(|reason| reason == "bytesBilledLimitExceeded")
}
