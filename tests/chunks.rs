//! Key ranges on real servers: whatever the key's type, the chunks of a table hold each of its rows
//! exactly once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed expectation is a failed test"
)]

#[path = "chunks/keys.rs"]
mod keys;
mod support;

use keys::{KEYS, Key, MARIADB_KEYS, MYSQL_KEYS};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, Value};
use replicator::event::{Bound, Chunk, TableId};
use replicator::fault::{Classify, Fault};
use replicator::source::mysql::catalog::CatalogTable;
use replicator::source::mysql::catalog_read;
use replicator::source::mysql::chunks::{BatchLimits, ChunkError, KeyPlan, plan_chunk, read_chunk};
use support::{BOTH, Flavour, TestDb};

async fn fill(conn: &mut Conn, key: &Key, random: &mut fastrand::Rng) {
    let Key {
        name,
        columns,
        key,
        values,
    } = key;
    conn.query_drop(format!(
        "CREATE TABLE k.`{name}` ({columns}, payload VARCHAR(20), PRIMARY KEY ({key}))"
    ))
    .await
    .unwrap_or_else(|error| panic!("{name}: {error}"));
    let rows: Vec<String> = (0..random.usize(1..400))
        .map(|i| {
            let values = values
                .replace("{i}", &i.to_string())
                .replace("{r}", &random.u32(0..1_000_000_000).to_string());
            format!("({values}, 'p{i}')")
        })
        .collect();
    conn.query_drop(format!(
        "INSERT IGNORE INTO k.`{name}` VALUES {}",
        rows.join(", ")
    ))
    .await
    .unwrap_or_else(|error| panic!("{name}: {error}"));
}

/// Something to compare and sort rows by.
fn cells(row: Row) -> Vec<String> {
    row.unwrap()
        .iter()
        .map(|value: &Value| format!("{value:?}"))
        .collect()
}

async fn read_all(conn: &mut Conn, table: &CatalogTable, chunk: &Chunk, batch: usize) -> Vec<Vec<String>> {
    let limits = BatchLimits {
        rows: batch,
        bytes: 1 << 20,
    };
    let mut stream = read_chunk(conn, table, chunk, limits).await.unwrap();
    let mut rows = Vec::new();
    while let Some(batch_rows) = stream.next_batch().await.unwrap() {
        assert!((1..=batch).contains(&batch_rows.len()));
        rows.extend(batch_rows.into_iter().map(cells));
    }
    rows
}

/// Plans all chunks, each from a bound that went through a checkpoint's JSON.
async fn plan_all(conn: &mut Conn, table: &CatalogTable, size: u64) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let mut after: Option<Bound> = None;
    loop {
        let chunk = plan_chunk(conn, table, after.as_ref(), size).await.unwrap();
        assert!(chunks.len() < 2000, "{}: the plan does not end", table.id);
        after = chunk.upper.clone();
        let text = serde_json::to_string(&chunk).unwrap();
        chunks.push(serde_json::from_str(&text).unwrap());
        if after.is_none() {
            return chunks;
        }
    }
}

async fn check(conn: &mut Conn, key: &Key, random: &mut fastrand::Rng) {
    let id = TableId::new("k", key.name);
    let table = catalog_read::read_table(conn, &id)
        .await
        .unwrap()
        .expect("the table exists");
    let whole = Chunk {
        lower: None,
        upper: None,
    };
    let mut expected = read_all(conn, &table, &whole, 1000).await;
    expected.sort();
    let count: Option<usize> = conn
        .query_first(format!("SELECT COUNT(*) FROM k.`{}`", key.name))
        .await
        .unwrap();
    assert_eq!(Some(expected.len()), count, "{}", key.name);
    for size in [1, random.u64(2..40), 100_000] {
        let chunks = plan_all(conn, &table, size).await;
        let full = expected.len() / usize::try_from(size).unwrap();
        assert_eq!(chunks.len(), full + 1, "{}: chunks of {size}", key.name);
        let mut read = Vec::new();
        for (index, chunk) in chunks.iter().enumerate() {
            let rows = read_all(conn, &table, chunk, random.usize(1..50)).await;
            if index < full {
                assert_eq!(
                    u64::try_from(rows.len()).unwrap(),
                    size,
                    "{}: {chunk:?}",
                    key.name
                );
            }
            read.extend(rows);
        }
        read.sort();
        assert_eq!(read, expected, "{}: chunks of {size}", key.name);
    }
}

