use std::time::Duration;

use palisade_wire::Zxid;

use crate::io::{Input, Role};
use crate::testing::Net;

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_lone_voter_elects_itself_and_commits() {
    let mut net = Net::new(1);
    assert_eq!(net.form(), 1);
    assert_eq!(net.propose(1, "a"), Zxid::new(1, 1));
    net.run(10 * MS);
    assert_eq!(net.committed.len(), 1);
    net.assert_agreement();
}

#[test]
fn three_fresh_voters_elect_the_greatest_id_and_commit() {
    let mut net = Net::new(3);
    assert_eq!(net.form(), 3);
    for n in 0..10 {
        net.propose(3, &n.to_string());
    }
    net.run(100 * MS);
    assert_eq!(net.committed.len(), 10);
    net.assert_agreement();
}

#[test]
fn writes_survive_the_leaders_crash_and_its_return() {
    let mut net = Net::new(3);
    let first = net.form();
    net.propose(first, "a");
    net.run(20 * MS);
    net.crash(first);
    net.run_until("another leads", |net| net.leader().is_some_and(|l| l != first));
    let second = net.leader().unwrap();
    assert_eq!(net.propose(second, "b"), Zxid::new(2, 1));
    net.run(20 * MS);
    net.start(first);
    net.await_all_serving();
    net.propose(second, "c");
    net.run(20 * MS);
    assert_eq!(net.committed.len(), 3);
    net.assert_agreement();
}

#[test]
fn a_cut_off_leader_steps_down_and_its_uncommitted_proposals_are_truncated() {
    let mut net = Net::new(3);
    let old = net.form();
    net.propose(old, "kept");
    net.run(20 * MS);
    net.cut(old);
    net.propose(old, "lost");
    net.run_until("another leads", |net| net.leader().is_some_and(|l| l != old));
    let new = net.leader().unwrap();
    net.propose(new, "later");
    net.run(2000 * MS);
    assert_eq!(net.node(old).peer.as_ref().unwrap().role(), Role::Looking);
    net.heal();
    net.await_all_serving();
    net.run(50 * MS);
    assert_eq!(
        net.committed.iter().map(|(_, p)| p.as_ref()).collect::<Vec<_>>(),
        [b"kept".as_slice(), b"later"]
    );
    net.assert_agreement();
}

#[test]
fn sync_is_answered_by_a_quorum_only() {
    let mut net = Net::new(3);
    let leader = net.form();
    net.run(20 * MS);
    net.input(leader, Input::Sync { token: 7 });
    assert!(net.node(leader).synced.is_empty(), "before any follower has confirmed");
    net.run(10 * MS);
    assert_eq!(net.node(leader).synced, [7]);
    net.cut(leader);
    net.input(leader, Input::Sync { token: 8 });
    net.run(3000 * MS);
    assert_eq!(net.node(leader).synced, [7]);
}
