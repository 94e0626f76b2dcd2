//! Token buckets: one for each limit of one key.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, NotUntil, Quota, RateLimiter};

use super::config::{Mode, Throttle};
use super::kind::{Kind, Scope};

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

/// How long to wait, if the limit is reached now.
type Taken = Result<(), Duration>;

fn wait(not_until: &NotUntil<<DefaultClock as Clock>::Instant>) -> Duration {
    not_until.wait_time_from(DefaultClock::default().now())
}

/// The buckets of one key of one scope.
#[derive(Debug)]
pub(super) struct Buckets([Option<Bucket>; Kind::BUCKETS]);

#[derive(Debug)]
struct Bucket {
    limiter: DefaultDirectRateLimiter,
    /// What fits at once: a larger request takes all of it.
    burst: NonZeroU32,
}

impl Buckets {
    pub(super) fn new(scope: Scope, config: &Throttle) -> Self {
        Self(kinds().map(|kind| {
            let quota = quota(kind, scope, config)?;
            Some(Bucket { limiter: RateLimiter::direct(quota), burst: quota.burst_size() })
        }))
    }

    /// Takes `n` tokens, or none.
    pub(super) fn take(&self, kind: Kind, n: NonZeroU32) -> Taken {
        let Some(Some(Bucket { limiter, burst })) = self.0.get(kind as usize) else { return Ok(()) };
        match limiter.check_n(n.min(*burst)) {
            Ok(Err(not_until)) => Err(wait(&not_until)),
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }
}

/// Buckets for every path, made when they are needed.
#[derive(Debug)]
pub(super) struct PrefixBuckets([Option<(DefaultKeyedRateLimiter<u64>, NonZeroU32)>; Kind::BUCKETS]);

/// Paths with a bucket, beyond which those that are full again are forgotten.
const MAX_PREFIXES: usize = 10_000;

impl PrefixBuckets {
    pub(super) fn new(config: &Throttle) -> Self {
        Self(kinds().map(|kind| {
            let quota = quota(kind, Scope::Prefix, config)?;
            Some((RateLimiter::dashmap(quota), quota.burst_size()))
        }))
    }

    /// Takes `n` tokens of the path that hashes to `prefix`, or none.
    pub(super) fn take(&self, kind: Kind, prefix: u64, n: NonZeroU32) -> Taken {
        let Some(Some((limiter, burst))) = self.0.get(kind as usize) else { return Ok(()) };
        match limiter.check_key_n(&prefix, n.min(*burst)) {
            Ok(Err(not_until)) => Err(wait(&not_until)),
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }

    /// Forgets what need not be remembered. To be called now and then.
    pub(super) fn tidy(&self) {
        for (limiter, _) in self.0.iter().flatten() {
            if limiter.len() > MAX_PREFIXES {
                limiter.retain_recent();
                limiter.shrink_to_fit();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::Limit;
    use super::*;

    fn n(n: u32) -> NonZeroU32 {
        NonZeroU32::new(n).unwrap()
    }

    fn limited(session: u64, prefix: u64) -> Throttle {
        let limit = Limit { mode: Mode::Delay, tenant: 0, address: 0, session, prefix };
        Throttle { writes: limit, write_bytes: limit, ..Throttle::default() }
    }

    #[test]
    fn a_bucket_holds_a_second_of_its_rate() {
        let buckets = Buckets::new(Scope::Session, &limited(10, 0));
        for _ in 0..10 {
            assert_eq!(buckets.take(Kind::Writes, n(1)), Ok(()));
        }
        let wait = buckets.take(Kind::Writes, n(1)).unwrap_err();
        assert!(wait <= Duration::from_millis(100), "{wait:?}");
    }

    #[test]
    fn what_is_larger_than_the_bucket_takes_all_of_it() {
        let buckets = Buckets::new(Scope::Session, &limited(10, 0));
        assert_eq!(buckets.take(Kind::WriteBytes, n(1_000)), Ok(()));
        assert!(buckets.take(Kind::WriteBytes, n(1)).is_err());
    }

    #[test]
    fn no_rate_and_no_mode_are_no_limit() {
        let off = Throttle { writes: Limit { mode: Mode::Off, ..limited(1, 1).writes }, ..limited(0, 0) };
        let buckets = Buckets::new(Scope::Session, &off);
        for kind in [Kind::Writes, Kind::WriteBytes] {
            for _ in 0..100 {
                assert_eq!(buckets.take(kind, n(1)), Ok(()));
            }
        }
    }

    #[test]
    fn every_path_has_its_own() {
        let buckets = PrefixBuckets::new(&limited(0, 1));
        assert_eq!(buckets.take(Kind::Writes, 1, n(1)), Ok(()));
        assert!(buckets.take(Kind::Writes, 1, n(1)).is_err());
        assert_eq!(buckets.take(Kind::Writes, 2, n(1)), Ok(()));
        buckets.tidy();
        assert!(buckets.take(Kind::Writes, 1, n(1)).is_err());
    }
}
