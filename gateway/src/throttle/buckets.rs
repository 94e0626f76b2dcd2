//! Token buckets: one for each limit of one key.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, NotUntil, Quota, RateLimiter};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

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

/// What is taken of a bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Portion {
    pub(super) kind: Kind,
    pub(super) n: NonZeroU32,
    /// The number of the wave, at least 1, if those who have to wait do so for the next one: once somebody waits, what
    /// flows in meanwhile is theirs, and not for those who come later.
    pub(super) wave: Option<u64>,
}

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
    /// The wave for which it has given all that it had.
    spent: AtomicU64,
}

impl Buckets {
    pub(super) fn new(scope: Scope, config: &Throttle) -> Self {
        Self(kinds().map(|kind| {
            let quota = quota(kind, scope, config)?;
            let burst = quota.burst_size();
            Some(Bucket { limiter: RateLimiter::direct(quota), burst, spent: AtomicU64::new(0) })
        }))
    }

    /// Takes all of it, or nothing.
    pub(super) fn take(&self, Portion { kind, n, wave }: Portion) -> Taken {
        let Some(Some(Bucket { limiter, burst, spent })) = self.0.get(kind as usize) else { return Ok(()) };
        if wave == Some(spent.load(Ordering::Relaxed)) {
            return Err(Duration::ZERO);
        }
        match limiter.check_n(n.min(*burst)) {
            Ok(Err(not_until)) => {
                if let Some(wave) = wave {
                    spent.store(wave, Ordering::Relaxed);
                }
                Err(wait(&not_until))
            }
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }
}

/// Buckets for every path, made when they are needed.
#[derive(Debug)]
pub(super) struct PrefixBuckets([Option<PrefixBucket>; Kind::BUCKETS]);

#[derive(Debug)]
struct PrefixBucket {
    limiter: DefaultKeyedRateLimiter<u64>,
    burst: NonZeroU32,
    /// For each path, as in [`Bucket`].
    spent: Mutex<FxHashMap<u64, u64>>,
}

/// Paths with a bucket, beyond which those that are full again are forgotten.
const MAX_PREFIXES: usize = 10_000;

impl PrefixBuckets {
    pub(super) fn new(config: &Throttle) -> Self {
        Self(kinds().map(|kind| {
            let quota = quota(kind, Scope::Prefix, config)?;
            let burst = quota.burst_size();
            Some(PrefixBucket { limiter: RateLimiter::dashmap(quota), burst, spent: Mutex::default() })
        }))
    }

    /// Takes all of it, of the path that hashes to `prefix`, or nothing.
    pub(super) fn take(&self, prefix: u64, Portion { kind, n, wave }: Portion) -> Taken {
        let Some(Some(PrefixBucket { limiter, burst, spent })) = self.0.get(kind as usize) else {
            return Ok(());
        };
        if wave.is_some() && wave == spent.lock().get(&prefix).copied() {
            return Err(Duration::ZERO);
        }
        match limiter.check_key_n(&prefix, n.min(*burst)) {
            Ok(Err(not_until)) => {
                if let Some(wave) = wave {
                    spent.lock().insert(prefix, wave);
                }
                Err(wait(&not_until))
            }
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }

    /// Forgets what need not be remembered. To be called now and then.
    pub(super) fn tidy(&self) {
        for PrefixBucket { limiter, spent, .. } in self.0.iter().flatten() {
            // Waves are shorter than the time between two calls.
            *spent.lock() = FxHashMap::default();
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

    fn portion(kind: Kind, n: u32) -> Portion {
        Portion { kind, n: NonZeroU32::new(n).unwrap(), wave: None }
    }

    fn limited(session: u64, prefix: u64) -> Throttle {
        let limit = Limit { mode: Mode::Delay, tenant: 0, address: 0, session, prefix };
        Throttle { writes: limit, write_bytes: limit, ..Throttle::default() }
    }

    #[test]
    fn a_bucket_holds_a_second_of_its_rate() {
        let buckets = Buckets::new(Scope::Session, &limited(10, 0));
        for _ in 0..10 {
            assert_eq!(buckets.take(portion(Kind::Writes, 1)), Ok(()));
        }
        let wait = buckets.take(portion(Kind::Writes, 1)).unwrap_err();
        assert!(wait <= Duration::from_millis(100), "{wait:?}");
    }

    #[test]
    fn what_is_larger_than_the_bucket_takes_all_of_it() {
        let buckets = Buckets::new(Scope::Session, &limited(10, 0));
        assert_eq!(buckets.take(portion(Kind::WriteBytes, 1_000)), Ok(()));
        assert!(buckets.take(portion(Kind::WriteBytes, 1)).is_err());
    }

    #[test]
    fn no_rate_and_no_mode_are_no_limit() {
        let off = Throttle { writes: Limit { mode: Mode::Off, ..limited(1, 1).writes }, ..limited(0, 0) };
        let buckets = Buckets::new(Scope::Session, &off);
        for kind in [Kind::Writes, Kind::WriteBytes] {
            for _ in 0..100 {
                assert_eq!(buckets.take(portion(kind, 1)), Ok(()));
            }
        }
    }

    #[test]
    fn every_path_has_its_own() {
        let buckets = PrefixBuckets::new(&limited(0, 1));
        assert_eq!(buckets.take(1, portion(Kind::Writes, 1)), Ok(()));
        assert!(buckets.take(1, portion(Kind::Writes, 1)).is_err());
        assert_eq!(buckets.take(2, portion(Kind::Writes, 1)), Ok(()));
        buckets.tidy();
        assert!(buckets.take(1, portion(Kind::Writes, 1)).is_err());
    }

    #[test]
    fn what_flows_in_while_somebody_waits_is_for_the_next_wave() {
        let (buckets, prefixes) =
            (Buckets::new(Scope::Session, &limited(1_000, 0)), PrefixBuckets::new(&limited(0, 1_000)));
        let of = |n, wave| Portion { wave: Some(wave), ..portion(Kind::Writes, n) };
        assert_eq!((buckets.take(of(1_000, 1)), prefixes.take(7, of(1_000, 1))), (Ok(()), Ok(())));
        assert!(buckets.take(of(1_000, 1)).is_err() && prefixes.take(7, of(1_000, 1)).is_err());
        let until = std::time::Instant::now() + Duration::from_millis(20);
        while std::time::Instant::now() < until {
            assert!(buckets.take(of(1, 1)).is_err() && prefixes.take(7, of(1, 1)).is_err());
        }
        assert_eq!((buckets.take(of(1, 2)), prefixes.take(7, of(1, 2))), (Ok(()), Ok(())));
        assert_eq!(prefixes.take(8, of(1, 1)), Ok(()), "another path");
    }
}
