use std::time::Duration;

use palisade_store::Timestamp;
use palisade_wire::Zxid;
use palisade_wire::election::PeerState;
use palisade_wire::quorum::{PacketType as P, QuorumPacket};

use super::Peer;
use crate::config::{ConfigError, PeerConfig, Recovered};
use crate::io::{CloseReason, Input, LinkId, Output, Role};
use crate::testing::script::{Script, packet, packet_with, recorded, recovered, sent_to_leader};
use crate::testing::{Net, ensemble};

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
fn settings_and_recovered_state_are_checked() {
    let new = |sid, tune: fn(&mut PeerConfig), recovered| {
        let mut config = PeerConfig::new(sid, ensemble(3));
        tune(&mut config);
        Peer::new(config, recovered, Timestamp::ZERO).map(|_| ()).unwrap_err()
    };
    assert_eq!(new(4, |_| {}, recovered(1, 1)), ConfigError::NotAVoter(4));
    assert_eq!(new(1, |c| c.timing.sync_limit = 0, recovered(1, 1)), ConfigError::SyncLimit);
    let never = ConfigError::NotificationInterval(Duration::ZERO);
    assert_eq!(new(1, |c| c.min_notification_interval = Duration::ZERO, recovered(1, 1)), never);
    let damaged: [fn(&mut Recovered); 4] = [
        |r| r.current_epoch = 2,
        |r| r.last_zxid = z(2, 1),
        |r| drop(r.recent.remove(1)),
        |r| drop(r.recent.pop()),
    ];
    for damage in damaged {
        let mut state = recovered(1, 3);
        damage(&mut state);
        assert!(matches!(new(1, |_| {}, state), ConfigError::Recovered(_)));
    }
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

/// Voter 2 of three, with a history up to 5.9, follows voter 3 over link 1.
fn follower() -> Script {
    let mut script = Script::new(2, 3, recovered(5, 9));
    script.vote(3, PeerState::Leading, 3, z(5, 9), 5);
    let outputs = script.vote(1, PeerState::Following, 3, z(5, 9), 5);
    assert!(outputs.contains(&Output::ConnectLeader { link: LinkId(1), sid: 3 }));
    let outputs = script.feed(Input::LeaderLinkUp { link: LinkId(1) });
    assert_eq!(sent_to_leader(&outputs), [(P::FollowerInfo, z(5, 0))]);
    script
}

fn leader_info(epoch: u32) -> QuorumPacket {
    packet_with(P::LeaderInfo, z(epoch, 0), &[0, 1, 0, 0])
}

const fn z(epoch: u32, counter: u32) -> Zxid {
    Zxid::new(epoch, counter)
}

#[test]
fn a_follower_promises_an_epoch_only_once_it_is_durable() {
    let mut script = follower();
    script.disk_works = false;
    assert_eq!(script.leader_says(leader_info(6)), [Output::WriteAcceptedEpoch { epoch: 6 }]);
    let outputs = script.feed(Input::AcceptedEpochWritten { epoch: 6 });
    let expected = packet_with(P::AckEpoch, z(5, 9), &5_i32.to_be_bytes());
    assert_eq!(outputs, [Output::SendToLeader { link: LinkId(1), packet: expected }]);
}

#[test]
fn an_epoch_is_voted_for_once() {
    let mut script = follower();
    let outputs = script.leader_says(leader_info(5));
    let expected = packet_with(P::AckEpoch, z(5, 9), &(-1_i32).to_be_bytes());
    assert_eq!(outputs, [Output::SendToLeader { link: LinkId(1), packet: expected }]);
    let mut script = follower();
    let outputs = script.leader_says(leader_info(4));
    assert_eq!(outputs[0], Output::CloseLeader { link: LinkId(1), reason: CloseReason::Ahead });
    assert_eq!(outputs[1], Output::RoleChanged(Role::Looking));
}

#[test]
fn newleader_is_acknowledged_after_log_and_current_epoch_are_durable() {
    let mut script = follower();
    script.leader_says(leader_info(6));
    script.disk_works = false;
    script.leader_says(packet(P::Diff, z(5, 10)));
    let outputs = script.leader_says(packet_with(P::Proposal, z(5, 10), b"txn"));
    assert!(matches!(&outputs[..], [Output::Append { zxid, .. }] if *zxid == z(5, 10)));
    script.leader_says(packet(P::Commit, z(5, 10)));
    assert!(script.leader_says(packet(P::NewLeader, z(6, 0))).is_empty());
    assert_eq!(script.feed(Input::Flushed { zxid: z(5, 10) }), [Output::WriteCurrentEpoch { epoch: 6 }]);
    let outputs = script.feed(Input::CurrentEpochWritten { epoch: 6 });
    assert_eq!(sent_to_leader(&outputs), [(P::Ack, z(6, 0))]);
}

#[test]
fn proposals_before_newleader_are_acknowledged_after_uptodate_and_may_be_committed_before() {
    let mut script = follower();
    script.leader_says(leader_info(6));
    script.leader_says(packet(P::Diff, z(5, 9)));
    script.leader_says(packet_with(P::Proposal, z(6, 1), b"a"));
    script.leader_says(packet_with(P::Proposal, z(6, 2), b"b"));
    let outputs = script.leader_says(packet(P::NewLeader, z(6, 0)));
    assert_eq!(sent_to_leader(&outputs), [(P::Ack, z(6, 0))]);
    let outputs = script.leader_says(packet(P::Commit, z(6, 1)));
    assert!(matches!(&outputs[..], [Output::Deliver { zxid, .. }] if *zxid == z(6, 1)));
    let outputs = script.leader_says(packet(P::UpToDate, Zxid(-1)));
    let acks = [(P::Ack, z(6, 0)), (P::Ack, z(6, 1)), (P::Ack, z(6, 2))];
    assert_eq!(sent_to_leader(&outputs), acks);
    assert!(outputs.contains(&Output::Serving { epoch: 6 }));
}

#[test]
fn each_proposal_is_acknowledged_after_its_flush_and_commits_must_come_in_order() {
    let mut script = follower();
    script.leader_says(leader_info(6));
    for kind in [P::Diff, P::NewLeader, P::UpToDate] {
        script.leader_says(packet(kind, z(6, 0)));
    }
    script.disk_works = false;
    for counter in 1..=3 {
        script.leader_says(packet_with(P::Proposal, z(6, counter), b"txn"));
    }
    let outputs = script.feed(Input::Flushed { zxid: z(6, 2) });
    assert_eq!(sent_to_leader(&outputs), [(P::Ack, z(6, 1)), (P::Ack, z(6, 2))]);
    let outputs = script.leader_says(packet(P::Ping, z(6, 3)));
    let pong = packet_with(P::Ping, z(6, 3), b"");
    assert_eq!(outputs, [Output::SendToLeader { link: LinkId(1), packet: pong }]);
    script.leader_says(packet(P::Commit, z(6, 1)));
    assert!(script.leader_says(packet(P::Commit, z(6, 1))).is_empty(), "a repeated one is harmless");
    let outputs = script.leader_says(packet(P::Commit, z(6, 3)));
    let reason = CloseReason::Protocol("COMMIT out of order");
    assert_eq!(outputs[0], Output::CloseLeader { link: LinkId(1), reason });
    let delivered = outputs.iter().filter(|o| matches!(o, Output::Deliver { .. })).count();
    assert_eq!(delivered, 2, "the rest of the log is history");
}

#[test]
fn a_truncation_is_waited_for_before_the_log_goes_on() {
    let mut script = follower();
    script.leader_says(leader_info(6));
    script.disk_works = false;
    assert_eq!(script.leader_says(packet(P::Trunc, z(5, 7))), [Output::Truncate { to: z(5, 7) }]);
    assert!(script.leader_says(packet_with(P::Proposal, z(6, 1), b"txn")).is_empty());
    assert!(script.leader_says(packet(P::Commit, z(6, 1))).is_empty());
    assert!(script.leader_says(packet(P::NewLeader, z(6, 0))).is_empty());
    let outputs = script.feed(Input::Truncated { zxid: z(5, 7) });
    assert!(matches!(&outputs[..], [Output::Append { .. }, Output::Deliver { .. }]));
    let outputs = script.feed(Input::Flushed { zxid: z(6, 1) });
    assert_eq!(outputs, [Output::WriteCurrentEpoch { epoch: 6 }]);
}

#[test]
fn a_peer_that_loses_its_leader_while_truncating_votes_only_when_it_knows_its_log() {
    let mut script = follower();
    script.leader_says(leader_info(6));
    script.disk_works = false;
    script.leader_says(packet(P::Trunc, z(5, 7)));
    let outputs = script.feed(Input::LeaderLinkDown { link: LinkId(1) });
    assert_eq!(outputs, [Output::RoleChanged(Role::Looking)]);
    assert!(script.vote(1, PeerState::Looking, 1, z(5, 9), 5).is_empty());
    let outputs = script.feed(Input::Truncated { zxid: z(5, 7) });
    let votes = outputs.iter().map(|output| match output {
        Output::SendNotification { notification, .. } => notification.zxid,
        other => panic!("{other:?}"),
    });
    assert_eq!(votes.collect::<Vec<_>>(), [z(5, 7), z(5, 7)]);
}

#[test]
fn a_snapshot_replaces_the_log() {
    let mut script = follower();
    script.leader_says(leader_info(6));
    script.leader_says(packet(P::Snap, z(5, 20)));
    script.disk_works = false;
    let outputs = script.feed(Input::LeaderSnapshotReceived { link: LinkId(1), zxid: z(5, 20) });
    assert_eq!(outputs, [Output::InstallSnapshot { zxid: z(5, 20) }]);
    script.leader_says(packet(P::NewLeader, z(6, 0)));
    let outputs = script.feed(Input::SnapshotInstalled { zxid: z(5, 20) });
    assert_eq!(outputs, [Output::WriteCurrentEpoch { epoch: 6 }]);
    assert_eq!(script.peer.last_zxid(), z(5, 20));
}

#[test]
fn a_log_that_cannot_be_cut_is_replaced_by_a_snapshot_of_the_same_leader() {
    let mut script = follower();
    script.leader_says(leader_info(6));
    script.disk_works = false;
    script.leader_says(packet(P::Trunc, z(5, 7)));
    let outputs = script.feed(Input::TruncateFailed);
    let expected = [
        Output::CloseLeader { link: LinkId(1), reason: CloseReason::Gap },
        Output::RoleChanged(Role::Following { leader: 3 }),
        Output::ConnectLeader { link: LinkId(2), sid: 3 },
    ];
    assert_eq!(outputs, expected);
    script.feed(Input::LeaderLinkUp { link: LinkId(2) });
    let outputs = script.feed(Input::LeaderPacket { link: LinkId(2), packet: leader_info(6) });
    let expected = packet_with(P::AckEpoch, Zxid::ZERO, &(-1_i32).to_be_bytes());
    assert_eq!(outputs, [Output::SendToLeader { link: LinkId(2), packet: expected }]);
    // Once only: a leader that sends the same again is left.
    script.feed(Input::LeaderPacket { link: LinkId(2), packet: packet(P::Trunc, z(5, 7)) });
    assert!(script.feed(Input::TruncateFailed).contains(&Output::RoleChanged(Role::Looking)));
}

#[test]
fn a_vote_never_hides_the_end_of_the_log() {
    let mut script = follower();
    script.leader_says(leader_info(6));
    script.leader_says(packet(P::Diff, z(5, 9)));
    script.leader_says(packet_with(P::Proposal, z(6, 2), b"a gap"));
    script.feed(Input::LeaderLinkUp { link: LinkId(2) });
    let outputs = script.feed(Input::LeaderPacket { link: LinkId(2), packet: leader_info(7) });
    let expected = packet_with(P::AckEpoch, z(5, 9), &5_i32.to_be_bytes());
    assert!(outputs.contains(&Output::SendToLeader { link: LinkId(2), packet: expected }));
}

#[test]
fn what_belongs_to_a_former_link_is_ignored() {
    let mut script = follower();
    script.leader_says(leader_info(6));
    let stale = Input::LeaderPacket { link: LinkId(0), packet: packet(P::Diff, z(5, 9)) };
    assert!(script.feed(stale).is_empty());
    assert!(script.feed(Input::LeaderLinkDown { link: LinkId(0) }).is_empty());
    assert_eq!(script.peer.role(), Role::Following { leader: 3 });
}

#[test]
fn connecting_is_tried_until_the_init_limit() {
    let mut script = Script::new(2, 3, recovered(5, 9));
    script.vote(3, PeerState::Leading, 3, z(5, 9), 5);
    script.vote(1, PeerState::Following, 3, z(5, 9), 5);
    let mut dials = 0;
    for at in (10..990).step_by(10) {
        for output in script.at(at) {
            let Output::ConnectLeader { .. } = output else { panic!("{output:?}") };
            dials += 1;
        }
        script.feed(Input::LeaderLinkDown { link: LinkId(1 + dials) });
    }
    assert!(dials > 10);
    assert!(script.at(1100).contains(&Output::RoleChanged(Role::Looking)));
}

#[test]
fn a_recorded_leader_is_followed() {
    let capture = include_bytes!("../../testdata/learner-follower-diff-proposal.leader-to-learner.bin");
    let mut script = Script::new(2, 3, recovered(1, 2));
    script.vote(3, PeerState::Leading, 3, z(1, 2), 1);
    script.vote(1, PeerState::Following, 3, z(1, 2), 1);
    script.feed(Input::LeaderLinkUp { link: LinkId(1) });
    let mut outputs = Vec::new();
    for packet in recorded(capture).into_iter().flatten() {
        outputs.extend(script.leader_says(packet));
    }
    let sent = sent_to_leader(&outputs);
    let first = [(P::AckEpoch, z(1, 2)), (P::Ack, z(1, 0)), (P::Ack, z(1, 0))];
    assert_eq!(sent[..3], first);
    let acks = sent[3..].iter().filter(|(kind, _)| *kind == P::Ack).map(|(_, zxid)| *zxid);
    assert_eq!(acks.collect::<Vec<_>>(), [z(1, 3), z(1, 4)]);
    assert_eq!(sent.iter().filter(|(kind, _)| *kind == P::Ping).count(), 4);
    assert_eq!(script.peer.delivered(), z(1, 4));
}
