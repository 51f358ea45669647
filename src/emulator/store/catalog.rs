//! Making and removing datasets and tables.

use std::sync::Arc;

use rusqlite::params;

use super::Store;
use super::baseline::column_list;
use crate::emulator::error::{ApiError, ApiResult};
use crate::emulator::schema::{
    Dataset, DatasetRef, Field, FieldId, Kind, Table, TableOptions, TableRef, TimePartitioning,
    check_column_name, check_dataset_name, check_table_name,
};

/// Most columns of a primary key.
const KEY_COLUMNS: usize = 16;
/// Most clustering columns.
const CLUSTER_COLUMNS: usize = 4;
/// Most columns of a table.
const COLUMNS: usize = 10_000;
/// Most columns that the storage takes, less its own.
const STORED_COLUMNS: usize = 1_990;
/// Metadata changes of one table that 10 seconds admit.
const UPDATES: usize = 5;
/// The same of a partitioned table.
const PARTITIONED_UPDATES: usize = 50;
/// How long a dropped table's name is remembered, microseconds.
const DROPPED_KEPT: i64 = 3_600_000_000;
/// The window of those, microseconds.
const WINDOW: i64 = 10_000_000;

/// A column as a request declares it.
#[derive(Debug, Clone)]
pub(crate) struct NewField {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) required: bool,
    pub(crate) description: Option<String>,
}

/// A time partitioning as a request declares it.
#[derive(Debug, Clone)]
pub(crate) struct NewPartitioning {
    pub(crate) unit: String,
    pub(crate) column: Option<String>,
    pub(crate) expiration_ms: Option<i64>,
}

/// A table as a request declares it.
#[derive(Debug, Clone)]
pub(crate) struct NewTable {
    pub(crate) name: TableRef,
    pub(crate) fields: Vec<NewField>,
    pub(crate) primary_key: Vec<String>,
    pub(crate) clustering: Vec<String>,
    pub(crate) partitioning: Option<NewPartitioning>,
    pub(crate) options: TableOptions,
    /// The query of a view.
    pub(crate) view: Option<String>,
}

impl Store {
    /// Makes a dataset.
    pub(crate) fn create_dataset(&mut self, name: DatasetRef, dataset: Dataset) -> ApiResult<Arc<Dataset>> {
        check_dataset_name(&name.dataset)?;
        if self.datasets.contains_key(&name) {
            return Err(ApiError::duplicate(&name));
        }
        self.save_dataset(name, dataset)
    }

    /// Writes a dataset's metadata.
    pub(crate) fn save_dataset(&mut self, name: DatasetRef, dataset: Dataset) -> ApiResult<Arc<Dataset>> {
        let dataset = Arc::new(dataset);
        self.connection.execute(
            "INSERT OR REPLACE INTO datasets (project, dataset, meta) VALUES (?, ?, ?)",
            params![name.project, name.dataset, serde_json::to_string(&*dataset)?],
        )?;
        self.datasets.insert(name, Arc::clone(&dataset));
        Ok(dataset)
    }

    /// Removes a dataset, with its tables only if `with_tables`.
    pub(crate) fn drop_dataset(&mut self, name: &DatasetRef, with_tables: bool) -> ApiResult<()> {
        self.dataset(name)?;
        let tables: Vec<TableRef> = self.tables(name).map(|table| table.name.clone()).collect();
        if !with_tables && !tables.is_empty() {
            return Err(ApiError::in_use(format!("{name} is still in use")));
        }
        for table in &tables {
            self.drop_table(table)?;
        }
        self.connection.execute(
            "DELETE FROM datasets WHERE project = ? AND dataset = ?",
            params![name.project, name.dataset],
        )?;
        self.datasets.remove(name);
        Ok(())
    }

    /// A dataset without more than a location.
    pub(crate) fn new_dataset(&self, location: Option<String>) -> Dataset {
        Dataset {
            location: location.unwrap_or_else(|| "US".to_owned()),
            description: None,
            friendly_name: None,
            labels: std::collections::BTreeMap::new(),
            created_ms: self.now_ms(),
        }
    }

