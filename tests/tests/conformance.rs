//! Palisade answers as Apache ZooKeeper does.
//!
//! `CONFORMANCE_CALLS` and `CONFORMANCE_SEED` run more than the default, and from another seed.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use palisade_tests::apache::ApacheServer;
use palisade_tests::conformance::{Pair, generate};
use palisade_tests::folder::Folder;
use palisade_tests::palisade::Core;
use palisade_tests::ports::Ports;
use palisade_tests::zoo_cfg;

const CALLS: usize = 5000;
const CALLS_OF_A_SEQUENCE: usize = 40;
/// After so many, the rest will not be clearer.
const ENOUGH: usize = 5;

#[test]
fn generated_sequences_are_answered_alike() {
    let number = |name, default| std::env::var(name).map_or(default, |value| value.parse().unwrap());
    let (calls, first) = (number("CONFORMANCE_CALLS", CALLS), number("CONFORMANCE_SEED", 1));
    let (folder, mut ports) = (Folder::new(), Ports::lease());
    let apache = ApacheServer::start_quiet(&folder.subfolder("apache"), &mut ports);
    let mut core = Core::start_with(zoo_cfg::QUIET);
    let gateway = core.gateway(101, "gateway");
    let pair = Pair::new(format!("127.0.0.1:{}", apache.client_port()), gateway.address());
    let (mut run, mut found, mut unsteady) = (0, 0, 0);
    let sequences = calls.div_ceil(CALLS_OF_A_SEQUENCE);
    for seed in (first as u64..).take(sequences) {
        run += 1;
        let steps = generate(seed, CALLS_OF_A_SEQUENCE);
        let Some(first) = pair.compare(&steps) else { continue };
        match pair.shrink(&steps) {
            Some(difference) => {
                println!("seed {seed}:\n{difference}");
                found += 1;
            }
            None => {
                println!("seed {seed}, only once:\n{first}");
                unsteady += 1;
            }
        }
        if found == ENOUGH {
            break;
        }
    }
    println!("{run} of {sequences} sequences, {found} differ, {unsteady} differed once");
    assert_eq!(found, 0, "see the differences above");
    assert!(unsteady <= sequences / 100, "see the differences above");
}
