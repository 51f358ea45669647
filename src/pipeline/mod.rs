//! Joins a source to a target. One task reads the log and flushes, one keeps the durable state, a few
//! copy tables beside the stream; what they share is the routes and the order of messages.

pub mod batcher;
pub mod frontier;
