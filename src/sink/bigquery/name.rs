//! Names that BigQuery takes. A legal name stays as it is; any other is spelled with legal characters
//! and gets a part of its hash, so that different names stay different, the same name gives the same
//! result in every run, and no name depends on which others there are.

use std::collections::HashSet;

use sha2::{Digest, Sha256};

/// Longest column name, in characters (<https://cloud.google.com/bigquery/docs/schemas#column_names>).
const COLUMN_LEN: usize = 300;

/// Longest data set and table name; BigQuery takes 1,024 bytes.
const CONTAINER_LEN: usize = 1024;

/// Prefixes that BigQuery keeps for itself, in any case, and ours.
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
    "_REPLICATOR_",
];

/// A data set's or table's name: letters, digits and `_`.
pub(super) fn container(name: &str) -> String {
    let legal = !name.is_empty() && name.len() <= CONTAINER_LEN && name.bytes().all(is_word);
    if legal {
        return name.to_owned();
    }
    spelled(name, CONTAINER_LEN, HASH_LEN)
}

/// Column names in the order of `names`: legal, and different without regard to case.
pub(super) fn columns<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Vec<String> {
    // Legal names are given out first, so that none has to give way to one that is spelled anew.
    let mut taken = HashSet::new();
    let kept: Vec<bool> = names
        .clone()
        .map(|name| is_column(name) && taken.insert(name.to_ascii_lowercase()))
        .collect();
    names
        .zip(kept)
        .map(|(name, kept)| {
            if kept {
                return name.to_owned();
            }
            let candidates = (HASH_LEN..=64).map(|len| spelled(name, COLUMN_LEN, len));
            let mut last = spelled(name, COLUMN_LEN, 64);
            for candidate in candidates {
                last = candidate;
                if taken.insert(last.to_ascii_lowercase()) {
                    break;
                }
            }
            last
        })
        .collect()
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn is_column(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    !name.is_empty()
        && name.len() <= COLUMN_LEN
        && name.bytes().all(is_word)
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && !RESERVED.iter().any(|prefix| upper.starts_with(prefix))
}

/// Hexadecimal digits of the hash that a spelled name carries.
const HASH_LEN: usize = 8;

/// `name` in legal characters, with `hash` digits of its hash behind.
fn spelled(name: &str, limit: usize, hash: usize) -> String {
    let mut out: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .take(limit.saturating_sub(hash + 3))
        .collect();
    if !out.starts_with(|first: char| first.is_ascii_alphabetic()) {
        // Neither a digit nor a reserved prefix, which all begin with `_`.
        out.insert_str(0, "c_");
    }
    out.push('_');
    let digest: String = Sha256::digest(name.as_bytes())
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|nibble| char::from_digit(u32::from(nibble), 16))
        .take(hash)
        .collect();
    out + &digest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn allocated(names: &[&str]) -> Vec<String> {
        columns(names.iter().copied())
    }

    #[test]
    fn legal_names_stay() {
        assert_eq!(container("shop_2"), "shop_2");
        assert_eq!(allocated(&["id", "_x", "Order"]), ["id", "_x", "Order"]);
    }

    #[test]
    fn names_that_bigquery_bars_are_spelled_anew() {
        let names = allocated(&["a b", "1st", "_PARTITIONTIME", "_change_type", "größe", ""]);
        for name in &names {
            assert!(is_column(name), "{name}");
        }
        assert!(names[0].starts_with("a_b_"));
        assert!(names[1].starts_with("c_1st_"));
        assert_eq!(container("order-items").len(), "order_items_".len() + HASH_LEN);
        assert_ne!(container("order-items"), container("order.items"));
    }

    #[test]
    fn a_name_of_ours_never_meets_a_columns() {
        assert_ne!(
            allocated(&["_replicator_commit_time"]),
            ["_replicator_commit_time"]
        );
    }

    #[test]
    fn twins_in_case_differ_and_the_first_keeps_its_name() {
        let names = allocated(&["id", "ID", "Id"]);
        assert_eq!(names[0], "id");
        assert!(names[1].starts_with("ID_") && names[2].starts_with("Id_"));
    }

    #[test]
    fn a_column_that_is_named_like_a_spelled_one_keeps_its_name() {
        let spelled = allocated(&["a b"]).remove(0);
        let names = allocated(&["a b", &spelled]);
        assert_eq!(names[1], spelled);
        assert_ne!(names[0], spelled);
    }

    proptest! {
        #[test]
        fn columns_are_legal_and_different(names in proptest::collection::hash_set("\\PC{0,12}|[aA]_?[bB]|_(table_|CHANGE_TYPE)x?", 0..20)) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let allocated = columns(names.iter().copied());
            prop_assert_eq!(allocated.len(), names.len());
            let mut seen = HashSet::new();
            for name in &allocated {
                prop_assert!(is_column(name), "{}", name);
                prop_assert!(seen.insert(name.to_ascii_lowercase()), "{}", name);
            }
        }

        #[test]
        fn containers_are_legal_and_different(a in "\\PC{1,20}", b in "\\PC{1,20}") {
            prop_assert!(container(&a).bytes().all(is_word));
            prop_assert_eq!(a == b, container(&a) == container(&b));
        }
    }
}
