use bytes::Bytes;
use palisade_wire::Zxid;
use palisade_wire::quorum::PacketType as P;

use crate::io::{CloseReason, Input, LinkId, Output, Role};
use crate::testing::script::{Script, ack_epoch, info, packet, packet_with, recorded, recovered, sent_to};

const fn z(epoch: u32, counter: u32) -> Zxid {
    Zxid::new(epoch, counter)
}

/// Voter 3 of three leads in epoch 6 over a history that ends at 5.9; nobody has joined.
fn elected() -> Script {
    let mut script = Script::new(3, 3, recovered(5, 9));
    script.elect();
    assert_eq!(script.peer.role(), Role::Leading);
    script
}

/// The same with voter 1 following over link 1.
fn established() -> Script {
    let mut script = elected();
    let outputs = script.join_fully(1, P::FollowerInfo, 1);
    assert!(outputs.contains(&Output::Serving { epoch: 6 }));
    script
}

fn propose(script: &mut Script, zxid: Zxid) -> Vec<Output> {
    assert_eq!(script.peer.next_zxid(), Some(zxid));
    script.feed(Input::Propose { zxid, payload: Bytes::from_static(b"txn") })
}

fn closes(outputs: &[Output]) -> Vec<(u64, CloseReason)> {
    let closed = outputs.iter().filter_map(|output| match output {
        Output::CloseLearner { link, reason } => Some((link.0, *reason)),
        _ => None,
    });
    closed.collect()
}

fn delivered(outputs: &[Output]) -> Vec<Zxid> {
    let delivered = outputs.iter().filter_map(|output| match output {
        Output::Deliver { zxid, .. } => Some(*zxid),
        _ => None,
    });
    delivered.collect()
}

#[test]
fn the_epoch_is_durable_before_it_is_offered() {
    let mut script = elected();
    script.disk_works = false;
    script.feed(Input::LearnerUp { link: LinkId(1) });
    let outputs = script.learner_says(1, info(P::FollowerInfo, 1, 7));
    assert_eq!(
        outputs,
        [Output::WriteAcceptedEpoch { epoch: 8 }],
        "one more than any of the quorum accepted"
    );
    let outputs = script.feed(Input::AcceptedEpochWritten { epoch: 8 });
    assert_eq!(sent_to(1, &outputs), [(P::LeaderInfo, z(8, 0))]);
    let outputs = script.learner_says(1, ack_epoch(5, z(5, 9)));
    assert_eq!(
        outputs,
        [Output::WriteCurrentEpoch { epoch: 8 }],
        "and current before the history is offered"
    );
    let outputs = script.feed(Input::CurrentEpochWritten { epoch: 8 });
    assert_eq!(sent_to(1, &outputs), [(P::Diff, z(5, 9)), (P::NewLeader, z(8, 0))]);
}

#[test]
fn a_learner_is_brought_up_to_date_in_pairs_of_proposal_and_commit() {
    let mut script = elected();
    let outputs = script.join(1, P::FollowerInfo, 1, 5, z(5, 7));
    let expected = [
        (P::LeaderInfo, z(6, 0)),
        (P::Diff, z(5, 9)),
        (P::Proposal, z(5, 8)),
        (P::Commit, z(5, 8)),
        (P::Proposal, z(5, 9)),
        (P::Commit, z(5, 9)),
        (P::NewLeader, z(6, 0)),
    ];
    assert_eq!(sent_to(1, &outputs), expected);
    assert_eq!(script.peer.next_zxid(), None, "not established");
    let outputs = script.learner_says(1, packet(P::Ack, z(6, 0)));
    assert_eq!(sent_to(1, &outputs), [(P::UpToDate, Zxid(-1))]);
    assert_eq!(script.peer.next_zxid(), Some(z(6, 1)));
}

#[test]
fn a_learner_that_is_ahead_within_an_epoch_is_truncated_and_one_without_history_gets_a_snapshot() {
    let mut script = established();
    let outputs = script.join(2, P::ObserverInfo, 77, -1, z(5, 12));
    assert_eq!(sent_to(2, &outputs)[1..], [(P::Trunc, z(5, 9)), (P::NewLeader, z(6, 0))]);
    let outputs = script.join(3, P::ObserverInfo, 78, -1, Zxid::ZERO);
    assert_eq!(sent_to(3, &outputs)[1..], [(P::Snap, z(5, 9)), (P::NewLeader, z(6, 0))]);
}

