//! Deletes rows of a target that the source has not any more and whose deletes are in no log: after a
//! TRUNCATE, a dropped partition, or a copy that was made again. Every key that the target shows gets a
//! DELETE numbered at the place of the statement or of the copy: above every row that was there before,
//! below every row that was found or written since. So nothing needs to be compared, and it may be done
//! again. A table of changes gets one row instead, which says so of all of them.

use std::sync::Arc;

use serde_json::Value as Json;

use super::BigQuery;
use super::delivery::Mode;
use super::error::Error;
use super::name::quoted;
use super::plan::{Place, Target};
use super::types::TargetType;
use crate::config::Values;
use crate::event::{
    CellVisitor, Change, CivilDate, CivilDateTime, Column, ColumnName, ColumnType, Op, Ordinal, RowChanges,
    RowError, RowImages, RowRef, TableLayout, TxnStart, Value,
};
use crate::sink::Batch;

impl BigQuery {
    /// Sends a DELETE at `at` for every key that the target shows. Returns how many.
    pub(super) async fn sweep_target(&self, target: &Target, at: TxnStart) -> Result<u64, Error> {
        self.tables.wait_until_visible(&target.destination.place).await?;
        let keys = key_target(target, self.config.values)?;
        let columns: Vec<String> = target.key.iter().map(quoted).collect();
        let sql = format!(
            "SELECT {} FROM {}",
            columns.join(", "),
            quoted(&target.destination.place)
        );
        let rest = &self.tables.rest;
        let mut pages = self.tables.jobs.pages(rest, &sql).await?;
        let mut swept = 0;
        loop {
            let rows = std::mem::take(&mut pages.rows);
            if !rows.is_empty() {
                swept += u64::try_from(rows.len()).unwrap_or(u64::MAX);
                let batch = deletes(&keys, rows, at, rest.clock().unix_micros());
                self.deliver_to(Arc::clone(&keys), batch).await?.await?;
            }
            if !pages.next(&self.tables.jobs, rest).await? {
                return Ok(swept);
            }
        }
    }
}

/// The same table with its key columns alone, as they are in the target.
fn key_target(target: &Target, values: Values) -> Result<Arc<Target>, Error> {
    let column = |(index, name): (u16, &String)| {
        let planned = target.columns.iter().find(|column| column.target == *name);
        Column {
            // The name in the source, of which the target's is made again.
            name: planned.map_or_else(|| ColumnName::new(name.as_str()), |column| column.made_of.clone()),
            kind: kind(planned.map_or(TargetType::String, |column| column.form.target())),
            declared: String::new(),
            nullable: false,
            key: Some(index),
        }
    };
    let layout = TableLayout {
        table: target.layout.table.clone(),
        columns: (0..).zip(&target.key).map(column).collect(),
    };
    let place: Place = target.destination.place.clone();
    Ok(Arc::new(Target::new(Arc::new(layout), place, Mode::Cdc, values)?))
}

/// What a key column's values are, by its type in the target.
fn kind(target: TargetType) -> ColumnType {
    match target {
        TargetType::Bool => ColumnType::Bool,
        TargetType::Int64 => ColumnType::Int64,
        TargetType::Numeric => ColumnType::Decimal {
            precision: 38,
            scale: 9,
        },
        TargetType::BigNumeric => ColumnType::Decimal {
            precision: 65,
            scale: 30,
        },
        TargetType::Date => ColumnType::Date,
        TargetType::DateTime => ColumnType::DateTime,
        TargetType::Timestamp => ColumnType::Timestamp,
        TargetType::String
        | TargetType::Float64
        | TargetType::Bytes
        | TargetType::Json
        | TargetType::Interval => ColumnType::Text,
    }
}

/// Keys as a query gave them.
#[derive(Debug)]
struct Keys {
    rows: Vec<Json>,
    layout: Arc<TableLayout>,
    bytes: usize,
}

