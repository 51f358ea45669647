//! Changes of a target's columns. The table is read again after each one, and only what is missing is done, so
//! that a change which was begun before a crash is finished by doing it again. BigQuery takes few changes
//! of a table in a time (5 in 10 s), so each kind is one statement where it can be
//! (<https://cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language>).

use std::time::Duration;

use super::error::Error;
use super::name::{self, literal, quoted};
use super::plan::{Place, Target, description};
use super::tables::{Found, Tables};
use super::types::{Form, TargetType};
use crate::config::Values;
use crate::schema::{Evolution, Fit, TargetColumn};

/// How long the write API may take to show columns that were added.
const SPREADING: Duration = Duration::from_secs(600);

/// How a target's column takes values of another type: NUMERIC holds every INT64, BIGNUMERIC every NUMERIC
/// (<https://cloud.google.com/bigquery/docs/managing-table-schemas#change_column_data_type>). FLOAT64 does not
/// hold every INT64.
pub(super) fn fit(was: TargetType, is: TargetType) -> Fit {
    use TargetType::{BigNumeric, Int64, Numeric};
    match (was, is) {
        _ if was == is => Fit::Same,
        (Numeric | BigNumeric, Int64) | (BigNumeric, Numeric) => Fit::Same,
        (Int64, Numeric | BigNumeric) | (Numeric, BigNumeric) => Fit::Widen,
        _ => Fit::Never,
    }
}

fn type_of(column: &TargetColumn, values: &Values) -> TargetType {
    Form::of(column.kind, column.key, values).target()
}

fn target_name(column: &TargetColumn) -> String {
    name::column(column.name.as_str())
}

impl Tables {
    /// Makes the columns of a table what they are to be; returns the statements that were run.
    ///
    /// # Errors
    /// [`Error::Misfit`] if the table is not as it was left, or what the statements failed with.
    pub(super) async fn evolve(
        &self,
        target: &Target,
        evolution: &Evolution,
        values: &Values,
    ) -> Result<Vec<String>, Error> {
        let place = &target.destination.place;
        let there = async || self.find(place).await?.ok_or_else(|| missing(target));
        let (mut run, mut found) = (Vec::new(), there().await?);
        for step in [renames, widenings, additions] {
            let statements = step(place, (evolution, values), &found);
            for sql in &statements {
                self.jobs.run(&self.rest, sql).await?;
            }
            if !statements.is_empty() {
                found = there().await?;
                run.extend(statements);
            }
        }
        self.examine_columns(target, &found)?;
        if !evolution.is_empty() {
            self.wait_for_columns(target).await?;
        }
        Ok(run)
    }

    /// The statements that [`Tables::evolve`] would run now; `None` without the table.
    ///
    /// # Errors
    /// BigQuery cannot be asked.
    pub(super) async fn foreseen(
        &self,
        place: &Place,
        evolution: &Evolution,
        values: &Values,
    ) -> Result<Option<Vec<String>>, Error> {
        let Some(mut found) = self.find(place).await? else {
            return Ok(None);
        };
        let mut all = renames(place, (evolution, values), &found);
        if !all.is_empty() {
            found.schema.rename(&pairs(evolution));
        }
        for step in [widenings, additions] {
            all.extend(step(place, (evolution, values), &found));
        }
        Ok(Some(all))
    }

    /// Waits until the write API shows every column that is written.
    async fn wait_for_columns(&self, target: &Target) -> Result<(), Error> {
        let began = self.rest.clock().now();
        let mut waits = super::rest::delays();
        loop {
            let shown = self.stream_columns(&target.destination).await?;
            let all = shown.is_none_or(|shown| {
                let shown: Vec<String> = shown.iter().map(|name| name::folded(name)).collect();
                target
                    .fields()
                    .all(|(column, ..)| shown.contains(&name::folded(column)))
            });
            let late = self.rest.clock().now().saturating_duration_since(began) > SPREADING;
            // What is still missing then is refused, which the append path waits out in its own way.
            if all || late {
                return Ok(());
            }
            self.rest.clock().sleep(waits.next().unwrap_or(SPREADING)).await;
        }
    }
}

fn missing(target: &Target) -> Error {
    Error::Misfit {
        table: target.layout.table.clone(),
        target: target.destination.place.to_string(),
        problems: vec!["it is gone".to_owned()],
    }
}

fn alter(place: &Place, actions: &[String]) -> Vec<String> {
    if actions.is_empty() {
        return Vec::new();
    }
    vec![format!("ALTER TABLE {} {}", quoted(place), actions.join(", "))]
}

/// Columns that get another name, as the target has them: old, new.
fn pairs(evolution: &Evolution) -> Vec<(String, String)> {
    let named = |column: &crate::event::ColumnName| name::column(column.as_str());
    let renamed = evolution.renamed.iter();
    renamed.map(|(old, new)| (named(old), named(new))).collect()
}

/// Renames whose old name is there. In a chain (a to b, b to c) a new name may be there before; then the old one
/// of that column is there as well.
fn renames(place: &Place, (evolution, _): (&Evolution, &Values), found: &Found) -> Vec<String> {
    let first_done = |old: &str| found.schema.field(old).is_none();
    // All of them are one statement: it was run, or it was not.
    let begins = pairs(evolution);
    let done = begins.iter().any(|(old, _)| {
        let taken = begins
            .iter()
            .any(|(_, new)| name::folded(new) == name::folded(old));
        !taken && first_done(old)
    });
    if done {
        return Vec::new();
    }
    let action = |(old, new): &(String, String)| format!("RENAME COLUMN {} TO {}", quoted(old), quoted(new));
    alter(place, &begins.iter().map(action).collect::<Vec<_>>())
}

fn widenings(place: &Place, (evolution, values): (&Evolution, &Values), found: &Found) -> Vec<String> {
    let due = evolution.widened.iter().filter(|column| {
        let field = found.schema.field(&target_name(column));
        field.is_some_and(|field| !type_of(column, values).is_named(&field.r#type))
    });
    let sql = |column: &TargetColumn| {
        format!(
            "ALTER TABLE {} ALTER COLUMN {} SET DATA TYPE {}",
            quoted(place),
            quoted(target_name(column)),
            type_of(column, values).name()
        )
    };
    due.map(sql).collect()
}

fn additions(place: &Place, (evolution, values): (&Evolution, &Values), found: &Found) -> Vec<String> {
    let due = evolution
        .added
        .iter()
        .filter(|column| found.schema.field(&target_name(column)).is_none());
    let action = |column: &TargetColumn| {
        let target = target_name(column);
        let options = description(column.name.as_str(), &target)
            .map(|text| format!(" OPTIONS (description = {})", literal(&text)))
            .unwrap_or_default();
        format!(
            "ADD COLUMN {} {}{options}",
            quoted(target),
            type_of(column, values).name()
        )
    };
    alter(place, &due.map(action).collect::<Vec<_>>())
}
