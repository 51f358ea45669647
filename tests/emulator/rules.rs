//! The list of rules: the document says what the code does, and each rule has a test that names it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use replicator::emulator::rules::{self, markdown};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn the_document_is_up_to_date() {
    let written = fs::read_to_string(root().join("docs/emulator.md")).unwrap_or_default();
    assert!(
        written == markdown(),
        "docs/emulator.md is not what the code says; write it anew: replicator emulator --rules > docs/emulator.md"
    );
}

/// Rules named above tests, as `/// Rules: one, two.`; the line after the comment must begin a test.
fn tested() -> BTreeSet<String> {
    let mut files = Vec::new();
    sources(&root().join("tests/emulator"), &mut files);
    sources(&root().join("src/emulator"), &mut files);
    let mut named = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a file");
        let mut lines = text.lines().map(str::trim).peekable();
        while let Some(line) = lines.next() {
            let Some(list) = line
                .strip_prefix("/// Rules: ")
                .and_then(|list| list.strip_suffix('.'))
            else {
                continue;
            };
            let next = lines.peek().copied().unwrap_or_default();
            let is_test = next.starts_with("#[test]") || next.starts_with("#[tokio::test");
            assert!(is_test, "{}: no test follows: {line}", file.display());
            named.extend(list.split(", ").map(str::to_owned));
        }
    }
    named
}

#[test]
fn every_rule_has_a_test_and_every_test_names_rules_that_exist() {
    let listed: BTreeSet<String> = rules::all().map(|rule| rule.id.to_owned()).collect();
    assert_eq!(listed.len(), rules::all().count(), "no identifier is used twice");
    let tested = tested();
    let untested: Vec<&String> = listed.difference(&tested).collect();
    let unknown: Vec<&String> = tested.difference(&listed).collect();
    assert!(
        untested.is_empty() && unknown.is_empty(),
        "untested: {untested:?}\nunknown: {unknown:?}"
    );
}

#[test]
fn every_rule_says_where_it_is_from() {
    for rule in rules::all() {
        let is_link = rule.source.starts_with("https://");
        assert!(is_link || rule.source.is_empty(), "{}: {}", rule.id, rule.source);
        assert_eq!(
            rule.source.is_empty(),
            rule.standing.is_assumed(),
            "{}: only an assumption has no source",
            rule.id
        );
        assert!(rule.what.ends_with('.') && rule.what.len() > 20, "{}", rule.id);
    }
}
