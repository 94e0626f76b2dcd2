//! A gateway in front of Apache ZooKeeper voters, in whose member list it does not appear.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use palisade_tests::apache::ApacheEnsemble;
use palisade_tests::clients;
use palisade_tests::folder::Folder;
use palisade_tests::palisade::Gateway;
use palisade_tests::ports::Ports;
use palisade_tests::recorder::Recorder;

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
