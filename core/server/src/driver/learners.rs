//! The links of those who follow or observe us.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use palisade_wire::Sid;
use palisade_zab::LinkId;

use crate::quorum::{Outbox, Outgoing, Overflow};

/// A connected learner.
pub(super) struct Learner {
    pub(super) from: SocketAddr,
    pub(super) sid: Sid,
    pub(super) follower: bool,
    /// Whether it was told that it is up to date.
    pub(super) synced: bool,
    /// How it is being brought up to date.
    syncing: Option<Sync>,
    outbox: Outbox,
}

/// How a learner is brought up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sync {
    /// With the transactions that it does not have.
    Diff,
    /// With the whole tree.
    Tree,
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
}

impl Learners {
    pub(super) fn add(&mut self, link: LinkId, from: SocketAddr, sid: Sid, follower: bool, outbox: Outbox) {
        self.by_link.insert(link, Learner { from, sid, follower, synced: false, syncing: None, outbox });
    }

    pub(super) fn remove(&mut self, link: LinkId) -> Option<Learner> {
        self.by_link.remove(&link)
    }

    pub(super) fn clear(&mut self) {
        self.by_link.clear();
    }

    /// Queues something for a learner; nothing if its link has ended.
    pub(super) fn send(&mut self, link: LinkId, item: Outgoing) -> Result<(), Overflow> {
        self.by_link.get_mut(&link).map_or(Ok(()), |learner| learner.outbox.push(item))
    }

    /// Lets what was queued be sent, but for what may wait; whether there is such.
    pub(super) fn announce(&mut self) -> bool {
        let mut waits = false;
        for learner in self.by_link.values_mut() {
            waits |= learner.outbox.announce();
        }
        waits
    }

    /// Lets all that was queued be sent.
    pub(super) fn announce_all(&mut self) {
        for learner in self.by_link.values_mut() {
            learner.outbox.announce_all();
        }
    }

    /// Who is at the other end, if the link has not ended.
    pub(super) fn sid(&self, link: LinkId) -> Option<Sid> {
        self.by_link.get(&link).map(|learner| learner.sid)
    }

    pub(super) fn is_observer(&self, link: LinkId) -> bool {
        self.by_link.get(&link).is_some_and(|learner| !learner.follower)
    }

    /// A learner is sent what brings it up to date; how many are, in this way.
    pub(super) fn begin_sync(&mut self, link: LinkId, how: Sync) -> usize {
        if let Some(learner) = self.by_link.get_mut(&link) {
            learner.syncing = Some(how);
        }
        self.syncing(how)
    }

    /// A learner was told that it is up to date; how it was brought there, and how many others are, in this way.
    pub(super) fn mark_synced(&mut self, link: LinkId) -> Option<(Sync, usize)> {
        let learner = self.by_link.get_mut(&link)?;
        learner.synced = true;
        let how = learner.syncing.take()?;
        Some((how, self.syncing(how)))
    }

    fn syncing(&self, how: Sync) -> usize {
        self.by_link.values().filter(|learner| learner.syncing == Some(how)).count()
    }

    pub(super) fn counts(&self) -> LearnerCounts {
        let mut counts = LearnerCounts { connected: self.by_link.len(), ..LearnerCounts::default() };
        for learner in self.by_link.values() {
            match (learner.synced, learner.follower) {
                (true, true) => counts.synced_followers += 1,
                (true, false) => counts.synced_observers += 1,
                (false, _) => {}
            }
        }
        counts
    }
}
