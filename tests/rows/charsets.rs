//! Character sets held to the servers: every collation's number leads to the set that the catalog names,
//! and every code that a server takes becomes the text that it makes of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use replicator::event::{Op, TableId};
use replicator::source::mysql::types::TypeError;
use replicator::source::mysql::{Decoder, LayoutError, decode_rows};

use crate::server::{Flavour, Server, catalog, catalogs};
use crate::values::{Cells, at, cells, hex, snapshot};

/// The set without an exact decoder, because it is no superset of ASCII: tables with text in it are refused.
const REFUSED: &str = "swe7";

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
    // Each collation of a readable set is a column of one table; a refused one refuses its whole table.
    let (refused, readable): (Vec<_>, Vec<_>) = all.iter().partition(|(_, charset)| charset == REFUSED);
    let column = |(index, (collation, charset)): (usize, &&(String, String))| {
        format!("c{index} VARCHAR(7) CHARACTER SET {charset} COLLATE {collation}")
    };
    let columns: Vec<String> = readable.iter().enumerate().map(column).collect();
    make(&mut conn, "wide", &columns).await;
    for (index, one) in refused.iter().enumerate() {
        make(&mut conn, &format!("refused{index}"), &[column((0, one))]).await;
    }
    let catalogs = catalogs(&mut conn, "test").await;
    drop(conn);
    let log = server.log().await;
    assert_eq!(log.len(), refused.len() + 1);
    assert_eq!(catalogs.len(), log.len());
    for event in &log {
        let table = &event.map.table;
        let catalog = catalogs.iter().find(|catalog| catalog.id == *table).unwrap();
        let logged = Decoder::from_table_map(&event.map, None);
        let selected = Decoder::from_catalog(catalog);
        let Some(index) = table.name().strip_prefix("refused") else {
            let (logged, selected) = (logged.unwrap(), selected.unwrap());
            assert_eq!(logged.layout().columns.len(), readable.len());
            assert_eq!(logged.layout(), selected.layout());
            continue;
        };
        let (_, charset) = refused[index.parse::<usize>().unwrap()];
        for error in [logged.unwrap_err(), selected.unwrap_err()] {
            let LayoutError::Column { cause, .. } = error else {
                panic!("{error}");
            };
            assert_eq!(cause, TypeError::Charset(charset.clone()));
        }
    }
}

/// A table of these columns, and a row.
async fn make(conn: &mut Conn, name: &str, columns: &[String]) {
    for sql in [
        format!("CREATE TABLE test.{name} ({}) ENGINE=MEMORY", columns.join(", ")),
        format!(
            "INSERT INTO test.{name} VALUES ({})",
            vec!["'x'"; columns.len()].join(", ")
        ),
    ] {
        conn.query_drop(sql).await.unwrap();
    }
}

/// Sets and how long their codes are.
const ONE_BYTE: [&str; 23] = [
    "armscii8", "cp1250", "cp1251", "cp1256", "cp1257", "cp850", "cp852", "cp866", "dec8", "geostd8",
    "greek", "hebrew", "hp8", "keybcs2", "koi8r", "koi8u", "latin1", "latin2", "latin5", "latin7", "macce",
    "macroman", "tis620",
];
const TWO_BYTES: [&str; 9] = [
    "cp932", "gbk", "euckr", "ucs2", "sjis", "big5", "gb2312", "ujis", "eucjpms",
];
const THREE_BYTES: [&str; 2] = ["ujis", "eucjpms"];

/// Stores every code of a set, by its number.
async fn store_codes(conn: &mut Conn, charset: &str) {
    let table = format!("test.{charset}");
    conn.query_drop(format!(
        "CREATE TABLE {table} (id INT PRIMARY KEY, v VARCHAR(4) CHARACTER SET {charset})"
    ))
    .await
    .unwrap();
    let mut lengths = vec![("", 2, 0..0x100)];
    if TWO_BYTES.contains(&charset) {
        let first = if charset == "ucs2" { 0 } else { 0x8000 };
        lengths = vec![("", 4, first..0x1_0000)];
    }
    if THREE_BYTES.contains(&charset) {
        lengths.push(("8F", 4, 0xa000..0x1_0000));
    }
    for (lead, width, codes) in lengths {
        let sql = format!(
            "INSERT INTO {table} SELECT n + 0x{lead}0000, UNHEX(CONCAT('{lead}', LPAD(HEX(n), {width}, '0'))) \
             FROM test.numbers WHERE n >= {} AND n < {}",
            codes.start, codes.end
        );
        conn.query_drop(sql).await.unwrap();
    }
}

/// Every character that Unicode has, in blocks of 256, in the set that has them all. Returns what the blocks are.
async fn store_gb18030(conn: &mut Conn) -> Vec<String> {
    conn.query_drop("CREATE TABLE test.gb18030 (id INT PRIMARY KEY, v VARCHAR(256) CHARACTER SET gb18030)")
        .await
        .unwrap();
    let points: Vec<char> = ('\0'..=char::MAX).collect();
    let blocks: Vec<String> = points.chunks(256).map(|block| block.iter().collect()).collect();
    for (batch, texts) in blocks.chunks(64).enumerate() {
        let rows: Vec<String> = (0..texts.len())
            .map(|at| format!("({}, ?)", batch * 64 + at))
            .collect();
        let sql = format!("INSERT INTO test.gb18030 VALUES {}", rows.join(", "));
        conn.exec_drop(sql, texts.to_vec()).await.unwrap();
    }
    blocks
}

