//! What would be done to targets, without doing it.

use std::sync::Arc;

use super::BigQuery;
use super::error::Error;
use super::name::{literal, quoted};
use super::plan::Target;
use super::staleness::interval;
use crate::event::TableLayout;
use crate::schema::{Evolution, Projection};

impl BigQuery {
    /// Where a table's rows go, as `project.dataset.table`.
    pub fn target_of(&self, layout: &TableLayout) -> String {
        self.place(&layout.table).to_string()
    }

    /// The statements that a change of columns would run now; `None` without the target.
    ///
    /// # Errors
    /// BigQuery cannot be asked.
    pub async fn foresee(
        &self,
        projection: &Projection,
        evolution: &Evolution,
    ) -> Result<Option<Vec<String>>, Error> {
        let place = self.place(&projection.layout.table);
        self.tables.foreseen(&place, evolution, &self.config.values).await
    }

    /// The statement that says what a new table's target would be.
    ///
    /// # Errors
    /// The table has columns of which no target can be made.
    pub fn foresee_creation(&self, layout: &TableLayout) -> Result<String, Error> {
        let target = self.target(&Arc::new(layout.clone()))?;
        let max_staleness = self.config.sink.max_staleness.of_new_tables();
        let stale = (!target.is_log() && !max_staleness.is_zero()).then(|| interval(max_staleness));
        Ok(creation(&target, stale))
    }
}

/// A table as SQL; `max_staleness`: an INTERVAL in canonical form, if it has one.
fn creation(target: &Target, max_staleness: Option<String>) -> String {
    let mut lines: Vec<String> = target
        .fields()
        .map(|(name, kind, required, description)| {
            let required = if required { " NOT NULL" } else { "" };
            let options = description
                .map(|text| format!(" OPTIONS (description = {})", literal(&text)))
                .unwrap_or_default();
            format!("{} {}{required}{options}", quoted(name), kind.name())
        })
        .collect();
    let names = |columns: &[String]| columns.iter().map(quoted).collect::<Vec<_>>().join(", ");
    if !target.is_log() {
        lines.push(format!(
            "PRIMARY KEY ({}) NOT ENFORCED",
            names(target.primary_key())
        ));
    }
    let mut sql = format!(
        "CREATE TABLE {} (\n  {}\n)",
        quoted(&target.destination.place),
        lines.join(",\n  ")
    );
    let clustering = target.clustering();
    if !clustering.is_empty() {
        sql.push_str(&format!("\nCLUSTER BY {}", names(clustering)));
    }
    if let Some(interval) = max_staleness {
        sql.push_str(&format!(
            "\nOPTIONS (max_staleness = INTERVAL {} YEAR TO SECOND)",
            literal(&interval)
        ));
    }
    sql
}
