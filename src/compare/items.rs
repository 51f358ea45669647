//! The source's side of a DynamoDB table: every item by Scan. What an item holds is written from the SDK's own types; only
//! numbers are brought into their one text by the source's module, which is what the target's text has to be.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::canon::{self, Cell};
use super::error::CompareError;
use super::json;
use crate::event::{Column, ColumnType, TableLayout};
use crate::source::dynamodb::number::Number;

type Attributes = HashMap<String, AttributeValue>;

/// Reads every item of the layout `document`, in no order.
pub(super) async fn read(
    client: &Client,
    layout: &TableLayout,
    mut take: impl FnMut(Vec<Cell>),
) -> Result<(), CompareError> {
    let mut from: Option<Attributes> = None;
    loop {
        let scan = client
            .scan()
            .table_name(layout.table.name())
            .consistent_read(true);
        let page = scan.set_exclusive_start_key(from).send().await;
        let page = page.map_err(|error| CompareError::Items(Box::new(error.into())))?;
        for item in page.items() {
            take(layout.columns.iter().map(|column| cell(column, item)).collect());
        }
        from = page.last_evaluated_key;
        if from.is_none() {
            return Ok(());
        }
    }
}

fn cell(column: &Column, item: &Attributes) -> Cell {
    let found = if column.kind == ColumnType::Json {
        whole(item)
            .and_then(|text| json::canonical(&text))
            .map(Cell::Text)
    } else {
        item.get(column.name.as_str()).and_then(key)
    };
    found.unwrap_or_else(|| Cell::Unreadable(format!("source: {}", column.name)))
}

/// A key attribute: text, a number's one text, or bytes.
fn key(value: &AttributeValue) -> Option<Cell> {
    let text = match (value.as_s(), value.as_n(), value.as_b()) {
        (Ok(text), _, _) => text.clone(),
        (_, Ok(text), _) => number(text)?,
        (_, _, Ok(bytes)) => canon::hex(bytes.as_ref()),
        (Err(_), Err(_), Err(_)) => return None,
    };
    Some(Cell::Text(text))
}

fn number(text: &str) -> Option<String> {
    Some(Number::parse(text).ok()?.to_string())
}

fn quoted(text: &str) -> Option<String> {
    serde_json::to_string(text).ok()
}

fn whole(item: &Attributes) -> Option<String> {
    let members = item
        .iter()
        .map(|(name, value)| Some(format!("{}:{}", quoted(name)?, document(value)?)));
    Some(format!("{{{}}}", members.collect::<Option<Vec<_>>>()?.join(",")))
}

fn array(values: impl Iterator<Item = Option<String>>) -> Option<String> {
    Some(format!("[{}]", values.collect::<Option<Vec<_>>>()?.join(",")))
}

/// An attribute as JSON; `None` for one of a type that AWS added since. Sets have no order: theirs is that of their values.
#[expect(clippy::wildcard_enum_match_arm, reason = "the SDK's types may grow")]
fn document(value: &AttributeValue) -> Option<String> {
    match value {
        AttributeValue::S(text) => quoted(text),
        AttributeValue::N(text) => number(text),
        AttributeValue::B(bytes) => quoted(&BASE64.encode(bytes)),
        AttributeValue::Bool(truth) => Some(truth.to_string()),
        AttributeValue::Null(_) => Some("null".to_owned()),
        AttributeValue::L(list) => array(list.iter().map(document)),
        AttributeValue::M(map) => whole(map),
        AttributeValue::Ss(texts) => {
            let mut texts: Vec<&String> = texts.iter().collect();
            texts.sort();
            array(texts.into_iter().map(|text| quoted(text)))
        }
        AttributeValue::Ns(texts) => {
            let read = texts.iter().map(|text| Number::parse(text).ok());
            let mut numbers = read.collect::<Option<Vec<_>>>()?;
            numbers.sort();
            array(numbers.into_iter().map(|number| Some(number.to_string())))
        }
        AttributeValue::Bs(all) => {
            let mut all: Vec<&[u8]> = all.iter().map(AsRef::as_ref).collect();
            all.sort_unstable();
            array(all.into_iter().map(|bytes| quoted(&BASE64.encode(bytes))))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::primitives::Blob;

    use super::*;
    use crate::event::ColumnName;

    fn column(name: &str, kind: ColumnType) -> Column {
        Column {
            name: ColumnName::new(name),
            kind,
            declared: String::new(),
            nullable: false,
            key: None,
        }
    }

    #[test]
    fn an_item_is_one_document_whatever_the_order_of_its_parts() {
        let set = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        let item = |texts: &[&str], numbers: &[&str]| {
            Attributes::from([
                ("t".to_owned(), AttributeValue::Ss(set(texts))),
                ("n".to_owned(), AttributeValue::Ns(set(numbers))),
                ("b".to_owned(), AttributeValue::B(Blob::new([0xFF, 0]))),
                (
                    "l".to_owned(),
                    AttributeValue::L(vec![AttributeValue::Null(true), AttributeValue::Bool(false)]),
                ),
            ])
        };
        let document = column("item", ColumnType::Json);
        let expected = r#"{"b":"/wA=","l":[null,false],"n":[-2,1.5,10],"t":["a","b"]}"#;
        for item in [
            item(&["b", "a"], &["10", "1.50", "-2"]),
            item(&["a", "b"], &["-2", "1e1", "1.5"]),
        ] {
            assert_eq!(cell(&document, &item), Cell::Text(expected.to_owned()));
        }
    }

    #[test]
    fn a_key_is_text_and_what_is_none_equals_nothing() {
        let item = Attributes::from([
            ("n".to_owned(), AttributeValue::N("1.0".to_owned())),
            ("b".to_owned(), AttributeValue::B(Blob::new([1, 0xAB]))),
            ("l".to_owned(), AttributeValue::L(Vec::new())),
        ]);
        let text = |name, kind| cell(&column(name, kind), &item);
        assert_eq!(text("n", ColumnType::Text), Cell::Text("1".to_owned()));
        assert_eq!(text("b", ColumnType::Bytes), Cell::Text("01ab".to_owned()));
        for name in ["l", "absent"] {
            assert!(
                matches!(text(name, ColumnType::Text), Cell::Unreadable(_)),
                "{name}"
            );
        }
    }
}
