//! The lexical rules of MySQL and MariaDB statements: what is a word, a quoted name, a string, a
//! comment, and which comments are code. Just enough to tell what kind of statement the log holds and
//! which tables it names (<https://dev.mysql.com/doc/refman/8.4/en/language-structure.html>).

use std::borrow::Cow;

use super::server::{Flavour, ServerInfo};

/// What decides how a statement's text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// Whose server executed it.
    pub flavour: Flavour,
    /// The server's version as in versioned comments: 80406 for 8.4.6, 101119 for 10.11.19.
    pub version: u32,
    /// Whether `"` quotes names (`sql_mode` ANSI_QUOTES) and not strings.
    pub ansi_quotes: bool,
    /// Whether `\` is an ordinary character (`sql_mode` NO_BACKSLASH_ESCAPES).
    pub no_backslash_escapes: bool,
    /// Whether table names are folded to lower case (`lower_case_table_names=1`).
    pub fold_names: bool,
}

/// Bit of ANSI_QUOTES in the binlog's `sql_mode`.
const MODE_ANSI_QUOTES: u64 = 1 << 2;
/// Bit of NO_BACKSLASH_ESCAPES in the binlog's `sql_mode`.
const MODE_NO_BACKSLASH_ESCAPES: u64 = 1 << 20;

impl Dialect {
    /// The dialect of a server, with an empty `sql_mode`.
    pub fn of(server: &ServerInfo) -> Dialect {
        let (major, minor, patch) = server.version;
        Dialect {
            flavour: server.flavour,
            version: u32::from(major) * 10_000 + u32::from(minor) * 100 + u32::from(patch),
            ansi_quotes: false,
            no_backslash_escapes: false,
            fold_names: server.lower_case_table_names == 1,
        }
    }

    /// The same under the `sql_mode` bits of one Query event.
    #[must_use]
    pub fn with_sql_mode(self, bits: u64) -> Dialect {
        Dialect {
            ansi_quotes: bits & MODE_ANSI_QUOTES != 0,
            no_backslash_escapes: bits & MODE_NO_BACKSLASH_ESCAPES != 0,
            ..self
        }
    }
}

