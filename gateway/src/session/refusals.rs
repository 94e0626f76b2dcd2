//! Tells of clients that were refused for what they presented, once and then now and then: a client that is refused
//! comes again.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use palisade_wire::SessionId;
use parking_lot::Mutex;
use tracing::warn;

/// The shortest time between two lines about the same kind of refusal.
const PAUSE: Duration = Duration::from_secs(10);

/// What was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The password is not that of the session: forged, or another tenant's.
    Password,
    /// The session was never issued, or has ended.
    Session,
    /// The client has seen transactions that this replica has not.
    Ahead,
    /// There are as many local sessions as there may be.
    TooMany,
    /// It sets more watches than there may be.
    Watches,
    /// The same of persistent ones, which is why it hears of more than it asked for.
    CoveredWatches,
    /// It leaves too many events unread.
    Slow,
    /// It leaves too many answers unread.
    Unread,
    /// Its large request takes too long.
    SlowRequest,
}

impl Refusal {
    const fn why(self) -> &'static str {
        match self {
            Self::Password => "its password is not that of the session (or the session is another tenant's)",
            Self::Session => "its session has ended or was never issued",
            Self::Ahead => "it has seen transactions that this replica has not",
            Self::TooMany => "sessions.max_local is reached",
            Self::Watches => {
                "it sets more watches than limits.watches or limits.total_watches leave room for"
            }
            Self::CoveredWatches => {
                "it registers more persistent watches again than limits.watches or limits.total_watches leave room \
                 for: it is told of everything at and below what the rest of them have in common"
            }
            Self::Slow => {
                "it leaves more events unread than limits.outbox_bytes or limits.total_outbox_bytes allow"
            }
            Self::Unread => {
                "it leaves more of its answers unread than limits.total_pending_bytes leave room for"
            }
            Self::SlowRequest => {
                "it takes longer than its session's timeout to send a large request, or to read the answers, and \
                 limits.total_inbox_bytes leave no room for those of others meanwhile"
            }
        }
    }
}

/// Counts refusals, and writes some of them down.
#[derive(Debug, Default)]
pub(crate) struct Refusals([Mutex<Kind>; 9]);

#[derive(Debug, Default)]
struct Kind {
    told: Option<Instant>,
    untold: u64,
}

impl Kind {
    /// How many were not told before this one, if this one is to be told.
    fn count(&mut self, now: Instant) -> Option<u64> {
        if self.told.is_some_and(|told| now.saturating_duration_since(told) < PAUSE) {
            self.untold += 1;
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

impl Refusals {
    /// A client was refused.
    pub(crate) fn note(&self, refusal: Refusal, peer: SocketAddr, session: SessionId) {
        let Some(untold) = self.0[refusal as usize].lock().count(Instant::now()) else { return };
        let (session, why) = (format_args!("{session:#x}"), refusal.why());
        warn!(%peer, session, more_since_the_last_line = untold, "client refused: {why}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_and_then_one_in_a_while_with_the_count_of_the_others() {
        let (mut kind, start) = (Kind::default(), Instant::now());
        let told = [0, 1, 9, 10, 11, 25].map(|s| kind.count(start + Duration::from_secs(s)));
        assert_eq!(told, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