#[test]
fn a_follower_ahead_of_the_leader_is_refused_until_a_quorum_has_accepted() {
    let mut script = elected();
    let outputs = script.join(1, P::FollowerInfo, 1, 5, z(5, 10));
    assert_eq!(closes(&outputs), [(1, CloseReason::Ahead)]);
    // -1 is accepted but not counted.
    let outputs = script.join(2, P::FollowerInfo, 1, -1, z(5, 9));
    assert!(closes(&outputs).is_empty());
    assert_eq!(sent_to(2, &outputs), [(P::LeaderInfo, z(6, 0))]);
    let outputs = script.join(3, P::FollowerInfo, 2, 5, z(5, 9));
    assert_eq!(sent_to(2, &outputs), [(P::Diff, z(5, 9)), (P::NewLeader, z(6, 0))], "now there is a quorum");
}

#[test]
fn commits_follow_a_quorum_of_flushes_in_order() {
    let mut script = established();
    script.disk_works = false;
    propose(&mut script, z(6, 1));
    let outputs = propose(&mut script, z(6, 2));
    assert_eq!(sent_to(1, &outputs), [(P::Proposal, z(6, 2))]);
    let outputs = script.learner_says(1, packet(P::Ack, z(6, 1)));
    assert!(delivered(&outputs).is_empty(), "its own flush is missing");
    let outputs = script.feed(Input::Flushed { zxid: z(6, 2) });
    assert_eq!(delivered(&outputs), [z(6, 1)]);
    assert_eq!(sent_to(1, &outputs), [(P::Commit, z(6, 1))]);
    assert_eq!(script.peer.in_flight(), 1);
    let outputs = script.learner_says(1, packet(P::Ack, z(6, 2)));
    assert_eq!(delivered(&outputs), [z(6, 2)]);
    assert_eq!(script.peer.in_flight(), 0);
}

#[test]
fn observers_are_informed_when_followers_are_told_to_commit() {
    let mut script = established();
    script.join_fully(2, P::ObserverInfo, 77);
    let outputs = propose(&mut script, z(6, 1));
    assert!(sent_to(2, &outputs).is_empty());
    let outputs = script.learner_says(1, packet(P::Ack, z(6, 1)));
    assert_eq!(sent_to(1, &outputs), [(P::Commit, z(6, 1))]);
    assert_eq!(sent_to(2, &outputs), [(P::Inform, z(6, 1))]);
}

#[test]
fn observers_and_unlisted_followers_never_count() {
    let mut script = elected();
    // Neither an observer with a voter's id, nor a follower that is not listed, makes a quorum in any phase.
    let impostors = [(1, info(P::ObserverInfo, 1, 0)), (2, info(P::FollowerInfo, 9, 0))];
    for (link, hello) in impostors {
        script.feed(Input::LearnerUp { link: LinkId(link) });
        script.learner_says(link, hello);
    }
    assert_eq!(script.peer.epochs(), (5, 5), "no epoch is fixed");
    script.feed(Input::LearnerUp { link: LinkId(3) });
    let outputs = script.learner_says(3, info(P::FollowerInfo, 2, 0));
    assert_eq!(sent_to(1, &outputs), [(P::LeaderInfo, z(6, 0))]);
    script.learner_says(1, ack_epoch(5, z(5, 9)));
    script.learner_says(2, ack_epoch(5, z(5, 9)));
    assert_eq!(script.peer.epochs(), (6, 5), "the epoch is not accepted");
    script.learner_says(3, ack_epoch(5, z(5, 9)));
    script.learner_says(1, packet(P::Ack, z(6, 0)));
    script.learner_says(2, packet(P::Ack, z(6, 0)));
    assert_eq!(script.peer.serving_epoch(), None, "the history is not acknowledged");
    script.learner_says(3, packet(P::Ack, z(6, 0)));
    let outputs = propose(&mut script, z(6, 1));
    assert_eq!(sent_to(2, &outputs), [(P::Proposal, z(6, 1))], "it is served like a follower");
    let outputs = script.learner_says(2, packet(P::Ack, z(6, 1)));
    assert!(delivered(&outputs).is_empty());
    let outputs = script.learner_says(1, packet(P::Ack, z(6, 1)));
    assert_eq!(closes(&outputs), [(1, CloseReason::Protocol("ACK of what was not sent"))]);
    assert!(delivered(&outputs).is_empty());
}

