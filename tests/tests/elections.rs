//! Leaders die under a crowd of sessions that notices nothing but a write that takes a little longer.
//!
//! `HERD_SESSIONS=1000 ELECTIONS=10 cargo test --release -p palisade-tests --test elections -- --nocapture` is the size
//! to try by hand.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use palisade_tests::ensemble::Ensemble;
use palisade_tests::herd::{Herd, Size};
use palisade_tests::palisade::Core;
use rustix::process::Signal;

/// Acknowledged writes between two faults.
const STREAM: u64 = 60;

fn elections() -> usize {
    std::env::var("ELECTIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(3)
}

#[test]
fn nobody_notices_the_death_of_leaders() {
    leaders_die(Ensemble::palisade(), elections());
}

#[test]
fn nobody_notices_the_death_of_apaches_leaders() {
    leaders_die(Ensemble::apache(), elections().min(2));
}

fn leaders_die(mut core: Ensemble, elections: usize) {
    let gateway = core.gateway(101, &[]);
    let mut herd = Herd::start(&gateway.address(), Size::from_environment());
    for election in 1..=elections {
        herd.wait_for_writes(STREAM);
        let leader = core.leader();
        herd.take_longest_write();
        core.kill(leader);
        herd.wait_for_writes(STREAM);
        println!("election {election}: longest write {:?}", herd.take_longest_write());
        core.start(leader);
        core.wait_until_complete();
    }
    println!("{}", herd.finish());
}

#[test]
fn nobody_notices_a_leader_that_freezes_for_a_moment() {
    let mut core = Core::start();
    let gateway = core.gateway(101, "gateway");
    let mut herd = Herd::start(&gateway.address(), Size::from_environment());
    herd.wait_for_writes(STREAM);
    let leader = core.leader();
    core.voters[leader].process().signal(Signal::STOP);
    // Half a second of them, at the rate of this herd.
    herd.wait_for_reads(250);
    core.voters[leader].process().signal(Signal::CONT);
    herd.wait_for_writes(STREAM);
    println!("{}", herd.finish());
}
