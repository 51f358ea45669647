//! The comparison against real servers and a target whose answers are written out by hand: every type,
//! pages, a query that takes its time, and each kind of difference with its key and column.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed expectation is a failed test"
)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use replicator::compare::{Columns, CompareError, Comparison, TargetTable, compare};
use replicator::event::{Column, ColumnName, ColumnType, TableId, TableLayout};
use replicator::task::{self, Task};
use serde_json::{Value, json};
use support::{BOTH, Flavour, TestDb};

/// Name, type in the source, what it means, type in the target.
type Spec = (&'static str, &'static str, ColumnType, &'static str);

const DECIMAL: ColumnType = ColumnType::Decimal {
    precision: 20,
    scale: 5,
};

const SPECS: &[Spec] = &[
    ("id", "BIGINT UNSIGNED", ColumnType::UInt64, "NUMERIC"),
    ("raw", "VARBINARY(8)", ColumnType::Bytes, "STRING"),
    ("small", "INT(6) ZEROFILL", ColumnType::Int64, "INTEGER"),
    ("made", "YEAR", ColumnType::Int64, "INTEGER"),
    ("flag", "BIT(1)", ColumnType::Bool, "BOOLEAN"),
    ("bits", "BIT(20)", ColumnType::Int64, "INTEGER"),
    ("amount", "DECIMAL(20,5)", DECIMAL, "NUMERIC"),
    ("single", "FLOAT", ColumnType::Float32, "FLOAT"),
    ("twofold", "DOUBLE", ColumnType::Float64, "FLOAT"),
    (
        "latin",
        "VARCHAR(20) CHARACTER SET latin1",
        ColumnType::Text,
        "STRING",
    ),
    ("choice", "ENUM('a','é')", ColumnType::Text, "STRING"),
    ("choices", "SET('x','y')", ColumnType::Text, "STRING"),
    ("padded", "BINARY(4)", ColumnType::Bytes, "BYTES"),
    ("place", "POINT", ColumnType::Bytes, "BYTES"),
    ("day", "DATE", ColumnType::Date, "DATE"),
    ("civil", "DATETIME(3)", ColumnType::DateTime, "DATETIME"),
    ("instant", "TIMESTAMP(6) NULL", ColumnType::Timestamp, "TIMESTAMP"),
    ("span", "TIME(2)", ColumnType::Time, "INTERVAL"),
    ("document", "JSON", ColumnType::Json, "JSON"),
];

/// Rows as the source is told them and as BigQuery returns them, side by side.
fn rows() -> Vec<(&'static str, Value)> {
    let point = "AQEAAAAAAAAAAADwPwAAAAAAAABA"; // little-endian WKB of POINT(1 2)
    vec![
        (
            "(18446744073709551615, X'00FF', 42, 2024, b'1', b'10000000000000000001', -12.5, 0.1, 0.1, 'Zoë', \
             'é', 'x,y', X'61', ST_GeomFromText('POINT(1 2)'), '2024-02-29', '2024-02-29 23:59:59.999', \
             '2024-02-29 23:59:59.000001', '-838:59:59', '{\"b\": [1.50, null], \"a\": \"é\"}')",
            json!([
                "18446744073709551615",
                "00ff",
                "42",
                "2024",
                "true",
                "524289",
                "-12.5",
                "0.1",
                "0.1",
                "Zoë",
                "é",
                "x,y",
                "YQAAAA==",
                point,
                "2024-02-29",
                "2024-02-29T23:59:59.999000",
                "1709251199000001",
                "0-0 0 -838:59:59",
                "{\"a\":\"é\",\"b\":[1.5,null]}"
            ]),
        ),
        (
            "(0, '', 1, 1901, b'0', 0, 0, -1.5e-10, 1e300, '', 'a', '', X'', NULL, '0000-00-00', \
             '0000-00-00 00:00:00', '1970-01-01 00:00:01', '00:00:00.5', 'null')",
            json!([
                "0",
                "",
                "1",
                "1901",
                "false",
                "0",
                "0",
                "-1.5E-10",
                "1e+300",
                "",
                "a",
                "",
                "AAAAAA==",
                null,
                null,
                null,
                "1000000",
                "0-0 0 0:0:0.500000",
                "null"
            ]),
        ),
        (
            "(7, X'41', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
             NULL, NULL, NULL)",
            json!(
                ["7", "41"]
                    .map(Value::from)
                    .into_iter()
                    .chain(std::iter::repeat_n(Value::Null, 17))
                    .collect::<Vec<_>>()
            ),
        ),
    ]
}

