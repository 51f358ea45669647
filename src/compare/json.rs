//! JSON documents in one spelling: keys sorted, no blanks, each number by its value. A number that
//! neither a 64-bit integer nor a binary64 holds exactly is a string, as the target's policy has it.
//!
//! Numbers are why this is a walk of its own: a general parser has rounded them before one can look.

use std::collections::BTreeMap;

use super::canon::{Number, float64};

/// Nesting at which a document counts as unreadable; MySQL admits 100 levels.
const DEPTH: usize = 500;

/// The canonical text of a document; `None` if it is none.
pub(super) fn canonical(text: &str) -> Option<String> {
    let mut walk = Walk { rest: text };
    let mut out = String::with_capacity(text.len());
    walk.value(&mut out, DEPTH)?;
    walk.blanks();
    walk.rest.is_empty().then_some(out)
}

struct Walk<'a> {
    rest: &'a str,
}

impl<'a> Walk<'a> {
    fn blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    /// Skips blanks and takes `mark` if it comes next.
    fn takes(&mut self, mark: char) -> bool {
        self.blanks();
        let rest = self.rest.strip_prefix(mark);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn value(&mut self, out: &mut String, depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        self.blanks();
        match self.rest.chars().next()? {
            '{' => self.object(out, depth),
            '[' => self.array(out, depth),
            '"' => {
                let text = self.string()?;
                quote(&text, out)
            }
            _ => self.scalar(out),
        }
    }

    fn object(&mut self, out: &mut String, depth: usize) -> Option<()> {
        let mut members = BTreeMap::new();
        self.takes('{').then_some(())?;
        if !self.takes('}') {
            loop {
                self.blanks();
                let name = self.string()?;
                self.takes(':').then_some(())?;
                let mut member = String::new();
                self.value(&mut member, depth)?;
                members.insert(name, member);
                if self.takes('}') {
                    break;
                }
                self.takes(',').then_some(())?;
            }
        }
        for (index, (name, member)) in members.iter().enumerate() {
            out.push_str(if index == 0 { "{" } else { "," });
            quote(name, out)?;
            out.push(':');
            out.push_str(member);
        }
        out.push_str(if members.is_empty() { "{}" } else { "}" });
        Some(())
    }

    fn array(&mut self, out: &mut String, depth: usize) -> Option<()> {
        self.takes('[').then_some(())?;
        out.push('[');
        if !self.takes(']') {
            loop {
                self.value(out, depth)?;
                if self.takes(']') {
                    break;
                }
                self.takes(',').then_some(())?;
                out.push(',');
            }
        }
        out.push(']');
        Some(())
    }

    fn string(&mut self) -> Option<String> {
        let body = self.rest.strip_prefix('"')?;
        let mut escaped = false;
        let end = body.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        })?;
        // Two quotation marks around what was found.
        let (token, rest) = self.rest.split_at_checked(end + 2)?;
        self.rest = rest;
        serde_json::from_str(token).ok()
    }

    fn scalar(&mut self, out: &mut String) -> Option<()> {
        let end = self.rest.find([',', ']', '}', ' ', '\t', '\n', '\r']);
        let (token, rest) = self.rest.split_at_checked(end.unwrap_or(self.rest.len()))?;
        self.rest = rest;
        if let "true" | "false" | "null" = token {
            out.push_str(token);
            return Some(());
        }
        let number = Number::read(token)?;
        let whole = number.is_whole() && {
            let digits = number.to_string();
            digits.parse::<i64>().is_ok() || digits.parse::<u64>().is_ok()
        };
        let shortest = float64(token.parse().ok()?);
        if whole || Number::read(&shortest)? == number {
            out.push_str(&number.to_string());
            return Some(());
        }
        quote(token, out)
    }
}

fn quote(text: &str, out: &mut String) -> Option<()> {
    out.push_str(&serde_json::to_string(text).ok()?);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn same(one: &str, other: &str) {
        assert!(canonical(one).is_some(), "{one}");
        assert_eq!(canonical(one), canonical(other), "{one} {other}");
    }

    #[test]
    fn spelling_does_not_matter() {
        same(r#"{"b": 1, "a": [true, null]}"#, r#"{"a":[true,null],"b":1.0}"#);
        same(r#""\u00e9""#, "\"é\"");
        same("1e2", "100");
        same("-0.0", "0");
        same(r#" { } "#, "{}");
        same("18446744073709551615", "18446744073709551615.0");
    }

    #[test]
    fn a_number_that_no_type_holds_is_its_text() {
        same("1.23456789012345678901", r#""1.23456789012345678901""#);
        same("18446744073709551617", r#""18446744073709551617""#);
        assert_ne!(canonical("9007199254740993"), canonical("9007199254740992"));
        assert_eq!(canonical("1e23"), canonical("1E+23"));
        assert_ne!(canonical("0.1"), canonical(r#""0.1""#));
    }

    #[test]
    fn what_is_no_document_has_no_form() {
        let deep = "[".repeat(DEPTH * 4);
        for bad in [
            "",
            "{",
            "[1,]",
            "[1 2]",
            "{\"a\"}",
            "nul",
            "1.",
            "\"",
            "\"\\",
            "{\"a\":1,}",
            "1 1",
            &deep,
        ] {
            assert_eq!(canonical(bad), None, "{bad}");
        }
    }

    fn documents() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            (-1_000_000i32..1_000_000).prop_map(|n| Value::from(f64::from(n) / 64.0)),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((any::<String>(), inner), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// Equality by value: 1 and 1.0 are one number.
    fn equal(one: &Value, other: &Value) -> bool {
        match (one, other) {
            (Value::Number(one), Value::Number(other)) => {
                let whole = |n: &serde_json::Number| {
                    let float = n.as_f64().filter(|_| n.is_f64());
                    float
                        .filter(|f| f.fract() == 0.0)
                        .map_or_else(|| n.to_string(), |f| format!("{f:.0}").replace("-0", "0"))
                };
                one == other || whole(one) == whole(other)
            }
            (Value::Array(one), Value::Array(other)) => {
                one.len() == other.len() && one.iter().zip(other).all(|(one, other)| equal(one, other))
            }
            (Value::Object(one), Value::Object(other)) => {
                one.len() == other.len()
                    && one
                        .iter()
                        .all(|(name, value)| other.get(name).is_some_and(|found| equal(value, found)))
            }
            _ => one == other,
        }
    }

    proptest! {
        #[test]
        fn equal_documents_have_one_form_and_different_ones_have_two(one in documents(), other in documents()) {
            let pretty = canonical(&serde_json::to_string_pretty(&one).unwrap());
            let compact = canonical(&one.to_string());
            prop_assert!(compact.is_some());
            prop_assert_eq!(&pretty, &compact);
            prop_assert_eq!(compact == canonical(&other.to_string()), equal(&one, &other));
            // Canonical text is a document, and its own form.
            prop_assert_eq!(canonical(compact.as_deref().unwrap()), compact);
        }

        #[test]
        fn any_text_is_survived(text in any::<String>()) {
            let serde = serde_json::from_str::<Value>(&text).is_ok();
            prop_assert!(!serde || canonical(&text).is_some());
        }
    }
}
