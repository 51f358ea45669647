//! The emulator from outside: over gRPC and HTTP, as any client sees it, against what Google documents.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports what it did not expect by failing"
)]

mod changes;
mod chaos;
mod client;
mod definitions;
mod faults;
mod jobs;
mod lateness;
mod limits;
mod load;
mod middle;
mod mutations;
mod rules;
mod sink;
mod sinks;
mod staleness;
mod types;
mod views;
mod world;
