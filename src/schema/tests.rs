use super::*;
use crate::config::{Adding, SchemaChanges};
use crate::event::{AlterSaid, TableId};

fn kind_of(declared: &str) -> ColumnType {
    match declared {
        "bigint unsigned" => ColumnType::UInt64,
        "text" | "varchar(10)" | "varchar(20)" => ColumnType::Text,
        "date" => ColumnType::Date,
        _ => ColumnType::Int64,
    }
}

fn layout(columns: &[(&str, &str)]) -> TableLayout {
    let column = |(index, (name, declared)): (usize, &(&str, &str))| Column {
        name: ColumnName::new(*name),
        kind: kind_of(declared),
        declared: (*declared).to_owned(),
        nullable: index > 0,
        key: (index == 0).then_some(0),
    };
    TableLayout {
        table: TableId::new("s", "t"),
        columns: columns.iter().enumerate().map(column).collect(),
    }
}

fn fits(was: ColumnType, is: ColumnType, _key: bool) -> Fit {
    match (was, is) {
        _ if was == is => Fit::Same,
        (ColumnType::Int64, ColumnType::UInt64) => Fit::Widen,
        (ColumnType::UInt64, ColumnType::Int64) => Fit::Same,
        _ => Fit::Never,
    }
}

fn hints(renamed: &[(&str, &str)], added_empty: &[&str]) -> AlterSaid {
    let pair = |(old, new): &(&str, &str)| ((*old).to_owned(), (*new).to_owned());
    AlterSaid {
        renamed: renamed.iter().map(pair).collect(),
        added_empty: added_empty.iter().map(|name| (*name).to_owned()).collect(),
        columns: true,
        copies_go_on: false,
    }
}

/// Plans a change of a target that was made for `before`.
fn planned(before: &[(&str, &str)], after: &[(&str, &str)], said: &AlterSaid) -> Result<Planned, Unfit> {
    let before = Projection::identity(&layout(before));
    let target: Vec<TargetColumn> = before.columns.iter().flatten().cloned().collect();
    let policies = SchemaChanges::default();
    plan(&target, &before, &layout(after), said, (&policies, &fits))
}

fn names(columns: &[Option<TargetColumn>]) -> Vec<Option<&str>> {
    let named = columns.iter().map(Option::as_ref);
    named
        .map(|column| column.map(|column| column.name.as_str()))
        .collect()
}

#[test]
fn a_column_added_empty_is_added_and_nothing_is_read_again() {
    let planned = planned(
        &[("id", "int"), ("a", "int")],
        &[("id", "int"), ("b", "text"), ("a", "int")],
        &hints(&[], &["b"]),
    )
    .unwrap();
    assert_eq!(planned.evolution.added.len(), 1);
    assert_eq!(planned.refill, None);
    assert_eq!(
        names(&planned.projection.columns),
        [Some("id"), Some("b"), Some("a")]
    );
}

#[test]
fn a_column_of_which_nothing_was_said_may_have_values() {
    let planned = planned(
        &[("id", "int")],
        &[("id", "int"), ("b", "text")],
        &AlterSaid::default(),
    )
    .unwrap();
    assert!(planned.refill.unwrap().contains("column b is new"));
}

#[test]
fn a_dropped_column_stays_in_the_target_and_comes_back_with_a_refill() {
    let first = planned(
        &[("id", "int"), ("a", "int")],
        &[("id", "int")],
        &AlterSaid::default(),
    )
    .unwrap();
    assert!(first.evolution.is_empty());
    assert_eq!((first.target.len(), first.refill), (2, None));
    let again = plan(
        &first.target,
        &first.projection,
        &layout(&[("id", "int"), ("a", "int")]),
        &hints(&[], &["a"]),
        (&SchemaChanges::default(), &fits),
    )
    .unwrap();
    assert!(again.evolution.is_empty());
    assert_eq!(again.refill.unwrap(), "column a is new again");
}

