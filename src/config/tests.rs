use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::subsequence;
use serde_json::{Value, json};

use super::*;

mod credentials;

const SECRET: &str = "sw0rd/fi@sh:%";

fn env(name: &str) -> Option<String> {
    match name {
        "MYSQL_PASSWORD" => Some(SECRET.to_owned()),
        "CHUNKS" => Some("7".to_owned()),
        _ => None,
    }
}

/// A configuration that is whole and right.
fn good() -> Value {
    json!({
        "pipeline": "shop",
        "sources": [{
            "name": "shop",
            "mysql": {
                "url": "mysql://replicator:${MYSQL_PASSWORD}@db:3307",
                "tls": { "mode": "verify_ca", "ca": "/etc/ssl/rds.pem" },
                "tables": ["shop.*", "!shop.tmp_*"],
                "snapshot": { "mode": "initial", "parallelism": 2, "chunk_rows": 1000, "max_rows_per_second": 3000,
                    "max_replica_lag": "30s" },
                "server_id": 4711,
                "on_position_lost": "stop"
            }
        }],
        "sink": { "bigquery": {
            "project": "my-project",
            "dataset": "{source}_{schema}",
            "table": "{table}",
            "location": "EU",
            "jobs_project": "bills",
            "max_staleness": "1h",
            "auth": "adc",
            "endpoints": { "rest": "https://rest.example:1/", "write": null }
        }},
        "values": { "zero_dates": "dead_letter", "out_of_range": null, "invalid_text": "string" },
        "tables": { "shop.orders": { "mode": "upsert" } },
        "schema_changes": { "key_change": "park", "drop_table": "keep", "hold_names": ["*phone*"],
            "add_column": "hold", "truncate": "sweep", "resnapshot_limit": "1GB" },
        "checkpoint": "file:///var/lib/replicator",
        "http": "127.0.0.1:8080",
        "notify": []
    })
}

/// The least that is enough.
fn least() -> Value {
    json!({
        "pipeline": "p",
        "sources": [{ "name": "s", "mysql": { "url": "mysql://u@h", "tables": ["a.b"] } }],
        "sink": { "bigquery": { "project": "my-project" } },
        "checkpoint": "file:///c"
    })
}

/// The MySQL server of a configuration.
fn mysql(config: Config) -> MysqlSource {
    match config.source {
        SourceConfig::Mysql(source) => source,
        SourceConfig::Dynamodb(_) => panic!("another kind of source"),
    }
}

/// JSON is YAML, so a changed tree can be read as a file.
fn read(file: &Value) -> Result<Config, ConfigErrors> {
    parse(&file.to_string(), &env)
}

fn keys(file: &Value) -> Vec<String> {
    let errors = read(file).err().map(|it| it.errors).unwrap_or_default();
    errors.into_iter().map(|error| error.key).collect()
}

/// Sets a value, making the objects on the way.
fn set(file: &mut Value, pointer: &str, value: Value) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    if file.pointer(parent).is_none() {
        set(file, parent, json!({}));
    }
    let parent = file.pointer_mut(parent).unwrap();
    match parent.as_array_mut() {
        Some(list) if name == "-" => list.push(value),
        Some(list) => list[name.parse::<usize>().unwrap()] = value,
        None => parent[name] = value,
    }
}

#[test]
fn a_whole_configuration() {
    let config = read(&good()).unwrap();
    assert_eq!(config.pipeline, "shop");
    let source = mysql(config.clone());
    assert_eq!((source.host.as_str(), source.port), ("db", 3307));
    assert_eq!(source.user, "replicator");
    let Login::Password(password) = &source.login else {
        panic!("{:?}", source.login);
    };
    assert_eq!(password.reveal().unwrap(), SECRET);
    assert_eq!(source.tls.mode, TlsMode::VerifyCa);
    assert_eq!(source.tls.ca.as_deref(), Some("/etc/ssl/rds.pem".as_ref()));
    assert!(source.tables.matches(&TableId::new("shop", "orders")));
    assert!(!source.tables.matches(&TableId::new("shop", "tmp_1")));
    assert_eq!(
        source.snapshot,
        Snapshot {
            mode: SnapshotMode::Initial,
            parallelism: 2,
            chunk_rows: 1000,
            max_rows_per_second: NonZeroU64::new(3000),
            max_replica_lag: Some(Duration::from_secs(30)),
        }
    );
    assert_eq!(source.server_id, Some(4711));
    assert_eq!(config.sink.location.as_deref(), Some("EU"));
    assert_eq!(config.sink.jobs_project, "bills");
    assert_eq!(
        config.sink.max_staleness,
        Staleness::Fixed(Duration::from_secs(3600))
    );
    assert_eq!(config.sink.rest, "https://rest.example:1");
    assert_eq!(config.sink.write, "https://bigquerystorage.googleapis.com");
    assert_eq!(
        config.target(&TableId::new("sales", "orders")),
        ("shop_sales".to_owned(), "orders".to_owned())
    );
    assert_eq!(
        config.checkpoint,
        CheckpointPlace::Directory(PathBuf::from("/var/lib/replicator"))
    );
    assert_eq!(config.http.to_string(), "127.0.0.1:8080");
}

