//! The limits on the way of one connection's requests.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;

use super::Work;
use super::bites::{Bites, Bitten};
use super::buckets::{Buckets, Kind, PrefixBuckets, Scope};
use super::config::{self, Mode, Refusal};
use super::lock_table::{LockTable, LockUse};
use super::work::prefix;
use crate::metrics::Metrics;

/// What is to be done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It passes.
    Pass,
    /// It is to be brought again after this time.
    Wait(Duration),
    /// It is refused.
    Refuse(Refusal),
}

/// How far a request has come: what it took from one limit it need not take again while it waits for another.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    stage: u8,
    waits_since: Option<Instant>,
}

/// The limits of one gateway.
#[derive(Debug)]
pub(crate) struct Throttle {
    rates: RwLock<Arc<Rates>>,
    locks: Mutex<LockTable>,
    bites: Mutex<Bites>,
    metrics: Arc<Metrics>,
}

/// What a change of the settings makes anew.
#[derive(Debug)]
struct Rates {
    config: config::Throttle,
    tenant: Buckets,
    prefixes: PrefixBuckets,
    addresses: Mutex<FxHashMap<IpAddr, Weak<Buckets>>>,
}

/// One connection's way through them.
#[derive(Debug)]
pub(crate) struct Gate {
    throttle: Arc<Throttle>,
    rates: Arc<Rates>,
    session: Buckets,
    address: Arc<Buckets>,
    peer: IpAddr,
}

impl Rates {
    fn new(config: config::Throttle) -> Arc<Self> {
        let (tenant, prefixes) = (Buckets::new(Scope::Tenant, &config), PrefixBuckets::new(&config));
        Arc::new(Self { config, tenant, prefixes, addresses: Mutex::default() })
    }

    /// The buckets that all connections of an address share.
    fn address(&self, address: IpAddr) -> Arc<Buckets> {
        let mut addresses = self.addresses.lock();
        if let Some(buckets) = addresses.get(&address).and_then(Weak::upgrade) {
            return buckets;
        }
        if addresses.len() == addresses.capacity() {
            addresses.retain(|_, buckets| buckets.strong_count() > 0);
        }
        let buckets = Arc::new(Buckets::new(Scope::Address, &self.config));
        addresses.insert(address, Arc::downgrade(&buckets));
        buckets
    }
}

impl Throttle {
    /// With these limits.
    pub(crate) fn new(config: config::Throttle, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            rates: RwLock::new(Rates::new(config)),
            locks: Mutex::default(),
            bites: Mutex::default(),
            metrics,
        })
    }

    /// Other limits, from the next request on. Nobody is disconnected.
    pub(crate) fn set(&self, config: config::Throttle) {
        *self.rates.write() = Rates::new(config);
    }

    /// A connection from this address. Its session's limits start anew.
    pub(crate) fn gate(self: &Arc<Self>, peer: IpAddr) -> Gate {
        let rates = Arc::clone(&self.rates.read());
        let (session, address) = (Buckets::new(Scope::Session, &rates.config), rates.address(peer));
        Gate { throttle: Arc::clone(self), rates, session, address, peer }
    }

    /// Tells of limits that ceased to bite, and forgets what need not be remembered. To be called about every second.
    pub(crate) fn tidy(&self) {
        self.bites.lock().sweep(Instant::now());
        let rates = Arc::clone(&self.rates.read());
        rates.prefixes.tidy();
    }

    /// The paths with the most acquisitions of locks, at most `limit`.
    pub(crate) fn busiest_locks(&self, limit: usize) -> Vec<LockUse> {
        self.locks.lock().busiest(limit, Instant::now())
    }

    /// The locks with the longest queues, holders included, at most `limit`.
    pub(crate) fn longest_queues(&self, limit: usize) -> Vec<(String, u32)> {
        self.locks.lock().longest_queues(limit)
    }
}

/// Stages of one kind of limit.
const SCOPES: u8 = Scope::ALL.len() as u8;
const STAGES: u8 = Kind::ALL.len() as u8 * SCOPES;

