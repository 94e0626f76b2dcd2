//! The xids under which a gateway forwards writes.
//!
//! A transaction tells whose write it is by session and cxid. Clients' own xids do not do for that: kazoo begins again
//! with each connection, so that the write of an earlier connection, perhaps by way of another gateway, may look like one
//! of the present.

use std::sync::atomic::{AtomicU32, Ordering};

use palisade_wire::Sid;

const COUNTER_BITS: u32 = 24;

/// The gateway's own id in the high byte, then a counter: a number comes again when it is long forgotten. Never 0,
/// which is the leader's.
#[derive(Debug)]
pub(crate) struct Cxids {
    gateway: u32,
    next: AtomicU32,
}

impl Cxids {
    /// Those of the gateway `id`, which is between 1 and 254.
    pub(crate) fn new(id: Sid) -> Self {
        Self { gateway: id as u32 & 0xff, next: AtomicU32::new(1) }
    }

    /// The next one.
    pub(crate) fn issue(&self) -> i32 {
        let counter = self.next.fetch_add(1, Ordering::Relaxed) & ((1 << COUNTER_BITS) - 1);
        (self.gateway << COUNTER_BITS | counter) as i32
    }

    /// Whether a client's write came by way of somebody else.
    pub(crate) const fn is_foreign(&self, cxid: i32) -> bool {
        cxid != 0 && cxid as u32 >> COUNTER_BITS != self.gateway
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_gateway_has_its_own() {
        let (ours, theirs) = (Cxids::new(200), Cxids::new(7));
        assert!(ours.issue() != ours.issue());
        ours.next.store(u32::MAX, Ordering::Relaxed);
        for _ in 0..3 {
            let (our, their) = (ours.issue(), theirs.issue());
            assert!(our != 0 && their != 0);
            assert!(!ours.is_foreign(our) && ours.is_foreign(their) && theirs.is_foreign(our));
        }
        assert!(ours.is_foreign(77) && !ours.is_foreign(0));
    }
}
