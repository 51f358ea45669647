//! Keys that the server holds for one and the target for two: an update between them has to be told as a
//! change of the key, or the target keeps both.

use std::sync::Arc;

use mysql_async::prelude::Queryable;
use replicator::event::Op;
use replicator::source::mysql::{Decoder, decode_rows};

use crate::server::{Flavour, Server};
use crate::values::{at, cells};

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
        let decoder = Arc::new(Decoder::from_table_map(&event.map).unwrap());
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
