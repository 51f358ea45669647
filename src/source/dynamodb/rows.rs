//! Rows of DynamoDB's items: an item is taken apart once, where it is read, into the form that its columns have, and
//! walked as often as it is written. An image is the key attributes, each with its length before it, and then a cell for
//! each other column; without any, nothing but the key is known.

use std::fmt;
use std::sync::Arc;

use super::cells::{self, Cell, part, push};
use super::columns;
use super::item::{Attribute, Item, ItemError, write_json};
use super::layout::{KeyAttribute, KeyKind, Role, Shape};
use super::promote;
use crate::event::{CellVisitor, RowError, RowImages, RowRef, Value};

/// Gathers images of one table.
#[derive(Debug)]
pub struct Images {
    bytes: Vec<u8>,
    roles: Arc<[Role]>,
}

/// Images that share their bytes.
struct Shared {
    bytes: Box<[u8]>,
    roles: Arc<[Role]>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Images")
            .field("bytes", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

impl Images {
    /// None yet, of a table with these columns.
    pub fn new(shape: &Shape) -> Images {
        Images {
            bytes: Vec::new(),
            roles: Arc::clone(&shape.roles),
        }
    }

    /// Bytes so far: at most `u32::MAX` find room.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Adds an item.
    ///
    /// # Errors
    /// Its key is not the table's.
    pub fn item(&mut self, item: &Item) -> Result<RowRef, ItemError> {
        self.row(item, Some(item))
    }

    /// Adds the key of an item of which nothing else is known.
    ///
    /// # Errors
    /// It is not the table's key.
    pub fn key(&mut self, key: &Item) -> Result<RowRef, ItemError> {
        self.row(key, None)
    }

    fn row(&mut self, key: &Item, item: Option<&Item>) -> Result<RowRef, ItemError> {
        let at = self.bytes.len();
        let written = self.write(key, item);
        if written.is_err() {
            self.bytes.truncate(at);
        }
        written?;
        let small = |size: usize| {
            u32::try_from(size).map_err(|_| ItemError::Malformed("more than 4 GB at once".to_owned()))
        };
        Ok(RowRef {
            at: small(at)?,
            len: small(self.bytes.len() - at)?,
        })
    }

    fn write(&mut self, key: &Item, item: Option<&Item>) -> Result<(), ItemError> {
        let out = &mut self.bytes;
        for role in self.roles.iter() {
            match (role, item) {
                (Role::Key(attribute), _) => put_key(out, attribute, key)?,
                // Nothing follows the key.
                (_, None) => return Ok(()),
                (Role::Whole, Some(item)) => cells::json(out, |out| write_json(out, item))?,
                (Role::Path(path, kind), Some(item)) => cells::put(out, &promote::cell(item, path, *kind))?,
                (Role::Attribute(name, kind), Some(item)) => {
                    let cell = item.get(name).and_then(|value| columns::cell(value, *kind));
                    cells::put(out, &cell.unwrap_or(Cell::Null))?;
                }
                (Role::Others(name, kind), Some(item)) => {
                    let fits =
                        |value: &Attribute| kind.is_some_and(|kind| columns::cell(value, kind).is_some());
                    let other = item.get(name).filter(|value| !fits(value));
                    cells::put(out, &other.map_or(Cell::Null, Cell::Json))?;
                }
            }
        }
        Ok(())
    }

    /// The images, to be walked.
    pub fn share(self) -> Arc<dyn RowImages> {
        Arc::new(Shared {
            bytes: self.bytes.into(),
            roles: self.roles,
        })
    }
}

fn put_key(out: &mut Vec<u8>, attribute: &KeyAttribute, key: &Item) -> Result<(), ItemError> {
    let value = key
        .get(&attribute.name)
        .ok_or_else(|| ItemError::NoKey(attribute.name.clone()))?;
    match (attribute.kind, value) {
        (KeyKind::S, Attribute::S(text)) => push(out, text.as_bytes()),
        (KeyKind::N, Attribute::N(number)) => push(out, number.to_string().as_bytes()),
        (KeyKind::B, Attribute::B(bytes)) => push(out, bytes),
        (KeyKind::S | KeyKind::N | KeyKind::B, _) => Err(ItemError::KeyType(attribute.name.clone())),
    }
}

fn malformed(column: usize) -> RowError {
    RowError::Malformed {
        column,
        reason: "not an image of this table".to_owned(),
    }
}

fn key_value(kind: KeyKind, image: &[u8]) -> Option<(Value<'_>, &[u8])> {
    let (value, rest) = part(image)?;
    Some(match kind {
        KeyKind::S | KeyKind::N => (Value::Text(std::str::from_utf8(value).ok()?), rest),
        KeyKind::B => (Value::Bytes(value), rest),
    })
}

impl RowImages for Shared {
    fn visit(&self, row: RowRef, visitor: &mut dyn CellVisitor) -> Result<(), RowError> {
        let place = usize::try_from(row.at).ok().zip(usize::try_from(row.len).ok());
        let mut rest = place
            .and_then(|(at, len)| self.bytes.get(at..at.checked_add(len)?))
            .ok_or_else(|| malformed(0))?;
        // Of an item that is not known no column outside the key has anything.
        let mut unknown = false;
        for (column, role) in self.roles.iter().enumerate() {
            let (value, after) = match role {
                Role::Key(attribute) => key_value(attribute.kind, rest).ok_or_else(|| malformed(column))?,
                Role::Whole | Role::Path(_, _) | Role::Attribute(_, _) | Role::Others(_, _) => {
                    let first = matches!(
                        column.checked_sub(1).and_then(|at| self.roles.get(at)),
                        Some(Role::Key(_))
                    );
                    unknown |= first && rest.is_empty();
                    if unknown {
                        (Value::Null, rest)
                    } else {
                        cells::take(rest).ok_or_else(|| malformed(column))?
                    }
                }
            };
            rest = after;
            visitor.cell(column, value)?;
        }
        if rest.is_empty() {
            Ok(())
        } else {
            Err(malformed(self.roles.len()))
        }
    }

    fn bytes(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::item::parse;
    use super::super::layout::document;
    use super::*;
    use crate::config::{Path, Promoted, PromotedType};
    use crate::event::TableId;

    /// Cells as text.
    #[derive(Default)]
    struct Cells(Vec<String>);

    impl CellVisitor for Cells {
        fn cell(&mut self, column: usize, value: Value<'_>) -> Result<(), RowError> {
            assert_eq!(column, self.0.len());
            self.0.push(format!("{value:?}"));
            Ok(())
        }
    }

    fn shape(kinds: &[(&str, KeyKind)], paths: &[(&str, PromotedType)]) -> Shape {
        let attribute = |(name, kind): &(&str, KeyKind)| KeyAttribute {
            name: (*name).to_owned(),
            kind: *kind,
        };
        let key: Vec<_> = kinds.iter().map(attribute).collect();
        let promoted = |(path, kind): &(&str, PromotedType)| Promoted::new(Path::parse(path).unwrap(), *kind);
        let paths: Vec<_> = paths.iter().map(promoted).collect();
        Shape::of(Arc::new(document(TableId::new("s", "t"), &key, &paths))).unwrap()
    }

    fn cells(images: &dyn RowImages, row: RowRef) -> Vec<String> {
        let mut cells = Cells::default();
        images.visit(row, &mut cells).unwrap();
        cells.0
    }

    #[test]
    fn cells_are_the_key_and_the_item() {
        let paths = [("v", PromotedType::Int64), ("p", PromotedType::Date)];
        let mut images = Images::new(&shape(&[("p", KeyKind::S), ("r", KeyKind::N)], &paths));
        let item = parse(br#"{"r":{"N":"1.0"},"p":{"S":"x"},"v":{"N":"2"}}"#).unwrap();
        let whole = images.item(&item).unwrap();
        let keyed = images.key(&item).unwrap();
        let images = images.share();
        assert_eq!(
            cells(&*images, whole),
            [
                r#"Text("x")"#,
                r#"Text("1")"#,
                r#"Json("{\"p\":\"x\",\"r\":1,\"v\":2}")"#,
                "Int(2)",
                "Unrepresentable(OtherType)"
            ]
        );
        let nothing = [r#"Text("x")"#, r#"Text("1")"#, "Null", "Null", "Null"];
        assert_eq!(cells(&*images, keyed), nothing);
    }

    #[test]
    fn an_item_without_its_key_is_refused_and_leaves_nothing() {
        let mut images = Images::new(&shape(&[("p", KeyKind::S), ("r", KeyKind::B)], &[]));
        for (json, expected) in [
            (r#"{"p":{"S":"x"}}"#, "lacks its key attribute r"),
            (
                r#"{"p":{"S":"x"},"r":{"S":"AA=="}}"#,
                "key attribute r is not of the type",
            ),
        ] {
            let error = images.item(&parse(json.as_bytes()).unwrap()).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert_eq!(images.bytes(), 0);
        }
    }

    #[test]
    fn bytes_that_are_no_image_are_refused() {
        let images = Shared {
            bytes: vec![0, 0, 0, 9, 1, 0, 0, 0, 1, 0xFF, b'{'].into(),
            roles: shape(&[("p", KeyKind::S)], &[]).roles,
        };
        for (at, len) in [(0, 11), (0, 3), (5, 6), (9, 90), (u32::MAX, u32::MAX)] {
            assert!(images.visit(RowRef { at, len }, &mut Cells::default()).is_err());
        }
    }

    proptest! {
        /// Two keys have one image exactly if DynamoDB takes them for one key.
        #[test]
        fn keys_are_injective(
            a in ("[a-c]{1,3}", -50i64..50, 0usize..3), b in ("[a-c]{1,3}", -50i64..50, 0usize..3),
        ) {
            let forms = |number: i64, form: usize| match form {
                0 => number.to_string(),
                1 => format!("{number}.00"),
                _ => format!("{number}0E-1"),
            };
            let mut images = Images::new(&shape(&[("p", KeyKind::S), ("r", KeyKind::N)], &[]));
            let mut row = |(text, number, form): &(String, i64, usize)| {
                let json = format!(r#"{{"p":{{"S":"{text}"}},"r":{{"N":"{}"}}}}"#, forms(*number, *form));
                images.key(&parse(json.as_bytes()).unwrap()).unwrap()
            };
            let (first, second) = (row(&a), row(&b));
            let images = images.share();
            let same = (&a.0, a.1) == (&b.0, b.1);
            prop_assert_eq!(cells(&*images, first) == cells(&*images, second), same);
        }
    }
}
