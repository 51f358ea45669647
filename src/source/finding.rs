//! What a look at a source before a start brings to light: the same form for every kind of source, so that the
//! commands print and refuse alike.

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As it should be.
    Ok,
    /// It works, with a limit that somebody should know of.
    Warning,
    /// It cannot work.
    Error,
}

/// One judgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How grave it is.
    pub severity: Severity,
    /// What it is about: a setting, a grant, a table.
    pub subject: String,
    /// What was found.
    pub text: String,
    /// What to do about it: statements to run, where there are some. Empty if nothing.
    pub cure: String,
}
