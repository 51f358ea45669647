//! Appending rows: changes by key and sequence number, or plain rows at the end of the table.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rusqlite::{CachedStatement, params, params_from_iter};

use super::Store;
use super::audit::Counters;
use super::baseline::column_list;
use super::sight::{Link, Sight, adapted};
use crate::emulator::error::{ApiError, ApiResult};
use crate::emulator::faults::{RowErrors, Which};
use crate::emulator::schema::{Field, Kind, Table, TableRef};
use crate::emulator::value::Cell;
use crate::emulator::writer::{BindError, ChangeType, Plan, Row};
use crate::proto::descriptor::DescriptorProto;

/// How long a deletion is remembered, milliseconds (documented: two days).
const TOMBSTONE_MS: i64 = 2 * 24 * 3600 * 1_000;
/// How often forgotten deletions are removed from the storage, microseconds.
const PURGE_EVERY: i64 = 60_000_000;
/// Microseconds of a day.
const DAY: i64 = 86_400 * 1_000_000;
/// Microseconds of a year, for the window of partitions that streaming may write to.
const YEAR: i64 = 366 * DAY;

/// A writer's schema as a connection gave it, with what it was last bound to.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) descriptor: DescriptorProto,
    bound: Mutex<Option<Arc<Plan>>>,
}

impl Writer {
    pub(crate) fn new(descriptor: DescriptorProto) -> Writer {
        Writer {
            descriptor,
            bound: Mutex::new(None),
        }
    }
}

/// One request.
#[derive(Debug)]
pub(crate) struct Append {
    pub(crate) table: TableRef,
    pub(crate) link: Arc<Link>,
    pub(crate) writer: Arc<Writer>,
    pub(crate) rows: Vec<Bytes>,
    /// Rows to be refused on order.
    pub(crate) refuse: Option<Box<RowErrors>>,
}

/// What became of a request.
#[derive(Debug)]
pub(crate) struct Appended {
    /// Rows that cannot be taken, with their places; if there are any, no row of the request is in the table.
    pub(crate) row_errors: Vec<(usize, String)>,
    /// How many of them the answer lists.
    pub(crate) listed: usize,
    /// The table, if its columns changed since the writer's schema was given or last reported.
    pub(crate) updated: Option<Arc<Table>>,
}

