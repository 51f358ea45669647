//! Queries, all of them small, labelled and capped in what they may bill.

use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::Error;
use super::rest::{Call, ErrorItem, Refusal, Rest, delays};

/// What a query may bill at most, in bytes.
const MAX_BYTES_BILLED: u64 = 100 << 20;

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
    #[serde(default)]
    rows: Vec<Value>,
    #[serde(default)]
    errors: Vec<ErrorItem>,
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
        let began = rest.clock().now();
        let mut waits = delays();
        loop {
            let refusal = match self.once(rest, sql, most).await? {
                Ok(rows) => return Ok(Answered::Rows(rows)),
                Err(refusal) => refusal,
            };
            if refusal
                .reasons
                .iter()
                .any(|reason| reason == "bytesBilledLimitExceeded")
            {
                return Ok(Answered::TooDear);
            }
            let late = rest.clock().now().saturating_duration_since(began) > PATIENCE;
            if late || !refusal.passes() {
                return Err(refusal.into());
            }
            rest.clock().sleep(waits.next().unwrap_or(PATIENCE)).await;
        }
    }

    /// One job, to its end.
    async fn once(&self, rest: &Rest, sql: &str, most: u32) -> Result<Result<Vec<Value>, Refusal>, Error> {
        let mut body = json!({
            "query": sql,
            "useLegacySql": false,
            "timeoutMs": WAIT_MS,
            "maxResults": most,
            "maximumBytesBilled": MAX_BYTES_BILLED.to_string(),
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
            let answer: Answer = serde_json::from_value(value).map_err(|error| Error::Rest {
                what: "jobs.query".to_owned(),
                message: format!("the answer cannot be read: {error}"),
                transient: false,
            })?;
            if answer.job_complete {
                // Errors beside rows are warnings.
                return Ok(if answer.rows.is_empty() && !answer.errors.is_empty() {
                    Err(Refusal::of_job(&call, &answer.errors))
                } else {
                    Ok(answer.rows)
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
            call = self.results(&job, most);
        }
    }

    fn results(&self, job: &JobReference, most: u32) -> Call {
        let location = job.location.as_ref().or(self.location.as_ref());
        let location = location.map(|location| format!("&location={location}"));
        Call::get(format!(
            "projects/{}/queries/{}?timeoutMs={WAIT_MS}&maxResults={most}&formatOptions.useInt64Timestamp=true{}",
            self.project,
            job.job_id,
            location.unwrap_or_default()
        ))
    }
}
