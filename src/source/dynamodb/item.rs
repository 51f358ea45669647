//! Items and their attributes: out of the SDK's types, out of DynamoDB JSON (`{"S": "x"}`, as exports and the wire
//! have it), and into the plain JSON that the column of a document holds. One item has one JSON text: attributes are
//! sorted by name and sets by value, because neither has an order, and numbers are written in their one form.
//!
//! Numbers stay exact in the JSON text; what a target's JSON cannot hold of them, its policy decides
//! (`values: json_numbers`).

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use super::number::Number;

/// An item: its attributes by name.
pub type Item = BTreeMap<String, Attribute>;

/// An attribute's value
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_AttributeValue.html>).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub enum Attribute {
    /// Text.
    S(String),
    /// A number.
    #[serde(deserialize_with = "number")]
    N(Number),
    /// Bytes; base64 in DynamoDB JSON.
    #[serde(deserialize_with = "bytes")]
    B(Vec<u8>),
    /// A truth value.
    #[serde(rename = "BOOL")]
    Bool(bool),
    /// NULL, which is not the same as no attribute. DynamoDB admits no other content than `true`.
    #[serde(rename = "NULL")]
    Null(bool),
    /// A list.
    L(Vec<Attribute>),
    /// Attributes by name.
    M(BTreeMap<String, Attribute>),
    /// A set of texts.
    #[serde(rename = "SS")]
    Texts(BTreeSet<String>),
    /// A set of numbers.
    #[serde(rename = "NS", deserialize_with = "numbers")]
    Numbers(BTreeSet<Number>),
    /// A set of byte strings.
    #[serde(rename = "BS", deserialize_with = "byte_strings")]
    ByteStrings(BTreeSet<Vec<u8>>),
}

/// Why an item cannot be read. Never carries a value.
#[derive(Debug, thiserror::Error)]
pub enum ItemError {
    /// Not DynamoDB JSON.
    #[error("not an item in DynamoDB JSON: {0}")]
    Malformed(String),
    /// A number that is none.
    #[error("attribute {0} holds a number that is none")]
    Number(String),
    /// A type that this version does not know.
    #[error("attribute {0} is of a type that this version does not know")]
    Unknown(String),
    /// No key attribute.
    #[error("the item lacks its key attribute {0}")]
    NoKey(String),
    /// A key attribute that is not of its declared type.
    #[error("the item's key attribute {0} is not of the type that the table declares")]
    KeyType(String),
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Number, D::Error> {
    Number::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

fn numbers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<Number>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let read = texts.iter().map(|text| Number::parse(text));
    read.collect::<Result<_, _>>().map_err(D::Error::custom)
}

fn decoded<E: serde::de::Error>(text: &str) -> Result<Vec<u8>, E> {
    // The decoder's own words name the byte that it met.
    STANDARD.decode(text).map_err(|_| E::custom("not base64"))
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    decoded(&String::deserialize(deserializer)?)
}

fn byte_strings<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<Vec<u8>>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| decoded(text)).collect()
}

/// Reads an item in DynamoDB JSON, as a line of an export has it under `Item`.
///
/// # Errors
/// [`ItemError::Malformed`].
pub fn parse(json: &[u8]) -> Result<Item, ItemError> {
    serde_json::from_slice(json).map_err(|error| malformed(&error))
}

/// Says where it is wrong, and not what is there.
fn malformed(error: &serde_json::Error) -> ItemError {
    let what = match error.classify() {
        serde_json::error::Category::Eof => "cut short",
        serde_json::error::Category::Syntax => "no JSON",
        serde_json::error::Category::Data => "JSON of another form",
        serde_json::error::Category::Io => "unreadable",
    };
    ItemError::Malformed(format!(
        "{what} at line {} column {}",
        error.line(),
        error.column()
    ))
}

