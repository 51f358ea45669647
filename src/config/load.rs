//! Reads a configuration file. The environment is an argument; [`process_env`] is the one place that
//! reads the process's own.

use std::path::Path;

use serde_json::Value;

use super::Config;
use super::error::{ConfigErrors, Mistakes};
use super::raw::RawConfig;
use super::shape::{Shaped, shape};
use super::validate::{Rules, validate};

/// The process's environment; a variable that is not UTF-8 counts as not set.
#[expect(
    clippy::disallowed_methods,
    reason = "this module is where the environment is read"
)]
pub fn process_env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Reads, fills in and validates a file; `env` looks up a variable.
///
/// # Errors
/// Every mistake in the file, at once.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigErrors> {
    let refuse = |mistakes: Mistakes| ConfigErrors {
        path: path.to_owned(),
        errors: mistakes.0,
    };
    let text = std::fs::read_to_string(path).map_err(|error| {
        let mut mistakes = Mistakes::default();
        mistakes.add(
            "",
            format!("the file cannot be read: {}", error.kind()),
            "name a readable file with --config",
        );
        refuse(mistakes)
    })?;
    parse(&text, env).map_err(|mut errors| {
        path.clone_into(&mut errors.path);
        errors
    })
}

/// As [`load`], from text.
///
/// # Errors
/// Every mistake in the text, at once.
pub fn parse(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigErrors> {
    let mut mistakes = Mistakes::default();
    let config = match read_yaml(text, &mut mistakes) {
        Some(file) => build(file, env, &mut mistakes),
        None => None,
    };
    match config {
        Some(config) if mistakes.0.is_empty() => Ok(config),
        Some(_) | None => Err(ConfigErrors {
            path: "(text)".into(),
            errors: mistakes.0,
        }),
    }
}

/// JSON Schema of the file.
pub fn schema() -> Value {
    schemars::schema_for!(RawConfig).to_value()
}

fn build(file: Value, env: &dyn Fn(&str) -> Option<String>, mistakes: &mut Mistakes) -> Option<Config> {
    let Shaped { value, templates } = shape(&schema(), file, env, mistakes);
    // What fits the schema reads; if the two ever disagreed, this says so rather than guess.
    let Ok(raw) = serde_json::from_value::<RawConfig>(value) else {
        mistakes.add(
            "",
            "the file does not have the documented shape",
            "compare it with `replicator schema`",
        );
        return None;
    };
    validate(
        raw,
        &mut Rules {
            templates: &templates,
            mistakes,
        },
    )
}

fn read_yaml(text: &str, mistakes: &mut Mistakes) -> Option<Value> {
    // A snippet of the file could hold a password.
    let options = serde_saphyr::options! { with_snippet: false };
    match serde_saphyr::from_str_with_options::<Value>(text, options) {
        Ok(file) => Some(file),
        Err(error) => {
            let place = match error.location() {
                Some(at) if at.line() > 0 => format!("line {}, column {}: ", at.line(), at.column()),
                Some(_) | None => String::new(),
            };
            mistakes.add(
                "",
                format!("{place}the file is not YAML: {error}"),
                "correct the line; put values that begin with * ! & { [ or hold `: ` in double quotes",
            );
            None
        }
    }
}
