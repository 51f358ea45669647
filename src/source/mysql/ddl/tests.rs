mod forms;

use std::fmt::Write;

use super::*;
use crate::source::mysql::server::Flavour;
use forms::{MARIADB_FORMS, MYSQL_FORMS};
use proptest::prelude::*;

const MYSQL: Dialect = Dialect {
    flavour: Flavour::Mysql,
    version: 90_704,
    ansi_quotes: false,
    no_backslash_escapes: false,
    fold_names: false,
};
const MARIADB: Dialect = Dialect {
    flavour: Flavour::MariaDb,
    version: 101_119,
    ..MYSQL
};

/// One line for each class: `rename s.a>s.b`, `create+select s.t`, `dml ?`.
fn short(statement: &Statement) -> String {
    let list = |tables: &[TableId]| {
        tables.iter().fold(String::new(), |mut text, table| {
            write!(text, " {table}").unwrap();
            text
        })
    };
    match statement {
        Statement::Ddl { kind, tables } => match kind {
            DdlKind::AlterTable { .. } => format!("alter{}", list(tables)),
            DdlKind::CreateTable {
                or_replace,
                select,
                start_transaction,
            } => {
                let flags = [
                    (or_replace, "+replace"),
                    (select, "+select"),
                    (start_transaction, "+start"),
                ];
                let flags: String = flags
                    .iter()
                    .filter(|(on, _)| **on)
                    .map(|(_, text)| *text)
                    .collect();
                format!("create{flags}{}", list(tables))
            }
            DdlKind::DropTable => format!("drop{}", list(tables)),
            DdlKind::RenameTable { pairs } => {
                let pairs: Vec<String> = pairs.iter().map(|(from, to)| format!("{from}>{to}")).collect();
                format!("rename {}", pairs.join(" "))
            }
            DdlKind::TruncateTable => format!("truncate{}", list(tables)),
            DdlKind::PartitionRows => format!("rows{}", list(tables)),
        },
        Statement::Dml { tables: Some(tables) } => format!("dml{}", list(tables)),
        Statement::Dml { tables: None } => "dml ?".to_owned(),
        Statement::DropDatabase { schema } => format!("dropdb {schema}"),
        Statement::Begin
        | Statement::Commit
        | Statement::Rollback
        | Statement::Savepoint
        | Statement::RollbackToSavepoint
        | Statement::XaStart
        | Statement::XaEnd
        | Statement::XaPrepare
        | Statement::XaCommit
        | Statement::XaRollback
        | Statement::Other
        | Statement::Unrecognised => format!("{statement:?}").to_lowercase(),
    }
}

#[test]
fn statements_of_mysql() {
    for (text, expected) in MYSQL_FORMS {
        assert_eq!(short(&classify(text, "s", MYSQL)), *expected, "{text}");
    }
}

#[test]
fn statements_of_mariadb() {
    for (text, expected) in MARIADB_FORMS {
        assert_eq!(short(&classify(text, "s", MARIADB)), *expected, "{text}");
    }
}

#[test]
fn quotes_by_sql_mode() {
    let ansi = MYSQL.with_sql_mode(1 << 2);
    assert_eq!(
        short(&classify("DROP TABLE \"a\", \"b\".c", "s", ansi)),
        "drop s.a b.c"
    );
    assert_eq!(short(&classify("DROP TABLE \"a\"", "s", MYSQL)), "unrecognised");
    let raw = MYSQL.with_sql_mode(1 << 20);
    let text = r"ALTER TABLE t COMMENT '\', DROP PARTITION p";
    assert_eq!(short(&classify(text, "s", raw)), "rows s.t");
    assert_eq!(short(&classify(text, "s", MYSQL)), "unrecognised");
}

#[test]
fn names_are_folded_where_the_server_folds_them() {
    let folding = Dialect {
        fold_names: true,
        ..MYSQL
    };
    assert_eq!(
        short(&classify("TRUNCATE Shop.`Orders`", "S", folding)),
        "truncate shop.orders"
    );
    assert_eq!(
        short(&classify("TRUNCATE Orders", "Shop", folding)),
        "truncate shop.orders"
    );
}

/// The statement's tokens again, as text, each followed by noise that means nothing.
fn disguised(text: &str, noise: &[u8], upper: bool) -> String {
    const NOISE: [&str; 7] = [
        " ",
        "\n\t ",
        " /* x */ ",
        " -- TRUNCATE y\n",
        "/**/",
        " # ' \n",
        " /*!99999 z */ ",
    ];
    let tokens = lexer::tokens(text, MYSQL).unwrap();
    let mut out = String::new();
    for (index, token) in tokens.iter().enumerate() {
        let gap = noise[index % noise.len()];
        out.push_str(NOISE[usize::from(gap) % NOISE.len()]);
        match token {
            // A name's case is its own; a keyword's is not. Names in the forms are lower case.
            lexer::Token::Word(word) if upper && word.bytes().all(|byte| !byte.is_ascii_lowercase()) => {
                out.push_str(&word.to_ascii_lowercase());
            }
            lexer::Token::Word(word) | lexer::Token::Number(word) => out.push_str(word),
            lexer::Token::Name(name) => write!(out, "`{}`", name.replace('`', "``")).unwrap(),
            lexer::Token::Text => out.push_str("'drop ''x'"),
            lexer::Token::Symbol(symbol) => out.push(*symbol),
        }
    }
    out.push_str(" ;");
    out
}

proptest! {
    #[test]
    fn comments_blanks_and_case_change_nothing(
        index in 0..MYSQL_FORMS.len(),
        noise in proptest::collection::vec(any::<u8>(), 1..12),
        upper: bool,
    ) {
        let (text, expected) = MYSQL_FORMS[index];
        prop_assume!(lexer::tokens(text, MYSQL).is_ok() && !text.is_empty());
        let text = disguised(text, &noise, upper);
        prop_assert_eq!(short(&classify(&text, "s", MYSQL)), expected, "{}", text);
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,60}") {
        let _statement = classify(&text, "s", MYSQL);
        let _statement = classify(&text, "s", MARIADB);
    }

    #[test]
    fn no_heap_of_keywords_panics(words in proptest::collection::vec(0usize..34, 0..14), mariadb: bool) {
        const WORDS: [&str; 34] = [
            "ALTER", "TABLE", "DROP", "CREATE", "RENAME", "TO", "(", ")", ",", ".", "t", "`x`", "'s'", "IF", "EXISTS",
            "NOT", "PARTITION", "WITH", "AS", "SELECT", "INSERT", "UPDATE", "DELETE", "FROM", "USING", "SET", "FOR",
            "STATEMENT", "DEFINER", "=", "@", "INDEX", "ON", "5",
        ];
        let text: Vec<&str> = words.iter().map(|index| WORDS[*index]).collect();
        let dialect = if mariadb { MARIADB } else { MYSQL };
        let _statement = classify(&text.join(" "), "s", dialect);
    }
}