#[test]
fn what_is_left_out_has_a_safe_default() {
    let config = read(&least()).unwrap();
    let source = mysql(config.clone());
    assert_eq!(
        source.tls,
        Tls {
            mode: TlsMode::VerifyIdentity,
            ca: None
        }
    );
    assert_eq!(source.port, 3306);
    assert_eq!(source.server_id, None);
    assert_eq!(source.snapshot.mode, SnapshotMode::Initial);
    assert_eq!(source.snapshot.parallelism, 4);
    assert_eq!(source.snapshot.chunk_rows, 50_000);
    assert_eq!(source.snapshot.rows_planned(), 50_000);
    let rate = |rows| Snapshot {
        max_rows_per_second: NonZeroU64::new(rows),
        ..source.snapshot.clone()
    };
    assert_eq!(rate(300).rows_planned(), 3_000);
    assert_eq!(rate(u64::MAX).rows_planned(), 50_000);
    assert_eq!(config.sink.dataset, "{schema}");
    assert_eq!(config.sink.table, "{table}");
    assert_eq!(config.sink.jobs_project, "my-project");
    assert_eq!(config.sink.max_staleness, Staleness::Auto { budget_cents: None });
    assert_eq!(config.sink.auth, Auth::Adc);
    assert_eq!(config.sink.rest, "https://bigquery.googleapis.com");
    assert_eq!(config.http.to_string(), "0.0.0.0:8080");
}

#[test]
fn what_is_put_in_counts_as_a_number_where_one_belongs() {
    let mut file = least();
    set(
        &mut file,
        "/sources/0/mysql/snapshot/parallelism",
        json!("${CHUNKS}"),
    );
    set(&mut file, "/sources/0/mysql/server_id", json!("${ID:-12}"));
    set(&mut file, "/sink/bigquery/max_staleness", json!(0));
    let config = read(&file).unwrap();
    let source = mysql(config.clone());
    assert_eq!(source.snapshot.parallelism, 7);
    assert_eq!(source.server_id, Some(12));
    assert_eq!(config.sink.max_staleness, Staleness::Fixed(Duration::ZERO));
}

#[test]
fn a_budget_goes_with_auto() {
    let mut file = least();
    let key = "/sink/bigquery/apply_budget_per_month";
    set(&mut file, key, json!("50 USD"));
    let budget_cents = Some(5000);
    assert_eq!(
        read(&file).unwrap().sink.max_staleness,
        Staleness::Auto { budget_cents }
    );
    set(&mut file, "/sink/bigquery/max_staleness", json!("15m"));
    assert_eq!(keys(&file), ["sink.bigquery.apply_budget_per_month"]);
}

#[test]
fn the_emulator_needs_both_addresses_and_no_token_goes_unencrypted() {
    let mut file = least();
    set(&mut file, "/sink/bigquery/auth", json!("none"));
    assert_eq!(
        keys(&file),
        ["sink.bigquery.endpoints.rest", "sink.bigquery.endpoints.write"]
    );
    set(
        &mut file,
        "/sink/bigquery/endpoints/rest",
        json!("http://127.0.0.1:9050/"),
    );
    set(
        &mut file,
        "/sink/bigquery/endpoints/write",
        json!("http://127.0.0.1:9060"),
    );
    assert_eq!(read(&file).unwrap().sink.rest, "http://127.0.0.1:9050");
    set(
        &mut file,
        "/sink/bigquery/impersonate",
        json!("a@p.iam.gserviceaccount.com"),
    );
    assert_eq!(keys(&file), ["sink.bigquery.impersonate"]);
    set(&mut file, "/sink/bigquery/impersonate", Value::Null);
    set(&mut file, "/sink/bigquery/auth", json!("adc"));
    assert_eq!(
        keys(&file),
        ["sink.bigquery.endpoints.rest", "sink.bigquery.endpoints.write"]
    );
}

#[test]
fn an_empty_file_lists_what_is_required() {
    for text in ["", "{}", "# nothing\n", "null"] {
        let errors = parse(text, &env).unwrap_err();
        let keys: Vec<&str> = errors.errors.iter().map(|error| error.key.as_str()).collect();
        assert_eq!(keys, ["pipeline", "sources", "sink", "checkpoint"], "{text:?}");
    }
    assert_eq!(keys(&json!({ "sources": [] }))[1], "sources");
    assert_eq!(
        parse("[1]", &env).unwrap_err().errors[0].what,
        "is a list where keys and values is expected"
    );
}

