//! The columns of a DynamoDB table's target: each key attribute with its type, the whole item as JSON, then what is at
//! promoted paths. They follow from the table's key, which never changes, and from the configuration alone, so that they
//! are known before the first row. Those of the layout `columns` are known once an item has them.

use std::collections::HashMap;
use std::sync::Arc;

use super::columns;
use super::promote::column_type;
use crate::config::{Path, Promoted, PromotedType};
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

/// What `declared` says of the column that holds the item.
const WHOLE: &str = "item";

/// The layout `document` of a table with this key, partition key first, and with columns for promoted paths.
pub fn document(table: TableId, key: &[KeyAttribute], promoted: &[Promoted]) -> TableLayout {
    let mut columns = key_columns(key);
    let mut add = |name: &str, kind, declared: String| {
        let name = ColumnName::new(free_name(&columns, name));
        // Of a removed item nothing but the key may be known.
        columns.push(Column {
            name,
            kind,
            declared,
            nullable: true,
            key: None,
        });
    };
    add(DOCUMENT, ColumnType::Json, WHOLE.to_owned());
    for one in promoted {
        let declared = format!("{} {}", one.kind.name(), one.path);
        add(&one.column, column_type(one.kind), declared);
    }
    TableLayout { table, columns }
}

pub(super) fn key_columns(key: &[KeyAttribute]) -> Vec<Column> {
    (0_u16..)
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
        .collect()
}

/// The name, or the first of `name_2`, `name_3` that no column has in whatever case.
pub(super) fn free_name(columns: &[Column], name: &str) -> String {
    let taken = |name: &str| {
        let folded = name.to_lowercase();
        columns
            .iter()
            .any(|column| column.name.as_str().to_lowercase() == folded)
    };
    let mut free = name.to_owned();
    for number in 2..=columns.len() + 1 {
        if !taken(&free) {
            break;
        }
        free = format!("{name}_{number}");
    }
    free
}

/// What a column shows of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Role {
    /// An attribute of the key.
    Key(KeyAttribute),
    /// The whole item.
    Whole,
    /// What is at a path.
    Path(Path, PromotedType),
    /// The values of an attribute that the column holds.
    Attribute(String, ColumnType),
    /// The other values of an attribute, whose own column has this type if it has one.
    Others(String, Option<ColumnType>),
}

/// Where an attribute's values go in the layout `columns`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// To a column of the key.
    Key,
    /// To columns of its own.
    Attribute {
        /// The column of those that fit, and its type.
        column: Option<(usize, ColumnType)>,
        /// The column of the others.
        others: Option<usize>,
    },
}

impl Default for Place {
    fn default() -> Place {
        let (column, others) = (None, None);
        Place::Attribute { column, others }
    }
}

/// A table's columns, and what each one shows of an item: all of which the columns themselves say, so that rows can be
/// made for columns that a checkpoint kept.
#[derive(Debug, Clone)]
pub struct Shape {
    pub(super) layout: Arc<TableLayout>,
    pub(super) roles: Arc<[Role]>,
    /// By attribute, as far as there are columns.
    pub(super) places: Arc<HashMap<String, Place>>,
}

impl Shape {
    /// Reads what columns show; `None` of columns that are not a DynamoDB table's.
    pub fn of(layout: Arc<TableLayout>) -> Option<Shape> {
        let mut roles = layout.columns.iter().map(role).collect::<Option<Vec<_>>>()?;
        let places = places(&roles);
        for role in &mut roles {
            if let Role::Others(name, kind) = role
                && let Some(Place::Attribute { column, .. }) = places.get(name)
            {
                *kind = column.map(|(_, kind)| kind);
            }
        }
        let keys = roles
            .iter()
            .take_while(|role| matches!(role, Role::Key(_)))
            .count();
        let keyed = keys > 0 && layout.key_columns() == (0..keys).collect::<Vec<_>>();
        let roles: Arc<[Role]> = roles.into();
        let places = Arc::new(places);
        keyed.then_some(Shape {
            layout,
            roles,
            places,
        })
    }

    /// Where an attribute's values go.
    pub(super) fn place(&self, attribute: &str) -> Place {
        self.places.get(attribute).copied().unwrap_or_default()
    }

    /// Whether beside the key there are columns of attributes alone.
    pub(super) fn is_of_attributes(&self) -> bool {
        let whole = |role: &Role| matches!(role, Role::Whole | Role::Path(_, _));
        !self.roles.iter().any(whole)
    }
}

fn places(roles: &[Role]) -> HashMap<String, Place> {
    let mut places = HashMap::new();
    for (index, role) in roles.iter().enumerate() {
        let (name, more) = match role {
            Role::Key(attribute) => (&attribute.name, Place::Key),
            Role::Attribute(name, kind) => (name, (Some((index, *kind)), None).into()),
            Role::Others(name, _) => (name, (None, Some(index)).into()),
            Role::Whole | Role::Path(_, _) => continue,
        };
        let place = places.entry(name.clone()).or_insert(more);
        if let (
            Place::Attribute { column, others },
            Place::Attribute {
                column: one,
                others: other,
            },
        ) = (place, more)
        {
            (*column, *others) = (column.or(one), others.or(other));
        }
    }
    places
}

