use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

/// The characters of MySQL's names: all of the Basic Multilingual Plane but NUL.
fn source_name() -> impl Strategy<Value = String> {
    let any_char = prop_oneof![
        4 => proptest::char::range('\u{1}', '\u{7F}'),
        2 => proptest::char::range('\u{80}', '\u{D7FF}'),
        1 => proptest::char::range('\u{E000}', '\u{FFFF}'),
    ];
    let free = proptest::collection::vec(any_char, 1..64).prop_map(String::from_iter);
    prop_oneof![
        free,
        "[aA][ _/!$-]{0,2}[bB]",
        "_(table_|CHANGE_TYPE|replicator_|Partition)[a-z]{0,3}",
        "[`\\\\\"';.\\n ]{1,6}",
    ]
}

/// The documented alphabet, written down from the document and not from the code above.
fn is_documented_column(name: &str) -> bool {
    let forbidden = "!\"$()*,./;?@[\\]^`{}~";
    (1..=300).contains(&name.chars().count())
        && !name
            .chars()
            .any(|c| forbidden.contains(c) || c.is_control() || ('\u{E000}'..='\u{F8FF}').contains(&c))
}

#[test]
fn names_that_bigquery_takes_stay() {
    for name in ["shop_2", "_x", "2020"] {
        assert_eq!(dataset(name), name);
    }
    for name in ["order-items", "größe", "table 01", "00_お客様", "ग्राहक", "_x"] {
        assert_eq!(table(name), name);
    }
    let flexible = "& % = + : ' < > # |";
    for name in [
        "id",
        "_x",
        "Order",
        "1st",
        "a b",
        "größe",
        "注文",
        "हिन्दी",
        "a-b",
        flexible,
    ] {
        assert_eq!(column(name), name);
    }
}

#[test]
fn names_that_bigquery_bars_are_spelled_anew() {
    for (name, prefix) in [
        ("price ($)", "price_"),
        ("a.b", "a_b_"),
        ("`; DROP TABLE x; --", "c_DROP_TABLE_x_"),
        ("\u{1F600}", "c_"),
        ("é!", "é_"),
        ("", "c_"),
        (" a", "c_a_"),
        ("_PARTITIONTIME", "c_PARTITIONTIME_"),
        ("_change_type", "c_change_type_"),
        ("_replicator_commit_time", "c_replicator_commit_time_"),
        ("a\u{200D}b", "a_b_"),
    ] {
        let spelled = column(name);
        let hash = spelled
            .strip_prefix(prefix)
            .unwrap_or_else(|| panic!("{name}: {spelled}"));
        assert_eq!(hash.len(), HASH_LEN, "{name}: {spelled}");
    }
    assert!(table("a/b").starts_with("a_b_"));
    assert!(table("_replicator_dead_letters").starts_with("c_replicator_"));
    assert!(dataset("größe").starts_with("gr_e_"));
    assert!(dataset("order-items").starts_with("order_items_"));
}

#[test]
fn long_names_are_cut_between_characters_and_stay_different() {
    let long = |end: &str| "ü".repeat(600) + end;
    for (one, other, limit) in [
        (table(&long("a")), table(&long("b")), CONTAINER_BYTES),
        (dataset(&long("a")), dataset(&long("b")), CONTAINER_BYTES),
        (column(&long("a")), column(&long("b")), COLUMN_CHARS),
    ] {
        assert_ne!(one, other);
        assert!(one.len() <= limit && other.len() <= limit);
    }
    let longest = "ü".repeat(COLUMN_CHARS);
    assert_eq!(column(&longest), longest);
}

#[test]
fn what_sql_could_read_otherwise_is_escaped() {
    assert_eq!(quoted("p.d.t"), "`p.d.t`");
    assert_eq!(quoted("a`b\\"), "`a\\`b\\\\`");
}

proptest! {
    #[test]
    fn every_name_becomes_a_legal_one(name in source_name()) {
        let column = column(&name);
        prop_assert!(is_documented_column(&column), "{}", column);
        let upper = column.to_uppercase();
        prop_assert!(!RESERVED.iter().any(|prefix| upper.starts_with(prefix)), "{}", column);
        let table = table(&name);
        prop_assert!(!table.contains(|c: char| "`\\.:$*@/\"'".contains(c) || c.is_control()), "{}", table);
        prop_assert!((1..=CONTAINER_BYTES).contains(&table.len()));
        let dataset = dataset(&name);
        prop_assert!(dataset.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
    }

    /// MySQL's names of columns differ in more than case.
    #[test]
    fn different_names_stay_different(names in proptest::collection::vec(source_name(), 0..20)) {
        let mut seen = HashSet::new();
        let names: Vec<String> = names.into_iter().filter(|name| seen.insert(folded(name))).collect();
        for allocate in [column, table, dataset] {
            let targets: HashSet<String> = names.iter().map(|name| folded(&allocate(name))).collect();
            prop_assert_eq!(targets.len(), names.len());
        }
    }

    #[test]
    fn a_name_is_given_once_and_for_all(name in source_name()) {
        for allocate in [column, table, dataset] {
            let once = allocate(&name);
            prop_assert_eq!(allocate(&once), once);
        }
    }
}
