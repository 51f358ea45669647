use aws_sdk_dynamodb::types::AttributeValue as Table;
use aws_sdk_dynamodbstreams::types::AttributeValue as Stream;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;

fn written(item: &Item) -> String {
    let mut out = Vec::new();
    write_json(&mut out, item).unwrap();
    String::from_utf8(out).unwrap()
}

fn parsed(json: &str) -> Item {
    parse(json.as_bytes()).unwrap()
}

#[test]
fn every_type_has_its_json() {
    let item = parsed(
        r#"{"s":{"S":"a\"é\u0000"},"n":{"N":"1.50"},"b":{"B":"AP8="},"t":{"BOOL":true},"null":{"NULL":true},
            "l":{"L":[{"N":"1"},{"L":[]},{"M":{}}]},"m":{"M":{"z":{"S":""},"a":{"NULL":true}}},
            "ss":{"SS":["b","a"]},"ns":{"NS":["10","9","-1"]},"bs":{"BS":["/w==","AA=="]},"":{"S":"no name"}}"#,
    );
    assert_eq!(
        written(&item),
        r#"{"":"no name","b":"AP8=","bs":["AA==","/w=="],"l":[1,[],{}],"m":{"a":null,"z":""},"n":1.5,"ns":[-1,9,10],"null":null,"s":"a\"é\u0000","ss":["a","b"],"t":true}"#
    );
}

#[test]
fn numbers_keep_every_digit() {
    for (text, expected) in [
        (
            "12345678901234567890123456789012345678",
            "12345678901234567890123456789012345678",
        ),
        ("-0.00000000000000000001", "-0.00000000000000000001"),
        (
            "9.9999999999999999999999999999999999999E+125",
            "9.9999999999999999999999999999999999999e125",
        ),
        ("-1E-130", "-1e-130"),
    ] {
        let item = parsed(&format!(r#"{{"n":{{"N":"{text}"}}}}"#));
        assert_eq!(written(&item), format!(r#"{{"n":{expected}}}"#));
    }
}

#[test]
fn null_is_not_absence() {
    assert_eq!(written(&parsed("{}")), "{}");
    assert_eq!(written(&parsed(r#"{"a":{"NULL":true}}"#)), r#"{"a":null}"#);
}

#[test]
fn what_is_no_item_is_refused_without_its_values() {
    for json in [
        "",
        "[]",
        r#"{"a":"secret"}"#,
        r#"{"a":{"N":"secret"}}"#,
        r#"{"a":{"N":5}}"#,
        r#"{"a":{"B":"secret!"}}"#,
        r#"{"a":{"secret":"x"}}"#,
        r#"{"a":{"S":"secret","N":"1"}}"#,
        r#"{"a":{"S":"secret"#,
        r#"{"a":{"BS":["secret!"]}}"#,
    ] {
        let error = parse(json.as_bytes()).unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn hostile_depth_is_an_error() {
    let deep = format!("{}{}", r#"{"a":{"L":["#, r#"{"L":["#.repeat(100_000));
    assert!(parse(deep.as_bytes()).is_err());
}

/// Attributes in DynamoDB JSON.
fn attributes() -> impl Strategy<Value = Json> {
    let text = "[a-zé\"\\\\ ]{0,6}";
    let number = (-999_999i64..999_999, -40i32..40).prop_map(|(digits, power)| format!("{digits}E{power}"));
    let leaf = prop_oneof![
        text.prop_map(|text| json!({ "S": text })),
        number.clone().prop_map(|number| json!({ "N": number })),
        any::<Vec<u8>>().prop_map(|bytes| json!({ "B": STANDARD.encode(bytes) })),
        any::<bool>().prop_map(|truth| json!({ "BOOL": truth })),
        Just(json!({ "NULL": true })),
        proptest::collection::btree_set(text, 1..4).prop_map(|set| json!({ "SS": set })),
        proptest::collection::btree_set(number, 1..4).prop_map(|set| json!({ "NS": set })),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(|list| json!({ "L": list })),
            proptest::collection::btree_map(text, inner, 0..4).prop_map(|map| json!({ "M": map })),
        ]
    })
}

/// The same in the types of both of the SDK's clients.
macro_rules! to_sdk {
    ($function:ident, $sdk:ident) => {
        fn $function(json: &Json) -> $sdk {
            let (kind, value) = json.as_object().unwrap().iter().next().unwrap();
            let text = |value: &Json| value.as_str().unwrap().to_owned();
            let list = || value.as_array().unwrap().iter();
            match kind.as_str() {
                "S" => $sdk::S(text(value)),
                "N" => $sdk::N(text(value)),
                "B" => $sdk::B(STANDARD.decode(text(value)).unwrap().into()),
                "BOOL" => $sdk::Bool(value.as_bool().unwrap()),
                "NULL" => $sdk::Null(true),
                // Sets in another order than they are read in from JSON.
                "SS" => $sdk::Ss(list().rev().map(text).collect()),
                "NS" => $sdk::Ns(list().rev().map(text).collect()),
                "L" => $sdk::L(list().map($function).collect()),
                _ => $sdk::M(
                    value
                        .as_object()
                        .unwrap()
                        .iter()
                        .map(|(name, one)| (name.clone(), $function(one)))
                        .collect(),
                ),
            }
        }
    };
}

to_sdk!(to_streams, Stream);
to_sdk!(to_tables, Table);

proptest! {
    /// What comes by a stream, by a Scan and by an export is one item, and its text is JSON of the same content.
    #[test]
    fn every_way_in_gives_one_item(map in proptest::collection::btree_map("[a-c]{1,3}", attributes(), 0..5)) {
        let item = parsed(&serde_json::to_string(&map).unwrap());
        for (name, value) in &map {
            prop_assert_eq!(&from_streams(name, to_streams(value)).unwrap(), &item[name]);
            prop_assert_eq!(&from_tables(name, to_tables(value)).unwrap(), &item[name]);
        }
        let text = written(&item);
        let read: Json = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(read.as_object().unwrap().len(), map.len());
    }

    #[test]
    fn hostile_bytes_never_panic(bytes: Vec<u8>, text in "[\\{\\}\\[\\]:,\"SNBLM a0-9]{0,80}") {
        for input in [&bytes[..], text.as_bytes()] {
            if let Ok(item) = parse(input) {
                prop_assert_ne!(written(&item), "");
            }
        }
    }
}