impl From<(Option<(usize, ColumnType)>, Option<usize>)> for Place {
    fn from((column, others): (Option<(usize, ColumnType)>, Option<usize>)) -> Place {
        Place::Attribute { column, others }
    }
}

fn role(column: &Column) -> Option<Role> {
    if column.key.is_some() {
        let name = column.name.as_str().to_owned();
        let kind = KeyKind::of(&column.declared)?;
        return Some(Role::Key(KeyAttribute { name, kind }));
    }
    if column.declared == WHOLE {
        return Some(Role::Whole);
    }
    if let Some(name) = column.declared.strip_prefix(columns::ATTRIBUTE) {
        columns::is_held_by(column.kind).then_some(())?;
        return Some(Role::Attribute(name.to_owned(), column.kind));
    }
    if let Some(name) = column.declared.strip_prefix(columns::OTHERS) {
        (column.kind == ColumnType::Json).then_some(())?;
        return Some(Role::Others(name.to_owned(), None));
    }
    let (kind, path) = column.declared.split_once(' ')?;
    let kind = PromotedType::of(kind)?;
    (column_type(kind) == column.kind).then_some(())?;
    Some(Role::Path(Path::parse(path)?, kind))
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

    fn promoted(path: &str, kind: PromotedType) -> Promoted {
        Promoted::new(Path::parse(path).unwrap(), kind)
    }

    #[test]
    fn every_column_has_a_name_of_its_own() {
        let table = TableId::new("s", "t");
        for (attributes, paths, expected) in [
            (&[("id", KeyKind::S)][..], &[][..], &["id", "item"][..]),
            (&[("Item", KeyKind::S)], &[], &["Item", "item_2"]),
            (
                &[("item", KeyKind::S), ("ITEM_2", KeyKind::N)],
                &["ID", "item", "a.b"],
                &["item", "ITEM_2", "item_3", "ID", "item_4", "a_b"],
            ),
        ] {
            let paths: Vec<_> = paths
                .iter()
                .map(|path| promoted(path, PromotedType::Int64))
                .collect();
            assert_eq!(
                names(&document(table.clone(), &key(attributes), &paths)),
                expected
            );
        }
    }

    #[test]
    fn other_columns_are_told_apart() {
        let key = key(&[("id", KeyKind::B)]);
        let layout = document(TableId::new("s", "t"), &key, &[promoted("a", PromotedType::Date)]);
        assert_eq!(layout.key_columns(), [0]);
        let other = |change: fn(&mut TableLayout)| {
            let mut layout = layout.clone();
            change(&mut layout);
            Shape::of(Arc::new(layout)).is_none()
        };
        assert!(!other(|_| {}));
        assert!(other(|layout| layout.columns[0].declared = "int".to_owned()));
        assert!(other(|layout| layout.columns[0].key = None));
        assert!(other(|layout| layout.columns.swap(0, 1)));
        assert!(other(|layout| layout.columns[1].declared = "json".to_owned()));
        assert!(other(|layout| layout.columns[2].kind = ColumnType::Text));
        assert!(other(|layout| layout.columns[2].declared = "DATE a..b".to_owned()));
    }

    proptest! {
        #[test]
        fn columns_say_what_they_show(
            attributes in proptest::collection::btree_set("[a-zA-Zé.-]{1,8}", 1..=2), kinds in [0usize..3, 0..3],
            paths in proptest::collection::vec(("[a-z]{1,3}(\\.[a-z ]{1,3}|\\[[0-9]\\]){0,2}", 0usize..4), 0..4),
        ) {
            let all = [KeyKind::S, KeyKind::N, KeyKind::B];
            let key: Vec<KeyAttribute> = attributes.into_iter().zip(kinds)
                .map(|(name, kind)| KeyAttribute { name, kind: all[kind] }).collect();
            let types = [PromotedType::String, PromotedType::Numeric, PromotedType::BigNumeric, PromotedType::Json];
            let paths: Vec<Promoted> = paths.into_iter().map(|(path, kind)| promoted(&path, types[kind])).collect();
            let layout = document(TableId::new("s", "t"), &key, &paths);
            let shape = Shape::of(Arc::new(layout.clone())).unwrap();
            let mut expected: Vec<Role> = key.into_iter().map(Role::Key).collect();
            expected.push(Role::Whole);
            expected.extend(paths.into_iter().map(|one| Role::Path(one.path, one.kind)));
            prop_assert_eq!(&*shape.roles, &*expected);
            let folded: std::collections::BTreeSet<String> =
                names(&layout).into_iter().map(str::to_lowercase).collect();
            prop_assert_eq!(folded.len(), key_twins(&layout));
        }
    }

    /// How many names there can be: DynamoDB's key attributes may differ in case alone.
    fn key_twins(layout: &TableLayout) -> usize {
        let keys: Vec<String> = layout
            .key_columns()
            .iter()
            .map(|&at| names(layout)[at].to_lowercase())
            .collect();
        let twins = keys.len() == 2 && keys[0] == keys[1];
        layout.columns.len() - usize::from(twins)
    }
}
