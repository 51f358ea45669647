//! Carrying out DDL statements.

use super::view::{self, Written};
use super::{QueryRequest, select};
use crate::emulator::error::{ApiError, ApiResult};
use crate::emulator::schema::{DatasetRef, Table, TableOptions, TableRef};
use crate::emulator::store::Store;
use crate::emulator::store::alter::Step;
use crate::emulator::store::catalog::NewTable;

/// What a CREATE does if there is one already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    Refuse,
    Keep,
    Replace,
}

/// A DDL statement.
#[derive(Debug)]
pub(crate) enum Ddl {
    CreateSchema {
        name: DatasetRef,
        location: Option<String>,
        description: Option<String>,
        existing: Existing,
    },
    DropSchema {
        name: DatasetRef,
        if_exists: bool,
        cascade: bool,
    },
    CreateTable {
        table: Box<NewTable>,
        existing: Existing,
    },
    CreateView {
        name: TableRef,
        options: Box<TableOptions>,
        query: Written,
        existing: Existing,
    },
    DropTable {
        name: TableRef,
        if_exists: bool,
        is_view: bool,
    },
    AlterTable {
        name: TableRef,
        if_exists: bool,
        steps: Vec<Step>,
    },
}

/// What a DDL statement did, for the job's statistics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) statement_type: &'static str,
    /// CREATE, SKIP, REPLACE, ALTER or DROP.
    pub(crate) operation: &'static str,
    pub(crate) table: Option<TableRef>,
}

impl Ddl {
    /// Carries the statement out.
    pub(crate) fn run(self, store: &mut Store, request: &QueryRequest) -> ApiResult<Done> {
        match self {
            Ddl::CreateSchema {
                name,
                location,
                description,
                existing,
            } => {
                let operation = if existing == Existing::Keep && store.dataset(&name).is_ok() {
                    "SKIP"
                } else {
                    let mut dataset = store.new_dataset(location.or_else(|| request.location.clone()));
                    dataset.description = description;
                    store.atomically(|store| store.create_dataset(name, dataset))?;
                    "CREATE"
                };
                Ok(done("CREATE_SCHEMA", operation, None))
            }
            Ddl::DropSchema {
                name,
                if_exists,
                cascade,
            } => {
                let operation = if if_exists && store.dataset(&name).is_err() {
                    "SKIP"
                } else {
                    store.atomically(|store| store.drop_dataset(&name, cascade))?;
                    "DROP"
                };
                Ok(done("DROP_SCHEMA", operation, None))
            }
            Ddl::CreateTable { table, existing } => create(store, *table, existing, "CREATE_TABLE"),
            Ddl::CreateView {
                name,
                options,
                query,
                existing,
            } => {
                let columns = select::translate_within(store, request, &query.query, 1)?.columns;
                let view = view::new(name, *options, query.text, columns);
                create(store, view, existing, "CREATE_VIEW")
            }
            Ddl::DropTable {
                name,
                if_exists,
                is_view,
            } => drop_table(store, name, if_exists, is_view),
            Ddl::AlterTable {
                name,
                if_exists,
                steps,
            } => {
                let operation = if if_exists && store.table(&name).is_err_and(|error| error.code == 404) {
                    "SKIP"
                } else {
                    store.alter_table(&name, steps)?;
                    "ALTER"
                };
                Ok(done("ALTER_TABLE", operation, Some(name)))
            }
        }
    }
}

fn done(statement_type: &'static str, operation: &'static str, table: Option<TableRef>) -> Done {
    Done {
        statement_type,
        operation,
        table,
    }
}

fn drop_table(store: &mut Store, name: TableRef, if_exists: bool, is_view: bool) -> ApiResult<Done> {
    let found = store.table(&name);
    let statement = if is_view { "DROP_VIEW" } else { "DROP_TABLE" };
    if if_exists && found.as_ref().is_err_and(|error| error.code == 404) {
        return Ok(done(statement, "SKIP", Some(name)));
    }
    let found = found?;
    if found.view.is_some() != is_view {
        return Err(not_of_type(&found, if is_view { "VIEW" } else { "TABLE" }));
    }
    store.atomically(|store| store.drop_table(&name))?;
    Ok(done(statement, "DROP", Some(name)))
}

fn not_of_type(table: &Table, wanted: &str) -> ApiError {
    ApiError::query(format!(
        "{} has type {}, which is not {wanted}",
        table.name,
        table.type_name()
    ))
}

/// Makes a table or a view; neither takes the other's place.
fn create(
    store: &mut Store,
    table: NewTable,
    existing: Existing,
    statement: &'static str,
) -> ApiResult<Done> {
    let name = table.name.clone();
    let found = store.table(&name).ok();
    if let Some(found) = found.as_ref().filter(|_| existing == Existing::Replace)
        && found.view.is_some() != table.view.is_some()
    {
        let wanted = if table.view.is_some() { "VIEW" } else { "TABLE" };
        return Err(not_of_type(found, wanted));
    }
    let exists = found.is_some();
    let operation = match existing {
        Existing::Keep if exists => "SKIP",
        Existing::Replace if exists => {
            store.atomically(|store| {
                store.drop_table(&name)?;
                store.create_table(table)
            })?;
            "REPLACE"
        }
        Existing::Keep | Existing::Replace | Existing::Refuse => {
            store.atomically(|store| store.create_table(table))?;
            "CREATE"
        }
    };
    Ok(done(statement, operation, Some(name)))
}
