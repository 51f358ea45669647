//! Which tables are captured: globs over `schema.table`, `!` excludes. And what is said of some of them.

use std::collections::BTreeSet;

use crate::event::TableId;

/// Ordered patterns; a table is captured if some pattern includes it and none excludes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TablePatterns {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
    only: Option<Only>,
}

/// Some of the captured tables.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Only {
    patterns: Vec<Pattern>,
    tables: BTreeSet<TableId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    schema: String,
    table: String,
}

/// What a target holds of its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableMode {
    /// The rows that the source holds.
    Upsert,
    /// Every change as a row of its own.
    Append,
}

/// What is said of tables by pattern, in the order in which it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides(Vec<(Pattern, Option<TableMode>)>);

impl Overrides {
    /// Adds what is said of the tables that a pattern matches.
    ///
    /// # Errors
    /// [`PatternError`] if it has no point or an empty side, or excludes.
    pub fn add(&mut self, pattern: &str, mode: Option<TableMode>) -> Result<(), PatternError> {
        self.0.push((Pattern::including(pattern)?, mode));
        Ok(())
    }

    /// The mode that the first pattern asks for which matches; `None`: whatever fits the table.
    pub fn mode(&self, table: &TableId) -> Option<TableMode> {
        let matching = self.0.iter().find(|(pattern, _)| pattern.matches(table));
        matching.and_then(|(_, mode)| *mode)
    }
}

/// Schemas that belong to the server and are never captured.
const SYSTEM_SCHEMAS: [&str; 4] = ["mysql", "information_schema", "performance_schema", "sys"];

/// A pattern that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("table pattern {pattern:?} {reason}")]
pub struct PatternError {
    /// The pattern as written.
    pub pattern: String,
    /// What is wrong.
    pub reason: &'static str,
}

impl TablePatterns {
    /// Reads patterns of the form `schema.table` with `*` (any run) and `?` (one character).
    ///
    /// # Errors
    /// [`PatternError`] for the first pattern without a point or with an empty side, or if none includes.
    pub fn parse<S: AsRef<str>>(patterns: &[S]) -> Result<TablePatterns, PatternError> {
        let (mut include, mut exclude) = (Vec::new(), Vec::new());
        for text in patterns.iter().map(AsRef::as_ref) {
            let into = if text.starts_with('!') {
                &mut exclude
            } else {
                &mut include
            };
            into.push(Pattern::read(text)?);
        }
        if include.is_empty() {
            return Err(PatternError {
                pattern: String::new(),
                reason: "includes no table",
            });
        }
        Ok(TablePatterns {
            include,
            exclude,
            only: None,
        })
    }

    /// Leaves out what neither is one of `tables` nor matches one of `patterns`; these include and never exclude.
    ///
    /// # Errors
    /// [`PatternError`] for the first pattern that cannot be used.
    pub fn narrow(&mut self, patterns: &[String], tables: BTreeSet<TableId>) -> Result<(), PatternError> {
        let patterns = patterns.iter().map(|text| Pattern::including(text));
        self.only = Some(Only {
            patterns: patterns.collect::<Result<_, _>>()?,
            tables,
        });
        Ok(())
    }

    /// Whether one pattern, by itself, can be read.
    ///
    /// # Errors
    /// [`PatternError`] if it has no point or an empty side.
    pub fn check(pattern: &str) -> Result<(), PatternError> {
        Pattern::read(pattern).map(|_| ())
    }

    /// Whether a table is captured. System schemas never are, nor is what an online schema change tool makes beside
    /// a captured table, unless a pattern without wildcards names it.
    pub fn matches(&self, table: &TableId) -> bool {
        let shadow =
            shadow_of(table.name()).is_some_and(|base| self.includes(&TableId::new(table.schema(), base)));
        self.includes(table) && (!shadow || self.literal().any(|one| one == *table))
    }

    fn includes(&self, table: &TableId) -> bool {
        let hit = |pattern: &Pattern| pattern.matches(table);
        !SYSTEM_SCHEMAS
            .iter()
            .any(|name| name.eq_ignore_ascii_case(table.schema()))
            && self.include.iter().any(hit)
            && !self.exclude.iter().any(hit)
            && self
                .only
                .as_ref()
                .is_none_or(|only| only.tables.contains(table) || only.patterns.iter().any(hit))
    }

    /// Patterns without wildcards that include: tables that are expected to exist.
    pub fn literal(&self) -> impl Iterator<Item = TableId> + '_ {
        let plain = |text: &str| !text.contains(['*', '?']);
        self.include
            .iter()
            .filter(move |pattern| plain(&pattern.schema) && plain(&pattern.table))
            .map(|pattern| TableId::new(pattern.schema.as_str(), pattern.table.as_str()))
    }
}

impl Pattern {
    fn matches(&self, table: &TableId) -> bool {
        glob(&self.schema, table.schema()) && glob(&self.table, table.name())
    }

    /// A pattern that says which tables are meant.
    fn including(text: &str) -> Result<Pattern, PatternError> {
        if text.starts_with('!') {
            return Err(PatternError {
                pattern: text.to_owned(),
                reason: "excludes: here a pattern says which tables are meant",
            });
        }
        Pattern::read(text)
    }

