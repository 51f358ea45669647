//! Changes of a table's definition: the same list of steps whether SQL or the REST API asked for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Store;
use super::catalog::{NewField, add_field, set_clustering, set_primary_key};
use crate::emulator::error::{ApiError, ApiResult};
use crate::emulator::schema::{FieldId, Kind, Table, TableRef, check_column_name, check_table_name};
use crate::emulator::sql::functions;

/// Stands for the storage's table of rows in a statement that is run on it and on its baseline.
const ROWS: &str = "$rows";

/// One step of a change.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    AddColumn {
        field: NewField,
        if_not_exists: bool,
    },
    DropColumn {
        name: String,
        if_exists: bool,
    },
    /// All renames of one change happen at once, so that two columns can swap names.
    RenameColumn {
        from: String,
        to: String,
        if_exists: bool,
    },
    SetType {
        name: String,
        kind: Kind,
        if_exists: bool,
    },
    DropNotNull {
        name: String,
        if_exists: bool,
    },
    SetColumnDescription {
        name: String,
        description: Option<String>,
    },
    SetOptions(OptionsPatch),
    AddPrimaryKey(Vec<String>),
    DropPrimaryKey {
        if_exists: bool,
    },
    SetClustering(Vec<String>),
    /// The new name, within the dataset.
    RenameTable(String),
}

/// Options to change: the outer none leaves as it is, the inner none removes.
#[derive(Debug, Clone, Default)]
pub(crate) struct OptionsPatch {
    pub(crate) description: Option<Option<String>>,
    pub(crate) friendly_name: Option<Option<String>>,
    pub(crate) labels: Option<BTreeMap<String, String>>,
    pub(crate) max_staleness: Option<Option<String>>,
    pub(crate) require_partition_filter: Option<Option<bool>>,
    pub(crate) expiration_ms: Option<Option<i64>>,
}

impl OptionsPatch {
    /// Changes the options.
    pub(crate) fn apply(self, options: &mut crate::emulator::schema::TableOptions) {
        if let Some(value) = self.description {
            options.description = value;
        }
        if let Some(value) = self.friendly_name {
            options.friendly_name = value;
        }
        if let Some(value) = self.labels {
            options.labels = value;
        }
        if let Some(value) = self.max_staleness {
            options.max_staleness = value;
        }
        if let Some(value) = self.require_partition_filter {
            options.require_partition_filter = value;
        }
        if let Some(value) = self.expiration_ms {
            options.expiration_ms = value;
        }
    }
}

impl Store {
    /// Changes a table: all steps or none.
    pub(crate) fn alter_table(&mut self, name: &TableRef, steps: Vec<Step>) -> ApiResult<Arc<Table>> {
        let before = self.table(name)?;
        before.check_has_rows()?;
        self.count_update(name, before.partitioning.is_some())?;
        let table = self.atomically(|store| {
            let mut table = Table::clone(&before);
            let mut storage = Vec::new();
            rename(&mut table, &steps)?;
            for step in steps {
                apply(&mut table, step, &mut storage)?;
            }
            if table.fields.is_empty() && !before.fields.is_empty() {
                return Err(ApiError::invalid("A table must have at least one column"));
            }
            store.connection.flush_prepared_statement_cache();
            let base = before.baseline.as_ref().map(|_| before.base());
            for rows in [Some(before.storage()), base].into_iter().flatten() {
                for sql in &storage {
                    store.connection.execute_batch(&sql.replace(ROWS, &rows))?;
                }
            }
            table.generation += 1;
            if table.fields != before.fields || table.primary_key != before.primary_key {
                table.schema_generation = table.generation;
            }
            if key_kinds(&table) != key_kinds(&before) {
                store.rekey(&table)?;
            }
            table.modified_ms = store.now_ms();
            store.sync_baseline(&mut table)?;
            if table.name != before.name {
                store.move_table(&before.name, &table.name)?;
            }
            store.save_table(table)
        })?;
        if table.schema_generation != before.schema_generation {
            self.note_version(&before, &table);
        }
        Ok(table)
    }
}

/// What a row's identity is made of.
fn key_kinds(table: &Table) -> Vec<(FieldId, Option<Kind>)> {
    let kind = |id: &FieldId| (*id, table.field_by_id(*id).map(|field| field.kind.plain()));
    table.primary_key.iter().map(kind).collect()
}

fn missing(table: &Table, name: &str) -> ApiError {
    ApiError::query(format!("Column not found in {}: {name}", table.name))
}

