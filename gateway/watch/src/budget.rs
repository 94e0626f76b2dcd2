//! How much may wait for all clients together.

use std::sync::atomic::{AtomicUsize, Ordering};

/// What each client may leave unread, whatever the others do.
const SHARE: usize = 64 << 10;

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

    /// Bytes that wait now.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes `more` for a client that has `own`; whether it may.
    pub(crate) fn take(&self, own: usize, more: usize) -> bool {
        let own = own + more;
        let fits = own <= self.each && (own <= SHARE || self.used() + more <= self.total);
        if fits {
            self.used.fetch_add(more, Ordering::Relaxed);
        }
        fits
    }

    /// Gives back what was taken.
    pub(crate) fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
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
        assert!(!budget.take(SHARE, 1), "there is no more than that left");
        assert_eq!(budget.used(), 5 * SHARE);
        budget.give_back(3 * SHARE);
        assert!(budget.take(SHARE, 1));
    }
}
