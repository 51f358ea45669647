//! Joins a source to a target. One task reads the log and flushes (`follow`), one keeps the durable
//! state (`keeper`), a few copy tables beside the stream (`snapshot`), and one sees to tables whose columns, rows or existence
//! change (`warden`); what they share are the [`routes`] and the order of [`message`]s. [`batcher`] and [`frontier`] are pure.

pub mod batcher;
mod begin;
pub mod breaks;
mod chronicle;
pub mod error;
pub mod follow;
pub mod frontier;
pub mod hold;
pub mod keeper;
mod lost;
pub mod mark;
pub mod message;
mod pace;
pub mod queue;
pub mod releases;
pub mod reopen;
mod retention;
mod retry;
pub mod routes;
pub mod run;
mod seal;
pub mod snapshot;
pub mod steer;
pub mod warden;
pub mod work;

pub use error::PipelineError;
pub use run::{Parts, Plan, run, run_steered};
pub use steer::{Refusal, Steering};
