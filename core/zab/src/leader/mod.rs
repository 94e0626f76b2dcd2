//! Leading: discovery of the epoch, synchronisation of learners, broadcast (Apache `Leader`, `LearnerHandler`).

mod barrier;
mod broadcast;
mod discovery;
mod link;
mod plan;
mod sync;
#[cfg(test)]
mod tests;
mod tick;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use palisade_store::Timestamp;
use palisade_wire::quorum::{PacketType, QuorumPacket};
use palisade_wire::{Sid, Zxid};

use self::barrier::Barrier;
use self::link::{LearnerLink, Stage};
use crate::config::PeerConfig;
use crate::history::History;
use crate::io::{CloseReason, LinkId, Output};

/// What a leader works with, lent by the peer for one step.
pub(crate) struct Ctx<'a> {
    pub(crate) config: &'a PeerConfig,
    pub(crate) history: &'a mut History,
    pub(crate) out: &'a mut VecDeque<Output>,
    pub(crate) now: Timestamp,
}

/// Whether to go on leading after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Office {
    /// Go on.
    Keep,
    /// Go looking for a leader, for this reason.
    Resign(&'static str),
}

/// How far this leader has come. Each phase names what it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// The accepted epochs of a quorum.
    Discovery,
    /// The new epoch, accepted by this server, to be durable.
    AcceptedWritten,
    /// A quorum to accept the epoch.
    EpochAcks,
    /// The new epoch, as this server's current one, to be durable.
    CurrentWritten,
    /// A quorum to hold this leader's history durably.
    NewLeaderAcks,
    /// Nothing: it leads.
    Broadcast,
}

/// A leader, from the election to its end.
#[derive(Debug)]
pub(crate) struct Leader {
    phase: Phase,
    phase_since: Timestamp,
    /// Fixed when discovery ends.
    epoch: u32,
    /// The greatest accepted epoch that a voter has claimed while this peer led.
    seen_epoch: u32,
    /// Voters that have accepted the epoch.
    accepted_by: BTreeSet<Sid>,
    /// What was in the log when this peer was elected: its own part of NEWLEADER.
    initial: Zxid,
    /// The epoch of that history.
    initial_epoch: u32,
    /// Everything up to here is committed; meaningful in broadcast.
    committed: Zxid,
    links: BTreeMap<LinkId, LearnerLink>,
    /// Whether a learner may have become fit to be admitted.
    newly_synced: bool,
    barrier: Barrier,
    next_ping: Timestamp,
    /// Whether the next ping completes a tick.
    half_tick: bool,
}

impl Leader {
    /// Starts discovery. `seen_epoch` is the greatest accepted epoch that voters have claimed so far.
    pub(crate) fn new(seen_epoch: u32, ctx: &mut Ctx<'_>) -> Self {
        let mut leader = Self {
            phase: Phase::Discovery,
            phase_since: ctx.now,
            epoch: 0,
            seen_epoch,
            accepted_by: BTreeSet::new(),
            initial: ctx.history.last(),
            initial_epoch: ctx.history.current_epoch(),
            committed: Zxid::ZERO,
            links: BTreeMap::new(),
            newly_synced: false,
            barrier: Barrier::default(),
            next_ping: ctx.now + ctx.config.timing.tick / 2,
            half_tick: false,
        };
        leader.fix_epoch(ctx);
        leader
    }

    /// The greatest accepted epoch that a voter has claimed.
    pub(crate) fn seen_epoch(&self) -> u32 {
        self.seen_epoch
    }

    /// The epoch, once this leader is established.
    pub(crate) fn established_epoch(&self) -> Option<u32> {
        (self.phase == Phase::Broadcast).then_some(self.epoch)
    }

    pub(crate) fn on_link_up(&mut self, link: LinkId, ctx: &mut Ctx<'_>) {
        self.links.insert(link, LearnerLink::new(link, ctx.now));
    }

    pub(crate) fn on_link_down(&mut self, link: LinkId) {
        self.links.remove(&link);
    }

    pub(crate) fn on_snapshot_sent(&mut self, link: LinkId, ctx: &mut Ctx<'_>) {
        if let Some(link) = self.links.get_mut(&link) {
            link.sending_snapshot = false;
            link.last_heard = ctx.now;
            if link.voter && self.phase == Phase::NewLeaderAcks {
                self.phase_since = ctx.now;
            }
        }
        self.sync_all(ctx);
    }

