//! The SQL of key ranges: how a key is rendered, and how a range is said so that the primary key serves it.

use super::ChunkError;
use crate::event::{Bound, Chunk, TableId};
use crate::source::mysql::catalog::{CatalogColumn, CatalogTable};
use crate::source::mysql::quoting::{quoted, quoted_table};

/// A table's key, ready to be asked for bounds and ranges.
#[derive(Debug, Clone)]
pub struct KeyPlan {
    table: TableId,
    columns: Vec<KeyColumn>,
    /// Every column of the table, so that invisible ones are read too.
    selected: String,
}

#[derive(Debug, Clone)]
struct KeyColumn {
    name: String,
    literal: Literal,
}

/// How the values of a type are written as literals.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Literal {
    /// Integers, decimals, years: their text.
    Number,
    /// FLOAT and DOUBLE: the shortest text that reads back, which is that of a DOUBLE.
    Approximate,
    /// ENUM, SET and BIT are ordered by their number.
    Ordinal,
    /// Text: the bytes of its own character set.
    Text(String),
    /// Bytes.
    Binary,
    /// `DATE'…'`, `TIME'…'`, `TIMESTAMP'…'`.
    Temporal(&'static str),
    /// Types whose text is their literal (MariaDB's UUID, INET4, INET6).
    Quoted,
}

impl KeyPlan {
    /// The key of a table.
    ///
    /// # Errors
    /// [`ChunkError::NoKey`], [`ChunkError::KeyType`]
    pub fn new(table: &CatalogTable) -> Result<KeyPlan, ChunkError> {
        let mut keyed: Vec<(u16, &CatalogColumn)> = table
            .columns
            .iter()
            .filter_map(|column| Some((column.key?, column)))
            .collect();
        keyed.sort_by_key(|(place, _)| *place);
        if keyed.is_empty() {
            let table = table.id.clone();
            return Err(ChunkError::NoKey { table });
        }
        let columns = keyed
            .into_iter()
            .map(|(_, column)| key_column(&table.id, column))
            .collect::<Result<_, _>>()?;
        Ok(KeyPlan {
            table: table.id.clone(),
            columns,
            selected: selected(table),
        })
    }

    /// Key columns.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a key without columns cannot be built"
    )]
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// Asks for the `rows`-th key after `after`, rendered.
    pub(super) fn plan_query(&self, after: Option<&Bound>, rows: u64) -> Result<String, ChunkError> {
        let rendered: Vec<String> = self.columns.iter().map(KeyColumn::render).collect();
        let order: Vec<String> = self.columns.iter().map(|column| quoted(&column.name)).collect();
        let range = Chunk {
            lower: after.cloned(),
            upper: None,
        };
        Ok(format!(
            "SELECT {} FROM {}{} ORDER BY {} LIMIT {}, 1",
            rendered.join(", "),
            self.from(),
            self.condition(&range)?,
            order.join(", "),
            rows.saturating_sub(1),
        ))
    }

    fn read_query(&self, chunk: &Chunk) -> Result<String, ChunkError> {
        Ok(format!(
            "SELECT {} FROM {}{}",
            self.selected,
            self.from(),
            self.condition(chunk)?
        ))
    }

    fn from(&self) -> String {
        format!("{} FORCE INDEX (PRIMARY)", quoted_table(&self.table))
    }

    fn condition(&self, chunk: &Chunk) -> Result<String, ChunkError> {
        let mut sides = Vec::new();
        if let Some(lower) = &chunk.lower {
            self.check(lower)?;
            sides.push(self.side(lower, '>', ">"));
        }
        if let Some(upper) = &chunk.upper {
            self.check(upper)?;
            sides.push(self.side(upper, '<', "<="));
        }
        Ok(match sides.is_empty() {
            true => String::new(),
            false => format!(" WHERE {}", sides.join(" AND ")),
        })
    }

    /// `(a > x OR (a = x AND (b > y)))`, led by `a >= x`, which is redundant and the only part that the
    /// optimizer makes an index range of for sure; a row constructor it does not. `last` compares the
    /// last column.
    fn side(&self, bound: &Bound, strict: char, last: &str) -> String {
        let pairs: Vec<(String, &String)> = self
            .columns
            .iter()
            .zip(&bound.0)
            .map(|(column, literal)| (quoted(&column.name), literal))
            .collect();
        let mut sql = String::new();
        for (index, (name, literal)) in pairs.iter().enumerate().rev() {
            sql = match index + 1 == pairs.len() {
                true => format!("{name} {last} {literal}"),
                false => format!("({name} {strict} {literal} OR ({name} = {literal} AND {sql}))"),
            };
        }
        match pairs.as_slice() {
            [(name, literal), _, ..] => format!("{name} {strict}= {literal} AND {sql}"),
            _ => sql,
        }
    }

    /// A bound read back from a checkpoint becomes SQL text: it must be made of literals, one for each
    /// key column, and of nothing else.
    pub(super) fn check(&self, bound: &Bound) -> Result<(), ChunkError> {
        let fits = bound.0.len() == self.columns.len()
            && self
                .columns
                .iter()
                .zip(&bound.0)
                .all(|(column, literal)| column.literal.admits(literal));
        match fits {
            true => Ok(()),
            false => Err(ChunkError::Bound {
                table: self.table.clone(),
            }),
        }
    }
}

