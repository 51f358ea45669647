use serde_json::{Value, json};

use super::*;
use crate::clock::Clock;
use crate::emulator::profile::Profile;
use crate::emulator::schema::{DatasetRef, TableRef};

fn table(name: &str) -> TableRef {
    TableRef {
        dataset: DatasetRef {
            project: "p".to_owned(),
            dataset: "d".to_owned(),
        },
        table: name.to_owned(),
    }
}

fn script(faults: Value) -> (Clock, Script) {
    let clock = Clock::manual();
    let script = Script::new(clock.clone(), Profile::USUAL);
    script.add(serde_json::from_value(faults).unwrap()).unwrap();
    (clock, script)
}

fn refusal(fault: Value) -> String {
    let clock = Clock::manual();
    let fault: Fault = serde_json::from_value(fault).unwrap();
    let error = Script::new(clock, Profile::USUAL).add(vec![fault]).unwrap_err();
    error.message
}

#[test]
fn counts_and_tables_decide_which_request_is_struck() {
    let (_, script) = script(json!([
        { "on": "append", "table": "d.t", "after": 1, "times": 2, "effect": { "hang": {} } }
    ]));
    let struck = |name| script.strike(Call::Append(&table(name))).is_some();
    assert!(!struck("other"));
    assert_eq!(
        [struck("t"), struck("t"), struck("t"), struck("t")],
        [false, true, true, false]
    );
    assert!(!struck("other"));
    let list = script.list().unwrap();
    assert_eq!(list["faults"][0]["fired"], json!(2));
    assert_eq!(list["faults"][0]["active"], json!(false));
}

#[test]
fn a_fault_of_some_seconds_ends() {
    let (clock, script) = script(json!([
        { "on": "append", "seconds": 60, "effect": { "status": { "code": "RESOURCE_EXHAUSTED", "in_band": true } } }
    ]));
    assert!(script.strike(Call::Append(&table("t"))).is_some());
    clock.advance(std::time::Duration::from_secs(60));
    assert!(script.strike(Call::Append(&table("t"))).is_none());
}

#[test]
fn chance_is_repeatable() {
    let fault = json!([{ "on": "append", "probability": 0.5, "seed": 7, "effect": { "cut": {} } }]);
    let run = || {
        let (_, script) = script(fault.clone());
        let struck = (0..64).map(|_| script.strike(Call::Append(&table("t"))).is_some());
        struck.collect::<Vec<bool>>()
    };
    let first = run();
    assert_eq!(first, run());
    let count = first.iter().filter(|struck| **struck).count();
    assert!((10..54).contains(&count), "{count}");
}

#[test]
fn mistakes_are_told_with_their_members() {
    let text = refusal(json!({
        "on": "jobs", "table": "t", "times": 0, "probability": 1.5, "method": "GET",
        "effect": { "status": { "code": "NOPE", "storage_error": "NOPE" } },
    }));
    for part in [
        "effect: it has no meaning",
        "dataset.table",
        "a job has none",
        "\"on\": \"rest\"",
        "times: at least 1",
        "probability:",
        "no gRPC code",
        "no StorageErrorCode",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let unknown = json!({ "on": "append", "effekt": 1, "effect": { "cut": {} } });
    let error = serde_json::from_value::<Fault>(unknown).unwrap_err();
    assert!(error.to_string().contains("effekt"), "{error}");
}

#[test]
fn rest_calls_and_jobs_are_matched_by_what_they_are() {
    let (_, script) = script(json!([
        { "on": "rest", "method": "patch", "table": "d.t",
          "effect": { "http": { "code": 503, "reason": "backendError" } } },
        { "on": "jobs", "sql": "COUNT", "effect": { "pending": { "polls": 2 } } }
    ]));
    let rest = |method, path| script.strike(Call::Rest { method, path }).is_some();
    assert!(!rest("GET", "/projects/p/datasets/d/tables/t"));
    assert!(!rest("PATCH", "/projects/p/datasets/d"));
    assert!(rest("PATCH", "/projects/p/datasets/d/tables/t"));
    assert!(script.strike(Call::Job { sql: "SELECT 1" }).is_none());
    assert!(
        script
            .strike(Call::Job {
                sql: "SELECT COUNT(*)"
            })
            .is_some()
    );
}
