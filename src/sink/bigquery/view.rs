//! The view beside a table of changes. Of a table with a primary key it shows the latest version of each row;
//! of one without, every change once, from its latest snapshot on: rows that were sent twice, rows of reads that were
//! broken off and changes that the snapshot holds already are in the table, and not in the view. What was cleared is in
//! neither kind.
//! Rows do not depend on it: a view that cannot be made is said and left out.

use serde::Deserialize;

use super::encode::{CLEARED, SEAL};
use super::error::Error;
use super::name::quoted;
use super::plan::{OPERATION, Place, SEQUENCE, Target};
use super::tables::{Tables, get};
use crate::fault::chain;

/// What follows a table's name in the name of its view.
const SUFFIX: &str = "_latest";

/// Where the view of a table is.
pub(super) fn place(table: &Place) -> Place {
    Place {
        table: format!("{}{SUFFIX}", table.table),
        ..table.clone()
    }
}

/// Whether a view that shows what it should is made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Showing {
    /// It is left alone.
    AsItIs,
    /// It is: its table has other columns.
    Anew,
}

/// What the view of a table of changes shows.
fn query(target: &Target) -> String {
    let table = quoted(&target.destination.place);
    let since = "IFNULL((SELECT mark FROM horizon), '')";
    if target.key.is_empty() {
        return format!(
            "WITH horizon AS (SELECT MAX({SEQUENCE}) AS mark FROM {table} WHERE {OPERATION} IN ('{SEAL}', '{CLEARED}')) \
             SELECT * FROM {table} WHERE IF({OPERATION} = 'SNAPSHOT', \
             STARTS_WITH({SEQUENCE}, (SELECT mark FROM horizon)), \
             {OPERATION} NOT IN ('{SEAL}', '{CLEARED}') AND {SEQUENCE} > {since}) \
             QUALIFY ROW_NUMBER() OVER (PARTITION BY {SEQUENCE}) = 1"
        );
    }
    let key: Vec<String> = target.key.iter().map(quoted).collect();
    format!(
        "WITH horizon AS (SELECT MAX({SEQUENCE}) AS mark FROM {table} WHERE {OPERATION} = '{CLEARED}') \
         SELECT * FROM {table} WHERE {SEQUENCE} > {since} \
         QUALIFY ROW_NUMBER() OVER (PARTITION BY {} ORDER BY {SEQUENCE} DESC) = 1 \
         AND {OPERATION} NOT IN ('DELETE', 'UPDATE_BEFORE')",
        key.join(", ")
    )
}

/// What is read of a view's resource.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Found {
    r#type: String,
    view: FoundView,
    labels: FoundLabels,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FoundView {
    query: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FoundLabels {
    replicator_pipeline: String,
}

impl Tables {
    /// Makes the view of a table of changes, or makes it anew where it is another one.
    pub(super) async fn show_latest(&self, target: &Target, showing: Showing) {
        let place = place(&target.destination.place);
        let query = query(target);
        let statement = format!(
            "CREATE OR REPLACE VIEW {} OPTIONS (labels = [('replicator_pipeline', '{}')]) AS {query}",
            quoted(&place),
            self.jobs.pipeline
        );
        let table = &target.layout.table;
        match self.replace_view(&place, (&query, showing), &statement).await {
            Ok(true) => tracing::info!(%table, view = %place, "view of the latest rows made"),
            Ok(false) => {}
            Err(error) => tracing::error!(
                %table,
                view = %place,
                error = chain(&error),
                cure = statement,
                "the view of the latest rows cannot be made; the table itself is written all the same"
            ),
        }
    }

    async fn replace_view(
        &self,
        place: &Place,
        (query, showing): (&str, Showing),
        statement: &str,
    ) -> Result<bool, Error> {
        if let Some(value) = get(&self.rest, place).await? {
            let found: Found = serde_json::from_value(value).unwrap_or_default();
            if found.r#type != "VIEW" || found.labels.replicator_pipeline != self.jobs.pipeline {
                return Err(Error::Rest {
                    what: place.to_string(),
                    message: "is there already, and this pipeline did not make it".to_owned(),
                    transient: false,
                });
            }
            if found.view.query == query && showing == Showing::AsItIs {
                return Ok(false);
            }
        }
        self.jobs.run(&self.rest, statement).await?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