#[test]
fn a_column_dropped_and_added_with_another_type_takes_another_name() {
    let first = planned(
        &[("id", "int"), ("a", "int")],
        &[("id", "int")],
        &AlterSaid::default(),
    )
    .unwrap();
    let again = plan(
        &first.target,
        &first.projection,
        &layout(&[("id", "int"), ("a", "date")]),
        &hints(&[], &["a"]),
        (&SchemaChanges::default(), &fits),
    )
    .unwrap();
    assert_eq!(names(&again.projection.columns), [Some("id"), Some("a_v2")]);
}

#[test]
fn renames_are_followed_in_a_chain_and_keys_keep_their_names() {
    let keyed = planned(
        &[("id", "int"), ("a", "int"), ("b", "int")],
        &[("key", "int"), ("b", "int"), ("c", "int")],
        &hints(&[("id", "key"), ("a", "b"), ("b", "c")], &[]),
    )
    .unwrap();
    assert_eq!(keyed.evolution.renamed.len(), 2);
    assert_eq!(keyed.refill, None);
    assert_eq!(
        names(&keyed.projection.columns),
        [Some("id"), Some("b"), Some("c")]
    );
    let chained = planned(
        &[("id", "int"), ("a", "int")],
        &[("id", "int"), ("b", "int"), ("a", "int")],
        &hints(&[("a", "b")], &["a"]),
    )
    .unwrap();
    assert_eq!(
        names(&chained.projection.columns),
        [Some("id"), Some("b"), Some("a")]
    );
    assert_eq!(
        (chained.evolution.renamed.len(), chained.evolution.added.len()),
        (1, 1)
    );
}

#[test]
fn columns_that_change_places_keep_their_targets_and_are_read_again() {
    let swapped = planned(
        &[("id", "int"), ("a", "int"), ("b", "int")],
        &[("id", "int"), ("b", "int"), ("a", "int")],
        &hints(&[("a", "b"), ("b", "a")], &[]),
    )
    .unwrap();
    assert!(swapped.evolution.is_empty());
    assert!(swapped.refill.unwrap().contains("changed places"));
    assert_eq!(
        names(&swapped.projection.columns),
        [Some("id"), Some("b"), Some("a")]
    );
}

#[test]
fn an_unread_rename_is_a_new_column_with_values() {
    let planned = planned(
        &[("id", "int"), ("a", "int")],
        &[("id", "int"), ("b", "int")],
        &AlterSaid::default(),
    )
    .unwrap();
    assert_eq!(names(&planned.projection.columns), [Some("id"), Some("b")]);
    assert!(planned.refill.is_some());
}

#[test]
fn types_are_widened_or_take_a_column_of_their_own() {
    let wider = planned(
        &[("id", "int"), ("a", "int unsigned")],
        &[("id", "int"), ("a", "bigint unsigned")],
        &AlterSaid::default(),
    )
    .unwrap();
    assert_eq!(wider.evolution.widened.len(), 1);
    assert_eq!(wider.refill, None);
    let other = planned(
        &[("id", "int"), ("a", "int")],
        &[("id", "int"), ("a", "date")],
        &AlterSaid::default(),
    )
    .unwrap();
    assert_eq!(names(&other.projection.columns), [Some("id"), Some("a_v2")]);
    assert!(other.refill.is_some());
}

#[test]
fn a_change_of_the_key_is_none_of_columns() {
    let key = |before, after| planned(before, after, &AlterSaid::default()).unwrap_err();
    assert_eq!(
        key(&[("id", "int"), ("a", "int")], &[("a", "int"), ("id", "int")]).to_string(),
        "its key changed: it was (id) and is (a)"
    );
    assert!(matches!(
        key(&[("id", "int")], &[("id", "bigint unsigned")]),
        Unfit::Key(_)
    ));
}