#[test]
fn a_syntax_error_names_its_line_and_shows_no_text() {
    let text = "pipeline: shop\nsources:\n  - name: \"swordfish\n  x: [\n";
    let errors = parse(text, &env).unwrap_err().to_string();
    assert!(errors.contains("line "), "{errors}");
    assert!(!errors.contains("swordfish"), "{errors}");
    let twice = parse("pipeline: a\npipeline: b\n", &env).unwrap_err().to_string();
    assert!(twice.contains("line 2") && twice.contains("pipeline"), "{twice}");
}

#[test]
fn errors_read_well() {
    let mut file = good();
    for (pointer, value) in [
        ("/pipelin", json!("x")),
        (
            "/sources/0/mysql/url",
            json!("mysql://u:${NOPE}@${file:/nonexistent/host}"),
        ),
        ("/sources/0/mysql/tls/mode", json!("verify-identity")),
        ("/sources/0/mysql/tables", json!(["orders", 3, "shop.*"])),
        ("/sources/0/mysql/snapshot/parallelism", json!("four")),
        ("/sources/0/mysql/snapshot/mode", json!("when_needed")),
        (
            "/sources/-",
            json!({ "name": "sessions", "dynamodb": { "region": "x", "tables": ["sessions"] } }),
        ),
        ("/sink/bigquery/dataset", json!({ "schema": null })),
        ("/sink/bigquery/table", json!("{tabel}")),
        ("/sink/bigquery/max_staleness", json!("car")),
        ("/sink/bigquery/apply_budget_per_month", json!("50 EUR")),
        ("/sink/bigquery/location", json!("${MYSQL_PASSWORD}")),
        ("/tables/shop.orders/hash", json!(["email"])),
        ("/schema_changes/add_column", json!("drop")),
        ("/schema_changes/key_change", json!("new_version")),
        ("/http", json!("8080")),
        ("/notify", json!([{ "webhook": "${SLACK_URL:-x}" }])),
    ] {
        set(&mut file, pointer, value);
    }
    insta::assert_snapshot!(read(&file).unwrap_err());
}

#[test]
fn schema_is_the_documented_one() {
    insta::assert_snapshot!(serde_json::to_string_pretty(&schema()).unwrap());
}

/// Single mistakes: where, what is put there, and the key that must be named. No two touch.
const MISTAKES: &str = r#"
/pipeline | "Shop!" | pipeline
/pipline | "x" | pipline
/sources/- | { "name": "other" } | sources[1]
/sources/0/name | null | sources[0].name
/sources/0/dynamodb | { "region": "x", "tables": ["abc"], "first_load": "none" } | sources[0]
/sources/0/mysql/url | "mysql://u:sw0rd/fi@h/shop" | sources[0].mysql.url
/sources/0/mysql/auth | "iam" | sources[0].mysql.auth
/sources/0/mysql/on_position_lost | "copy" | sources[0].mysql.on_position_lost
/sources/0/mysql/tls/mode | "${MYSQL_PASSWORD}" | sources[0].mysql.tls.mode
/sources/0/mysql/tls/ca | "rds.pem" | sources[0].mysql.tls.ca
/sources/0/mysql/tables/- | "${MYSQL_PASSWORD}" | sources[0].mysql.tables[2]
/sources/0/mysql/snapshot/mode | "when_needed" | sources[0].mysql.snapshot.mode
/sources/0/mysql/snapshot/parallelism | 65 | sources[0].mysql.snapshot.parallelism
/sources/0/mysql/snapshot/chunk_rows | 0 | sources[0].mysql.snapshot.chunk_rows
/sources/0/mysql/snapshot/max_rows_per_second | 0 | sources[0].mysql.snapshot.max_rows_per_second
/sources/0/mysql/snapshot/max_replica_lag | "0" | sources[0].mysql.snapshot.max_replica_lag
/sources/0/mysql/snapshot/rows | 0 | sources[0].mysql.snapshot.rows
/sources/0/mysql/server_id | 4294967296 | sources[0].mysql.server_id
/sink/bigquery/project | "${MYSQL_PASSWORD}" | sink.bigquery.project
/sink/bigquery/jobs_project | "" | sink.bigquery.jobs_project
/sink/bigquery/dataset | "a-b" | sink.bigquery.dataset
/sink/bigquery/table | "all" | sink.bigquery.table
/sink/bigquery/location | ["EU"] | sink.bigquery.location
/sink/bigquery/max_staleness | "${MYSQL_PASSWORD}" | sink.bigquery.max_staleness
/sink/bigquery/apply_budget_per_month | "50 EUR" | sink.bigquery.apply_budget_per_month
/sink/bigquery/auth | "service_account" | sink.bigquery.credentials
/sink/bigquery/impersonate | "${MYSQL_PASSWORD}" | sink.bigquery.impersonate
/sink/bigquery/endpoints/rest | "rest.example" | sink.bigquery.endpoints.rest
/sink/bigquery/endpoints/write | "https://u:sw0rd@w" | sink.bigquery.endpoints.write
/tables/shop.orders/mode | "history" | tables."shop.orders".mode
/tables/orders | { "mode": "append" } | tables."orders"
/tables/shop.orders/partition_by | {} | tables."shop.orders".partition_by
/tables/shop.orders/cluster_by | ["a"] | tables."shop.orders".cluster_by
/tables/shop.orders/exclude | ["a"] | tables."shop.orders".exclude
/tables/shop.orders/hash | ["a"] | tables."shop.orders".hash
/tables/shop.orders/types | {} | tables."shop.orders".types
/schema_changes/add_column | "drop" | schema_changes.add_column
/schema_changes/new_table | "x" | schema_changes.new_table
/schema_changes/hold_names | [1] | schema_changes.hold_names[0]
/schema_changes/drop_column | "archive" | schema_changes.drop_column
/schema_changes/rename_column | "x" | schema_changes.rename_column
/schema_changes/incompatible_type | "x" | schema_changes.incompatible_type
/schema_changes/truncate | "keep" | schema_changes.truncate
/schema_changes/key_change | "${MYSQL_PASSWORD}" | schema_changes.key_change
/schema_changes/drop_table | "drop" | schema_changes.drop_table
/schema_changes/added_default | "x" | schema_changes.added_default
/schema_changes/resnapshot_limit | "1" | schema_changes.resnapshot_limit
/checkpoint | "${MYSQL_PASSWORD}" | checkpoint
/http | "${NOT_SET}" | http
/notify | [{ "format": "slack" }] | notify
"#;

