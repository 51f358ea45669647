//! A place in a statement's tokens, with the small questions that the classification asks there.

use std::borrow::Cow;

use crate::event::TableId;
use crate::source::mysql::lexer::{Dialect, Token};

/// A place in a statement.
pub(super) struct Cursor<'a> {
    tokens: &'a [Token<'a>],
    at: usize,
    schema: &'a str,
    dialect: Dialect,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(tokens: &'a [Token<'a>], schema: &'a str, dialect: Dialect) -> Cursor<'a> {
        let at = 0;
        Cursor {
            tokens,
            at,
            schema,
            dialect,
        }
    }

    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn rewind(&mut self, to: usize) {
        self.at = to;
    }

    /// Whether nothing but a terminator is left.
    pub(super) fn is_at_end(&self) -> bool {
        self.rest().iter().all(|token| *token == Token::Symbol(';'))
    }

    pub(super) fn rest(&self) -> &'a [Token<'a>] {
        self.tokens.get(self.at..).unwrap_or_default()
    }

    /// The word here in upper case; moves past it.
    pub(super) fn word(&mut self) -> Option<String> {
        let Some(Token::Word(word)) = self.rest().first() else {
            return None;
        };
        self.at += 1;
        Some(word.to_ascii_uppercase())
    }

    /// Moves past this very word, if it is here.
    pub(super) fn take(&mut self, word: &str) -> bool {
        let here = is_word(self.rest().first(), word);
        self.at += usize::from(here);
        here
    }

    pub(super) fn take_any(&mut self, words: &[&str]) -> bool {
        words.iter().any(|word| self.take(word))
    }

    pub(super) fn take_symbol(&mut self, symbol: char) -> bool {
        let here = self.rest().first() == Some(&Token::Symbol(symbol));
        self.at += usize::from(here);
        here
    }

    /// `IF EXISTS` or `IF NOT EXISTS`.
    pub(super) fn take_if_exists(&mut self) {
        let start = self.at;
        if !self.take("IF") {
            return;
        }
        self.take("NOT");
        if !self.take("EXISTS") {
            // A table may be called `if`.
            self.at = start;
        }
    }

    /// MariaDB's `WAIT n` and `NOWAIT`.
    pub(super) fn take_wait(&mut self) {
        if self.take("WAIT") {
            if let Some(Token::Number(_)) = self.rest().first() {
                self.at += 1;
            }
        } else {
            self.take("NOWAIT");
        }
    }

    /// A name, quoted or not.
    pub(super) fn name(&mut self) -> Option<Cow<'a, str>> {
        let name = match self.rest().first()? {
            Token::Word(word) => Cow::Borrowed(*word),
            Token::Name(name) => name.clone(),
            Token::Text | Token::Number(_) | Token::Symbol(_) => return None,
        };
        self.at += 1;
        Some(name)
    }

    /// A name after a point may be all digits.
    fn name_after_point(&mut self) -> Option<Cow<'a, str>> {
        match self.rest().first()? {
            Token::Number(digits) => {
                self.at += 1;
                Some(Cow::Borrowed(*digits))
            }
            Token::Word(_) | Token::Name(_) | Token::Text | Token::Symbol(_) => self.name(),
        }
    }

    pub(super) fn name_or_text(&mut self) -> Option<()> {
        match self.rest().first()? {
            Token::Symbol(_) => return None,
            Token::Word(_) | Token::Name(_) | Token::Text | Token::Number(_) => {}
        }
        self.at += 1;
        Some(())
    }

    pub(super) fn folded_name(&mut self) -> Option<String> {
        self.name().map(|name| self.fold(&name))
    }

    /// `table`, `schema.table` or `.table`.
    pub(super) fn table(&mut self) -> Option<TableId> {
        if self.take_symbol('.') {
            let name = self.name_after_point()?;
            return Some(TableId::new(self.fold(self.schema), self.fold(&name)));
        }
        let first = self.name()?;
        if !self.take_symbol('.') {
            return Some(TableId::new(self.fold(self.schema), self.fold(&first)));
        }
        let second = self.name_after_point()?;
        Some(TableId::new(self.fold(&first), self.fold(&second)))
    }

    fn fold(&self, name: &str) -> String {
        match self.dialect.fold_names {
            true => name.to_lowercase(),
            false => name.to_owned(),
        }
    }

    /// Moves past the next such word outside of parentheses.
    pub(super) fn skip_past(&mut self, word: &str) -> Option<()> {
        let mut depth = Depth::default();
        while let Some(token) = self.rest().first() {
            self.at += 1;
            if depth.pass(token) && is_word(Some(token), word) {
                return Some(());
            }
        }
        None
    }

    /// Whether the rest holds a query: SELECT anywhere, or TABLE or VALUES outside of parentheses.
    pub(super) fn has_query(&self) -> bool {
        let mut depth = Depth::default();
        self.rest().iter().any(|token| {
            let outside = depth.pass(token);
            is_word(Some(token), "SELECT")
                || outside && (is_word(Some(token), "TABLE") || is_word(Some(token), "VALUES"))
        })
    }

    /// Whether the statement ends with these words, in this order.
    pub(super) fn ends_with(&self, words: &[&str]) -> bool {
        let end: Vec<&Token<'_>> = self
            .rest()
            .iter()
            .rev()
            .skip_while(|token| **token == Token::Symbol(';'))
            .take(words.len())
            .collect();
        end.len() == words.len()
            && end
                .iter()
                .rev()
                .zip(words)
                .all(|(token, word)| is_word(Some(token), word))
    }

    /// Clauses separated by commas outside of parentheses, from here to the end.
    pub(super) fn clauses(&self) -> Vec<Cursor<'a>> {
        let mut depth = Depth::default();
        let mut clauses = Vec::new();
        for clause in self
            .rest()
            .split(|token| depth.pass(token) && *token == Token::Symbol(','))
        {
            clauses.push(Cursor {
                tokens: clause,
                at: 0,
                schema: self.schema,
                dialect: self.dialect,
            });
        }
        clauses
    }

    /// Clauses separated by commas from here, just inside of a parenthesis, to its end.
    pub(super) fn clauses_in_parentheses(&self) -> Vec<Cursor<'a>> {
        let mut depth = Depth::default();
        let rest = self.rest();
        let end = rest
            .iter()
            .position(|token| {
                *token == Token::Symbol(')') && depth.0 == 0 || {
                    depth.pass(token);
                    false
                }
            })
            .unwrap_or(rest.len());
        let inner = Cursor {
            tokens: rest.get(..end).unwrap_or_default(),
            at: 0,
            schema: self.schema,
            dialect: self.dialect,
        };
        inner.clauses()
    }

    /// Whether the word occurs in the rest, in parentheses or not.
    pub(super) fn contains(&self, word: &str) -> bool {
        self.rest().iter().any(|token| is_word(Some(token), word))
    }

    /// Moves one token on.
    pub(super) fn step(&mut self) {
        self.at += 1;
    }
}

pub(super) fn is_word(token: Option<&Token<'_>>, word: &str) -> bool {
    matches!(token, Some(Token::Word(text)) if text.eq_ignore_ascii_case(word))
}

/// Counts parentheses.
#[derive(Default)]
pub(super) struct Depth(usize);

impl Depth {
    /// Takes a token in; whether it stands outside of all parentheses.
    pub(super) fn pass(&mut self, token: &Token<'_>) -> bool {
        match token {
            Token::Symbol('(') => self.0 += 1,
            Token::Symbol(')') => self.0 = self.0.saturating_sub(1),
            Token::Word(_) | Token::Name(_) | Token::Text | Token::Number(_) | Token::Symbol(_) => {
                return self.0 == 0;
            }
        }
        false
    }
}
