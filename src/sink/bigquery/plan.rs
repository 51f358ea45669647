//! What is known about a table before its first row: target names, a wire form for each column, and
//! the destination with the writer schema's bytes. Made once for each layout.

use std::collections::HashMap;
use std::sync::Arc;

use super::delivery::{Destination, Mode};
use super::error::Error;
use super::types::{Form, TargetType};
use super::{descriptor, name};
use crate::config::Values;
use crate::event::{Column, ColumnName, TableId, TableLayout};
use crate::proto::descriptor::DescriptorProto;
use crate::schema::TargetColumn;

/// The column that says when a row's transaction was committed at the source.
pub(super) const COMMIT_TIME: &str = "_replicator_commit_time";

/// The column by which the rows of an append-only table sort, as text, in the order of their changes.
pub(super) const SEQUENCE: &str = "_replicator_sequence";

/// The column that says what happened to a row, in append-only tables.
pub(super) const OPERATION: &str = "_replicator_operation";

/// Key columns that BigQuery takes.
const MAX_KEY_COLUMNS: usize = 16;

/// Clustering columns that BigQuery takes.
const MAX_CLUSTERING: usize = 4;

/// Columns that BigQuery takes in a table with CDC, ours included.
const MAX_COLUMNS: usize = 2_000;

/// Longest description of a column, in characters.
const MAX_DESCRIPTION: usize = 1_024;

/// A table in BigQuery.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) project: String,
    pub(super) dataset: String,
    pub(super) table: String,
}

impl Place {
    /// The name of the table's default write stream.
    pub(super) fn stream(&self) -> String {
        let Place {
            project,
            dataset,
            table,
        } = self;
        format!("projects/{project}/datasets/{dataset}/tables/{table}/streams/_default")
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.project, self.dataset, self.table)
    }
}

/// One column.
#[derive(Debug, Clone)]
pub(super) struct PlannedColumn {
    /// Name in the source.
    pub(super) source: ColumnName,
    /// What its name in BigQuery is made of: the source's name when the column was made.
    pub(super) made_of: ColumnName,
    /// Name in BigQuery.
    pub(super) target: String,
    /// How values are written.
    pub(super) form: Form,
    /// Whether its values are written; if not, it has no field and no column.
    pub(super) written: bool,
    /// Field number in the writer schema.
    pub(super) field: u32,
    /// Whether it belongs to the key.
    pub(super) key: bool,
    /// Whether the source admits NULL.
    pub(super) nullable: bool,
}

/// A table's target.
#[derive(Debug)]
pub(super) struct Target {
    /// The layout that rows have.
    pub(super) layout: Arc<TableLayout>,
    /// Where they go.
    pub(super) destination: Arc<Destination>,
    /// Columns in the order of the row images.
    pub(super) columns: Vec<PlannedColumn>,
    /// What becomes of values that the target cannot hold.
    pub(super) values: Values,
    /// Target names of the source's key columns, in key order; none of a table without a primary key.
    pub(super) key: Vec<String>,
    /// Field numbers of what follows the columns.
    pub(super) commit_time_field: u32,
    pub(super) operation_field: u32,
    pub(super) sequence_field: u32,
}

impl Target {
    /// Plans a table: with [`Mode::Cdc`] the rows that the source holds, with [`Mode::Append`] its changes.
    ///
    /// # Errors
    /// [`Error::Key`], [`Error::TooManyColumns`], [`Error::SameColumn`] if BigQuery cannot hold it under CDC.
    pub(super) fn new(
        layout: Arc<TableLayout>,
        place: Place,
        mode: Mode,
        values: Values,
    ) -> Result<Target, Error> {
        let own = layout.columns.iter().map(|column| Some(TargetColumn::of(column)));
        let own: Vec<Option<TargetColumn>> = own.collect();
        Target::projected(layout, &own, (place, mode), values)
    }

    /// Plans a table whose columns are written to `columns`, one for each.
    ///
    /// # Errors
    /// [`Error::Key`], [`Error::TooManyColumns`], [`Error::SameColumn`] if BigQuery cannot hold it under CDC.
    pub(super) fn projected(
        layout: Arc<TableLayout>,
        columns: &[Option<TargetColumn>],
        (place, mode): (Place, Mode),
        values: Values,
    ) -> Result<Target, Error> {
        let table = &layout.table;
        let key_columns = layout.key_columns();
        let is_cdc = mode == Mode::Cdc;
        if is_cdc && !(1..=MAX_KEY_COLUMNS).contains(&key_columns.len()) {
            return Err(Error::Key {
                table: table.clone(),
                columns: key_columns.len(),
            });
        }
        if is_cdc && layout.columns.len() >= MAX_COLUMNS {
            return Err(Error::TooManyColumns {
                table: table.clone(),
                columns: layout.columns.len(),
            });
        }
        let mut last = 0;
        let columns: Vec<PlannedColumn> = layout
            .columns
            .iter()
            .zip(columns.iter().chain(std::iter::repeat(&None)))
            .map(|(column, target)| {
                last += u32::from(target.is_some());
                planned(column, target.as_ref(), last, &values)
            })
            .collect();
        tell_apart(table, &columns)?;
        let key = key_columns
            .iter()
            .filter_map(|index| columns.get(*index))
            .map(|column| column.target.clone())
            .collect();
        let schema = descriptor(&columns, mode);
        let destination = Destination::new(table.clone(), place, mode, schema);
        destination.meters.policies(&values);
        Ok(Target {
            destination: Arc::new(destination),
            commit_time_field: last + 1,
            operation_field: last + 2,
            sequence_field: last + 3,
            layout,
            columns,
            values,
            key,
        })
    }