/// Why a request cannot be carried out at all.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum AppendError {
    #[error("{0}")]
    Bind(#[from] BindError),
    #[error("{0}")]
    Api(#[from] ApiError),
    /// The connection knew a table that was made again since: no answer comes.
    #[error("the table is re-created")]
    Silence,
}

impl From<rusqlite::Error> for AppendError {
    fn from(error: rusqlite::Error) -> AppendError {
        AppendError::Api(error.into())
    }
}

impl Store {
    /// Opens the transaction of a group of requests.
    pub(crate) fn begin(&mut self) -> ApiResult<()> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        self.purge()
    }

    /// Makes a group of requests durable.
    pub(crate) fn commit(&mut self) -> ApiResult<()> {
        Ok(self.connection.execute_batch("COMMIT")?)
    }

    /// Forgets a group of requests after the storage failed.
    pub(crate) fn abandon(&mut self) -> ApiResult<()> {
        if !self.connection.is_autocommit() {
            self.connection.execute_batch("ROLLBACK")?;
        }
        self.load()
    }

    fn purge(&mut self) -> ApiResult<()> {
        let now = self.clock().unix_micros();
        if now.saturating_sub(self.purged) < PURGE_EVERY {
            return Ok(());
        }
        self.purged = now;
        let forgotten = self.now_ms() - TOMBSTONE_MS;
        for table in self.tables.values() {
            self.connection.execute(
                &format!("DELETE FROM {} WHERE gone < ?", table.storage()),
                [forgotten],
            )?;
            self.expire(table, now)?;
        }
        Ok(())
    }

    /// Removes days whose time is over (documented: counted from the day's beginning, UTC).
    fn expire(&self, table: &Table, now: i64) -> ApiResult<()> {
        let Some(by) = &table.partitioning else {
            return Ok(());
        };
        let field = by.column.and_then(|id| table.field_by_id(id));
        if let (Some(field), Some(expiration_ms)) = (field, by.expiration_ms) {
            let day = (now - expiration_ms.saturating_mul(1_000)).div_euclid(DAY) + 1;
            let first = if field.kind == Kind::Date { day } else { day * DAY };
            let base = table.baseline.as_ref().map(|_| table.base());
            for storage in [Some(table.storage()), base].into_iter().flatten() {
                self.connection
                    .execute(&format!("DELETE FROM {storage} WHERE {} < ?", field.id), [first])?;
            }
        }
        Ok(())
    }

    /// Appends the rows of one request within the open transaction: all of them or none.
    pub(crate) fn append(&mut self, request: &Append) -> Result<Appended, AppendError> {
        let seen = match self.sight(&request.link, &request.table)? {
            Sight::At(seen) => seen,
            Sight::Swallow => return self.swallow(request),
            Sight::Silence => return Err(AppendError::Silence),
        };
        let table = self.table(&request.table)?;
        let (plan, updated) = bind(&request.writer, &seen)?;
        let mut rows = Vec::with_capacity(request.rows.len());
        let mut row_errors = Vec::new();
        let mut mode = None;
        let mut lost = 0;
        for (place, bytes) in request.rows.iter().enumerate() {
            let row = self.check(&seen, &request.link, &mut mode, plan.read(bytes));
            match row.and_then(|row| refused(request.refuse.as_deref(), &seen, place, row)) {
                Ok(row) => {
                    let (row, values) = adapted(row, &seen, &table);
                    lost += values;
                    rows.push(row);
                }
                Err(error) => row_errors.push((place, error)),
            }
        }
        if row_errors.is_empty() {
            let mut counters = self.counters(&table);
            counters.requests += 1;
            counters.values_swallowed += lost;
            let table = self.activated(table, mode == Some(true))?;
            self.write(&table, &rows, &mut counters)?;
            self.save_counters(&table, counters)?;
            if let Some(has_change) = mode {
                request.link.set(has_change);
            }
        }
        let ordered = request.refuse.as_ref().and_then(|errors| errors.listed);
        Ok(Appended {
            row_errors,
            listed: ordered.unwrap_or_else(|| self.script.profile().row_errors_listed),
            updated,
        })
    }

    /// The table, active with change data capture once changes come.
    fn activated(&mut self, table: Arc<Table>, has_change: bool) -> ApiResult<Arc<Table>> {
        if !has_change || table.has_changes {
            return Ok(table);
        }
        let mut table = Table::clone(&table);
        table.has_changes = true;
        self.sync_baseline(&mut table)?;
        self.save_table(table)
    }

    /// Acknowledges rows for a table that is no more, and loses them.
    fn swallow(&mut self, request: &Append) -> Result<Appended, AppendError> {
        let table = self.table(&request.table)?;
        let mut counters = self.counters(&table);
        counters.rows_swallowed += u64::try_from(request.rows.len()).unwrap_or(u64::MAX);
        self.save_counters(&table, counters)?;
        Ok(Appended {
            row_errors: Vec::new(),
            listed: 0,
            updated: None,
        })
    }

    fn check<'a>(
        &self,
        table: &Table,
        link: &Link,
        mode: &mut Option<bool>,
        row: Result<Row<'a>, String>,
    ) -> Result<Row<'a>, String> {
        let row = row?;
        let has_change = row.change.is_some();
        if !link.admits(has_change) || *mode.get_or_insert(has_change) != has_change {
            let text = "The given value is not a valid CHANGE_TYPE: rows with and without one are mixed on a connection";
            return Err(text.to_owned());
        }
        if row.change != Some(ChangeType::Delete) {
            self.check_partition(table, &row)?;
        }
        Ok(row)
    }

    /// Streaming reaches partitions from ten years ago to one year ahead.
    fn check_partition(&self, table: &Table, row: &Row<'_>) -> Result<(), String> {
        let column = table.partitioning.as_ref().and_then(|by| by.column);
        let Some(place) = table.fields.iter().position(|field| Some(field.id) == column) else {
            return Ok(());
        };
        let (Some(Cell::Int(value)), Some(field)) = (row.cells.get(place), table.fields.get(place)) else {
            return Ok(());
        };
        let micros = if field.kind == Kind::Date {
            value.saturating_mul(86_400_000_000)
        } else {
            *value
        };
        let now = self.clock().unix_micros();
        if micros < now - 10 * YEAR || micros > now + YEAR {
            return Err(format!(
                "Value for partitioning column {} is outside the allowed bounds: 10 years in the past and 1 year in the future",
                field.name
            ));
        }
        Ok(())
    }

    fn write(&self, table: &Table, rows: &[Row<'_>], counters: &mut Counters) -> ApiResult<()> {
        let statements = Statements::new(table);
        let mut insert = self.connection.prepare_cached(&statements.insert)?;
        let mut find = self.connection.prepare_cached(&statements.find)?;
        let mut update = self.connection.prepare_cached(&statements.update)?;
        let mut remove = self.connection.prepare_cached(&statements.remove)?;
        let mut pending = match &table.baseline {
            Some(_) => Some(Pending {
                note: self.connection.prepare_cached(&statements.note)?,
                show: self.connection.prepare_cached(&statements.show)?,
            }),
            None => None,
        };
        let now = self.now_ms();
        for row in rows {
            match row.change {
                None => counters.rows_appended += 1,
                Some(ChangeType::Upsert) => counters.upserts += 1,
                Some(ChangeType::Delete) => counters.deletes += 1,
            }
            counters.changes_without_number += u64::from(row.change.is_some() && row.sequence.is_none());
            self.note_content(table, row, counters)?;
            let Some(change) = row.change else {
                insert.execute(params_from_iter(Stored::new(row, None).values()))?;
                // What is appended is no change: queries see it at once.
                if let Some(pending) = &mut pending {
                    pending.show.execute([self.connection.last_insert_rowid()])?;
                }
                continue;
            };
            let mut found = standing(&mut find, row, now)?;
            // Equal numbers: what came last wins. A change without a number ranks below one with (assumed:
            // the document calls a mixture unpredictable).
            let number = row.sequence.map(|number| number.to_bytes());
            if found.newest > number {
                counters.outranked += 1;
                continue;
            }
            let gone = (change == ChangeType::Delete).then_some(now);
            let stored = Stored::new(row, gone);
            match found.rids.split_first() {
                None => {
                    insert.execute(params_from_iter(stored.values()))?;
                    found.rids.push(self.connection.last_insert_rowid());
                }
                Some((first, others)) => {
                    let rid = Cell::Int(*first);
                    update.execute(params_from_iter(stored.values().chain([&rid])))?;
                    for other in others {
                        remove.execute(params![other])?;
                    }
                }
            }
            if let Some(pending) = &mut pending {
                for rid in &found.rids {
                    pending.note.execute([rid])?;
                }
            }
        }
        Ok(())
    }
}

