//! Other people's Python programs as judges: from PyPI in pinned versions, into virtual environments
//! that are kept.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where downloads are kept.
fn cache() -> PathBuf {
    let named = |name: &str| std::env::var_os(name).map(PathBuf::from);
    named("REPLICATOR_CACHE")
        .or_else(|| Some(named("XDG_CACHE_HOME")?.join("replicator")))
        .or_else(|| Some(named("HOME")?.join(".cache/replicator")))
        .expect("a folder for downloads")
}

/// Runs a program to its end and gives what it printed.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{text}\n{errors}");
    text
}

/// The Python of the environment for `tests/{name}/requirements.txt`; made once for each content of it.
pub(crate) fn python(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name);
    let requirements = folder.join("requirements.txt");
    let wanted = fs::read_to_string(&requirements).expect("the requirements");
    let home = cache().join(name);
    fs::create_dir_all(&home).expect("the folder");
    let lock = File::create(home.join("lock")).expect("the lock's file");
    lock.lock().expect("the lock");
    let (environment, installed) = (home.join("venv"), home.join("installed.txt"));
    let python = environment.join("bin/python");
    if fs::read_to_string(&installed).ok().as_deref() != Some(wanted.as_str()) {
        run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&environment));
        run(Command::new(&python)
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "-r",
            ])
            .arg(&requirements));
        fs::write(&installed, wanted).expect("the note of what is installed");
    }
    python
}
