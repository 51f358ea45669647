//! Holds the shape of the source: who may name whom, how long a file may be, that every module says
//! why it exists, and that no text names a place of one machine. Every violation is printed with its
//! file and line, all at once.

#![expect(
    clippy::expect_used,
    reason = "a test reports what it did not expect by failing"
)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The longest a file may be, lines, tests included.
const LINES: usize = 500;

/// What every module may name.
const VOCABULARY: &[&str] = &[
    "aws",
    "clock",
    "config",
    "event",
    "failpoint",
    "fault",
    "status",
    "task",
];

/// A module at the top of the crate, and what it may name beside itself and the vocabulary.
/// A module that is not listed here is a violation: its place has to be decided.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("aws", &[]),
    ("clock", &[]),
    ("config", &[]),
    ("event", &[]),
    ("failpoint", &[]),
    ("fault", &[]),
    ("status", &[]),
    ("task", &[]),
    ("telemetry", &[]),
    ("proto", &[]),
    ("bill", &[]),
    ("schema", &[]),
    ("checkpoint", &["schema"]),
    ("source", &["schema"]),
    ("sink", &["proto", "schema"]),
    ("emulator", &["proto"]),
    ("compare", &["source", "checkpoint", "sink", "emulator", "proto"]),
    ("conformance", &["sink", "proto"]),
    (
        "pipeline",
        &["source", "checkpoint", "sink", "emulator", "schema"],
    ),
    ("control", &["pipeline"]),
    (
        "cli",
        &[
            "telemetry",
            "bill",
            "source",
            "checkpoint",
            "sink",
            "emulator",
            "compare",
            "conformance",
            "pipeline",
            "control",
            "schema",
        ],
    ),
];

/// Beginnings of paths that exist on one machine only.
const PLACES: &[&str] = &["/work/", "/root/", "/home/", "/Users/"];

struct File {
    /// From the repository's root.
    path: PathBuf,
    text: String,
}

impl File {
    /// The module at the top of the crate that the file belongs to.
    fn module(&self) -> String {
        let below = self.path.strip_prefix("src").expect("it is below src");
        let first = below.components().next().expect("it has a name");
        let name = Path::new(first.as_os_str()).with_extension("");
        name.to_string_lossy().into_owned()
    }
}

fn files(folder: &str, kinds: &[&str]) -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut open = vec![root.join(folder)];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.expect("the folder can be read").path();
            if path.is_dir() {
                open.push(path);
            } else if path
                .extension()
                .is_some_and(|kind| kinds.iter().any(|one| kind == *one))
            {
                let text = std::fs::read_to_string(&path).expect("it is text");
                let path = path.strip_prefix(root).expect("it is below the root").to_owned();
                found.push(File { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The code of each line, numbered from 1: comments are left out, since prose may name anything.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(number, line)| {
        let comment = if line.trim_start().starts_with("//") {
            Some(0)
        } else {
            line.find(" // ")
        };
        (number + 1, comment.and_then(|at| line.get(..at)).unwrap_or(line))
    })
}

/// The top-level modules that the code names through `crate::` or `replicator::`, with line numbers.
/// Brace lists are followed over lines.
fn named(text: &str) -> Vec<(usize, String)> {
    let lines: Vec<(usize, &str)> = code(text).collect();
    let mut names = Vec::new();
    for (index, (number, line)) in lines.iter().enumerate() {
        for (at, marker) in line.match_indices("crate::") {
            let before = line.get(..at).and_then(|text| text.chars().next_back());
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
                continue;
            }
            let rest = line.get(at + marker.len()..).unwrap_or_default();
            if let Some(list) = rest.strip_prefix('{') {
                let tail = lines
                    .iter()
                    .skip(index + 1)
                    .map(|(number, line)| (*number, *line));
                names.extend(listed(std::iter::once((*number, list)).chain(tail)));
            } else {
                names.push((*number, identifier(rest).to_owned()));
            }
        }
    }
    names
}

