//! Every decoder survives every input, and takes no more memory than the input justifies.
//!
//! The bodies are those of the fuzz targets; here they run on random bytes and on damaged samples.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::alloc::System;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[allow(unreachable_pub, reason = "it is a crate of its own when it is fuzzed")]
#[path = "../fuzz/src/lib.rs"]
mod fuzz;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes that a target may allocate per byte of input. The bodies decode and encode several times, and decoded
/// elements are larger than their smallest encoding.
const PER_BYTE: usize = 200;
/// Bytes that any input may cost.
const BASE: usize = 64 * 1024;

/// Memory is counted for the whole process, so one test runs at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn run(target: fn(&[u8]), input: &[u8]) -> Result<(), TestCaseError> {
    let region = Region::new(ALLOCATOR);
    target(input);
    let allocated = region.change().bytes_allocated;
    let allowed = BASE + PER_BYTE * input.len();
    prop_assert!(allocated <= allowed, "{} bytes of input cost {allocated} bytes", input.len());
    Ok(())
}

fn check(input: impl Strategy<Value = Vec<u8>>) {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut runner = TestRunner::new(Config { cases: 2000, failure_persistence: None, ..Config::default() });
    let result = runner.run(&input, |bytes| {
        fuzz::TARGETS.iter().try_for_each(|(name, target)| {
            run(*target, &bytes).map_err(|e| TestCaseError::fail(format!("{name}: {e}")))
        })
    });
    if let Err(e) = result {
        panic!("{e}");
    }
}

/// Inputs that get past the first fields: bytes captured from real servers, and single messages out of them.
fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut seeds: Vec<_> = files.iter().map(|path| std::fs::read(path).unwrap()).collect();
    let log =
        std::fs::read(files.iter().find(|path| path.ends_with("txnlog-3.8.0-head.bin")).unwrap()).unwrap();
    let mut at = 16;
    while let Some(len) = log.get(at + 8..at + 12).map(|b| u32::from_be_bytes(b.try_into().unwrap())) {
        let payload = &log[at + 12..at + 12 + len as usize];
        // As a transaction; and its body as a request, which looks alike.
        seeds.push(payload.to_vec());
        seeds.push(payload.get(24..).unwrap_or_default().to_vec());
        at += 13 + len as usize;
    }
    seeds
}

#[test]
fn arbitrary_bytes() {
    check(proptest::collection::vec(any::<u8>(), 0..300));
}

#[test]
fn damaged_samples() {
    let damage = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let seed = prop::sample::select(seeds());
    check((seed, any::<prop::sample::Index>(), any::<bool>(), damage).prop_map(
        |(mut bytes, cut, whole, damage)| {
            if !whole {
                bytes.truncate(cut.index(bytes.len() + 1));
            }
            for (at, value) in damage {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = value;
                }
            }
            bytes
        },
    ));
}

#[test]
fn lengths_that_claim_too_much() {
    // Whatever comes first, each of the following integers may be a length or a count.
    let claims = [i32::MAX, i32::MIN, -1, 0, 0xf_ffff, 4096, 1];
    let prefix = proptest::collection::vec(any::<u8>(), 0..60);
    let ints = proptest::collection::vec(prop::sample::select(claims.to_vec()), 1..40);
    check((prefix, ints).prop_map(|(mut bytes, ints)| {
        bytes.extend(ints.iter().flat_map(|i| i.to_be_bytes()));
        bytes
    }));
}

#[test]
fn every_request_type_with_arbitrary_bodies() {
    let op = prop::sample::select(palisade_wire::OpCode::ALL.to_vec());
    let byte = prop_oneof![4 => Just(0_u8), 1 => 0..16_u8, 1 => any::<u8>()];
    let body = proptest::collection::vec(byte, 0..100);
    check((op, body).prop_map(|(op, body)| {
        let mut bytes = 7_i32.to_be_bytes().to_vec();
        bytes.extend(op.as_i32().to_be_bytes());
        bytes.extend(body);
        bytes
    }));
}

#[test]
fn every_transaction_type_with_arbitrary_bodies() {
    let op = prop::sample::select(palisade_wire::OpCode::ALL.to_vec());
    let byte = prop_oneof![4 => Just(0_u8), 1 => 0..16_u8, 1 => any::<u8>()];
    let body = proptest::collection::vec(byte, 0..100);
    check((op, body).prop_map(|(op, body)| {
        let mut bytes = vec![1; 28];
        bytes.extend(op.as_i32().to_be_bytes());
        bytes.extend(body);
        bytes
    }));
}
