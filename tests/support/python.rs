//! Other people's Python programs as judges: from PyPI in pinned versions, into virtual environments
//! that are kept.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a program to its end and gives what it printed.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{text}\n{errors}");
    text
}

/// The Python of the environment for `tests/{name}/requirements.txt`.
pub(crate) fn python(name: &str) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/python-env");
    run(Command::new(script).arg(name)).trim_end().into()
}
