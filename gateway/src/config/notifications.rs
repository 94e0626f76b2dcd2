//! `[notifications]`.

use std::time::Duration;

pub use palisade_watch::Pacing;

use super::{Check, MILLI};

/// `[notifications]`: how clients are told of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notifications {
    /// When very many are told.
    pub pacing: Pacing,
    /// Whether persistent watches are told what they missed while their client was away.
    pub replay: bool,
    /// Bytes of events that are remembered for that. Finding them takes up to as many again while clients come back.
    pub replay_bytes: usize,
}

impl Default for Notifications {
    fn default() -> Self {
        Self { pacing: Pacing::default(), replay: true, replay_bytes: 8 << 20 }
    }
}

impl Notifications {
    pub(crate) const fn replay_limit(&self) -> usize {
        if self.replay { self.replay_bytes } else { 0 }
    }

    pub(super) fn validate(&self, check: &mut Check) {
        let Self { pacing, replay: _, replay_bytes } = *self;
        let Pacing { above: _, rate, window, reread_rate, merge: _ } = pacing;
        check.range("notifications.rate", rate, 0, 10_000_000);
        check.span("notifications.window", window, Duration::ZERO, 2_000 * MILLI);
        check.range("notifications.reread_rate", reread_rate, 0, 10_000_000);
        check.range("notifications.replay_bytes", replay_bytes, 64 << 10, 1 << 30);
    }
}
