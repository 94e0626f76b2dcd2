//! The client programs against Apache ZooKeeper itself: what they expect is what the original does.

use palisade_tests::apache::ApacheEnsemble;
use palisade_tests::clients;

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
