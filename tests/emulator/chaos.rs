//! The sink under faults of every kind, each at ten percent, while a load runs. Then every table is compared with
//! what the source says, row by row; every row that was refused is a dead letter, with its place, its key and its
//! column, and no other row is; and no number came with two contents.

use std::collections::BTreeMap;

use replicator::event::{ColumnType, TableId};
use replicator::sink::Prepared;
use serde_json::{Value, json};

use crate::load::{AT_RANDOM, Load};
use crate::world::{World, layout};

/// Ends of a call, all without the rows being taken.
const ENDS: [&str; 11] = [
    "UNAVAILABLE",
    "ABORTED",
    "CANCELLED",
    "INTERNAL",
    "DEADLINE_EXCEEDED",
    "UNKNOWN",
    "RESOURCE_EXHAUSTED",
    "NOT_FOUND",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "UNIMPLEMENTED",
];

fn ended(code: &str) -> Value {
    json!({ "status": { "code": code } })
}

fn told(code: &str, storage: Option<&str>) -> Value {
    json!({ "status": { "code": code, "in_band": true, "storage_error": storage } })
}

fn refused_row(rows: &[usize]) -> Value {
    json!({ "row_errors": { "rows": { "indexes": rows }, "listed": 1, "message": AT_RANDOM } })
}

/// Kinds of faults that come together: each strikes one of ten requests.
fn weathers() -> Vec<Vec<Value>> {
    let ends = ENDS.map(ended).to_vec();
    let mut answers = vec![
        told("UNAVAILABLE", None),
        told("ABORTED", None),
        told("INTERNAL", None),
        told("RESOURCE_EXHAUSTED", None),
        told("PERMISSION_DENIED", None),
        told("UNAUTHENTICATED", None),
        told("NOT_FOUND", Some("TABLE_NOT_FOUND")),
        told("INVALID_ARGUMENT", Some("SCHEMA_MISMATCH_EXTRA_FIELDS")),
        told("INTERNAL", Some("KMS_SERVICE_ERROR")),
    ];
    answers.extend(
        [
            "The proto field mismatched with BigQuery field",
            "the table is re-created",
        ]
        .map(|text| json!({ "status": { "code": "INVALID_ARGUMENT", "message": text } })),
    );
    let lost = vec![
        json!({ "cut": {} }),
        json!({ "cut": { "applied": true } }),
        json!({ "end": {} }),
        json!({ "end": { "applied": true } }),
        json!({ "hang": {} }),
        json!({ "hang": { "applied": true } }),
        json!({ "delay": { "seconds": 30 } }),
        json!({ "status": { "code": "UNAVAILABLE", "applied": true } }),
        json!({ "status": { "code": "ABORTED", "applied": true } }),
        json!({ "status": { "code": "INTERNAL", "in_band": true, "applied": true } }),
        json!({ "status": { "code": "RESOURCE_EXHAUSTED", "in_band": true, "applied": true } }),
    ];
    let all = [ends.as_slice(), &answers, &lost].concat();
    vec![ends, answers, lost, all]
}

/// What strikes calls beside the appends, in every weather.
fn calls() -> Vec<Value> {
    let http = |code: u16, reason: &str, applied: bool| {
        json!({ "on": "rest", "effect": {
        "http": { "code": code, "reason": reason, "applied": applied } } })
    };
    let missing = |path: &str| {
        json!({ "on": "rest", "method": "GET", "path": path, "effect": {
        "http": { "code": 404, "reason": "notFound" } } })
    };
    let failed = |reason: &str| json!({ "on": "jobs", "effect": { "fail": { "reason": reason } } });
    let stream = |code: &str| json!({ "on": "streams", "effect": { "status": { "code": code } } });
    vec![
        http(500, "internalError", false),
        http(502, "badGateway", false),
        http(503, "backendError", false),
        http(503, "backendError", true),
        http(429, "rateLimitExceeded", false),
        http(403, "rateLimitExceeded", false),
        http(401, "authError", false),
        json!({ "on": "rest", "effect": { "cut": {} } }),
        json!({ "on": "rest", "effect": { "cut": { "applied": true } } }),
        json!({ "on": "rest", "effect": { "delay": { "seconds": 30 } } }),
        missing("/tables/"),
        missing("/queries/"),
        json!({ "on": "jobs", "effect": { "pending": { "polls": 4 } } }),
        failed("backendError"),
        failed("internalError"),
        failed("jobRateLimitExceeded"),
        stream("UNAVAILABLE"),
        stream("NOT_FOUND"),
        stream("PERMISSION_DENIED"),
        json!({ "on": "streams", "effect": { "delay": { "seconds": 30 } } }),
    ]
}

