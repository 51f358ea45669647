//! `tables`: get, insert, list, patch, update, delete.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};

use super::datasets::{Page, paged};
use super::{Answer, Parameters, body, check_tag, labels, member, no_content, set, text, whole};
use crate::emulator::civil;
use crate::emulator::engine::Engine;
use crate::emulator::error::{ApiError, ApiResult};
use crate::emulator::schema::{DatasetRef, Field, Kind, Table, TableOptions, TableRef};
use crate::emulator::store::alter::{OptionsPatch, Step};
use crate::emulator::store::baseline::Extent;
use crate::emulator::store::catalog::{NewField, NewPartitioning, NewTable};

/// A column as the REST API shows it.
pub(super) fn field_resource(name: &str, kind: Kind, required: bool, description: Option<&str>) -> Value {
    let mut resource = json!({
        "name": name,
        "type": kind.legacy_name(),
        "mode": if required { "REQUIRED" } else { "NULLABLE" },
    });
    if let Some(length) = kind.max_length() {
        set(&mut resource, "maxLength", json!(length.to_string()));
    }
    if let Some(digits) = kind.digits() {
        set(&mut resource, "precision", json!(digits.precision.to_string()));
        if digits.scale > 0 {
            set(&mut resource, "scale", json!(digits.scale.to_string()));
        }
    }
    if let Some(description) = description {
        set(&mut resource, "description", json!(description));
    }
    resource
}

/// What a table's resource, and its entry in a list, have in common.
fn head(table: &Table) -> Value {
    let TableRef { dataset, table: name } = &table.name;
    let mut resource = json!({
        "id": format!("{}:{}.{name}", dataset.project, dataset.dataset),
        "tableReference": { "projectId": dataset.project, "datasetId": dataset.dataset, "tableId": name },
        "type": table.type_name(),
        "labels": table.options.labels,
        "creationTime": table.created_ms.to_string(),
    });
    if let Some(by) = &table.partitioning {
        let mut by_time = json!({ "type": by.unit });
        if let Some(field) = by.column.and_then(|id| table.field_by_id(id)) {
            set(&mut by_time, "field", json!(field.name));
        }
        if let Some(expiration) = by.expiration_ms {
            set(&mut by_time, "expirationMs", json!(expiration.to_string()));
        }
        set(&mut resource, "timePartitioning", by_time);
    }
    if !table.clustering.is_empty() {
        set(
            &mut resource,
            "clustering",
            json!({ "fields": table.names(&table.clustering) }),
        );
    }
    resource
}

/// A table as the REST API shows it.
pub(super) fn resource(table: &Table, location: &str, extent: &Extent) -> Value {
    let mut resource = head(table);
    let fields = table.fields.iter();
    let fields: Vec<Value> = fields
        .map(|field| {
            field_resource(
                &field.name,
                field.kind,
                field.required,
                field.description.as_deref(),
            )
        })
        .collect();
    let more = json!({
        "kind": "bigquery#table",
        "etag": table.etag(),
        "schema": { "fields": fields },
        "location": location,
        "lastModifiedTime": table.modified_ms.to_string(),
        "numRows": extent.rows.to_string(),
        "numBytes": extent.bytes.to_string(),
    });
    if let (Some(resource), Value::Object(more)) = (resource.as_object_mut(), more) {
        resource.extend(more);
        if let Some(waiting) = &extent.waiting {
            let buffer = json!({
                "estimatedRows": waiting.rows.to_string(),
                "estimatedBytes": waiting.bytes.to_string(),
                "oldestEntryTime": (waiting.since / 1_000).to_string(),
            });
            resource.insert("streamingBuffer".to_owned(), buffer);
        }
        extend_with_options(resource, table);
    }
    resource
}

