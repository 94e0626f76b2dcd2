use std::fmt;
use std::ops::{Add, AddAssign};
use std::time::Duration;

/// A moment on a monotonic clock, passed in by whoever owns the clock. Its origin means nothing.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The clock's origin.
    pub const ZERO: Self = Self(0);

    /// A moment, in milliseconds after the clock's origin.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds after the clock's origin.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// How long `earlier` is past at this moment; zero if it is still to come.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Rounds up to whole milliseconds, so that a wait is never shorter than asked for.
impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, wait: Duration) -> Self {
        let millis = wait.as_nanos().div_ceil(1_000_000);
        Self(self.0.saturating_add(u64::try_from(millis).unwrap_or(u64::MAX)))
    }
}

impl AddAssign<Duration> for Timestamp {
    fn add_assign(&mut self, wait: Duration) {
        *self = *self + wait;
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_round_up_and_saturate() {
        let t = Timestamp::from_millis(5);
        assert_eq!((t + Duration::from_micros(1)).as_millis(), 6);
        assert_eq!((t + Duration::MAX).as_millis(), u64::MAX);
        assert_eq!(t.since(Timestamp::from_millis(9)), Duration::ZERO);
        assert_eq!(Timestamp::from_millis(9).since(t), Duration::from_millis(4));
    }
}