/// What a table holds, by its key, read as a snapshot is.
async fn selected(conn: &mut Conn, charset: &str) -> BTreeMap<(String, String), Cells> {
    let table = catalog(conn, &TableId::new("test", charset)).await;
    let changes = snapshot(conn, &table).await;
    let rows = changes.changes.iter().map(|change| {
        let Op::Insert { after } = change.op else {
            panic!("an insert");
        };
        let row = cells(&changes, after);
        ((charset.to_owned(), row[0].clone().unwrap()), row)
    });
    rows.collect()
}

/// A table of all numbers of 16 bits.
async fn store_numbers(conn: &mut Conn) {
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
}

async fn every_code(flavour: Flavour) {
    let server = Server::start(flavour);
    let mut conn = server.connect().await;
    store_numbers(&mut conn).await;
    let mut oracle = BTreeMap::new();
    let mut snapshots = BTreeMap::new();
    for charset in ONE_BYTE.into_iter().chain(TWO_BYTES) {
        store_codes(&mut conn, charset).await;
        snapshots.extend(selected(&mut conn, charset).await);
        let sql = format!("SELECT id, HEX(v), HEX(CONVERT(v USING utf8mb4)) FROM test.{charset}");
        let rows: Vec<Row> = conn.query(sql).await.unwrap();
        for row in rows {
            let id: String = row.get(0).unwrap();
            let stored: String = row.get(1).unwrap();
            let said: String = row.get(2).unwrap();
            oracle.insert((charset.to_owned(), id), (stored, said));
        }
    }
    if flavour == Flavour::Mysql {
        for (number, text) in store_gb18030(&mut conn).await.into_iter().enumerate() {
            let said = hex(text.as_bytes());
            oracle.insert(("gb18030".to_owned(), number.to_string()), (String::new(), said));
        }
        snapshots.extend(selected(&mut conn, "gb18030").await);
    }
    drop(conn);
    let (mut exact, mut wrong) = (0, Vec::new());
    for event in server
        .log()
        .await
        .iter()
        .filter(|event| event.map.table.name() != "numbers")
    {
        let decoder = Arc::new(Decoder::from_table_map(&event.map, None).unwrap());
        let (changes, _) = decode_rows(&decoder, event.kind, event.body.clone(), at(1)).unwrap();
        for change in &changes.changes {
            let Op::Insert { after } = change.op else {
                panic!("an insert");
            };
            let row = cells(&changes, after);
            let key = (event.map.table.name().to_owned(), row[0].clone().unwrap());
            assert_eq!(snapshots.get(&key), Some(&row), "snapshot and stream: {}", key.0);
            let (found, (stored, said)) = (row[1].clone().unwrap(), &oracle[&key]);
            // Where the server has no character it says `?`; of half a surrogate pair it makes nothing, or
            // bytes that are no UTF-8. There the cell is no text for us.
            let question = said.as_bytes().chunks(2).any(|byte| byte == b"3F");
            let no_text = question || said.is_empty() || said.starts_with("EDA") || said.starts_with("EDB");
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
    assert!(exact > 150_000, "{exact}");
}

/// The catalog shows no character of four bytes; the log's labels and the stored text are whole.
#[tokio::test]
async fn labels_that_the_catalog_cannot_show() {
    let server = Server::start(Flavour::Mysql);
    let mut conn = server.connect().await;
    for sql in [
        "CREATE DATABASE test",
        "CREATE TABLE test.t (id INT PRIMARY KEY, a ENUM('x','😀'), b SET('漢','😀')) CHARACTER SET utf8mb4",
        "INSERT INTO test.t VALUES (1, '😀', '漢,😀')",
    ] {
        conn.query_drop(sql).await.unwrap();
    }
    let table = catalog(&mut conn, &TableId::new("test", "t")).await;
    let rows = selected(&mut conn, "t").await;
    drop(conn);
    let log = server.log().await;
    let decoder = Arc::new(Decoder::from_table_map(&log[0].map, None).unwrap());
    assert_eq!(decoder.layout(), Decoder::from_catalog(&table).unwrap().layout());
    let (changes, _) = decode_rows(&decoder, log[0].kind, log[0].body.clone(), at(1)).unwrap();
    let Op::Insert { after } = changes.changes[0].op else {
        panic!("an insert");
    };
    let logged = cells(&changes, after);
    assert_eq!(
        logged[1..],
        [Some(hex("😀".as_bytes())), Some(hex("漢,😀".as_bytes()))]
    );
    assert_eq!(rows.values().collect::<Vec<_>>(), [&logged]);
    let unsure = Decoder::from_table_map_and_catalog(&log[0].map, &table).unwrap_err();
    assert!(
        matches!(
            unsure,
            LayoutError::Column {
                cause: TypeError::Labels,
                ..
            }
        ),
        "{unsure}"
    );
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
