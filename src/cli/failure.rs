//! How a command fails: what is printed, and with which exit code.

use std::error::Error;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use crate::config::ConfigErrors;
use crate::fault::{Classify, chain};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(ConfigErrors),
    /// The arguments cannot be used.
    #[error("{what}")]
    Usage {
        /// What is wrong.
        what: String,
    },
    /// The work failed.
    #[error("{what}")]
    Failed {
        /// The error with its causes.
        what: String,
        /// What to do about it.
        hint: Option<String>,
    },
}

impl Failure {
    /// Arguments that cannot be used.
    pub fn usage(error: impl Error) -> Failure {
        Failure::Usage { what: chain(&error) }
    }

    /// A failure that may know its cure.
    pub fn failed(error: &dyn Classify) -> Failure {
        let mut what = error.to_string();
        if let Some(source) = error.source() {
            let causes = chain(source);
            if !what.ends_with(&causes) {
                what = format!("{what}: {causes}");
            }
        }
        Failure::Failed {
            what,
            hint: error.hint(),
        }
    }

    /// A failure of the process's surroundings, while doing `what`.
    pub fn system(what: &str, error: &std::io::Error) -> Failure {
        Failure::Failed {
            what: format!("{what}: {error}"),
            hint: None,
        }
    }

    /// Prints it on standard error and says how the process ends.
    pub(super) fn report(&self) -> ExitCode {
        let mut out = std::io::stderr().lock();
        let colour = std::io::stderr().is_terminal();
        // Nobody is left to tell if standard error itself is gone.
        drop(out.write_all(self.render(colour).as_bytes()));
        match self {
            Failure::Config(_) | Failure::Usage { .. } => ExitCode::from(2),
            Failure::Failed { .. } => ExitCode::FAILURE,
        }
    }

    fn render(&self, colour: bool) -> String {
        let paint = |code: &str, text: &str| {
            if colour {
                format!("\x1b[{code}m{text}\x1b[0m")
            } else {
                text.to_owned()
            }
        };
        let (error, hint) = (paint("1;31", "error:"), paint("1;36", "hint:"));
        match self {
            Failure::Config(errors) => {
                let number = errors.errors.len();
                let mistakes = if number == 1 {
                    "1 mistake".to_owned()
                } else {
                    format!("{number} mistakes")
                };
                let mut text = format!(
                    "{error} {mistakes} in the configuration {}\n",
                    errors.path.display()
                );
                for one in &errors.errors {
                    let key = if one.key.is_empty() { "file" } else { &one.key };
                    text.push_str(&format!(
                        "\n  {}\n    {}\n    {hint} {}\n",
                        paint("1", key),
                        one.what,
                        one.cure
                    ));
                }
                text
            }
            Failure::Usage { what } => format!("{error} {what}\n{hint} see replicator --help\n"),
            Failure::Failed { what, hint: cure } => {
                let cure = cure.as_ref().map(|cure| format!("{hint} {cure}\n"));
                format!("{error} {what}\n{}", cure.unwrap_or_default())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn mistakes_are_listed_by_key() {
        let errors =
            config::parse("pipelines: x\nsources: 3\nsink: {}\ncheckpoint: /c\n", &|_| None).unwrap_err();
        insta::assert_snapshot!(Failure::Config(errors).render(false));
    }

    #[test]
    fn a_failure_shows_its_causes_once_and_its_cure() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot listen")]
        struct Listen(#[source] std::io::Error);
        impl Classify for Listen {
            fn fault(&self) -> crate::fault::Fault {
                crate::fault::Fault::Fatal
            }
            fn hint(&self) -> Option<String> {
                Some("use another port".to_owned())
            }
        }
        let error = Listen(std::io::Error::other("address in use"));
        assert_eq!(
            Failure::failed(&error).render(false),
            "error: cannot listen: address in use\nhint: use another port\n"
        );
        assert_eq!(
            Failure::failed(&error).render(true),
            "\x1b[1;31merror:\x1b[0m cannot listen: address in use\n\x1b[1;36mhint:\x1b[0m use another port\n"
        );
    }
}