impl Gate {
    /// Takes a request of `bytes` through the limits. `patience` is how long its session may be held back.
    pub(crate) fn check(
        &mut self,
        work: &Work,
        bytes: usize,
        progress: &mut Progress,
        patience: Duration,
    ) -> Verdict {
        if progress.stage == STAGES {
            return Verdict::Pass;
        }
        let (parent, is_lock) = match work {
            Work::Free => return Verdict::Pass,
            Work::Release { parent } => {
                self.throttle.locks.lock().released(parent, Instant::now());
                progress.stage = STAGES;
                return Verdict::Pass;
            }
            Work::Write { parent } => (&**parent, false),
            Work::Lock { parent } => (&**parent, true),
        };
        self.refresh();
        while progress.stage < STAGES {
            let kind = Kind::ALL[usize::from(progress.stage / SCOPES)];
            let scope = Scope::ALL[usize::from(progress.stage % SCOPES)];
            if !self.concerns(kind, parent, is_lock) {
                progress.stage = (progress.stage / SCOPES + 1) * SCOPES;
                continue;
            }
            if let Err(wait) = self.take(kind, scope, parent, is_lock, bytes) {
                let verdict = self.bite((kind, scope), parent, wait, progress, patience);
                if verdict != Verdict::Pass {
                    return verdict;
                }
            }
            progress.stage += 1;
        }
        if is_lock {
            self.throttle.locks.lock().acquired(parent, Instant::now());
        }
        Verdict::Pass
    }

    /// Takes over settings that have changed.
    fn refresh(&mut self) {
        let rates = self.throttle.rates.read();
        if !Arc::ptr_eq(&rates, &self.rates) {
            self.rates = Arc::clone(&rates);
            self.session = Buckets::new(Scope::Session, &self.rates.config);
            self.address = self.rates.address(self.peer);
        }
    }

    fn concerns(&self, kind: Kind, parent: &str, is_lock: bool) -> bool {
        kind.limit(&self.rates.config).mode != Mode::Off
            && match kind {
                Kind::Writes | Kind::WriteBytes => true,
                Kind::Locks => is_lock,
                Kind::LockParents => {
                    is_lock && self.throttle.locks.lock().is_fine_grained(parent, Instant::now())
                }
            }
    }

    fn take(
        &self,
        kind: Kind,
        scope: Scope,
        parent: &str,
        is_lock: bool,
        bytes: usize,
    ) -> Result<(), Duration> {
        let n = if kind == Kind::WriteBytes { u32::try_from(bytes).unwrap_or(u32::MAX) } else { 1 };
        let Some(n) = NonZeroU32::new(n) else { return Ok(()) };
        match scope {
            Scope::Session => self.session.take(kind, n),
            Scope::Address => self.address.take(kind, n),
            Scope::Prefix if scope.of(kind.limit(&self.rates.config)) == 0 => Ok(()),
            Scope::Prefix => {
                let path = if is_lock { prefix(parent) } else { parent };
                let mut hasher = DefaultHasher::new();
                path.hash(&mut hasher);
                self.rates.prefixes.take(kind, hasher.finish(), n)
            }
            Scope::Tenant => self.rates.tenant.take(kind, n),
        }
    }

    /// A limit is reached.
    fn bite(
        &self,
        (kind, scope): (Kind, Scope),
        path: &str,
        wait: Duration,
        progress: &mut Progress,
        patience: Duration,
    ) -> Verdict {
        let now = Instant::now();
        let config = &self.rates.config;
        let mode = kind.limit(config).mode;
        let first = progress.waits_since.is_none();
        if first || mode != Mode::Delay {
            let bitten = Bitten { kind, scope, mode, address: self.peer, path };
            self.throttle.bites.lock().note(bitten, now);
        }
        let metrics = &self.throttle.metrics;
        match mode {
            Mode::Off => Verdict::Pass,
            Mode::Report => {
                metrics.palisade_throttle_reported.inc();
                Verdict::Pass
            }
            Mode::Delay => {
                let since = *progress.waits_since.get_or_insert(now);
                if now + wait <= since + config.max_delay.min(patience) {
                    if first {
                        metrics.palisade_throttle_delayed.inc();
                    }
                    Verdict::Wait(wait)
                } else {
                    metrics.palisade_throttle_refused.inc();
                    Verdict::Refuse(config.refusal)
                }
            }
            Mode::Refuse => {
                metrics.palisade_throttle_refused.inc();
                Verdict::Refuse(config.refusal)
            }
        }
    }
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
