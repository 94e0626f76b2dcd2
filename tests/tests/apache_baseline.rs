//! The client programs against Apache ZooKeeper itself: what they expect is what the original does.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use palisade_tests::apache::{ApacheEnsemble, ApacheServer};
use palisade_tests::clients;
use palisade_tests::recorder::Recorder;

#[test]
fn every_client_tours_a_standalone_server() {
    let ensemble = ApacheEnsemble::start(1);
    clients::all_tours(&ensemble.hosts());
}

#[test]
fn every_client_tours_an_ensemble() {
    let ensemble = ApacheEnsemble::start(3);
    clients::all_tours(&ensemble.hosts());
}

#[test]
fn a_recorded_history_survives_the_kill_of_a_leader() {
    let mut ensemble = ApacheEnsemble::start(3);
    let mut recorder = Recorder::start(&ensemble.hosts());
    recorder.wait_for_writes(200);
    let leader = ensemble.leader();
    ensemble.servers[leader].kill();
    recorder.wait_for_writes(200);
    ensemble.servers[leader].restart();
    recorder.wait_for_writes(200);
    let history = recorder.finish();
    history.check().unwrap();
}

#[test]
fn a_dump_is_the_same_after_a_restart() {
    let mut ensemble = ApacheEnsemble::start(3);
    clients::populate(&ensemble.hosts(), "apache");
    let before = clients::dump(&ensemble.hosts());
    ensemble.servers.iter_mut().for_each(|server| server.restart());
    ensemble.servers.iter().for_each(ApacheServer::wait_until_serving);
    clients::assert_same_tree(&before, &clients::dump(&ensemble.hosts()));
    assert!(ensemble.servers.iter().all(|server| server.digest_mismatches() == 0));
}
