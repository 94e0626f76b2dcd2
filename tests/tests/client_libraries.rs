//! Client libraries at length: the same programs against Apache ZooKeeper, and against a gateway.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use palisade_tests::clients;
use palisade_tests::ensemble::Ensemble;
use palisade_tests::faults::{self, Library};
use palisade_tests::palisade::Core;
use palisade_tests::target::Target;

#[test]
fn kazoos_own_suite_before_apache() {
    clients::kazoo_suite(&Target::apache().address());
}

#[test]
fn kazoos_own_suite_before_a_gateway() {
    clients::kazoo_suite(&Target::palisade().address());
}

#[test]
fn curators_recipes_before_apache() {
    faults::curator_tour(&mut Target::apache());
}

#[test]
fn curators_recipes_before_a_gateway() {
    faults::curator_tour(&mut Target::palisade());
}

/// Nobody can tell but by the clock.
#[test]
fn curators_recipes_before_a_gateway_that_paces() {
    let mut target = Target::palisade_that_paces();
    faults::curator_tour(&mut target);
    let held = target.held_events();
    assert!(held > 50, "{held} events were held");
}

#[test]
fn kazoos_tour_before_a_gateway_that_paces() {
    let target = Target::palisade_that_paces();
    clients::kazoo_tour(&target.address());
    let held = target.held_events();
    assert!(held > 50, "{held} events were held");
}

#[test]
fn curators_recipes_before_a_gateway_before_apache() {
    faults::curator_tour(&mut Target::gateway_before_apache());
}

const WATCHES: usize = 30_000;
/// Apache's limit of a request, unless configured.
const LARGE: usize = 1 << 20;
const SET_WATCHES: i32 = 101;

#[test]
fn java_watches_again_before_apache() {
    rewatch_in_java(&mut Target::apache());
}

#[test]
fn java_watches_again_before_a_gateway() {
    rewatch_in_java(&mut Target::palisade());
}

#[test]
fn c_watches_again_before_apache() {
    rewatch_in_c(&mut Target::apache_for_large_requests());
}

#[test]
fn c_watches_again_before_a_gateway() {
    rewatch_in_c(&mut Target::palisade());
}

#[test]
fn kazoo_watches_again_before_apache() {
    rewatch_in_python(&mut Target::apache());
}

#[test]
fn kazoo_watches_again_before_a_gateway() {
    rewatch_in_python(&mut Target::palisade());
}

/// Java sets more persistent watches again than its gateway may keep by now.
#[test]
fn java_misses_nothing_by_watches_beyond_the_limit() {
    let mut core = Core::start();
    let mut gateway = core.gateway(101, "gateway");
    faults::beyond_limit(&mut gateway, &[("limits.watches", "20")], 60);
    // Ten that count twice are kept.
    assert_eq!(gateway.counter("palisade_watches_covered"), 50);
}

/// What happened before the gateway was killed is in its log, some of it in front of its newest snapshot.
#[test]
fn java_hears_of_everything_from_a_gateway_that_is_killed() {
    let mut core = Core::start();
    let other = core.gateway(101, "other");
    let mut gateway = core.gateway_with(102, "gateway", &[("storage.snap_count", "50")]);
    faults::missed(&mut gateway, &other, (10, 3));
    assert_eq!(gateway.counter("palisade_replays_incomplete"), 0);
}

/// The Java client splits its list of watches.
#[track_caller]
fn rewatch_in_java(target: &mut Target) {
    let requests = faults::rewatch(target, Library::Java, WATCHES).requests(SET_WATCHES);
    assert!(requests.iter().sum::<usize>() > LARGE && requests.len() > 1, "{requests:?}");
    assert!(requests.iter().all(|length| *length < LARGE), "{requests:?}");
}

/// The C client sends all in one request.
#[track_caller]
fn rewatch_in_c(target: &mut Target) {
    let requests = faults::rewatch(target, Library::C, WATCHES).requests(SET_WATCHES);
    assert!(requests.len() == 1 && requests[0] > LARGE, "{requests:?}");
}

/// kazoo forgets its watches.
#[track_caller]
fn rewatch_in_python(target: &mut Target) {
    let requests = faults::rewatch(target, Library::Python, WATCHES).requests(SET_WATCHES);
    assert!(requests.is_empty(), "{requests:?}");
}

#[test]
fn java_clients_outlive_an_outage() {
    faults::outage_in_java(&mut Ensemble::palisade());
}

#[test]
fn kazoo_clients_outlive_an_outage() {
    faults::outage_in_python(&mut Ensemble::palisade());
}

#[test]
fn kazoo_clients_outlive_an_outage_of_apaches_voters() {
    faults::outage_in_python(&mut Ensemble::apache());
}

#[test]
fn c_clients_outlive_an_outage() {
    faults::outage_in_c(&mut Ensemble::palisade());
}

#[test]
fn c_clients_outlive_an_outage_of_apaches_voters() {
    faults::outage_in_c(&mut Ensemble::apache());
}
