//! Reading a table's rows in the order in which they came.

use rusqlite::types::ValueRef;
use rusqlite::{Row, params};
use serde_json::Value;

use super::Store;
use super::baseline::column_list;
use crate::emulator::error::{ApiError, ApiResult};
use crate::emulator::key;
use crate::emulator::schema::{Field, Kind, Table};
use crate::emulator::value::Cell;

/// A row as the REST API's values, TIMESTAMP in whole microseconds.
pub(crate) type RestRow = Vec<Value>;

impl Store {
    /// Rows of a table from an offset on, with at most `limit` rows and about `bytes` bytes of text.
    pub(crate) fn list_rows(
        &self,
        table: &Table,
        offset: u64,
        limit: u64,
        bytes: usize,
    ) -> ApiResult<Vec<RestRow>> {
        table.check_has_rows()?;
        let sql = format!(
            "SELECT rid{} FROM {} WHERE gone IS NULL ORDER BY rid LIMIT ? OFFSET ?",
            column_list(table),
            self.read_from(table)
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let clamp = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let mut found = statement.query(params![clamp(limit), clamp(offset)])?;
        let (mut rows, mut size) = (Vec::new(), 0);
        while let Some(row) = found.next()? {
            let values = rest_row(row, 1, table.fields.iter().map(|field| field.kind))?;
            size += values
                .iter()
                .filter_map(Value::as_str)
                .map(str::len)
                .sum::<usize>();
            rows.push(values);
            if size > bytes {
                break;
            }
        }
        Ok(rows)
    }

    /// How many rows a table has.
    pub(crate) fn count_rows(&self, table: &Table) -> ApiResult<u64> {
        self.count(&self.read_from(table), "gone IS NULL")
    }

    /// Writes every row's key anew, after the primary key changed.
    pub(super) fn rekey(&mut self, table: &Table) -> ApiResult<()> {
        let storage = table.storage();
        let fields: Vec<&Field> = table
            .primary_key
            .iter()
            .filter_map(|id| table.field_by_id(*id))
            .collect();
        self.connection
            .execute(&format!("DELETE FROM {storage} WHERE gone IS NOT NULL"), ())?;
        let columns: String = fields.iter().map(|field| format!(", {}", field.id)).collect();
        let mut select = self
            .connection
            .prepare(&format!("SELECT rid{columns} FROM {storage} ORDER BY rid"))?;
        let mut update = self
            .connection
            .prepare(&format!("UPDATE {storage} SET k = ? WHERE rid = ?"))?;
        let mut keys = Vec::new();
        let mut found = select.query(())?;
        while let Some(row) = found.next()? {
            let mut key = Vec::new();
            let mut is_whole = !fields.is_empty();
            for (place, field) in fields.iter().enumerate() {
                let cell = stored_cell(field.kind, row.get_ref(place + 1)?);
                is_whole &= key::push(&mut key, &cell).is_ok();
            }
            keys.push((row.get::<_, i64>(0)?, is_whole.then_some(key)));
        }
        for (rid, key) in keys {
            update.execute(params![key, rid])?;
        }
        Ok(())
    }
}

/// A stored value as a cell again.
fn stored_cell(kind: Kind, value: ValueRef<'_>) -> Cell<'_> {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(value) => Cell::Int(value),
        ValueRef::Real(value) => Cell::Real(value),
        ValueRef::Text(text) => Cell::Text(String::from_utf8_lossy(text)),
        ValueRef::Blob(bytes) => match (kind, bytes.try_into()) {
            (Kind::Numeric(_) | Kind::BigNumeric(_), Ok(stored)) => Cell::Decimal(stored),
            _ => Cell::Blob(bytes.into()),
        },
    }
}

/// A row of the storage, from column `first` on, as the REST API's values.
pub(crate) fn rest_row(row: &Row<'_>, first: usize, kinds: impl Iterator<Item = Kind>) -> ApiResult<RestRow> {
    kinds
        .enumerate()
        .map(|(place, kind)| {
            let value = row.get_ref(first + place).map_err(ApiError::from)?;
            Ok(kind.rest(value))
        })
        .collect()
}
