//! A voter that leads.

use palisade_store::Timestamp;

use super::{Peer, State};
use crate::io::Output;
use crate::leader::{Ctx, Leader, Office};

impl Peer {
    pub(super) fn start_leading(&mut self, now: Timestamp) {
        let mut ctx = Ctx { config: &self.config, history: &mut self.history, out: &mut self.out, now };
        self.state = State::Leading(Box::new(Leader::new(self.seen_epoch, &mut ctx)));
    }

    /// Runs a step of the leader, if this peer leads; looks for another leader if it resigns. Returns whether it
    /// led.
    pub(super) fn lead(
        &mut self,
        now: Timestamp,
        step: impl FnOnce(&mut Leader, &mut Ctx<'_>) -> Office,
    ) -> bool {
        let State::Leading(leader) = &mut self.state else {
            return false;
        };
        let mut ctx = Ctx { config: &self.config, history: &mut self.history, out: &mut self.out, now };
        let office = step(leader, &mut ctx);
        self.seen_epoch = self.seen_epoch.max(leader.seen_epoch());
        if let Some(epoch) = leader.established_epoch() {
            self.decided.peer_epoch = epoch.into();
        }
        if let Office::Resign(reason) = office {
            tracing::info!(sid = self.config.sid, reason, "giving up leadership");
            leader.close_all(&mut self.out);
            self.out.push_back(Output::RoleChanged(crate::io::Role::Looking));
            self.look_for_leader(now);
        }
        true
    }
}
