//! Carrying out DDL statements.

use super::QueryRequest;
use crate::emulator::error::ApiResult;
use crate::emulator::schema::{DatasetRef, TableRef};
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
    DropTable {
        name: TableRef,
        if_exists: bool,
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
            Ddl::CreateTable { table, existing } => create_table(store, *table, existing),
            Ddl::DropTable { name, if_exists } => {
                let operation = if if_exists && store.table(&name).is_err_and(|error| error.code == 404) {
                    "SKIP"
                } else {
                    store.atomically(|store| store.drop_table(&name))?;
                    "DROP"
                };
                Ok(done("DROP_TABLE", operation, Some(name)))
            }
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

fn create_table(store: &mut Store, table: NewTable, existing: Existing) -> ApiResult<Done> {
    let name = table.name.clone();
    let exists = store.table(&name).is_ok();
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
    Ok(done("CREATE_TABLE", operation, Some(name)))
}