    fn read(text: &str) -> Result<Pattern, PatternError> {
        let error = |reason| PatternError {
            pattern: text.to_owned(),
            reason,
        };
        let (schema, table) = text
            .strip_prefix('!')
            .unwrap_or(text)
            .split_once('.')
            .ok_or_else(|| error("has no schema: write schema.table"))?;
        if schema.is_empty() || table.is_empty() {
            return Err(error("has an empty side: write schema.table"));
        }
        Ok(Pattern {
            schema: schema.to_owned(),
            table: table.to_owned(),
        })
    }
}

/// What stands after the name of the altered table in those of gh-ost's ghost, changelog and old tables and of
/// pt-online-schema-change's new and old ones; an underscore stands before it.
const SHADOWS: [&str; 5] = ["_gho", "_ghc", "_del", "_new", "_old"];

/// The name of the table that an online schema change tool makes a table of this name beside, if it has such a
/// form: `_orders_gho` belongs to `orders`. Rows of it are copies, and the swap at the end is an ALTER of the
/// other. pt-online-schema-change adds underscores in front until a name is free.
///
/// ```
/// use replicator::config::shadow_of;
///
/// assert_eq!(shadow_of("_orders_gho"), Some("orders"));
/// assert_eq!(shadow_of("__orders_new"), Some("orders"));
/// assert_eq!(shadow_of("orders_old"), None);
/// ```
pub fn shadow_of(name: &str) -> Option<&str> {
    let inner = name.strip_prefix('_')?;
    let base = SHADOWS.iter().find_map(|end| inner.strip_suffix(end))?;
    let base = base.trim_start_matches('_');
    (!base.is_empty()).then_some(base)
}

/// Whether a name is one that a pattern with `*` and `?` means, without regard to case.
pub fn name_matches(pattern: &str, name: &str) -> bool {
    glob(&pattern.to_lowercase(), &name.to_lowercase())
}

/// Matches `*` and `?` without backtracking over more than the last star.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while from < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(c) if *c == '?' || Some(c) == text.get(from) => {
                at += 1;
                from += 1;
            }
            _ => {
                let Some((star_at, star_from)) = star else {
                    return false;
                };
                star = Some((star_at, star_from + 1));
                at = star_at + 1;
                from = star_from + 1;
            }
        }
    }
    pattern.iter().skip(at).all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(patterns: &[&str], table: &str) -> bool {
        let (schema, name) = table.split_once('.').unwrap();
        TablePatterns::parse(patterns)
            .unwrap()
            .matches(&TableId::new(schema, name))
    }

    #[test]
    fn globs() {
        assert!(matches(&["shop.*"], "shop.orders"));
        assert!(matches(&["shop_?.o*s"], "shop_1.orders"));
        assert!(!matches(&["shop.*"], "shopping.orders"));
        assert!(!matches(&["shop.*", "!shop.tmp_*"], "shop.tmp_1"));
        assert!(matches(&["shop.*", "!shop.tmp_*"], "shop.temp"));
        assert!(!matches(&["*.*"], "mysql.user"));
        assert!(matches(&["s.*a*b"], "s.xaxab"));
        assert!(!matches(&["s.*a*b"], "s.xaxa"));
    }

    #[test]
    fn narrowed_patterns_keep_what_is_followed_and_exclude_as_before() {
        let mut patterns = TablePatterns::parse(&["shop.*", "!shop.tmp_*"]).unwrap();
        let followed = BTreeSet::from([TableId::new("shop", "old"), TableId::new("crm", "old")]);
        let only = ["shop.o*".to_owned(), "*.tmp_1".to_owned()];
        patterns.narrow(&only, followed).unwrap();
        for (schema, table, matches) in [
            ("shop", "orders", true),
            ("shop", "items", false),
            ("shop", "old", true),
            ("crm", "old", false),
            ("crm", "orders", false),
            ("shop", "tmp_1", false),
            // What an online schema change makes beside a table goes with that table.
            ("shop", "_orders_gho", false),
        ] {
            assert_eq!(
                patterns.matches(&TableId::new(schema, table)),
                matches,
                "{schema}.{table}"
            );
        }
        for bad in ["orders", "!shop.orders"] {
            assert!(patterns.narrow(&[bad.to_owned()], BTreeSet::new()).is_err());
        }
    }

    #[test]
    fn the_first_pattern_that_matches_says_the_mode() {
        let mut overrides = Overrides::default();
        overrides.add("shop.orders", Some(TableMode::Upsert)).unwrap();
        overrides.add("shop.plain", None).unwrap();
        overrides.add("shop.*", Some(TableMode::Append)).unwrap();
        for (table, mode) in [
            ("orders", Some(TableMode::Upsert)),
            ("plain", None),
            ("log", Some(TableMode::Append)),
        ] {
            assert_eq!(overrides.mode(&TableId::new("shop", table)), mode, "{table}");
        }
        assert_eq!(overrides.mode(&TableId::new("crm", "orders")), None);
        for bad in ["orders", "!shop.orders", "shop."] {
            assert!(overrides.add(bad, None).is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns_that_cannot_be_used() {
        for bad in [&["orders"][..], &[".x"], &["x."], &["!a.b"], &[]] {
            assert!(TablePatterns::parse(bad).is_err(), "{bad:?}");
        }
    }
}
