//! INFORMATION_SCHEMA: what the catalogue knows, as rows.

use serde_json::Value;

use super::QueryRequest;
use crate::emulator::civil;
use crate::emulator::error::{ApiError, ApiResult};
use crate::emulator::schema::{DatasetRef, Kind, Table};
use crate::emulator::store::Store;
use crate::emulator::store::jobs::{CALLER, Job};
use crate::emulator::value::Cell;

/// A view's columns and rows.
pub(super) struct View {
    pub(super) columns: Vec<(&'static str, Kind)>,
    pub(super) rows: Vec<Vec<Cell<'static>>>,
}

const TEXT: Kind = Kind::String(None);

fn text(value: impl Into<String>) -> Cell<'static> {
    Cell::Text(value.into().into())
}

fn yes_no(value: bool) -> Cell<'static> {
    text(if value { "YES" } else { "NO" })
}

/// The view that a path names; none if the path names no view.
pub(super) fn view(store: &Store, request: &QueryRequest, path: &[String]) -> ApiResult<Option<View>> {
    let [scope @ .., schema, name] = path else {
        return Ok(None);
    };
    if !schema.eq_ignore_ascii_case("INFORMATION_SCHEMA") {
        return Ok(None);
    }
    let name = name.to_ascii_uppercase();
    let tables = match scope {
        [.., last] if !last.to_ascii_lowercase().starts_with("region-") => {
            let dataset = request.dataset(scope)?;
            store.dataset(&dataset)?;
            store.tables(&dataset).cloned().collect()
        }
        _ => in_region(store, request, scope),
    };
    let of_each = |make: &dyn Fn(&Table) -> Vec<Vec<Cell<'static>>>| {
        tables.iter().flat_map(|table| make(table)).collect::<Vec<_>>()
    };
    let view = match name.as_str() {
        "SCHEMATA" => schemata(store, request),
        "JOBS" | "JOBS_BY_PROJECT" => jobs(store, request)?,
        "TABLES" => View {
            columns: TABLES.to_vec(),
            rows: of_each(&|table| vec![table_row(table, store.clock().unix_micros())]),
        },
        "COLUMNS" => View {
            columns: COLUMNS.to_vec(),
            rows: of_each(&column_rows),
        },
        "TABLE_CONSTRAINTS" => View {
            columns: TABLE_CONSTRAINTS.to_vec(),
            rows: of_each(&constraint_rows),
        },
        "KEY_COLUMN_USAGE" => View {
            columns: KEY_COLUMN_USAGE.to_vec(),
            rows: of_each(&key_rows),
        },
        "TABLE_OPTIONS" => View {
            columns: TABLE_OPTIONS.to_vec(),
            rows: of_each(&option_rows),
        },
        other => {
            return Err(ApiError::query(format!(
                "The emulator has no INFORMATION_SCHEMA.{other}"
            )));
        }
    };
    Ok(Some(view))
}

/// The tables of a project's datasets at one place, or anywhere.
fn in_region(store: &Store, request: &QueryRequest, scope: &[String]) -> Vec<std::sync::Arc<Table>> {
    let (project, region) = match scope {
        [region] => (&request.project, Some(region)),
        [project, region] => (project, Some(region)),
        _ => (&request.project, None),
    };
    let region = region.map(|region| region.to_ascii_lowercase());
    let place = region
        .as_deref()
        .and_then(|region| region.strip_prefix("region-"));
    let datasets = store.datasets().filter(|(name, dataset)| {
        name.project == *project && place.is_none_or(|place| dataset.location.eq_ignore_ascii_case(place))
    });
    datasets
        .flat_map(|(name, _)| store.tables(name).cloned())
        .collect()
}

fn schemata(store: &Store, request: &QueryRequest) -> View {
    let row = |name: &DatasetRef, location: &str, created_ms: i64| {
        vec![
            text(&name.project),
            text(&name.dataset),
            text(location),
            Cell::Int(created_ms * 1_000),
        ]
    };
    let datasets = store
        .datasets()
        .filter(|(name, _)| name.project == request.project);
    View {
        columns: vec![
            ("catalog_name", TEXT),
            ("schema_name", TEXT),
            ("location", TEXT),
            ("creation_time", Kind::Timestamp),
        ],
        rows: datasets
            .map(|(name, dataset)| row(name, &dataset.location, dataset.created_ms))
            .collect(),
    }
}

