//! What the user may do, read from SHOW GRANTS, which is the only form that every server, roles
//! included, tells a user about itself. Quotes and wildcards are the server's
//! (<https://dev.mysql.com/doc/refman/8.4/en/grant.html>).

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};

use super::error::MysqlError;
use super::lexer::{self, Dialect, Token};
use crate::event::TableId;

/// The privileges of the connected user, those of its active roles included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    /// `user@host` as the server matched it; empty if not read.
    pub account: String,
    granted: Vec<Grant>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Grant {
    scope: Scope,
    /// Upper case; `ALL PRIVILEGES` stands for all of the scope.
    privileges: Vec<String>,
    /// Partial revokes (MySQL: `REVOKE … ON schema.* FROM …` in the list) take away.
    revoked: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Scope {
    Global,
    /// A pattern with `%` and `_`, unless escaped.
    Schema(String),
    Table(TableId),
}

impl Grants {
    /// Reads the grants of the connected user. Roles count as far as they are active in a session of
    /// this user, because that is what the reader's sessions will have.
    ///
    /// # Errors
    /// [`MysqlError`] of the queries.
    pub async fn read(conn: &mut Conn, dialect: Dialect) -> Result<Grants, MysqlError> {
        let account: Option<String> = conn.query_first("SELECT CURRENT_USER()").await?;
        // MySQL lists what active roles give only if they are named with USING; MariaDB lists it by itself.
        let mut query = "SHOW GRANTS FOR CURRENT_USER()".to_owned();
        if let Ok(Some(Some(roles))) = conn
            .query_first::<Option<String>, _>("SELECT CURRENT_ROLE()")
            .await
            && !roles.eq_ignore_ascii_case("NONE")
            && dialect.flavour == super::server::Flavour::Mysql
        {
            query.push_str(" USING ");
            query.push_str(&roles);
        }
        let rows: Vec<Row> = conn.query(query).await?;
        let lines = rows.iter().filter_map(|row| row.get_opt::<String, _>(0)?.ok());
        let mut grants = Grants::parse(lines, dialect);
        grants.account = account.unwrap_or_default();
        Ok(grants)
    }

    /// Reads lines of SHOW GRANTS; lines of another form (roles, proxies) grant nothing.
    pub fn parse<S: AsRef<str>>(lines: impl IntoIterator<Item = S>, dialect: Dialect) -> Grants {
        let granted = lines
            .into_iter()
            .filter_map(|line| parse_line(line.as_ref(), dialect))
            .collect();
        Grants {
            account: String::new(),
            granted,
        }
    }

    /// Whether a global privilege is held, under any of its names.
    pub fn has_global(&self, names: &[&str]) -> bool {
        self.granted
            .iter()
            .any(|grant| !grant.revoked && grant.scope == Scope::Global && grant.gives(names, true))
    }

    /// Whether a privilege is held on a table, through whatever scope.
    pub fn has_on(&self, table: &TableId, name: &str) -> bool {
        let revoked = self.granted.iter().any(|grant| {
            grant.revoked
                && matches!(&grant.scope, Scope::Schema(schema) if schema == table.schema())
                && grant.gives(&[name], false)
        });
        self.granted.iter().any(|grant| {
            let covers = match &grant.scope {
                Scope::Global => !revoked,
                Scope::Schema(pattern) => like(pattern, table.schema()),
                Scope::Table(granted) => granted == table,
            };
            !grant.revoked && covers && grant.gives(&[name], false)
        })
    }
}

impl Grant {
    fn gives(&self, names: &[&str], dynamic: bool) -> bool {
        self.privileges.iter().any(|privilege| {
            names.contains(&privilege.as_str())
                || privilege == "ALL PRIVILEGES"
                || privilege == "ALL"
                // MariaDB before 10.5 and MySQL give the log's rights to SUPER as well.
                || (dynamic && privilege == "SUPER" && names.contains(&"REPLICATION CLIENT"))
        })
    }
}

fn parse_line(line: &str, dialect: Dialect) -> Option<Grant> {
    let tokens = lexer::tokens(line, dialect).ok()?;
    let mut rest = tokens.as_slice();
    let revoked = match take_word(&mut rest)?.as_str() {
        "GRANT" => false,
        "REVOKE" => true,
        _ => return None,
    };
    let mut privileges = Vec::new();
    let mut words: Vec<String> = Vec::new();
    loop {
        let (token, tail) = rest.split_first()?;
        rest = tail;
        match token {
            Token::Word(word) if word.eq_ignore_ascii_case("ON") => break,
            Token::Word(word) => words.push(word.to_ascii_uppercase()),
            Token::Symbol(',') => privileges.push(std::mem::take(&mut words).join(" ")),
            // A list of columns narrows the privilege: it is not held on the table.
            Token::Symbol('(') => {
                words.push("(columns)".to_owned());
                let end = rest.iter().position(|token| *token == Token::Symbol(')'))?;
                rest = rest.get(end + 1..)?;
            }
            // A role: GRANT `role`@`%` TO …
            Token::Name(_) | Token::Text | Token::Number(_) | Token::Symbol(_) => return None,
        }
    }
    privileges.push(words.join(" "));
    if let Some(Token::Word(word)) = rest.first()
        && word.eq_ignore_ascii_case("TABLE")
    {
        rest = rest.get(1..)?;
    }
    let scope = parse_scope(rest)?;
    Some(Grant {
        scope,
        privileges,
        revoked,
    })
}

fn parse_scope(tokens: &[Token<'_>]) -> Option<Scope> {
    let name = |token: &Token<'_>| match token {
        Token::Name(name) => Some(name.to_string()),
        Token::Word(word) => Some((*word).to_owned()),
        Token::Text | Token::Number(_) | Token::Symbol(_) => None,
    };
    match tokens {
        [Token::Symbol('*'), Token::Symbol('.'), Token::Symbol('*'), ..] => Some(Scope::Global),
        [schema, Token::Symbol('.'), Token::Symbol('*'), ..] => name(schema).map(Scope::Schema),
        [schema, Token::Symbol('.'), table, ..] => {
            Some(Scope::Table(TableId::new(name(schema)?, name(table)?)))
        }
        _ => None,
    }
}

fn take_word(rest: &mut &[Token<'_>]) -> Option<String> {
    let (Token::Word(word), tail) = rest.split_first()? else {
        return None;
    };
    *rest = tail;
    Some(word.to_ascii_uppercase())
}

/// `LIKE` with `%`, `_` and `\` before a character that stands for itself.
fn like(pattern: &str, text: &str) -> bool {
    let mut chars = pattern.chars();
    match chars.next() {
        None => text.is_empty(),
        Some('%') => {
            let rest = chars.as_str();
            // Every tail of the text, the empty one included.
            std::iter::once(text)
                .chain(
                    text.char_indices()
                        .filter_map(|(at, c)| text.get(at + c.len_utf8()..)),
                )
                .any(|tail| like(rest, tail))
        }
        Some('_') => first(text).is_some_and(|(_, tail)| like(chars.as_str(), tail)),
        Some('\\') => match chars.next() {
            Some(plain) => first(text).is_some_and(|(c, tail)| c == plain && like(chars.as_str(), tail)),
            None => text == "\\",
        },
        Some(plain) => first(text).is_some_and(|(c, tail)| c == plain && like(chars.as_str(), tail)),
    }
}

fn first(text: &str) -> Option<(char, &str)> {
    let mut chars = text.chars();
    let first = chars.next()?;
    Some((first, chars.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::mysql::server::Flavour;

    const MYSQL: Dialect = Dialect {
        flavour: Flavour::Mysql,
        version: 80_406,
        ansi_quotes: false,
        no_backslash_escapes: false,
        fold_names: false,
    };

    fn grants(lines: &[&str]) -> Grants {
        Grants::parse(lines.iter().copied(), MYSQL)
    }

    fn table(name: &str) -> TableId {
        let (schema, name) = name.split_once('.').unwrap();
        TableId::new(schema, name)
    }

    #[test]
    fn each_scope_reaches_its_tables_only() {
        let grants = grants(&[
            "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO `r`@`%`",
            r"GRANT SELECT, LOCK TABLES ON `shop\_eu`.* TO `r`@`%`",
            "GRANT SELECT ON `log%`.* TO `r`@`%` WITH GRANT OPTION",
            "GRANT SELECT ON `crm`.`people` TO `r`@`%`",
            "GRANT SELECT (`id`, `name`), INSERT ON `crm`.`notes` TO `r`@`%`",
            "GRANT `reader`@`%` TO `r`@`%`",
        ]);
        assert!(grants.has_global(&["REPLICATION SLAVE"]));
        assert!(!grants.has_global(&["SELECT"]));
        for (name, expected) in [
            ("shop_eu.orders", true),
            ("shopXeu.orders", false),
            ("log_2026.x", true),
            ("crm.people", true),
            ("crm.notes", false),
            ("crm.others", false),
        ] {
            assert_eq!(grants.has_on(&table(name), "SELECT"), expected, "{name}");
        }
        assert!(grants.has_on(&table("shop_eu.orders"), "LOCK TABLES"));
        assert!(!grants.has_on(&table("crm.people"), "LOCK TABLES"));
    }

    #[test]
    fn all_privileges_and_partial_revokes() {
        let grants = grants(&[
            "GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION",
            "REVOKE SELECT ON `secret`.* FROM `root`@`localhost`",
        ]);
        assert!(grants.has_global(&["REPLICATION SLAVE"]));
        assert!(grants.has_on(&table("shop.orders"), "SELECT"));
        assert!(!grants.has_on(&table("secret.orders"), "SELECT"));
    }

    #[test]
    fn mariadb_names_privileges_of_its_own() {
        let grants = grants(&[
            "GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO `r`@`%` IDENTIFIED BY PASSWORD '*AB'",
            "GRANT USAGE ON *.* TO `x`@`%`",
        ]);
        assert!(grants.has_global(&["REPLICATION CLIENT", "BINLOG MONITOR"]));
        assert!(!grants.has_on(&table("a.b"), "SELECT"));
    }
}
