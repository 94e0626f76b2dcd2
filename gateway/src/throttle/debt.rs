//! What was let pass beyond what a bucket holds: a multi of a thousand writes where a hundred a second may pass, say. It is
//! paid off before anybody takes anything else.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};

use super::queue::Taken;

/// So many times what a bucket holds is owed at most, so that it takes a bucket only so many seconds to recover.
const MOST: u64 = 10;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Debt(AtomicU64);

impl Debt {
    /// Takes `n` by `take`, of which there are never more than `burst` at once.
    pub(super) fn take(&self, n: NonZeroU32, burst: NonZeroU32, take: impl Fn(NonZeroU32) -> Taken) -> Taken {
        self.pay_off(burst, &take)?;
        take(n.min(burst))?;
        let beyond = u64::from(n.get().saturating_sub(burst.get())).min(MOST * u64::from(burst.get()));
        if beyond > 0 {
            self.0.fetch_add(beyond, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Takes what is owed, as far as it is there.
    pub(super) fn pay_off(&self, burst: NonZeroU32, take: impl Fn(NonZeroU32) -> Taken) -> Taken {
        while let Some(part) = self.next_part(burst) {
            take(part).inspect_err(|_| {
                self.0.fetch_add(part.get().into(), Ordering::Relaxed);
            })?;
        }
        Ok(())
    }

    /// What is owed, as much of it as can be paid at once; it is owed no more.
    fn next_part(&self, burst: NonZeroU32) -> Option<NonZeroU32> {
        // Nearly always nothing is.
        if self.0.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let rest = |owed: u64| Some(owed.saturating_sub(burst.get().into()));
        let owed = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest).unwrap_or_default();
        NonZeroU32::new(u32::try_from(owed).unwrap_or(u32::MAX).min(burst.get()))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_owed_is_paid_first_and_not_for_ever() {
        let (debt, tokens) = (Debt::default(), Cell::new(100_u32));
        let hundred = NonZeroU32::new(100).unwrap();
        let take = |n: NonZeroU32| {
            tokens.set(tokens.get().checked_sub(n.get()).ok_or(Duration::ZERO)?);
            Ok(())
        };
        let ask = |n| debt.take(NonZeroU32::new(n).unwrap(), hundred, take);
        assert_eq!([ask(350), ask(1)], [Ok(()), Err(Duration::ZERO)]);
        for seconds in 1..=3 {
            tokens.set(100);
            assert_eq!(ask(1).is_ok(), seconds == 3, "250 are owed");
        }
        tokens.set(100);
        assert_eq!(ask(1_000_000), Ok(()));
        let recovers = (1..).find(|_| {
            tokens.set(100);
            ask(1).is_ok()
        });
        assert_eq!(recovers, Some(MOST + 1));
    }
}
