use std::collections::VecDeque;

use bytes::Bytes;
use palisade_store::Timestamp;
use palisade_wire::Zxid;
use palisade_wire::quorum::{PacketType as P, QuorumPacket};
use palisade_wire::txn::TxnRecord;

use super::Learner;
use crate::config::{LearnerConfig, Recovered};
use crate::io::{CloseReason, LearnerInput as In, LearnerOutput as Out, LinkId};
use crate::testing::script::{packet, packet_with, recorded};
use crate::testing::timing;

const LINK: LinkId = LinkId(1);

const fn z(epoch: u32, counter: u32) -> Zxid {
    Zxid::new(epoch, counter)
}

struct Observer {
    learner: Learner,
    now: Timestamp,
}

impl Observer {
    /// An observer with this history and a link.
    fn new(epoch: u32, last: Zxid) -> Self {
        let config = LearnerConfig { timing: timing(), ..LearnerConfig::new(5) };
        let recovered =
            Recovered { accepted_epoch: epoch, current_epoch: epoch, last_zxid: last, recent: Vec::new() };
        let mut observer = Self { learner: Learner::new(config, recovered).unwrap(), now: Timestamp::ZERO };
        let hello = observer.feed(In::LinkUp { link: LINK });
        assert!(
            matches!(&hello[..], [Out::Send { packet, .. }] if packet.packet_type() == Some(P::ObserverInfo))
        );
        observer
    }

    fn feed(&mut self, input: In) -> Vec<Out> {
        self.learner.handle(self.now, input);
        std::iter::from_fn(|| self.learner.poll_output()).collect()
    }

    fn packet(&mut self, packet: QuorumPacket) -> Vec<Out> {
        self.feed(In::Packet { link: LINK, packet })
    }

    /// Has it told this plan in epoch 6, and sent these transactions as a leader that synchronises does.
    fn synchronise(&mut self, plan: QuorumPacket, txns: &[Zxid]) -> Vec<Out> {
        let mut outputs = self.packet(packet_with(P::LeaderInfo, z(6, 0), &[0, 1, 0, 0]));
        let snap = plan.packet_type() == Some(P::Snap);
        let zxid = plan.zxid;
        outputs.extend(self.packet(plan));
        if snap {
            outputs.extend(self.feed(In::SnapshotReceived { link: LINK, zxid }));
        }
        for txn in txns {
            outputs.extend(self.packet(packet_with(P::Proposal, *txn, b"txn")));
            outputs.extend(self.packet(packet(P::Commit, *txn)));
        }
        outputs.extend(self.packet(packet(P::NewLeader, z(6, 0))));
        outputs
    }
}

fn sent(outputs: &[Out]) -> Vec<(P, Zxid)> {
    let sent = outputs.iter().filter_map(|output| match output {
        Out::Send { packet, .. } => Some((packet.packet_type().unwrap(), packet.zxid)),
        _ => None,
    });
    sent.collect()
}

fn logged_and_delivered(zxid: Zxid) -> [Out; 2] {
    let payload = Bytes::from_static(b"txn");
    [Out::Append { zxid, payload: payload.clone() }, Out::Deliver { zxid, payload }]
}

#[test]
fn nothing_is_shown_before_uptodate() {
    let mut observer = Observer::new(5, z(5, 9));
    let outputs = observer.synchronise(packet(P::Diff, z(6, 2)), &[z(6, 1), z(6, 2)]);
    assert_eq!(sent(&outputs), [(P::AckEpoch, z(5, 9)), (P::Ack, z(6, 0))]);
    assert_eq!(outputs.len(), 2, "{outputs:?}");
    let outputs = observer.packet(packet(P::UpToDate, Zxid(-1)));
    let payload = Bytes::from_static(b"txn");
    let append = |zxid| Out::Append { zxid, payload: payload.clone() };
    let deliver = |zxid| Out::Deliver { zxid, payload: payload.clone() };
    let expected = [
        Out::Send { link: LINK, packet: packet(P::Ack, z(6, 0)) },
        Out::WriteAcceptedEpoch { epoch: 6 },
        append(z(6, 1)),
        append(z(6, 2)),
        deliver(z(6, 1)),
        deliver(z(6, 2)),
        Out::WriteCurrentEpoch { epoch: 6 },
        Out::Serving { link: LINK, epoch: 6 },
    ];
    assert_eq!(outputs, expected);
    let outputs = observer.packet(packet_with(P::Inform, z(6, 3), b"txn"));
    assert_eq!(outputs, logged_and_delivered(z(6, 3)));
}

#[test]
fn a_leader_that_fails_before_uptodate_leaves_no_trace() {
    let mut observer = Observer::new(5, z(5, 9));
    observer.synchronise(packet(P::Diff, z(5, 12)), &[z(5, 10), z(5, 11), z(5, 12)]);
    assert!(observer.feed(In::LinkDown { link: LINK }).is_empty());
    assert_eq!((observer.learner.last_zxid(), observer.learner.accepted_epoch()), (z(5, 9), 5));
}

