//! The links of those who follow or observe us.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use palisade_wire::Sid;
use palisade_wire::quorum::QuorumPacket;
use palisade_zab::LinkId;

use crate::quorum::{Outbox, Outgoing};

/// A connected learner.
pub(super) struct Learner {
    pub(super) from: SocketAddr,
    pub(super) sid: Sid,
    pub(super) follower: bool,
    /// Whether it was told that it is up to date.
    pub(super) synced: bool,
    outbox: Outbox,
}

/// All connected learners.
#[derive(Default)]
pub(super) struct Learners {
    by_link: BTreeMap<LinkId, Learner>,
}

/// How many learners there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LearnerCounts {
    pub(crate) connected: usize,
    pub(crate) synced_followers: usize,
    pub(crate) synced_observers: usize,
    /// Bytes in the longest of their queues.
    pub(crate) max_queued: usize,
}

impl Learners {
    pub(super) fn add(&mut self, link: LinkId, from: SocketAddr, sid: Sid, follower: bool, outbox: Outbox) {
        self.by_link.insert(link, Learner { from, sid, follower, synced: false, outbox });
    }

    pub(super) fn remove(&mut self, link: LinkId) -> Option<Learner> {
        self.by_link.remove(&link)
    }

    pub(super) fn clear(&mut self) {
        self.by_link.clear();
    }

    /// Queues something for a learner. False if that closed the link, because its queue is full.
    pub(super) fn send(&mut self, link: LinkId, item: Outgoing) -> bool {
        let Some(learner) = self.by_link.get(&link) else { return true };
        if learner.outbox.push(item).is_ok() {
            return true;
        }
        tracing::warn!(
            ?link, from = %learner.from, sid = learner.sid, queued = learner.outbox.queued(),
            "learner does not keep up; closing its link"
        );
        self.by_link.remove(&link);
        false
    }

    /// As [`Learners::send`], for a packet.
    pub(super) fn send_packet(&mut self, link: LinkId, packet: QuorumPacket) -> bool {
        self.send(link, Outgoing::Packet(packet))
    }

    pub(super) fn mark_synced(&mut self, link: LinkId) {
        if let Some(learner) = self.by_link.get_mut(&link) {
            learner.synced = true;
        }
    }

    pub(super) fn counts(&self) -> LearnerCounts {
        let mut counts = LearnerCounts { connected: self.by_link.len(), ..LearnerCounts::default() };
        for learner in self.by_link.values() {
            counts.max_queued = counts.max_queued.max(learner.outbox.queued());
            match (learner.synced, learner.follower) {
                (true, true) => counts.synced_followers += 1,
                (true, false) => counts.synced_observers += 1,
                (false, _) => {}
            }
        }
        counts
    }
}
