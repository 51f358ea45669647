//! The target's side: what a query on the table returns, page by page. A query, and not a listing of
//! the table's data, because only a query is documented to merge changes that are not applied yet.

use std::fmt;
use std::sync::Arc;

use reqwest::{Client, RequestBuilder};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::Columns;
use super::canon::{self, Cell, Form};
use super::error::CompareError;
use crate::sink::bigquery::quoted_name;

/// Gives an access token, or says why it cannot.
pub type Bearer = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

/// What reading one table may bill at most, in bytes: 1 TiB.
const MAX_BYTES_BILLED: u64 = 1 << 40;

/// Rows of a page; BigQuery ends a page at 10 MB by itself.
const PAGE_ROWS: u32 = 20_000;

/// How long one request waits for the query to end, milliseconds.
const WAIT_MILLIS: u32 = 10_000;

/// A BigQuery table, and how to read it.
#[derive(Clone)]
pub struct TargetTable {
    /// HTTP client.
    pub client: Client,
    /// Where the REST API is, without a slash at the end.
    pub rest: String,
    /// Project of the table.
    pub project: String,
    /// Project that the queries are billed to.
    pub jobs_project: String,
    /// Data set.
    pub dataset: String,
    /// Table.
    pub table: String,
    /// Access tokens; `None` for the emulator.
    pub bearer: Option<Bearer>,
}

impl fmt::Debug for TargetTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TargetTable").field(&self.to_string()).finish()
    }
}

impl fmt::Display for TargetTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.project, self.dataset, self.table)
    }
}

#[derive(Deserialize)]
struct Table {
    schema: Schema,
}

#[derive(Deserialize)]
struct Schema {
    #[serde(default)]
    fields: Vec<Field>,
}

#[derive(Deserialize)]
struct Field {
    name: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    job_complete: bool,
    job_reference: Option<JobReference>,
    page_token: Option<String>,
    #[serde(default)]
    rows: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JobReference {
    project_id: String,
    job_id: String,
    location: Option<String>,
}

#[derive(Deserialize)]
struct Row {
    f: Vec<Value>,
}

#[derive(Deserialize)]
struct Value {
    v: Option<String>,
}

#[derive(Deserialize)]
struct Failure {
    error: FailureBody,
}

#[derive(Deserialize)]
struct FailureBody {
    message: String,
}

/// A column as the target has it.
pub(super) struct TargetColumn {
    name: String,
    form: Form,
}

impl TargetColumn {
    /// How its values are written.
    pub(super) fn form(&self) -> Form {
        self.form
    }
}

impl TargetTable {
    /// The target's columns for the source's, in the layout's order.
    pub(super) async fn forms(&self, columns: &Columns<'_>) -> Result<Vec<TargetColumn>, CompareError> {
        let url = format!(
            "{}/bigquery/v2/projects/{}/datasets/{}/tables/{}",
            self.rest, self.project, self.dataset, self.table
        );
        let table: Table = self.send(self.client.get(url)).await?;
        let find = |column: &crate::event::Column| {
            let name = columns.target_name(&column.name);
            let field = table
                .schema
                .fields
                .iter()
                .find(|field| field.name.eq_ignore_ascii_case(name))
                .ok_or_else(|| CompareError::NoColumn {
                    target: self.to_string(),
                    column: name.to_owned(),
                })?;
            let form = Form::of(column.kind, &field.kind, column.key.is_some()).ok_or_else(|| {
                CompareError::Type {
                    column: column.name.clone(),
                    kind: column.kind,
                    found: field.kind.clone(),
                }
            })?;
            Ok(TargetColumn {
                name: field.name.clone(),
                form,
            })
        };
        columns.layout.columns.iter().map(find).collect()
    }

    /// Reads every row, in no order.
    pub(super) async fn read(
        &self,
        columns: &Columns<'_>,
        forms: &[TargetColumn],
        mut take: impl FnMut(Vec<Cell>),
    ) -> Result<(), CompareError> {
        let names: Vec<String> = forms.iter().map(|column| quoted_name(&column.name)).collect();
        self.rows(&names.join(", "), |row| {
            take(cells(columns, forms, row)?);
            Ok(())
        })
        .await
    }