fn deletes(keys: &Target, rows: Vec<Json>, at: TxnStart, now: i64) -> Batch {
    let lengths: Vec<usize> = rows.iter().map(|row| row.to_string().len()).collect();
    let changes = (0..)
        .zip(&lengths)
        .map(|(index, len)| Change {
            op: Op::Delete {
                before: RowRef {
                    at: index,
                    len: u32::try_from(*len).unwrap_or(u32::MAX),
                },
            },
            ordinal: Ordinal(0),
        })
        .collect();
    let images = Keys {
        bytes: lengths.iter().sum(),
        rows,
        layout: Arc::clone(&keys.layout),
    };
    let piece = RowChanges {
        layout: Arc::clone(&keys.layout),
        images: Arc::new(images),
        txn: at,
        committed_micros: now,
        changes,
        snapshot: true,
    };
    Batch {
        layout: Arc::clone(&keys.layout),
        pieces: vec![piece],
    }
}

impl RowImages for Keys {
    fn visit(&self, row: RowRef, visitor: &mut dyn CellVisitor) -> Result<(), RowError> {
        let index = usize::try_from(row.at).unwrap_or(usize::MAX);
        let cells = self
            .rows
            .get(index)
            .and_then(|row| row.get("f"))
            .and_then(Json::as_array);
        let malformed = |column: usize| RowError::Malformed {
            column,
            reason: "the query gave no key of the column's type".to_owned(),
        };
        for (column, declared) in self.layout.columns.iter().enumerate() {
            let text = cells
                .and_then(|cells| cells.get(column))
                .and_then(|cell| cell.get("v"))
                .and_then(Json::as_str)
                .ok_or_else(|| malformed(column))?;
            let value = value(declared.kind, text).ok_or_else(|| malformed(column))?;
            visitor.cell(column, value)?;
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}

/// A value as the REST API writes it, with `useInt64Timestamp`.
fn value(kind: ColumnType, text: &str) -> Option<Value<'_>> {
    Some(match kind {
        ColumnType::Bool => Value::Bool(text.eq_ignore_ascii_case("true")),
        ColumnType::Int64 => Value::Int(text.parse().ok()?),
        ColumnType::Decimal { .. } => decimal(text),
        ColumnType::Date => Value::Date(date(text)?),
        ColumnType::DateTime => Value::DateTime(civil(text)?),
        ColumnType::Timestamp => Value::Timestamp(text.parse().ok()?),
        ColumnType::UInt64
        | ColumnType::Float32
        | ColumnType::Float64
        | ColumnType::Text
        | ColumnType::Bytes
        | ColumnType::Json
        | ColumnType::Time => Value::Text(text),
    })
}

/// Up to 38 digits as a number, more as text.
fn decimal(text: &str) -> Value<'_> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = format!("{whole}{fraction}");
    match (digits.parse::<i128>(), u8::try_from(fraction.len())) {
        (Ok(unscaled), Ok(scale)) => Value::Decimal { unscaled, scale },
        _ => Value::DecimalText(text),
    }
}

fn date(text: &str) -> Option<CivilDate> {
    let mut parts = text.splitn(3, '-');
    Some(CivilDate {
        year: parts.next()?.parse().ok()?,
        month: parts.next()?.parse().ok()?,
        day: parts.next()?.parse().ok()?,
    })
}

/// `2024-05-06T07:08:09` or with up to six digits after a point.
fn civil(text: &str) -> Option<CivilDateTime> {
    let (day, time) = text.split_once(['T', ' '])?;
    let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut parts = clock.splitn(3, ':');
    Some(CivilDateTime {
        date: date(day)?,
        hour: parts.next()?.parse().ok()?,
        minute: parts.next()?.parse().ok()?,
        second: parts.next()?.parse().ok()?,
        micros: format!("{fraction:0<6}").parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_the_rest_api_writes_them() {
        assert_eq!(value(ColumnType::Int64, "-7"), Some(Value::Int(-7)));
        let micros = |text| match civil(text) {
            Some(value) => (value.second, value.micros),
            None => panic!("{text}"),
        };
        assert_eq!(micros("2024-05-06T07:08:09"), (9, 0));
        assert_eq!(micros("2024-05-06T07:08:09.5"), (9, 500_000));
        assert_eq!(
            decimal("-1.50"),
            Value::Decimal {
                unscaled: -150,
                scale: 2
            }
        );
        assert_eq!(
            decimal("123456789012345678901234567890123456789012"),
            Value::DecimalText("123456789012345678901234567890123456789012")
        );
        assert_eq!(value(ColumnType::Int64, "x"), None);
    }
}
