//! What is done where a source's tables change: the policies below `schema_changes`.

use super::raw::RawSchemaChanges;
use super::validate::Rules;

/// What is done where a source's tables change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaChanges {
    /// What follows an added column.
    pub add_column: Adding,
    /// What follows a new table.
    pub new_table: Adding,
    /// Names of columns that are not written when they appear, until a person says so: patterns with `*` and `?`.
    pub hold_names: Vec<String>,
    /// What follows a renamed column.
    pub rename_column: Renaming,
    /// What follows a type that the column's target cannot hold.
    pub incompatible_type: Incompatible,
    /// What follows values that rows which exist got without row events.
    pub added_default: AddedDefault,
    /// Bytes of a table, as the source estimates them, up to which it is copied again by itself.
    pub resnapshot_limit: u64,
}

/// 20 GB.
const RESNAPSHOT_LIMIT: u64 = 20_000_000_000;

impl Default for SchemaChanges {
    fn default() -> SchemaChanges {
        SchemaChanges {
            add_column: Adding::Add,
            new_table: Adding::Add,
            hold_names: Vec::new(),
            rename_column: Renaming::Rename,
            incompatible_type: Incompatible::NewColumn,
            added_default: AddedDefault::Resnapshot,
            resnapshot_limit: RESNAPSHOT_LIMIT,
        }
    }
}

/// What follows something new in the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adding {
    /// It is added to the target.
    Add,
    /// It is told and not written, until a person says so.
    Hold,
    /// It is not written.
    Ignore,
}

/// What follows a renamed column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renaming {
    /// The target's column is renamed.
    Rename,
    /// The target's column keeps its name.
    Keep,
}

/// What follows a type that a target's column cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incompatible {
    /// A column of another name takes the values from there on; the old one stays.
    NewColumn,
    /// The table is parked.
    Park,
}

/// What follows values that rows which exist got without row events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddedDefault {
    /// The table is copied again beside the stream.
    Resnapshot,
    /// Rows that exist keep what the target has.
    Leave,
}

impl SchemaChanges {
    /// Every policy as it is written, and whether it is the default.
    pub fn written(&self) -> Vec<(&'static str, String, bool)> {
        let usual = SchemaChanges::default();
        let adding = |value: Adding| spelled(&ADDING, value);
        let rows = |all: &SchemaChanges| {
            [
                ("add_column", adding(all.add_column)),
                ("new_table", adding(all.new_table)),
                ("hold_names", format!("[{}]", all.hold_names.join(", "))),
                ("rename_column", spelled(&RENAMING, all.rename_column)),
                ("incompatible_type", spelled(&INCOMPATIBLE, all.incompatible_type)),
                ("added_default", spelled(&ADDED_DEFAULT, all.added_default)),
                ("resnapshot_limit", format!("{} bytes", all.resnapshot_limit)),
                ("drop_column", "keep".to_owned()),
                ("drop_table", "keep".to_owned()),
                ("truncate", "sweep".to_owned()),
                ("key_change", "park".to_owned()),
            ]
        };
        rows(self)
            .into_iter()
            .zip(rows(&usual))
            .map(|((name, value), (_, usual))| {
                let is_usual = value == usual;
                (name, value, is_usual)
            })
            .collect()
    }
}

fn spelled<T: PartialEq>(names: &[(&str, T)], value: T) -> String {
    names
        .iter()
        .find(|(_, one)| *one == value)
        .map(|(name, _)| (*name).to_owned())
        .unwrap_or_default()
}

const RENAMING: [(&str, Renaming); 2] = [("rename", Renaming::Rename), ("keep", Renaming::Keep)];
const INCOMPATIBLE: [(&str, Incompatible); 2] = [
    ("new_column", Incompatible::NewColumn),
    ("park", Incompatible::Park),
];
const ADDED_DEFAULT: [(&str, AddedDefault); 2] = [
    ("resnapshot", AddedDefault::Resnapshot),
    ("leave", AddedDefault::Leave),
];
const ADDING: [(&str, Adding); 3] = [
    ("add", Adding::Add),
    ("hold", Adding::Hold),
    ("ignore", Adding::Ignore),
];

