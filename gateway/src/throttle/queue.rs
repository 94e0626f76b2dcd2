//! Those who wait for one bucket, in the order in which they came: who comes later, or comes back, does not overtake them.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long to wait, if there is not enough now.
pub(super) type Taken = Result<(), Duration>;

/// A place in a queue, given up when it is dropped.
#[derive(Clone, Debug)]
pub(super) struct Ticket(Arc<Claim>);

#[derive(Debug)]
struct Claim {
    /// What it waits for.
    n: NonZeroU32,
    /// What all of the queue up to it have waited for, itself included, since there is one.
    up_to: u64,
    is_granted: AtomicBool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Arc<Claim>>,
    /// What was waited for by all who came, and by those who are not here any more.
    came: u64,
    went: u64,
    /// The wave that was dealt out.
    wave: u64,
}

/// What is asked of a bucket whose queue it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// How much.
    pub(super) n: NonZeroU32,
    /// The number of the wave, at least 1: once somebody waits, what flows in is dealt out once in each.
    pub(super) wave: u64,
    /// What flows in each second.
    pub(super) rate: NonZeroU32,
}

impl Queue {
    /// Takes it by `take` if it is one's turn; otherwise `ticket` is one's place in the queue, to be shown again after some
    /// time.
    pub(super) fn take(
        &mut self,
        Asked { n, wave, rate }: Asked,
        ticket: &mut Option<Ticket>,
        take: impl Fn(NonZeroU32) -> Taken,
    ) -> Taken {
        let mut wait = Duration::ZERO;
        if self.wave < wave {
            self.wave = wave;
            wait = self.deal_out(&take).err().unwrap_or_default();
        }
        let claim = match ticket {
            Some(Ticket(claim)) if claim.is_granted.load(Ordering::Relaxed) => {
                *ticket = None;
                return Ok(());
            }
            Some(Ticket(claim)) => claim,
            None => {
                if self.waiting.is_empty() {
                    match take(n) {
                        Ok(()) => return Ok(()),
                        Err(time) => wait = time,
                    }
                }
                self.came += u64::from(n.get());
                let claim = Claim { n, up_to: self.came, is_granted: AtomicBool::new(false) };
                let Ticket(claim) = ticket.insert(Ticket(Arc::new(claim)));
                self.waiting.push_back(Arc::clone(claim));
                claim
            }
        };
        let ahead = claim.up_to.saturating_sub(self.went + u64::from(claim.n.get()));
        if ahead == 0 {
            return Err(wait);
        }
        // Half of what it will take, as some of those ahead may give up.
        Err(Duration::from_secs_f64(ahead as f64 / f64::from(rate.get()) / 2.0))
    }

    /// Gives to the first ones what there is, passing over those who went away.
    fn deal_out(&mut self, take: impl Fn(NonZeroU32) -> Taken) -> Taken {
        while let Some(claim) = self.waiting.front() {
            if Arc::strong_count(claim) > 1 {
                take(claim.n)?;
                claim.is_granted.store(true, Ordering::Relaxed);
            }
            self.went += u64::from(claim.n.get());
            self.waiting.pop_front();
        }
        Ok(())
    }

    /// Whether nobody waits any more.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.iter().all(|claim| Arc::strong_count(claim) == 1)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const ONE: NonZeroU32 = NonZeroU32::MIN;
    const LATER: Duration = Duration::from_millis(7);

    /// A queue, and what its bucket has.
    #[derive(Default)]
    struct Bucket {
        queue: Queue,
        tokens: Cell<u32>,
    }

    impl Bucket {
        fn ask(&mut self, wave: u64, n: u32, ticket: &mut Option<Ticket>) -> Taken {
            let asked = Asked { n: NonZeroU32::new(n).unwrap(), wave, rate: NonZeroU32::new(10).unwrap() };
            let tokens = &self.tokens;
            self.queue.take(asked, ticket, |n| {
                tokens.set(tokens.get().checked_sub(n.get()).ok_or(LATER)?);
                Ok(())
            })
        }
    }

    #[test]
    fn who_came_first_goes_on_first_whoever_asks() {
        let mut bucket = Bucket { tokens: Cell::new(1), ..Bucket::default() };
        let mut tickets = [const { None }; 4];
        let waits = tickets.each_mut().map(|ticket| bucket.ask(1, 1, ticket));
        let ahead = |n: u64| Err(Duration::from_millis(n * 50));
        assert_eq!(waits, [Ok(()), Err(LATER), ahead(1), ahead(2)], "one token, and ten a second");
        bucket.tokens.set(2);
        assert_eq!(bucket.ask(1, 1, &mut None), ahead(3), "what flows in is for those who wait");
        let [_, first, second, third] = &mut tickets;
        assert_eq!(bucket.ask(2, 1, third), Err(LATER), "there were two");
        assert_eq!([bucket.ask(2, 1, second), bucket.ask(2, 1, first)], [Ok(()), Ok(())]);
        bucket.tokens.set(5);
        assert_eq!([bucket.ask(2, 1, third), bucket.ask(3, 1, third)], [Err(Duration::ZERO), Ok(())]);
        assert!(tickets.iter().all(Option::is_none) && bucket.tokens.get() == 4);
        assert_eq!(bucket.ask(3, 1, &mut None), Ok(()), "nobody waits");
    }

    #[test]
    fn who_goes_away_costs_nothing() {
        let mut bucket = Bucket::default();
        let (mut gone, mut stays) = (None, None);
        assert!(bucket.ask(1, 5, &mut gone).is_err() && bucket.ask(1, 1, &mut stays).is_err());
        assert!(!bucket.queue.is_idle());
        drop(gone);
        bucket.tokens.set(1);
        assert_eq!(bucket.ask(2, 1, &mut stays), Ok(()));
        assert!(bucket.queue.is_idle());
    }

    #[test]
    fn who_needs_much_is_not_overtaken_by_those_who_need_little() {
        let mut bucket = Bucket { tokens: Cell::new(3), ..Bucket::default() };
        let (mut much, mut little) = (None, None);
        assert!(bucket.ask(1, 5, &mut much).is_err() && bucket.ask(1, 1, &mut little).is_err());
        assert!(bucket.ask(2, 1, &mut little).is_err());
        bucket.tokens.set(5);
        assert!(bucket.ask(3, 1, &mut little).is_err());
        assert_eq!(bucket.ask(3, 5, &mut much), Ok(()));
        assert_eq!(bucket.queue.take(Asked { n: ONE, wave: 4, rate: ONE }, &mut little, |_| Ok(())), Ok(()));
    }
}
