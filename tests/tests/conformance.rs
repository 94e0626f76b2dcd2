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

/// Bodies of requests whose path, or scheme, is null.
fn without_a_path() -> Vec<(OpCode, Vec<u8>)> {
    const NULL: [u8; 4] = [0xff; 4];
    let (data, version) = ([&1_i32.to_be_bytes()[..], b"x"].concat(), (-1_i32).to_be_bytes());
    let acl =
        [&1_i32.to_be_bytes()[..], &31_i32.to_be_bytes(), b"\0\0\0\x05world", b"\0\0\0\x06anyone"].concat();
    let create = [&data[..], &acl, &[0; 4]].concat();
    let (no, any) = ([0].to_vec(), 3_i32.to_be_bytes().to_vec());
    let requests = [
        (OpCode::Create, create.clone()),
        (OpCode::Create2, create),
        (OpCode::CreateContainer, [&data[..], &acl, &[0, 0, 0, 4]].concat()),
        (OpCode::CreateTtl, [&data[..], &acl, &[0, 0, 0, 5], &1_000_i64.to_be_bytes()].concat()),
        (OpCode::Delete, version.to_vec()),
        (OpCode::SetData, [&data[..], &version].concat()),
        (OpCode::SetData, [&NULL[..], &version].concat()),
        (OpCode::SetAcl, [&acl[..], &version].concat()),
        (OpCode::SetAcl, [&NULL[..], &version].concat()),
        (OpCode::Sync, Vec::new()),
        (OpCode::Exists, no.clone()),
        (OpCode::Exists, vec![1]),
        (OpCode::GetData, no.clone()),
        (OpCode::GetChildren, no.clone()),
        (OpCode::GetChildren2, no),
        (OpCode::GetAcl, Vec::new()),
        (OpCode::GetAllChildrenNumber, Vec::new()),
        (OpCode::GetEphemerals, Vec::new()),
        (OpCode::CheckWatches, any.clone()),
        (OpCode::RemoveWatches, any),
        (OpCode::RemoveWatches, 9_i32.to_be_bytes().to_vec()),
        // Cut off behind the path.
        (OpCode::SetData, Vec::new()),
        (OpCode::SetAcl, Vec::new()),
        (OpCode::Create, Vec::new()),
        (OpCode::RemoveWatches, Vec::new()),
    ];
    let mut bodies: Vec<_> =
        requests.into_iter().map(|(op, rest)| (op, [&NULL[..], &rest].concat())).collect();
    for (scheme, credential) in
        [(&NULL[..], &data[..]), (&NULL, &NULL), (b"\0\0\0\x06digest", &NULL), (&NULL, &[])]
    {
        bodies.push((OpCode::Auth, [&[0; 4][..], scheme, credential].concat()));
    }
    bodies
}

/// Nor that. What is null besides is as right as it can be.
#[test]
fn requests_without_a_path_are_answered_alike() {
    let (folder, mut ports) = (Folder::new(), Ports::lease());
    let apache = ApacheServer::start_quiet(&folder.subfolder("apache"), &mut ports, &[], &[]);
    let mut core = Core::start();
    let whole = core.gateway(101, "whole");
    let part = core.gateway_with(102, "part", &[("tenant.root", "\"/tenants/part\"")]);
    let bodies = without_a_path();
    let answers = |address: &str| {
        bodies
            .iter()
            .map(|(op, body)| {
                let mut client = RawClient::connect(address);
                let answer = client.call_raw(op.as_i32(), body).map(|(error, body)| (error, body.to_vec()));
                (*op, body.clone(), answer, client.call_raw(OpCode::Ping.as_i32(), &[]).is_some())
            })
            .collect::<Vec<_>>()
    };
    let theirs = answers(&format!("127.0.0.1:{}", apache.client_port()));
    for gateway in [whole, part] {
        let ours = answers(&gateway.address());
        let differ = theirs.iter().zip(&ours).filter(|(theirs, ours)| theirs != ours);
        assert_eq!(differ.collect::<Vec<_>>(), [], "Apache's, ours");
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
