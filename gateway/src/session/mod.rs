//! Sessions as a gateway issues and finds them. Whether a global session lives is decided by the core; a local one
//! lives in its gateway, and is adopted by another when its client moves.

pub(crate) mod adoption;
mod cxids;
mod ids;
mod local;
mod password;
mod refusals;

pub(crate) use cxids::Cxids;
pub(crate) use ids::SessionIds;
pub(crate) use local::LocalSessions;
pub(crate) use password::{Passwords, Proof};
pub(crate) use refusals::{Refusal, Refusals};

use std::time::Duration;

use palisade_wire::Sid;

/// The timeout that a client gets who asks for `requested_ms`.
pub(crate) fn negotiate(requested_ms: i32, min: Duration, max: Duration) -> Duration {
    let requested = Duration::from_millis(u64::try_from(requested_ms).unwrap_or(0));
    requested.min(max).max(min)
}

/// The xid of the createSession by which gateway `id` makes a local session global: so each knows its own. Never 0,
/// which is the leader's.
pub(crate) fn upgrade_xid(id: Sid) -> i32 {
    i32::try_from(id).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_kept_within_bounds() {
        let (min, max) = (Duration::from_millis(4_000), Duration::from_millis(40_000));
        for (asked, got) in [(-5, 4_000), (0, 4_000), (10_000, 10_000), (i32::MAX, 40_000)] {
            assert_eq!(negotiate(asked, min, max).as_millis(), got);
        }
    }
}