async fn every_key(flavour: Flavour) {
    let db = TestDb::start(flavour, &[]);
    db.run(&["CREATE DATABASE k"]).await;
    let mut conn = db.connect().await;
    let mut random = fastrand::Rng::with_seed(7);
    let own = match flavour {
        Flavour::Mysql => MYSQL_KEYS,
        Flavour::MariaDb => MARIADB_KEYS,
    };
    for key in KEYS.iter().chain(own) {
        fill(&mut conn, key, &mut random).await;
        check(&mut conn, key, &mut random).await;
    }
    // Over partitions, which have an index each; then without a row.
    for statement in [
        "ALTER TABLE k.descending PARTITION BY HASH (a) PARTITIONS 5",
        "DELETE FROM k.descending",
    ] {
        conn.query_drop(statement).await.unwrap();
        let key = KEYS.iter().find(|key| key.name == "descending").unwrap();
        check(&mut conn, key, &mut random).await;
    }
    conn.disconnect().await.unwrap();
}

#[tokio::test]
async fn chunks_hold_each_row_once_on_mysql() {
    every_key(Flavour::Mysql).await;
}

#[tokio::test]
async fn chunks_hold_each_row_once_on_mariadb() {
    every_key(Flavour::MariaDb).await;
}

#[tokio::test]
async fn composite_ranges_use_the_primary_key() {
    for flavour in BOTH {
        let db = TestDb::start(flavour, &[]);
        db.run(&[
            "CREATE DATABASE k",
            "CREATE TABLE k.t (a INT, b INT, c VARCHAR(10), PRIMARY KEY (a, b, c))",
            "INSERT INTO k.t WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 900) \
             SELECT n DIV 100, n DIV 10, n FROM n",
        ])
        .await;
        let mut conn = db.connect().await;
        let table = catalog_read::read_table(&mut conn, &TableId::new("k", "t"))
            .await
            .unwrap()
            .unwrap();
        let first = plan_chunk(&mut conn, &table, None, 400).await.unwrap();
        let second = plan_chunk(&mut conn, &table, first.upper.as_ref(), 50)
            .await
            .unwrap();
        conn.query_drop("FLUSH STATUS").await.unwrap();
        let rows = read_all(&mut conn, &table, &second, 1000).await;
        assert_eq!(rows.len(), 50);
        let reads: Vec<(String, u64)> = conn
            .query("SHOW SESSION STATUS LIKE 'Handler_read%'")
            .await
            .unwrap();
        let touched: u64 = reads.iter().map(|(_, count)| count).sum();
        // The leading column's range: about 200 of 900 rows have a = 4 or a = 5.
        assert!(touched < 300, "{flavour:?}: {reads:?}");
        conn.disconnect().await.unwrap();
    }
}

