//! Rows held to the servers that wrote them: every type with the values at its edges, decoded from the
//! log and from a SELECT, equal to each other and to what the server itself says of the same rows.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod charsets;
mod columns;
mod fidelity;
mod keys;
mod server;
mod values;
