//! Broadcast: proposals, acknowledgements, commits.

use std::collections::BTreeSet;

use bytes::Bytes;
use palisade_wire::Zxid;
use palisade_wire::quorum::PacketType;

use super::link::Stage;
use super::{Ctx, Leader, Office, Phase};
use crate::io::CloseReason;

impl Leader {
    /// The zxid for the next proposal.
    pub(crate) fn next_zxid(&self, last: Zxid) -> Option<Zxid> {
        (self.phase == Phase::Broadcast).then(|| last.max(Zxid::new(self.epoch, 0)).next()).flatten()
    }

    /// How many proposals wait for a quorum.
    pub(crate) fn in_flight(&self, history: &crate::history::History) -> usize {
        if self.phase == Phase::Broadcast { history.log().count_after(self.committed) } else { 0 }
    }

    /// Logs a proposal and sends it to the followers.
    pub(crate) fn propose(&mut self, zxid: Zxid, payload: Bytes, ctx: &mut Ctx<'_>) -> Office {
        if self.phase != Phase::Broadcast {
            return Office::Keep;
        }
        if self.next_zxid(ctx.history.last()) != Some(zxid) {
            return Office::Resign("the owner has proposed another zxid than the next one");
        }
        if ctx.history.append(zxid, payload.clone(), ctx.out).is_err() {
            return Office::Resign("a proposal would leave a gap in the log");
        }
        for follower in self.links.values_mut().filter(|l| l.is_live() && l.follower) {
            follower.propose(zxid, payload.clone(), ctx.now, ctx.out);
        }
        Office::Keep
    }

    /// Commits what a quorum holds durably, admits who has waited for that, and answers barriers.
    pub(super) fn advance_broadcast(&mut self, ctx: &mut Ctx<'_>) -> Office {
        if self.commit(ctx) || std::mem::take(&mut self.newly_synced) {
            self.admit(ctx);
            self.trim(ctx);
        }
        self.answer_syncs(ctx);
        if self.committed.counter() >= Zxid::MAX_COUNTER && self.committed.epoch() == self.epoch {
            return Office::Resign("the counter of this epoch is used up");
        }
        Office::Keep
    }

    /// TLA+ `LeaderProcessACK`: in order, and only on a quorum's durable acknowledgements.
    fn commit(&mut self, ctx: &mut Ctx<'_>) -> bool {
        let quorum = self.quorum_acked(ctx);
        if quorum <= self.committed {
            return false;
        }
        let from = std::mem::replace(&mut self.committed, quorum);
        for (zxid, payload) in ctx.history.log().after(from).take_while(|(zxid, _)| *zxid <= quorum) {
            for learner in self.links.values_mut().filter(|l| l.is_live()) {
                if learner.follower {
                    learner.send(PacketType::Commit, *zxid, None, ctx.out);
                } else {
                    learner.sent = *zxid;
                    learner.send(PacketType::Inform, *zxid, Some(payload.clone()), ctx.out);
                }
            }
        }
        ctx.history.deliver(quorum, ctx.out);
        true
    }

    /// The greatest zxid of this epoch's log that a quorum holds durably.
    fn quorum_acked(&self, ctx: &Ctx<'_>) -> Zxid {
        let own = (ctx.config.sid, ctx.history.flushed());
        let others = self.links.values().filter(|l| l.voter && l.stage >= Stage::Synced);
        let mut acked = others.map(|l| (l.sid, l.acked)).chain([own]).collect::<Vec<_>>();
        acked.sort_unstable_by_key(|(_, zxid)| std::cmp::Reverse(*zxid));
        let mut holders = BTreeSet::new();
        for (sid, zxid) in acked {
            holders.insert(sid);
            if ctx.config.ensemble.has_quorum(&holders) {
                return zxid.min(ctx.history.last());
            }
        }
        self.committed
    }

    /// Forgets old transactions, but none that a learner being synchronised still needs, unless they grow too many.
    fn trim(&mut self, ctx: &mut Ctx<'_>) {
        let needed = |l: &&super::link::LearnerLink| matches!(l.stage, Stage::Syncing | Stage::Synced);
        let config = ctx.config;
        let floor = self.links.values().filter(needed).map(|l| l.synced_to).min();
        let floor = match floor {
            Some(floor) if ctx.history.log().bytes() <= config.log_bytes + config.max_backlog => floor,
            _ => self.committed,
        };
        ctx.history.trim(floor.min(self.committed), config.log_count, config.log_bytes);
    }

    /// Disconnects learners that have confirmed too little of what was sent to them.
    pub(super) fn shed(&mut self, ctx: &mut Ctx<'_>) {
        let limit = ctx.config.max_backlog as u64;
        let slow = self.links.values().filter(|l| l.is_live() && l.backlog() > limit).map(|l| l.id());
        for link in slow.collect::<Vec<_>>() {
            self.close(link, CloseReason::Slow, ctx);
        }
    }
}