/// Takes an attribute apart that the SDK's client of streams (`aws_sdk_dynamodbstreams`) or of tables
/// (`aws_sdk_dynamodb`) gave: both have the same types under two names.
macro_rules! from_sdk {
    ($function:ident, $sdk:ident) => {
        /// Takes an attribute of the SDK apart; `name` is the attribute's, for errors.
        ///
        /// # Errors
        /// [`ItemError::Number`], [`ItemError::Unknown`].
        pub fn $function(name: &str, value: $sdk::types::AttributeValue) -> Result<Attribute, ItemError> {
            use $sdk::types::AttributeValue as Sdk;
            let number = |text: &String| Number::parse(text).map_err(|_| ItemError::Number(name.to_owned()));
            Ok(match value {
                Sdk::S(text) => Attribute::S(text),
                Sdk::N(text) => Attribute::N(number(&text)?),
                Sdk::B(bytes) => Attribute::B(bytes.into_inner()),
                Sdk::Bool(truth) => Attribute::Bool(truth),
                Sdk::Null(null) => Attribute::Null(null),
                Sdk::L(list) => Attribute::L(
                    list.into_iter()
                        .map(|one| $function(name, one))
                        .collect::<Result<_, _>>()?,
                ),
                Sdk::M(map) => {
                    let inner = map
                        .into_iter()
                        .map(|(key, one)| $function(name, one).map(|one| (key, one)));
                    Attribute::M(inner.collect::<Result<_, _>>()?)
                }
                Sdk::Ss(texts) => Attribute::Texts(texts.into_iter().collect()),
                Sdk::Ns(texts) => Attribute::Numbers(texts.iter().map(number).collect::<Result<_, _>>()?),
                Sdk::Bs(all) => Attribute::ByteStrings(all.into_iter().map(|one| one.into_inner()).collect()),
                _ => return Err(ItemError::Unknown(name.to_owned())),
            })
        }
    };
}

from_sdk!(from_streams, aws_sdk_dynamodbstreams);
from_sdk!(from_tables, aws_sdk_dynamodb);

/// Writes an item as one JSON object. Bytes are base64, sets are arrays.
///
/// # Errors
/// None of a writer that has none.
pub fn write_json(out: &mut Vec<u8>, item: &Item) -> io::Result<()> {
    object(out, item)
}

/// Writes one attribute's value as JSON, as [`write_json`] does.
///
/// # Errors
/// None of a writer that has none.
pub fn write_value(out: &mut Vec<u8>, value: &Attribute) -> io::Result<()> {
    attribute(out, value)
}

fn object(out: &mut Vec<u8>, attributes: &BTreeMap<String, Attribute>) -> io::Result<()> {
    out.push(b'{');
    for (index, (name, value)) in attributes.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        serde_json::to_writer(&mut *out, name)?;
        out.push(b':');
        attribute(out, value)?;
    }
    out.push(b'}');
    Ok(())
}

fn array<T>(
    out: &mut Vec<u8>,
    values: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T) -> io::Result<()>,
) -> io::Result<()> {
    out.push(b'[');
    for (index, value) in values.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, value)?;
    }
    out.push(b']');
    Ok(())
}

fn attribute(out: &mut Vec<u8>, value: &Attribute) -> io::Result<()> {
    match value {
        Attribute::S(text) => text_json(out, text),
        Attribute::N(number) => number_json(out, number),
        Attribute::B(bytes) => base64_json(out, bytes),
        Attribute::Bool(truth) => {
            out.extend_from_slice(if *truth { b"true" } else { b"false" });
            Ok(())
        }
        Attribute::Null(_) => {
            out.extend_from_slice(b"null");
            Ok(())
        }
        Attribute::L(list) => array(out, list, attribute),
        Attribute::M(map) => object(out, map),
        Attribute::Texts(set) => array(out, set, |out, text| text_json(out, text)),
        Attribute::Numbers(set) => array(out, set, number_json),
        Attribute::ByteStrings(set) => array(out, set, |out, bytes| base64_json(out, bytes)),
    }
}

fn text_json(out: &mut Vec<u8>, text: &str) -> io::Result<()> {
    Ok(serde_json::to_writer(out, text)?)
}

fn number_json(out: &mut Vec<u8>, number: &Number) -> io::Result<()> {
    use io::Write;
    write!(out, "{number}")
}

fn base64_json(out: &mut Vec<u8>, bytes: &[u8]) -> io::Result<()> {
    text_json(out, &STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests;