    /// Whether batches of `layout` are written through this target.
    pub(super) fn serves(&self, layout: &Arc<TableLayout>) -> bool {
        Arc::ptr_eq(&self.layout, layout) || self.layout == *layout
    }

    /// Whether the target holds changes, each a row of its own.
    pub(super) fn is_log(&self) -> bool {
        self.destination.mode == Mode::Append
    }

    /// Whether an update brings the row as it was too: without a key nothing else says which row it was.
    pub(super) fn keeps_before(&self) -> bool {
        self.is_log() && self.key.is_empty()
    }

    /// The columns that the target is clustered by: as many of the key's as BigQuery takes.
    pub(super) fn clustering(&self) -> &[String] {
        self.key.get(..MAX_CLUSTERING).unwrap_or(&self.key)
    }

    /// The primary key that BigQuery is told of.
    pub(super) fn primary_key(&self) -> &[String] {
        if self.is_log() { &[] } else { &self.key }
    }

    /// The table's columns as BigQuery shall have them: name, type, whether REQUIRED, description.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&str, TargetType, bool, Option<String>)> {
        let planned = self.columns.iter().filter(|column| column.written).map(|column| {
            (
                column.target.as_str(),
                column.form.target(),
                column.key && !self.is_log(),
                description(column.source.as_str(), &column.target),
            )
        });
        let text = |name, meaning: &str| (name, TargetType::String, false, Some(meaning.to_owned()));
        let log = [
            text(
                OPERATION,
                "INSERT, UPDATE, UPDATE_BEFORE, DELETE, SNAPSHOT, SNAPSHOT_DONE or CLEARED",
            ),
            text(
                SEQUENCE,
                "sorts, as text, in the order of the changes; equal for a row that was sent twice",
            ),
        ];
        let log = log.into_iter().filter(|_| self.is_log());
        planned
            .chain([(COMMIT_TIME, TargetType::Timestamp, false, None)])
            .chain(log)
    }
}

/// What a column's description says, if its name is not the source's.
pub(super) fn description(source: &str, target: &str) -> Option<String> {
    let text = || {
        format!("source column: {source}")
            .chars()
            .take(MAX_DESCRIPTION)
            .collect()
    };
    (source != target).then(text)
}

/// A column that is written to `target`, under the field number `field`.
fn planned(column: &Column, target: Option<&TargetColumn>, field: u32, values: &Values) -> PlannedColumn {
    let key = column.key.is_some();
    let own = Form::of(column.kind, key, values);
    let made = target.map_or(own, |target| Form::of(target.kind, key, values));
    let made_of = target.map_or(&column.name, |target| &target.name);
    PlannedColumn {
        source: column.name.clone(),
        made_of: made_of.clone(),
        target: name::column(made_of.as_str()),
        // A column that was widened takes the values of a log from before in its wider form.
        form: if own.target() == made.target() { own } else { made },
        written: target.is_some(),
        field,
        key,
        nullable: column.nullable,
    }
}

/// Names are given one by one, so that two may meet: `a_b_` with the hash of `a/b`, beside `a/b`.
fn tell_apart(table: &TableId, columns: &[PlannedColumn]) -> Result<(), Error> {
    let mut owners = HashMap::new();
    for column in columns.iter().filter(|column| column.written) {
        if let Some(first) = owners.insert(name::folded(&column.target), &column.source) {
            return Err(Error::SameColumn {
                table: table.clone(),
                first: first.clone(),
                second: column.source.clone(),
                target: column.target.clone(),
            });
        }
    }
    Ok(())
}

fn descriptor(columns: &[PlannedColumn], mode: Mode) -> DescriptorProto {
    let planned = columns
        .iter()
        .filter(|column| column.written)
        .map(|column| (column.target.as_str(), column.form.wire()));
    let fields = planned.chain([(COMMIT_TIME, Form::Timestamp.wire())]);
    match mode {
        Mode::Cdc => descriptor::of(fields),
        Mode::Append => {
            let log = [OPERATION, SEQUENCE].map(|name| (name, Form::Text.wire()));
            descriptor::plain(fields.chain(log))
        }
    }
}

#[cfg(test)]
mod tests;