/// Jobs that a view shows at most: their values are bound to a statement, which takes 32,766.
const MOST_JOBS: u64 = 2_000;

const JOBS: [(&str, Kind); 13] = [
    ("creation_time", Kind::Timestamp),
    ("project_id", TEXT),
    ("user_email", TEXT),
    ("job_id", TEXT),
    ("job_type", TEXT),
    ("statement_type", TEXT),
    ("start_time", Kind::Timestamp),
    ("end_time", Kind::Timestamp),
    ("query", TEXT),
    ("state", TEXT),
    ("total_bytes_processed", Kind::Int64),
    ("total_bytes_billed", Kind::Int64),
    ("cache_hit", Kind::Bool),
];

/// The jobs of a project, those that apply changes among them.
fn jobs(store: &Store, request: &QueryRequest) -> ApiResult<View> {
    let row = |job: &Job| {
        let query = job.configuration.pointer("/query/query").and_then(Value::as_str);
        let bytes = Cell::Int(i64::try_from(job.bytes).unwrap_or(i64::MAX));
        vec![
            Cell::Int(job.created_ms * 1_000),
            text(&job.project),
            text(job.user.as_deref().unwrap_or(CALLER)),
            text(&job.id),
            text("QUERY"),
            text(&job.statement_type),
            Cell::Int(job.created_ms * 1_000),
            Cell::Int(job.ended_ms * 1_000),
            query.map_or(Cell::Null, text),
            text("DONE"),
            bytes.clone(),
            bytes,
            Cell::Int(0),
        ]
    };
    let jobs = store.jobs(&request.project, MOST_JOBS)?;
    Ok(View {
        columns: JOBS.to_vec(),
        rows: jobs.iter().map(row).collect(),
    })
}

const TABLES: [(&str, Kind); 8] = [
    ("table_catalog", TEXT),
    ("table_schema", TEXT),
    ("table_name", TEXT),
    ("table_type", TEXT),
    ("is_insertable_into", TEXT),
    ("is_typed", TEXT),
    ("creation_time", Kind::Timestamp),
    ("upsert_stream_apply_watermark", Kind::Timestamp),
];

fn names(table: &Table) -> Vec<Cell<'static>> {
    let dataset = &table.name.dataset;
    vec![
        text(&dataset.project),
        text(&dataset.dataset),
        text(&table.name.table),
    ]
}

/// A table without a baseline is merged at query time: its watermark is the present.
fn table_row(table: &Table, now: i64) -> Vec<Cell<'static>> {
    let mut row = names(table);
    row.extend([
        text(if table.view.is_some() {
            "VIEW"
        } else {
            "BASE TABLE"
        }),
        yes_no(table.view.is_none()),
        yes_no(false),
        Cell::Int(table.created_ms * 1_000),
        match &table.baseline {
            Some(baseline) => baseline.watermark.map_or(Cell::Null, Cell::Int),
            None if table.has_changes => Cell::Int(now),
            None => Cell::Null,
        },
    ]);
    row
}

const COLUMNS: [(&str, Kind); 10] = [
    ("table_catalog", TEXT),
    ("table_schema", TEXT),
    ("table_name", TEXT),
    ("column_name", TEXT),
    ("ordinal_position", Kind::Int64),
    ("is_nullable", TEXT),
    ("data_type", TEXT),
    ("is_partitioning_column", TEXT),
    ("clustering_ordinal_position", Kind::Int64),
    ("is_hidden", TEXT),
];

fn ordinal(place: usize) -> Cell<'static> {
    Cell::Int(i64::try_from(place + 1).unwrap_or(i64::MAX))
}

