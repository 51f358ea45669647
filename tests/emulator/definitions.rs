//! Datasets, tables, statements and queries.

use std::time::Duration;

use replicator::proto::descriptor::field_descriptor_proto::Type;
use serde_json::{Value, json};

use crate::client::{Emulator, Row, Schema};

fn reason(answer: &(u16, Value)) -> (u16, &str) {
    (
        answer.0,
        answer.1["error"]["errors"][0]["reason"]
            .as_str()
            .unwrap_or_default(),
    )
}

async fn refused(emulator: &Emulator, sql: &str) -> String {
    let (reason, message) = emulator.query(sql).await.expect_err(sql);
    format!("{reason}: {message}")
}

#[tokio::test]
async fn rest_resources_live_and_die() {
    let emulator = Emulator::start().await;
    let dataset = json!({ "datasetReference": { "datasetId": "d" }, "location": "EU" });
    let made = emulator.call("POST", "/datasets", Some(dataset.clone())).await;
    assert_eq!((made.0, &made.1["location"]), (200, &json!("EU")));
    assert_eq!(
        reason(&emulator.call("POST", "/datasets", Some(dataset)).await),
        (409, "duplicate")
    );
    assert_eq!(
        reason(&emulator.call("GET", "/datasets/none", None).await),
        (404, "notFound")
    );
    let table = json!({
        "tableReference": { "projectId": "p", "datasetId": "d", "tableId": "t" },
        "schema": { "fields": [
            { "name": "id", "type": "INTEGER", "mode": "REQUIRED" },
            { "name": "price", "type": "NUMERIC", "precision": "10", "scale": "2" },
        ] },
        "tableConstraints": { "primaryKey": { "columns": ["id"] } },
        "clustering": { "fields": ["id"] },
        "maxStaleness": "0-0 0 0:10:0",
    });
    let made = emulator.call("POST", "/datasets/d/tables", Some(table)).await;
    assert_eq!(made.0, 200, "{}", made.1);
    let (_, found) = emulator.call("GET", "/datasets/d/tables/t", None).await;
    assert_eq!(found["tableConstraints"]["primaryKey"]["columns"], json!(["id"]));
    assert_eq!(found["schema"]["fields"][1]["precision"], json!("10"));
    assert_eq!(found["maxStaleness"], json!("0-0 0 0:10:0"));
    assert_eq!(
        reason(&emulator.call("DELETE", "/datasets/d", None).await),
        (400, "resourceInUse")
    );
    let (_, tables) = emulator.call("GET", "/datasets/d/tables", None).await;
    assert_eq!(tables["tables"][0]["tableReference"]["tableId"], json!("t"));
    assert_eq!(emulator.call("DELETE", "/datasets/d/tables/t", None).await.0, 204);
    assert_eq!(
        reason(&emulator.call("GET", "/datasets/d/tables/t", None).await),
        (404, "notFound")
    );
    assert_eq!(emulator.call("DELETE", "/datasets/d", None).await.0, 204);
}

