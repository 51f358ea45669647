//! What may be done about an error. Every module has an enum of its own; this is the one
//! question that the supervisor asks all of them, so that policy never depends on text.

use std::time::Duration;

use crate::event::TableId;

/// The consequence of an error, from the mildest to the gravest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The same step may succeed later: wait (at least `after`, if the other side said so) and repeat it.
    Transient {
        /// The shortest wait that the other side asked for.
        after: Option<Duration>,
    },
    /// One table cannot go on without a person; the others can.
    Table(TableId),
    /// The process must stop: going on could lose, reorder or change rows.
    Fatal,
}

impl Fault {
    /// A transient fault without a requested wait.
    pub const RETRY: Fault = Fault::Transient { after: None };
}

/// An error that knows its consequence and its cure.
pub trait Classify: std::error::Error {
    /// What the supervisor does about it.
    fn fault(&self) -> Fault;

    /// What an operator does about it, as one sentence in the imperative; `None` where waiting is the cure.
    fn hint(&self) -> Option<String>;

    /// Whether something of the source is not what it was when it was asked about. Usually the log is about to say so,
    /// and what is to be done follows from that; where it does not, asking again helps.
    fn outdated(&self) -> bool {
        false
    }

    /// Whether the source no longer continues what was read of it. What was copied stays right, and nothing
    /// newer can come: a state that lasts until a person, or the other server, ends it.
    fn position_lost(&self) -> bool {
        false
    }

    /// Whether copying everything again, from where the source's log is now, makes a lost position good. It does
    /// not where the server lacks what was copied: it may only be behind, and a copy of it would go back.
    fn mended_by_copy(&self) -> bool {
        false
    }
}

/// Renders an error with the whole chain of its sources, separated by `: `, for logs and for the terminal.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let part = cause.to_string();
        if !text.ends_with(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        next = cause.source();
    }
    text
}

/// Any error, for who asks only for its fault, its hint and its text.
pub fn boxed<E: Classify + Send + Sync + 'static>(error: E) -> Box<dyn Classify + Send + Sync> {
    Box::new(error)
}
