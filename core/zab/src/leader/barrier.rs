//! Sync as a read barrier: answered once a quorum has confirmed, after the sync came, that it still follows. Apache
//! omits that, and a deposed leader's answer may be stale there (ZOOKEEPER-1675).

use std::collections::{BTreeMap, VecDeque};

use palisade_wire::Zxid;
use palisade_wire::quorum::QuorumPacket;

use super::{Ctx, Leader, Phase};
use crate::io::{LinkId, Output};

/// What a learner's ping bears that answers none.
const UNASKED: Zxid = Zxid(-1);

/// A sync on its way.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    token: u64,
    /// The last proposal when it came.
    after: Zxid,
}

/// Syncs, in the order in which they came: first those that a quorum has confirmed, then those of the round under way,
/// then those that wait for the next round.
#[derive(Debug, Default)]
pub(crate) struct Barrier {
    confirmed: VecDeque<Waiting>,
    asked: Vec<Waiting>,
    next: Vec<Waiting>,
    /// For each voter's link, how many pings it must have answered to confirm the round.
    pings: BTreeMap<LinkId, u64>,
}

impl Leader {
    /// Takes in a sync.
    pub(crate) fn sync(&mut self, token: u64, ctx: &mut Ctx<'_>) {
        if self.phase != Phase::Broadcast {
            return;
        }
        self.barrier.next.push(Waiting { token, after: ctx.history.last() });
        self.answer_syncs(ctx);
    }

    pub(super) fn on_pong(&mut self, link: LinkId, packet: QuorumPacket, ctx: &mut Ctx<'_>) {
        let Some(learner) = self.links.get_mut(&link) else {
            return;
        };
        // A gateway tells of sessions between pings, too.
        if packet.zxid != UNASKED {
            learner.on_pong();
        }
        if !packet.data().is_empty() {
            ctx.out.push_back(Output::LearnerPacket { link, sid: learner.sid, packet });
        }
    }

    /// Starts rounds, ends those that a quorum has confirmed, and answers syncs whose proposals are committed.
    pub(super) fn answer_syncs(&mut self, ctx: &mut Ctx<'_>) {
        loop {
            if self.barrier.asked.is_empty() {
                if self.barrier.next.is_empty() {
                    break;
                }
                self.barrier.asked = std::mem::take(&mut self.barrier.next);
                self.barrier.pings.clear();
                self.ping_voters(ctx);
            }
            let pings = &self.barrier.pings;
            let confirmed = self.has_quorum(true, ctx, |l| {
                l.is_live() && pings.get(&l.id()).is_some_and(|needed| l.pings.answered >= *needed)
            });
            if !confirmed {
                break;
            }
            self.barrier.confirmed.extend(std::mem::take(&mut self.barrier.asked));
        }
        while let Some(sync) = self.barrier.confirmed.pop_front_if(|sync| sync.after <= self.committed) {
            ctx.out.push_back(Output::SyncReady { token: sync.token });
        }
    }

    /// Pings the voters for the round under way.
    fn ping_voters(&mut self, ctx: &mut Ctx<'_>) {
        let last = ctx.history.last();
        for learner in self.links.values_mut().filter(|l| l.is_live() && l.voter) {
            learner.ping(last, ctx.out);
            self.barrier.pings.insert(learner.id(), learner.pings.sent);
        }
    }

    /// Notes a ping sent by the tick: it serves the round under way for links that have joined since that began.
    pub(super) fn note_ping(&mut self, link: LinkId, number: u64) {
        if !self.barrier.asked.is_empty() {
            self.barrier.pings.entry(link).or_insert(number);
        }
    }
}
