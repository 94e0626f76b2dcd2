//! Token buckets: one for each limit of one key.

use std::num::NonZeroU32;

use governor::clock::{Clock, DefaultClock};
use governor::{
    DefaultDirectRateLimiter, DefaultKeyedRateLimiter, InsufficientCapacity, NotUntil, Quota, RateLimiter,
};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use super::config::{Mode, Throttle};
use super::debt::Debt;
use super::kind::{Kind, Scope};
use super::queue::{Asked, Queue, Taken, Ticket};

fn quota(kind: Kind, scope: Scope, config: &Throttle) -> Option<Quota> {
    let limit = kind.limit(config);
    let rate = u32::try_from(scope.of(limit)).unwrap_or(u32::MAX);
    let rate = NonZeroU32::new(rate).filter(|_| limit.mode != Mode::Off)?;
    Some(Quota::per_second(rate))
}

/// The kinds that have buckets, each at its own place.
fn kinds() -> [Kind; Kind::BUCKETS] {
    std::array::from_fn(|at| Kind::ALL[at])
}

/// What is taken of a bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Portion {
    pub(super) kind: Kind,
    pub(super) n: NonZeroU32,
    /// The number of the wave, at least 1, if those who have to wait do so in a queue.
    pub(super) wave: Option<u64>,
}

impl Portion {
    /// What is asked of a bucket, if those who have to wait do so in a queue. It holds a second's inflow.
    fn asked(self, burst: NonZeroU32) -> Option<Asked> {
        self.wave.map(|wave| Asked { n: self.n, wave, rate: burst })
    }
}

type Checked = Result<Result<(), NotUntil<<DefaultClock as Clock>::Instant>>, InsufficientCapacity>;

/// How long to wait, if there is not enough.
fn taken(checked: Checked) -> Taken {
    match checked {
        Ok(Err(not_until)) => Err(not_until.wait_time_from(DefaultClock::default().now())),
        Ok(Ok(())) | Err(InsufficientCapacity(_)) => Ok(()),
    }
}

/// The buckets of one key of one scope.
#[derive(Debug)]
pub(super) struct Buckets([Option<Bucket>; Kind::BUCKETS]);

#[derive(Debug)]
struct Bucket {
    limiter: DefaultDirectRateLimiter,
    burst: NonZeroU32,
    queue: Mutex<Queue>,
    debt: Debt,
}

impl Buckets {
    pub(super) fn new(scope: Scope, config: &Throttle) -> Self {
        Self(kinds().map(|kind| {
            let quota = quota(kind, scope, config)?;
            let burst = quota.burst_size();
            let limiter = RateLimiter::direct(quota);
            Some(Bucket { limiter, burst, queue: Mutex::default(), debt: Debt::default() })
        }))
    }

    /// Takes all of it, or nothing: `ticket` is the place in the queue then, if there is one.
    pub(super) fn take(&self, portion: Portion, ticket: &mut Option<Ticket>) -> Taken {
        let Some(Some(Bucket { limiter, burst, queue, debt })) = self.0.get(portion.kind as usize) else {
            return Ok(());
        };
        let take = |n| debt.take(n, *burst, |n| taken(limiter.check_n(n)));
        match portion.asked(*burst) {
            None => take(portion.n),
            Some(asked) => queue.lock().take(asked, ticket, take),
        }
    }

    /// Pays off what is owed, as far as that goes; whether nothing is owed any more.
    pub(super) fn settle(&self) -> bool {
        let settle =
            |bucket: &Bucket| bucket.debt.pay_off(bucket.burst, |n| taken(bucket.limiter.check_n(n))).is_ok();
        self.0.iter().flatten().all(settle)
    }
}

/// Buckets for every path, made when they are needed.
#[derive(Debug)]
pub(super) struct PrefixBuckets([Option<PrefixBucket>; Kind::BUCKETS]);

#[derive(Debug)]
struct PrefixBucket {
    limiter: DefaultKeyedRateLimiter<u64>,
    burst: NonZeroU32,
    /// Those of the paths for which somebody waits, or something is owed.
    lines: Mutex<FxHashMap<u64, Line>>,
}

#[derive(Debug, Default)]
struct Line {
    queue: Queue,
    debt: Debt,
}

/// Paths with a bucket, beyond which those that are full again are forgotten.
const MAX_PREFIXES: usize = 10_000;

impl PrefixBuckets {
    pub(super) fn new(config: &Throttle) -> Self {
        Self(kinds().map(|kind| {
            let quota = quota(kind, Scope::Prefix, config)?;
            let burst = quota.burst_size();
            Some(PrefixBucket { limiter: RateLimiter::dashmap(quota), burst, lines: Mutex::default() })
        }))
    }