#[test]
fn proposals_not_committed_follow_after_uptodate_only() {
    let mut script = established();
    script.join_fully(2, P::FollowerInfo, 2);
    script.disk_works = false;
    propose(&mut script, z(6, 1));
    // Voter 2 comes back without it.
    let outputs = script.join(3, P::FollowerInfo, 2, -1, z(5, 9));
    assert_eq!(closes(&outputs), [(2, CloseReason::Replaced)]);
    assert_eq!(sent_to(3, &outputs)[1..], [(P::Diff, z(5, 9)), (P::NewLeader, z(6, 0))]);
    let outputs = script.learner_says(3, packet(P::Ack, z(6, 0)));
    assert_eq!(sent_to(3, &outputs), [(P::UpToDate, Zxid(-1)), (P::Proposal, z(6, 1))]);
    // Then its acknowledgement counts.
    script.learner_says(3, packet(P::Ack, z(6, 1)));
    let outputs = script.learner_says(1, packet(P::Ack, z(6, 1)));
    assert_eq!(delivered(&outputs), [z(6, 1)]);
}

#[test]
fn a_follower_that_returns_with_uncommitted_proposals_counts_but_waits_for_their_commit() {
    let mut script = established();
    script.disk_works = false;
    propose(&mut script, z(6, 1));
    propose(&mut script, z(6, 2));
    let outputs = script.join(2, P::FollowerInfo, 1, -1, z(6, 2));
    assert_eq!(sent_to(2, &outputs)[1..], [(P::Diff, z(6, 2)), (P::NewLeader, z(6, 0))]);
    let outputs = script.learner_says(2, packet(P::Ack, z(6, 0)));
    assert!(sent_to(2, &outputs).is_empty(), "UPTODATE would let it show what is not committed");
    let outputs = script.feed(Input::Flushed { zxid: z(6, 2) });
    assert_eq!(delivered(&outputs), [z(6, 1), z(6, 2)]);
    assert_eq!(sent_to(2, &outputs), [(P::UpToDate, Zxid(-1))], "and no COMMIT of what it already applied");
}

#[test]
fn a_learner_that_lacks_more_than_its_queue_may_hold_is_sent_a_snapshot() {
    let mut script = Script::tuned(3, 3, recovered(5, 9), |config| config.max_backlog = 500);
    script.elect();
    script.join_fully(1, P::FollowerInfo, 1);
    let outputs = script.join(2, P::ObserverInfo, 77, -1, z(5, 7));
    assert_eq!(sent_to(2, &outputs)[1], (P::Diff, z(5, 9)));
    let outputs = script.join(3, P::ObserverInfo, 78, -1, z(5, 3));
    assert_eq!(sent_to(3, &outputs)[1], (P::Snap, z(5, 9)));
}

#[test]
fn observers_wait_for_their_turn_to_be_sent_a_snapshot() {
    let mut script = Script::tuned(3, 3, recovered(5, 9), |config| config.max_snapshots = 1);
    script.elect();
    script.join_fully(1, P::FollowerInfo, 1);
    script.join(2, P::ObserverInfo, 77, -1, Zxid::ZERO);
    let outputs = script.join(3, P::ObserverInfo, 78, -1, Zxid::ZERO);
    assert_eq!(sent_to(3, &outputs), [(P::LeaderInfo, z(6, 0))]);
    let outputs = script.join(4, P::FollowerInfo, 2, -1, Zxid::ZERO);
    assert_eq!(sent_to(4, &outputs)[1], (P::Snap, z(5, 9)), "a voter does not wait");
    let outputs = script.feed(Input::SnapshotSent { link: LinkId(2) });
    assert_eq!(sent_to(3, &outputs), [(P::Snap, z(5, 9)), (P::NewLeader, z(6, 0))]);
}

