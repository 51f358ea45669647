//! `${…}` in text values: environment variables, defaults and files. What was put in is kept apart from
//! what was written, so that an error can quote the file without quoting a secret, and a URL can be
//! taken apart where its author wrote it and not where a password happens to hold an `@`.

use std::path::{Path, PathBuf};

/// A text value with its `${…}` filled in.
#[derive(Clone, Default)]
pub(super) struct Template {
    /// What was put together, in order.
    pub(super) pieces: Vec<Piece>,
    /// The text as written in the file.
    written: String,
}

/// A part of a text value.
#[derive(Clone)]
pub(super) enum Piece {
    /// Written in the file.
    Literal(String),
    /// Put in from the environment.
    Variable(String),
    /// Put in from a file.
    File {
        /// Where it was read.
        path: PathBuf,
        /// Its text without trailing line ends.
        text: String,
    },
}

impl Piece {
    /// The text that it stands for.
    pub(super) fn text(&self) -> &str {
        match self {
            Piece::Literal(text) | Piece::Variable(text) | Piece::File { text, .. } => text,
        }
    }
}

/// Why a `${…}` cannot be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum TemplateError {
    /// No such variable.
    #[error("the environment variable {0} is not set")]
    Unset(String),
    /// No such file, or not readable.
    #[error("the file {} cannot be read: {kind}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        kind: std::io::ErrorKind,
    },
    /// `${` without its end, or something else between.
    #[error("a ${{…}} is malformed")]
    Malformed,
}

impl TemplateError {
    /// What to do about it.
    pub(super) fn cure(&self) -> String {
        match self {
            TemplateError::Unset(name) => {
                format!("set {name} (as UTF-8), or give a default: ${{{name}:-default}}")
            }
            TemplateError::Unreadable { .. } => {
                "mount the file and let the replicator's user read it".to_owned()
            }
            TemplateError::Malformed => {
                "write ${VAR}, ${VAR:-default} or ${file:/absolute/path}; write $${ for a literal ${"
                    .to_owned()
            }
        }
    }
}

impl Template {
    /// Fills in a text value.
    ///
    /// # Errors
    /// Every `${…}` of it that cannot be filled in.
    pub(super) fn fill(
        written: &str,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Template, Vec<TemplateError>> {
        let (mut pieces, mut errors) = (Vec::new(), Vec::new());
        let mut literal = String::new();
        let mut rest = written;
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(escaped) = before.strip_suffix('$') {
                literal.push_str(escaped);
                literal.push_str("${");
                rest = after;
                continue;
            }
            literal.push_str(before);
            let Some((body, tail)) = after.split_once('}') else {
                errors.push(TemplateError::Malformed);
                rest = "";
                break;
            };
            rest = tail;
            match put_in(body, env) {
                Ok(piece) => {
                    if !literal.is_empty() {
                        pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                    }
                    pieces.push(piece);
                }
                Err(error) => errors.push(error),
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() || pieces.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        if errors.is_empty() {
            Ok(Template {
                pieces,
                written: written.to_owned(),
            })
        } else {
            Err(errors)
        }
    }

    /// The whole text.
    pub(super) fn text(&self) -> String {
        self.pieces.iter().map(Piece::text).collect()
    }

    /// Whether the text is another than what was written.
    pub(super) fn is_filled(&self) -> bool {
        self.text() != self.written
    }

    /// The text as written, which is safe to quote where the text is not.
    pub(super) fn written(&self) -> &str {
        &self.written
    }
}

fn put_in(body: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Piece, TemplateError> {
    if let Some(path) = body.strip_prefix("file:") {
        let path = Path::new(path);
        if !path.is_absolute() {
            return Err(TemplateError::Malformed);
        }
        return match std::fs::read_to_string(path) {
            Ok(text) => Ok(Piece::File {
                path: path.to_owned(),
                text: text.trim_end_matches(['\r', '\n']).to_owned(),
            }),
            Err(error) => Err(TemplateError::Unreadable {
                path: path.to_owned(),
                kind: error.kind(),
            }),
        };
    }
    let (name, default) = match body.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (body, None),
    };
    let legal = |c: char| c == '_' || c.is_ascii_alphanumeric();
    if name.is_empty() || !name.chars().all(legal) || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(TemplateError::Malformed);
    }
    if default.is_some_and(|text| text.contains("${")) {
        return Err(TemplateError::Malformed);
    }
    // As in a shell, `:-` also stands in for a variable that is set to nothing.
    match (env(name), default) {
        (Some(text), None) => Ok(Piece::Variable(text)),
        (Some(text), Some(_)) if !text.is_empty() => Ok(Piece::Variable(text)),
        (_, Some(default)) => Ok(Piece::Literal(default.to_owned())),
        (None, None) => Err(TemplateError::Unset(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "A" => Some("one".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    fn fill(text: &str) -> Result<String, Vec<TemplateError>> {
        Template::fill(text, &env).map(|template| template.text())
    }

    #[test]
    fn variables_defaults_and_escapes() {
        for (written, means) in [
            ("plain", "plain"),
            ("", ""),
            ("${A}", "one"),
            ("x${A}y${A}", "xoneyone"),
            ("${A:-two}", "one"),
            ("${B:-two}", "two"),
            ("${B:-}", ""),
            ("${EMPTY}", ""),
            ("${EMPTY:-two}", "two"),
            ("$${A}", "${A}"),
            ("$$${A}", "$${A}"),
            ("a$b $ {A}", "a$b $ {A}"),
        ] {
            assert_eq!(fill(written).unwrap(), means, "{written}");
        }
    }

    #[test]
    fn every_gap_is_reported() {
        assert_eq!(
            fill("${B} ${A} ${C} ${9} ${file:relative} ${").unwrap_err(),
            [
                TemplateError::Unset("B".to_owned()),
                TemplateError::Unset("C".to_owned()),
                TemplateError::Malformed,
                TemplateError::Malformed,
                TemplateError::Malformed,
            ]
        );
        let gone = fill("${file:/nonexistent/secret}").unwrap_err();
        assert_eq!(
            gone[0].to_string(),
            "the file /nonexistent/secret cannot be read: entity not found"
        );
    }

    #[test]
    fn a_file_is_taken_without_its_line_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "sword\nfish\r\n").unwrap();
        let text = format!("<${{file:{}}}>", path.display());
        assert_eq!(fill(&text).unwrap(), "<sword\nfish>");
    }

    proptest! {
        #[test]
        fn text_without_a_marker_stays_and_an_escaped_one_comes_back(text in "[^$]{0,20}", other in ".{0,40}") {
            prop_assert_eq!(fill(&text).unwrap(), text);
            let escaped = other.replace("${", "$${");
            if !other.contains("$$") {
                prop_assert_eq!(fill(&escaped).unwrap(), other);
            }
        }
    }
}
