//! `jobs`: query, insert, get, list, cancel, getQueryResults. A job is done when it is first seen, unless the
//! profile or a fault says that it is to be asked for more often.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::rows::{PAGE_BYTES, Page, Timestamps, row};
use super::tables::field_resource;
use super::{Answer, Parameters, body, member, page_token, set, text, whole};
use crate::emulator::engine::Engine;
use crate::emulator::error::{ApiError, ApiResult};
use crate::emulator::schema::{DatasetRef, Kind};
use crate::emulator::sql::QueryRequest;
use crate::emulator::sql::parameters;
use crate::emulator::store::Store;
use crate::emulator::store::jobs::{CALLER, Job, NewJob};

/// The place that jobs run at unless they say another.
const LOCATION: &str = "US";

fn fresh_id() -> String {
    format!("job_{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..))
}

/// The statement of a query's configuration (of a job, or a `jobs.query` request, which share the names).
fn request(project: &str, query: &Value, location: Option<String>) -> ApiResult<QueryRequest> {
    let is_legacy = query.get("useLegacySql").and_then(Value::as_bool).unwrap_or(true);
    if is_legacy {
        return Err(ApiError::query(
            "The emulator has no legacy SQL, which is the default: set useLegacySql to false",
        ));
    }
    let sql =
        text(query, "query")?.ok_or_else(|| ApiError::invalid("Required parameter is missing: query"))?;
    let default_dataset = match member(query, "defaultDataset") {
        None => None,
        Some(reference) => Some(DatasetRef {
            project: text(reference, "projectId")?.unwrap_or_else(|| project.to_owned()),
            dataset: text(reference, "datasetId")?.unwrap_or_default(),
        }),
    };
    Ok(QueryRequest {
        project: project.to_owned(),
        sql,
        default_dataset,
        parameters: parameters::Parameters::read(query.get("queryParameters"))?,
        location,
    })
}

fn schema(columns: &[(String, Kind)]) -> Value {
    let fields: Vec<Value> = columns
        .iter()
        .map(|(name, kind)| field_resource(name, *kind, false, None))
        .collect();
    json!({ "fields": fields })
}

fn reference(job: &Job) -> Value {
    json!({ "projectId": job.project, "jobId": job.id, "location": job.location })
}

/// The answer that a job is not complete yet.
fn incomplete(job: &Job) -> Value {
    json!({ "jobReference": reference(job), "jobComplete": false, "cacheHit": false })
}

fn resource(job: &Job, is_done: bool) -> Value {
    let bytes = job.bytes.to_string();
    let mut query = json!({
        "statementType": job.statement_type,
        "totalBytesProcessed": bytes,
        "totalBytesBilled": bytes,
        "cacheHit": false,
        "schema": schema(&job.columns),
    });
    if let Some(operation) = &job.operation {
        set(&mut query, "ddlOperationPerformed", json!(operation));
    }
    if let Some(target) = &job.target {
        set(
            &mut query,
            "ddlTargetTable",
            json!({
                "projectId": target.dataset.project,
                "datasetId": target.dataset.dataset,
                "tableId": target.table,
            }),
        );
    }
    let mut status = json!({ "state": if is_done { "DONE" } else { "RUNNING" } });
    if let (Some(failure), true) = (&job.failure, is_done) {
        let error = failure.to_error().to_proto();
        set(&mut status, "errorResult", error.clone());
        set(&mut status, "errors", json!([error]));
    }
    json!({
        "kind": "bigquery#job",
        "id": format!("{}:{}.{}", job.project, job.location, job.id),
        "etag": job.id,
        "jobReference": reference(job),
        "configuration": job.configuration,
        "status": status,
        "statistics": {
            "creationTime": job.created_ms.to_string(),
            "startTime": job.created_ms.to_string(),
            "endTime": job.ended_ms.to_string(),
            "totalBytesProcessed": bytes,
            "query": query,
        },
        "user_email": job.user.as_deref().unwrap_or(CALLER),
    })
}

/// One page of a job's result, with what every form of it has.
fn page(store: &mut Store, job: &Job, (start, most): (u64, u64), timestamps: Timestamps) -> ApiResult<Value> {
    if !store.poll(job) {
        return Ok(incomplete(job));
    }
    if let Some(failure) = &job.failure {
        return Err(failure.to_error());
    }
    let found = store.results(job, start, most, PAGE_BYTES)?;
    let end = start + u64::try_from(found.len()).unwrap_or(0);
    let kinds: Vec<Kind> = job.columns.iter().map(|(_, kind)| *kind).collect();
    let rows: Vec<Value> = found
        .into_iter()
        .map(|values| row(values, &kinds, timestamps))
        .collect();
    let mut answer = json!({
        "jobReference": reference(job),
        "jobComplete": true,
        "cacheHit": false,
        "totalRows": job.rows.to_string(),
        "totalBytesProcessed": job.bytes.to_string(),
        "schema": schema(&job.columns),
        "statementType": job.statement_type,
    });
    if !rows.is_empty() {
        set(&mut answer, "rows", json!(rows));
    }
    if end < job.rows {
        set(&mut answer, "pageToken", json!(page_token(end)));
    }
    if let Some(operation) = &job.operation {
        set(&mut answer, "ddlOperationPerformed", json!(operation));
    }
    Ok(answer)
}

pub(super) async fn query(State(engine): State<Engine>, Path(project): Path<String>, bytes: Bytes) -> Answer {
    let asked: Value = body(&bytes)?;
    let location = text(&asked, "location")?;
    let request = request(&project, &asked, location.clone())?;
    let format = asked.get("formatOptions").unwrap_or(&Value::Null);
    let int64 = format.get("useInt64Timestamp").and_then(Value::as_bool);
    let timestamps = Timestamps::wanted(int64, text(format, "timestampOutputFormat")?.as_deref())?;
    let most = whole(&asked, "maxResults")?.and_then(|most| u64::try_from(most).ok());
    let is_dry = asked.get("dryRun").and_then(Value::as_bool).unwrap_or(false);
    let request_id = text(&asked, "requestId")?.filter(|_| !is_dry);
    let new = NewJob {
        id: fresh_id(),
        location: location.unwrap_or_else(|| LOCATION.to_owned()),
        configuration: json!({ "jobType": "QUERY", "query": {
            "query": request.sql,
            "useLegacySql": false,
            "maximumBytesBilled": asked.get("maximumBytesBilled"),
        } }),
        is_dry,
        request,
    };
    let answer = engine.run(move |store| {
        let job = store.run_request(new, request_id)?;
        let mut answer = page(store, &job, (0, most.unwrap_or(u64::MAX)), timestamps)?;
        set(&mut answer, "kind", json!("bigquery#queryResponse"));
        Ok(answer)
    });
    Ok(Json(answer.await?))
}

pub(super) async fn insert(
    State(engine): State<Engine>,
    Path(project): Path<String>,
    bytes: Bytes,
) -> Answer {
    let asked: Value = body(&bytes)?;
    let configuration = asked.get("configuration").cloned().unwrap_or(Value::Null);
    let Some(query) = member(&configuration, "query") else {
        return Err(ApiError::invalid("The emulator has query jobs only"));
    };
    let named = asked.get("jobReference").unwrap_or(&Value::Null);
    let location = text(named, "location")?;
    let request = request(&project, query, location.clone())?;
    let is_dry = configuration
        .get("dryRun")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    let mut configuration = configuration.clone();
    set(&mut configuration, "jobType", json!("QUERY"));
    let new = NewJob {
        id: text(named, "jobId")?.unwrap_or_else(fresh_id),
        location: location.unwrap_or_else(|| LOCATION.to_owned()),
        configuration,
        is_dry,
        request,
    };
    let made = engine.run(move |store| {
        let job = store.run_job(new)?;
        let is_done = store.poll(&job);
        Ok(resource(&job, is_done))
    });
    Ok(Json(made.await?))
}

pub(super) async fn get(State(engine): State<Engine>, Path((project, id)): Path<(String, String)>) -> Answer {
    found(&engine, project, id).await.map(Json)
}

async fn found(engine: &Engine, project: String, id: String) -> ApiResult<Value> {
    let found = engine.run(move |store| {
        let job = store.job(&project, &id)?;
        let is_done = store.poll(&job);
        Ok(resource(&job, is_done))
    });
    found.await
}

pub(super) async fn cancel(
    State(engine): State<Engine>,
    Path((project, id)): Path<(String, String)>,
) -> Answer {
    let job = found(&engine, project, id).await?;
    Ok(Json(json!({ "kind": "bigquery#jobCancelResponse", "job": job })))
}

/// Parameters of the list of jobs.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListPage {
    max_results: Option<u64>,
}

pub(super) async fn list(
    State(engine): State<Engine>,
    Path(project): Path<String>,
    page: Parameters<ListPage>,
) -> Answer {
    let most = page?.max_results.unwrap_or(50);
    let jobs = engine.run(move |store| store.jobs(&project, most)).await?;
    let jobs: Vec<Value> = jobs
        .iter()
        .map(|job| {
            let mut entry = resource(job, true);
            set(&mut entry, "state", json!("DONE"));
            entry
        })
        .collect();
    Ok(Json(json!({ "kind": "bigquery#jobList", "jobs": jobs })))
}

pub(super) async fn results(
    State(engine): State<Engine>,
    Path((project, id)): Path<(String, String)>,
    asked: Parameters<Page>,
) -> Answer {
    let asked = asked?.0;
    let (range, timestamps) = (asked.range()?, asked.timestamps()?);
    let answer = engine.run(move |store| {
        let job = store.job(&project, &id)?;
        let mut answer = page(store, &job, range, timestamps)?;
        set(&mut answer, "kind", json!("bigquery#getQueryResultsResponse"));
        set(&mut answer, "etag", json!(job.id));
        Ok(answer)
    });
    Ok(Json(answer.await?))
}