fn layout() -> TableLayout {
    let column = |(index, spec): (usize, &Spec)| Column {
        name: ColumnName::new(spec.0),
        kind: spec.2,
        declared: spec.1.to_owned(),
        nullable: index > 1,
        // Key order is not column order.
        key: [Some(1), Some(0)].get(index).copied().flatten(),
    };
    TableLayout {
        table: TableId::new("shop", "every"),
        columns: SPECS.iter().enumerate().map(column).collect(),
    }
}

/// A REST API that knows one table.
#[derive(Debug)]
struct Fake {
    at: SocketAddr,
    _serving: Task<()>,
}

#[derive(Debug)]
struct Content {
    fields: Vec<Value>,
    rows: Vec<Value>,
}

type Shared = State<Arc<Content>>;
type Parameters = Query<std::collections::HashMap<String, String>>;

impl Fake {
    async fn serve(content: Content) -> Fake {
        let routes = Router::new()
            .route("/bigquery/v2/projects/p/datasets/shop/tables/every", get(table))
            .route("/bigquery/v2/projects/billed/queries", post(query))
            .route("/bigquery/v2/projects/billed/queries/job1", get(page))
            .with_state(Arc::new(content));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let serving = task::spawn(
            "fake",
            async move { axum::serve(listener, routes).await.unwrap() },
        );
        Fake {
            at,
            _serving: serving,
        }
    }

    fn target(&self) -> TargetTable {
        drop(rustls::crypto::ring::default_provider().install_default());
        TargetTable {
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            rest: format!("http://{}", self.at),
            project: "p".to_owned(),
            jobs_project: "billed".to_owned(),
            dataset: "shop".to_owned(),
            table: "every".to_owned(),
            bearer: Some(Arc::new(|| Ok("token".to_owned()))),
        }
    }
}

async fn table(State(content): Shared) -> Json<Value> {
    Json(json!({ "schema": { "fields": content.fields } }))
}

/// The query is not done at first, as happens with large tables.
async fn query(headers: http::HeaderMap, Json(body): Json<Value>) -> Json<Value> {
    assert_eq!(headers["authorization"], "Bearer token");
    assert_eq!(body["useLegacySql"], false);
    assert_eq!(body["formatOptions"]["useInt64Timestamp"], true);
    let columns: Vec<String> = SPECS
        .iter()
        .map(|spec| format!("`{}`", spec.0.to_uppercase()))
        .collect();
    assert_eq!(
        body["query"],
        format!("SELECT {} FROM `p.shop.every`", columns.join(", "))
    );
    let job = json!({ "projectId": "billed", "jobId": "job1", "location": "EU" });
    Json(json!({ "jobComplete": false, "jobReference": job }))
}

/// One row a page.
async fn page(State(content): Shared, Query(asked): Parameters) -> Json<Value> {
    assert_eq!(asked["location"], "EU");
    assert_eq!(asked["formatOptions.useInt64Timestamp"], "true");
    let index: usize = asked.get("pageToken").map_or(0, |token| token.parse().unwrap());
    let cells = |row: &Value| -> Vec<Value> {
        row.as_array()
            .unwrap()
            .iter()
            .map(|cell| json!({ "v": cell }))
            .collect()
    };
    let mut page = json!({ "jobComplete": true });
    if let Some(row) = content.rows.get(index) {
        page["rows"] = json!([{ "f": cells(row) }]);
    }
    if index + 1 < content.rows.len() {
        page["pageToken"] = json!((index + 1).to_string());
    }
    Json(page)
}