    /// Makes a table.
    pub(crate) fn create_table(&mut self, new: NewTable) -> ApiResult<Arc<Table>> {
        self.dataset(&new.name.dataset)?;
        check_table_name(&new.name.table)?;
        if self.tables.contains_key(&new.name) {
            return Err(ApiError::duplicate(&new.name));
        }
        let is_partitioned = new.partitioning.is_some();
        self.count_update(&new.name, is_partitioned)?;
        self.connection
            .execute("INSERT INTO tables (meta) VALUES ('')", ())?;
        let now = self.now_ms();
        let new_name = new.name.clone();
        let mut table = Table {
            uid: self.connection.last_insert_rowid(),
            name: new.name,
            fields: Vec::new(),
            next_field: 0,
            primary_key: Vec::new(),
            clustering: Vec::new(),
            partitioning: None,
            options: new.options,
            created_ms: now,
            modified_ms: now,
            generation: 1,
            schema_generation: 1,
            has_changes: false,
            is_again: self.was_dropped(&new_name),
            baseline: None,
            view: new.view,
        };
        if new.fields.len() > COLUMNS {
            return Err(too_many_columns());
        }
        for field in new.fields {
            add_field(&mut table, field)?;
        }
        set_primary_key(&mut table, &new.primary_key)?;
        set_clustering(&mut table, &new.clustering)?;
        if let Some(partitioning) = new.partitioning {
            set_partitioning(&mut table, partitioning)?;
        }
        let columns = column_list(&table);
        let (storage, uid) = (table.storage(), table.uid);
        // Columns have no declared type, so that the storage converts nothing.
        self.connection.execute_batch(&format!(
            "CREATE TABLE {storage} (rid INTEGER PRIMARY KEY, k BLOB, seq BLOB, gone INTEGER{columns});
             CREATE INDEX {storage}_k ON {storage} (k) WHERE k IS NOT NULL;
             CREATE INDEX {storage}_gone ON {storage} (gone) WHERE gone IS NOT NULL;
             CREATE TABLE audit_{uid} (k BLOB, seq BLOB, content BLOB, differs INTEGER, PRIMARY KEY (k, seq)) WITHOUT ROWID;"
        ))?;
        self.save_table(table)
    }

    /// Writes a table's metadata.
    pub(crate) fn save_table(&mut self, table: Table) -> ApiResult<Arc<Table>> {
        let table = Arc::new(table);
        self.connection.execute(
            "UPDATE tables SET meta = ? WHERE uid = ?",
            params![serde_json::to_string(&*table)?, table.uid],
        )?;
        self.tables.insert(table.name.clone(), Arc::clone(&table));
        Ok(table)
    }

    /// Removes a table with its rows.
    pub(crate) fn drop_table(&mut self, name: &TableRef) -> ApiResult<()> {
        let table = self.table(name)?;
        let uid = table.uid;
        self.drop_baseline(&table)?;
        // A statement that is still prepared would keep the table locked.
        self.connection.flush_prepared_statement_cache();
        self.connection.execute_batch(&format!(
            "DROP TABLE {}; DROP TABLE audit_{uid};",
            table.storage()
        ))?;
        self.connection
            .execute("DELETE FROM tables WHERE uid = ?", [uid])?;
        self.connection
            .execute("DELETE FROM counters WHERE uid = ?", [uid])?;
        self.counters.remove(&uid);
        self.versions.remove(&uid);
        self.tables.remove(name);
        self.dropped.insert(name.clone(), self.clock().unix_micros());
        Ok(())
    }

    /// Frees a table's old name, if the new one is free.
    pub(super) fn move_table(&mut self, from: &TableRef, to: &TableRef) -> ApiResult<()> {
        if self.tables.contains_key(to) {
            return Err(ApiError::duplicate(to));
        }
        self.tables.remove(from);
        Ok(())
    }

    /// Whether a table of that name was dropped within the last hour.
    fn was_dropped(&mut self, name: &TableRef) -> bool {
        let now = self.clock().unix_micros();
        self.dropped.retain(|_, at| now - *at < DROPPED_KEPT);
        self.dropped.contains_key(name)
    }

    /// Counts one change of a table's metadata (documented: 5 in 10 seconds per table, 50 of a partitioned one).
    pub(crate) fn count_update(&mut self, table: &TableRef, is_partitioned: bool) -> ApiResult<()> {
        let now = self.clock().unix_micros();
        let most = if is_partitioned {
            PARTITIONED_UPDATES
        } else {
            UPDATES
        };
        self.updates
            .retain(|_, moments| moments.back().is_some_and(|last| now - last < WINDOW));
        let moments = self.updates.entry(table.clone()).or_default();
        while moments.front().is_some_and(|first| now - first >= WINDOW) {
            moments.pop_front();
        }
        if moments.len() >= most {
            return Err(ApiError::rate_limit());
        }
        moments.push_back(now);
        Ok(())
    }
}

