//! `datasets`: get, insert, list, patch, delete.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Flag, Parameters, body, labels, no_content, page_start, page_token, set, text};
use crate::emulator::engine::Engine;
use crate::emulator::error::{ApiError, ApiResult};
use crate::emulator::schema::{Dataset, DatasetRef};

/// Entries of a page unless asked otherwise.
pub(super) const PAGE: u64 = 50;

/// Parameters of a list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page {
    max_results: Option<u64>,
    page_token: Option<String>,
}

impl Page {
    /// First entry and number of entries of the page.
    pub(super) fn range(&self) -> ApiResult<(u64, u64)> {
        let start = page_start(self.page_token.as_deref())?.unwrap_or(0);
        Ok((start, self.max_results.unwrap_or(PAGE).clamp(1, 1_000)))
    }
}

/// One page of entries and the next page's token.
pub(super) fn paged(all: Vec<Value>, (start, most): (u64, u64)) -> (Vec<Value>, Option<String>) {
    let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    let more = all.len() > size(start.saturating_add(most));
    let page = all.into_iter().skip(size(start)).take(size(most)).collect();
    (page, more.then(|| page_token(start + most)))
}

fn resource(name: &DatasetRef, dataset: &Dataset) -> Value {
    let mut resource = json!({
        "kind": "bigquery#dataset",
        "id": format!("{}:{}", name.project, name.dataset),
        "datasetReference": { "projectId": name.project, "datasetId": name.dataset },
        "location": dataset.location,
        "labels": dataset.labels,
        "creationTime": dataset.created_ms.to_string(),
        "lastModifiedTime": dataset.created_ms.to_string(),
        "etag": format!("{}.{}", name.dataset, dataset.created_ms),
        "type": "DEFAULT",
        "access": [],
    });
    for (key, value) in [
        ("description", &dataset.description),
        ("friendlyName", &dataset.friendly_name),
    ] {
        if let Some(value) = value {
            set(&mut resource, key, json!(value));
        }
    }
    resource
}

fn name(project: String, dataset: String) -> DatasetRef {
    DatasetRef { project, dataset }
}

pub(super) async fn get(
    State(engine): State<Engine>,
    Path((project, dataset)): Path<(String, String)>,
) -> Answer {
    let name = name(project, dataset);
    let found = engine.run(move |store| Ok(resource(&name, &*store.dataset(&name)?)));
    Ok(Json(found.await?))
}

pub(super) async fn insert(
    State(engine): State<Engine>,
    Path(project): Path<String>,
    bytes: Bytes,
) -> Answer {
    let asked: Value = body(&bytes)?;
    let reference = asked.get("datasetReference").unwrap_or(&Value::Null);
    let dataset = text(reference, "datasetId")?
        .ok_or_else(|| ApiError::invalid("Required parameter is missing: datasetId"))?;
    let project = text(reference, "projectId")?.unwrap_or(project);
    let made = engine.run(move |store| {
        let name = name(project, dataset);
        store.atomically(|store| {
            let mut dataset = store.new_dataset(text(&asked, "location")?);
            change(&mut dataset, &asked)?;
            let dataset = store.create_dataset(name.clone(), dataset)?;
            Ok(resource(&name, &dataset))
        })
    });
    Ok(Json(made.await?))
}

fn change(dataset: &mut Dataset, asked: &Value) -> ApiResult<()> {
    if asked.get("description").is_some() {
        dataset.description = text(asked, "description")?;
    }
    if asked.get("friendlyName").is_some() {
        dataset.friendly_name = text(asked, "friendlyName")?;
    }
    if let Some(labels) = labels(asked)? {
        dataset.labels = labels;
    }
    Ok(())
}

pub(super) async fn patch(
    State(engine): State<Engine>,
    Path((project, dataset)): Path<(String, String)>,
    bytes: Bytes,
) -> Answer {
    let asked: Value = body(&bytes)?;
    let changed = engine.run(move |store| {
        let name = name(project, dataset);
        store.atomically(|store| {
            let mut dataset = Dataset::clone(&*store.dataset(&name)?);
            change(&mut dataset, &asked)?;
            let dataset = store.save_dataset(name.clone(), dataset)?;
            Ok(resource(&name, &dataset))
        })
    });
    Ok(Json(changed.await?))
}

pub(super) async fn list(
    State(engine): State<Engine>,
    Path(project): Path<String>,
    page: Parameters<Page>,
) -> Answer {
    let range = page?.range()?;
    let found = engine.run(move |store| {
        let of_project = store.datasets().filter(|(name, _)| name.project == project);
        Ok(of_project
            .map(|(name, dataset)| resource(name, dataset))
            .collect())
    });
    let (datasets, next) = paged(found.await?, range);
    let mut answer = json!({ "kind": "bigquery#datasetList", "datasets": datasets });
    if let Some(next) = next {
        set(&mut answer, "nextPageToken", json!(next));
    }
    Ok(Json(answer))
}

/// Parameters of a deletion.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Deletion {
    delete_contents: Option<Flag>,
}

pub(super) async fn delete(
    State(engine): State<Engine>,
    Path((project, dataset)): Path<(String, String)>,
    deletion: Parameters<Deletion>,
) -> ApiResult<StatusCode> {
    let with_tables = deletion?.0.delete_contents.is_some_and(bool::from);
    let name = name(project, dataset);
    engine
        .run(move |store| store.atomically(|store| store.drop_dataset(&name, with_tables)))
        .await?;
    Ok(no_content())
}