/// One lexical element; comments and white space are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token<'a> {
    /// A keyword or an unquoted name, as written.
    Word(&'a str),
    /// A quoted name, its quotes undone.
    Name(Cow<'a, str>),
    /// A string literal; what it says does not matter here.
    Text,
    /// Digits only.
    Number(&'a str),
    /// Any other character.
    Symbol(char),
}

/// Text that ends inside a string, a quoted name or a comment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the statement ends inside {0}")]
pub struct Unterminated(pub &'static str);

/// Splits a statement into tokens.
///
/// # Errors
/// [`Unterminated`]: the text is not a whole statement.
pub fn tokens(text: &str, dialect: Dialect) -> Result<Vec<Token<'_>>, Unterminated> {
    let mut lexer = Lexer {
        rest: text,
        dialect,
        code_comments: 0,
    };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next()? {
        tokens.push(token);
    }
    Ok(tokens)
}

struct Lexer<'a> {
    rest: &'a str,
    dialect: Dialect,
    /// Versioned comments that are open and whose text is code.
    code_comments: usize,
}

impl<'a> Lexer<'a> {
    fn next(&mut self) -> Result<Option<Token<'a>>, Unterminated> {
        self.skip_blank()?;
        let Some(first) = self.rest.chars().next() else {
            return match self.code_comments {
                0 => Ok(None),
                _ => Err(Unterminated("a versioned comment")),
            };
        };
        match first {
            '\'' => self.string('\'').map(|()| Some(Token::Text)),
            '"' if !self.dialect.ansi_quotes => self.string('"').map(|()| Some(Token::Text)),
            '"' | '`' => self.quoted_name(first).map(Some),
            c if is_word(c) => Ok(Some(self.word())),
            other => {
                self.advance(other.len_utf8());
                Ok(Some(Token::Symbol(other)))
            }
        }
    }

    fn advance(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    fn skip_blank(&mut self) -> Result<(), Unterminated> {
        loop {
            self.rest = self.rest.trim_start_matches(is_blank);
            if self.rest.starts_with('#') || self.at_dash_comment() {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                self.advance(end);
            } else if self.rest.starts_with("/*") {
                self.comment()?;
            } else if self.code_comments > 0 && self.rest.starts_with("*/") {
                self.code_comments -= 1;
                self.advance(2);
            } else {
                return Ok(());
            }
        }
    }

    /// `--` begins a comment only before white space, a control character or the end.
    fn at_dash_comment(&self) -> bool {
        self.rest
            .strip_prefix("--")
            .is_some_and(|rest| rest.chars().next().is_none_or(|c| is_blank(c) || c.is_control()))
    }

    fn comment(&mut self) -> Result<(), Unterminated> {
        let body = self.rest.get(2..).unwrap_or_default();
        let mariadb = self.dialect.flavour == Flavour::MariaDb;
        let marked = body
            .strip_prefix('!')
            .or_else(|| body.strip_prefix("M!").filter(|_| mariadb));
        let Some(marked) = marked else {
            return self.skip_comment();
        };
        let own_mark = body.starts_with('M');
        let digits = marked.bytes().take(6).take_while(u8::is_ascii_digit).count();
        let (version, digits) = match digits {
            5 | 6 => (marked.get(..digits).and_then(|text| text.parse().ok()), digits),
            _ => (None, 0),
        };
        if version.is_none_or(|version| self.executes(version, own_mark)) {
            self.rest = marked.get(digits..).unwrap_or_default();
            self.code_comments += 1;
            Ok(())
        } else {
            self.skip_comment()
        }
    }

    /// MariaDB leaves out what is for MySQL 5.7 and later
    /// (<https://mariadb.com/kb/en/comment-syntax/>).
    fn executes(&self, version: u32, own_mark: bool) -> bool {
        let for_mysql =
            self.dialect.flavour == Flavour::MariaDb && !own_mark && (50_700..=99_999).contains(&version);
        version <= self.dialect.version && !for_mysql
    }

    /// Skips a comment; within one that is not executed another may stand, one level deep.
    fn skip_comment(&mut self) -> Result<(), Unterminated> {
        let versioned = self.rest.starts_with("/*!") || self.rest.starts_with("/*M!");
        self.advance(2);
        loop {
            let end = self.rest.find("*/").ok_or(Unterminated("a comment"))?;
            let inner = self.rest.find("/*").filter(|inner| versioned && *inner < end);
            match inner {
                Some(inner) => {
                    self.advance(inner + 2);
                    let end = self.rest.find("*/").ok_or(Unterminated("a comment"))?;
                    self.advance(end + 2);
                }
                None => {
                    self.advance(end + 2);
                    return Ok(());
                }
            }
        }
    }

    fn string(&mut self, quote: char) -> Result<(), Unterminated> {
        let escapes = !self.dialect.no_backslash_escapes;
        let mut chars = self.rest.char_indices().skip(1).peekable();
        while let Some((at, c)) = chars.next() {
            if c == '\\' && escapes {
                chars.next();
            } else if c == quote && chars.next_if(|(_, next)| *next == quote).is_none() {
                self.advance(at + c.len_utf8());
                return Ok(());
            }
        }
        Err(Unterminated("a string"))
    }

    fn quoted_name(&mut self, quote: char) -> Result<Token<'a>, Unterminated> {
        let body = self.rest.get(1..).unwrap_or_default();
        let mut from = 0;
        let mut doubled = false;
        loop {
            let tail = body.get(from..).unwrap_or_default();
            let end = from + tail.find(quote).ok_or(Unterminated("a quoted name"))?;
            if body.get(end + 1..).is_some_and(|after| after.starts_with(quote)) {
                doubled = true;
                from = end + 2;
                continue;
            }
            let raw = body.get(..end).unwrap_or_default();
            self.advance(end + 2);
            return Ok(Token::Name(match doubled {
                true => Cow::Owned(raw.replace(&format!("{quote}{quote}"), &quote.to_string())),
                false => Cow::Borrowed(raw),
            }));
        }
    }

    fn word(&mut self) -> Token<'a> {
        let end = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
        let word = self.rest.get(..end).unwrap_or_default();
        self.advance(end);
        match word.bytes().all(|byte| byte.is_ascii_digit()) {
            true => Token::Number(word),
            false => Token::Word(word),
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '$') || !c.is_ascii()
}

