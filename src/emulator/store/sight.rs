//! What a writer sees of tables that change. A change of columns reaches writers late, and open connections
//! later than new ones; a table that was made again goes on to take, and lose, the rows of connections that
//! knew the one before. (Measured by others, see the rules.)

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Store;
use crate::emulator::error::{ApiError, ApiResult};
use crate::emulator::key;
use crate::emulator::numeric::Decimal;
use crate::emulator::profile::Profile;
use crate::emulator::schema::{Field, Kind, Table, TableRef};
use crate::emulator::value::{Cell, decimal};
use crate::emulator::writer::Row;

/// How long old versions of a table's columns are kept, microseconds: longer than any delay.
const KEPT: i64 = 24 * 3600 * 1_000_000;

/// What one connection has been used for.
#[derive(Debug)]
pub(crate) struct Link {
    /// The moment at which it was opened.
    opened: u64,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    /// Whether its rows have a change type; the first ones decide, both must not share a connection.
    has_change: Option<bool>,
    /// The tables behind the names as it came to know them.
    tables: HashMap<TableRef, i64>,
}

impl Link {
    pub(crate) fn new(opened: u64) -> Link {
        Link {
            opened,
            used: Mutex::new(Used::default()),
        }
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether rows with (or without) a change type may use the connection.
    pub(super) fn admits(&self, has_change: bool) -> bool {
        self.used().has_change.is_none_or(|mode| mode == has_change)
    }

    pub(super) fn set(&self, has_change: bool) {
        self.used().has_change = Some(has_change);
    }
}

/// A change of a table's columns.
#[derive(Debug)]
pub(super) struct Version {
    /// Microseconds since 1970.
    at: i64,
    moment: u64,
    /// The table before it.
    before: Arc<Table>,
    /// Whether a column's name went away.
    hides: bool,
}

/// What a connection has before it.
#[derive(Debug)]
pub(super) enum Sight {
    /// The table with the columns that the connection sees.
    At(Arc<Table>),
    /// A table that was made again: rows are acknowledged and lost.
    Swallow,
    /// A table that was made again, later: no answer.
    Silence,
}

fn micros(millis: u64) -> i64 {
    i64::try_from(millis).unwrap_or(i64::MAX).saturating_mul(1_000)
}

impl Version {
    fn is_seen(&self, opened: u64, now: i64, profile: &Profile) -> bool {
        let delay = if opened > self.moment {
            profile.columns_new_connection_ms
        } else if self.hides {
            profile.dropped_column_swallow_ms
        } else {
            profile.columns_open_connection_ms
        };
        now >= self.at.saturating_add(micros(delay))
    }
}

impl Store {
    /// Notes that a table's columns changed.
    pub(super) fn note_version(&mut self, before: &Arc<Table>, after: &Table) {
        let (now, moment) = (self.clock().unix_micros(), self.script.moment());
        let versions = self.versions.entry(after.uid).or_default();
        versions.retain(|version| now - version.at < KEPT);
        versions.push(Version {
            at: now,
            moment,
            before: Arc::clone(before),
            hides: before
                .fields
                .iter()
                .any(|field| after.field(&field.name).is_none()),
        });
    }

    /// What a connection sees of the table of that name.
    pub(super) fn sight(&self, link: &Link, name: &TableRef) -> ApiResult<Sight> {
        let table = self.table(name)?;
        let now = self.clock().unix_micros();
        let profile = self.script.profile();
        let age = now - table.created_ms.saturating_mul(1_000);
        let known = link.used().tables.get(name).copied();
        match known {
            Some(uid) if uid != table.uid && age < micros(profile.recreated_swallow_ms) => Ok(Sight::Swallow),
            Some(uid) if uid != table.uid => Ok(Sight::Silence),
            Some(_) => Ok(Sight::At(self.seen(&table, link.opened, now, &profile))),
            None => {
                let table = self.seen_anew(&table)?;
                link.used().tables.insert(name.clone(), table.uid);
                Ok(Sight::At(table))
            }
        }
    }

    /// What a connection that opens now sees of a table.
    pub(crate) fn seen_anew(&self, table: &Arc<Table>) -> ApiResult<Arc<Table>> {
        table.check_has_rows()?;
        let now = self.clock().unix_micros();
        let profile = self.script.profile();
        let age = now - table.created_ms.saturating_mul(1_000);
        if table.is_again && age < micros(profile.recreated_unknown_ms) {
            return Err(ApiError::not_found(&table.name));
        }
        Ok(self.seen(table, self.script.moment(), now, &profile))
    }

    /// The columns before the first change that a connection does not see yet.
    fn seen(&self, table: &Arc<Table>, opened: u64, now: i64, profile: &Profile) -> Arc<Table> {
        let mut versions = self.versions.get(&table.uid).into_iter().flatten();
        let hidden = versions.find(|version| !version.is_seen(opened, now, profile));
        Arc::clone(hidden.map_or(table, |version| &version.before))
    }
}

/// A row that was read by an older version of the columns, in the table's present ones; also how many of its
/// values have no column any more and are lost.
pub(super) fn adapted<'a>(mut row: Row<'a>, seen: &Table, table: &Table) -> (Row<'a>, u64) {
    if seen.schema_generation == table.schema_generation {
        return (row, 0);
    }
    let mut lost = 0;
    let mut cells = vec![Cell::Null; table.fields.len()];
    for (field, cell) in seen.fields.iter().zip(row.cells) {
        // A column that was renamed is not the one that the writer means.
        let is_same = |one: &Field| one.id == field.id && one.name.eq_ignore_ascii_case(&field.name);
        let place = table.fields.iter().position(is_same);
        let now = place.and_then(|place| Some((cells.get_mut(place)?, table.fields.get(place)?.kind)));
        match now {
            Some((target, kind)) => *target = widened(cell, kind),
            None => lost += u64::from(cell != Cell::Null),
        }
    }
    row.cells = cells;
    row.key = key_of(&row, table);
    (row, lost)
}

fn widened(cell: Cell<'_>, kind: Kind) -> Cell<'_> {
    match (&cell, kind) {
        (Cell::Int(value), Kind::Numeric(_) | Kind::BigNumeric(_)) => {
            decimal(kind, Decimal::from(*value)).unwrap_or(Cell::Null)
        }
        _ => cell,
    }
}

fn key_of(row: &Row<'_>, table: &Table) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for id in &table.primary_key {
        let place = table.fields.iter().position(|field| field.id == *id)?;
        key::push(&mut bytes, row.cells.get(place)?).ok()?;
    }
    (!table.primary_key.is_empty()).then_some(bytes)
}