/// Orders the faults of a weather, and the random refusals of rows of one table.
async fn break_out(world: &World, weather: &[Value], seed: u64) {
    let append = |effect: &Value| json!({ "on": "append", "effect": effect });
    let rows = [refused_row(&[0]), refused_row(&[0, 2])]
        .map(|effect| json!({ "on": "append", "table": "d.plain", "effect": effect }));
    let faults = rows.into_iter().chain(weather.iter().map(append)).chain(calls());
    for (place, mut fault) in (1..).zip(faults) {
        fault["probability"] = json!(0.1);
        fault["seed"] = json!(seed * 1_000 + place);
        world.emulator.order(fault).await;
    }
}

/// Withdraws all faults; counts how often each struck.
async fn calm(world: &World, struck: &mut BTreeMap<String, u64>) {
    let (_, list) = world.emulator.control("GET", "faults", None).await;
    for fault in list["faults"].as_array().expect("faults") {
        let kind = format!("{} {}", fault["fault"]["on"], fault["fault"]["effect"]);
        *struck.entry(kind).or_default() += fault["fired"].as_u64().expect("a count");
    }
    world.emulator.control("DELETE", "faults", None).await;
}

const WIDE: ColumnType = ColumnType::Decimal {
    precision: 65,
    scale: 30,
};

/// The columns of every table, of which the last comes later.
pub(crate) const COLUMNS: [(&str, ColumnType); 5] = [
    ("id", ColumnType::Int64),
    ("born", ColumnType::Date),
    ("n", WIDE),
    ("note", ColumnType::Text),
    ("later", ColumnType::Text),
];

/// A table that takes births of the last ten years only: other rows are refused.
pub(crate) const BY_DAY: &str = "CREATE TABLE d.dated (id INT64 NOT NULL, born DATE, n BIGNUMERIC, note STRING, \
                                 _replicator_commit_time TIMESTAMP, PRIMARY KEY (id) NOT ENFORCED) PARTITION BY born";

/// One run; gives how often each kind struck.
async fn storm(seed: u64) -> BTreeMap<String, u64> {
    let emulator = World::strict().await;
    emulator.run(&[BY_DAY]).await;
    let write = emulator.running.write_url();
    let world = World::before(emulator, &write, std::time::Duration::from_secs(4));
    let mut load = Load::new(seed, &["dated", "plain", "other"], &COLUMNS[..4]);
    let mut struck = BTreeMap::new();
    for (round, weather) in (0..).zip(weathers()) {
        break_out(&world, &weather, seed * 10 + round).await;
        if round == 0 {
            for layout in load.layouts() {
                world.prepare_surely(layout).await;
            }
        }
        if round == 2 {
            // A table is dropped by somebody, made anew, and copied again.
            calm(&world, &mut struck).await;
            world.emulator.run(&["DROP TABLE d.other"]).await;
            break_out(&world, &weather, seed * 10 + round).await;
            let made = world.prepare_surely(load.layouts()[2]).await;
            assert!(matches!(made, Prepared::Created | Prepared::Empty), "{made:?}");
            load.copy_again(&world, 2).await.expect("all rows are safe");
        }
        let transactions = if round < 2 { 6 } else { 3 };
        load.run(&world, transactions).await.expect("all rows are safe");
        calm(&world, &mut struck).await;
        if round == 0 {
            // Between two drained loads the table is widened: writers see it late.
            world
                .emulator
                .run(&["ALTER TABLE d.plain ADD COLUMN later STRING"])
                .await;
            load.widen(1, layout(TableId::new("d", "plain"), &COLUMNS));
        }
    }
    // Queries of this test are not asked for more than once.
    world.emulator.control("PUT", "profile", Some(json!({}))).await;
    let refusals = struck.iter().filter(|(kind, _)| kind.contains(AT_RANDOM));
    let refused: u64 = refusals.map(|(_, count)| count).sum();
    let refused = usize::try_from(refused).expect("few");
    let found = load.compare(&world).await;
    assert_eq!(found.differences, [""; 0]);
    assert_eq!(found.audited, [""; 0]);
    // An answer that a break of the connection swallows is not told: its request was sent again.
    let told = found.refused_at_random;
    assert!(
        (1..=refused).contains(&told),
        "{told} letters of {refused} refusals at random"
    );
    struck
}

#[tokio::test]
async fn every_row_arrives_through_faults_of_every_kind() {
    let mut struck: BTreeMap<String, u64> = BTreeMap::new();
    for seed in 1..=2 {
        for (kind, count) in storm(seed).await {
            *struck.entry(kind).or_default() += count;
        }
    }
    // Chance spares one or the other of the rare calls.
    let kinds = struck.len();
    let never: Vec<&String> = struck
        .iter()
        .filter(|(_, count)| **count == 0)
        .map(|(kind, _)| kind)
        .collect();
    assert!(never.len() * 5 < kinds, "these never struck: {never:?}");
}
