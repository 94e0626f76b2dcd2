//! Palisade answers as Apache ZooKeeper does, and so does its gateway in front of Apache's voters.
//!
//! `CONFORMANCE_CALLS` and `CONFORMANCE_SEED` run more than the default, and from another seed; `APACHE_JARS` compares
//! with Apache 3.9.5.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use palisade_tests::conformance::{Servers, Sessions, View, generate, sparing_reconfigs};

const CALLS: usize = 3500;
const CALLS_OF_LOCAL_SESSIONS: usize = 1500;
const CALLS_IN_A_PART: usize = 2000;
const CALLS_OF_A_SEQUENCE: usize = 40;
/// After so many, the rest will not be clearer.
const ENOUGH: usize = 5;

#[test]
fn generated_sequences_are_answered_alike() {
    compare(Sessions::Global, View::Whole, CALLS);
}

#[test]
fn local_sessions_are_answered_alike() {
    compare(Sessions::Local, View::Whole, CALLS_OF_LOCAL_SESSIONS);
}

#[test]
fn a_part_of_a_tree_is_a_tree_to_its_clients() {
    compare(Sessions::Global, View::Part, CALLS_IN_A_PART);
}

#[test]
fn local_sessions_see_a_part_as_a_tree() {
    compare(Sessions::Local, View::Part, CALLS_OF_LOCAL_SESSIONS);
}

fn compare(sessions: Sessions, view: View, calls: usize) {
    let number = |name, default| std::env::var(name).map_or(default, |value| value.parse().unwrap());
    let (calls, first) = (number("CONFORMANCE_CALLS", calls), number("CONFORMANCE_SEED", 1));
    let mut servers = Servers::start(sessions, view);
    let targets = servers.targets();
    let (mut run, mut found) = (0, 0);
    let sequences = calls.div_ceil(CALLS_OF_A_SEQUENCE);
    for seed in (first as u64..).take(sequences) {
        run += 1;
        let mut steps = generate(seed, CALLS_OF_A_SEQUENCE, targets.kind().version);
        if view == View::Part {
            steps = sparing_reconfigs(steps);
        }
        let Some(first) = targets.compare(&steps) else { continue };
        found += 1;
        match targets.shrink(&steps) {
            Some(difference) => println!("seed {seed}:\n{difference}"),
            None => println!("seed {seed}, but not when it was run again:\n{first}"),
        }
        if found == ENOUGH {
            break;
        }
    }
    println!("{run} of {sequences} sequences, {found} differ");
    assert_eq!(found, 0, "see the differences above");
    servers.assert_equal_trees();
}