#[tokio::test]
async fn invisible_and_generated_columns_are_read_and_a_hidden_key_is_found() {
    let db = TestDb::start(
        Flavour::Mysql,
        &["--show-gipk-in-create-table-and-information-schema=OFF"],
    );
    db.run(&[
        "CREATE DATABASE k",
        "CREATE TABLE k.v (id INT PRIMARY KEY, h INT INVISIBLE, g INT AS (id * 2) VIRTUAL, s INT AS (id * 3) STORED)",
        "INSERT INTO k.v (id, h) VALUES (1, 7)",
        "SET SESSION sql_generate_invisible_primary_key = ON",
    ])
    .await;
    let mut conn = db.connect().await;
    conn.query_drop("SET SESSION sql_generate_invisible_primary_key = ON")
        .await
        .unwrap();
    conn.query_drop("CREATE TABLE k.p (x INT)").await.unwrap();
    conn.query_drop("INSERT INTO k.p VALUES (5), (6)").await.unwrap();
    let whole = Chunk {
        lower: None,
        upper: None,
    };
    let table = catalog_read::read_table(&mut conn, &TableId::new("k", "v"))
        .await
        .unwrap()
        .unwrap();
    let marks: Vec<(bool, bool)> = table
        .columns
        .iter()
        .map(|column| (column.invisible, column.generated))
        .collect();
    assert_eq!(
        marks,
        [(false, false), (true, false), (false, true), (false, true)]
    );
    let rows = read_all(&mut conn, &table, &whole, 10).await;
    assert_eq!(rows, [["Int(1)", "Int(7)", "Int(2)", "Int(3)"]]);
    let table = catalog_read::read_table(&mut conn, &TableId::new("k", "p"))
        .await
        .unwrap()
        .unwrap();
    let names: Vec<(&str, Option<u16>)> = table
        .columns
        .iter()
        .map(|column| (column.name.as_str(), column.key))
        .collect();
    assert_eq!(names, [("my_row_id", Some(0)), ("x", None)]);
    assert_eq!(plan_all(&mut conn, &table, 1).await.len(), 3);
    conn.disconnect().await.unwrap();
}

#[tokio::test]
async fn an_owned_connection_serves_a_stream_that_outlives_its_maker() {
    let db = TestDb::start(Flavour::MariaDb, &[]);
    db.run(&[
        "CREATE DATABASE k",
        "CREATE TABLE k.t (id INT PRIMARY KEY)",
        "INSERT INTO k.t VALUES (1), (2), (3)",
    ])
    .await;
    let mut conn = db.connect().await;
    let table = catalog_read::read_table(&mut conn, &TableId::new("k", "t"))
        .await
        .unwrap()
        .unwrap();
    let whole = Chunk {
        lower: None,
        upper: None,
    };
    let limits = BatchLimits { rows: 2, bytes: 1 };
    let mut stream = read_chunk(conn, &table, &whole, limits).await.unwrap();
    let mut sizes = Vec::new();
    while let Some(batch) = stream.next_batch().await.unwrap() {
        sizes.push(batch.len());
    }
    assert_eq!(
        sizes,
        [1, 1, 1],
        "a batch ends with the row that reaches its bytes"
    );
}

#[tokio::test]
async fn what_cannot_be_read_concerns_its_table_alone() {
    let db = TestDb::start(Flavour::Mysql, &[]);
    db.run(&[
        "CREATE DATABASE k",
        "CREATE TABLE k.t (id INT PRIMARY KEY)",
        "CREATE TABLE k.n (id INT)",
    ])
    .await;
    let mut conn = db.connect().await;
    let id = TableId::new("k", "t");
    let table = catalog_read::read_table(&mut conn, &id).await.unwrap().unwrap();
    conn.query_drop("DROP TABLE k.t").await.unwrap();
    let error = plan_chunk(&mut conn, &table, None, 5).await.unwrap_err();
    assert!(error.fault() == Fault::RETRY && error.outdated(), "{error}");
    assert!(catalog_read::read_table(&mut conn, &id).await.unwrap().is_none());
    let keyless = catalog_read::read_table(&mut conn, &TableId::new("k", "n"))
        .await
        .unwrap()
        .unwrap();
    let error = KeyPlan::new(&keyless).unwrap_err();
    assert!(matches!(error, ChunkError::NoKey { .. }), "{error}");
    let whole = plan_chunk(&mut conn, &keyless, None, 5).await.unwrap();
    assert_eq!((whole.lower, whole.upper), (None, None));
    assert!(error.hint().unwrap().contains("!k.n"));
    conn.disconnect().await.unwrap();
}
