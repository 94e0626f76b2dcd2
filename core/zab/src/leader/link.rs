//! What the leader knows of one learner's connection.

use std::collections::VecDeque;

use bytes::Bytes;
use palisade_store::Timestamp;
use palisade_wire::quorum::{PacketType, QuorumPacket};
use palisade_wire::{Sid, Zxid};

use crate::config::Timing;
use crate::io::{LinkId, Output};

/// How far a learner has come. Each stage names what is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// FOLLOWERINFO or OBSERVERINFO.
    Connected,
    /// This leader's epoch to be fixed and durable.
    Introduced,
    /// ACKEPOCH.
    Invited,
    /// A quorum to have accepted the epoch; then synchronisation with a learner whose log ends there.
    Accepted(Zxid),
    /// The acknowledgement of NEWLEADER.
    Syncing,
    /// The history it has to be committed, then UPTODATE follows.
    Synced,
    /// Nothing: it takes part in the broadcast.
    Live,
}

/// A learner's connection.
#[derive(Debug)]
pub(crate) struct LearnerLink {
    id: LinkId,
    /// The id that it gave.
    pub(crate) sid: Sid,
    /// Said FOLLOWERINFO: it is sent proposals and commits instead of informs.
    pub(crate) follower: bool,
    /// Counts for quorums: a follower, listed as voter.
    pub(crate) voter: bool,
    /// The epoch that it had accepted when it introduced itself.
    pub(crate) accepted_epoch: u32,
    pub(crate) stage: Stage,
    /// A snapshot is being sent; its owner watches the progress.
    pub(crate) sending_snapshot: bool,
    pub(crate) last_heard: Timestamp,
    /// Where its history stands when it has acknowledged NEWLEADER.
    pub(crate) synced_to: Zxid,
    /// The last transaction sent, or `synced_to`.
    pub(crate) sent: Zxid,
    /// Everything up to here is durable there.
    pub(crate) acked: Zxid,
    /// A proposal and when it was sent: it must be acknowledged within the sync limit.
    unacked: Option<(Zxid, Timestamp)>,
    pub(crate) pings: Pings,
}

/// Pings sent and answered, to know what has arrived: learners answer each ping once and in order.
#[derive(Debug, Default)]
pub(crate) struct Pings {
    pub(crate) sent: u64,
    pub(crate) answered: u64,
    /// Bytes sent since the link became live.
    bytes: u64,
    /// For each unanswered ping, the bytes sent before it.
    marks: VecDeque<u64>,
    confirmed: u64,
}

impl LearnerLink {
    pub(crate) fn new(id: LinkId, now: Timestamp) -> Self {
        Self {
            id,
            sid: 0,
            follower: false,
            voter: false,
            accepted_epoch: 0,
            stage: Stage::Connected,
            sending_snapshot: false,
            last_heard: now,
            synced_to: Zxid::ZERO,
            sent: Zxid::ZERO,
            acked: Zxid::ZERO,
            unacked: None,
            pings: Pings::default(),
        }
    }

    pub(crate) fn id(&self) -> LinkId {
        self.id
    }

    pub(crate) fn is_live(&self) -> bool {
        self.stage == Stage::Live
    }

    /// Sends a packet, and counts its bytes.
    pub(crate) fn send(
        &mut self,
        kind: PacketType,
        zxid: Zxid,
        data: Option<Bytes>,
        out: &mut VecDeque<Output>,
    ) {
        const HEAD: usize = 20;
        self.pings.bytes += (HEAD + data.as_ref().map_or(0, Bytes::len)) as u64;
        out.push_back(Output::SendToLearner { link: self.id, packet: QuorumPacket::new(kind, zxid, data) });
    }

    /// Sends a proposal of the broadcast.
    pub(crate) fn propose(&mut self, zxid: Zxid, payload: Bytes, now: Timestamp, out: &mut VecDeque<Output>) {
        self.sent = zxid;
        self.unacked.get_or_insert((zxid, now));
        self.send(PacketType::Proposal, zxid, Some(payload), out);
    }

    /// Takes in that everything up to `zxid` is durable there.
    pub(crate) fn on_ack(&mut self, zxid: Zxid, now: Timestamp) {
        self.acked = self.acked.max(zxid);
        if self.unacked.is_some_and(|(pending, _)| pending <= self.acked) {
            self.unacked = (self.acked < self.sent).then_some((self.sent, now));
        }
    }

    pub(crate) fn ping(&mut self, zxid: Zxid, out: &mut VecDeque<Output>) {
        self.pings.sent += 1;
        self.pings.marks.push_back(self.pings.bytes);
        self.send(PacketType::Ping, zxid, None, out);
    }

    /// Takes in the answer to the oldest unanswered ping.
    pub(crate) fn on_pong(&mut self) {
        if let Some(mark) = self.pings.marks.pop_front() {
            self.pings.answered += 1;
            self.pings.confirmed = mark;
        }
    }

    /// Bytes sent that it has not shown to have received.
    pub(crate) fn backlog(&self) -> u64 {
        self.pings.bytes - self.pings.confirmed
    }

    /// Starts to count: it takes part in the broadcast from now on.
    pub(crate) fn go_live(&mut self, now: Timestamp) {
        self.stage = Stage::Live;
        self.last_heard = now;
        self.pings = Pings::default();
    }

    /// When its silence, or a proposal not acknowledged, ends the link.
    pub(crate) fn deadline(&self, timing: &Timing) -> Option<Timestamp> {
        if self.sending_snapshot {
            return None;
        }
        let silence = if self.is_live() { timing.sync() } else { timing.init() };
        let silent = self.last_heard + silence;
        let unacked = self.unacked.filter(|_| self.voter).map(|(_, sent)| sent + timing.sync());
        Some(unacked.map_or(silent, |unacked| unacked.min(silent)))
    }

    /// Whether it counts for the quorum that keeps this leader in office.
    pub(crate) fn keeps_leader(&self, timing: &Timing, now: Timestamp) -> bool {
        self.voter
            && self.stage >= Stage::Synced
            && self.deadline(timing).is_none_or(|deadline| now < deadline)
    }
}
