//! Discovery: a quorum promises to take part in a new epoch.

use palisade_wire::Zxid;
use palisade_wire::quorum::{LearnerInfo, PROTOCOL_VERSION, PacketType, QuorumPacket, encode_leader_info};

use super::link::Stage;
use super::{Ctx, Leader, Phase};
use crate::io::{CloseReason, LinkId};

impl Leader {
    /// A learner introduces itself (TLA+ `LeaderProcessFOLLOWERINFO`).
    pub(super) fn on_info(
        &mut self,
        link: LinkId,
        packet: &QuorumPacket,
        ctx: &mut Ctx<'_>,
    ) -> Result<(), CloseReason> {
        let info = LearnerInfo::decode(packet.data())
            .map_err(|_| CloseReason::Protocol("introduction without an id"))?;
        let follower = packet.packet_type() == Some(PacketType::FollowerInfo);
        let epoch = packet.zxid.epoch();
        if info.protocol_version < PROTOCOL_VERSION {
            return Err(CloseReason::OldProtocol);
        }
        if info.config_version > ctx.config.ensemble.version() {
            return Err(CloseReason::ConfigAhead);
        }
        if follower && info.sid == ctx.config.sid {
            return Err(CloseReason::OwnSid);
        }
        if epoch >= i32::MAX as u32 {
            return Err(CloseReason::Protocol("accepted epoch out of range"));
        }
        // An observer's promises count for nothing, whatever its id: Apache would let it vote.
        let voter = follower && ctx.config.ensemble.is_voter(info.sid);
        if voter {
            self.seen_epoch = self.seen_epoch.max(epoch);
            let older = self.links.values().find(|l| l.voter && l.sid == info.sid).map(|l| l.id());
            if let Some(older) = older {
                self.close(older, CloseReason::Replaced, ctx);
            }
        }
        if let Some(learner) = self.links.get_mut(&link) {
            learner.sid = info.sid;
            learner.follower = follower;
            learner.voter = voter;
            learner.accepted_epoch = epoch;
            learner.stage = Stage::Introduced;
        }
        if self.phase >= Phase::EpochAcks {
            self.invite(link, ctx);
        }
        Ok(())
    }

    /// Fixes the epoch once a quorum has introduced itself: one more than any of them has accepted.
    pub(super) fn fix_epoch(&mut self, ctx: &mut Ctx<'_>) {
        if !self.has_quorum(true, ctx, |l| l.stage == Stage::Introduced) {
            return;
        }
        let newest = self.links.values().filter(|l| l.voter).map(|l| l.accepted_epoch).max();
        let newest = newest.unwrap_or(0).max(self.seen_epoch).max(ctx.history.accepted_epoch());
        self.epoch = newest + 1;
        self.enter(Phase::AcceptedWritten, ctx);
        ctx.history.write_accepted(self.epoch, ctx.out);
    }

    /// Tells all who wait the epoch.
    pub(super) fn invite_all(&mut self, ctx: &mut Ctx<'_>) {
        let waiting = self.links.values().filter(|l| l.stage == Stage::Introduced).map(|l| l.id());
        for link in waiting.collect::<Vec<_>>() {
            self.invite(link, ctx);
        }
    }

    fn invite(&mut self, link: LinkId, ctx: &mut Ctx<'_>) {
        if let Some(learner) = self.links.get_mut(&link) {
            learner.stage = Stage::Invited;
            let info = Some(encode_leader_info());
            learner.send(PacketType::LeaderInfo, Zxid::new(self.epoch, 0), info, ctx.out);
        }
    }

    /// A learner has accepted the epoch (TLA+ `LeaderProcessACKEPOCH`).
    pub(super) fn on_ack_epoch(
        &mut self,
        link: LinkId,
        packet: &QuorumPacket,
        ctx: &mut Ctx<'_>,
    ) -> Result<(), CloseReason> {
        let epoch = packet.data().first_chunk().map(|b| i32::from_be_bytes(*b));
        let epoch = epoch.ok_or(CloseReason::Protocol("ACKEPOCH without an epoch"))?;
        let Some(learner) = self.links.get_mut(&link) else {
            return Ok(());
        };
        // -1: it has promised this epoch before, to whomever.
        if let Ok(epoch) = u32::try_from(epoch)
            && learner.voter
            && self.phase == Phase::EpochAcks
        {
            if (epoch, packet.zxid) > (self.initial_epoch, self.initial) {
                return Err(CloseReason::Ahead);
            }
            self.accepted_by.insert(learner.sid);
        }
        learner.stage = Stage::Accepted(packet.zxid);
        if self.phase >= Phase::NewLeaderAcks {
            self.start_sync(link, packet.zxid, ctx);
        }
        Ok(())
    }

    /// Adopts the epoch once a quorum has accepted it.
    pub(super) fn count_epoch_acks(&mut self, ctx: &mut Ctx<'_>) {
        self.accepted_by.insert(ctx.config.sid);
        if ctx.config.ensemble.has_quorum(&self.accepted_by) {
            self.enter(Phase::CurrentWritten, ctx);
            ctx.history.write_current(self.epoch, ctx.out);
        }
    }
}