/// The identities of the columns to rename, then all new names at once.
fn rename(table: &mut Table, steps: &[Step]) -> ApiResult<()> {
    let mut renames = Vec::new();
    for step in steps {
        let Step::RenameColumn { from, to, if_exists } = step else {
            continue;
        };
        match table.field(from) {
            Some(field) if table.is_bound(field.id) => {
                return Err(ApiError::query(format!(
                    "Column {from} is a primary key, clustering or partitioning column and cannot be renamed"
                )));
            }
            Some(field) => renames.push((field.id, to.clone())),
            None if *if_exists => {}
            None => return Err(missing(table, from)),
        }
    }
    for (id, name) in &renames {
        check_column_name(name)?;
        if let Some(field) = table.fields.iter_mut().find(|field| field.id == *id) {
            field.name.clone_from(name);
        }
    }
    for (_, name) in renames {
        let folded = name.to_lowercase();
        if table
            .fields
            .iter()
            .filter(|field| field.name.to_lowercase() == folded)
            .count()
            > 1
        {
            return Err(ApiError::query(format!("Column already exists: {name}")));
        }
    }
    Ok(())
}

fn apply(table: &mut Table, step: Step, storage: &mut Vec<String>) -> ApiResult<()> {
    match step {
        Step::AddColumn { field, if_not_exists } => {
            if table.field(&field.name).is_some() {
                if if_not_exists {
                    return Ok(());
                }
                return Err(ApiError::query(format!("Column already exists: {}", field.name)));
            }
            if field.required {
                return Err(ApiError::invalid(format!(
                    "Cannot add required fields to an existing schema. (field: {})",
                    field.name
                )));
            }
            let id = add_field(table, field)?;
            storage.push(format!("ALTER TABLE {ROWS} ADD COLUMN {id}"));
            Ok(())
        }
        Step::DropColumn { name, if_exists } => drop_column(table, &name, if_exists, storage),
        Step::RenameColumn { .. } => Ok(()),
        Step::SetType {
            name,
            kind,
            if_exists,
        } => set_type(table, &name, kind, if_exists, storage),
        Step::DropNotNull { name, if_exists } => {
            change_field(table, &name, if_exists, |field| field.required = false)
        }
        Step::SetColumnDescription { name, description } => {
            change_field(table, &name, false, |field| field.description = description)
        }
        Step::SetOptions(patch) => {
            patch.apply(&mut table.options);
            Ok(())
        }
        Step::AddPrimaryKey(names) if table.primary_key.is_empty() => set_primary_key(table, &names),
        Step::AddPrimaryKey(_) => Err(ApiError::query(format!(
            "{} already has a primary key",
            table.name
        ))),
        Step::DropPrimaryKey { if_exists } => {
            if table.primary_key.is_empty() && !if_exists {
                return Err(ApiError::query(format!("{} has no primary key", table.name)));
            }
            table.primary_key.clear();
            Ok(())
        }
        Step::SetClustering(names) => set_clustering(table, &names),
        Step::RenameTable(_) if !table.primary_key.is_empty() => Err(ApiError::query(format!(
            "{} cannot be renamed: it has a primary key",
            table.name
        ))),
        Step::RenameTable(name) => {
            check_table_name(&name)?;
            table.name.table = name;
            Ok(())
        }
    }
}

fn drop_column(table: &mut Table, name: &str, if_exists: bool, storage: &mut Vec<String>) -> ApiResult<()> {
    let Some(field) = table.field(name) else {
        return if if_exists {
            Ok(())
        } else {
            Err(missing(table, name))
        };
    };
    let id = field.id;
    if table.is_bound(id) {
        return Err(ApiError::query(format!(
            "Column {name} is a primary key, clustering or partitioning column and cannot be dropped"
        )));
    }
    table.fields.retain(|field| field.id != id);
    storage.push(format!("ALTER TABLE {ROWS} DROP COLUMN {id}"));
    Ok(())
}

fn set_type(
    table: &mut Table,
    name: &str,
    kind: Kind,
    if_exists: bool,
    storage: &mut Vec<String>,
) -> ApiResult<()> {
    let Some(field) = table.field(name) else {
        return if if_exists {
            Ok(())
        } else {
            Err(missing(table, name))
        };
    };
    let (id, from) = (field.id, field.kind);
    if !from.widens_to(kind) {
        return Err(ApiError::query(format!(
            "ALTER TABLE ALTER COLUMN SET DATA TYPE requires that the existing column type ({from}) is assignable to the new type ({kind})"
        )));
    }
    if from == Kind::Int64 && kind != Kind::Int64 {
        storage.push(format!(
            "UPDATE {ROWS} SET {id} = {}({id}) WHERE {id} IS NOT NULL",
            functions::TO_DECIMAL
        ));
    }
    change_field(table, name, if_exists, |field| field.kind = kind)
}

fn change_field(
    table: &mut Table,
    name: &str,
    if_exists: bool,
    change: impl FnOnce(&mut crate::emulator::schema::Field),
) -> ApiResult<()> {
    let error = missing(table, name);
    let folded = name.to_lowercase();
    match table
        .fields
        .iter_mut()
        .find(|field| field.name.to_lowercase() == folded)
    {
        Some(field) => {
            change(field);
            Ok(())
        }
        None if if_exists => Ok(()),
        None => Err(error),
    }
}
