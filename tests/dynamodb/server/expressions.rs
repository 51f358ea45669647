//! The part of the expression language that writes and queries here use; the rest is refused by name.

use std::cmp::Ordering;

use serde_json::Value;

use super::errors::Refusal;
use super::value::{Item, attribute, compare, typed};

/// The names and values that an expression's placeholders stand for.
pub(crate) struct Words<'a> {
    names: &'a Value,
    values: &'a Value,
}

fn invalid(what: &str, why: &str) -> Refusal {
    Refusal::validation(format!("Invalid {what}: {why}"))
}

impl<'a> Words<'a> {
    pub(crate) fn of(input: &'a Value) -> Words<'a> {
        Words {
            names: &input["ExpressionAttributeNames"],
            values: &input["ExpressionAttributeValues"],
        }
    }

    fn name(&self, word: &str, what: &str) -> Result<String, Refusal> {
        let word = word.trim();
        if word.starts_with('#') {
            let name = self.names[word].as_str();
            return name.map(str::to_owned).ok_or_else(|| {
                let why = format!(
                    "An expression attribute name used in the document path is not defined; attribute name: {word}"
                );
                invalid(what, &why)
            });
        }
        let legal = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        if word.is_empty() || !word.chars().all(legal) {
            return Err(invalid(what, &format!("Syntax error; token: \"{word}\"")));
        }
        Ok(word.to_owned())
    }

    fn value(&self, word: &str, what: &str) -> Result<Value, Refusal> {
        let word = word.trim();
        let value = &self.values[word];
        if !word.starts_with(':') || value.is_null() {
            let why = format!(
                "An expression attribute value used in expression is not defined; attribute value: {word}"
            );
            return Err(invalid(what, &why));
        }
        attribute(value, 1)
    }
}

/// Applies `SET a = :v, b = if_not_exists(b, :w) REMOVE c, d` to an item.
pub(crate) fn update(item: &mut Item, expression: &str, words: &Words<'_>) -> Result<Vec<String>, Refusal> {
    let what = "UpdateExpression";
    let mut named = Vec::new();
    let mut verb = "";
    let mut clauses: Vec<(&str, String)> = Vec::new();
    for word in expression.split_whitespace() {
        match word.to_ascii_uppercase().as_str() {
            "SET" => verb = "SET",
            "REMOVE" => verb = "REMOVE",
            "ADD" | "DELETE" => return Err(invalid(what, "ADD and DELETE are not served here")),
            _ => match clauses.last_mut().filter(|(last, _)| *last == verb) {
                Some((_, text)) => {
                    text.push(' ');
                    text.push_str(word);
                }
                None => clauses.push((verb, word.to_owned())),
            },
        }
    }
    let before = item.clone();
    for (verb, text) in clauses {
        for action in top_level(&text) {
            let name = match verb {
                "SET" => set(item, &before, &action, words)?,
                "REMOVE" => {
                    let name = words.name(&action, what)?;
                    item.remove(&name);
                    name
                }
                _ => return Err(invalid(what, "Syntax error")),
            };
            if named.contains(&name) {
                let why = format!("Two document paths overlap with each other; path: [{name}]");
                return Err(invalid(what, &why));
            }
            named.push(name);
        }
    }
    Ok(named)
}

fn set(item: &mut Item, before: &Item, action: &str, words: &Words<'_>) -> Result<String, Refusal> {
    let what = "UpdateExpression";
    let Some((path, operand)) = action.split_once('=') else {
        return Err(invalid(what, "Syntax error"));
    };
    let name = words.name(path, what)?;
    let operand = operand.trim();
    let value = match call(operand, "if_not_exists") {
        Some(arguments) => {
            let (other, value) = arguments
                .split_once(',')
                .ok_or_else(|| invalid(what, "Incorrect number of operands"))?;
            let other = words.name(other, what)?;
            match before.get(&other) {
                Some(found) => found.clone(),
                None => words.value(value, what)?,
            }
        }
        None if operand.starts_with(':') => words.value(operand, what)?,
        None => before.get(&words.name(operand, what)?).cloned().ok_or_else(|| {
            Refusal::validation(
                "The provided expression refers to an attribute that does not exist in the item",
            )
        })?,
    };
    item.insert(name.clone(), value);
    Ok(name)
}

/// What stands in the brackets of a function's call.
fn call<'t>(text: &'t str, function: &str) -> Option<&'t str> {
    text.trim()
        .strip_prefix(function)?
        .trim_start()
        .strip_prefix('(')?
        .trim_end()
        .strip_suffix(')')
}