fn extend_with_options(resource: &mut Map<String, Value>, table: &Table) {
    let options = &table.options;
    if let Some(query) = &table.view {
        let view = json!({ "query": query, "useLegacySql": false });
        resource.insert("view".to_owned(), view);
    }
    if !table.primary_key.is_empty() {
        let columns = table.names(&table.primary_key);
        resource.insert(
            "tableConstraints".to_owned(),
            json!({ "primaryKey": { "columns": columns } }),
        );
    }
    let texts = [
        ("description", options.description.clone()),
        ("friendlyName", options.friendly_name.clone()),
        ("maxStaleness", options.max_staleness.clone()),
        (
            "expirationTime",
            options.expiration_ms.map(|moment| moment.to_string()),
        ),
    ];
    for (name, value) in texts {
        if let Some(value) = value {
            resource.insert(name.to_owned(), json!(value));
        }
    }
    if let Some(required) = options.require_partition_filter {
        resource.insert("requirePartitionFilter".to_owned(), json!(required));
    }
}

fn table_ref(project: String, dataset: String, table: String) -> TableRef {
    TableRef {
        dataset: DatasetRef { project, dataset },
        table,
    }
}

fn new_field(field: &Value) -> ApiResult<NewField> {
    let required = |name: &str| ApiError::invalid(format!("Required parameter is missing: {name}"));
    let name = text(field, "name")?.ok_or_else(|| required("name"))?;
    let kind = text(field, "type")?.ok_or_else(|| required("type"))?;
    let mut parameters = Vec::new();
    for parameter in ["maxLength", "precision", "scale"] {
        if let Some(value) = whole(field, parameter)? {
            let value =
                u64::try_from(value).map_err(|_| ApiError::invalid(format!("Invalid {parameter}")))?;
            parameters.push(value);
        }
    }
    if member(field, "defaultValueExpression").is_some() {
        return Err(ApiError::invalid("The emulator has no column defaults"));
    }
    let mode = text(field, "mode")?
        .unwrap_or_else(|| "NULLABLE".to_owned())
        .to_ascii_uppercase();
    let required = match mode.as_str() {
        "NULLABLE" => false,
        "REQUIRED" => true,
        "REPEATED" => {
            return Err(ApiError::invalid(format!(
                "The emulator has no REPEATED columns: {name}"
            )));
        }
        other => {
            return Err(ApiError::invalid(format!(
                "Invalid value for mode: {other} is not a valid value"
            )));
        }
    };
    Ok(NewField {
        kind: Kind::parse(&kind, &parameters)?,
        description: text(field, "description")?,
        name,
        required,
    })
}

fn new_fields(asked: &Value) -> ApiResult<Option<Vec<NewField>>> {
    let fields = asked.get("schema").and_then(|schema| member(schema, "fields"));
    let Some(fields) = fields.and_then(Value::as_array) else {
        return Ok(None);
    };
    fields.iter().map(new_field).collect::<ApiResult<_>>().map(Some)
}

