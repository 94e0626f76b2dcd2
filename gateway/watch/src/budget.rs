//! How much may wait for all clients together.

use std::sync::atomic::{AtomicUsize, Ordering};

/// What each client may leave unread, whatever the others do.
const SHARE: usize = 64 << 10;
/// Of what a client has, as many whole ones are counted: one event for each of very many is not worth it.
const UNIT: usize = 1 << 10;

/// Bytes of events that wait for the clients of one gateway, and how many may. Beyond, clients that leave more than a
/// small share unread are too slow, however large their own limit is: a burst that very many hear of must not take all
/// memory. (An event is kept once; in each queue it takes a reference, which is less than what it is charged for.)
#[derive(Debug)]
pub struct Budget {
    /// For one client.
    each: usize,
    /// For all.
    total: usize,
    used: AtomicUsize,
}

impl Budget {
    /// So many bytes for each client, and for all together.
    pub const fn new(each: usize, total: usize) -> Self {
        Self { each, total, used: AtomicUsize::new(0) }
    }

    /// Bytes that wait now, as far as they are counted: up to a KiB of each client's is not.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes `more` for a client that has `own`; whether it may.
    pub(crate) fn take(&self, own: usize, more: usize) -> bool {
        let counted = counted(own + more) - counted(own);
        let own = own + more;
        let fits = own <= self.each && (own <= SHARE || self.used() + counted <= self.total);
        if fits && counted > 0 {
            self.used.fetch_add(counted, Ordering::Relaxed);
        }
        fits
    }

    /// Gives `less` back of what a client has taken, which is `own`.
    pub(crate) fn give_back(&self, own: usize, less: usize) {
        let counted = counted(own) - counted(own - less);
        if counted > 0 {
            self.used.fetch_sub(counted, Ordering::Relaxed);
        }
    }
}

const fn counted(bytes: usize) -> usize {
    bytes / UNIT * UNIT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_what_all_need() {
        let budget = Budget::new(3 * SHARE, 4 * SHARE);
        assert!(!budget.take(0, 3 * SHARE + 1), "more than one may have");
        assert!(budget.take(0, 3 * SHARE));
        assert!(budget.take(0, SHARE) && budget.take(0, SHARE), "a share is everybody's");
        assert!(!budget.take(SHARE, UNIT), "there is no more than that left");
        assert_eq!(budget.used(), 5 * SHARE);
        budget.give_back(3 * SHARE, 3 * SHARE);
        assert!(budget.take(SHARE, UNIT));
    }

    #[test]
    fn what_is_given_back_is_what_was_counted() {
        let budget = Budget::new(usize::MAX, usize::MAX);
        let mut own = 0;
        for more in [1, 60, UNIT - 61, 0, 1, 3 * UNIT - 1, 7] {
            assert!(budget.take(own, more));
            own += more;
            assert!(budget.used() <= own && own < budget.used() + UNIT);
        }
        for less in [5, UNIT, 1, 2 * UNIT, 0, own - 3 * UNIT - 6] {
            budget.give_back(own, less);
            own -= less;
            assert!(budget.used() <= own && own < budget.used() + UNIT);
        }
        assert_eq!((own, budget.used()), (0, 0));
    }
}
