//! The corpus of `fuzz/` through every parser: as it is, cut off after every byte, and changed at random.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// The seeds of a parser, by name.
fn seeds(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = corpus().join(name);
    let seeds = names(&folder).into_iter();
    seeds
        .map(|seed| {
            let bytes = std::fs::read(folder.join(&seed)).unwrap();
            (seed, bytes)
        })
        .collect()
}

#[test]
fn every_parser_has_a_corpus_and_every_corpus_a_parser() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&corpus()), targets);
}

/// A seed that its parser refuses reaches little of it. What was found by chance (`found_…`) may be refused.
#[test]
fn every_seed_is_taken() {
    for (name, run) in TARGETS {
        let (found, seeds): (Vec<_>, Vec<_>) = seeds(name)
            .into_iter()
            .partition(|(seed, _)| seed.starts_with("found_"));
        assert!(!seeds.is_empty(), "{name}");
        for (seed, bytes) in seeds {
            assert!(run(&bytes).is_some(), "{name}/{seed}");
        }
        for (_, bytes) in found {
            let _refused = run(&bytes);
        }
    }
}

#[test]
fn no_seed_panics_cut_off_anywhere() {
    for (name, run) in TARGETS {
        for (_, seed) in seeds(name) {
            for end in 0..seed.len() {
                let _taken = run(&seed[..end]);
            }
        }
    }
}

/// What is done to a seed: where, and how.
#[derive(Debug, Clone)]
enum Change {
    Set(u8),
    Flip(u8),
    Remove(usize),
    Insert(Vec<u8>),
    Repeat(usize),
}

fn change() -> impl Strategy<Value = (prop::sample::Index, Change)> {
    let edge = prop::sample::select(vec![0, 1, 0x7f, 0x80, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff]);
    let kind = prop_oneof![
        3 => edge.prop_map(Change::Set),
        2 => any::<u8>().prop_map(Change::Set),
        3 => (0_u8..8).prop_map(Change::Flip),
        1 => (1_usize..9).prop_map(Change::Remove),
        1 => proptest::collection::vec(any::<u8>(), 1..9).prop_map(Change::Insert),
        1 => (1_usize..40).prop_map(Change::Repeat),
    ];
    (any::<prop::sample::Index>(), kind)
}

fn changed(mut bytes: Vec<u8>, changes: &[(prop::sample::Index, Change)]) -> Vec<u8> {
    for (place, change) in changes {
        if bytes.is_empty() {
            break;
        }
        let at = place.index(bytes.len());
        match change {
            Change::Set(byte) => bytes[at] = *byte,
            Change::Flip(bit) => bytes[at] ^= 1 << bit,
            Change::Remove(count) => drop(bytes.drain(at..(at + count).min(bytes.len()))),
            Change::Insert(more) => drop(bytes.splice(at..at, more.iter().copied())),
            Change::Repeat(count) => {
                let part = bytes[at..(at + count).min(bytes.len())].to_vec();
                drop(bytes.splice(at..at, part));
            }
        }
    }
    bytes
}

#[test]
fn no_changed_seed_panics() {
    for (name, run) in TARGETS {
        let seeds: Vec<Vec<u8>> = seeds(name).into_iter().map(|(_, bytes)| bytes).collect();
        let mut runner = TestRunner::new(Config {
            cases: 3_000,
            failure_persistence: None,
            ..Config::default()
        });
        let changes = proptest::collection::vec(change(), 1..6);
        let strategy =
            (prop::sample::select(seeds), changes).prop_map(|(seed, changes)| changed(seed, &changes));
        let outcome = runner.run(&strategy, |bytes| {
            let _taken = run(&bytes);
            Ok(())
        });
        assert_eq!(outcome, Ok(()), "{name}");
    }
}
