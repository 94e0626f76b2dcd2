//! What all connections together hold of requests that wait to be carried out, and of answers that are not read, is
//! bounded. Each may have a small share of its own, which is not even counted.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::client::HIGH_WATER;

/// What each connection may have, whatever the others do, bytes.
pub(super) const SHARE: usize = 64 << 10;
/// What is beyond is counted in whole ones of these, bytes.
const UNIT: usize = 1 << 10;

/// Bytes beyond everybody's share, of all connections.
#[derive(Debug)]
pub(crate) struct Pending {
    total: usize,
    used: AtomicUsize,
}

/// What one connection has beyond its share. Whoever has one settles it at the end.
#[derive(Debug, Default)]
pub(super) struct Charge(u32);

impl Pending {
    /// So many there may be.
    pub(super) const fn new(total: usize) -> Self {
        Self { total, used: AtomicUsize::new(0) }
    }

    /// How many there are.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// How much of requests, and of answers, a connection may have before no more is taken in from it: from three quarters
    /// of the total on, only its share.
    pub(super) fn high_water(&self) -> usize {
        if self.used() < self.total / 4 * 3 { HIGH_WATER } else { SHARE }
    }

    /// A connection has `own` bytes from now on.
    pub(super) fn settle(&self, charge: &mut Charge, own: usize) {
        let units = u32::try_from(own.saturating_sub(SHARE) / UNIT).unwrap_or(u32::MAX);
        let before = std::mem::replace(&mut charge.0, units);
        if units > before {
            self.used.fetch_add((units - before) as usize * UNIT, Ordering::Relaxed);
        } else if units < before {
            self.used.fetch_sub((before - units) as usize * UNIT, Ordering::Relaxed);
        }
    }

    /// Whether a connection with so many bytes of unread answers takes what all need.
    pub(super) fn is_too_much(&self, unread: usize) -> bool {
        unread > SHARE && self.used() > self.total
    }
}

impl Charge {
    pub(super) const fn is_none(&self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_the_shares_is_counted_and_those_who_have_it_are_put_back() {
        let pending = Pending::new(4 * UNIT);
        let mut charges: [Charge; 3] = Default::default();
        for (charge, own) in charges.iter_mut().zip([SHARE, SHARE + UNIT - 1, SHARE + 2 * UNIT]) {
            pending.settle(charge, own);
        }
        assert_eq!((pending.used(), pending.high_water()), (2 * UNIT, HIGH_WATER));
        assert!(charges[1].is_none() && !charges[2].is_none());
        pending.settle(&mut charges[1], SHARE + 3 * UNIT);
        assert_eq!((pending.used(), pending.high_water()), (5 * UNIT, SHARE));
        assert!(pending.is_too_much(SHARE + 1) && !pending.is_too_much(SHARE));
        charges.iter_mut().for_each(|charge| pending.settle(charge, 0));
        assert_eq!(pending.used(), 0);
        assert!(!pending.is_too_much(usize::MAX));
    }
}
