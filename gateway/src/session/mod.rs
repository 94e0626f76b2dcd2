//! Sessions as a gateway issues and finds them. Whether a global session lives is decided by the core.

mod local;

pub(crate) use local::LocalSessions;

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use palisade_store::session::first_id;
use palisade_wire::{SessionId, Sid};

/// Issues session ids: the gateway's own id in the high byte, then a clock, then a counter
/// (`SessionTrackerImpl.initializeNextSessionId`).
///
/// The wall clock, not the one since boot: a gateway that starts again must not issue what it issued before.
#[derive(Debug)]
pub(crate) struct SessionIds(AtomicI64);

impl SessionIds {
    /// Ids of the gateway `id`, from now on.
    pub(crate) fn starting_now(id: Sid) -> Self {
        let millis = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        Self::starting_at(id, u64::try_from(millis).unwrap_or(u64::MAX))
    }

    fn starting_at(id: Sid, millis: u64) -> Self {
        Self(AtomicI64::new(first_id(id, millis)))
    }

    /// An id that was not issued before; never 0, which asks for a new session, nor the one that marks containers.
    pub(crate) fn issue(&self) -> SessionId {
        loop {
            let id = self.0.fetch_add(1, Ordering::Relaxed);
            if id != 0 && id != SessionId::MIN {
                return id;
            }
        }
    }
}

/// The timeout that a client gets who asks for `requested_ms`.
pub(crate) fn negotiate(requested_ms: i32, min: Duration, max: Duration) -> Duration {
    let requested = Duration::from_millis(u64::try_from(requested_ms).unwrap_or(0));
    requested.min(max).max(min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_name_their_gateway_and_count() {
        let ids = SessionIds::starting_at(0x65, 1_700_000_000_000);
        let first = ids.issue();
        assert_eq!(first as u64 >> 56, 0x65);
        assert_eq!(ids.issue(), first + 1);
    }

    #[test]
    fn special_ids_are_never_issued() {
        let ids = SessionIds(AtomicI64::new(-1));
        assert_eq!((ids.issue(), ids.issue()), (-1, 1));
        let ids = SessionIds(AtomicI64::new(SessionId::MIN));
        assert_eq!(ids.issue(), SessionId::MIN + 1);
    }

    #[test]
    fn timeouts_are_kept_within_bounds() {
        let (min, max) = (Duration::from_millis(4_000), Duration::from_millis(40_000));
        for (asked, got) in [(-5, 4_000), (0, 4_000), (10_000, 10_000), (i32::MAX, 40_000)] {
            assert_eq!(negotiate(asked, min, max).as_millis(), got);
        }
    }
}
