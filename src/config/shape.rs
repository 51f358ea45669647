//! Holds a file against the schema and fills in `${…}` on the way. Serde stops at the first thing it
//! does not like; this walk notes each unknown key and each value of a wrong kind, leaves it out, and
//! goes on, so that what remains always reads and validation can say all the rest in the same run.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::error::Mistakes;
use super::template::Template;

/// A file's values, of the right kinds, with `${…}` filled in.
pub(super) struct Shaped {
    /// What is left of the file.
    pub(super) value: Value,
    /// Each text value that had a `${…}`, by key.
    pub(super) templates: BTreeMap<String, Template>,
}

/// Shapes a file.
pub(super) fn shape(
    schema: &Value,
    file: Value,
    env: &dyn Fn(&str) -> Option<String>,
    mistakes: &mut Mistakes,
) -> Shaped {
    let mut walk = Walk {
        root: schema,
        env,
        mistakes,
        templates: BTreeMap::new(),
    };
    let value = walk
        .node(schema, "", file)
        .unwrap_or_else(|| Value::Object(Map::new()));
    Shaped {
        value,
        templates: walk.templates,
    }
}

struct Walk<'a> {
    root: &'a Value,
    env: &'a dyn Fn(&str) -> Option<String>,
    mistakes: &'a mut Mistakes,
    templates: BTreeMap<String, Template>,
}

impl<'a> Walk<'a> {
    /// The part of the schema that describes a value which is there: references followed, `null` ignored.
    fn resolve(&self, mut schema: &'a Value) -> &'a Value {
        loop {
            let referred = schema
                .get("$ref")
                .and_then(Value::as_str)
                .and_then(|text| text.strip_prefix('#'))
                .and_then(|pointer| self.root.pointer(pointer));
            let alternative = schema
                .get("anyOf")
                .and_then(Value::as_array)
                .and_then(|all| all.iter().find(|one| !allows(one, "null")));
            match referred.or(alternative) {
                Some(next) => schema = next,
                None => return schema,
            }
        }
    }

    /// A value of the right kind, or nothing if a mistake was noted or the value is null.
    fn node(&mut self, schema: &'a Value, key: &str, value: Value) -> Option<Value> {
        let schema = self.resolve(schema);
        match value {
            // Where `null` is a word of its own, YAML's null is meant to be it.
            Value::Null if choices(schema).contains(&"null") => Some(Value::String("null".to_owned())),
            Value::Null => None,
            Value::Object(map) if allows(schema, "object") => Some(self.object(schema, key, map)),
            Value::Array(items) if allows(schema, "array") => Some(self.array(schema, key, items)),
            Value::String(text) => self.text(schema, key, &text),
            Value::Number(number) if allows(schema, "integer") => {
                if number.is_u64() {
                    Some(Value::Number(number))
                } else {
                    self.mistakes
                        .add(key, "is not a whole number of zero or more", "write digits only");
                    None
                }
            }
            Value::Bool(flag) if allows(schema, "boolean") => Some(Value::Bool(flag)),
            other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                self.wrong_kind(schema, key, &other);
                None
            }
        }
    }

    fn object(&mut self, schema: &'a Value, key: &str, map: Map<String, Value>) -> Value {
        let empty = &Value::Null;
        let properties = schema.get("properties").unwrap_or(empty);
        let free = schema.get("additionalProperties").filter(|rest| rest.is_object());
        let mut kept = Map::new();
        for (name, value) in map {
            let (below, inner) = match (properties.get(&name), free) {
                (Some(known), _) => (known, join(key, &name)),
                (None, Some(rest)) => (rest, join(key, &format!("{name:?}"))),
                (None, None) => {
                    let known = properties.as_object().into_iter().flat_map(Map::keys);
                    let cure = nearest_or_all(&name, known.map(String::as_str));
                    self.mistakes.add(&join(key, &name), "is not a known key", cure);
                    continue;
                }
            };
            if let Some(value) = self.node(below, &inner, value) {
                kept.insert(name, value);
            }
        }
        Value::Object(kept)
    }

    /// What is left out of a list leaves a null, so that the others keep their numbers.
    fn array(&mut self, schema: &'a Value, key: &str, items: Vec<Value>) -> Value {
        let empty = &Value::Null;
        let item = schema.get("items").unwrap_or(empty);
        let mut kept = Vec::with_capacity(items.len());
        for (number, value) in items.into_iter().enumerate() {
            let inner = format!("{key}[{number}]");
            if value.is_null() {
                self.mistakes
                    .add(&inner, "is empty", "remove it or write a value");
            }
            kept.push(self.node(item, &inner, value).unwrap_or(Value::Null));
        }
        Value::Array(kept)
    }