/// Reads the policies; what is wrong is noted.
pub(super) fn read(raw: RawSchemaChanges, rules: &mut Rules<'_>) -> SchemaChanges {
    let RawSchemaChanges {
        add_column,
        new_table,
        hold_names,
        drop_column,
        rename_column,
        incompatible_type,
        truncate,
        key_change,
        drop_table,
        added_default,
        resnapshot_limit,
    } = raw;
    for (name, value, only) in [
        ("drop_column", drop_column, "keep"),
        ("truncate", truncate, "sweep"),
        ("key_change", key_change, "park"),
        ("drop_table", drop_table, "keep"),
    ] {
        let key = format!("schema_changes.{name}");
        if let Some(value) = value.filter(|value| value != only) {
            let shown = rules.quote(&key, &value);
            let cure = format!("write {only}, or remove it");
            rules.mistakes.not_built(&key, &shown, &cure);
        }
    }
    let before = SchemaChanges::default();
    SchemaChanges {
        add_column: one_of("add_column", add_column, &ADDING, rules).unwrap_or(before.add_column),
        new_table: one_of("new_table", new_table, &ADDING, rules).unwrap_or(before.new_table),
        hold_names: hold_names.unwrap_or_default().into_iter().flatten().collect(),
        rename_column: one_of("rename_column", rename_column, &RENAMING, rules)
            .unwrap_or(before.rename_column),
        incompatible_type: one_of("incompatible_type", incompatible_type, &INCOMPATIBLE, rules)
            .unwrap_or(before.incompatible_type),
        added_default: one_of("added_default", added_default, &ADDED_DEFAULT, rules)
            .unwrap_or(before.added_default),
        resnapshot_limit: limit(resnapshot_limit, rules).unwrap_or(before.resnapshot_limit),
    }
}

fn one_of<T: Copy>(
    name: &str,
    value: Option<String>,
    known: &[(&str, T)],
    rules: &mut Rules<'_>,
) -> Option<T> {
    let value = value?;
    let found = known.iter().find(|(text, _)| *text == value);
    if found.is_none() {
        let key = format!("schema_changes.{name}");
        let shown = rules.quote(&key, &value);
        let all: Vec<&str> = known.iter().map(|(text, _)| *text).collect();
        rules.mistakes.add(
            &key,
            format!("{shown} is not a policy"),
            format!("write {}", all.join(" or ")),
        );
    }
    found.map(|(_, policy)| *policy)
}

fn limit(value: Option<String>, rules: &mut Rules<'_>) -> Option<u64> {
    let value = value?;
    let size = bytes(&value);
    if size.is_none() {
        let key = "schema_changes.resnapshot_limit";
        let shown = rules.quote(key, &value);
        rules.mistakes.add(
            key,
            format!("{shown} is not a size"),
            "write a number and a unit, such as 500MB, 20GB or 1TB; 0GB for never",
        );
    }
    size
}

/// `20GB`, `1.5TB`, `512 MiB`.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = text.get(digits.len()..)?;
    let digits = digits.trim();
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let unit: u64 = match unit.to_ascii_lowercase().as_str() {
        "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return None,
    };
    let part = match fraction {
        "" => 0,
        digits => {
            let places = u32::try_from(digits.len()).ok()?;
            unit.checked_mul(digits.parse().ok()?)? / 10_u64.checked_pow(places)?
        }
    };
    whole.parse::<u64>().ok()?.checked_mul(unit)?.checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_have_a_unit() {
        for (text, expected) in [
            ("20GB", Some(20_000_000_000)),
            ("1.5tb", Some(1_500_000_000_000)),
            ("512 MiB", Some(512 << 20)),
            ("0GB", Some(0)),
            ("20", None),
            ("x GB", None),
            ("-1GB", None),
            ("99999999999TB", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }
}
