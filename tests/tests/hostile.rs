//! Garbage on every port of both tiers costs at most that connection.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use palisade_tests::hostile::{attack, hold_half_frames};
use palisade_tests::palisade::{Core, Gateway};
use palisade_tests::procfs::{open_descriptors, resident_memory};
use palisade_tests::recorder::Recorder;
use palisade_tests::wait::wait_for;

/// What an allocator may keep after the first round.
const MEMORY_SLACK: u64 = 16 << 20;
const ROUNDS: u64 = 3;

struct Target {
    core: Core,
    gateway: Gateway,
}

impl Target {
    fn start() -> Self {
        let mut core = Core::start();
        let gateway = core.gateway(101, "gateway");
        Self { core, gateway }
    }

    fn ports(&self) -> Vec<u16> {
        self.core.voters.iter().flat_map(|voter| voter.ports()).chain(self.gateway.ports()).collect()
    }

    fn processes(&mut self) -> Vec<u32> {
        let voters = self.core.voters.iter_mut().map(|voter| voter.process());
        voters.chain([self.gateway.process()]).map(|process| process.pid()).collect()
    }

    fn assert_running(&mut self) {
        assert!(self.core.voters.iter_mut().all(|voter| voter.process().is_running()));
        assert!(self.gateway.process().is_running());
    }
}

#[test]
fn garbage_costs_one_connection() {
    let mut target = Target::start();
    let (ports, processes) = (target.ports(), target.processes());
    let leader = target.core.leader();
    let mut recorder = Recorder::start(&target.gateway.address());
    recorder.wait_for_writes(200);
    let descriptors: Vec<usize> = processes.iter().map(|pid| open_descriptors(*pid)).collect();
    let mut memory = Vec::new();
    for round in 0..ROUNDS {
        attack(&ports, round);
        // Files of the log come and go, so a few more are no leak.
        wait_for("the attackers' descriptors closed", || {
            let mut now = processes.iter().map(|pid| open_descriptors(*pid)).zip(&descriptors);
            now.all(|(now, before)| now <= before + 4).then_some(())
        });
        memory.push(processes.iter().map(|pid| resident_memory(*pid)).collect::<Vec<_>>());
    }
    println!("resident memory after each round: {memory:?}");
    for (first, last) in memory[0].iter().zip(&memory[memory.len() - 1]) {
        assert!(*last <= first + MEMORY_SLACK, "resident memory grew from round to round: {memory:?}");
    }
    recorder.wait_for_writes(200);
    target.assert_running();
    assert_eq!(target.core.leader(), leader, "garbage made an election");
    let history = recorder.finish();
    history.check().unwrap();
    assert_eq!(history.unknown(), 0, "honest clients lost their connections");
}

#[test]
fn an_election_succeeds_among_half_frames() {
    let mut target = Target::start();
    let (ports, processes) = (target.ports(), target.processes());
    let mut recorder = Recorder::start(&target.gateway.address());
    recorder.wait_for_writes(100);
    let memory: Vec<u64> = processes.iter().map(|pid| resident_memory(*pid)).collect();
    let held = hold_half_frames(&ports, 60);
    recorder.wait_for_writes(100);
    for (pid, before) in processes.iter().zip(memory) {
        let now = resident_memory(*pid);
        assert!(now <= before + MEMORY_SLACK, "announced lengths were allocated: {before} bytes, then {now}");
    }
    let leader = target.core.leader();
    target.core.voters[leader].kill();
    recorder.wait_for_writes(100);
    target.core.voters[leader].restart();
    target.core.wait_until_complete();
    recorder.wait_for_writes(100);
    target.assert_running();
    recorder.finish().check().unwrap();
    drop(held);
}