#[test]
fn the_handshake_is_strict() {
    let mut script = established();
    let mut refused = |link: u64, packets: &[palisade_wire::quorum::QuorumPacket], reason| {
        script.feed(Input::LearnerUp { link: LinkId(link) });
        let outputs = packets.iter().flat_map(|p| script.learner_says(link, p.clone())).collect::<Vec<_>>();
        assert_eq!(closes(&outputs), [(link, reason)]);
    };
    let turn = CloseReason::Protocol("out of turn before synchronisation");
    let hello = info(P::ObserverInfo, 77, 0);
    refused(10, &[packet(P::Ping, Zxid::ZERO)], turn);
    refused(11, &[hello.clone(), hello.clone()], turn);
    refused(12, &[hello.clone(), ack_epoch(-1, z(5, 9)), packet(P::Ping, Zxid::ZERO)], turn);
    refused(13, &[info(P::FollowerInfo, 3, 0)], CloseReason::OwnSid);
    refused(14, &[packet(P::FollowerInfo, Zxid::ZERO)], CloseReason::Protocol("introduction without an id"));
    refused(15, &[packet_with(P::FollowerInfo, Zxid::ZERO, &1_i64.to_be_bytes())], CloseReason::OldProtocol);
    let mut newer = 77_i64.to_be_bytes().to_vec();
    newer.extend(0x10000_i32.to_be_bytes());
    newer.extend(1_i64.to_be_bytes());
    refused(16, &[packet_with(P::ObserverInfo, Zxid::ZERO, &newer)], CloseReason::ConfigAhead);
    refused(17, &[hello, packet(P::AckEpoch, z(5, 9))], CloseReason::Protocol("ACKEPOCH without an epoch"));
}

#[test]
fn links_that_are_gone_are_ignored() {
    let mut script = established();
    propose(&mut script, z(6, 1));
    script.feed(Input::LearnerDown { link: LinkId(1) });
    let outputs = script.learner_says(1, packet(P::Ack, z(6, 1)));
    assert!(outputs.is_empty());
}

#[test]
fn a_leader_that_loses_its_quorum_resigns_and_treats_its_log_as_history() {
    let mut script = established();
    propose(&mut script, z(6, 1));
    let outputs = script.at(2000);
    assert!(closes(&outputs).contains(&(1, CloseReason::Timeout)));
    let looking = outputs.iter().position(|o| *o == Output::RoleChanged(Role::Looking)).unwrap();
    assert_eq!(delivered(&outputs[looking..]), [z(6, 1)]);
    assert_eq!(script.peer.next_zxid(), None);
    let outputs = script.feed(Input::LearnerUp { link: LinkId(9) });
    assert_eq!(closes(&outputs), [(9, CloseReason::NotLeading)]);
}

#[test]
fn a_follower_that_answers_pings_keeps_the_leader_in_office() {
    let mut script = established();
    for at in (300..3000).step_by(50) {
        for (kind, zxid) in sent_to(1, &script.at(at)) {
            assert_eq!(kind, P::Ping);
            script.learner_says(1, packet_with(P::Ping, zxid, b""));
        }
    }
    assert_eq!(script.peer.role(), Role::Leading);
}

#[test]
fn a_follower_that_does_not_acknowledge_in_time_is_closed() {
    let mut script = established();
    propose(&mut script, z(6, 1));
    let mut closed = Vec::new();
    for at in (300..1000).step_by(50) {
        let outputs = script.at(at);
        closed.extend(closes(&outputs));
        for (_, zxid) in sent_to(1, &outputs) {
            script.learner_says(1, packet_with(P::Ping, zxid, b""));
        }
    }
    assert_eq!(closed[0], (1, CloseReason::Timeout));
}

#[test]
fn a_learner_that_confirms_too_little_is_closed() {
    let mut script = Script::tuned(3, 3, recovered(5, 9), |config| config.max_backlog = 1000);
    script.elect();
    script.join_fully(1, P::FollowerInfo, 1);
    script.join_fully(2, P::ObserverInfo, 77);
    for counter in 1..100 {
        propose(&mut script, z(6, counter));
        script.learner_says(1, packet(P::Ack, z(6, counter)));
        if counter % 10 == 0 {
            let outputs = script.at(300 + u64::from(counter) * 5);
            for (_, zxid) in sent_to(1, &outputs).into_iter().filter(|(kind, _)| *kind == P::Ping) {
                script.learner_says(1, packet_with(P::Ping, zxid, b""));
            }
            if closes(&outputs).contains(&(2, CloseReason::Slow)) {
                return;
            }
        }
    }
    panic!("the observer has never answered");
}

