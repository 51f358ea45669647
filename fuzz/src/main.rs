//! One parser under libFuzzer, named by `FUZZ_TARGET`. `make fuzz` builds and runs it for every one of them.
#![no_main]

use std::sync::LazyLock;

use replicator::source::mysql::fuzzing::TARGETS;

static RUN: LazyLock<fn(&[u8]) -> Option<()>> = LazyLock::new(|| {
    let wanted = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|(name, _)| *name == wanted);
    let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    let (_, run) = found.unwrap_or_else(|| panic!("FUZZ_TARGET is one of {}", names.join(", ")));
    *run
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _taken = RUN(bytes);
});
