//! What the emulator knows of BigQuery, rule by rule, and from where: documented by Google, measured by
//! others against the real service, or assumed. `docs/emulator.md` is made of this list, and each rule is
//! named by a test.

mod lateness;
mod tables;
mod writing;

use std::fmt::{self, Write as _};

/// How far a rule can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Google says so.
    Documented,
    /// Somebody saw it at the real service and wrote it down.
    Measured,
    /// Neither; the rule is the stricter reading of what is documented around it.
    Assumed,
}

impl Standing {
    /// Whether nobody outside says so.
    pub fn is_assumed(self) -> bool {
        self == Standing::Assumed
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Standing::Documented => "documented",
            Standing::Measured => "measured by others",
            Standing::Assumed => "assumed",
        })
    }
}

/// One thing that the emulator does because BigQuery does it.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Its name in tests.
    pub id: &'static str,
    /// What BigQuery does.
    pub what: &'static str,
    /// How far that can be trusted.
    pub standing: Standing,
    /// Address of who says so; empty of an assumption.
    pub source: &'static str,
}

const fn rule(id: &'static str, what: &'static str, standing: Standing, source: &'static str) -> Rule {
    Rule {
        id,
        what,
        standing,
        source,
    }
}

/// All rules, in the order of a row's way: its call, its change, when it is seen, its table, when writers see
/// that change, jobs, values.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    [writing::RULES, tables::RULES, lateness::RULES]
        .into_iter()
        .flatten()
}

/// What precedes the rules in the document.
const BEFORE: &str = include_str!("before.md");

/// The document of the emulator: how it is scripted, and all rules.
pub fn markdown() -> String {
    let mut text = BEFORE.to_owned();
    for rule in all() {
        let standing = if rule.source.is_empty() {
            rule.standing.to_string()
        } else {
            format!("[{}]({})", rule.standing, rule.source)
        };
        // Writing to a text does not fail.
        let _infallible = writeln!(text, "| `{}` | {} | {standing} |", rule.id, rule.what);
    }
    text
}