fn names(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn primary_key(asked: &Value) -> Option<Vec<String>> {
    let constraints = asked.get("tableConstraints")?;
    let key = constraints.get("primaryKey").and_then(|key| key.get("columns"));
    Some(names(key))
}

fn clustering(asked: &Value) -> Option<Vec<String>> {
    let clustering = asked.get("clustering")?;
    Some(names(clustering.get("fields")))
}

fn partitioning(asked: &Value) -> ApiResult<Option<NewPartitioning>> {
    if member(asked, "rangePartitioning").is_some() {
        return Err(ApiError::invalid("The emulator has no range partitioning"));
    }
    let Some(by) = member(asked, "timePartitioning") else {
        return Ok(None);
    };
    Ok(Some(NewPartitioning {
        unit: text(by, "type")?
            .unwrap_or_else(|| "DAY".to_owned())
            .to_ascii_uppercase(),
        column: text(by, "field")?,
        expiration_ms: whole(by, "expirationMs")?,
    }))
}

fn options(asked: &Value) -> ApiResult<OptionsPatch> {
    let given = |name: &str| asked.get(name).is_some();
    let optional = |name: &str| {
        if given(name) {
            text(asked, name).map(Some)
        } else {
            Ok(None)
        }
    };
    let mut patch = OptionsPatch {
        description: optional("description")?,
        friendly_name: optional("friendlyName")?,
        labels: labels(asked)?,
        ..OptionsPatch::default()
    };
    if let Some(staleness) = optional("maxStaleness")? {
        let canonical = staleness.map(|text| {
            let parsed = civil::parse_interval(&text);
            parsed.ok_or_else(|| ApiError::invalid(format!("Invalid maxStaleness: {text}")))
        });
        patch.max_staleness = Some(canonical.transpose()?);
    }
    if given("requirePartitionFilter") {
        patch.require_partition_filter = Some(asked.get("requirePartitionFilter").and_then(Value::as_bool));
    }
    if given("expirationTime") {
        patch.expiration_ms = Some(whole(asked, "expirationTime")?);
    }
    Ok(patch)
}

fn refuse_unknown(asked: &Value) -> ApiResult<()> {
    for kind in [
        "view",
        "materializedView",
        "externalDataConfiguration",
        "snapshotDefinition",
        "cloneDefinition",
    ] {
        if member(asked, kind).is_some() {
            return Err(ApiError::invalid(format!(
                "The emulator makes tables only by this call: {kind} is not built"
            )));
        }
    }
    Ok(())
}

pub(super) async fn insert(
    State(engine): State<Engine>,
    Path((project, dataset)): Path<(String, String)>,
    bytes: Bytes,
) -> Answer {
    let asked: Value = body(&bytes)?;
    refuse_unknown(&asked)?;
    let reference = asked.get("tableReference").unwrap_or(&Value::Null);
    let table = text(reference, "tableId")?
        .ok_or_else(|| ApiError::invalid("Required parameter is missing: tableId"))?;
    let mut table_options = TableOptions::default();
    options(&asked)?.apply(&mut table_options);
    let new = NewTable {
        name: table_ref(project, dataset, table),
        fields: new_fields(&asked)?.unwrap_or_default(),
        primary_key: primary_key(&asked).unwrap_or_default(),
        clustering: clustering(&asked).unwrap_or_default(),
        partitioning: partitioning(&asked)?,
        options: table_options,
        view: None,
    };
    let made = engine.run(move |store| {
        let location = store.dataset(&new.name.dataset)?.location.clone();
        let table = store.atomically(|store| store.create_table(new))?;
        Ok(resource(&table, &location, &Extent::default()))
    });
    Ok(Json(made.await?))
}

pub(super) async fn get(
    State(engine): State<Engine>,
    Path((project, dataset, table)): Path<(String, String, String)>,
) -> Answer {
    let name = table_ref(project, dataset, table);
    let found = engine.run(move |store| {
        let table = store.table(&name)?;
        let location = store.dataset(&name.dataset)?.location.clone();
        Ok(resource(&table, &location, &store.extent(&table)?))
    });
    Ok(Json(found.await?))
}

pub(super) async fn list(
    State(engine): State<Engine>,
    Path((project, dataset)): Path<(String, String)>,
    page: Parameters<Page>,
) -> Answer {
    let range = page?.range()?;
    let found = engine.run(move |store| {
        let dataset = DatasetRef { project, dataset };
        store.dataset(&dataset)?;
        let entry = |table: &Table| {
            let mut entry = head(table);
            set(&mut entry, "kind", json!("bigquery#table"));
            entry
        };
        Ok(store
            .tables(&dataset)
            .map(|table| entry(table))
            .collect::<Vec<Value>>())
    });
    let all = found.await?;
    let total = all.len();
    let (tables, next) = paged(all, range);
    let mut answer = json!({ "kind": "bigquery#tableList", "tables": tables, "totalItems": total });
    if let Some(next) = next {
        set(&mut answer, "nextPageToken", json!(next));
    }
    Ok(Json(answer))
}

pub(super) async fn patch(
    state: State<Engine>,
    path: Path<(String, String, String)>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Answer {
    change(state, path, headers, bytes, false).await
}

pub(super) async fn update(
    state: State<Engine>,
    path: Path<(String, String, String)>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Answer {
    change(state, path, headers, bytes, true).await
}

async fn change(
    State(engine): State<Engine>,
    Path((project, dataset, table)): Path<(String, String, String)>,
    headers: HeaderMap,
    bytes: Bytes,
    is_whole: bool,
) -> Answer {
    let asked: Value = body(&bytes)?;
    refuse_unknown(&asked)?;
    let name = table_ref(project, dataset, table);
    let changed = engine.run(move |store| {
        let table = store.table(&name)?;
        check_tag(&headers, &table.etag())?;
        let steps = steps(&table, &asked, is_whole)?;
        let table = store.alter_table(&name, steps)?;
        let location = store.dataset(&name.dataset)?.location.clone();
        Ok(resource(&table, &location, &store.extent(&table)?))
    });
    Ok(Json(changed.await?))
}

/// The steps from a table to the one that a request describes. `is_whole`: what the request leaves out is to go.
fn steps(table: &Table, asked: &Value, is_whole: bool) -> ApiResult<Vec<Step>> {
    let mut steps = vec![Step::SetOptions(options(asked)?)];
    if let Some(fields) = new_fields(asked)? {
        field_steps(table, fields, &mut steps)?;
    }
    let key = primary_key(asked).filter(|key| table.names(&table.primary_key) != *key);
    if let Some(key) = key {
        steps.push(Step::DropPrimaryKey { if_exists: true });
        if !key.is_empty() {
            steps.push(Step::AddPrimaryKey(key));
        }
    }
    let clustering = clustering(asked).or_else(|| is_whole.then(Vec::new));
    if let Some(columns) = clustering {
        steps.push(Step::SetClustering(columns));
    }
    Ok(steps)
}

fn field_steps(table: &Table, fields: Vec<NewField>, steps: &mut Vec<Step>) -> ApiResult<()> {
    let has = |fields: &[NewField], old: &Field| {
        let folded = old.name.to_lowercase();
        fields.iter().any(|field| field.name.to_lowercase() == folded)
    };
    if let Some(lost) = table.fields.iter().find(|old| !has(&fields, old)) {
        return Err(ApiError::invalid(format!(
            "Provided Schema does not match {}. Field {} is missing in new schema",
            table.name, lost.name
        )));
    }
    for field in fields {
        let Some(old) = table.field(&field.name) else {
            steps.push(Step::AddColumn {
                field,
                if_not_exists: false,
            });
            continue;
        };
        let mismatch = |what: String| {
            ApiError::invalid(format!(
                "Provided Schema does not match {}. Field {} {what}",
                table.name, old.name
            ))
        };
        if old.kind.plain() != field.kind.plain() || !old.kind.widens_to(field.kind) {
            return Err(mismatch(format!(
                "has changed type from {} to {}",
                old.kind, field.kind
            )));
        }
        if field.required && !old.required {
            return Err(mismatch("has changed mode from NULLABLE to REQUIRED".to_owned()));
        }
        let (name, if_exists) = (old.name.clone(), false);
        if old.required && !field.required {
            steps.push(Step::DropNotNull {
                name: name.clone(),
                if_exists,
            });
        }
        if old.kind != field.kind {
            let kind = field.kind;
            steps.push(Step::SetType {
                name: name.clone(),
                kind,
                if_exists,
            });
        }
        if old.description != field.description {
            let description = field.description;
            steps.push(Step::SetColumnDescription { name, description });
        }
    }
    Ok(())
}

pub(super) async fn delete(
    State(engine): State<Engine>,
    Path((project, dataset, table)): Path<(String, String, String)>,
) -> ApiResult<StatusCode> {
    let name = table_ref(project, dataset, table);
    engine
        .run(move |store| store.atomically(|store| store.drop_table(&name)))
        .await?;
    Ok(no_content())
}
