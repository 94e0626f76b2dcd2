//! Palisade answers as Apache ZooKeeper does, and so does its gateway in front of Apache's voters.
//!
//! `CONFORMANCE_CALLS` and `CONFORMANCE_SEED` run more than the default, and from another seed; `APACHE_JARS` compares
//! with Apache 3.9.5.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use palisade_tests::apache::ApacheServer;
use palisade_tests::conformance::{Servers, Sessions, View, generate, sparing_reconfigs};
use palisade_tests::folder::Folder;
use palisade_tests::palisade::Core;
use palisade_tests::ports::Ports;
use palisade_tests::raw::RawClient;
use palisade_wire::OpCode;

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

/// No client library sends that. Apache reads it, and fails only then.
#[test]
fn a_multi_without_a_path_is_answered_alike() {
    let (folder, mut ports) = (Folder::new(), Ports::lease());
    let apache = ApacheServer::start_quiet(&folder.subfolder("apache"), &mut ports, &[], &[]);
    let mut core = Core::start();
    let gateway = core.gateway(101, "gateway");
    let header = |op: OpCode| [&op.as_i32().to_be_bytes()[..], &[0], &[0xff; 4]].concat();
    let end = [&[0xff; 4][..], &[1], &[0xff; 4]].concat();
    let delete = [&header(OpCode::Delete)[..], &[0xff; 8]].concat();
    let set = [&header(OpCode::SetData)[..], &[0xff; 12]].concat();
    let check = [&header(OpCode::Check)[..], &1_i32.to_be_bytes(), b"/", &[0xff; 4]].concat();
    let multis = [
        [&delete[..], &end].concat(),
        [&check[..], &set, &end].concat(),
        [&set[..], &check, &end].concat(),
        // These cannot be read.
        delete.clone(),
        [&delete[..], &header(OpCode::Delete), &end].concat(),
        [&check[..], &set, &header(OpCode::Ping), &end].concat(),
    ];
    for multi in multis {
        let answer = |address: &str| {
            RawClient::connect(address)
                .call_raw(OpCode::Multi.as_i32(), &multi)
                .map(|(error, body)| (error, body.to_vec()))
        };
        let theirs = answer(&format!("127.0.0.1:{}", apache.client_port()));
        assert_eq!(answer(&gateway.address()), theirs, "{multi:?}");
    }
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