fn column_rows(table: &Table) -> Vec<Vec<Cell<'static>>> {
    let partitioned = table.partitioning.as_ref().and_then(|by| by.column);
    let row = |(place, field): (usize, &crate::emulator::schema::Field)| {
        let clustered = table.clustering.iter().position(|id| *id == field.id);
        let mut row = names(table);
        row.extend([
            text(&field.name),
            ordinal(place),
            yes_no(!field.required),
            text(field.kind.to_string()),
            yes_no(partitioned == Some(field.id)),
            clustered.map_or(Cell::Null, ordinal),
            yes_no(false),
        ]);
        row
    };
    table.fields.iter().enumerate().map(row).collect()
}

const TABLE_CONSTRAINTS: [(&str, Kind); 10] = [
    ("constraint_catalog", TEXT),
    ("constraint_schema", TEXT),
    ("constraint_name", TEXT),
    ("table_catalog", TEXT),
    ("table_schema", TEXT),
    ("table_name", TEXT),
    ("constraint_type", TEXT),
    ("is_deferrable", TEXT),
    ("initially_deferred", TEXT),
    ("enforced", TEXT),
];

/// The names of a table's primary key: catalog, schema and `<table>.pk$`.
fn key_names(table: &Table) -> Vec<Cell<'static>> {
    let dataset = &table.name.dataset;
    vec![
        text(&dataset.project),
        text(&dataset.dataset),
        text(format!("{}.pk$", table.name.table)),
    ]
}

fn constraint_rows(table: &Table) -> Vec<Vec<Cell<'static>>> {
    if table.primary_key.is_empty() {
        return Vec::new();
    }
    let mut row = key_names(table);
    row.extend(names(table));
    row.extend([text("PRIMARY KEY"), yes_no(false), yes_no(false), yes_no(false)]);
    vec![row]
}

const KEY_COLUMN_USAGE: [(&str, Kind); 9] = [
    ("constraint_catalog", TEXT),
    ("constraint_schema", TEXT),
    ("constraint_name", TEXT),
    ("table_catalog", TEXT),
    ("table_schema", TEXT),
    ("table_name", TEXT),
    ("column_name", TEXT),
    ("ordinal_position", Kind::Int64),
    ("position_in_unique_constraint", Kind::Int64),
];

fn key_rows(table: &Table) -> Vec<Vec<Cell<'static>>> {
    let columns = table.names(&table.primary_key);
    let row = |(place, column): (usize, &str)| {
        let mut row = key_names(table);
        row.extend(names(table));
        row.extend([text(column), ordinal(place), Cell::Null]);
        row
    };
    columns.into_iter().enumerate().map(row).collect()
}

const TABLE_OPTIONS: [(&str, Kind); 6] = [
    ("table_catalog", TEXT),
    ("table_schema", TEXT),
    ("table_name", TEXT),
    ("option_name", TEXT),
    ("option_type", TEXT),
    ("option_value", TEXT),
];

/// A text as a literal of a query.
fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

fn option_rows(table: &Table) -> Vec<Vec<Cell<'static>>> {
    let options = &table.options;
    let labels: Vec<String> = options
        .labels
        .iter()
        .map(|(key, value)| format!("STRUCT({}, {})", quoted(key), quoted(value)))
        .collect();
    let labels = (!labels.is_empty()).then(|| format!("[{}]", labels.join(", ")));
    let expiration = options.expiration_ms.map(|moment| {
        let text = civil::datetime_text(moment.saturating_mul(1_000)).replace('T', " ");
        format!("TIMESTAMP \"{text}+00\"")
    });
    let all = [
        (
            "description",
            "STRING",
            options.description.as_deref().map(quoted),
        ),
        (
            "friendly_name",
            "STRING",
            options.friendly_name.as_deref().map(quoted),
        ),
        ("labels", "ARRAY<STRUCT<STRING, STRING>>", labels),
        ("max_staleness", "INTERVAL", options.max_staleness.clone()),
        (
            "require_partition_filter",
            "BOOL",
            options.require_partition_filter.map(|value| value.to_string()),
        ),
        ("expiration_timestamp", "TIMESTAMP", expiration),
    ];
    let row = |(name, kind, value): (&str, &str, Option<String>)| {
        let mut row = names(table);
        row.extend([text(name), text(kind), text(value?)]);
        Some(row)
    };
    all.into_iter().filter_map(row).collect()
}