/// Rules: patch, add-required.
#[tokio::test]
async fn a_patch_adds_and_loosens_and_nothing_else() {
    let emulator = Emulator::start().await;
    emulator
        .run(&[
            "CREATE SCHEMA d",
            "CREATE TABLE d.t (id INT64 NOT NULL, a STRING(5) NOT NULL)",
        ])
        .await;
    let fields = |fields: Value| Some(json!({ "schema": { "fields": fields } }));
    let id = json!({ "name": "id", "type": "INTEGER", "mode": "REQUIRED" });
    let refused = [
        json!([id]),
        json!([id, { "name": "a", "type": "INTEGER", "mode": "REQUIRED" }]),
        json!([id, { "name": "a", "type": "STRING", "maxLength": "4", "mode": "REQUIRED" }]),
    ];
    for list in refused {
        let answer = emulator.call("PATCH", "/datasets/d/tables/t", fields(list)).await;
        assert_eq!(reason(&answer), (400, "invalid"));
    }
    let added = json!([id, { "name": "a", "type": "STRING" }, { "name": "b", "type": "FLOAT" }]);
    let answer = emulator
        .call("PATCH", "/datasets/d/tables/t", fields(added))
        .await;
    assert_eq!(answer.0, 200, "{}", answer.1);
    let rows = emulator
        .query("SELECT column_name, is_nullable, data_type FROM d.INFORMATION_SCHEMA.COLUMNS ORDER BY ordinal_position")
        .await
        .expect("rows");
    let text: Vec<String> = rows
        .iter()
        .map(|row| row.iter().flatten().cloned().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(text, ["id NO INT64", "a YES STRING", "b YES FLOAT64"]);
}

/// Rules: metadata-rate.
#[tokio::test]
async fn five_changes_of_a_table_in_ten_seconds() {
    let emulator = Emulator::start().await;
    emulator
        .run(&["CREATE SCHEMA d", "CREATE TABLE d.t (id INT64)"])
        .await;
    for column in ["a", "b", "c", "e"] {
        emulator
            .run(&[&format!("ALTER TABLE d.t ADD COLUMN {column} INT64")])
            .await;
    }
    let text = refused(&emulator, "ALTER TABLE d.t ADD COLUMN f INT64").await;
    assert!(
        text.starts_with("rateLimitExceeded: Exceeded rate limits: too many table update operations"),
        "{text}"
    );
    let patch = emulator
        .call(
            "PATCH",
            "/datasets/d/tables/t",
            Some(json!({ "description": "x" })),
        )
        .await;
    assert_eq!(reason(&patch), (403, "rateLimitExceeded"));
    emulator.clock.advance(Duration::from_secs(10));
    emulator.run(&["ALTER TABLE d.t ADD COLUMN f INT64"]).await;
}

/// Statements that are refused, each with a part of the reason.
const REFUSED_STATEMENTS: &[(&str, &str)] = &[
    ("ALTER TABLE d.t DROP COLUMN id", "cannot be dropped"),
    ("ALTER TABLE d.t RENAME COLUMN on_day TO x", "cannot be renamed"),
    (
        "ALTER TABLE d.t ADD COLUMN n INT64 NOT NULL",
        "Cannot add required fields",
    ),
    ("ALTER TABLE d.t ALTER COLUMN a SET DATA TYPE INT64", "assignable"),
    (
        "ALTER TABLE d.t ALTER COLUMN b SET DATA TYPE STRING",
        "assignable",
    ),
    (
        "ALTER TABLE d.t ADD COLUMN _change_type_x INT64",
        "prefix _CHANGE_TYPE",
    ),
    (
        "CREATE TABLE d.bad (k FLOAT64, PRIMARY KEY (k) NOT ENFORCED)",
        "not supported for primary key",
    ),
    ("CREATE TABLE d.bad (a ARRAY<INT64>)", "no columns of type ARRAY"),
    ("CREATE TABLE d.t (a INT64)", "Already Exists"),
    ("UPDATE d.t SET b = 1 WHERE true", "not supported on Table p:d.t"),
    ("DELETE FROM d.t WHERE true", "not supported on Table p:d.t"),
    ("DROP TABLE d.none", "Not found"),
    ("SELECT 1; SELECT 2", "one statement"),
    ("SELEC 1", "does not know"),
    ("SELECT FROM", "Syntax error"),
];

/// Rules: bound-columns, add-required, widening, reserved-names, key-types, dml-refused, swap-names.
#[tokio::test]
async fn statements_that_change_a_table() {
    let emulator = Emulator::start().await;
    let pause = || emulator.clock.advance(Duration::from_secs(10));
    emulator
        .run(&[
            "CREATE SCHEMA IF NOT EXISTS `p.d` OPTIONS(location='US')",
            "CREATE SCHEMA IF NOT EXISTS `p.d`",
            "CREATE TABLE IF NOT EXISTS `p`.`d`.`t` (
               id INT64 NOT NULL OPTIONS(description='the id'), a INT64 NOT NULL, b STRING(3), on_day DATE,
               PRIMARY KEY (id) NOT ENFORCED)
             PARTITION BY DATE_TRUNC(on_day, MONTH) CLUSTER BY id
             OPTIONS(max_staleness = INTERVAL 15 MINUTE, description = \"it's\", labels = [('team', 'x')])",
        ])
        .await;
    let mut connection = emulator.connect("t").await;
    let schema = Schema::of(&[
        ("id", Type::Int64),
        ("a", Type::Int64),
        ("_change_type", Type::String),
    ]);
    let row = Row::default().int(1, 1).int(2, 7).text(3, "UPSERT");
    connection.append("t", &schema, vec![row]).await.expect("taken");
    emulator
        .run(&[
            "ALTER TABLE `p.d.t` ADD COLUMN IF NOT EXISTS c JSON, ADD COLUMN IF NOT EXISTS a INT64, ADD COLUMN e BYTES",
            "ALTER TABLE d.t ALTER COLUMN a SET DATA TYPE NUMERIC",
            "ALTER TABLE d.t ALTER COLUMN a DROP NOT NULL, ALTER COLUMN b SET DATA TYPE STRING",
            "ALTER TABLE d.t RENAME COLUMN a TO b, RENAME COLUMN b TO a",
            "ALTER TABLE d.t DROP COLUMN e, SET OPTIONS(max_staleness = INTERVAL '0-0 0 1:0:0' YEAR TO SECOND)",
        ])
        .await;
    // What was streamed in is applied when `max_staleness` has passed.
    emulator.wait(3600);
    let rows = emulator
        .query("SELECT b, a FROM d.t WHERE b = 7 AND b < 7.5")
        .await
        .expect("rows");
    assert_eq!(rows, [[Some("7".to_owned()), None]]);
    let options = emulator
        .query("SELECT option_name, option_value FROM d.INFORMATION_SCHEMA.TABLE_OPTIONS ORDER BY 1")
        .await
        .expect("rows");
    let options: Vec<String> = options
        .iter()
        .map(|row| row.iter().flatten().cloned().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        options,
        [
            "description \"it's\"",
            "labels [STRUCT(\"team\", \"x\")]",
            "max_staleness 0-0 0 1:0:0"
        ]
    );
    pause();
    for (sql, text) in REFUSED_STATEMENTS {
        let found = refused(&emulator, sql).await;
        assert!(found.contains(text), "{sql}: {found}");
    }
    emulator
        .run(&[
            "DROP TABLE IF EXISTS d.none",
            "DROP SCHEMA d CASCADE",
            "DROP SCHEMA IF EXISTS d",
        ])
        .await;
}

/// Queries that are refused, each with a part of the reason.
const REFUSED_QUERIES: &[(&str, &str)] = &[
    ("SELECT nothing FROM d.t", "Unrecognized name: nothing"),
    ("SELECT id FROM d.none", "Not found: Table p:d.none"),
    (
        "SELECT FARM_FINGERPRINT(name) FROM d.t",
        "Function not found: FARM_FINGERPRINT",
    ),
    ("SELECT 1 + 'x'", "Could not cast literal"),
    ("SELECT 9223372036854775807 + 1", "int64 overflow"),
    ("SELECT 1 / 0", "division by zero"),
    ("SELECT id FROM d.t WHERE name = 1", "No matching signature"),
    (
        "SELECT id FROM d.t WHERE id = ?",
        "Query parameter number 1 not found",
    ),
];

/// Queries and their rows: cells apart by spaces, rows by bars.
const QUERIES: &[(&str, &str)] = &[
    (
        "SELECT COUNT(*), SUM(id), MIN(id), MAX(name) FROM `p.d.t`",
        "6 21 1 even",
    ),
    (
        "SELECT name, COUNT(*) AS n FROM d.t GROUP BY name HAVING n > 1 ORDER BY n DESC, name",
        "Odd 3|even 3",
    ),
    (
        "SELECT x.id FROM d.t AS x WHERE x.name LIKE 'o%' OR id IN (2, 4) ORDER BY id DESC LIMIT 1 OFFSET 1",
        "2",
    ),
    (
        "SELECT id FROM d.t WHERE id IN UNNEST(@ids) AND name = @name ORDER BY id",
        "2|6",
    ),
    (
        "WITH e AS (SELECT * FROM d.t WHERE name = 'even') SELECT COUNT(*) FROM e JOIN d.t USING (id)",
        "3",
    ),
    (
        "SELECT id FROM UNNEST([1, 9]) AS id WHERE NOT EXISTS (SELECT 1 FROM d.t WHERE t.id = id)",
        "",
    ),
    (
        "SELECT k FROM UNNEST([1, 9]) AS k LEFT JOIN d.t ON t.id = k WHERE t.id IS NULL",
        "9",
    ),
    ("SELECT 1 UNION ALL SELECT 2 ORDER BY 1 DESC", "2|1"),
    (
        "SELECT CAST('12' AS INT64) + 1, SAFE_CAST('x' AS INT64) IS NULL, 3 / 2",
        "13 true 1.5",
    ),
    (
        "SELECT TIMESTAMP '1970-01-01 00:00:01+00' = TIMESTAMP_MICROS(1000000), DATE '2024-02-29'",
        "true 2024-02-29",
    ),
    (
        "SELECT CASE WHEN 1 > 2 THEN 'a' ELSE 'b' END, COALESCE(NULL, 5), 9223372036854775807",
        "b 5 9223372036854775807",
    ),
];

#[tokio::test]
async fn queries_with_every_clause() {
    let emulator = Emulator::start().await;
    emulator
        .run(&[
            "CREATE SCHEMA d",
            "CREATE TABLE d.t (id INT64, name STRING, PRIMARY KEY (id) NOT ENFORCED)",
        ])
        .await;
    let mut connection = emulator.connect("t").await;
    let rows = (1..=6)
        .map(|id| Row::upsert(id, if id % 2 == 0 { "even" } else { "Odd" }, "1"))
        .collect();
    connection
        .append("t", &Schema::changes(), rows)
        .await
        .expect("taken");
    for (sql, expected) in QUERIES {
        let parameters = json!([
            { "name": "ids", "parameterType": { "type": "ARRAY", "arrayType": { "type": "INT64" } },
              "parameterValue": { "arrayValues": [{ "value": "2" }, { "value": "6" }, { "value": "3" }] } },
            { "name": "name", "parameterType": { "type": "STRING" }, "parameterValue": { "value": "even" } },
        ]);
        let rows = emulator
            .query_with(sql, parameters)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let text = |row: &Vec<Option<String>>| {
            row.iter()
                .map(|cell| cell.clone().unwrap_or_default())
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(
            rows.iter().map(text).collect::<Vec<_>>().join("|"),
            *expected,
            "{sql}"
        );
    }
    for (sql, text) in REFUSED_QUERIES {
        let found = refused(&emulator, sql).await;
        assert!(found.contains(text), "{sql}: {found}");
    }
}

#[tokio::test]
async fn pages_of_rows_and_results() {
    let emulator = Emulator::start().await;
    emulator
        .run(&[
            "CREATE SCHEMA d",
            "CREATE TABLE d.t (id INT64, name STRING, PRIMARY KEY (id) NOT ENFORCED)",
        ])
        .await;
    let mut connection = emulator.connect("t").await;
    let rows = (0..25).map(|id| Row::upsert(id, "x", "1")).collect();
    connection
        .append("t", &Schema::changes(), rows)
        .await
        .expect("taken");
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let path = format!("/datasets/d/tables/t/data?maxResults=10&pageToken={token}");
        let (_, page) = emulator.call("GET", &path, None).await;
        let rows = page["rows"].as_array().expect("rows").clone();
        seen.extend(rows.iter().map(|row| row["f"][0]["v"].clone()));
        match page["pageToken"].as_str() {
            Some(next) => next.clone_into(&mut token),
            None => break,
        }
    }
    assert_eq!(seen, (0..25).map(|id| json!(id.to_string())).collect::<Vec<_>>());
    let job = json!({
        "jobReference": { "projectId": "p", "jobId": "job1" },
        "configuration": { "query": { "query": "SELECT id FROM d.t ORDER BY id DESC", "useLegacySql": false } },
    });
    let (status, made) = emulator.call("POST", "/jobs", Some(job.clone())).await;
    assert_eq!((status, &made["status"]["state"]), (200, &json!("DONE")));
    assert_eq!(
        reason(&emulator.call("POST", "/jobs", Some(job)).await),
        (409, "duplicate")
    );
    let (_, page) = emulator
        .call("GET", "/queries/job1?maxResults=2&startIndex=23", None)
        .await;
    assert_eq!(
        page["rows"],
        json!([{ "f": [{ "v": "1" }] }, { "f": [{ "v": "0" }] }])
    );
    assert_eq!((&page["totalRows"], page.get("pageToken")), (&json!("25"), None));
    let bad = json!({ "configuration": { "query": { "query": "SELECT x", "useLegacySql": false } } });
    let (status, failed) = emulator.call("POST", "/jobs", Some(bad)).await;
    assert_eq!(
        (status, &failed["status"]["errorResult"]["reason"]),
        (200, &json!("invalidQuery"))
    );
    assert_eq!(
        reason(&emulator.call("GET", "/queries/none", None).await),
        (404, "notFound")
    );
}

/// Rules: partition-expiration.
#[tokio::test]
async fn days_go_away_when_their_time_is_over() {
    let emulator = Emulator::start().await;
    emulator.run(&["CREATE SCHEMA d"]).await;
    let days = |days: u64| Duration::from_secs(days * 24 * 3600);
    let by_day = json!({ "type": "DAY", "field": "at", "expirationMs": days(30).as_millis().to_string() });
    let table = json!({
        "tableReference": { "projectId": "p", "datasetId": "d", "tableId": "t" },
        "schema": { "fields": [{ "name": "at", "type": "TIMESTAMP" }, { "name": "id", "type": "INTEGER" }] },
        "timePartitioning": by_day,
    });
    let made = emulator.call("POST", "/datasets/d/tables", Some(table)).await;
    assert_eq!((made.0, &made.1["timePartitioning"]), (200, &by_day));
    let schema = Schema::of(&[("at", Type::Int64), ("id", Type::Int64)]);
    let append = async |id| {
        let mut connection = emulator.connect("t").await;
        let row = Row::default().int(1, emulator.clock.unix_micros()).int(2, id);
        assert_eq!(
            connection.append("t", &schema, vec![row]).await.unwrap(),
            [0i64; 0]
        );
    };
    let ids = async || {
        let rows = emulator.query("SELECT id FROM d.t ORDER BY id").await.unwrap();
        rows.into_iter()
            .map(|row| row[0].clone().unwrap())
            .collect::<Vec<_>>()
    };
    append(1).await;
    emulator.clock.advance(days(29));
    append(2).await;
    assert_eq!(ids().await, ["1", "2"]);
    emulator.clock.advance(days(1));
    append(3).await;
    assert_eq!(ids().await, ["2", "3"]);
}