    fn text(&mut self, schema: &'a Value, key: &str, written: &str) -> Option<Value> {
        let template = match Template::fill(written, self.env) {
            Ok(template) => template,
            Err(errors) => {
                for error in errors {
                    self.mistakes.add(key, error.to_string(), error.cure());
                }
                return None;
            }
        };
        let text = template.text();
        let filled = template.is_filled();
        // What is put in is text; where a number or a flag belongs it counts as one.
        if filled
            && allows(schema, "integer")
            && let Ok(number) = text.parse::<u64>()
        {
            return Some(Value::from(number));
        }
        if filled
            && allows(schema, "boolean")
            && let Ok(flag) = text.parse::<bool>()
        {
            return Some(Value::Bool(flag));
        }
        let choices = choices(schema);
        if !choices.is_empty() && !choices.contains(&text.as_str()) {
            let cure = nearest_or_all(&text, choices.into_iter());
            let cure = if filled {
                "correct what is put in there".to_owned()
            } else {
                cure
            };
            self.mistakes
                .add(key, format!("{written:?} is not one of its values"), cure);
            return None;
        }
        if !allows(schema, "string") && !schema.get("oneOf").is_some_and(Value::is_array) {
            self.wrong_kind(schema, key, &Value::String(String::new()));
            return None;
        }
        self.templates.insert(key.to_owned(), template);
        Some(Value::String(text))
    }

    fn wrong_kind(&mut self, schema: &Value, key: &str, found: &Value) {
        let found_kind = match found {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::String(_) => "text",
            Value::Array(_) => "a list",
            Value::Object(_) => "keys and values",
        };
        let (wanted, cure) = if allows(schema, "object") {
            ("keys and values", "write its keys below it, indented")
        } else if allows(schema, "array") {
            ("a list", "write it in square brackets or as lines with a dash")
        } else if allows(schema, "integer") && !allows(schema, "string") {
            ("a whole number", "write digits only, without quotes")
        } else if allows(schema, "boolean") {
            ("true or false", "write true or false, without quotes")
        } else {
            ("text", "put the value in double quotes")
        };
        self.mistakes
            .add(key, format!("is {found_kind} where {wanted} is expected"), cure);
    }
}

fn join(key: &str, name: &str) -> String {
    if key.is_empty() {
        name.to_owned()
    } else {
        format!("{key}.{name}")
    }
}

/// Whether a schema lets a value be of a JSON type.
fn allows(schema: &Value, kind: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(one)) => one == kind,
        Some(Value::Array(several)) => several.iter().any(|one| one == kind),
        _ => false,
    }
}

/// The texts that a value may be; empty if any.
fn choices(schema: &Value) -> Vec<&str> {
    let direct = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
    let alternatives = schema
        .get("oneOf")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    alternatives
        .flat_map(|one| {
            let several = one.get("enum").and_then(Value::as_array);
            one.get("const").into_iter().chain(several.into_iter().flatten())
        })
        .chain(direct)
        .filter_map(Value::as_str)
        .collect()
}

/// Names the known word that a mistyped one is nearest to, or all known words if none is near.
pub(super) fn nearest_or_all<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.collect();
    let near = known
        .iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(away, candidate)| *away <= candidate.len() / 3 + 1 && *away < candidate.len())
        .min_by_key(|(away, _)| *away);
    match near {
        Some((_, candidate)) => format!("did you mean {candidate}?"),
        None => format!("write one of: {}", known.join(", ")),
    }
}

/// Letters to insert, remove or replace to turn one word into another.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (number, a) in from.chars().enumerate() {
        let mut next = vec![number + 1];
        for ((b, replaced), removed) in to.iter().zip(&row).zip(row.iter().skip(1)) {
            let inserted = next.last().copied().unwrap_or(0) + 1;
            let replaced = replaced + usize::from(a != *b);
            next.push(inserted.min(removed + 1).min(replaced));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_word_finds_its_neighbour() {
        let known = ["pipeline", "sources", "sink", "checkpoint", "http"];
        for (word, cure) in [
            ("pipelines", "did you mean pipeline?"),
            ("source", "did you mean sources?"),
            ("chekpoint", "did you mean checkpoint?"),
            (
                "unrelated_thing",
                "write one of: pipeline, sources, sink, checkpoint, http",
            ),
        ] {
            assert_eq!(nearest_or_all(word, known.into_iter()), cure);
        }
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
