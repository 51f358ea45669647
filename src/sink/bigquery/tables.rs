//! Target tables: made with what CDC needs (primary key, clustering by it, max_staleness) or with what changes
//! that are only added need (none of these, but for the clustering), or checked against what the rows need. Primary key and max_staleness are fields of the table resource
//! (<https://cloud.google.com/bigquery/docs/reference/rest/v2/tables>), so a table appears in one call.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::auth::Tokens;
use super::connect::Server;
use super::delivery::Destination;
use super::error::Error;
use super::name::{self, literal, quoted};
use super::plan::{Place, Target};
use super::query::{Answered, Jobs};
use super::rest::{Call, Refusal, Rest, delays};
use super::staleness::{self, interval};
use super::types::TargetType;
use crate::config::Staleness;
use crate::sink::Prepared;

mod misfits;
mod unused;

use misfits::{misfit, misfits};
use unused::OWNER;

/// How long a new table may take to become known to the write API and to the REST API.
pub(super) const SPREADING: Duration = Duration::from_secs(300);

/// Makes and checks tables.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) rest: Rest,
    pub(super) jobs: Jobs,
    pub(super) server: Server,
    pub(super) tokens: Tokens,
    /// Location of data sets that are created.
    pub(super) location: Option<String>,
    /// `max_staleness` of tables.
    pub(super) max_staleness: Staleness,
}

/// What is read of a table resource.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Found {
    pub(super) schema: FoundSchema,
    table_constraints: FoundConstraints,
    labels: BTreeMap<String, String>,
    /// Only of a table with rows that are not in its storage yet.
    streaming_buffer: Option<Value>,
    /// Rows without those; REST writes it as text.
    num_rows: Option<String>,
    /// An INTERVAL in canonical form.
    pub(super) max_staleness: Option<String>,
}

