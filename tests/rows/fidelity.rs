//! Every type to its edges, all the way: what a snapshot reads and what the log says go through the real sink
//! into the local BigQuery, and what a query shows there is compared with what the server says of itself.

use std::sync::Arc;

use futures_util::future::join_all;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use replicator::clock::Clock;
use replicator::compare::{Columns, TargetTable, compare};
use replicator::config;
use replicator::emulator::{self, Options, Running};
use replicator::event::{BinlogCoord, Epoch, RowChanges, TableId, TableLayout, TxnStart};
use replicator::sink::bigquery::BigQuery;
use replicator::sink::{Batch, Sink};
use replicator::source::mysql::{Decoder, RowsAt, RowsKind, decode_rows};

use crate::columns;
use crate::server::{Flavour, Server, catalog};
use crate::values::{fill, snapshot};

/// Tables beside the wide one. Each is filled, then changed by the statements that follow.
const TABLES: &[(&str, &[&str])] = &[
    (
        "blobs",
        &[
            "CREATE TABLE test.blobs (id INT PRIMARY KEY, b LONGBLOB, t LONGTEXT CHARACTER SET latin1, v VARBINARY(9), p BINARY(9))",
            "INSERT INTO test.blobs VALUES (1, REPEAT(x'00ff', 8388608), NULL, '', ''), (2, NULL, REPEAT('é', 40000), NULL, NULL), \
             (3, '', '', x'00', x'0100')",
        ],
    ),
    (
        "hidden",
        &[
            "SET SESSION sql_generate_invisible_primary_key = ON",
            "CREATE TABLE test.hidden (a INT, b INT AS (a + 1) VIRTUAL, c INT AS (a + 2) STORED, d INT INVISIBLE DEFAULT 9)",
            "SET SESSION sql_generate_invisible_primary_key = OFF",
            "INSERT INTO test.hidden (a) VALUES (1), (NULL), (-2147483648)",
        ],
    ),
    (
        "dated",
        &[
            "CREATE TABLE test.dated (k DATETIME(6), b VARBINARY(9), t TIME(3), f FLOAT, n BIGINT UNSIGNED, PRIMARY KEY (k, b, t, f, n))",
            "INSERT INTO test.dated VALUES ('2024-02-29 00:00:00.000001', x'00', '-838:59:59', 0.1, 18446744073709551615), \
             ('1000-01-01', '', '-00:00:00.001', -0.0, 0), ('9999-12-31 23:59:59.999999', x'0000', '838:59:59', 3.4e38, 1)",
        ],
    ),
    (
        "documents",
        &[
            "CREATE TABLE test.documents (id INT PRIMARY KEY, d JSON, s VARCHAR(9))",
            r#"INSERT INTO test.documents VALUES (1, 'null', 'x'), (2, NULL, 'x'), (3, '{"": {"": []}}', ''), (4, '18446744073709551616', NULL),
             (5, '[-9223372036854775809, 1e308, 0.1, 12345678901234567890.5, {"a": 1e-320}]', '?'), (6, '"\\u0000\\ud83d\\ude00"', ''),
             (7, JSON_ARRAY(CAST('0.123456789012345678901234567890' AS DECIMAL(65,30)), NOW(6), CAST('-838:59:59' AS TIME)), ''),
             (8, CONCAT(REPEAT('[', 100), '7', REPEAT(']', 100)), '')"#,
        ],
    ),
    (
        "partial",
        &[
            "CREATE TABLE test.partial (id INT PRIMARY KEY, d JSON, n INT, e JSON)",
            r#"INSERT INTO test.partial SELECT n, JSON_OBJECT('a', JSON_ARRAY(1.5e0, 'two, ]}', JSON_OBJECT('x.y', NULL, '"', '\\')), 'bb', REPEAT('b', 100),
             'c', CAST('1.50' AS DECIMAL(5,2)), 'é', JSON_OBJECT()), 1, JSON_ARRAY(REPEAT('e', 100), n) FROM
             (SELECT 1 n UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9) numbers"#,
        ],
    ),
];

/// Updates whose JSON values are logged as differences, each of the row of its number.
const PARTIAL: &[&str] = &[
    "d = JSON_SET(d, '$.a[0]', 2)",
    "d = JSON_REPLACE(d, '$.a[2].\"x.y\"', JSON_ARRAY(1, 'x')), e = JSON_SET(e, '$[1]', 'nine')",
    "d = JSON_REMOVE(d, '$.bb')",
    "d = JSON_REMOVE(d, '$.a[1]', '$.c')",
    "d = JSON_SET(d, '$.ab', 'new', '$.\"\"', TRUE, '$.\"é\".\"a b\"', CAST(NOW(6) AS JSON))",
    "d = JSON_SET(d, '$.a[9]', CAST(18446744073709551615 AS UNSIGNED), '$.c', 1e0)",
    "n = 2",
    "d = JSON_SET(d, '$.bb', 'b'), e = NULL",
    "d = JSON_SET(d, '$.a[2].\"\\\\\"\"', 'quote'), e = JSON_REMOVE(e, '$[0]'), n = NULL",
];