/// The parts between commas that stand in no brackets.
fn top_level(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0;
    for letter in text.chars() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(letter);
        }
    }
    parts
}

/// Whether `attribute_exists(a) AND attribute_not_exists(b) AND c = :v` holds.
pub(crate) fn condition(item: Option<&Item>, expression: &str, words: &Words<'_>) -> Result<bool, Refusal> {
    let what = "ConditionExpression";
    let there = |name: &str| item.and_then(|item| item.get(name));
    for part in conjuncts(expression) {
        let held = if let Some(argument) = call(&part, "attribute_exists") {
            there(&words.name(argument, what)?).is_some()
        } else if let Some(argument) = call(&part, "attribute_not_exists") {
            there(&words.name(argument, what)?).is_none()
        } else {
            let (name, sign, value) = comparison(&part).ok_or_else(|| invalid(what, "Syntax error"))?;
            let value = words.value(value, what)?;
            let found = there(&words.name(name, what)?);
            match sign {
                "=" => found == Some(&value),
                _ => found
                    .and_then(|found| compare(found, &value))
                    .is_some_and(|order| holds(sign, order)),
            }
        };
        if !held {
            return Ok(false);
        }
    }
    Ok(true)
}

fn comparison(text: &str) -> Option<(&str, &'static str, &str)> {
    let signs = ["<=", ">=", "<>", "=", "<", ">"];
    signs.into_iter().find_map(|sign| {
        let (name, value) = text.split_once(sign)?;
        Some((name, sign, value))
    })
}

fn holds(sign: &str, order: Ordering) -> bool {
    match sign {
        "=" => order.is_eq(),
        "<>" => order.is_ne(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        _ => order.is_ge(),
    }
}

/// The parts between `AND`s; the one of a `BETWEEN` joins nothing.
fn conjuncts(text: &str) -> Vec<String> {
    let mut parts: Vec<Vec<&str>> = vec![Vec::new()];
    let mut between = false;
    for word in text.split_whitespace() {
        let upper = word.to_ascii_uppercase();
        if upper == "AND" && !between {
            parts.push(Vec::new());
            continue;
        }
        between = upper == "BETWEEN" || (between && upper != "AND");
        if let Some(part) = parts.last_mut() {
            part.push(word);
        }
    }
    parts.into_iter().map(|part| part.join(" ")).collect()
}

/// What a query asks of an item's keys.
pub(crate) fn key_condition(
    item: &Item,
    keys: &[String],
    expression: &str,
    words: &Words<'_>,
) -> Result<bool, Refusal> {
    let what = "KeyConditionExpression";
    let mut matches = true;
    let mut hashed = false;
    for part in conjuncts(expression) {
        let upper = part.to_ascii_uppercase();
        if let Some(arguments) = call(&part, "begins_with") {
            let (name, prefix) = arguments
                .split_once(',')
                .ok_or_else(|| invalid(what, "Incorrect number of operands"))?;
            let prefix = words.value(prefix, what)?;
            let found = item.get(&words.name(name, what)?).and_then(typed);
            let starts = found
                .zip(typed(&prefix))
                .is_some_and(|((_, found), (_, prefix))| found.starts_with(prefix));
            matches &= starts;
            continue;
        }
        if upper.contains(" BETWEEN ") {
            let words_of: Vec<&str> = part.split_whitespace().collect();
            let [name, _, low, _, high] = words_of.as_slice() else {
                return Err(invalid(what, "Syntax error"));
            };
            let (low, high) = (words.value(low, what)?, words.value(high, what)?);
            let found = item.get(&words.name(name, what)?);
            matches &= found.is_some_and(|found| {
                compare(found, &low).is_some_and(Ordering::is_ge)
                    && compare(found, &high).is_some_and(Ordering::is_le)
            });
            continue;
        }
        let (name, sign, value) = comparison(&part).ok_or_else(|| invalid(what, "Syntax error"))?;
        let (name, value) = (words.name(name, what)?, words.value(value, what)?);
        hashed |= sign == "=" && keys.first() == Some(&name);
        if !keys.contains(&name) {
            return Err(Refusal::validation("Query condition missed key schema element"));
        }
        matches &= item
            .get(&name)
            .and_then(|found| compare(found, &value))
            .is_some_and(|order| holds(sign, order));
    }
    if !hashed {
        let name = keys.first().map_or("", String::as_str);
        return Err(Refusal::validation(format!(
            "Query condition missed key schema element: {name}"
        )));
    }
    Ok(matches)
}
