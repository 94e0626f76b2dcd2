//! Client libraries at length: the same programs against Apache ZooKeeper, and against a gateway.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use palisade_tests::clients;
use palisade_tests::target::Target;

#[test]
fn kazoos_own_suite_before_apache() {
    clients::kazoo_suite(&Target::apache().address());
}

#[test]
fn kazoos_own_suite_before_a_gateway() {
    clients::kazoo_suite(&Target::palisade().address());
}