fn too_many_columns() -> ApiError {
    ApiError::invalid(format!("Too many fields: at most {COLUMNS} are allowed"))
}

/// Adds a column at the end; gives its identity.
pub(super) fn add_field(table: &mut Table, new: NewField) -> ApiResult<FieldId> {
    check_column_name(&new.name)?;
    if table.field(&new.name).is_some() {
        return Err(ApiError::invalid(format!("Duplicate field name: {}", new.name)));
    }
    if table.fields.len() >= COLUMNS {
        return Err(too_many_columns());
    }
    if table.fields.len() >= STORED_COLUMNS {
        return Err(ApiError::invalid(format!(
            "The emulator stores at most {STORED_COLUMNS} columns of a table"
        )));
    }
    let id = FieldId(table.next_field);
    table.next_field += 1;
    table.fields.push(Field {
        id,
        name: new.name,
        kind: new.kind,
        required: new.required,
        description: new.description,
    });
    Ok(id)
}

fn ids(table: &Table, names: &[String], what: &str, most: usize) -> ApiResult<Vec<FieldId>> {
    let mut ids = Vec::new();
    for name in names {
        let field = table.field(name);
        let field =
            field.ok_or_else(|| ApiError::invalid(format!("{what} column {name} is not in the schema")))?;
        if ids.contains(&field.id) {
            return Err(ApiError::invalid(format!("{what} names the column {name} twice")));
        }
        ids.push(field.id);
    }
    if ids.len() > most {
        return Err(ApiError::invalid(format!("{what} has more than {most} columns")));
    }
    Ok(ids)
}

/// Declares the primary key.
pub(super) fn set_primary_key(table: &mut Table, names: &[String]) -> ApiResult<()> {
    let ids = ids(table, names, "PRIMARY KEY", KEY_COLUMNS)?;
    for field in ids.iter().filter_map(|id| table.field_by_id(*id)) {
        if !field.kind.fits_key() {
            return Err(ApiError::invalid(format!(
                "Invalid primary key: the column {} of type {} is not supported for primary key",
                field.name, field.kind
            )));
        }
    }
    table.primary_key = ids;
    Ok(())
}

/// Declares the clustering columns.
pub(super) fn set_clustering(table: &mut Table, names: &[String]) -> ApiResult<()> {
    let ids = ids(table, names, "CLUSTER BY", CLUSTER_COLUMNS)?;
    for field in ids.iter().filter_map(|id| table.field_by_id(*id)) {
        let fits = match field.kind {
            Kind::Float64 | Kind::Json | Kind::Bytes(_) | Kind::Time | Kind::Interval => false,
            Kind::Bool
            | Kind::Int64
            | Kind::Numeric(_)
            | Kind::BigNumeric(_)
            | Kind::String(_)
            | Kind::Date
            | Kind::DateTime
            | Kind::Timestamp => true,
        };
        if !fits {
            return Err(ApiError::invalid(format!(
                "CLUSTER BY column {} has type {}, which is not supported",
                field.name, field.kind
            )));
        }
    }
    table.clustering = ids;
    Ok(())
}

fn set_partitioning(table: &mut Table, new: NewPartitioning) -> ApiResult<()> {
    let column = match new.column {
        None => None,
        Some(name) => {
            let field = table.field(&name);
            let field = field.ok_or_else(|| {
                ApiError::invalid(format!(
                    "The field specified for partitioning cannot be found in the schema: {name}"
                ))
            })?;
            let fits = matches!(
                (field.kind, new.unit.as_str()),
                (Kind::Date, "DAY" | "MONTH" | "YEAR")
                    | (
                        Kind::Timestamp | Kind::DateTime,
                        "HOUR" | "DAY" | "MONTH" | "YEAR"
                    )
            );
            if !fits {
                return Err(ApiError::invalid(format!(
                    "The field {name} of type {} cannot be partitioned by {}",
                    field.kind, new.unit
                )));
            }
            Some(field.id)
        }
    };
    if !matches!(new.unit.as_str(), "HOUR" | "DAY" | "MONTH" | "YEAR") {
        return Err(ApiError::invalid(format!(
            "Invalid time partitioning type: {}",
            new.unit
        )));
    }
    if new.expiration_ms.is_some() && (new.unit != "DAY" || column.is_none()) {
        return Err(ApiError::invalid(
            "The emulator expires partitions of the days of a column only",
        ));
    }
    table.partitioning = Some(TimePartitioning {
        unit: new.unit,
        column,
        expiration_ms: new.expiration_ms,
    });
    Ok(())
}
