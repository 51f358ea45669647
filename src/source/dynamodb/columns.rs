//! The layout `columns`: each top-level attribute has a column, which is there from when the attribute is first seen. It
//! has the type of the first value that a column can hold, and is widened as far as BigQuery widens a column; a value
//! that still does not fit stands whole, as JSON, in a second column of the attribute. So nothing of an item is lost or
//! rounded, and rows that were written before stay what they are.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::cells::Cell;
use super::item::{Attribute, Item};
use super::layout::{KeyAttribute, Place, Shape, free_name, key_columns};
use super::promote::decimal;
use crate::event::{Column, ColumnName, ColumnType, TableId, TableLayout};

/// What NUMERIC and BIGNUMERIC have room for.
pub(super) const NUMERIC: ColumnType = ColumnType::Decimal {
    precision: 38,
    scale: 9,
};
pub(super) const BIGNUMERIC: ColumnType = ColumnType::Decimal {
    precision: 76,
    scale: 38,
};

/// What `declared` says before the attribute's name.
pub(super) const ATTRIBUTE: &str = "attribute ";
/// The same of the column of values that do not fit.
pub(super) const OTHERS: &str = "other values of ";
/// What follows an attribute's name in the name of that column.
const SUFFIX: &str = "__json";

/// The columns of a table with this key of which no item was seen.
pub(super) fn first(table: TableId, key: &[KeyAttribute]) -> TableLayout {
    let columns = key_columns(key);
    TableLayout { table, columns }
}

/// The narrowest type that holds a value; `None` of NULL, which is not the same as no value, and of numbers past
/// BIGNUMERIC.
fn narrowest(value: &Attribute) -> Option<ColumnType> {
    match value {
        Attribute::S(_) => Some(ColumnType::Text),
        Attribute::N(_) => NUMBERS.into_iter().find(|kind| cell(value, *kind).is_some()),
        Attribute::B(_) => Some(ColumnType::Bytes),
        Attribute::Bool(_) => Some(ColumnType::Bool),
        Attribute::Null(_) => None,
        Attribute::L(_)
        | Attribute::M(_)
        | Attribute::Texts(_)
        | Attribute::Numbers(_)
        | Attribute::ByteStrings(_) => Some(ColumnType::Json),
    }
}

/// Types of numbers, each with room for all that the one before has room for.
const NUMBERS: [ColumnType; 3] = [ColumnType::Int64, NUMERIC, BIGNUMERIC];

/// A type's place among those of numbers.
fn width(kind: ColumnType) -> Option<usize> {
    NUMBERS.iter().position(|number| *number == kind)
}

/// The type that a column is widened to for values of another one; `None` if no type holds both.
fn widened(kind: ColumnType, wanted: ColumnType) -> Option<ColumnType> {
    let (was, is) = (width(kind)?, width(wanted)?);
    Some(if was >= is { kind } else { wanted })
}

/// What a column of a type shows of a value; `None` of one that does not fit.
pub(super) fn cell(value: &Attribute, kind: ColumnType) -> Option<Cell<'_>> {
    match (kind, value) {
        // What no other column holds does not stand here either: a row must be the same whatever columns come later.
        (ColumnType::Json, _) => narrowest(value).map(|_| Cell::Json(value)),
        (ColumnType::Text, Attribute::S(text)) => Some(Cell::Text(Cow::Borrowed(text))),
        (ColumnType::Bytes, Attribute::B(bytes)) => Some(Cell::Bytes(bytes)),
        (ColumnType::Bool, Attribute::Bool(truth)) => Some(Cell::Bool(*truth)),
        (ColumnType::Int64, Attribute::N(number)) => number.int64().map(Cell::Int),
        (NUMERIC, Attribute::N(number)) => decimal(number, 29, 9),
        (BIGNUMERIC, Attribute::N(number)) => decimal(number, 38, 38),
        (_, _) => None,
    }
}

/// Whether attributes may have columns of this type.
pub(super) fn is_held_by(kind: ColumnType) -> bool {
    let others = [
        ColumnType::Text,
        ColumnType::Bytes,
        ColumnType::Bool,
        ColumnType::Json,
    ];
    width(kind).is_some() || others.contains(&kind)
}

/// What a value needs that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// A column of a type.
    Column(ColumnType),
    /// Another type of the column.
    Wider(usize, ColumnType),
    /// A column for values that do not fit.
    Others,
}

fn need(place: Place, value: &Attribute) -> Option<Need> {
    let Place::Attribute { column, others } = place else {
        return None;
    };
    let wanted = narrowest(value);
    match (column, wanted) {
        (Some((_, kind)), _) if cell(value, kind).is_some() => None,
        (Some((at, kind)), Some(wanted)) if widened(kind, wanted).is_some() => {
            widened(kind, wanted).map(|kind| Need::Wider(at, kind))
        }
        (None, Some(wanted)) => Some(Need::Column(wanted)),
        (Some(_) | None, _) => others.is_none().then_some(Need::Others),
    }
}

/// Whether there is room for all of an item.
pub(super) fn has_room(shape: &Shape, item: &Item) -> bool {
    item.iter()
        .all(|(name, value)| need(shape.place(name), value).is_none())
}

/// The columns with room for items, and the names of those that are new; `None` if there is room for all.
pub(super) fn grown<'a>(
    shape: &Shape,
    items: impl IntoIterator<Item = &'a Item>,
) -> Option<(Shape, Vec<String>)> {
    let mut items = items
        .into_iter()
        .skip_while(|item| has_room(shape, item))
        .peekable();
    items.peek()?;
    let (mut layout, mut new) = (TableLayout::clone(&shape.layout), Vec::new());
    let mut places = HashMap::clone(&shape.places);
    for (name, value) in items.flatten() {
        let place = places.get(name).copied().unwrap_or_default();
        let Some(need) = need(place, value) else {
            continue;
        };
        match need {
            Need::Wider(at, kind) => {
                if let Some(column) = layout.columns.get_mut(at) {
                    column.kind = kind;
                }
            }
            Need::Column(kind) => new.push(add(&mut layout, name, (ATTRIBUTE, kind, name))),
            Need::Others => {
                let wanted = format!("{name}{SUFFIX}");
                new.push(add(&mut layout, &wanted, (OTHERS, ColumnType::Json, name)));
            }
        }
        places.insert(name.clone(), after(place, need, layout.columns.len()));
    }
    Some((Shape::of(Arc::new(layout))?, new))
}

/// Adds a column; its name.
fn add(layout: &mut TableLayout, wanted: &str, (role, kind, attribute): (&str, ColumnType, &str)) -> String {
    let name = free_name(&layout.columns, wanted);
    layout.columns.push(Column {
        name: ColumnName::new(name.as_str()),
        kind,
        declared: format!("{role}{attribute}"),
        nullable: true,
        key: None,
    });
    name
}

/// An attribute's columns once there is what it needed; `columns`: of the table, then.
fn after(place: Place, need: Need, columns: usize) -> Place {
    let Place::Attribute { column, others } = place else {
        return place;
    };
    let last = columns.saturating_sub(1);
    match need {
        Need::Column(kind) => Place::Attribute {
            column: Some((last, kind)),
            others,
        },
        Need::Wider(at, kind) => Place::Attribute {
            column: Some((at, kind)),
            others,
        },
        Need::Others => Place::Attribute {
            column,
            others: Some(last),
        },
    }
}

#[cfg(test)]
mod tests;
