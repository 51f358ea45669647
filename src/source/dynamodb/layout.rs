//! The columns of a DynamoDB table's target: each key attribute with its type, then the whole item as JSON. They
//! follow from the table's key alone, which never changes, so that they are known before the first row and the same
//! for good.

use crate::event::{Column, ColumnName, ColumnType, TableId, TableLayout};

/// The column that holds the item, where no key attribute has its name.
const DOCUMENT: &str = "item";

/// The type of a key attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// Text.
    S,
    /// A number, which becomes its one text: a key is compared byte by byte, and no number type of BigQuery's has
    /// room for all of DynamoDB's.
    N,
    /// Bytes.
    B,
}

impl KeyKind {
    /// DynamoDB's letter for it.
    pub fn letter(self) -> &'static str {
        match self {
            KeyKind::S => "S",
            KeyKind::N => "N",
            KeyKind::B => "B",
        }
    }

    /// The kind of a letter; `None` for types that are no key's.
    pub fn of(letter: &str) -> Option<KeyKind> {
        [KeyKind::S, KeyKind::N, KeyKind::B]
            .into_iter()
            .find(|kind| kind.letter() == letter)
    }
}

/// An attribute of a table's key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyAttribute {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: KeyKind,
}

/// The layout `document` of a table with this key: partition key first.
pub fn document(table: TableId, key: &[KeyAttribute]) -> TableLayout {
    let mut columns: Vec<Column> = (0_u16..)
        .zip(key)
        .map(|(place, attribute)| Column {
            name: ColumnName::new(attribute.name.as_str()),
            kind: match attribute.kind {
                KeyKind::S | KeyKind::N => ColumnType::Text,
                KeyKind::B => ColumnType::Bytes,
            },
            declared: attribute.kind.letter().to_owned(),
            nullable: false,
            key: Some(place),
        })
        .collect();
    columns.push(Column {
        name: ColumnName::new(document_name(key)),
        kind: ColumnType::Json,
        declared: "item".to_owned(),
        // Of a removed item nothing but the key may be known.
        nullable: true,
        key: None,
    });
    TableLayout { table, columns }
}

/// `item`, or the first of `item_2`, `item_3` that no key attribute has in whatever case.
fn document_name(key: &[KeyAttribute]) -> String {
    let taken = |name: &str| key.iter().any(|attribute| attribute.name.to_lowercase() == name);
    let mut name = DOCUMENT.to_owned();
    for number in 2..=key.len() + 1 {
        if !taken(&name) {
            break;
        }
        name = format!("{DOCUMENT}_{number}");
    }
    name
}

/// The key that a layout of [`document`] was made of; `None` of another one.
pub fn key_of(layout: &TableLayout) -> Option<Vec<KeyAttribute>> {
    let columns = layout.columns.iter().filter(|column| column.key.is_some());
    let key: Vec<KeyAttribute> = columns
        .map(|column| {
            Some(KeyAttribute {
                name: column.name.as_str().to_owned(),
                kind: KeyKind::of(&column.declared)?,
            })
        })
        .collect::<Option<_>>()?;
    (document(layout.table.clone(), &key) == *layout).then_some(key)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(attributes: &[(&str, KeyKind)]) -> Vec<KeyAttribute> {
        let attribute = |(name, kind): &(&str, KeyKind)| KeyAttribute {
            name: (*name).to_owned(),
            kind: *kind,
        };
        attributes.iter().map(attribute).collect()
    }

    fn names(layout: &TableLayout) -> Vec<&str> {
        layout.columns.iter().map(|column| column.name.as_str()).collect()
    }

    #[test]
    fn the_item_has_a_name_of_its_own() {
        let table = TableId::new("s", "t");
        for (attributes, expected) in [
            (&[("id", KeyKind::S)][..], &["id", "item"][..]),
            (&[("Item", KeyKind::S)], &["Item", "item_2"]),
            (
                &[("item", KeyKind::S), ("ITEM_2", KeyKind::N)],
                &["item", "ITEM_2", "item_3"],
            ),
        ] {
            assert_eq!(names(&document(table.clone(), &key(attributes))), expected);
        }
    }

    #[test]
    fn other_layouts_are_told_apart() {
        let mut layout = document(TableId::new("s", "t"), &key(&[("id", KeyKind::B)]));
        assert_eq!(layout.key_columns(), [0]);
        layout.columns.push(layout.columns[1].clone());
        assert_eq!(key_of(&layout), None);
    }

    proptest! {
        #[test]
        fn a_layout_says_its_key(names in proptest::collection::btree_set("[a-zA-Zé.-]{1,8}", 1..=2), kinds in [0usize..3, 0..3]) {
            let all = [KeyKind::S, KeyKind::N, KeyKind::B];
            let key: Vec<KeyAttribute> = names.into_iter().zip(kinds)
                .map(|(name, kind)| KeyAttribute { name, kind: all[kind] }).collect();
            let layout = document(TableId::new("s", "t"), &key);
            prop_assert_eq!(key_of(&layout), Some(key));
        }
    }
}