#[test]
fn requests_are_handed_up_once_the_learner_is_synchronised() {
    let mut script = established();
    script.join(2, P::ObserverInfo, 77, -1, z(5, 9));
    let request = packet_with(P::Request, Zxid(-1), b"request");
    let outputs = script.learner_says(1, request.clone());
    assert_eq!(outputs, [Output::LearnerPacket { link: LinkId(1), sid: 1, packet: request.clone() }]);
    let outputs = script.learner_says(2, request);
    assert_eq!(closes(&outputs).len(), 1, "before the acknowledgement of NEWLEADER");
    // Unknown kinds are ignored, as by Apache.
    let mut unknown = packet(P::Ping, Zxid::ZERO);
    unknown.kind = 77;
    assert!(script.learner_says(1, unknown).is_empty());
}

#[test]
fn a_voter_that_has_accepted_a_later_epoch_makes_the_leader_start_anew_above_it() {
    let mut script = established();
    script.feed(Input::LearnerUp { link: LinkId(2) });
    let outputs = script.learner_says(2, info(P::FollowerInfo, 2, 9));
    assert!(outputs.contains(&Output::RoleChanged(Role::Looking)));
    let Some(Output::SendNotification { notification, .. }) = outputs.last() else { panic!() };
    let round = notification.round;
    let vote = palisade_wire::election::Notification { round, ..notification.clone() };
    script.feed(Input::Notification { from: 1, notification: vote });
    script.at(900);
    script.feed(Input::LearnerUp { link: LinkId(3) });
    let outputs = script.learner_says(3, info(P::FollowerInfo, 1, 6));
    assert_eq!(sent_to(3, &outputs), [(P::LeaderInfo, z(10, 0))]);
}

#[test]
fn a_barrier_waits_for_a_quorum_and_for_earlier_proposals() {
    let mut script = established();
    script.disk_works = false;
    propose(&mut script, z(6, 1));
    let outputs = script.feed(Input::Sync { token: 1 });
    assert_eq!(sent_to(1, &outputs), [(P::Ping, z(6, 1))]);
    let outputs = script.feed(Input::Sync { token: 2 });
    assert!(outputs.is_empty(), "one round at a time");
    let outputs = script.learner_says(1, packet_with(P::Ping, z(6, 1), b""));
    assert_eq!(sent_to(1, &outputs), [(P::Ping, z(6, 1))], "the second one's round");
    script.feed(Input::Flushed { zxid: z(6, 1) });
    let outputs = script.learner_says(1, packet(P::Ack, z(6, 1)));
    assert_eq!(outputs.last(), Some(&Output::SyncReady { token: 1 }), "after the commit");
    assert_eq!(delivered(&outputs), [z(6, 1)]);
    let outputs = script.learner_says(1, packet_with(P::Ping, z(6, 1), b""));
    assert_eq!(outputs, [Output::SyncReady { token: 2 }]);
}

#[test]
fn a_used_up_counter_ends_the_epoch() {
    let mut script = established();
    script.peer.skip_to(z(6, Zxid::MAX_COUNTER - 1));
    propose(&mut script, z(6, Zxid::MAX_COUNTER));
    assert_eq!(script.peer.next_zxid(), None);
    let outputs = script.learner_says(1, packet(P::Ack, z(6, Zxid::MAX_COUNTER)));
    assert_eq!(sent_to(1, &outputs), [(P::Commit, z(6, Zxid::MAX_COUNTER))]);
    assert!(outputs.contains(&Output::RoleChanged(Role::Looking)));
}

#[test]
fn what_apache_followers_said_is_understood() {
    let captures: [&[u8]; 2] = [
        include_bytes!("../../testdata/java-3.8.0-follower-to-leader.bin"),
        include_bytes!("../../testdata/java-3.9.5-follower-to-leader.bin"),
    ];
    for capture in captures {
        let mut script = elected();
        script.feed(Input::LearnerUp { link: LinkId(1) });
        let mut handed_up = Vec::new();
        let mut served = false;
        for packet in recorded(capture).into_iter().flatten() {
            if served && script.peer.next_zxid() == Some(z(6, 1)) {
                propose(&mut script, z(6, 1));
                propose(&mut script, z(6, 2));
            }
            let outputs = script.learner_says(1, packet);
            assert!(closes(&outputs).is_empty(), "{outputs:?}");
            served |= outputs.contains(&Output::Serving { epoch: 6 });
            handed_up.extend(outputs.into_iter().filter_map(|output| match output {
                Output::LearnerPacket { packet, .. } => packet.packet_type(),
                _ => None,
            }));
        }
        assert!(served);
        assert_eq!(handed_up, [P::Request, P::Request, P::Request, P::Ping]);
        assert_eq!(script.peer.delivered(), z(6, 2));
    }
}