fn is_blank(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\u{b}' || c == '\0'
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MYSQL: Dialect = Dialect {
        flavour: Flavour::Mysql,
        version: 80_406,
        ansi_quotes: false,
        no_backslash_escapes: false,
        fold_names: false,
    };
    const MARIADB: Dialect = Dialect {
        flavour: Flavour::MariaDb,
        version: 101_119,
        ..MYSQL
    };

    fn words(text: &str, dialect: Dialect) -> Vec<String> {
        tokens(text, dialect)
            .unwrap()
            .into_iter()
            .map(|token| match token {
                Token::Word(word) | Token::Number(word) => word.to_owned(),
                Token::Name(name) => format!("`{name}`"),
                Token::Text => "''".to_owned(),
                Token::Symbol(symbol) => symbol.to_string(),
            })
            .collect()
    }

    #[test]
    fn comments_of_every_form() {
        for (text, expected) in [
            ("a -- b\nc", "a c"),
            ("a --b", "a - - b"),
            ("a --", "a"),
            ("a # b\nc", "a c"),
            ("a/* b */c", "a c"),
            ("a /*! b */ c", "a b c"),
            ("a /*!40101 b */ c", "a b c"),
            ("a /*!99999 b */ c", "a c"),
            ("a /*!99999 b /* x */ d */ c", "a c"),
            ("a /*!080406 b */ c", "a b c"),
            ("a /*!50003b*/c", "a b c"),
            ("a /*M! b */ c", "a c"),
            ("a /*+ hint */ c", "a c"),
            ("a /*!40101 b /* x */ d */ c", "a b d c"),
            ("a /**/ c", "a c"),
        ] {
            assert_eq!(words(text, MYSQL).join(" "), expected, "{text}");
        }
    }

    #[test]
    fn mariadb_has_marks_of_its_own() {
        for (text, expected) in [
            ("a /*M!100100 b */ c", "a b c"),
            ("a /*M!110000 b */ c", "a c"),
            ("a /*!50701 b */ c", "a c"),
            ("a /*!50600 b */ c", "a b c"),
            ("a /*!100100 b */ c", "a b c"),
        ] {
            assert_eq!(words(text, MARIADB).join(" "), expected, "{text}");
        }
    }

    #[test]
    fn quotes_depend_on_the_sql_mode() {
        let ansi = Dialect {
            ansi_quotes: true,
            ..MYSQL
        };
        let raw = Dialect {
            no_backslash_escapes: true,
            ..MYSQL
        };
        for (dialect, text, expected) in [
            (MYSQL, r#"a "b" c"#, "a '' c"),
            (ansi, r#"a "b""x" c"#, "a `b\"x` c"),
            (MYSQL, r"a 'b\' c' d", "a '' d"),
            (raw, r"a 'b\' c", "a '' c"),
            (MYSQL, "a 'it''s' c", "a '' c"),
            (MYSQL, "`a``b`.`c\\`", "`a`b` . `c\\`"),
            (MYSQL, "_utf8mb4'x' n'y' 0x41", "_utf8mb4 '' n '' 0x41"),
            (MYSQL, "'/* no comment */' `# nor here`", "'' `# nor here`"),
        ] {
            assert_eq!(words(text, dialect).join(" "), expected, "{text}");
        }
    }

    #[test]
    fn text_that_does_not_end_is_an_error() {
        for text in [
            "'a",
            "\"a",
            "`a",
            "/* a",
            "/*! a",
            "/*!99999 a",
            "'a\\'",
            "/*!99999 /* a */",
        ] {
            assert!(tokens(text, MYSQL).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[ -~`'\"/*!M#\\\\\n0-9é\u{0}-]{0,80}", ansi: bool, raw: bool, mariadb: bool) {
            let base = if mariadb { MARIADB } else { MYSQL };
            let dialect = Dialect { ansi_quotes: ansi, no_backslash_escapes: raw, ..base };
            let _outcome = tokens(&text, dialect);
        }

        #[test]
        fn a_quoted_name_comes_back(name in "\\PC{1,20}") {
            let text = format!("`{}`", name.replace('`', "``"));
            prop_assert_eq!(tokens(&text, MYSQL).unwrap(), vec![Token::Name(Cow::Owned(name))]);
        }
    }
}
