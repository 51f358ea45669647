use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::item::{parse, write_value};
use super::super::layout::{KeyKind, Role};
use super::super::number::Number;
use super::super::rows::Images;
use super::*;
use crate::event::{CellVisitor, RowError, Value};

fn key() -> Vec<KeyAttribute> {
    vec![KeyAttribute {
        name: "id".to_owned(),
        kind: KeyKind::S,
    }]
}

fn empty() -> Shape {
    Shape::of(Arc::new(first(TableId::new("s", "t"), &key()))).unwrap()
}

fn item(attributes: &str) -> Item {
    let comma = if attributes.is_empty() { "" } else { "," };
    parse(format!(r#"{{"id":{{"S":"x"}}{comma}{attributes}}}"#).as_bytes()).unwrap()
}

/// The columns after items, each as `name type`.
fn columns(items: &[&str]) -> Vec<String> {
    let mut shape = empty();
    for text in items {
        if let Some((grown, _)) = grown(&shape, [&item(text)]) {
            shape = grown;
        }
    }
    let columns = shape.layout.columns.iter().skip(1);
    columns
        .map(|column| format!("{} {:?}", column.name.as_str(), column.kind))
        .collect()
}

/// What a column shows, equal for equal numbers; `None` is NULL.
#[derive(Default)]
struct Cells(Vec<Option<String>>);

fn number(text: &str) -> String {
    format!("number {}", Number::parse(text).unwrap())
}

impl CellVisitor for Cells {
    fn cell(&mut self, _: usize, value: Value<'_>) -> Result<(), RowError> {
        self.0.push(if let Value::Int(value) = value {
            Some(number(&value.to_string()))
        } else if let Value::Decimal { unscaled, scale } = value {
            Some(number(&format!("{unscaled}e-{scale}")))
        } else {
            (value != Value::Null).then(|| format!("{value:?}"))
        });
        Ok(())
    }
}

fn row(shape: &Shape, item: &Item) -> Vec<Option<String>> {
    let mut images = Images::new(shape);
    let row = images.item(item).unwrap();
    let mut cells = Cells::default();
    images.share().visit(row, &mut cells).unwrap();
    cells.0
}

fn json(value: &Attribute) -> String {
    let mut text = Vec::new();
    write_value(&mut text, value).unwrap();
    format!("{:?}", Value::Json(std::str::from_utf8(&text).unwrap()))
}

/// What the one column of an attribute that is not NULL shows, if it is its own one.
fn whole(value: &Attribute) -> String {
    match value {
        Attribute::S(text) => format!("{:?}", Value::Text(text)),
        Attribute::N(value) => number(&value.to_string()),
        Attribute::B(bytes) => format!("{:?}", Value::Bytes(bytes)),
        Attribute::Bool(truth) => format!("{:?}", Value::Bool(*truth)),
        Attribute::Null(_)
        | Attribute::L(_)
        | Attribute::M(_)
        | Attribute::Texts(_)
        | Attribute::Numbers(_)
        | Attribute::ByteStrings(_) => json(value),
    }
}

#[test]
fn a_column_has_the_type_of_the_first_value_and_is_widened() {
    for (items, expected) in [
        (&[r#""a":{"S":""}"#][..], &["a Text"][..]),
        (&[r#""a":{"N":"1.0"}"#], &["a Int64"]),
        (
            &[r#""a":{"N":"1"}"#, r#""a":{"N":"1.5"}"#],
            &["a Decimal { precision: 38, scale: 9 }"],
        ),
        (
            &[r#""a":{"N":"1.5"}"#, r#""a":{"N":"1E-38"}"#, r#""a":{"N":"3"}"#],
            &["a Decimal { precision: 76, scale: 38 }"],
        ),
        (
            &[r#""a":{"N":"1"}"#, r#""a":{"N":"1E125"}"#, r#""a":{"N":"0.5"}"#],
            &["a Decimal { precision: 38, scale: 9 }", "a__json Json"],
        ),
        (
            &[r#""a":{"NULL":true}"#, r#""a":{"B":""}"#],
            &["a__json Json", "a Bytes"],
        ),
        (
            &[r#""a":{"S":"x"}"#, r#""a":{"M":{}}"#],
            &["a Text", "a__json Json"],
        ),
        (
            &[
                r#""a":{"SS":["x"]}"#,
                r#""a":{"N":"1E125"}"#,
                r#""a":{"NULL":true}"#,
            ],
            &["a Json", "a__json Json"],
        ),
        (
            &[r#""a":{"L":[]}"#, r#""a":{"N":"1"}"#, r#""a":{"BOOL":true}"#],
            &["a Json"],
        ),
        (&["", r#""id":{"S":"y"}"#], &[]),
    ] {
        assert_eq!(columns(items), expected, "{items:?}");
    }
}

#[test]
fn names_that_differ_in_case_alone_or_are_taken_get_others() {
    let items = [
        r#""Name":{"S":"x"}"#,
        r#""name":{"S":"y"},"ID":{"BOOL":true}"#,
        r#""a__json":{"S":"z"},"a":{"NULL":true},"name_2":{"N":"1"}"#,
        r#""Name":{"NULL":true},"name":{"NULL":true}"#,
    ];
    assert_eq!(
        columns(&items),
        [
            "Name Text",
            "ID_2 Bool",
            "name_2 Text",
            "a__json Json",
            "a__json_2 Text",
            "name_2_2 Int64",
            "Name__json Json",
            "name__json_2 Json"
        ]
    );
}

#[test]
fn null_is_not_absence_and_what_does_not_fit_is_whole_beside() {
    let items = [
        item(r#""a":{"N":"1"}"#),
        item(r#""a":{"NULL":true}"#),
        item(r#""a":{"L":[{"N":"2"}]}"#),
        item(""),
    ];
    let (shape, new) = grown(&empty(), &items).unwrap();
    assert_eq!(new, ["a", "a__json"]);
    let cells: Vec<_> = items.iter().map(|item| row(&shape, item).split_off(1)).collect();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        cells,
        [
            [text("number 1"), None],
            [None, text(r#"Json("null")"#)],
            [None, text(r#"Json("[2]")"#)],
            [None, None]
        ]
    );
}

fn value() -> impl Strategy<Value = Attribute> {
    let number = prop_oneof![
        (-3i64..3).prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        (any::<i64>(), -60i32..60).prop_map(|(value, power)| format!("{value}e{power}")),
    ];
    let number = number.prop_map(|text| Attribute::N(Number::parse(&text).unwrap()));
    let plain = prop_oneof![
        "[a-c]{0,2}".prop_map(Attribute::S),
        number,
        any::<bool>().prop_map(Attribute::Bool),
        Just(Attribute::Null(true)),
        proptest::collection::vec(any::<u8>(), 0..3).prop_map(Attribute::B),
        proptest::collection::btree_set("[a-c]{1,2}", 1..3).prop_map(Attribute::Texts),
    ];
    plain.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Attribute::L),
            proptest::collection::btree_map("[a-c]{1,2}", inner, 0..3).prop_map(Attribute::M),
        ]
    })
}

fn items() -> impl Strategy<Value = Vec<Vec<Item>>> {
    let name = prop_oneof![
        "[aAbB]",
        Just("a__json".to_owned()),
        Just("a_2".to_owned()),
        Just("Id".to_owned())
    ];
    let attributes = proptest::collection::btree_map(name, value(), 0..4);
    let item = attributes.prop_map(|mut attributes| {
        attributes.insert("id".to_owned(), Attribute::S("x".to_owned()));
        attributes
    });
    proptest::collection::vec(proptest::collection::vec(item, 0..4), 0..6)
}

fn check(shape: &Shape, item: &Item) -> Result<(), TestCaseError> {
    let cells = row(shape, item);
    let mut shown = BTreeSet::new();
    for (role, cell) in shape.roles.iter().zip(&cells) {
        let (name, expected) = match role {
            Role::Attribute(name, kind) => {
                let whole = |value: &Attribute| {
                    if *kind == ColumnType::Json {
                        json(value)
                    } else {
                        whole(value)
                    }
                };
                (name, item.get(name).map(whole))
            }
            Role::Others(name, _) => (name, item.get(name).map(json)),
            Role::Key(_) | Role::Whole | Role::Path(_, _) => continue,
        };
        if cell.is_some() {
            prop_assert!(shown.insert(name.clone()), "{name} is shown twice");
            prop_assert_eq!(cell, &expected);
        }
    }
    let attributes: BTreeSet<String> = item.keys().filter(|name| *name != "id").cloned().collect();
    prop_assert_eq!(shown, attributes);
    Ok(())
}

proptest! {
    /// Whatever comes: every value is shown exactly once and whole; columns stay in their places and are only widened;
    /// and a row is the same under the columns of its time and under all later ones.
    #[test]
    fn nothing_is_lost_and_rows_stay_what_they_are(batches in items()) {
        let mut shape = empty();
        let mut written: Vec<(Vec<Option<String>>, Item)> = Vec::new();
        for batch in &batches {
            let before = shape.clone();
            if let Some((grown, new)) = grown(&shape, batch) {
                prop_assert_eq!(grown.layout.columns.len() - before.layout.columns.len(), new.len());
                shape = grown;
            }
            prop_assert!(grown(&shape, batch).is_none());
            prop_assert!(batch.iter().all(|item| has_room(&shape, item)));
            for (was, is) in before.layout.columns.iter().zip(&shape.layout.columns) {
                prop_assert_eq!((&was.name, &was.declared), (&is.name, &is.declared));
                prop_assert!(was.kind == is.kind || widened(was.kind, is.kind) == Some(is.kind));
            }
            written.extend(batch.iter().map(|item| (row(&shape, item), item.clone())));
        }
        let folded: BTreeSet<String> =
            shape.layout.columns.iter().map(|column| column.name.as_str().to_lowercase()).collect();
        prop_assert_eq!(folded.len(), shape.layout.columns.len());
        let again = Shape::of(Arc::clone(&shape.layout)).unwrap();
        prop_assert_eq!((&again.roles, &again.places), (&shape.roles, &shape.places));
        for (cells, item) in &written {
            check(&shape, item)?;
            let now = row(&shape, item);
            prop_assert_eq!(cells, &now[..cells.len()]);
            prop_assert!(now[cells.len()..].iter().all(Option::is_none));
        }
    }

    /// Types are widened to the same one in whatever order values come, and never back.
    #[test]
    fn widening_is_a_lattice(kinds in proptest::collection::vec(0usize..7, 3)) {
        let all = [
            ColumnType::Int64, NUMERIC, BIGNUMERIC, ColumnType::Text, ColumnType::Bytes, ColumnType::Bool, ColumnType::Json,
        ];
        let [a, b, c] = [all[kinds[0]], all[kinds[1]], all[kinds[2]]];
        prop_assert_eq!(widened(a, b), widened(b, a));
        let both = |one: Option<ColumnType>, other| one.and_then(|one| widened(one, other));
        prop_assert_eq!(both(widened(a, b), c), both(widened(b, c), a));
        if let Some(joined) = widened(a, b) {
            prop_assert_eq!(widened(joined, a), Some(joined));
            prop_assert!(joined == a || joined == b);
        }
    }
}
