//! Rows of the layout `document`: an item is taken apart once, where it is read, into the form that its columns
//! have, and walked as often as it is written. An image is the key attributes, each with its length before it, and
//! then the item's JSON, which fills the rest; without any the item is not known.

use std::fmt;
use std::sync::Arc;

use super::item::{Attribute, Item, ItemError, write_json};
use super::layout::{KeyAttribute, KeyKind};
use crate::event::{CellVisitor, RowError, RowImages, RowRef, Value};

/// Gathers images of one table.
#[derive(Debug)]
pub struct Images {
    bytes: Vec<u8>,
    key: Arc<[KeyAttribute]>,
}

/// Images that share their bytes.
struct Shared {
    bytes: Box<[u8]>,
    key: Arc<[KeyAttribute]>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Images")
            .field("bytes", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

impl Images {
    /// None yet, of a table with this key.
    pub fn new(key: Arc<[KeyAttribute]>) -> Images {
        Images {
            bytes: Vec::new(),
            key,
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
        for attribute in self.key.iter() {
            let value = key
                .get(&attribute.name)
                .ok_or_else(|| ItemError::NoKey(attribute.name.clone()))?;
            match (attribute.kind, value) {
                (KeyKind::S, Attribute::S(text)) => push(&mut self.bytes, text.as_bytes())?,
                (KeyKind::N, Attribute::N(number)) => push(&mut self.bytes, number.to_string().as_bytes())?,
                (KeyKind::B, Attribute::B(bytes)) => push(&mut self.bytes, bytes)?,
                (KeyKind::S | KeyKind::N | KeyKind::B, _) => {
                    return Err(ItemError::KeyType(attribute.name.clone()));
                }
            }
        }
        match item {
            Some(item) => {
                write_json(&mut self.bytes, item).map_err(|error| ItemError::Malformed(error.to_string()))
            }
            None => Ok(()),
        }
    }

    /// The images, to be walked.
    pub fn share(self) -> Arc<dyn RowImages> {
        Arc::new(Shared {
            bytes: self.bytes.into(),
            key: self.key,
        })
    }
}

fn push(bytes: &mut Vec<u8>, part: &[u8]) -> Result<(), ItemError> {
    let len =
        u32::try_from(part.len()).map_err(|_| ItemError::Malformed("a key of more than 4 GB".to_owned()))?;
    bytes.extend_from_slice(&len.to_be_bytes());
    bytes.extend_from_slice(part);
    Ok(())
}

/// The next part of an image, and the rest.
fn part(image: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = image.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*len)).ok()?)
}

fn malformed(column: usize) -> RowError {
    RowError::Malformed {
        column,
        reason: "not an image of this table".to_owned(),
    }
}

fn text(column: usize, bytes: &[u8]) -> Result<&str, RowError> {
    std::str::from_utf8(bytes).map_err(|_| malformed(column))
}

impl RowImages for Shared {
    fn visit(&self, row: RowRef, visitor: &mut dyn CellVisitor) -> Result<(), RowError> {
        let place = usize::try_from(row.at).ok().zip(usize::try_from(row.len).ok());
        let mut rest = place
            .and_then(|(at, len)| self.bytes.get(at..at.checked_add(len)?))
            .ok_or_else(|| malformed(0))?;
        for (column, attribute) in self.key.iter().enumerate() {
            let (value, after) = part(rest).ok_or_else(|| malformed(column))?;
            rest = after;
            let value = match attribute.kind {
                KeyKind::S | KeyKind::N => Value::Text(text(column, value)?),
                KeyKind::B => Value::Bytes(value),
            };
            visitor.cell(column, value)?;
        }
        let column = self.key.len();
        let item = match rest {
            [] => Value::Null,
            json => Value::Json(text(column, json)?),
        };
        visitor.cell(column, item)
    }

    fn bytes(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::item::parse;
    use super::*;

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

    fn key(kinds: &[(&str, KeyKind)]) -> Arc<[KeyAttribute]> {
        let attribute = |(name, kind): &(&str, KeyKind)| KeyAttribute {
            name: (*name).to_owned(),
            kind: *kind,
        };
        kinds.iter().map(attribute).collect()
    }

    fn cells(images: &dyn RowImages, row: RowRef) -> Vec<String> {
        let mut cells = Cells::default();
        images.visit(row, &mut cells).unwrap();
        cells.0
    }

    #[test]
    fn cells_are_the_key_and_the_item() {
        let mut images = Images::new(key(&[("p", KeyKind::S), ("r", KeyKind::N)]));
        let item = parse(br#"{"r":{"N":"1.0"},"p":{"S":"x"},"v":{"N":"2"}}"#).unwrap();
        let whole = images.item(&item).unwrap();
        let keyed = images.key(&item).unwrap();
        let images = images.share();
        assert_eq!(
            cells(&*images, whole),
            [
                r#"Text("x")"#,
                r#"Text("1")"#,
                r#"Json("{\"p\":\"x\",\"r\":1,\"v\":2}")"#
            ]
        );
        assert_eq!(cells(&*images, keyed), [r#"Text("x")"#, r#"Text("1")"#, "Null"]);
    }

    #[test]
    fn an_item_without_its_key_is_refused_and_leaves_nothing() {
        let mut images = Images::new(key(&[("p", KeyKind::S), ("r", KeyKind::B)]));
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
            key: key(&[("p", KeyKind::S)]),
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
            let mut images = Images::new(key(&[("p", KeyKind::S), ("r", KeyKind::N)]));
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