fn fields() -> Vec<Value> {
    let field = |spec: &Spec| json!({ "name": spec.0.to_uppercase(), "type": spec.3, "mode": "NULLABLE" });
    let own = json!({ "name": "_replicator_commit_time", "type": "TIMESTAMP" });
    SPECS.iter().map(field).chain([own]).collect()
}

async fn source(flavour: Flavour) -> TestDb {
    let db = TestDb::start(flavour, &[]);
    let columns: Vec<String> = SPECS
        .iter()
        .map(|spec| format!("{} {}", spec.0, spec.1))
        .collect();
    let create = format!(
        "CREATE TABLE shop.every ({}, PRIMARY KEY (raw, id)) CHARACTER SET utf8mb4",
        columns.join(", ")
    );
    let values: Vec<&str> = rows().iter().map(|row| row.0).collect();
    let insert = format!("INSERT INTO shop.every VALUES {}", values.join(", "));
    db.run(&["CREATE DATABASE shop", &create, &insert]).await;
    db
}

async fn found(db: &TestDb, rows: Vec<Value>) -> Result<Comparison, CompareError> {
    let fake = Fake::serve(Content {
        fields: fields(),
        rows,
    })
    .await;
    let mut conn = db.connect().await;
    let layout = layout();
    compare(&mut conn, &fake.target(), &Columns::same_names(&layout)).await
}

fn target_rows() -> Vec<Value> {
    rows().into_iter().map(|row| row.1).collect()
}

#[tokio::test]
async fn tables_with_the_same_rows_are_equal() {
    for flavour in BOTH {
        let db = source(flavour).await;
        let mut turned = target_rows();
        turned.reverse();
        let found = found(&db, turned).await.unwrap();
        assert!(found.equal(), "{flavour:?}: {found}");
        assert_eq!((found.source_rows, found.target_rows), (3, 3));
    }
}

#[tokio::test]
async fn every_single_cell_counts() {
    let db = source(Flavour::Mysql).await;
    for (index, spec) in SPECS.iter().enumerate().skip(2) {
        let mut rows = target_rows();
        rows[1][index] = match rows[1][index].as_str() {
            Some(_) => Value::Null,
            None => rows[0][index].clone(),
        };
        let found = found(&db, rows).await.unwrap();
        assert!(!found.equal(), "{}", spec.0);
        assert_eq!(found.different_rows, 1, "{}", spec.0);
        let (key, column) = &found.different[0];
        assert_eq!((column.as_str(), key.to_string()), (spec.0, "(, 0)".to_owned()));
    }
}

#[tokio::test]
async fn missing_and_extra_rows_are_named() {
    let db = source(Flavour::Mysql).await;
    let mut rows = target_rows();
    rows[2][0] = json!("8");
    let found = found(&db, rows).await.unwrap();
    assert_eq!(
        (found.missing_rows, found.extra_rows, found.different_rows),
        (1, 1, 0)
    );
    assert_eq!(
        found.to_string(),
        "shop.every: 3 rows in the source, 3 in the target; 1 missing, 1 extra, 0 different\n  \
         missing (41, 7)\n  extra (41, 8)"
    );
}

#[tokio::test]
async fn a_target_of_another_shape_is_an_error() {
    let db = source(Flavour::Mysql).await;
    let mut conn = db.connect().await;
    let layout = layout();
    for (wrong, expected) in [
        (
            json!({ "name": "id", "type": "INTEGER" }),
            "column id is INTEGER in the target",
        ),
        (
            json!({ "name": "other", "type": "NUMERIC" }),
            "p.shop.every has no column id",
        ),
    ] {
        let mut fields = fields();
        fields[0] = wrong;
        let fake = Fake::serve(Content {
            fields,
            rows: Vec::new(),
        })
        .await;
        let error = compare(&mut conn, &fake.target(), &Columns::same_names(&layout))
            .await
            .unwrap_err();
        assert!(error.to_string().starts_with(expected), "{error}");
    }
}
