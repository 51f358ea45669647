//! Names in statements. Whatever a name holds, it stays one name.

use crate::event::TableId;

/// A name between backticks.
pub fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A table's name with its schema.
pub fn quoted_table(table: &TableId) -> String {
    format!("{}.{}", quoted(table.schema()), quoted(table.name()))
}

/// A schema's name where GRANT takes a pattern: `_` and `%` stand for themselves
/// (<https://dev.mysql.com/doc/refman/8.4/en/grant.html>).
pub(super) fn quoted_pattern(schema: &str) -> String {
    let mut pattern = String::with_capacity(schema.len());
    for c in schema.chars() {
        if matches!(c, '_' | '%' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    quoted(&pattern)
}

/// An account from what `CURRENT_USER()` says, `user@host`; `None` if it says nothing. In backticks no `sql_mode` gives a
/// backslash a meaning.
pub(super) fn quoted_account(account: &str) -> Option<String> {
    let (user, host) = account.rsplit_once('@')?;
    Some(format!("{}@{}", quoted(user), quoted(host)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::source::mysql::grants::Grants;
    use crate::source::mysql::lexer::{self, Dialect, Token};
    use crate::source::mysql::server::Flavour;

    fn dialects() -> [Dialect; 2] {
        [Flavour::Mysql, Flavour::MariaDb].map(|flavour| Dialect {
            flavour,
            version: 80_406,
            ansi_quotes: true,
            no_backslash_escapes: false,
            fold_names: false,
        })
    }

    #[test]
    fn what_a_name_holds_ends_nothing() {
        assert_eq!(quoted("a`b"), "`a``b`");
        assert_eq!(quoted_table(&TableId::new("a.b", "`")), "`a.b`.````");
        assert_eq!(quoted_pattern(r"a_b%c\`"), r"`a\_b\%c\\```");
        assert_eq!(
            quoted_account("o'brien@10.%").as_deref(),
            Some("`o'brien`@`10.%`")
        );
        assert_eq!(quoted_account("a@b`@%").as_deref(), Some("`a@b```@`%`"));
        assert_eq!(quoted_account(""), None);
    }

    proptest! {
        #[test]
        fn a_name_is_read_back(name in "\\PC{1,20}") {
            for dialect in dialects() {
                let text = quoted(&name);
                let tokens = lexer::tokens(&text, dialect).unwrap();
                prop_assert_eq!(tokens, vec![Token::Name(name.as_str().into())]);
            }
        }

        #[test]
        fn a_grant_reaches_its_schema_and_no_other(name in "[ab_%\\\\`]{1,6}", other in "[ab_%\\\\`]{1,6}") {
            for dialect in dialects() {
                let line = format!("GRANT SELECT ON {}.* TO {}", quoted_pattern(&name), quoted("r"));
                let grants = Grants::parse([line], dialect);
                prop_assert!(grants.has_on(&TableId::new(name.as_str(), "t"), "SELECT"));
                let reaches = grants.has_on(&TableId::new(other.as_str(), "t"), "SELECT");
                prop_assert_eq!(reaches, other == name);
            }
        }
    }
}
