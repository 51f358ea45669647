//! Character sets held to the servers: every collation's number leads to the set that the catalog names,
//! and every code that a server takes becomes the text that it makes of it.

use std::sync::Arc;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use replicator::event::{Op, TableId};
use replicator::source::mysql::types::TypeError;
use replicator::source::mysql::{Decoder, LayoutError, decode_rows};

use crate::server::{Flavour, Server, catalog};
use crate::values::{at, cells};

/// Sets without an exact decoder: tables with text in them are refused.
const REFUSED: [&str; 24] = [
    "cp1256", "cp866", "armscii8", "big5", "cp850", "cp852", "dec8", "eucjpms", "gb18030", "gb2312",
    "geostd8", "greek", "hebrew", "hp8", "keybcs2", "koi8u", "latin5", "latin7", "macce", "macroman", "sjis",
    "swe7", "tis620", "ujis",
];

async fn collations(conn: &mut Conn, flavour: Flavour) -> Vec<(String, String)> {
    let sql = match flavour {
        Flavour::Mysql => {
            "SELECT COLLATION_NAME, CHARACTER_SET_NAME FROM information_schema.COLLATIONS ORDER BY ID"
        }
        Flavour::MariaDb => {
            "SELECT FULL_COLLATION_NAME, CHARACTER_SET_NAME \
             FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY ORDER BY ID"
        }
    };
    conn.query(sql).await.unwrap()
}

async fn every_collation(flavour: Flavour) {
    let server = Server::start(flavour);
    let mut conn = server.connect().await;
    conn.query_drop("CREATE DATABASE test").await.unwrap();
    let all = collations(&mut conn, flavour).await;
    assert!(all.len() > 250, "{}", all.len());
    let mut tables = Vec::new();
    for (index, (collation, charset)) in all.iter().enumerate() {
        let table = TableId::new("test", format!("t{index}"));
        let sql = format!("CREATE TABLE {table} (v VARCHAR(7) CHARACTER SET {charset} COLLATE {collation})");
        conn.query_drop(sql).await.unwrap();
        conn.query_drop(format!("INSERT INTO {table} VALUES ('x')"))
            .await
            .unwrap();
        let catalog = catalog(&mut conn, &table).await;
        tables.push((catalog, charset.as_str()));
    }
    drop(conn);
    let log = server.log().await;
    assert_eq!(log.len(), tables.len());
    for (event, (catalog, charset)) in log.iter().zip(&tables) {
        let (logged, selected) = (
            Decoder::from_table_map(&event.map),
            Decoder::from_catalog(catalog),
        );
        if REFUSED.contains(charset) {
            for refused in [logged.unwrap_err(), selected.unwrap_err()] {
                let LayoutError::Column { cause, .. } = refused else {
                    panic!("{refused}");
                };
                assert_eq!(cause, TypeError::Charset((*charset).to_owned()));
            }
        } else {
            assert_eq!(logged.unwrap().layout(), selected.unwrap().layout(), "{charset}");
        }
    }
}

/// Sets whose codes have one byte, and those of one or two.
const ONE_BYTE: [&str; 6] = ["latin1", "latin2", "cp1250", "cp1251", "cp1257", "koi8r"];
const TWO_BYTES: [&str; 4] = ["cp932", "gbk", "euckr", "ucs2"];

async fn store_codes(conn: &mut Conn, charset: &str, two_bytes: bool) {
    let table = format!("test.{charset}");
    conn.query_drop(format!(
        "CREATE TABLE {table} (id INT PRIMARY KEY, v VARCHAR(4) CHARACTER SET {charset})"
    ))
    .await
    .unwrap();
    let codes = if two_bytes { 0x1_0000 } else { 0x100 };
    let width = if two_bytes { 4 } else { 2 };
    let sql = format!(
        "INSERT INTO {table} SELECT n, UNHEX(LPAD(HEX(n), {width}, '0')) FROM test.numbers WHERE n < {codes}"
    );
    conn.query_drop(sql).await.unwrap();
}

async fn every_code(flavour: Flavour) {
    let server = Server::start(flavour);
    let mut conn = server.connect().await;
    conn.query_drop("CREATE DATABASE test").await.unwrap();
    conn.query_drop("CREATE TABLE test.numbers (n INT PRIMARY KEY)")
        .await
        .unwrap();
    let digits = "(SELECT 0 d UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6 \
         UNION SELECT 7 UNION SELECT 8 UNION SELECT 9 UNION SELECT 10 UNION SELECT 11 UNION SELECT 12 UNION SELECT 13 \
         UNION SELECT 14 UNION SELECT 15)";
    conn.query_drop(format!(
        "INSERT INTO test.numbers SELECT a.d * 4096 + b.d * 256 + c.d * 16 + e.d FROM {digits} a, {digits} b, {digits} c, {digits} e"
    ))
    .await
    .unwrap();
    let mut oracle = std::collections::BTreeMap::new();
    for charset in ONE_BYTE.into_iter().chain(TWO_BYTES) {
        store_codes(&mut conn, charset, TWO_BYTES.contains(&charset)).await;
        let sql = format!("SELECT id, HEX(v), HEX(CONVERT(v USING utf8mb4)) FROM test.{charset}");
        let rows: Vec<Row> = conn.query(sql).await.unwrap();
        for row in rows {
            let id: String = row.get(0).unwrap();
            let stored: String = row.get(1).unwrap();
            let said: String = row.get(2).unwrap();
            oracle.insert((charset.to_owned(), id), (stored, said));
        }
    }
    drop(conn);
    let (mut exact, mut wrong) = (0, Vec::new());
    for event in server
        .log()
        .await
        .iter()
        .filter(|event| event.map.table.name() != "numbers")
    {
        let decoder = Arc::new(Decoder::from_table_map(&event.map).unwrap());
        let (changes, _) = decode_rows(&decoder, event.kind, event.body.clone(), at(1)).unwrap();
        for change in &changes.changes {
            let Op::Insert { after } = change.op else {
                panic!("an insert");
            };
            let row = cells(&changes, after);
            let key = (event.map.table.name().to_owned(), row[0].clone().unwrap());
            let (found, (stored, said)) = (row[1].clone().unwrap(), &oracle[&key]);
            // Where the server has no character it says `?`; of half a surrogate pair it makes nothing, or
            // bytes that are no UTF-8. There the cell is no text for us.
            let no_text =
                said.contains("3F") || said.is_empty() || said.starts_with("EDA") || said.starts_with("EDB");
            let undefined = found.starts_with("invalid") && no_text;
            if found == *said || undefined {
                exact += usize::from(!undefined);
            } else {
                wrong.push(format!("{} {stored}: {found} instead of {said}", key.0));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}: {:?}",
        wrong.len(),
        oracle.len(),
        &wrong[..wrong.len().min(120)]
    );
    assert!(exact > 100_000, "{exact}");
}

#[tokio::test]
async fn mysql_collations() {
    every_collation(Flavour::Mysql).await;
}

#[tokio::test]
async fn mariadb_collations() {
    every_collation(Flavour::MariaDb).await;
}

#[tokio::test]
async fn mysql_codes() {
    every_code(Flavour::Mysql).await;
}

#[tokio::test]
async fn mariadb_codes() {
    every_code(Flavour::MariaDb).await;
}
