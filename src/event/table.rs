//! Tables and columns as a source describes them, neutral between sources and BigQuery.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A table of a source: `schema.name`, as the source spells it (not folded, not quoted).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "(String, String)", into = "(String, String)")]
pub struct TableId {
    schema: Arc<str>,
    name: Arc<str>,
}

impl TableId {
    /// A table by its schema (MySQL: database) and name.
    pub fn new(schema: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> TableId {
        TableId {
            schema: schema.into(),
            name: name.into(),
        }
    }

    /// The schema (MySQL: database).
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// The table's name within its schema.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

impl fmt::Debug for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<(String, String)> for TableId {
    fn from((schema, name): (String, String)) -> TableId {
        TableId::new(schema, name)
    }
}

impl From<TableId> for (String, String) {
    fn from(id: TableId) -> (String, String) {
        (id.schema().to_owned(), id.name().to_owned())
    }
}

/// A column's name as the source spells it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ColumnName(Arc<str>);

impl ColumnName {
    /// A column by its name in the source.
    pub fn new(name: impl Into<Arc<str>>) -> ColumnName {
        ColumnName(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ColumnName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ColumnName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// What a column's values mean, without a database's dialect. The [`super::Value`] variant that
/// carries each is named; any column may also carry `Null` and `Unrepresentable`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnType {
    /// `Value::Bool`.
    Bool,
    /// `Value::Int`: a signed integer of 64 bits or fewer.
    Int64,
    /// `Value::UInt`: an integer that may exceed `i64::MAX`.
    UInt64,
    /// `Value::Decimal` or, past 38 digits, `Value::DecimalText`: exact.
    Decimal {
        /// Digits in all, 1…65.
        precision: u8,
        /// Digits after the point, 0…30.
        scale: u8,
    },
    /// `Value::Float`: binary32.
    Float32,
    /// `Value::Double`: binary64.
    Float64,
    /// `Value::Text`: valid UTF-8.
    Text,
    /// `Value::Bytes`.
    Bytes,
    /// `Value::Json`: a JSON document as text.
    Json,
    /// `Value::Date`: may be a zero or partial date.
    Date,
    /// `Value::DateTime`: civil time without zone, microseconds.
    DateTime,
    /// `Value::Timestamp`: an instant, microseconds since 1970-01-01T00:00:00Z.
    Timestamp,
    /// `Value::Time`: a signed duration in microseconds (MySQL TIME: ±838:59:59.999999).
    Time,
}

/// One column of a table at one position of the log.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Column {
    /// The name in the source.
    pub name: ColumnName,
    /// What its values mean.
    #[serde(rename = "type")]
    pub kind: ColumnType,
    /// The type as the source declares it (`bigint unsigned`, `varchar(20) latin1`), as precise as the
    /// source knows it: part of the layout's identity, shown to people, never parsed but by a source that wrote it.
    pub declared: String,
    /// Whether the source admits NULL.
    pub nullable: bool,
    /// Place in the primary key, from 0, in key order; `None` outside the key.
    pub key: Option<u16>,
}

/// The columns of a table, in the order of its row images, valid from one position of the log on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TableLayout {
    /// Whose layout.
    pub table: TableId,
    /// Columns in row-image order.
    pub columns: Vec<Column>,
}

impl TableLayout {
    /// Indexes of the key columns in key order; empty for a table without a key.
    pub fn key_columns(&self) -> Vec<usize> {
        let mut keyed: Vec<(u16, usize)> = self
            .columns
            .iter()
            .enumerate()
            .filter_map(|(index, column)| Some((column.key?, index)))
            .collect();
        keyed.sort_unstable();
        keyed.into_iter().map(|(_, index)| index).collect()
    }

    /// Whether the table has a primary key.
    pub fn is_keyed(&self) -> bool {
        self.columns.iter().any(|column| column.key.is_some())
    }

    /// What differs in a later layout of the same table, as text for people; `None` if nothing does.
    pub fn difference(&self, new: &TableLayout) -> Option<String> {
        if self.columns == new.columns {
            return None;
        }
        let mut parts = Vec::new();
        for column in &self.columns {
            let name = &column.name;
            match new.column(name) {
                None => parts.push(format!("column {name} is gone")),
                Some(now) if now.declared != column.declared => {
                    parts.push(format!(
                        "column {name} was {} and is {}",
                        column.declared, now.declared
                    ));
                }
                Some(now) if now.key != column.key => {
                    parts.push(format!("column {name} changed its place in the key"))
                }
                Some(now) if now != column => {
                    parts.push(format!("column {name} changed whether it admits NULL"))
                }
                Some(_) => {}
            }
        }
        for column in new
            .columns
            .iter()
            .filter(|column| self.column(&column.name).is_none())
        {
            parts.push(format!("column {} {} is new", column.name, column.declared));
        }
        if parts.is_empty() {
            parts.push("the order of its columns changed".to_owned());
        }
        Some(parts.join("; "))
    }

    /// A column by its name.
    pub fn column(&self, name: &ColumnName) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == *name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, key: Option<u16>) -> Column {
        let (name, declared) = (ColumnName::new(name), "int".to_owned());
        Column {
            name,
            kind: ColumnType::Int64,
            declared,
            nullable: false,
            key,
        }
    }

    #[test]
    fn key_columns_come_in_key_order_not_column_order() {
        let layout = TableLayout {
            table: TableId::new("s", "t"),
            columns: vec![column("a", Some(1)), column("b", None), column("c", Some(0))],
        };
        assert_eq!(layout.key_columns(), vec![2, 0]);
    }

    #[test]
    fn differences_name_every_column() {
        let layout = |columns: &[(&str, &str)]| TableLayout {
            table: TableId::new("s", "t"),
            columns: columns
                .iter()
                .map(|(name, declared)| Column {
                    declared: (*declared).to_owned(),
                    ..column(name, None)
                })
                .collect(),
        };
        let old = layout(&[("a", "int"), ("b", "int"), ("c", "int")]);
        let new = layout(&[("a", "int"), ("b", "bigint"), ("d", "text")]);
        let text = old.difference(&new).unwrap();
        assert_eq!(
            text,
            "column b was int and is bigint; column c is gone; column d text is new"
        );
        assert_eq!(old.difference(&old.clone()), None);
        let moved = layout(&[("b", "int"), ("a", "int"), ("c", "int")]);
        assert_eq!(
            old.difference(&moved).unwrap(),
            "the order of its columns changed"
        );
    }

    #[test]
    fn layout_survives_a_round_trip_through_json() {
        let layout = TableLayout {
            table: TableId::new("s.x", "t"),
            columns: vec![column("a", Some(0))],
        };
        let text = serde_json::to_string(&layout).unwrap();
        assert_eq!(serde_json::from_str::<TableLayout>(&text).unwrap(), layout);
    }
}