impl Found {
    /// Whether the resource itself says that there are rows. That it does not say so proves nothing.
    fn holds_rows(&self) -> bool {
        let stored = self.num_rows.as_ref().is_some_and(|rows| rows != "0");
        stored || self.streaming_buffer.is_some()
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct FoundSchema {
    fields: Vec<FoundField>,
}

impl FoundSchema {
    pub(super) fn field(&self, name: &str) -> Option<&FoundField> {
        self.fields
            .iter()
            .find(|field| name::folded(&field.name) == name::folded(name))
    }
}

impl FoundSchema {
    /// As it is once columns have other names: old, new.
    pub(super) fn rename(&mut self, pairs: &[(String, String)]) {
        for field in &mut self.fields {
            let renamed = pairs
                .iter()
                .find(|(old, _)| name::folded(old) == name::folded(&field.name));
            if let Some((_, new)) = renamed {
                field.name.clone_from(new);
            }
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct FoundField {
    name: String,
    pub(super) r#type: String,
    mode: String,
    /// Parameters of the type; REST writes them as text.
    precision: Option<Value>,
    max_length: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FoundConstraints {
    primary_key: FoundKey,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FoundKey {
    columns: Vec<String>,
}

impl Tables {
    /// Looks at a table.
    ///
    /// # Errors
    /// [`Error::Misfit`], or what the calls failed with.
    pub(super) async fn inspect(&self, target: &Target) -> Result<Prepared, Error> {
        match self.find(&target.destination.place).await? {
            None => Ok(Prepared::Absent),
            Some(found) => self.examine(target, &found).await,
        }
    }

    /// Makes sure that a table is there and fits.
    ///
    /// # Errors
    /// [`Error::Misfit`], or what the calls failed with.
    pub(super) async fn prepare(&self, target: &Target) -> Result<Prepared, Error> {
        if let Some(found) = self.find(&target.destination.place).await? {
            if !target.is_log() {
                let place = &target.destination.place;
                staleness::tell_drift(self.max_staleness, place, found.max_staleness.as_deref());
            }
            return self.examine(target, &found).await;
        }
        self.ensure_dataset(&target.destination.place).await?;
        if !self
            .create(&target.destination.place, self.resource(target))
            .await?
        {
            // Somebody else was faster, or the answer to our own call was lost.
            let found = self.find_made(&target.destination.place).await?;
            return self.examine(target, &found).await;
        }
        self.wait_for_stream(&target.destination).await?;
        Ok(Prepared::Created)
    }

    /// Makes sure that a table of our own, of which `resource` says all but where it is, is there with these columns.
    ///
    /// # Errors
    /// [`Error::Misfit`], or what the calls failed with.
    pub(super) async fn ensure(
        &self,
        destination: &Destination,
        columns: &[(&str, TargetType)],
        mut resource: Value,
    ) -> Result<(), Error> {
        let place = &destination.place;
        let found = match self.find(place).await? {
            Some(found) => found,
            None => {
                self.ensure_dataset(place).await?;
                if let Some(fields) = resource.as_object_mut() {
                    fields.insert("tableReference".to_owned(), reference(place));
                    fields.insert("labels".to_owned(), json!({ OWNER: self.jobs.pipeline }));
                }
                if self.create(place, resource).await? {
                    return self.wait_for_stream(destination).await;
                }
                self.find_made(place).await?
            }
        };
        let problems: Vec<String> = columns
            .iter()
            .filter_map(|(name, kind)| misfit(place, name, *kind, found.schema.field(name)))
            .collect();
        if problems.is_empty() {
            return Ok(());
        }
        Err(Error::Misfit {
            table: destination.table.clone(),
            target: place.to_string(),
            problems,
        })
    }

    pub(super) async fn find(&self, place: &Place) -> Result<Option<Found>, Error> {
        get(&self.rest, place).await?.map(read).transpose()
    }

    /// The table of which BigQuery said that it is there: it may be shown late.
    async fn find_made(&self, place: &Place) -> Result<Found, Error> {
        let began = self.rest.clock().now();
        let mut waits = delays();
        loop {
            if let Some(found) = self.find(place).await? {
                return Ok(found);
            }
            if self.rest.clock().now().saturating_duration_since(began) > SPREADING {
                return Err(Error::Rest {
                    what: "tables.get".to_owned(),
                    message: format!("{place} can be neither made nor found"),
                    transient: true,
                });
            }
            self.rest.clock().sleep(waits.next().unwrap_or(SPREADING)).await;
        }
    }

    /// Whether a table has the columns that are written to it.
    ///
    /// # Errors
    /// [`Error::Misfit`].
    pub(super) fn examine_columns(&self, target: &Target, found: &Found) -> Result<(), Error> {
        let problems = misfits(target, found);
        if problems.is_empty() {
            return Ok(());
        }
        Err(Error::Misfit {
            table: target.layout.table.clone(),
            target: target.destination.place.to_string(),
            problems,
        })
    }

    async fn examine(&self, target: &Target, found: &Found) -> Result<Prepared, Error> {
        self.examine_columns(target, found)?;
        Ok(if self.was_written(&target.destination.place, found).await? {
            Prepared::NotEmpty
        } else {
            Prepared::Empty
        })
    }

    /// Whether rows were ever written to a table, for all that can be known. Within `max_staleness` a query does not
    /// see those that wait to be applied, and metadata is late; so what waits is asked for first, then what is
    /// visible, then whether anything was applied: rows move that way, and deletes leave their numbers behind.
    async fn was_written(&self, place: &Place, found: &Found) -> Result<bool, Error> {
        if found.holds_rows() {
            return Ok(true);
        }
        let Place {
            project,
            dataset,
            table,
        } = place;
        let schema = quoted(format!("{project}.{dataset}"));
        let visible = format!("SELECT 1 FROM {} LIMIT 1", quoted(place));
        let applied = format!(
            "SELECT 1 FROM {schema}.INFORMATION_SCHEMA.TABLES WHERE table_name = {} \
             AND upsert_stream_apply_watermark IS NOT NULL",
            literal(table)
        );
        for sql in [visible, applied] {
            match self.jobs.rows(&self.rest, &sql, 1).await? {
                Answered::Rows(rows) if rows.is_empty() => {}
                Answered::Rows(_) | Answered::TooDear => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Whether a place's data set takes names for one that differ in no more than case, which it does only if it was
    /// made so (`isCaseInsensitive` at <https://cloud.google.com/bigquery/docs/reference/rest/v2/datasets>).
    pub(super) async fn ignores_case(&self, place: &Place) -> Result<bool, Error> {
        let Place { project, dataset, .. } = place;
        let get = Call::get(format!("projects/{project}/datasets/{dataset}"));
        match self.rest.call(&get).await? {
            Ok(found) => Ok(found
                .get("isCaseInsensitive")
                .is_some_and(|ignores| *ignores == true)),
            // It will be made without.
            Err(refusal) if refusal.status == StatusCode::NOT_FOUND => Ok(false),
            Err(refusal) => Err(refused(place, refusal)),
        }
    }

    async fn ensure_dataset(&self, place: &Place) -> Result<(), Error> {
        let Place { project, dataset, .. } = place;
        let get = Call::get(format!("projects/{project}/datasets/{dataset}"));
        match self.rest.call(&get).await? {
            Ok(_) => return Ok(()),
            Err(refusal) if refusal.status == StatusCode::NOT_FOUND => {}
            Err(refusal) => return Err(refused(place, refusal)),
        }
        let mut body = json!({
            "datasetReference": { "projectId": project, "datasetId": dataset },
            "labels": { OWNER: self.jobs.pipeline },
        });
        if let (Some(location), Some(fields)) = (&self.location, body.as_object_mut()) {
            fields.insert("location".to_owned(), json!(location));
        }
        let insert = Call::post(format!("projects/{project}/datasets"), body);
        match self.rest.call(&insert).await? {
            Ok(_) => {
                tracing::info!(dataset, "data set created");
                Ok(())
            }
            Err(refusal) if refusal.status == StatusCode::CONFLICT => Ok(()),
            Err(refusal) => Err(refused(place, refusal)),
        }
    }

    /// Creates the table; `false` if it was there already.
    async fn create(&self, place: &Place, body: Value) -> Result<bool, Error> {
        let Place { project, dataset, .. } = place;
        let call = Call::post(format!("projects/{project}/datasets/{dataset}/tables"), body);
        let began = self.rest.clock().now();
        let mut waits = delays();
        loop {
            let refusal = match self.rest.call(&call).await? {
                Ok(_) => return Ok(true),
                Err(refusal) if refusal.status == StatusCode::CONFLICT => return Ok(false),
                Err(refusal) => refusal,
            };
            // A data set that was made a moment ago may not be known everywhere.
            let late = self.rest.clock().now().saturating_duration_since(began) > SPREADING;
            if late || refusal.status != StatusCode::NOT_FOUND {
                return Err(refused(place, refusal));
            }
            self.rest.clock().sleep(waits.next().unwrap_or(SPREADING)).await;
        }
    }

    /// The table resource to create.
    fn resource(&self, target: &Target) -> Value {
        let fields: Vec<Value> = target
            .fields()
            .map(|(name, kind, required, description)| {
                let mut field = serde_json::Map::new();
                field.insert("name".to_owned(), json!(name));
                field.insert("type".to_owned(), json!(kind.name()));
                field.insert(
                    "mode".to_owned(),
                    json!(if required { "REQUIRED" } else { "NULLABLE" }),
                );
                field.extend(description.map(|text| ("description".to_owned(), json!(text))));
                Value::Object(field)
            })
            .collect();
        let mut body = json!({
            "tableReference": reference(&target.destination.place),
            "description": format!("replicated from {}", target.layout.table),
            "schema": { "fields": fields },
            "labels": { OWNER: self.jobs.pipeline },
        });
        let Some(object) = body.as_object_mut() else {
            return body;
        };
        let clustering = target.clustering();
        if !clustering.is_empty() {
            object.insert("clustering".to_owned(), json!({ "fields": clustering }));
        }
        if !target.is_log() {
            let key = json!({ "primaryKey": { "columns": target.primary_key() } });
            object.insert("tableConstraints".to_owned(), key);
            let max_staleness = self.max_staleness.of_new_tables();
            if !max_staleness.is_zero() {
                object.insert("maxStaleness".to_owned(), json!(interval(max_staleness)));
            }
        }
        body
    }
}

fn reference(place: &Place) -> Value {
    json!({ "projectId": place.project, "datasetId": place.dataset, "tableId": place.table })
}

/// Whether a table is there.
///
/// # Errors
/// What the call failed with.
pub(super) async fn exists(rest: &Rest, place: &Place) -> Result<bool, Error> {
    Ok(get(rest, place).await?.is_some())
}

/// The path of a table's resource.
pub(super) fn path(place: &Place) -> String {
    let Place {
        project,
        dataset,
        table,
    } = place;
    format!("projects/{project}/datasets/{dataset}/tables/{table}")
}

/// The table resource; `None` if there is no such table.
pub(super) async fn get(rest: &Rest, place: &Place) -> Result<Option<Value>, Error> {
    let call = Call::get(path(place));
    match rest.call(&call).await? {
        Ok(value) => Ok(Some(value)),
        Err(refusal) if refusal.status == StatusCode::NOT_FOUND => Ok(None),
        Err(refusal) => Err(refused(place, refusal)),
    }
}

/// What of a table's resource is wanted.
pub(super) fn read<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, Error> {
    serde_json::from_value(value).map_err(|error| Error::Rest {
        what: "tables.get".to_owned(),
        message: format!("the answer cannot be read: {error}"),
        transient: false,
    })
}

/// A refusal of a call about a table.
pub(super) fn refused(place: &Place, refusal: Refusal) -> Error {
    if refusal.status == StatusCode::FORBIDDEN || refusal.status == StatusCode::UNAUTHORIZED {
        return Error::Forbidden {
            target: place.to_string(),
            status: Error::from(refusal).to_string(),
        };
    }
    refusal.into()
}

#[cfg(test)]
mod tests;