    /// Reads every change that a view of changes shows, with what it did, in no order.
    pub(super) async fn read_changes(
        &self,
        columns: &Columns<'_>,
        forms: &[TargetColumn],
        mut take: impl FnMut(Vec<Cell>, String) -> Result<(), CompareError>,
    ) -> Result<(), CompareError> {
        let names: Vec<String> = forms.iter().map(|column| format!("`{}`", column.name)).collect();
        let list = format!("{}, `_replicator_operation`", names.join(", "));
        self.rows(&list, |mut row| {
            let operation = row.f.pop().and_then(|value| value.v).unwrap_or_default();
            take(cells(columns, forms, row)?, operation)
        })
        .await
    }

    /// What a query shows of one expression over the table: the last row's value, as text.
    ///
    /// # Errors
    /// [`CompareError`] if the query cannot be run.
    pub async fn value(&self, expression: &str) -> Result<Option<String>, CompareError> {
        let mut found = None;
        self.rows(expression, |row| {
            found = row.f.into_iter().next().and_then(|value| value.v);
            Ok(())
        })
        .await?;
        Ok(found)
    }

    async fn rows(
        &self,
        expressions: &str,
        mut take: impl FnMut(Row) -> Result<(), CompareError>,
    ) -> Result<(), CompareError> {
        let mut page = self.query(expressions).await?;
        let mut job = None;
        loop {
            job = page.job_reference.take().or(job);
            for row in page.rows {
                take(row)?;
            }
            page = match (&job, page.page_token.take()) {
                (Some(job), token) if token.is_some() || !page.job_complete => {
                    self.next_page(job, token).await?
                }
                (_, None) if page.job_complete => return Ok(()),
                (_, _) => return Err(self.refused(200, "an unfinished query without a job")),
            };
        }
    }

    async fn query(&self, expressions: &str) -> Result<Page, CompareError> {
        let body = json!({
            "query": format!("SELECT {expressions} FROM {}", quoted_name(self)),
            "useLegacySql": false,
            "useQueryCache": false,
            "maxResults": PAGE_ROWS,
            "timeoutMs": WAIT_MILLIS,
            "formatOptions": { "useInt64Timestamp": true },
            "maximumBytesBilled": MAX_BYTES_BILLED.to_string(),
            "labels": { "replicator": "compare" },
        });
        let url = format!("{}/bigquery/v2/projects/{}/queries", self.rest, self.jobs_project);
        self.send(self.client.post(url).json(&body)).await
    }

    async fn next_page(&self, job: &JobReference, token: Option<String>) -> Result<Page, CompareError> {
        let url = format!(
            "{}/bigquery/v2/projects/{}/queries/{}",
            self.rest, job.project_id, job.job_id
        );
        let mut query = vec![
            ("maxResults", PAGE_ROWS.to_string()),
            ("timeoutMs", WAIT_MILLIS.to_string()),
            ("formatOptions.useInt64Timestamp", true.to_string()),
        ];
        query.extend(job.location.clone().map(|location| ("location", location)));
        query.extend(token.map(|token| ("pageToken", token)));
        self.send(self.client.get(url).query(&query)).await
    }

    async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, CompareError> {
        let request = match &self.bearer {
            Some(bearer) => request.bearer_auth(bearer().map_err(CompareError::Token)?),
            None => request,
        };
        let response = request.header("accept", "application/json").send().await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response.json().await?);
        }
        let text = response.text().await?;
        let message = match serde_json::from_str::<Failure>(&text) {
            Ok(failure) => failure.error.message,
            Err(_) => text,
        };
        Err(self.refused(status.as_u16(), &message))
    }

    fn refused(&self, status: u16, message: &str) -> CompareError {
        CompareError::Refused {
            status,
            target: self.to_string(),
            message: message.to_owned(),
        }
    }
}

fn cells(columns: &Columns<'_>, forms: &[TargetColumn], row: Row) -> Result<Vec<Cell>, CompareError> {
    let expected = columns.layout.columns.len();
    if row.f.len() != expected {
        return Err(CompareError::Width {
            side: "the target",
            expected,
            found: row.f.len(),
        });
    }
    let kinds = columns.layout.columns.iter().zip(forms);
    Ok(kinds
        .zip(row.f)
        .map(|((column, target), value)| canon::of_target(column.kind, target.form, value.v))
        .collect())
}
