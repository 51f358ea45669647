//! Differences of JSON documents, as a server with `binlog_row_value_options=PARTIAL_JSON` logs them: a list of
//! operation, path and value that leads from the document before an update to the one after it
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/json__diff_8h.html>).
//!
//! They are applied to the document's text, a level of containers at a time, so that what they do not touch
//! stays as it is, character by character.

use std::borrow::Cow;

use super::{BadJson, MAX_DEPTH, write_text};
use crate::source::mysql::cursor::Cursor;

/// What is done at a path.
enum Edit {
    Replace(String),
    Insert(String),
    Remove,
}

/// A step of a path.
enum Leg {
    Member(String),
    /// Counted from 0.
    Cell(usize),
    /// Counted from 0, from the last one back.
    CellFromLast(usize),
}

/// A value in a container, both as text.
struct Item<'a> {
    /// With its quotes, in an object.
    name: Option<Cow<'a, str>>,
    value: Cow<'a, str>,
}

/// Writes into `out` what the differences make of a document.
pub(crate) fn apply(document: &[u8], differences: &[u8], out: &mut String) -> Result<(), BadJson> {
    out.clear();
    write_text(document, out)?;
    let mut cursor = Cursor::new(differences);
    while !cursor.is_empty() {
        let operation = cursor.u8()?;
        let path = std::str::from_utf8(cursor.lenenc_bytes()?).map_err(|_| BadJson)?;
        let path = legs(path).ok_or(BadJson)?;
        if path.len() > MAX_DEPTH {
            return Err(BadJson);
        }
        let mut value = String::new();
        let edit = match operation {
            0 | 1 => {
                write_text(cursor.lenenc_bytes()?, &mut value)?;
                if operation == 0 {
                    Edit::Replace(value)
                } else {
                    Edit::Insert(value)
                }
            }
            2 => Edit::Remove,
            _ => return Err(BadJson),
        };
        let mut edited = String::with_capacity(out.len());
        change(out, &path, &edit, &mut edited).ok_or(BadJson)?;
        *out = edited;
    }
    Ok(())
}

/// Appends `text` as it is after the edit; `None` if the path leads nowhere.
fn change(text: &str, path: &[Leg], edit: &Edit, out: &mut String) -> Option<()> {
    let Some((leg, rest)) = path.split_first() else {
        let Edit::Replace(value) = edit else {
            return None;
        };
        out.push_str(value);
        return Some(());
    };
    let (object, mut items) = match (split(text), leg) {
        (Some((true, items)), Leg::Member(_)) => (true, items),
        (Some((false, items)), Leg::Cell(_) | Leg::CellFromLast(_)) => (false, items),
        // What is no array counts as one of itself alone.
        (_, Leg::Cell(0) | Leg::CellFromLast(0)) => return change(text, rest, edit, out),
        _ => return None,
    };
    let at = position(&items, leg);
    match (rest, edit) {
        ([], Edit::Insert(value)) => insert(&mut items, leg, at, value)?,
        ([], Edit::Remove) => {
            items.remove(at.filter(|at| *at < items.len())?);
        }
        (_, _) => {
            let item = items.get_mut(at?)?;
            let mut inner = String::new();
            change(&item.value, rest, edit, &mut inner)?;
            item.value = Cow::Owned(inner);
        }
    }
    out.push(if object { '{' } else { '[' });
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        if let Some(name) = &item.name {
            out.push_str(name);
            out.push_str(": ");
        }
        out.push_str(&item.value);
    }
    out.push(if object { '}' } else { ']' });
    Some(())
}

/// Where a leg leads; past the end for a cell that is not there.
fn position(items: &[Item<'_>], leg: &Leg) -> Option<usize> {
    match leg {
        Leg::Member(name) => items.iter().position(|item| item.is_named(name)),
        Leg::Cell(index) => Some(*index),
        Leg::CellFromLast(back) => items.len().checked_sub(1)?.checked_sub(*back),
    }
}

fn insert(items: &mut Vec<Item<'_>>, leg: &Leg, at: Option<usize>, value: &str) -> Option<()> {
    let value = Cow::Owned(value.to_owned());
    let Leg::Member(name) = leg else {
        let at = at?.min(items.len());
        items.insert(at, Item { name: None, value });
        return Some(());
    };
    if at.is_some() {
        return None;
    }
    // The server keeps members in the order of their names' lengths, then of their bytes.
    let order = |name: &str| (name.len(), name.to_owned());
    let new = order(name);
    let after = items
        .iter()
        .position(|item| item.unquoted().is_none_or(|known| order(&known) > new));
    let quoted = serde_json::to_string(name).ok()?;
    let item = Item {
        name: Some(Cow::Owned(quoted)),
        value,
    };
    items.insert(after.unwrap_or(items.len()), item);
    Some(())
}

impl Item<'_> {
    fn unquoted(&self) -> Option<String> {
        serde_json::from_str(self.name.as_deref()?).ok()
    }

    fn is_named(&self, name: &str) -> bool {
        self.unquoted().is_some_and(|known| known == name)
    }
}

/// The values of a container, and whether it is an object; `None` for a scalar.
fn split(text: &str) -> Option<(bool, Vec<Item<'_>>)> {
    let object = text.starts_with('{');
    if !object && !text.starts_with('[') {
        return None;
    }
    let mut rest = text.get(1..text.len().checked_sub(1)?)?;
    let mut items = Vec::new();
    while !rest.is_empty() {
        let (item, after) = rest.split_at_checked(end_of(rest, b','))?;
        rest = after.strip_prefix(',').unwrap_or(after);
        let (name, value) = if object {
            let (name, value) = item.split_at_checked(end_of(item, b':'))?;
            (Some(Cow::Borrowed(name.trim())), value.strip_prefix(':')?)
        } else {
            (None, item)
        };
        let value = Cow::Borrowed(value.trim());
        items.push(Item { name, value });
    }
    Some((object, items))
}

