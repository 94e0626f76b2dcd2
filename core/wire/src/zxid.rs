use std::fmt;

/// A transaction id: the leader's epoch in the high 32 bits, a counter in the low 32.
///
/// Compared as a signed 64-bit number, as Apache does (`ZxidUtils`).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zxid(pub i64);

impl Zxid {
    /// The zxid of an empty history.
    pub const ZERO: Self = Self(0);
    /// The largest counter that a leader hands out before it gives up its epoch.
    pub const MAX_COUNTER: u32 = 0xffff_fffe;

    /// Joins an epoch and a counter.
    pub const fn new(epoch: u32, counter: u32) -> Self {
        Self(((epoch as i64) << 32) | counter as i64)
    }

    /// The epoch in which the transaction was proposed.
    pub const fn epoch(self) -> u32 {
        (self.0 as u64 >> 32) as u32
    }

    /// The position within the epoch; 0 names the epoch's beginning and no transaction.
    pub const fn counter(self) -> u32 {
        self.0 as u32
    }

    /// The zxid after this one in the same epoch, or `None` once the counter is used up.
    pub const fn next(self) -> Option<Self> {
        if self.counter() >= Self::MAX_COUNTER { None } else { Some(Self(self.0 + 1)) }
    }

    /// Whether `self` may directly follow `previous` in a log: the next counter of the same epoch, or the
    /// first of a later epoch.
    pub const fn follows(self, previous: Self) -> bool {
        if self.epoch() == previous.epoch() {
            self.0 == previous.0.wrapping_add(1)
        } else {
            self.epoch() > previous.epoch() && self.counter() == 1
        }
    }
}

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Debug for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_round_trip() {
        let zxid = Zxid::new(3, 0xffff_fffd);
        assert_eq!((zxid.epoch(), zxid.counter()), (3, 0xffff_fffd));
        assert_eq!(zxid.next(), Some(Zxid::new(3, 0xffff_fffe)));
        assert_eq!(zxid.next().and_then(Zxid::next), None);
    }

    #[test]
    fn a_log_is_contiguous_within_an_epoch_and_restarts_at_one() {
        assert!(Zxid::new(2, 8).follows(Zxid::new(2, 7)));
        assert!(!Zxid::new(2, 9).follows(Zxid::new(2, 7)));
        assert!(Zxid::new(3, 1).follows(Zxid::new(2, 7)));
        assert!(!Zxid::new(3, 2).follows(Zxid::new(2, 7)));
        assert!(!Zxid::new(1, 1).follows(Zxid::new(2, 7)));
    }
}