/// The first segments of the paths in a brace list, up to its closing brace.
fn listed<'a>(lines: impl Iterator<Item = (usize, &'a str)>) -> Vec<(usize, String)> {
    let (mut names, mut depth, mut fresh) = (Vec::new(), 1, true);
    for (number, line) in lines {
        for (at, c) in line.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => fresh = true,
                c if fresh && !c.is_whitespace() => {
                    names.push((number, identifier(line.get(at..).unwrap_or_default()).to_owned()));
                    fresh = false;
                }
                _ => {}
            }
            if depth == 0 {
                return names;
            }
        }
    }
    names
}

fn identifier(text: &str) -> &str {
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

fn report(rule: &str, violations: &[String]) {
    let mut text = String::new();
    for one in violations {
        writeln!(text, "  {one}").expect("a String takes everything");
    }
    assert!(violations.is_empty(), "{rule}:\n{text}");
}

#[test]
fn imports_look_down() {
    let mut violations = Vec::new();
    for file in files("src", &["rs"]) {
        let module = file.module();
        if module == "lib" || module == "main" {
            continue;
        }
        let Some((_, allowed)) = MAY_NAME.iter().find(|(name, _)| *name == module) else {
            violations.push(format!(
                "{}:1: module {module} has no place in the table",
                file.path.display()
            ));
            continue;
        };
        for (line, name) in named(&file.text) {
            let known =
                name == module || VOCABULARY.contains(&name.as_str()) || allowed.contains(&name.as_str());
            if !known {
                violations.push(format!("{}:{line}: {module} names {name}", file.path.display()));
            }
        }
    }
    report("a module names what is not below it", &violations);
}

#[test]
fn only_the_command_is_in_main() {
    let main = files("src", &["rs"])
        .into_iter()
        .find(|file| file.module() == "main");
    let main = main.expect("there is a main.rs");
    assert!(main.text.contains("replicator::cli::main()"));
    assert!(main.text.lines().count() <= 20, "main.rs only calls cli");
}

#[test]
fn files_are_short() {
    let mut violations = Vec::new();
    for folder in ["src", "tests", "benches"] {
        for file in files(folder, &["rs"]) {
            let lines = file.text.lines().count();
            if lines > LINES {
                violations.push(format!(
                    "{}:{lines}: more than {LINES} lines",
                    file.path.display()
                ));
            }
        }
    }
    report("a file is too long", &violations);
}

#[test]
fn every_module_says_why_it_exists() {
    let mut violations = Vec::new();
    for file in files("src", &["rs"]) {
        let is_tests = file.path.file_name().is_some_and(|name| name == "tests.rs")
            || file.path.components().any(|part| part.as_os_str() == "tests");
        if !is_tests && !file.text.starts_with("//! ") {
            violations.push(format!("{}:1: does not begin with //!", file.path.display()));
        }
    }
    report("a module does not open with its purpose", &violations);
}

#[test]
fn no_text_names_a_place_of_one_machine() {
    let kinds = [
        "rs", "html", "yaml", "yml", "toml", "md", "sh", "proto", "py", "snap",
    ];
    let mut violations = Vec::new();
    for folder in [
        "src", "tests", "benches", "config", "docs", "scripts", "proto", "deploy", "fuzz",
    ] {
        for file in files(folder, &kinds) {
            // This file holds the list itself.
            if file.path.ends_with("layering.rs") {
                continue;
            }
            for (number, line) in file.text.lines().enumerate() {
                for place in PLACES.iter().filter(|place| line.contains(**place)) {
                    violations.push(format!("{}:{}: names {place}", file.path.display(), number + 1));
                }
            }
        }
    }
    report("a text names a place of one machine", &violations);
}

#[test]
fn the_reader_of_imports_sees_every_form() {
    let text = "use crate::event::{TableId, Value};\n\
                use crate::{clock::Clock, sink::{self, Sink},\n    status};\n\
                // crate::prose\n\
                fn f() -> crate::fault::Fault { mycrate::x(); 1 } // crate::late\n";
    let found = named(text);
    let found: Vec<(usize, &str)> = found.iter().map(|(line, name)| (*line, name.as_str())).collect();
    assert_eq!(
        found,
        [
            (1, "event"),
            (2, "clock"),
            (2, "sink"),
            (3, "status"),
            (5, "fault")
        ]
    );
}