/// Where the mark stands outside of strings and inner containers, or the text's end.
fn end_of(text: &str, mark: u8) -> usize {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ if byte == mark && depth == 0 => return at,
            _ => {}
        }
    }
    text.len()
}

/// Reads `$.name."a name"[3][last-1]`.
fn legs(path: &str) -> Option<Vec<Leg>> {
    let mut rest = path.strip_prefix('$')?;
    let mut legs = Vec::new();
    while !rest.is_empty() {
        let leg;
        (leg, rest) = if let Some(inner) = rest.strip_prefix('[') {
            let (inner, after) = inner.split_once(']')?;
            (cell(inner)?, after)
        } else {
            let inner = rest.strip_prefix('.')?;
            let end = if inner.starts_with('"') {
                quoted_end(inner)?
            } else {
                inner.find(['.', '[']).unwrap_or(inner.len())
            };
            let (name, after) = inner.split_at_checked(end)?;
            let name = if name.starts_with('"') {
                serde_json::from_str(name).ok()?
            } else {
                name.to_owned()
            };
            (Leg::Member(name), after)
        };
        legs.push(leg);
    }
    Some(legs)
}

fn cell(text: &str) -> Option<Leg> {
    let Some(back) = text.strip_prefix("last") else {
        return text.parse().ok().map(Leg::Cell);
    };
    let back = match back.strip_prefix('-') {
        Some(number) => number.parse().ok()?,
        None if back.is_empty() => 0,
        None => return None,
    };
    Some(Leg::CellFromLast(back))
}

/// Where a string that begins here ends, its quotes included.
fn quoted_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn edited(text: &str, path: &str, edit: &Edit) -> Option<String> {
        let mut out = String::new();
        change(text, &legs(path)?, edit, &mut out)?;
        Some(out)
    }

    #[test]
    fn each_operation_at_each_kind_of_path() {
        let document = r#"{"a": [1, {"x,y": "]}"}, []], "bb": "\"", "ccc": 1.50}"#;
        let insert = |value: &str| Edit::Insert(value.to_owned());
        let replace = |value: &str| Edit::Replace(value.to_owned());
        for (path, edit, expected) in [
            ("$", replace("7"), "7"),
            (
                "$.bb",
                replace("[]"),
                r#"{"a": [1, {"x,y": "]}"}, []], "bb": [], "ccc": 1.50}"#,
            ),
            (
                "$.bb[0]",
                replace("1"),
                r#"{"a": [1, {"x,y": "]}"}, []], "bb": 1, "ccc": 1.50}"#,
            ),
            (
                "$.a[1].\"x,y\"",
                replace("0"),
                r#"{"a": [1, {"x,y": 0}, []], "bb": "\"", "ccc": 1.50}"#,
            ),
            (
                "$.a[last]",
                Edit::Remove,
                r#"{"a": [1, {"x,y": "]}"}], "bb": "\"", "ccc": 1.50}"#,
            ),
            ("$.a", Edit::Remove, r#"{"bb": "\"", "ccc": 1.50}"#),
            (
                "$.a[2][9]",
                insert("2"),
                r#"{"a": [1, {"x,y": "]}"}, [2]], "bb": "\"", "ccc": 1.50}"#,
            ),
            (
                "$.a[0]",
                insert("2"),
                r#"{"a": [2, 1, {"x,y": "]}"}, []], "bb": "\"", "ccc": 1.50}"#,
            ),
            (
                "$.\"\"",
                insert("2"),
                r#"{"": 2, "a": [1, {"x,y": "]}"}, []], "bb": "\"", "ccc": 1.50}"#,
            ),
            (
                "$.ba",
                insert("2"),
                r#"{"a": [1, {"x,y": "]}"}, []], "ba": 2, "bb": "\"", "ccc": 1.50}"#,
            ),
        ] {
            assert_eq!(edited(document, path, &edit).as_deref(), Some(expected), "{path}");
        }
        for (path, edit) in [
            ("$.none", replace("1")),
            ("$.none", Edit::Remove),
            ("$.a", insert("1")),
            ("$.a[7]", Edit::Remove),
            ("$.a[7]", replace("1")),
            ("$[1]", replace("1")),
            ("$.a.b", replace("1")),
            ("$", Edit::Remove),
            ("a", replace("1")),
            ("$.\"a", replace("1")),
            ("$[x]", replace("1")),
        ] {
            assert_eq!(edited(document, path, &edit), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_are_differences_or_none(document: Vec<u8>, differences: Vec<u8>, path in "[$.\"\\[\\]a0last-]{0,12}") {
            let mut out = String::new();
            let judged = apply(&document, &differences, &mut out);
            prop_assert!(judged.is_err() || !out.is_empty());
            let text = "[{\"a\": 1}, 2]";
            let removed = edited(text, &path, &Edit::Remove);
            prop_assert!(removed.is_none_or(|left| left.len() < text.len()));
            let mut removal = vec![2, u8::try_from(path.len()).unwrap()];
            removal.extend(path.bytes());
            prop_assert_eq!(apply(&[4, 0], &removal, &mut out), Err(BadJson));
        }
    }
}
