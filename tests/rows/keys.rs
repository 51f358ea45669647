//! Keys that the server holds for one and the target for two: an update between them has to be told as a
//! change of the key, or the target keeps both.

use std::collections::BTreeSet;
use std::sync::Arc;

use mysql_async::prelude::Queryable;
use replicator::event::{Op, RowChanges, TableId};
use replicator::source::mysql::{Decoder, decode_rows};

use crate::server::{Flavour, Server, catalog};
use crate::values::{at, cells, snapshot};

/// A key's type, its value, and another spelling that the server takes for the same key.
const SPELLINGS: &[(&str, &str, &str)] = &[
    (
        "VARCHAR(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci",
        "'a'",
        "'A'",
    ),
    (
        "VARCHAR(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci",
        "'e'",
        "'é'",
    ),
    (
        "VARCHAR(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci",
        "'a'",
        "'a '",
    ),
    (
        "VARCHAR(9) CHARACTER SET latin1 COLLATE latin1_swedish_ci",
        "'ü'",
        "'Y'",
    ),
    // MariaDB logs no such update, and needs none: both are one key in the target, too.
    ("DOUBLE", "0", "-0e0"),
];

/// A key's type and two values that only look like one.
const NEIGHBOURS: &[(&str, &str, &str)] = &[
    ("VARBINARY(9)", "x'61'", "x'6100'"),
    ("BINARY(2)", "x'6100'", "x'6120'"),
    ("DECIMAL(65,30)", "0", "0.000000000000000000000000000001"),
    ("TIME(6)", "'-838:59:59.000000'", "'838:59:59.000000'"),
    ("BIT(64)", "b'0'", "~0"),
    (
        "ENUM('a','A ','b') CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        "'a'",
        "'b'",
    ),
];

async fn every_update_changes_the_key(flavour: Flavour) {
    let server = Server::start(flavour);
    let mut conn = server.connect().await;
    conn.query_drop("CREATE DATABASE test").await.unwrap();
    let all = || SPELLINGS.iter().chain(NEIGHBOURS).enumerate();
    for (index, (kind, one, other)) in all() {
        for sql in [
            format!("CREATE TABLE test.k{index} (k {kind} PRIMARY KEY, v INT)"),
            format!("INSERT INTO test.k{index} VALUES ({one}, 1)"),
            format!("UPDATE test.k{index} SET k = {other}"),
        ] {
            conn.query_drop(&sql)
                .await
                .unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
    }
    for (index, (kind, one, _)) in SPELLINGS.iter().enumerate() {
        let sql = format!("SELECT COUNT(*) FROM test.k{index} WHERE k = {one}");
        let found: Option<u64> = conn.query_first(sql).await.unwrap();
        assert_eq!(found, Some(1), "the server holds both for one: {kind}");
    }
    drop(conn);
    let mut updated = Vec::new();
    for event in server.log().await {
        let decoder = Arc::new(Decoder::from_table_map(&event.map, None).unwrap());
        let (changes, _) = decode_rows(&decoder, event.kind, event.body.clone(), at(1)).unwrap();
        for change in &changes.changes {
            if let Op::Update {
                before,
                after,
                key_changed,
            } = change.op
            {
                let (before, after) = (cells(&changes, before), cells(&changes, after));
                assert!(key_changed, "{}: {before:?} to {after:?}", event.map.table);
                assert_ne!(before, after);
                updated.push(event.map.table.name().to_owned());
            }
        }
    }
    let logged = all().filter(|(_, (kind, ..))| flavour == Flavour::Mysql || *kind != "DOUBLE");
    let expected: Vec<String> = logged.map(|(index, _)| format!("k{index}")).collect();
    assert_eq!(updated, expected);
}

#[tokio::test]
async fn mysql_keys_change_with_their_bytes() {
    every_update_changes_the_key(Flavour::Mysql).await;
}

#[tokio::test]
async fn mariadb_keys_change_with_their_bytes() {
    every_update_changes_the_key(Flavour::MariaDb).await;
}

/// Keys of which the server holds two and whose text is one: at most one of them may be a key of the target.
const ALIKE: &[(&str, &str)] = &[
    ("ENUM('a', '') CHARACTER SET utf8mb4", "('a'), (2), ('none')"),
    ("SET('', 'a') CHARACTER SET utf8mb4", "(0), (1), (2), (3)"),
    (
        "VARCHAR(9) CHARACTER SET cp932 COLLATE cp932_bin",
        "(x'81BE'), (x'879C'), ('b'), (x'FA40'), (x'EEEF')",
    ),
    (
        "CHAR(9) CHARACTER SET sjis COLLATE sjis_bin",
        "(x'5C'), (x'815F'), ('b')",
    ),
    (
        "VARCHAR(9) CHARACTER SET eucjpms COLLATE eucjpms_bin",
        "(x'A2C0'), (x'ADFC'), ('b')",
    ),
];

async fn keys_stay_apart(flavour: Flavour) {
    let server = Server::start(flavour);
    let mut conn = server.connect().await;
    conn.query_drop("CREATE DATABASE test").await.unwrap();
    let mut selected = Vec::new();
    for (index, (kind, values)) in ALIKE.iter().enumerate() {
        let table = TableId::new("test", format!("k{index}"));
        for sql in [
            format!("CREATE TABLE {table} (k {kind} PRIMARY KEY)"),
            format!("INSERT INTO {table} VALUES {values}"),
        ] {
            conn.query_drop(&sql)
                .await
                .unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
        let catalog = catalog(&mut conn, &table).await;
        selected.push(keys(&snapshot(&mut conn, &catalog).await));
    }
    drop(conn);
    let log = server.log().await;
    assert_eq!(log.len(), ALIKE.len());
    for ((event, selected), (kind, values)) in log.iter().zip(selected).zip(ALIKE) {
        let decoder = Arc::new(Decoder::from_table_map(&event.map, None).unwrap());
        let (changes, _) = decode_rows(&decoder, event.kind, event.body.clone(), at(1)).unwrap();
        let logged = keys(&changes);
        assert_eq!(logged, selected, "{kind}");
        let (shared, kept): (Vec<&String>, Vec<&String>) =
            logged.iter().partition(|key| key.starts_with("shared"));
        let distinct: BTreeSet<&String> = kept.iter().copied().collect();
        assert_eq!(distinct.len(), kept.len(), "{kind}: {logged:?}");
        let all = values.matches('(').count();
        assert!(
            logged.len() == all && (1..all).contains(&shared.len()),
            "{kind}: {logged:?}"
        );
    }
}

/// Keys in order.
fn keys(changes: &RowChanges) -> Vec<String> {
    let mut keys: Vec<String> = changes
        .changes
        .iter()
        .map(|change| match change.op {
            Op::Insert { after } => cells(changes, after)[0].clone().unwrap(),
            Op::Update { .. } | Op::Delete { .. } => panic!("an insert"),
        })
        .collect();
    keys.sort();
    keys
}

#[tokio::test]
async fn mysql_keys_of_one_text_stay_apart() {
    keys_stay_apart(Flavour::Mysql).await;
}

#[tokio::test]
async fn mariadb_keys_of_one_text_stay_apart() {
    keys_stay_apart(Flavour::MariaDb).await;
}
