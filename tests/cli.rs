//! The program as it is started: what it prints and how it ends.

#![expect(
    clippy::expect_used,
    reason = "a test reports what it did not expect by failing"
)]

use std::process::{Command, Output};

fn replicator(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_replicator"))
        .args(arguments)
        .output()
        .expect("the program starts")
}

#[test]
fn schema_is_json_on_standard_output_alone() {
    let output = replicator(&["schema"]);
    assert!(output.status.success());
    assert!(output.stderr.is_empty());
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    assert_eq!(schema["title"], "replicator");
    assert_eq!(
        schema["required"],
        serde_json::json!(["pipeline", "sources", "sink", "checkpoint"])
    );
}

#[test]
fn wrong_arguments_end_with_two_and_say_what_is_known() {
    for arguments in [&["shcema"][..], &[], &["schema", "--log-format", "xml"]] {
        let output = replicator(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
    let text = String::from_utf8(replicator(&["shcema"]).stderr).expect("it is text");
    assert!(text.contains("'schema'"), "{text}");
}