/// Asks for all columns of a chunk's rows, in the table's column order. A table without a primary key is one chunk.
///
/// # Errors
/// [`ChunkError::KeyType`], [`ChunkError::Bound`]
pub(super) fn read_query(table: &CatalogTable, chunk: &Chunk) -> Result<String, ChunkError> {
    if table.is_keyed() {
        return KeyPlan::new(table)?.read_query(chunk);
    }
    if chunk.lower.is_some() || chunk.upper.is_some() {
        let table = table.id.clone();
        return Err(ChunkError::Bound { table });
    }
    Ok(format!(
        "SELECT {} FROM {}",
        selected(table),
        quoted_table(&table.id)
    ))
}

/// Every column of a table.
fn selected(table: &CatalogTable) -> String {
    table
        .columns
        .iter()
        .map(select)
        .collect::<Vec<String>>()
        .join(", ")
}

fn key_column(table: &TableId, column: &CatalogColumn) -> Result<KeyColumn, ChunkError> {
    let charset = column.charset.as_deref().unwrap_or("binary");
    let literal = match column.data_type.as_str() {
        "tinyint" | "smallint" | "mediumint" | "int" | "integer" | "bigint" | "decimal" | "numeric"
        | "year" => Some(Literal::Number),
        "float" | "double" | "real" => Some(Literal::Approximate),
        "enum" | "set" | "bit" => Some(Literal::Ordinal),
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => match charset {
            "binary" => Some(Literal::Binary),
            name => is_plain(name).then(|| Literal::Text(name.to_owned())),
        },
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Some(Literal::Binary),
        "date" => Some(Literal::Temporal("DATE")),
        "time" => Some(Literal::Temporal("TIME")),
        "datetime" | "timestamp" => Some(Literal::Temporal("TIMESTAMP")),
        "uuid" | "inet4" | "inet6" => Some(Literal::Quoted),
        _ => None,
    };
    let name = column.name.as_str().to_owned();
    match literal {
        Some(literal) => Ok(KeyColumn { name, literal }),
        None => Err(ChunkError::KeyType {
            table: table.clone(),
            column: name,
            declared: column.column_type.clone(),
        }),
    }
}

/// A column as it is selected: text and labels as the bytes that are stored, because a server that converts
/// them makes `?` of what is no text. In a key an ENUM or SET is its number, because labels may be alike.
fn select(column: &CatalogColumn) -> String {
    let name = quoted(column.name.as_str());
    let text = column
        .charset
        .as_deref()
        .is_some_and(|charset| charset != "binary");
    match column.data_type.as_str() {
        "enum" | "set" if column.key.is_some() => format!("CAST({name} AS UNSIGNED)"),
        "enum" | "set" => format!("CAST({name} AS BINARY)"),
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" if text => {
            format!("CAST({name} AS BINARY)")
        }
        _ => name,
    }
}

impl KeyColumn {
    fn render(&self) -> String {
        let name = quoted(&self.name);
        match &self.literal {
            Literal::Number => format!("CAST({name} AS CHAR)"),
            Literal::Approximate => format!("CAST({name} + 0e0 AS CHAR)"),
            Literal::Ordinal => format!("CAST({name} + 0 AS CHAR)"),
            Literal::Text(charset) => format!("CONCAT('_{charset} X''', HEX({name}), '''')"),
            Literal::Binary => format!("CONCAT('X''', HEX({name}), '''')"),
            Literal::Temporal(kind) => format!("CONCAT('{kind}''', CAST({name} AS CHAR), '''')"),
            Literal::Quoted => format!("CONCAT('''', CAST({name} AS CHAR), '''')"),
        }
    }
}

