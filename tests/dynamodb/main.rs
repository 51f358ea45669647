//! The DynamoDB of our own that other tests lean on, judged on its own: by AWS's client for Rust, and by AWS's client
//! for Python, which asks moto the same.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test"
)]

mod clients;
mod columns;
mod exports;
mod followed;
mod loads;
mod promoted;
mod python;
mod server;
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod tables;
