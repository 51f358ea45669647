use prost::Message;

use super::super::fixture::{column, layout, target};
use super::*;
use crate::event::ColumnType;
use crate::proto::storage::ProtoSchema;

fn planned(names: &[&str]) -> Result<Target, Error> {
    let columns = names
        .iter()
        .zip(0u16..)
        .map(|(name, at)| column(name, ColumnType::Int64, (at == 0).then_some(0)))
        .collect();
    let place = Place {
        project: "p".to_owned(),
        dataset: "d".to_owned(),
        table: "t".to_owned(),
    };
    Target::new(layout(columns), place, Mode::Cdc, Values::default())
}

#[test]
fn a_column_that_is_no_identifier_is_named_by_the_annotation() {
    let target = target(layout(vec![
        column("id", ColumnType::Int64, Some(0)),
        column("größe", ColumnType::Text, None),
        column("2nd", ColumnType::Text, None),
        column("_replicator_column_2", ColumnType::Text, None),
    ]));
    let schema = ProtoSchema::decode(target.destination.schema.clone()).unwrap();
    let fields: Vec<(String, Option<String>)> = schema
        .proto_descriptor
        .unwrap()
        .field
        .into_iter()
        .map(|field| {
            let annotation = field.options.and_then(|options| options.column_name);
            (field.name.unwrap(), annotation)
        })
        .collect();
    let renamed = name::column("_replicator_column_2");
    let expected = [
        ("id", None),
        ("_replicator_column_2", Some("größe")),
        ("_replicator_column_3", Some("2nd")),
        (renamed.as_str(), None),
        (COMMIT_TIME, None),
        ("_CHANGE_TYPE", None),
        ("_CHANGE_SEQUENCE_NUMBER", None),
    ];
    for (found, (name, annotation)) in fields.iter().zip(expected) {
        assert_eq!((found.0.as_str(), found.1.as_deref()), (name, annotation));
    }
    assert_eq!(fields.len(), expected.len());
}

#[test]
fn no_column_changes_another_ones_name() {
    let names = ["id", "a b", "a/b", "a_b", "_partition", "größe"];
    let together = planned(&names).unwrap();
    for (name, column) in names.iter().zip(&together.columns) {
        let alone = planned(&["key", name]).unwrap();
        assert_eq!(alone.columns[1].target, column.target, "{name}");
    }
}

#[test]
fn columns_that_meet_in_one_name_are_refused() {
    let spelled = name::column("a/b");
    for names in [["a/b", &spelled], ["Größe", "GRÖßE"]] {
        let error = planned(&names).unwrap_err();
        assert!(matches!(error, Error::SameColumn { .. }), "{error}");
        assert!(error.to_string().contains(names[0]), "{error}");
    }
}

#[test]
fn a_changed_name_is_told_in_the_description() {
    let target = planned(&["id", "a/b", "a b"]).unwrap();
    let described: Vec<Option<String>> = target.fields().map(|(.., text)| text).collect();
    assert_eq!(
        described,
        [None, Some("source column: a/b".to_owned()), None, None]
    );
}

#[test]
fn bigquerys_limits_hold_before_anything_is_sent() {
    let many: Vec<String> = (0..MAX_COLUMNS).map(|at| format!("c{at}")).collect();
    let names: Vec<&str> = many.iter().map(String::as_str).collect();
    let all = planned(&names);
    assert!(matches!(
        all,
        Err(Error::TooManyColumns {
            columns: MAX_COLUMNS,
            ..
        })
    ));
    // One more is ours.
    assert_eq!(planned(&names[1..]).unwrap().fields().count(), MAX_COLUMNS);
    let keys = |count: u16| {
        let columns = (0..count).map(|at| column(&format!("k{at}"), ColumnType::Int64, Some(at)));
        let place = planned(&["id"]).unwrap().destination.place.clone();
        Target::new(layout(columns.collect()), place, Mode::Cdc, Values::default())
    };
    assert_eq!(keys(16).unwrap().key.len(), 16);
    assert!(matches!(keys(17), Err(Error::Key { columns: 17, .. })));
    assert!(matches!(keys(0), Err(Error::Key { columns: 0, .. })));
}
