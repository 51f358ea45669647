//! The source's side: one SELECT whose values the server renders.

use futures_util::TryStreamExt as _;
use mysql_async::consts::ColumnType as WireType;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row, Value};

use super::canon::{self, Cell};
use super::error::CompareError;
use super::target::TargetColumn;
use crate::event::{Column, ColumnType, TableLayout};
use crate::source::mysql::{quoted, quoted_table};

/// Reads every row, in no order. The binary protocol carries floating point numbers whole; everything
/// else comes as the server's own text.
pub(super) async fn read(
    conn: &mut Conn,
    layout: &TableLayout,
    forms: &[TargetColumn],
    mut take: impl FnMut(Vec<Cell>),
) -> Result<(), CompareError> {
    conn.query_drop("SET NAMES utf8mb4").await?;
    conn.query_drop("SET SESSION time_zone = '+00:00', sql_mode = 'ALLOW_INVALID_DATES'")
        .await?;
    let mut result = conn.exec_iter(select(layout), ()).await?;
    let Some(mut rows) = result.stream::<Row>().await? else {
        return Ok(());
    };
    while let Some(row) = rows.try_next().await? {
        let wire = row.columns();
        let values = row.unwrap();
        if values.len() != layout.columns.len() {
            return Err(CompareError::Width {
                side: "the source",
                expected: layout.columns.len(),
                found: values.len(),
            });
        }
        let columns = layout.columns.iter().zip(forms);
        let cells = columns.zip(values).zip(wire.iter());
        take(
            cells
                .map(|(((column, target), value), wire)| {
                    let value = match wire.column_type() == WireType::MYSQL_TYPE_GEOMETRY {
                        true => without_srid(value),
                        false => value,
                    };
                    canon::of_source(column.kind, column.key.is_some(), target.form(), value)
                })
                .collect(),
        );
    }
    Ok(())
}

/// The server puts a SRID of four bytes before a geometry's WKB; an empty value, which a NOT NULL column
/// holds when it is added to a table with rows, is no geometry.
fn without_srid(value: Value) -> Value {
    let Value::Bytes(bytes) = &value else {
        return value;
    };
    match bytes.get(4..) {
        Some(wkb) if !wkb.is_empty() => Value::Bytes(wkb.to_vec()),
        Some(_) | None => Value::NULL,
    }
}

fn select(layout: &TableLayout) -> String {
    let columns: Vec<String> = layout.columns.iter().map(expression).collect();
    format!(
        "SELECT {} FROM {}",
        columns.join(", "),
        quoted_table(&layout.table)
    )
}

fn expression(column: &Column) -> String {
    let name = quoted(column.name.as_str());
    match column.kind {
        // `+ 0` makes a number of a BIT and takes away the zeros of ZEROFILL and YEAR.
        ColumnType::Bool | ColumnType::Int64 | ColumnType::UInt64 => format!("CAST({name} + 0 AS CHAR)"),
        ColumnType::Decimal { .. }
        | ColumnType::Date
        | ColumnType::DateTime
        | ColumnType::Timestamp
        | ColumnType::Time => format!("CAST({name} AS CHAR)"),
        ColumnType::Float32
        | ColumnType::Float64
        | ColumnType::Text
        | ColumnType::Bytes
        | ColumnType::Json => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{ColumnName, TableId};

    #[test]
    fn names_are_quoted_and_numbers_are_text() {
        let column = |name: &str, kind| Column {
            name: ColumnName::new(name),
            kind,
            declared: String::new(),
            nullable: true,
            key: None,
        };
        let layout = TableLayout {
            table: TableId::new("a`b", "c"),
            columns: vec![
                column("i`d", ColumnType::Int64),
                column("at", ColumnType::Time),
                column("note", ColumnType::Text),
            ],
        };
        assert_eq!(
            select(&layout),
            "SELECT CAST(`i``d` + 0 AS CHAR), CAST(`at` AS CHAR), `note` FROM `a``b`.`c`"
        );
    }
}
