//! Ticks: pings, and who has been silent for too long.

use palisade_store::Timestamp;

use super::{Ctx, Leader, Office, Phase};
use crate::config::PeerConfig;
use crate::io::CloseReason;

impl Leader {
    /// When [`Leader::on_timeout`] has something to do.
    pub(crate) fn deadline(&self, config: &PeerConfig) -> Timestamp {
        let links = self.links.values().filter_map(|l| l.deadline(&config.timing));
        let phase = match self.phase {
            Phase::Broadcast => self.next_ping,
            _ => self.next_ping.min(self.phase_since + config.timing.init()),
        };
        links.fold(phase, Timestamp::min)
    }

    pub(crate) fn on_timeout(&mut self, ctx: &mut Ctx<'_>) -> Office {
        let timing = &ctx.config.timing;
        let late = |l: &&super::link::LearnerLink| l.deadline(timing).is_some_and(|at| ctx.now >= at);
        for link in self.links.values().filter(late).map(|l| l.id()).collect::<Vec<_>>() {
            self.close(link, CloseReason::Timeout, ctx);
        }
        if self.phase != Phase::Broadcast && ctx.now >= self.phase_since + ctx.config.timing.init() {
            if self.links.values().any(|l| l.voter && l.sending_snapshot) {
                self.phase_since = ctx.now;
            } else {
                return Office::Resign("no quorum joined within the init limit");
            }
        }
        if ctx.now >= self.next_ping {
            self.next_ping = ctx.now + ctx.config.timing.tick / 2;
            self.sync_all(ctx);
            return self.on_half_tick(ctx);
        }
        Office::Keep
    }

    fn on_half_tick(&mut self, ctx: &mut Ctx<'_>) -> Office {
        if self.phase != Phase::Broadcast {
            return Office::Keep;
        }
        self.shed(ctx);
        let last = ctx.history.last();
        let mut pinged = Vec::new();
        for learner in self.links.values_mut().filter(|l| l.is_live()) {
            learner.ping(last, ctx.out);
            if learner.voter {
                pinged.push((learner.id(), learner.pings.sent));
            }
        }
        for (link, number) in pinged {
            self.note_ping(link, number);
        }
        self.half_tick = !self.half_tick;
        let timing = &ctx.config.timing;
        if !self.half_tick && !self.has_quorum(true, ctx, |l| l.keeps_leader(timing, ctx.now)) {
            return Office::Resign("a quorum no longer follows");
        }
        Office::Keep
    }
}