fn mistakes() -> Vec<(&'static str, Value, &'static str)> {
    let row = |line: &'static str| {
        let mut cells = line.split(" | ");
        let mut next = || cells.next().unwrap();
        (next(), serde_json::from_str(next()).unwrap(), next())
    };
    MISTAKES.trim().lines().map(row).collect()
}

#[test]
fn every_mistake_is_found_alone() {
    for (pointer, value, key) in mistakes() {
        let mut file = good();
        set(&mut file, pointer, value);
        assert_eq!(keys(&file), [key], "{pointer}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_mistakes_are_all_reported_by_key_and_show_no_secret(
        chosen in subsequence(mistakes(), 0..mistakes().len())
    ) {
        let mut file = good();
        for (pointer, value, _) in &chosen {
            set(&mut file, pointer, value.clone());
        }
        let mut expected: Vec<&str> = chosen.iter().map(|(_, _, key)| *key).collect();
        expected.sort_unstable();
        match read(&file) {
            Ok(config) => {
                prop_assert!(expected.is_empty());
                let shown = format!("{config:?}");
                prop_assert!(!shown.contains("sw0rd"), "{}", shown);
            }
            Err(errors) => {
                let text = format!("{errors} {errors:?}");
                prop_assert!(!text.contains("sw0rd"), "{}", text);
                let mut found: Vec<&str> = errors.errors.iter().map(|it| it.key.as_str()).collect();
                found.sort_unstable();
                prop_assert_eq!(found, expected);
                prop_assert!(errors.errors.iter().all(|it| !it.what.is_empty() && !it.cure.is_empty()));
            }
        }
    }

    #[test]
    fn a_damaged_file_is_an_error_without_its_secret(cut in 0usize..2000, put in ".{0,3}") {
        let text = include_str!("../../config/example.yaml").replace("${MYSQL_PASSWORD}", "swordfish1234");
        let mut damaged: String = text.chars().take(cut).chain(put.chars()).collect();
        damaged.extend(text.chars().skip(cut));
        if let Err(errors) = parse(&damaged, &env) {
            let shown = format!("{errors} {errors:?}");
            prop_assert!(!shown.contains("swordfish1234"), "{}", shown);
        }
    }
}

/// Every file that is shipped, with the environment that its comments ask for.
#[test]
fn every_shipped_file_loads() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // The price list is no configuration; `bill` loads it.
        let is_prices = path.file_name().is_some_and(|name| name == "prices.yaml");
        if path.extension().is_some_and(|kind| kind == "yaml") && !is_prices {
            files += 1;
            if let Err(errors) = load(&path, &env) {
                panic!("{errors}");
            }
        }
    }
    assert!(files > 0);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let errors = load("/nonexistent/config.yaml".as_ref(), &env).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "the configuration /nonexistent/config.yaml cannot be used\n  the file cannot be read: entity not found; \
         name a readable file with --config"
    );
}
