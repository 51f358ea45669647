//! Joins a source to a target. One task reads the log and flushes (`follow`), one keeps the durable
//! state (`keeper`), a few copy tables beside the stream (`snapshot`); what they share are the
//! [`routes`] and the order of messages. [`batcher`] and [`frontier`] are pure.

pub mod batcher;
pub mod breaks;
pub mod error;
pub mod follow;
pub mod frontier;
pub mod keeper;
pub mod queue;
pub mod routes;
pub mod run;
pub mod snapshot;

pub use error::PipelineError;
pub use run::{Parts, Plan, run};