    /// Takes all of it, of the path that hashes to `prefix`, or nothing, as of [`Buckets`].
    pub(super) fn take(&self, prefix: u64, portion: Portion, ticket: &mut Option<Ticket>) -> Taken {
        let Some(Some(PrefixBucket { limiter, burst, lines })) = self.0.get(portion.kind as usize) else {
            return Ok(());
        };
        let take = |n| taken(limiter.check_key_n(&prefix, n));
        let mut lines = lines.lock();
        if !lines.contains_key(&prefix) && portion.n <= *burst {
            let taken = take(portion.n);
            if taken.is_ok() || portion.wave.is_none() {
                return taken;
            }
        }
        let Line { queue, debt } = lines.entry(prefix).or_default();
        let take = |n| debt.take(n, *burst, take);
        match portion.asked(*burst) {
            None => take(portion.n),
            Some(asked) => queue.take(asked, ticket, take),
        }
    }

    /// Forgets what need not be remembered. To be called now and then.
    pub(super) fn tidy(&self) {
        for PrefixBucket { limiter, burst, lines } in self.0.iter().flatten() {
            let mut lines = lines.lock();
            lines.retain(|prefix, Line { queue, debt }| {
                let take = |n| taken(limiter.check_key_n(prefix, n));
                !queue.is_idle() || debt.pay_off(*burst, take).is_err()
            });
            let used = lines.len();
            lines.shrink_to(2 * used);
            drop(lines);
            if limiter.len() > MAX_PREFIXES {
                limiter.retain_recent();
                limiter.shrink_to_fit();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::config::Limit;
    use super::*;

    fn portion(kind: Kind, n: u32) -> Portion {
        Portion { kind, n: NonZeroU32::new(n).unwrap(), wave: None }
    }

    fn limited(session: u64, prefix: u64) -> Throttle {
        let limit = Limit { mode: Mode::Delay, tenant: 0, address: 0, session, prefix };
        Throttle { writes: limit, write_bytes: limit, ..Throttle::default() }
    }

    #[test]
    fn a_bucket_holds_a_second_of_its_rate() {
        let buckets = Buckets::new(Scope::Session, &limited(2, 0));
        for _ in 0..2 {
            assert_eq!(buckets.take(portion(Kind::Writes, 1), &mut None), Ok(()));
        }
        let wait = buckets.take(portion(Kind::Writes, 1), &mut None).unwrap_err();
        assert!(wait <= Duration::from_millis(500), "{wait:?}");
    }

    #[test]
    fn what_is_larger_than_the_bucket_takes_all_of_it_and_owes_the_rest() {
        let (buckets, prefixes) =
            (Buckets::new(Scope::Session, &limited(10, 0)), PrefixBuckets::new(&limited(0, 10)));
        let ask = |n, ticket: &mut _| {
            [
                buckets.take(portion(Kind::WriteBytes, n), ticket),
                prefixes.take(7, portion(Kind::Writes, n), ticket),
            ]
        };
        assert_eq!(ask(100, &mut None), [Ok(()), Ok(())]);
        assert!(ask(1, &mut None).iter().all(Result::is_err));
        prefixes.tidy();
        assert!(
            !buckets.settle() && prefixes.0.iter().flatten().any(|bucket| bucket.lines.lock().len() == 1)
        );
    }

    #[test]
    fn no_rate_and_no_mode_are_no_limit() {
        let off = Throttle { writes: Limit { mode: Mode::Off, ..limited(1, 1).writes }, ..limited(0, 0) };
        let buckets = Buckets::new(Scope::Session, &off);
        for kind in [Kind::Writes, Kind::WriteBytes] {
            for _ in 0..100 {
                assert_eq!(buckets.take(portion(kind, 1), &mut None), Ok(()));
            }
        }
    }

    #[test]
    fn every_path_has_its_own() {
        let buckets = PrefixBuckets::new(&limited(0, 1));
        assert_eq!(buckets.take(1, portion(Kind::Writes, 1), &mut None), Ok(()));
        assert!(buckets.take(1, portion(Kind::Writes, 1), &mut None).is_err());
        assert_eq!(buckets.take(2, portion(Kind::Writes, 1), &mut None), Ok(()));
        buckets.tidy();
        assert!(buckets.take(1, portion(Kind::Writes, 1), &mut None).is_err());
    }

    #[test]
    fn what_flows_in_while_somebody_waits_is_for_the_next_wave() {
        let (buckets, prefixes) =
            (Buckets::new(Scope::Session, &limited(1_000, 0)), PrefixBuckets::new(&limited(0, 1_000)));
        let of = |n, wave| Portion { wave: Some(wave), ..portion(Kind::Writes, n) };
        let mut tickets = [None, None];
        let ask = |n, wave, [ticket, at_prefix]: &mut [_; 2]| {
            [buckets.take(of(n, wave), ticket), prefixes.take(7, of(n, wave), at_prefix)]
        };
        assert_eq!(ask(1_000, 1, &mut tickets), [Ok(()), Ok(())]);
        assert!(ask(1_000, 1, &mut tickets).iter().all(Result::is_err));
        let until = std::time::Instant::now() + Duration::from_millis(20);
        while std::time::Instant::now() < until {
            assert!(ask(1, 1, &mut [None, None]).iter().all(Result::is_err));
            prefixes.tidy();
        }
        drop(tickets);
        assert_eq!(ask(1, 2, &mut [None, None]), [Ok(()), Ok(())]);
        assert_eq!(prefixes.take(8, of(1, 1), &mut None), Ok(()), "another path");
    }
}