/// Refuses a row that a scripted fault names.
fn refused<'a>(
    errors: Option<&RowErrors>,
    table: &Table,
    place: usize,
    row: Row<'a>,
) -> Result<Row<'a>, String> {
    let Some(errors) = errors else { return Ok(row) };
    let is_named = match &errors.rows {
        Which::Indexes(places) => places.contains(&place),
        Which::Where(condition) => {
            let named = |(field, _): &(&Field, &Cell<'_>)| field.name.eq_ignore_ascii_case(&condition.column);
            let found = table.fields.iter().zip(&row.cells).find(named);
            let text = found.and_then(|(field, cell)| field.kind.text(cell.to_ref()));
            text.as_ref() == Some(&condition.value)
        }
    };
    if !is_named {
        return Ok(row);
    }
    let message = errors.message.clone();
    Err(message.unwrap_or_else(|| "Refused on order of a scripted fault".to_owned()))
}

/// The versions of a key that are in the storage.
struct Standing {
    rids: Vec<i64>,
    /// The largest sequence number among them.
    newest: Option<Vec<u8>>,
}

fn standing(find: &mut CachedStatement<'_>, row: &Row<'_>, now: i64) -> ApiResult<Standing> {
    let mut standing = Standing {
        rids: Vec::new(),
        newest: None,
    };
    let mut found = find.query(params![row.key])?;
    while let Some(version) = found.next()? {
        standing.rids.push(version.get(0)?);
        let gone: Option<i64> = version.get(2)?;
        // A deletion older than that is forgotten, with its number.
        if gone.is_none_or(|gone| gone > now - TOMBSTONE_MS) {
            standing.newest = standing.newest.max(version.get(1)?);
        }
    }
    Ok(standing)
}