    pub(crate) fn on_packet(&mut self, link: LinkId, packet: QuorumPacket, ctx: &mut Ctx<'_>) -> Office {
        let Some(learner) = self.links.get_mut(&link) else {
            return Office::Keep;
        };
        learner.last_heard = ctx.now;
        let result = match (learner.stage, packet.packet_type()) {
            (Stage::Connected, Some(PacketType::FollowerInfo | PacketType::ObserverInfo)) => {
                self.on_info(link, &packet, ctx)
            }
            (Stage::Invited, Some(PacketType::AckEpoch)) => self.on_ack_epoch(link, &packet, ctx),
            (Stage::Syncing | Stage::Synced | Stage::Live, Some(PacketType::Ack)) => {
                self.on_ack(link, packet.zxid, ctx)
            }
            (Stage::Live, Some(PacketType::Ping)) => {
                self.on_pong(link, packet, ctx);
                Ok(())
            }
            (Stage::Live, Some(PacketType::Request | PacketType::Revalidate)) => {
                ctx.out.push_back(Output::LearnerPacket { link, sid: learner.sid, packet });
                return Office::Keep;
            }
            // As Apache: what is unknown after UPTODATE is ignored.
            (Stage::Live, _) => return Office::Keep,
            _ => Err(CloseReason::Protocol("out of turn before synchronisation")),
        };
        if let Err(reason) = result {
            self.close(link, reason, ctx);
        }
        self.advance(ctx)
    }

    /// Something of this server's own became durable.
    pub(crate) fn on_durable(&mut self, ctx: &mut Ctx<'_>) -> Office {
        self.advance(ctx)
    }

    /// Closes all links, at the end of this leadership.
    pub(crate) fn close_all(&mut self, out: &mut VecDeque<Output>) {
        for link in std::mem::take(&mut self.links).into_keys() {
            out.push_back(Output::CloseLearner { link, reason: CloseReason::NotLeading });
        }
    }

    fn close(&mut self, link: LinkId, reason: CloseReason, ctx: &mut Ctx<'_>) {
        if self.links.remove(&link).is_some() {
            ctx.out.push_back(Output::CloseLearner { link, reason });
        }
    }

    /// Takes every step that no longer waits for anything.
    fn advance(&mut self, ctx: &mut Ctx<'_>) -> Office {
        loop {
            let before = self.phase;
            if before > Phase::Discovery && self.seen_epoch > self.epoch {
                return Office::Resign("a voter has accepted a later epoch and could not join this one");
            }
            match self.phase {
                Phase::Discovery => self.fix_epoch(ctx),
                Phase::AcceptedWritten if ctx.history.is_accepted(self.epoch) => {
                    self.enter(Phase::EpochAcks, ctx);
                    self.invite_all(ctx);
                }
                Phase::EpochAcks => self.count_epoch_acks(ctx),
                Phase::CurrentWritten if ctx.history.current_epoch() >= self.epoch => {
                    self.enter(Phase::NewLeaderAcks, ctx);
                    self.sync_all(ctx);
                }
                Phase::NewLeaderAcks => self.count_new_leader_acks(ctx),
                Phase::Broadcast => return self.advance_broadcast(ctx),
                Phase::AcceptedWritten | Phase::CurrentWritten => {}
            }
            if self.phase == before {
                return Office::Keep;
            }
        }
    }

    fn enter(&mut self, phase: Phase, ctx: &Ctx<'_>) {
        self.phase = phase;
        self.phase_since = ctx.now;
    }

    /// Whether this server together with the voters among `links` that satisfy `counts` is a quorum.
    fn has_quorum(&self, own: bool, ctx: &Ctx<'_>, counts: impl Fn(&LearnerLink) -> bool) -> bool {
        let others = self.links.values().filter(|l| l.voter && counts(l)).map(|l| l.sid);
        let sids = others.chain(own.then_some(ctx.config.sid)).collect::<BTreeSet<_>>();
        ctx.config.ensemble.has_quorum(&sids)
    }
}
