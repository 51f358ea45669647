//! `tabledata.list`, and the form of rows that query results share with it.

use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Flag, Parameters, page_start, page_token, set};
use crate::emulator::civil;
use crate::emulator::engine::Engine;
use crate::emulator::error::{ApiError, ApiResult};
use crate::emulator::schema::{DatasetRef, Kind, TableRef};
use crate::emulator::store::rows::RestRow;

/// Rows of a page at most.
pub(super) const PAGE_ROWS: u64 = 100_000;
/// Text of a page at most, about (documented: pages of 10 MB).
pub(super) const PAGE_BYTES: usize = 10_000_000;

/// Parameters of a list of rows.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page {
    max_results: Option<u64>,
    page_token: Option<String>,
    start_index: Option<u64>,
    selected_fields: Option<String>,
    #[serde(rename = "formatOptions.useInt64Timestamp")]
    use_int64_timestamp: Option<Flag>,
    /// `INT64` is the same wish in its newer form.
    #[serde(rename = "formatOptions.timestampOutputFormat")]
    timestamp_output_format: Option<String>,
}

impl Page {
    /// First row and number of rows.
    pub(super) fn range(&self) -> ApiResult<(u64, u64)> {
        let start = page_start(self.page_token.as_deref())?
            .or(self.start_index)
            .unwrap_or(0);
        Ok((start, self.max_results.unwrap_or(PAGE_ROWS).min(PAGE_ROWS)))
    }

    /// How TIMESTAMP values are wanted.
    pub(super) fn timestamps(&self) -> ApiResult<Timestamps> {
        Timestamps::wanted(
            self.use_int64_timestamp.map(bool::from),
            self.timestamp_output_format.as_deref(),
        )
    }
}

/// How TIMESTAMP values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timestamps {
    Micros,
    Seconds,
    Iso8601,
}

impl Timestamps {
    pub(super) fn wanted(int64: Option<bool>, format: Option<&str>) -> ApiResult<Timestamps> {
        match (int64, format) {
            (Some(true), None | Some("TIMESTAMP_OUTPUT_FORMAT_UNSPECIFIED" | "INT64"))
            | (_, Some("INT64")) => Ok(Timestamps::Micros),
            (Some(false) | None, Some("ISO8601_STRING")) => Ok(Timestamps::Iso8601),
            (_, None | Some("TIMESTAMP_OUTPUT_FORMAT_UNSPECIFIED" | "FLOAT64")) => Ok(Timestamps::Seconds),
            (_, Some(other)) => Err(ApiError::invalid(format!(
                "Invalid timestampOutputFormat: {other}"
            ))),
        }
    }
}

/// A row as `{"f": [{"v": …}]}`.
pub(super) fn row(values: RestRow, kinds: &[Kind], timestamps: Timestamps) -> Value {
    let cells = values.into_iter().zip(kinds).map(|(value, kind)| {
        let micros = value.as_str().and_then(|text| text.parse().ok());
        let value = match (kind, timestamps, micros) {
            (Kind::Timestamp, Timestamps::Seconds, Some(micros)) => json!(civil::seconds_text(micros)),
            (Kind::Timestamp, Timestamps::Iso8601, Some(micros)) => {
                json!(format!("{}Z", civil::datetime_text(micros)))
            }
            _ => value,
        };
        json!({ "v": value })
    });
    json!({ "f": cells.collect::<Vec<Value>>() })
}

pub(super) async fn list(
    State(engine): State<Engine>,
    Path((project, dataset, table)): Path<(String, String, String)>,
    page: Parameters<Page>,
) -> Answer {
    let page = page?.0;
    let (start, most) = page.range()?;
    let timestamps = page.timestamps()?;
    let name = TableRef {
        dataset: DatasetRef { project, dataset },
        table,
    };
    let found = engine.run(move |store| {
        let mut table = (*store.table(&name)?).clone();
        if let Some(selected) = &page.selected_fields {
            let selected: Vec<String> = selected.split(',').map(str::to_lowercase).collect();
            table
                .fields
                .retain(|field| selected.contains(&field.name.to_lowercase()));
        }
        let rows = store.list_rows(&table, start, most, PAGE_BYTES)?;
        let total = store.count_rows(&table)?;
        Ok((table, rows, total))
    });
    let (table, rows, total) = found.await?;
    let kinds: Vec<Kind> = table.fields.iter().map(|field| field.kind).collect();
    let end = start + u64::try_from(rows.len()).unwrap_or(0);
    let rows: Vec<Value> = rows
        .into_iter()
        .map(|values| row(values, &kinds, timestamps))
        .collect();
    let mut answer = json!({
        "kind": "bigquery#tableDataList",
        "etag": table.etag(),
        "totalRows": total.to_string(),
        "rows": rows,
    });
    if end < total {
        set(&mut answer, "pageToken", json!(page_token(end)));
    }
    Ok(Json(answer))
}
