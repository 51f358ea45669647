//! BigQuery's normal form of JSON: no spaces, members sorted by name, of two members with one name the
//! first, and integers beyond 64 bits as doubles, silently.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// The normal form of a JSON text.
pub(crate) fn normal(text: &str) -> Result<String, serde_json::Error> {
    let document: Document = serde_json::from_str(text)?;
    serde_json::to_string(&document.0)
}

/// A JSON value that keeps the first of equal members.
struct Document(Value);

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Document, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Document;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Document, E> {
        Ok(Document(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Document, E> {
        Ok(Document(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Document, E> {
        Ok(Document(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Document, E> {
        Ok(Document(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Document, E> {
        Ok(Document(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Document, E> {
        Ok(Document(Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Document, A::Error> {
        let mut list = Vec::new();
        while let Some(Document(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Document(Value::Array(list)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Document, A::Error> {
        let mut sorted = BTreeMap::new();
        while let Some((name, Document(value))) = members.next_entry::<String, Document>()? {
            sorted.entry(name).or_insert(value);
        }
        Ok(Document(Value::Object(sorted.into_iter().collect())))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn normal_forms() {
        for (input, output) in [
            (
                r#" {"b": 1, "a": [true, null, "x"]} "#,
                r#"{"a":[true,null,"x"],"b":1}"#,
            ),
            (r#"{"a":1,"a":2}"#, r#"{"a":1}"#),
            ("18446744073709551615", "18446744073709551615"),
            ("18446744073709551616", "1.8446744073709552e+19"),
            ("1.0", "1.0"),
            ("null", "null"),
        ] {
            assert_eq!(normal(input).unwrap(), output, "{input}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in ["", "{", "nul", "NaN", "1e999", "{'a':1}", "1 2"] {
            assert!(normal(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_normal_form_is_normal(text in r#"[\[\]{}",:a-c0-9.e -]{0,20}"#) {
            if let Ok(once) = normal(&text) {
                prop_assert_eq!(normal(&once).unwrap(), once);
            }
        }
    }
}