/// What happens to every table after the copy, so that the log has every kind of event.
fn changes(table: &str) -> Vec<String> {
    match table {
        "wide" => vec![
            "UPDATE test.wide SET id = id + 1000 WHERE id % 2 = 0".to_owned(),
            "DELETE FROM test.wide WHERE id % 7 = 0".to_owned(),
        ],
        "partial" => {
            let options = |value: &str| format!("SET SESSION binlog_row_value_options = '{value}'");
            let rows = PARTIAL.iter().zip(1..);
            let updates = rows.map(|(set, id)| format!("UPDATE test.partial SET {set} WHERE id = {id}"));
            let on = std::iter::once(options("PARTIAL_JSON"));
            on.chain(updates).chain([options("")]).collect()
        }
        "dated" => vec!["UPDATE test.dated SET k = k + INTERVAL 1 DAY WHERE n = 0".to_owned()],
        "hidden" => vec!["UPDATE test.hidden SET a = 5, d = NULL WHERE a = 1".to_owned()],
        "documents" => vec![
            "UPDATE test.documents SET d = JSON_SET(d, '$[1]', 2), s = 'new' WHERE id IN (5, 7)".to_owned(),
            "DELETE FROM test.documents WHERE id = 1".to_owned(),
        ],
        other => vec![format!("DELETE FROM test.{other} WHERE id = 3")],
    }
}

/// A local BigQuery and the sink that writes to one data set of it.
struct Target {
    running: Arc<Running>,
    sink: BigQuery,
    prefix: &'static str,
}

impl Target {
    fn new(running: &Arc<Running>, prefix: &'static str, values: &str) -> Target {
        let text = format!(
            "pipeline: fidelity\nsources:\n  - name: s\n    mysql: {{ url: 'mysql://r@localhost', tables: ['*.*'] }}\n\
             sink:\n  bigquery:\n    project: p\n    dataset: '{prefix}_{{schema}}'\n    auth: none\n    max_staleness: '0'\n    \
             endpoints: {{ rest: '{}', write: '{}' }}\nvalues: {{ {values} }}\ncheckpoint: file:///nowhere\n",
            running.rest_url(),
            running.write_url(),
        );
        let config = config::parse(&text, &|_| None).expect("a configuration");
        Target {
            running: Arc::clone(running),
            sink: BigQuery::new(&config, Clock::real()).expect("a sink"),
            prefix,
        }
    }

    async fn prepare(&self, layout: &TableLayout) {
        self.sink
            .prepare(layout)
            .await
            .unwrap_or_else(|error| panic!("{}", replicator::fault::chain(&*error)));
    }

    /// Writes rows; none may be put aside.
    async fn write(&self, changes: RowChanges) {
        let table = changes.layout.table.clone();
        let batch = Batch {
            layout: Arc::clone(&changes.layout),
            pieces: vec![changes],
        };
        let written = async { self.sink.write(batch).await?.await };
        let durable = written
            .await
            .unwrap_or_else(|error| panic!("{table}: {}", replicator::fault::chain(&*error)));
        assert_eq!(durable.dead_letters, 0, "{table}");
    }

    /// Holds the target's rows against the server's own words.
    async fn compare(&self, conn: &mut Conn, layout: &TableLayout) {
        let target = TargetTable {
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            rest: self.running.rest_url(),
            project: "p".to_owned(),
            jobs_project: "p".to_owned(),
            dataset: format!("{}_{}", self.prefix, layout.table.schema()),
            table: layout.table.name().to_owned(),
            bearer: None,
        };
        let found = compare(conn, &target, &Columns::same_names(layout)).await;
        let found = found.unwrap_or_else(|error| panic!("{}", replicator::fault::chain(&error)));
        assert!(found.equal() && found.source_rows > 1, "{}: {found}", self.prefix);
    }
}

async fn run(conn: &mut Conn, sql: &str) {
    if let Err(error) = conn.query_drop(sql).await {
        panic!("{sql}: {error}");
    }
}

#[tokio::test]
async fn every_value_arrives_by_snapshot_and_by_stream() {
    let server = Server::start(Flavour::Mysql);
    let mut conn = server.connect().await;
    run(&mut conn, "CREATE DATABASE test").await;
    fill(&mut conn, &columns::all(Flavour::Mysql)).await;
    let mut tables = vec!["wide"];
    for (table, statements) in TABLES {
        for sql in *statements {
            run(&mut conn, sql).await;
        }
        tables.push(table);
    }
    let running = emulator::serve(Options::local(Clock::real()))
        .await
        .expect("it starts");
    let running = Arc::new(running);
    let copied = Target::new(&running, "copied", "");
    let streamed = Target::new(&running, "streamed", "zero_dates: string");
    let mut copies = Vec::new();
    for table in &tables {
        let catalog = catalog(&mut conn, &TableId::new("test", *table)).await;
        copies.push(snapshot(&mut conn, &catalog).await);
    }
    let layouts: Vec<Arc<TableLayout>> = copies.iter().map(|rows| Arc::clone(&rows.layout)).collect();
    // All at once: what is made takes its time to be seen.
    join_all([&copied, &streamed].into_iter().flat_map(|target| {
        let layouts = layouts.iter();
        layouts.map(|layout| target.prepare(layout))
    }))
    .await;
    for (rows, layout) in copies.into_iter().zip(&layouts) {
        copied.write(rows).await;
        copied.compare(&mut conn, layout).await;
    }
    for table in &tables {
        for sql in changes(table) {
            run(&mut conn, &sql).await;
        }
    }
    let mut kinds = Vec::new();
    for (event, offset) in server.log().await.into_iter().zip(1_u64..) {
        let decoder = Arc::new(Decoder::from_table_map(&event.map, None).unwrap());
        let at = RowsAt {
            txn: TxnStart {
                epoch: Epoch(1),
                coord: BinlogCoord { file: 1, offset },
            },
            first_ordinal: 1,
            committed_micros: 1_700_000_000_000_000,
        };
        let (changes, _) = decode_rows(&decoder, event.kind, event.body, at).unwrap();
        streamed.write(changes).await;
        kinds.push(event.kind);
    }
    let partial = kinds.iter().filter(|kind| **kind == RowsKind::PartialUpdate);
    assert!(partial.count() >= 7, "differences are logged: {kinds:?}");
    let mut conn = server.connect().await;
    for layout in &layouts {
        streamed.compare(&mut conn, layout).await;
    }
}
