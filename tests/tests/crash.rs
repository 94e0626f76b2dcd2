//! kill -9 under a steady stream of writes: what was acknowledged is there, and writes go on.

use palisade_tests::palisade::Core;
use palisade_tests::recorder::Recorder;
use rustix::process::Signal;

/// Acknowledged writes between two faults.
const STREAM: usize = 300;

#[test]
fn the_leader_dies() {
    let mut core = Core::start();
    let gateway = core.gateway(101, "gateway");
    let mut recorder = Recorder::start(&gateway.address());
    for _ in 0..3 {
        recorder.wait_for_writes(STREAM);
        let leader = core.leader();
        core.voters[leader].kill();
        recorder.wait_for_writes(STREAM);
        core.voters[leader].restart();
        core.wait_until_complete();
    }
    finish(recorder);
}

#[test]
fn a_follower_dies() {
    let mut core = Core::start();
    let gateway = core.gateway(101, "gateway");
    let mut recorder = Recorder::start(&gateway.address());
    recorder.wait_for_writes(STREAM);
    let follower = (core.leader() + 1) % 3;
    core.voters[follower].kill();
    recorder.wait_for_writes(STREAM);
    core.voters[follower].restart();
    core.wait_until_complete();
    // The other follower now, so that the first one's copy is needed.
    let other = (core.leader() + 2) % 3;
    core.voters[other].kill();
    recorder.wait_for_writes(STREAM);
    core.voters[other].restart();
    core.wait_until_complete();
    finish(recorder);
}

#[test]
fn all_voters_die() {
    let mut core = Core::start();
    let gateway = core.gateway(101, "gateway");
    let mut recorder = Recorder::start(&gateway.address());
    for _ in 0..2 {
        recorder.wait_for_writes(STREAM);
        core.voters.iter_mut().for_each(|voter| voter.kill());
        core.voters.iter_mut().for_each(|voter| voter.restart());
        core.wait_until_complete();
        recorder.wait_for_writes(STREAM);
    }
    finish(recorder);
}

#[test]
fn the_gateway_dies() {
    let mut core = Core::start();
    let mut gateway = core.gateway(101, "gateway");
    let mut recorder = Recorder::start(&gateway.address());
    recorder.wait_for_writes(STREAM);
    gateway.restart();
    recorder.wait_for_writes(STREAM);
    finish(recorder);
}

/// A leader that is frozen, replaced, and then wakes up believing that it still leads.
#[test]
fn the_leader_freezes() {
    let mut core = Core::start();
    let gateway = core.gateway(101, "gateway");
    let mut recorder = Recorder::start(&gateway.address());
    recorder.wait_for_writes(STREAM);
    let leader = core.leader();
    core.voters[leader].process().signal(Signal::STOP);
    recorder.wait_for_writes(STREAM);
    core.voters[leader].process().signal(Signal::CONT);
    core.wait_until_complete();
    recorder.wait_for_writes(STREAM);
    finish(recorder);
}

#[track_caller]
fn finish(recorder: Recorder) {
    let history = recorder.finish();
    println!("{} operations recorded", history.records.len());
    if let Err(wrong) = history.check() {
        panic!("{wrong}");
    }
}
