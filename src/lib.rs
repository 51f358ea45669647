//! `replicator` copies MySQL tables to BigQuery and keeps them equal: a snapshot and the binlog become
//! ordered row changes, which the Storage Write API takes as CDC upserts and deletes.
//!
//! The way of a row, and who may name whom (a test holds this: imports look down only):
//!
//! | layer | modules | knows |
//! | --- | --- | --- |
//! | vocabulary | [`event`], [`fault`], [`clock`], [`aws`], [`task`], [`failpoint`], [`config`], [`status`] | nothing above |
//! | columns | [`schema`] | the vocabulary; what a change of columns means for a target |
//! | ends | [`source`], [`checkpoint`], [`sink`] | the vocabulary and [`schema`]; never each other |
//! | local target | [`emulator`] | the vocabulary; what the sink talks to where there is no Google |
//! | reckoning | [`bill`] | nothing: what a month costs, from plain facts |
//! | middle | [`pipeline`], [`compare`], [`conformance`] | the ends, and joins them |
//! | outside | [`telemetry`], [`control`], [`cli`] | all of it |
//!
//! Invariants that every module may lean on and must keep:
//!
//! 1. A row's sequence number comes from the log or from durable state; one number has one content, for ever.
//! 2. A position moves only on proof: every row before it is acknowledged, its dead letter is, or its table is durably parked.
//! 3. What must be durable before a row is sent (epoch, low watermark) is synced before the row is read.
//! 4. Nothing is guessed: what cannot be decoded, named or ordered stops its table, or the process, loudly.
//! 5. No queue grows without a bound in bytes; no log line holds a secret, nor a cell's value but the key of a refused row.

pub mod aws;
pub mod bill;
pub mod checkpoint;
pub mod cli;
pub mod clock;
pub mod compare;
pub mod config;
pub mod conformance;
pub mod control;
pub mod emulator;
pub mod event;
pub mod failpoint;
pub mod fault;
pub mod pipeline;
pub mod proto;
pub mod schema;
pub mod sink;
pub mod source;
pub mod status;
pub mod task;
pub mod telemetry;
