//! Promoted paths: parts of DynamoDB's items that get columns of their own, with types of their own, beside the whole
//! item.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::raw::InOrder;
use super::validate::Rules;

/// A step of a path into an item.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// To an attribute of the item, or of a map in it.
    Name(String),
    /// To an element of a list, from 0.
    Index(usize),
}

/// Where in an item: at least one step, the first to a top-level attribute.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Path {
    /// The steps.
    pub steps: Vec<Step>,
    text: String,
}

impl Path {
    /// Reads a path: names joined by dots, `[n]` for elements of lists; a name with `.`, `[`, `]` or `"` in it stands
    /// between quotes, in which `""` is one. `None` of text that is no such path.
    pub fn parse(text: &str) -> Option<Path> {
        let (first, mut rest) = name(text)?;
        let mut steps = vec![Step::Name(first)];
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                let (name, after) = name(after)?;
                steps.push(Step::Name(name));
                rest = after;
            } else {
                let (index, after) = rest.strip_prefix('[')?.split_once(']')?;
                let plain = index.bytes().all(|digit| digit.is_ascii_digit());
                let canonical = plain && (index == "0" || !index.starts_with('0'));
                steps.push(Step::Index(canonical.then(|| index.parse().ok())??));
                rest = after;
            }
        }
        let text = text.to_owned();
        Some(Path { steps, text })
    }

    /// The column's name unless another column has it: the steps joined by `_`.
    fn column(&self) -> String {
        let parts: Vec<String> = self
            .steps
            .iter()
            .map(|step| match step {
                Step::Name(name) => name.clone(),
                Step::Index(index) => index.to_string(),
            })
            .collect();
        parts.join("_")
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A name at the beginning of a text, and what follows it.
fn name(text: &str) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('"') else {
        let end = text.find(['.', '[', ']', '"']).unwrap_or(text.len());
        let (name, rest) = text.split_at_checked(end)?;
        return (!name.is_empty()).then(|| (name.to_owned(), rest));
    };
    let mut name = String::new();
    loop {
        let (part, after) = rest.split_once('"')?;
        name.push_str(part);
        match after.strip_prefix('"') {
            Some(after) => {
                name.push('"');
                rest = after;
            }
            None => return (!name.is_empty()).then_some((name, after)),
        }
    }
}

/// The type of a promoted path's column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PromotedType {
    /// Text, and numbers in their one text.
    String,
    /// Whole numbers of 64 bits.
    Int64,
    /// Numbers of up to 29 digits before the point and 9 behind.
    Numeric,
    /// Numbers of up to 38 digits before the point and 38 behind.
    BigNumeric,
    /// The nearest double of any number.
    Float64,
    /// Truth values.
    Bool,
    /// Bytes.
    Bytes,
    /// Text `2024-02-29`.
    Date,
    /// Text in the form of RFC 3339, and numbers: seconds since 1970.
    Timestamp,
    /// Any value as JSON.
    Json,
}

/// Every type.
const TYPES: [PromotedType; 10] = [
    PromotedType::String,
    PromotedType::Int64,
    PromotedType::Numeric,
    PromotedType::BigNumeric,
    PromotedType::Float64,
    PromotedType::Bool,
    PromotedType::Bytes,
    PromotedType::Date,
    PromotedType::Timestamp,
    PromotedType::Json,
];

impl PromotedType {
    /// The type's name.
    pub fn name(self) -> &'static str {
        match self {
            PromotedType::String => "STRING",
            PromotedType::Int64 => "INT64",
            PromotedType::Numeric => "NUMERIC",
            PromotedType::BigNumeric => "BIGNUMERIC",
            PromotedType::Float64 => "FLOAT64",
            PromotedType::Bool => "BOOL",
            PromotedType::Bytes => "BYTES",
            PromotedType::Date => "DATE",
            PromotedType::Timestamp => "TIMESTAMP",
            PromotedType::Json => "JSON",
        }
    }

    /// The type of a name.
    pub fn of(name: &str) -> Option<PromotedType> {
        TYPES.into_iter().find(|kind| kind.name() == name)
    }
}

/// A promoted path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Promoted {
    /// The column's name, unless a column that was there first has it.
    pub column: String,
    /// Where in an item the values are.
    pub path: Path,
    /// The column's type.
    pub kind: PromotedType,
}

impl Promoted {
    /// A path with a type.
    pub fn new(path: Path, kind: PromotedType) -> Promoted {
        let column = path.column();
        Promoted { column, path, kind }
    }
}