#[test]
fn held_names_and_ignored_columns_are_not_written() {
    let before = Projection::identity(&layout(&[("id", "int")]));
    let target: Vec<TargetColumn> = before.columns.iter().flatten().cloned().collect();
    let policies = SchemaChanges {
        hold_names: vec!["*phone*".to_owned()],
        ..SchemaChanges::default()
    };
    let after = layout(&[("id", "int"), ("Phone_2", "text"), ("x", "int")]);
    let planned = plan(
        &target,
        &before,
        &after,
        &AlterSaid::default(),
        (&policies, &fits),
    )
    .unwrap();
    assert_eq!(names(&planned.projection.columns), [Some("id"), None, Some("x")]);
    assert_eq!(planned.held, [(ColumnName::new("Phone_2"), Adding::Hold)]);
    let later = layout(&[("id", "int"), ("Phone_2", "varchar(10)"), ("x", "int")]);
    let again = plan(
        &planned.target,
        &planned.projection,
        &later,
        &AlterSaid::default(),
        (&policies, &fits),
    )
    .unwrap();
    assert_eq!(names(&again.projection.columns), [Some("id"), None, Some("x")]);
}

#[test]
fn what_was_held_back_is_let_in_only_where_the_whole_table_is_copied() {
    let policies = SchemaChanges {
        hold_names: vec!["*phone*".to_owned()],
        ..SchemaChanges::default()
    };
    let fits = |_, _, _| Fit::Same;
    let all = layout(&[("id", "int"), ("phone", "text"), ("x", "int")]);
    let before = opening(&all, &policies);
    assert_eq!(names(&before.columns), [Some("id"), None, Some("x")]);
    let target: Vec<TargetColumn> = before.columns.iter().flatten().cloned().collect();
    let asked = |before: &Projection, after: &TableLayout, said: &AlterSaid, policies: &SchemaChanges| {
        plan(&target, before, after, said, (policies, &fits)).unwrap()
    };
    // Neither another name nor another policy lets it in while the table flows.
    let renamed = layout(&[("id", "int"), ("contact", "text"), ("x", "int")]);
    let usual = SchemaChanges::default();
    for (after, said, policies) in [
        (&all, hints(&[], &[]), &policies),
        (&all, hints(&[], &[]), &usual),
        (&renamed, hints(&[("phone", "contact")], &[]), &policies),
    ] {
        let still = asked(&before, after, &said, policies);
        assert_eq!(names(&still.projection.columns), [Some("id"), None, Some("x")]);
        assert_eq!(still.held.len(), 1);
    }
    let nothing = AlterSaid::default();
    let held = asked(&let_in(&before, &policies), &all, &nothing, &policies);
    assert_eq!(names(&held.projection.columns), [Some("id"), None, Some("x")]);
    let free = asked(&let_in(&before, &usual), &all, &nothing, &usual);
    assert_eq!(
        names(&free.projection.columns),
        [Some("id"), Some("phone"), Some("x")]
    );
    assert!(free.refill.is_some() && free.held.is_empty());
    // A key is written in any case.
    let key = SchemaChanges {
        hold_names: vec!["id".to_owned()],
        ..SchemaChanges::default()
    };
    let whole = [Some("id"), Some("phone"), Some("x")];
    assert_eq!(names(&opening(&all, &key).columns), whole);
}

#[test]
fn values_that_may_be_others_in_the_key_are_said_to_be() {
    let hints = AlterSaid::default();
    let other = planned(&[("id", "bigint")], &[("id", "int")], &hints).unwrap();
    assert!(other.rekeyed && other.refill.is_some());
    let wider = planned(&[("id", "int")], &[("id", "bigint")], &hints).unwrap();
    assert!(!wider.rekeyed && wider.refill.is_none());
    let beside = planned(
        &[("id", "int"), ("a", "bigint")],
        &[("id", "int"), ("a", "int")],
        &hints,
    )
    .unwrap();
    assert!(!beside.rekeyed && beside.refill.is_some());
}
