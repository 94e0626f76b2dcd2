//! A gateway in front of Apache ZooKeeper voters, in whose member list it does not appear.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use palisade_tests::apache::ApacheEnsemble;
use palisade_tests::clients;
use palisade_tests::folder::Folder;
use palisade_tests::four_letter;
use palisade_tests::herd::Client;
use palisade_tests::palisade::Gateway;
use palisade_tests::ports::Ports;
use palisade_tests::recorder::Recorder;
use palisade_tests::wait::wait_for;
use palisade_wire::OpCode;
use palisade_wire::request::Request;

#[test]
fn every_client_tours_a_gateway_before_apache() {
    let ensemble = ApacheEnsemble::start(3);
    let (folder, mut ports) = (Folder::new(), Ports::lease());
    let gateway = Gateway::start(folder.path(), 101, ensemble.members(), &mut ports);
    clients::all_tours(&gateway.address());
}

#[test]
fn a_gateway_follows_apaches_new_leader() {
    let mut ensemble = ApacheEnsemble::start(3);
    let (folder, mut ports) = (Folder::new(), Ports::lease());
    let gateway = Gateway::start(folder.path(), 101, ensemble.members(), &mut ports);
    let mut recorder = Recorder::start(&gateway.address());
    recorder.wait_for_writes(200);
    let leader = ensemble.leader();
    ensemble.servers[leader].kill();
    recorder.wait_for_writes(200);
    ensemble.servers[leader].restart();
    recorder.wait_for_writes(200);
    recorder.finish().check().unwrap();
}

/// Apache's voters have no local sessions by default: they learn of one by its createSession.
#[test]
fn a_local_session_becomes_global_under_its_own_id() {
    const TIMEOUT_MS: i32 = 10_000;
    let ensemble = ApacheEnsemble::start(3);
    let (folder, mut ports) = (Folder::new(), Ports::lease());
    let gateway = Gateway::start(folder.path(), 101, ensemble.members(), &mut ports);
    let voter = format!("127.0.0.1:{}", ensemble.servers[0].client_port());
    let mut at_voter = Client::connect(&voter, TIMEOUT_MS).unwrap();
    let known = |session| {
        let dump =
            four_letter::ask(ensemble.servers[ensemble.leader()].client_port(), "dump").unwrap_or_default();
        dump.contains(&format!("{session:#x}"))
    };
    let mut client = Client::connect(&gateway.address(), TIMEOUT_MS).unwrap();
    client.get("/").unwrap();
    assert!(!known(client.session()), "who only reads is nobody to the core");
    client.create("/mine", 1).unwrap();
    assert!(known(client.session()));
    client.call(OpCode::Sync, &Request::Sync(Some("/".into()))).unwrap();
    let session = client.session();
    wait_for("the owner at a voter", || (at_voter.owner("/mine").unwrap() == Some(session)).then_some(()));
    client.reconnect(&gateway.address()).unwrap();
    client.call(OpCode::CloseSession, &Request::CloseSession).unwrap();
    wait_for("the owner's end at a voter", || at_voter.owner("/mine").unwrap().is_none().then_some(()));
    assert!(!known(session));
}