/// What keeps a baseline apart from the newest state.
struct Pending<'a> {
    /// Notes a row that changed.
    note: CachedStatement<'a>,
    /// Copies a row into the baseline.
    show: CachedStatement<'a>,
}

struct Statements {
    note: String,
    show: String,
    insert: String,
    find: String,
    update: String,
    remove: String,
}

impl Statements {
    fn new(table: &Table) -> Statements {
        let storage = table.storage();
        let columns = column_list(table);
        let marks: String = table.fields.iter().map(|_| ", ?").collect();
        let sets: String = table
            .fields
            .iter()
            .map(|field| format!(", {} = ?", field.id))
            .collect();
        Statements {
            note: format!("INSERT OR IGNORE INTO {} (rid) VALUES (?)", table.dirty()),
            show: format!(
                "INSERT INTO {} SELECT rid, NULL{columns} FROM {storage} WHERE rid = ?",
                table.base()
            ),
            insert: format!("INSERT INTO {storage} (k, seq, gone{columns}) VALUES (?, ?, ?{marks})"),
            find: format!("SELECT rid, seq, gone FROM {storage} WHERE k = ?"),
            update: format!("UPDATE {storage} SET k = ?, seq = ?, gone = ?{sets} WHERE rid = ?"),
            remove: format!("DELETE FROM {storage} WHERE rid = ?"),
        }
    }
}

/// A row's stored values in the statements' order.
struct Stored<'a> {
    head: [Cell<'a>; 3],
    cells: Vec<Cell<'a>>,
}

impl<'a> Stored<'a> {
    fn new(row: &'a Row<'_>, gone: Option<i64>) -> Stored<'a> {
        let blob = |bytes: Vec<u8>| Cell::Blob(bytes.into());
        let head = [
            row.key
                .as_deref()
                .map_or(Cell::Null, |key| Cell::Blob(key.into())),
            row.sequence.map_or(Cell::Null, |number| blob(number.to_bytes())),
            gone.map_or(Cell::Null, Cell::Int),
        ];
        // Of a deleted row nothing stays but its key and number.
        let cells = match gone {
            Some(_) => vec![Cell::Null; row.cells.len()],
            None => row.cells.clone(),
        };
        Stored { head, cells }
    }

    fn values(&self) -> impl Iterator<Item = &Cell<'a>> {
        self.head.iter().chain(&self.cells)
    }
}

/// The writer's schema bound to the table as it is now, and the table if its columns changed since the last time.
fn bind(writer: &Writer, table: &Arc<Table>) -> Result<(Arc<Plan>, Option<Arc<Table>>), BindError> {
    let mut bound = writer.bound.lock().unwrap_or_else(PoisonError::into_inner);
    let before = bound.clone();
    if let Some(plan) = &before
        && plan.uid == table.uid
        && plan.generation == table.schema_generation
    {
        return Ok((Arc::clone(plan), None));
    }
    let plan = Arc::new(Plan::bind(&writer.descriptor, table)?);
    *bound = Some(Arc::clone(&plan));
    Ok((plan, before.map(|_| Arc::clone(table))))
}
