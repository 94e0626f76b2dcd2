//! Synchronisation: learners are given this leader's history, and a quorum makes it durable.

use bytes::Bytes;
use palisade_wire::Zxid;
use palisade_wire::quorum::PacketType;

use super::link::Stage;
use super::plan::{SyncPlan, plan};
use super::{Ctx, Leader, Phase};
use crate::io::{CloseReason, LinkId, Output};

/// What the transactions later than `after` take in a learner's queue, in bytes, about.
fn diff_cost(after: Zxid, ctx: &Ctx<'_>) -> usize {
    /// PROPOSAL and COMMIT, without the payload.
    const PACKETS: usize = 160;
    ctx.history.log().after(after).map(|(_, payload)| payload.len() + PACKETS).sum()
}

impl Leader {
    /// Starts to synchronise all who have accepted the epoch and are not kept waiting.
    pub(super) fn sync_all(&mut self, ctx: &mut Ctx<'_>) {
        if self.phase < Phase::NewLeaderAcks {
            return;
        }
        let accepted = self.links.values().filter_map(|l| match l.stage {
            Stage::Accepted(last) => Some((l.id(), last)),
            _ => None,
        });
        for (link, last) in accepted.collect::<Vec<_>>() {
            self.start_sync(link, last, ctx);
        }
    }

    /// Sends a learner whose log ends at `last` what it lacks of the committed history, then NEWLEADER.
    ///
    /// Proposals not committed yet follow after UPTODATE only: Apache's learners of many versions mishandle those that
    /// stand before NEWLEADER (ZOOKEEPER-4394, 4646, 4685).
    pub(super) fn start_sync(&mut self, link: LinkId, last: Zxid, ctx: &mut Ctx<'_>) {
        let mut plan = plan(last, ctx.history.log());
        if let SyncPlan::Diff { after } = plan
            && diff_cost(after, ctx) > ctx.config.max_backlog
        {
            plan = SyncPlan::Snap;
        }
        if plan == SyncPlan::Snap && !self.may_send_snapshot(link, ctx) {
            return;
        }
        // Before it is established, all that a leader holds is its history; later, what is committed.
        let until = if self.phase == Phase::Broadcast { self.committed } else { ctx.history.last() };
        let Some(learner) = self.links.get_mut(&link) else {
            return;
        };
        let start = match plan {
            SyncPlan::Diff { after } => {
                learner.send(PacketType::Diff, until.max(after), None, ctx.out);
                after
            }
            SyncPlan::Trunc { to } => {
                learner.send(PacketType::Trunc, to, None, ctx.out);
                to
            }
            SyncPlan::Snap => {
                let zxid = ctx.history.delivered();
                learner.sending_snapshot = true;
                ctx.out.push_back(Output::SendSnapshot { link, zxid });
                zxid
            }
        };
        for (zxid, payload) in ctx.history.log().after(start).take_while(|(zxid, _)| *zxid <= until) {
            learner.send(PacketType::Proposal, *zxid, Some(payload.clone()), ctx.out);
            learner.send(PacketType::Commit, *zxid, None, ctx.out);
        }
        learner.synced_to = start.max(until);
        learner.sent = learner.synced_to;
        learner.stage = Stage::Syncing;
        let config = Bytes::from(ctx.config.ensemble.to_text());
        learner.send(PacketType::NewLeader, Zxid::new(self.epoch, 0), Some(config), ctx.out);
    }

    /// Whether a snapshot may be sent now; if not, the learner is tried again later.
    fn may_send_snapshot(&self, link: LinkId, ctx: &Ctx<'_>) -> bool {
        let sending = self.links.values().filter(|l| !l.voter && l.sending_snapshot).count();
        sending < ctx.config.max_snapshots || self.links.get(&link).is_some_and(|l| l.voter)
    }

    /// An ACK: of NEWLEADER or of proposals.
    pub(super) fn on_ack(&mut self, link: LinkId, zxid: Zxid, ctx: &mut Ctx<'_>) -> Result<(), CloseReason> {
        let Some(learner) = self.links.get_mut(&link) else {
            return Ok(());
        };
        if learner.stage == Stage::Syncing {
            // Some Apache versions acknowledge what they were synchronised with first.
            if zxid == Zxid::new(self.epoch, 0) {
                learner.stage = Stage::Synced;
                self.newly_synced = true;
                learner.acked = learner.synced_to;
            }
        } else if zxid.counter() != 0 {
            if zxid > learner.sent {
                return Err(CloseReason::Protocol("ACK of what was not sent"));
            }
            learner.on_ack(zxid, ctx.now);
        }
        Ok(())
    }

    /// Leads indeed once a quorum, this server among others, holds the history durably (TLA+
    /// `LeaderProcessACKLD`).
    pub(super) fn count_new_leader_acks(&mut self, ctx: &mut Ctx<'_>) {
        let own = ctx.history.flushed() >= self.initial;
        if !self.has_quorum(own, ctx, |l| l.stage >= Stage::Synced) {
            return;
        }
        self.enter(Phase::Broadcast, ctx);
        self.committed = self.initial;
        self.newly_synced = true;
        ctx.history.deliver(self.committed, ctx.out);
        ctx.out.push_back(Output::Serving { epoch: self.epoch });
    }

    /// Lets those take part whose history is committed.
    pub(super) fn admit(&mut self, ctx: &mut Ctx<'_>) {
        let committed = self.committed;
        let ready = |stage, synced_to| stage == Stage::Synced && synced_to <= committed;
        let mut lost = Vec::new();
        for learner in self.links.values_mut().filter(|l| ready(l.stage, l.synced_to)) {
            if ctx.history.log().base() > learner.synced_to {
                lost.push(learner.id());
                continue;
            }
            learner.go_live(ctx.now);
            learner.send(PacketType::UpToDate, Zxid(-1), None, ctx.out);
            for (zxid, payload) in ctx.history.log().after(learner.synced_to) {
                if learner.follower {
                    learner.propose(*zxid, payload.clone(), ctx.now, ctx.out);
                    if *zxid <= committed {
                        learner.send(PacketType::Commit, *zxid, None, ctx.out);
                    }
                } else if *zxid <= committed {
                    learner.sent = *zxid;
                    learner.send(PacketType::Inform, *zxid, Some(payload.clone()), ctx.out);
                }
            }
        }
        for link in lost {
            self.close(link, CloseReason::Slow, ctx);
        }
    }
}