#[test]
fn an_observers_epoch_is_never_a_vote() {
    let mut observer = Observer::new(5, z(5, 9));
    let outputs = observer.packet(packet_with(P::LeaderInfo, z(6, 0), &[0, 1, 0, 0]));
    let expected = packet_with(P::AckEpoch, z(5, 9), &(-1_i32).to_be_bytes());
    assert_eq!(outputs, [Out::Send { link: LINK, packet: expected }]);
}

#[test]
fn a_deposed_leader_is_not_joined() {
    let mut observer = Observer::new(7, z(7, 1));
    let outputs = observer.packet(packet_with(P::LeaderInfo, z(6, 0), &[0, 1, 0, 0]));
    assert_eq!(outputs, [Out::Close { link: LINK, reason: CloseReason::Ahead }]);
}

#[test]
fn a_snapshot_is_installed_at_uptodate_and_what_comes_meanwhile_waits() {
    let mut observer = Observer::new(5, z(5, 9));
    // The leader repeats what the snapshot contains.
    observer.synchronise(packet(P::Snap, z(6, 2)), &[z(6, 1), z(6, 2), z(6, 3)]);
    let outputs = observer.packet(packet(P::UpToDate, Zxid(-1)));
    assert_eq!(outputs[1..], [Out::WriteAcceptedEpoch { epoch: 6 }, Out::InstallSnapshot { zxid: z(6, 2) }]);
    assert!(observer.packet(packet_with(P::Inform, z(6, 4), b"txn")).is_empty());
    let ping = observer.packet(packet(P::Ping, z(6, 4)));
    assert_eq!(ping, [Out::AnswerPing { link: LINK, zxid: z(6, 4) }], "a long installation is not silence");
    let outputs = observer.feed(In::SnapshotInstalled { zxid: z(6, 2) });
    let payload = Bytes::from_static(b"txn");
    let appended = [z(6, 3), z(6, 4)].map(|zxid| Out::Append { zxid, payload: payload.clone() });
    assert_eq!(outputs[..2], appended);
    assert_eq!(outputs.last(), Some(&Out::Serving { link: LINK, epoch: 6 }));
    assert_eq!(observer.learner.last_zxid(), z(6, 4));
}

#[test]
fn a_core_that_is_behind_shows_as_a_truncation() {
    let mut observer = Observer::new(5, z(5, 9));
    observer.synchronise(packet(P::Trunc, z(5, 7)), &[]);
    let outputs = observer.packet(packet(P::UpToDate, Zxid(-1)));
    assert_eq!(outputs[2], Out::Truncate { to: z(5, 7) });
    let outputs = observer.feed(In::Truncated { zxid: z(5, 7) });
    assert_eq!(outputs.last(), Some(&Out::Serving { link: LINK, epoch: 6 }));
    assert_eq!(observer.learner.last_zxid(), z(5, 7));
}

#[test]
fn a_truncation_that_fails_leads_to_a_snapshot() {
    for failure in [In::TruncateFailed, In::Truncated { zxid: z(5, 6) }] {
        let mut observer = Observer::new(5, z(5, 9));
        observer.synchronise(packet(P::Trunc, z(5, 7)), &[]);
        observer.packet(packet(P::UpToDate, Zxid(-1)));
        let outputs = observer.feed(failure);
        assert_eq!(outputs, [Out::Close { link: LINK, reason: CloseReason::Gap }]);
        observer.feed(In::LinkUp { link: LinkId(2) });
        let hello = packet_with(P::LeaderInfo, z(6, 0), &[0, 1, 0, 0]);
        let outputs = observer.feed(In::Packet { link: LinkId(2), packet: hello });
        assert_eq!(sent(&outputs), [(P::AckEpoch, Zxid::ZERO)]);
    }
}

#[test]
fn a_new_link_waits_for_a_replacement_under_way() {
    let mut observer = Observer::new(5, z(5, 9));
    observer.synchronise(packet(P::Snap, z(6, 2)), &[]);
    observer.packet(packet(P::UpToDate, Zxid(-1)));
    observer.feed(In::LinkDown { link: LINK });
    observer.feed(In::LinkUp { link: LinkId(2) });
    let hello = packet_with(P::LeaderInfo, z(7, 0), &[0, 1, 0, 0]);
    assert!(observer.feed(In::Packet { link: LinkId(2), packet: hello }).is_empty());
    let outputs = observer.feed(In::SnapshotInstalled { zxid: z(6, 2) });
    assert_eq!(sent(&outputs), [(P::AckEpoch, z(6, 2))]);
}

