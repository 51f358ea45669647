use serde_json::json;

use super::super::fixture::{column, layout, log_target, target};
use super::*;
use crate::event::ColumnType;

/// `id` BIGINT key and `note` TEXT in a table that REST describes like this.
fn problems(resource: Value) -> Vec<String> {
    let target = target(layout(vec![
        column("id", ColumnType::Int64, Some(0)),
        column("note", ColumnType::Text, None),
    ]));
    misfits(&target, &read(resource).unwrap())
}

fn field(name: &str, kind: &str, mode: &str) -> Value {
    json!({ "name": name, "type": kind, "mode": mode })
}

fn resource(fields: &[Value], key: &[&str]) -> Value {
    json!({
        "schema": { "fields": fields },
        "tableConstraints": { "primaryKey": { "columns": key } },
    })
}

#[test]
fn a_table_as_rest_answers_it_fits() {
    let fields = [
        field("ID", "INTEGER", "REQUIRED"),
        json!({ "name": "note", "type": "STRING" }),
        field("_replicator_commit_time", "TIMESTAMP", "NULLABLE"),
        field("extra", "FLOAT", "NULLABLE"),
    ];
    assert_eq!(problems(resource(&fields, &["Id"])), Vec::<String>::new());
}

#[test]
fn every_misfit_is_told_with_its_cure() {
    let fields = [
        field("id", "STRING", "NULLABLE"),
        field("note", "STRING", "REQUIRED"),
        field("extra", "STRING", "REQUIRED"),
    ];
    let problems = problems(json!({ "schema": { "fields": fields } }));
    let expected = [
        "column id is STRING and should be INT64 (create the table anew)",
        "column note is REQUIRED, the source admits NULL (ALTER TABLE `p.shop.orders` ALTER COLUMN `note` DROP NOT NULL)",
        "column _replicator_commit_time TIMESTAMP is missing (ALTER TABLE `p.shop.orders` ADD COLUMN `_replicator_commit_time` TIMESTAMP)",
        "column extra is REQUIRED and not in the source (ALTER TABLE `p.shop.orders` ALTER COLUMN `extra` DROP NOT NULL)",
        "it has no primary key (ALTER TABLE `p.shop.orders` ADD PRIMARY KEY (`id`) NOT ENFORCED)",
    ];
    assert_eq!(problems, expected);
}

#[test]
fn a_type_with_parameters_would_round_without_a_word() {
    let mut fields = [
        field("id", "INTEGER", "REQUIRED"),
        field("note", "STRING", "NULLABLE"),
        field("_replicator_commit_time", "TIMESTAMP", "NULLABLE"),
    ];
    fields[1]["maxLength"] = json!("20");
    let problems = problems(resource(&fields, &["id"]));
    assert_eq!(problems.len(), 1);
    assert!(problems[0].contains("SET DATA TYPE STRING"), "{problems:?}");
}

#[test]
fn another_key_does_not_fit() {
    let fields = [
        field("id", "INT64", "REQUIRED"),
        field("note", "STRING", "NULLABLE"),
        field("_replicator_commit_time", "TIMESTAMP", "NULLABLE"),
    ];
    let problems = problems(resource(&fields, &["id", "note"]));
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].starts_with("its primary key is (id, note)"),
        "{problems:?}"
    );
}

#[test]
fn intervals_are_canonical() {
    assert_eq!(interval(Duration::from_secs(900)), "0-0 0 0:15:0");
    assert_eq!(interval(Duration::from_secs(90_061)), "0-0 0 25:1:1");
}

#[test]
fn a_table_of_rows_is_none_of_changes_and_the_other_way_round() {
    let columns = vec![
        column("id", ColumnType::Int64, Some(0)),
        column("note", ColumnType::Text, None),
    ];
    let log = log_target(layout(columns));
    let mut fields = vec![
        field("id", "INTEGER", "NULLABLE"),
        field("note", "STRING", "NULLABLE"),
        field("_replicator_commit_time", "TIMESTAMP", "NULLABLE"),
        field("_replicator_operation", "STRING", "NULLABLE"),
        field("_replicator_sequence", "STRING", "NULLABLE"),
    ];
    let found = |fields: &[Value], key: &[&str]| read(resource(fields, key)).unwrap();
    assert_eq!(misfits(&log, &found(&fields, &[])), Vec::<String>::new());
    assert_eq!(
        problems(resource(&fields, &["id"])),
        ["it holds changes, one row each, and should hold rows (create the table anew)"]
    );
    let told = misfits(&log, &found(&fields[..3], &["id"])).join("; ");
    assert!(
        told.contains("_replicator_sequence STRING is missing") && told.contains("should hold changes"),
        "{told}"
    );
    // The row that ends a read has no value of the source's.
    fields[0] = field("id", "INTEGER", "REQUIRED");
    let told = misfits(&log, &found(&fields, &[]));
    assert_eq!(told.len(), 1, "{told:?}");
}
