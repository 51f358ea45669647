//! Names that BigQuery takes. A legal name stays as it is; any other is spelled with legal characters and
//! gets a part of its hash, so that different names stay different. A target's name comes from the source's
//! name alone: never from which other names there are, so that nothing that is added later renames what is
//! there. Should two names meet all the same, the later is refused ([`super::plan`] for columns, [`super::apart`] for
//! tables).

use icu_properties::CodePointMapData;
use icu_properties::props::{GeneralCategory, GeneralCategoryGroup as Group};
use sha2::{Digest, Sha256};

/// Longest column name, in characters (<https://cloud.google.com/bigquery/docs/schemas#column_names>).
const COLUMN_CHARS: usize = 300;

/// Longest data set and table name, in bytes (<https://cloud.google.com/bigquery/docs/tables#table_naming>).
const CONTAINER_BYTES: usize = 1024;

/// Hexadecimal digits of the hash that a spelled name carries.
const HASH_LEN: usize = 8;

/// Prefixes of columns that BigQuery keeps for itself, in any case, and ours.
const RESERVED: [&str; 11] = [
    "_TABLE_",
    "_FILE_",
    "_PARTITION",
    "_ROW_TIMESTAMP",
    "__ROOT__",
    "_COLIDENTIFIER",
    "_CHANGE_SEQUENCE_NUMBER",
    "_CHANGE_TYPE",
    "_CHANGE_TIMESTAMP",
    "_FIELD_",
    OURS,
];

/// Prefix of the columns and tables that are not the source's.
const OURS: &str = "_REPLICATOR_";

/// What words are written with in any script.
const WORD: Group = Group::Letter.union(Group::Number).union(Group::Mark);

/// Connectors and dashes, which names of tables and of columns may have.
const JOINT: Group = Group::ConnectorPunctuation.union(Group::DashPunctuation);

/// The other characters of a flexible column name
/// (<https://cloud.google.com/bigquery/docs/schemas#flexible-column-names>).
const FLEXIBLE: &str = " &%=+:'<>#|";

/// A data set's name: ASCII letters, digits and `_`. A name that is one already stays as it is.
pub fn dataset(name: &str) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if (1..=CONTAINER_BYTES).contains(&name.len()) && name.chars().all(word) {
        return name.to_owned();
    }
    spelled(name, CONTAINER_BYTES, |c| c.is_ascii_alphanumeric())
}

/// A table's name: letters, marks and digits of any script, connectors, dashes and spaces.
pub fn table(name: &str) -> String {
    let legal = (1..=CONTAINER_BYTES).contains(&name.len())
        && name.chars().all(|c| is_of(WORD.union(JOINT), c) || c == ' ')
        && is_clear(name, &[OURS]);
    if legal {
        return name.to_owned();
    }
    spelled(name, CONTAINER_BYTES, |c| is_of(WORD, c))
}

/// A column's name: a flexible one, which has more characters than the classic letters, digits and `_`.
pub fn column(name: &str) -> String {
    let legal = (1..=COLUMN_CHARS).contains(&name.chars().count())
        && name
            .chars()
            .all(|c| is_of(WORD.union(JOINT), c) || FLEXIBLE.contains(c))
        && is_clear(name, &RESERVED);
    if legal {
        return name.to_owned();
    }
    // 300 bytes are at most 300 characters.
    spelled(name, COLUMN_CHARS, |c| is_of(WORD, c))
}

/// What names that differ in no more than case have in common: columns of one table are taken for one, tables in
/// data sets that are made so.
pub(super) fn folded(name: &str) -> String {
    name.to_lowercase()
}

/// A name, or a path of names joined by dots, as an identifier of GoogleSQL.
pub fn quoted(path: impl std::fmt::Display) -> String {
    let text = path.to_string().replace('\\', "\\\\").replace('`', "\\`");
    format!("`{text}`")
}

/// A text as a literal of a query.
pub(super) fn literal(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('\'', "\\'");
    format!("'{text}'")
}

fn is_of(group: Group, c: char) -> bool {
    if c.is_ascii() {
        // The tables are for the others.
        return c.is_ascii_alphanumeric() || matches!(c, '_' | '-') && group.contains(category(c));
    }
    group.contains(category(c))
}

fn category(c: char) -> GeneralCategory {
    CodePointMapData::<GeneralCategory>::new().get(c)
}

/// Whether a name has none of the prefixes, and no space at its edges, which somebody might trim.
fn is_clear(name: &str, prefixes: &[&str]) -> bool {
    let upper = name.to_uppercase();
    name.trim_matches(' ') == name && !prefixes.iter().any(|prefix| upper.starts_with(prefix))
}

/// `name` with one `_` for all that is not of a word, and a part of its hash behind; at most `limit` bytes.
fn spelled(name: &str, limit: usize, is_word: impl Fn(char) -> bool) -> String {
    let limit = limit.saturating_sub(HASH_LEN + 1);
    let mut out = String::new();
    for c in name.chars() {
        let c = if is_word(c) { c } else { '_' };
        if out.len() + c.len_utf8() > limit {
            break;
        }
        if out.is_empty() && !c.is_alphabetic() {
            // Neither a digit, a mark nor a reserved prefix, which all begin with `_`.
            out.push_str("c_");
        }
        if c != '_' || !out.ends_with('_') {
            out.push(c);
        }
    }
    if !out.ends_with('_') {
        out.push_str(if out.is_empty() { "c_" } else { "_" });
    }
    let digest = Sha256::digest(name.as_bytes());
    let nibbles = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    out.extend(
        nibbles
            .filter_map(|nibble| char::from_digit(u32::from(nibble), 16))
            .take(HASH_LEN),
    );
    out
}

#[cfg(test)]
mod tests;