#[test]
fn a_gap_ends_the_link() {
    let mut observer = Observer::new(5, z(5, 9));
    observer.synchronise(packet(P::Diff, z(5, 9)), &[]);
    observer.packet(packet(P::UpToDate, Zxid(-1)));
    let outputs = observer.packet(packet_with(P::Inform, z(6, 2), b"txn"));
    assert_eq!(outputs, [Out::Close { link: LINK, reason: CloseReason::Gap }]);
    assert!(observer.packet(packet_with(P::Inform, z(6, 1), b"txn")).is_empty(), "closed is closed");
}

#[test]
fn what_is_for_followers_is_ignored_after_synchronisation() {
    let mut observer = Observer::new(5, z(5, 9));
    observer.synchronise(packet(P::Diff, z(5, 9)), &[]);
    observer.packet(packet(P::UpToDate, Zxid(-1)));
    assert!(observer.packet(packet_with(P::Proposal, z(6, 1), b"txn")).is_empty());
    assert!(observer.packet(packet(P::Commit, z(6, 1))).is_empty());
    assert_eq!(observer.packet(packet_with(P::Inform, z(6, 1), b"txn")), logged_and_delivered(z(6, 1)));
}

#[test]
fn a_voters_id_is_refused() {
    let mut observer = Observer::new(5, z(5, 9));
    observer.packet(packet_with(P::LeaderInfo, z(6, 0), &[0, 1, 0, 0]));
    observer.packet(packet(P::Diff, z(5, 9)));
    let members = b"server.5=a:1:2:participant;2181\nversion=0";
    let outputs = observer.packet(packet_with(P::NewLeader, z(6, 0), members));
    assert_eq!(outputs, [Out::Close { link: LINK, reason: CloseReason::VoterSid }]);
}

#[test]
fn too_much_before_uptodate_ends_the_link() {
    let mut observer = Observer::new(5, z(5, 9));
    observer.learner.config.max_held = 5;
    observer.feed(In::LinkUp { link: LINK });
    let outputs = observer.synchronise(packet(P::Diff, z(6, 2)), &[z(6, 1), z(6, 2)]);
    assert!(outputs.contains(&Out::Close { link: LINK, reason: CloseReason::Slow }));
}

#[test]
fn silence_ends_the_link() {
    let mut observer = Observer::new(5, z(5, 9));
    observer.synchronise(packet(P::Diff, z(5, 9)), &[]);
    observer.packet(packet(P::UpToDate, Zxid(-1)));
    let deadline = observer.learner.next_timeout().unwrap();
    assert_eq!(deadline, observer.now + timing().sync());
    observer.learner.handle_timeout(deadline);
    assert_eq!(observer.learner.poll_output(), Some(Out::Close { link: LINK, reason: CloseReason::Timeout }));
    assert_eq!(observer.learner.next_timeout(), None);
}

/// Plays a recorded leader to an observer; returns what the observer wants done.
fn play(observer: &mut Observer, capture: &[u8]) -> VecDeque<Out> {
    let mut outputs = VecDeque::new();
    let mut snap = Zxid::ZERO;
    for packet in recorded(capture) {
        outputs.extend(match packet {
            Some(packet) => {
                snap = packet.zxid;
                observer.packet(packet)
            }
            None => observer.feed(In::SnapshotReceived { link: LINK, zxid: snap }),
        });
        if let Some(Out::InstallSnapshot { zxid }) = outputs.back() {
            let zxid = *zxid;
            outputs.extend(observer.feed(In::SnapshotInstalled { zxid }));
        }
    }
    outputs
}

#[test]
fn a_recorded_snapshot_is_followed_to_the_end() {
    let mut observer = Observer::new(0, Zxid::ZERO);
    let outputs =
        play(&mut observer, include_bytes!("../../testdata/learner-observer-snap.leader-to-learner.bin"));
    let answers = recorded(include_bytes!("../../testdata/learner-observer-snap.learner-to-leader.bin"));
    let answers = answers.into_iter().flatten().skip(1).map(|p| (p.packet_type().unwrap(), p.zxid));
    let outputs = outputs.into_iter().collect::<Vec<_>>();
    assert_eq!(sent(&outputs), answers.collect::<Vec<_>>());
    assert_eq!(outputs.last(), Some(&Out::Serving { link: LINK, epoch: 1 }));
    assert_eq!(observer.learner.last_zxid(), z(1, 0xb));
}

#[test]
fn recorded_informs_are_delivered() {
    let mut observer = Observer::new(1, z(1, 1));
    let outputs = play(
        &mut observer,
        include_bytes!("../../testdata/learner-observer-diff-inform.leader-to-learner.bin"),
    );
    let delivered = outputs.iter().filter_map(|output| match output {
        Out::Deliver { zxid, payload } => Some((*zxid, TxnRecord::peek_zxid(payload).unwrap())),
        _ => None,
    });
    let expected = [2, 3, 4].map(|counter| (z(1, counter), z(1, counter)));
    assert_eq!(delivered.collect::<Vec<_>>(), expected, "each begins where its transaction does");
    assert!(outputs.iter().any(|o| matches!(o, Out::AnswerPing { .. })));
}