impl Literal {
    /// Whether a text is a literal of this kind.
    fn admits(&self, text: &str) -> bool {
        let quoted = |prefix: &str, admitted: fn(char) -> bool| {
            text.strip_prefix(prefix)
                .and_then(|rest| rest.strip_prefix('\''))
                .and_then(|rest| rest.strip_suffix('\''))
                .is_some_and(|body| body.chars().all(admitted))
        };
        let hex = |c: char| c.is_ascii_hexdigit();
        match self {
            Literal::Number | Literal::Approximate | Literal::Ordinal => {
                text.starts_with(|c: char| c.is_ascii_digit() || c == '-')
                    && text
                        .chars()
                        .all(|c| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e'))
                    && text.parse::<f64>().is_ok()
            }
            Literal::Text(charset) => quoted(&format!("_{charset} X"), hex),
            Literal::Binary => quoted("X", hex),
            Literal::Temporal(kind) => {
                quoted(kind, |c| c.is_ascii_digit() || matches!(c, '-' | ':' | '.' | ' '))
            }
            Literal::Quoted => quoted("", |c| c.is_ascii_hexdigit() || matches!(c, '-' | ':' | '.')),
        }
    }
}

fn is_plain(charset: &str) -> bool {
    !charset.is_empty()
        && charset
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, data_type: &str, charset: Option<&str>, key: Option<u16>) -> CatalogColumn {
        CatalogColumn {
            name: crate::event::ColumnName::new(name),
            column_type: data_type.to_owned(),
            data_type: data_type.to_owned(),
            charset: charset.map(str::to_owned),
            collation: None,
            nullable: false,
            key,
            generated: false,
            invisible: false,
        }
    }

    fn plan(columns: Vec<CatalogColumn>) -> Result<KeyPlan, ChunkError> {
        let id = TableId::new("s", "t`x");
        KeyPlan::new(&CatalogTable { id, columns })
    }

    fn bound(literals: &[&str]) -> Bound {
        Bound(literals.iter().map(|literal| (*literal).to_owned()).collect())
    }

    #[test]
    fn a_composite_range_nests_and_leads_with_what_the_index_serves() {
        let plan = plan(vec![
            column("b", "varchar", Some("latin1"), Some(1)),
            column("a", "int", None, Some(0)),
            column("v", "int", None, None),
        ])
        .unwrap();
        let chunk = Chunk {
            lower: Some(bound(&["1", "_latin1 X'61'"])),
            upper: Some(bound(&["2", "_latin1 X''"])),
        };
        assert_eq!(
            plan.read_query(&chunk).unwrap(),
            "SELECT CAST(`b` AS BINARY), `a`, `v` FROM `s`.`t``x` FORCE INDEX (PRIMARY) \
             WHERE `a` >= 1 AND (`a` > 1 OR (`a` = 1 AND `b` > _latin1 X'61')) \
             AND `a` <= 2 AND (`a` < 2 OR (`a` = 2 AND `b` <= _latin1 X''))"
        );
        assert_eq!(
            plan.plan_query(None, 10).unwrap(),
            "SELECT CAST(`a` AS CHAR), CONCAT('_latin1 X''', HEX(`b`), '''') \
             FROM `s`.`t``x` FORCE INDEX (PRIMARY) ORDER BY `a`, `b` LIMIT 9, 1"
        );
    }

    #[test]
    fn a_bound_that_is_more_than_literals_is_refused() {
        let plan = plan(vec![column("a", "int", None, Some(0))]).unwrap();
        for bad in [
            &["1 OR 1"][..],
            &["1", "2"],
            &[],
            &["X'61'"],
            &["1;"],
            &[""],
            &["-"],
        ] {
            assert!(plan.check(&bound(bad)).is_err(), "{bad:?}");
        }
        for good in ["1", "-5", "1.50", "18446744073709551615"] {
            assert!(plan.check(&bound(&[good])).is_ok(), "{good}");
        }
    }

    #[test]
    fn a_table_without_a_key_is_read_whole_or_not_at_all() {
        let table = CatalogTable {
            id: TableId::new("s", "t"),
            columns: vec![column("a", "int", None, None), column("b`", "blob", None, None)],
        };
        let chunk = |lower: Option<Bound>| Chunk { lower, upper: None };
        assert_eq!(
            read_query(&table, &chunk(None)).unwrap(),
            "SELECT `a`, `b``` FROM `s`.`t`"
        );
        let bounded = read_query(&table, &chunk(Some(bound(&["1"]))));
        assert!(matches!(bounded, Err(ChunkError::Bound { .. })));
    }

    #[test]
    fn keys_that_cannot_be_split_are_refused() {
        let none = plan(vec![column("a", "int", None, None)]);
        assert!(matches!(none, Err(ChunkError::NoKey { .. })));
        let geometry = plan(vec![column("a", "point", None, Some(0))]);
        assert!(matches!(geometry, Err(ChunkError::KeyType { .. })));
    }
}
