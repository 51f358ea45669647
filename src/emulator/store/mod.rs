//! The storage: one SQLite database with the catalogue, one table of rows per table, query results and the
//! audit. One thread owns it (see `engine`), so nothing here is concurrent.
//!
//! A table of rows has `rid`, `k` (the key's bytes; none without a primary key), `seq` (the sequence
//! number's bytes, or none), `gone` (when the row was deleted, else none) and a column `c<id>` per column.
//! It holds all acknowledged changes; what a query sees of a table with `max_staleness`, see `baseline`.

pub(crate) mod alter;
pub(crate) mod append;
pub(crate) mod audit;
pub(crate) mod baseline;
pub(crate) mod catalog;
pub(crate) mod jobs;
pub(crate) mod rows;
pub(crate) mod sight;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;

use super::error::{ApiError, ApiResult};
use super::faults::Script;
use super::schema::{Dataset, DatasetRef, Table, TableRef};
use super::sql::functions;
use crate::clock::Clock;
use audit::Counters;
use sight::Version;

/// Statements kept prepared.
const STATEMENTS: usize = 256;

/// The emulator's own tables. Results keep their rows out of the index: searching one with a row of 18 MB
/// in it copies that row at every step.
const LAYOUT: &str = "
CREATE TABLE IF NOT EXISTS datasets (project TEXT, dataset TEXT, meta TEXT NOT NULL, PRIMARY KEY (project, dataset));
CREATE TABLE IF NOT EXISTS tables (uid INTEGER PRIMARY KEY AUTOINCREMENT, meta TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS jobs (project TEXT, id TEXT, created_ms INTEGER NOT NULL, meta TEXT NOT NULL, PRIMARY KEY (project, id));
CREATE TABLE IF NOT EXISTS results (project TEXT, id TEXT, place INTEGER, row TEXT NOT NULL, PRIMARY KEY (project, id, place));
CREATE TABLE IF NOT EXISTS counters (uid INTEGER PRIMARY KEY, meta TEXT NOT NULL);
";

/// The storage.
#[derive(Debug)]
pub(crate) struct Store {
    connection: Connection,
    script: Script,
    datasets: BTreeMap<DatasetRef, Arc<Dataset>>,
    tables: BTreeMap<TableRef, Arc<Table>>,
    counters: BTreeMap<i64, Counters>,
    /// Moments (microseconds) of the last changes of each table's metadata.
    updates: HashMap<TableRef, VecDeque<i64>>,
    /// Changes of columns that writers may not see yet, by the table's identity.
    versions: HashMap<i64, Vec<Version>>,
    /// When tables of these names were dropped, microseconds.
    dropped: HashMap<TableRef, i64>,
    /// Tables whose apply jobs stood still when last looked at.
    stalled: HashSet<i64>,
    /// How many more times a job is asked for before it is done, by project and name.
    polls: HashMap<(String, String), u32>,
    /// The job that a request started, by project and the request's own name, and when.
    requests: HashMap<(String, String), (String, i64)>,
    /// When old tombstones were last removed, microseconds.
    purged: i64,
    is_audited: bool,
}

impl Store {
    /// Opens or makes the database at `path`, or one in memory.
    pub(crate) fn open(path: Option<&Path>, script: Script, is_audited: bool) -> ApiResult<Store> {
        let connection = match path {
            Some(path) => Connection::open(path)?,
            None => Connection::open_in_memory()?,
        };
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        // A committed transaction is in the file's log: it outlives the process, if not the machine.
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "cache_size", -65_536)?;
        connection.pragma_update(None, "case_sensitive_like", true)?;
        connection.execute_batch(LAYOUT)?;
        functions::register(&connection)?;
        let mut store = Store {
            connection,
            script,
            datasets: BTreeMap::new(),
            tables: BTreeMap::new(),
            counters: BTreeMap::new(),
            updates: HashMap::new(),
            versions: HashMap::new(),
            dropped: HashMap::new(),
            stalled: HashSet::new(),
            polls: HashMap::new(),
            requests: HashMap::new(),
            purged: i64::MIN,
            is_audited,
        };
        store.load()?;
        Ok(store)
    }

    /// Reads the catalogue and the counters from the database.
    fn load(&mut self) -> ApiResult<()> {
        let mut datasets = BTreeMap::new();
        let mut statement = self
            .connection
            .prepare("SELECT project, dataset, meta FROM datasets")?;
        let mut found = statement.query(())?;
        while let Some(row) = found.next()? {
            let name = DatasetRef {
                project: row.get(0)?,
                dataset: row.get(1)?,
            };
            let meta: String = row.get(2)?;
            datasets.insert(name, Arc::new(serde_json::from_str(&meta)?));
        }
        drop(found);
        drop(statement);
        let mut tables = BTreeMap::new();
        for meta in self.texts("SELECT meta FROM tables")? {
            let table: Table = serde_json::from_str(&meta)?;
            tables.insert(table.name.clone(), Arc::new(table));
        }
        (self.datasets, self.tables) = (datasets, tables);
        self.counters = self.load_counters()?;
        Ok(())
    }

    fn texts(&self, sql: &str) -> ApiResult<Vec<String>> {
        let mut statement = self.connection.prepare(sql)?;
        let texts = statement
            .query_map((), |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        Ok(texts)
    }

    /// Does `work` wholly or not at all.
    pub(crate) fn atomically<T>(&mut self, work: impl FnOnce(&mut Store) -> ApiResult<T>) -> ApiResult<T> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let done = work(self).and_then(|value| {
            self.connection.execute_batch("COMMIT")?;
            Ok(value)
        });
        if done.is_err() {
            if !self.connection.is_autocommit() {
                self.connection.execute_batch("ROLLBACK")?;
            }
            self.load()?;
        }
        done
    }

    /// The clock that all times come from.
    pub(crate) fn clock(&self) -> &Clock {
        self.script.clock()
    }

    fn now_ms(&self) -> i64 {
        self.clock().unix_micros() / 1_000
    }

    /// The dataset of that name.
    pub(crate) fn dataset(&self, name: &DatasetRef) -> ApiResult<Arc<Dataset>> {
        let found = self.datasets.get(name).cloned();
        found.ok_or_else(|| ApiError::not_found(name))
    }

    /// All datasets, in the order of their names.
    pub(crate) fn datasets(&self) -> impl Iterator<Item = (&DatasetRef, &Arc<Dataset>)> {
        self.datasets.iter()
    }

    /// The table of that name.
    pub(crate) fn table(&self, name: &TableRef) -> ApiResult<Arc<Table>> {
        self.dataset(&name.dataset)?;
        let found = self.tables.get(name).cloned();
        found.ok_or_else(|| ApiError::not_found(name))
    }

    /// The tables of a dataset, in the order of their names.
    pub(crate) fn tables<'a>(&'a self, dataset: &'a DatasetRef) -> impl Iterator<Item = &'a Arc<Table>> {
        self.tables
            .values()
            .filter(move |table| table.name.dataset == *dataset)
    }
}