/// As it is written: by table, by path, a type.
pub(super) type RawPromoted = InOrder<InOrder<String>>;

/// Judges the promoted paths below `key`, of tables that are followed: by table, in the order of their columns' names.
pub(super) fn promoted(
    key: &str,
    raw: Option<RawPromoted>,
    tables: &[String],
    rules: &mut Rules<'_>,
) -> Option<BTreeMap<String, Vec<Promoted>>> {
    let (mut all, mut whole) = (BTreeMap::new(), true);
    for (table, paths) in raw.map(|pairs| pairs.0).unwrap_or_default() {
        let key = format!("{key}.{table:?}");
        if !tables.contains(&table) {
            let cure = "write the name of a table as it stands in tables:";
            rules.mistakes.add(&key, "is no table that is followed", cure);
            whole = false;
        }
        let mut good = Vec::new();
        for (path, kind) in paths.0 {
            match one(&format!("{key}.{path:?}"), &path, kind, rules) {
                Some(promoted) => good.push(promoted),
                None => whole = false,
            }
        }
        whole &= told_apart(&key, &good, rules);
        good.sort_by(|one, other| one.column.cmp(&other.column));
        all.insert(table, good);
    }
    all.retain(|_, paths| !paths.is_empty());
    whole.then_some(all)
}

fn one(key: &str, path: &str, kind: String, rules: &mut Rules<'_>) -> Option<Promoted> {
    let read = Path::parse(path);
    if read.is_none() {
        let cure = "write names joined by dots and [n] for an element of a list, such as address.city or items[0].sku; a \
                    name with dots, brackets or quotes in it stands between quotes";
        rules.mistakes.add(key, "is no path into an item", cure);
    }
    let names: Vec<&str> = TYPES.iter().map(|kind| kind.name()).collect();
    let cure = format!("write one of {}", names.join(", "));
    let form = |text: &str| PromotedType::of(text).is_some();
    let kind = rules.formed(key, kind, form, ("a type of a column", &cure))?;
    Some(Promoted::new(read?, PromotedType::of(&kind)?))
}

/// Notes paths whose columns would have one name.
fn told_apart(key: &str, promoted: &[Promoted], rules: &mut Rules<'_>) -> bool {
    let mut names = BTreeSet::new();
    let mut apart = true;
    for one in promoted {
        if !names.insert(one.column.to_lowercase()) {
            rules.mistakes.add(
                &format!("{key}.{:?}", one.path.to_string()),
                format!("makes a column {} as another path does", one.column),
                "leave one of them out: the other's values are in the column of the whole item",
            );
            apart = false;
        }
    }
    apart
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(text: &str) -> Option<Vec<Step>> {
        Path::parse(text).map(|path| path.steps)
    }

    #[test]
    fn paths_are_names_and_places() {
        let name = |text: &str| Step::Name(text.to_owned());
        assert_eq!(steps("city"), Some(vec![name("city")]));
        assert_eq!(steps("address.city"), Some(vec![name("address"), name("city")]));
        assert_eq!(
            steps("items[0][12].sku"),
            Some(vec![name("items"), Step::Index(0), Step::Index(12), name("sku")])
        );
        assert_eq!(
            steps(r#""a.b".c d."x""y[0]""#),
            Some(vec![name("a.b"), name("c d"), name("x\"y[0]")])
        );
        for text in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "a[",
            "a[]",
            "a[x]",
            "a[01]",
            "a[+1]",
            "a[-1]",
            "[0]",
            "a]",
            "\"a",
            "\"\"",
            "a\"b\"",
            "\"a\"b",
            "a[99999999999999999999999]",
        ] {
            assert_eq!(steps(text), None, "{text}");
        }
    }

    #[test]
    fn a_column_is_named_by_its_path() {
        for (path, expected) in [
            ("city", "city"),
            ("address.city", "address_city"),
            ("i[0].sku", "i_0_sku"),
        ] {
            let promoted = Promoted::new(Path::parse(path).unwrap(), PromotedType::Json);
            assert_eq!(promoted.column, expected);
            assert_eq!(promoted.path.to_string(), path);
        }
    }

    #[test]
    fn types_have_their_names() {
        for kind in TYPES {
            assert_eq!(PromotedType::of(kind.name()), Some(kind));
        }
        assert_eq!(PromotedType::of("TEXT"), None);
    }
}
