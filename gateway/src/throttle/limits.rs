//! The limits of one gateway: their settings, and what they are counted by.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use palisade_store::Usage;
use palisade_wire::{Id, SessionId};
use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;
use tokio::time::Instant;

use super::bites::{Bites, Bitten};
use super::buckets::{Buckets, PrefixBuckets};
use super::config::{self, Mode};
use super::gate::{Verdict, look_after};
use super::kind::{Kind, Scope};
use super::lock_table::LockTable;
use super::prefixes::LockUse;
use super::presence::{Presences, Seat};
use super::turns::{self, Turns};
use crate::metrics::Metrics;

/// Where only every second is looked, what limits let pass in a second must not carry far: so near to its limit, what a
/// tenant has is looked at before every write.
const NEAR: Usage = Usage { znodes: 100_000, ephemerals: 0, bytes: 1 << 30 };
/// Sessions are always some time apart. One that waits for less than this is not held back.
const UNNOTICED: Duration = Duration::from_millis(10);
/// A limit that only reports or refuses new sessions looks at a second of them.
const SESSIONS_WINDOW: Duration = Duration::from_secs(1);

/// The limits of one gateway.
#[derive(Debug)]
pub(crate) struct Throttle {
    pub(super) rates: RwLock<Arc<Rates>>,
    pub(super) locks: Mutex<LockTable>,
    pub(super) presences: Arc<Presences>,
    pub(super) usage: UsageSeen,
    turns: Mutex<Turns>,
    pub(super) bites: Mutex<Bites>,
    pub(super) metrics: Arc<Metrics>,
}

/// What a change of the settings makes anew.
#[derive(Debug)]
pub(super) struct Rates {
    /// When they were made.
    pub(super) since: std::time::Instant,
    pub(super) config: config::Throttle,
    /// The way of a write, without what limits nothing.
    pub(super) stages: Box<[Stage]>,
    pub(super) tenant: Buckets,
    pub(super) prefixes: PrefixBuckets,
    addresses: Mutex<FxHashMap<IpAddr, Shared>>,
}

/// What the connections of an address share. It outlives them for a while: who comes back at once finds it as it was.
#[derive(Debug)]
struct Shared {
    buckets: Arc<Buckets>,
    /// Nobody had it when that was looked at last.
    is_idle: bool,
}

/// One limit on the way of a write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stage {
    pub(super) kind: Kind,
    pub(super) scope: Scope,
    pub(super) most: u64,
}

fn stages(config: &config::Throttle) -> impl Iterator<Item = Stage> {
    Kind::OF_WRITES
        .into_iter()
        .flat_map(|kind| {
            let limit = *kind.limit(config);
            let scopes = kind.scopes().iter().filter(move |_| limit.mode != Mode::Off);
            scopes.map(move |scope| Stage { kind, scope: *scope, most: scope.of(&limit) })
        })
        .filter(|stage| stage.most > 0)
}

/// What the tenant had when that was looked at last.
#[derive(Debug)]
pub(super) struct UsageSeen {
    pub(super) znodes: AtomicU64,
    pub(super) bytes: AtomicU64,
    is_near: AtomicBool,
}

impl UsageSeen {
    /// Nothing, to be looked at before the first write.
    fn none() -> Self {
        Self { znodes: AtomicU64::new(0), bytes: AtomicU64::new(0), is_near: AtomicBool::new(true) }
    }
}

impl Rates {
    pub(super) fn new(config: config::Throttle) -> Arc<Self> {
        let (tenant, prefixes) = (Buckets::new(Scope::Tenant, &config), PrefixBuckets::new(&config));
        let stages = stages(&config).collect();
        let since = std::time::Instant::now();
        Arc::new(Self { since, config, stages, tenant, prefixes, addresses: Mutex::default() })
    }

    /// The buckets that all connections of an address share.
    pub(super) fn address(&self, address: IpAddr) -> Arc<Buckets> {
        let mut addresses = self.addresses.lock();
        let new = || Shared { buckets: Arc::new(Buckets::new(Scope::Address, &self.config)), is_idle: false };
        let shared = addresses.entry(address).or_insert_with(new);
        shared.is_idle = false;
        Arc::clone(&shared.buckets)
    }

    /// Forgets what need not be remembered. To be called about every second: a bucket that was idle for so long is as good
    /// as new.
    fn tidy(&self) {
        self.prefixes.tidy();
        let mut addresses = self.addresses.lock();
        addresses.retain(|_, shared| {
            let was_idle = std::mem::replace(&mut shared.is_idle, Arc::strong_count(&shared.buckets) == 1);
            !(was_idle && shared.is_idle && shared.buckets.settle())
        });
        let used = addresses.len();
        addresses.shrink_to(2 * used);
    }

    #[cfg(test)]
    pub(super) fn addresses(&self) -> usize {
        self.addresses.lock().len()
    }
}

/// Who asks for something that is no write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking<'a> {
    pub(crate) address: IpAddr,
    /// 0 where there is none yet.
    pub(crate) session: SessionId,
    /// Where, if anywhere.
    pub(crate) path: &'a str,
}

/// How many watches there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WatchCounts {
    /// Those of the session.
    pub(crate) own: usize,
    /// Those of its address.
    pub(crate) of_address: usize,
    /// Those of all.
    pub(crate) all: usize,
}

/// A connection is one too many. If it may wait, it is to come again after this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crowded(pub(crate) Option<Duration>);

/// Of something that may have to wait for room.
#[derive(Debug)]
pub(crate) struct Waiting<'a> {
    /// Since when it does, if it does.
    pub(crate) since: &'a mut Option<std::time::Instant>,
    /// How long it may.
    pub(crate) patience: Duration,
}

/// One connection's place among those that are counted; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place(Seat);

impl Place {
    /// The count of this address's watches, for whoever counts them.
    pub(crate) fn watches(&self) -> Arc<AtomicUsize> {
        self.0.watches()
    }

    /// The identities that clients of this address have by that, made once for all of them.
    pub(crate) fn ids(&self, make: impl FnOnce() -> Arc<[Id]>) -> Arc<[Id]> {
        self.0.ids(make)
    }
}

impl Throttle {
    /// With these limits.
    pub(crate) fn new(config: config::Throttle, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            rates: RwLock::new(Rates::new(config)),
            locks: Mutex::default(),
            presences: Arc::default(),
            usage: UsageSeen::none(),
            turns: Mutex::default(),
            bites: Mutex::default(),
            metrics,
        })
    }

    /// Other limits, from the next request on. Nobody is disconnected. What was used up of the old ones is forgotten,
    /// unless these are the same.
    pub(crate) fn set(&self, config: config::Throttle) {
        if self.rates.read().config == config {
            return;
        }
        *self.rates.write() = Rates::new(config);
        *self.turns.lock() = Turns::default();
        // Until that is looked at anew.
        self.usage.is_near.store(true, Ordering::Relaxed);
    }

    /// The limit of connections.
    pub(crate) fn connections(&self) -> config::Limit {
        self.rates.read().config.connections
    }

    /// Takes a place for a connection from this address.
    ///
    /// # Errors
    /// There are too many.
    pub(crate) fn enter(&self, address: IpAddr, waiting: Waiting<'_>) -> Result<Place, Crowded> {
        let limit = self.connections();
        let asking = Asking { address, session: 0, path: "" };
        let admits = |here, all| {
            let counts = [(Scope::Address, here as u64), (Scope::Tenant, all as u64)];
            match self.level((Kind::Connections, limit), &counts, asking, waiting) {
                Verdict::Pass => Ok(()),
                Verdict::Wait(time) => Err(Crowded(Some(time))),
                Verdict::Refuse(_) => Err(Crowded(None)),
            }
        };
        self.presences.enter(address, admits).map(Place)
    }

    /// When a new session of this address may begin; `None` if that is not before `deadline`, or not at all.
    pub(crate) fn new_session(&self, address: IpAddr, now: Instant, deadline: Instant) -> Option<Instant> {
        let limit = self.rates.read().config.sessions;
        if limit.mode == Mode::Off {
            return Some(now);
        }
        let rates = turns::Rates { tenant: limit.tenant, address: limit.address };
        let mut turns = self.turns.lock();
        let turn = turns.next(address, rates, now);
        let delays = limit.mode == Mode::Delay;
        let exceeds = turn.at > now + if delays { UNNOTICED } else { SESSIONS_WINDOW };
        let refused = exceeds && (limit.mode == Mode::Refuse || turn.at > deadline && delays);
        // What is only reported does not count, or it would for as long as it took to happen.
        if !exceeds || delays && !refused {
            turns.take(turn);
        }
        drop(turns);
        if exceeds {
            let asking = Asking { address, session: 0, path: "" };
            self.note((Kind::Sessions, turn.scope), limit.mode, asking);
            match limit.mode {
                _ if refused => self.metrics.palisade_throttle_refused.inc(),
                Mode::Delay => self.metrics.palisade_throttle_delayed.inc(),
                _ => self.metrics.palisade_throttle_reported.inc(),
            }
        }
        (!refused).then_some(if delays { turn.at } else { now })
    }

    /// Whether there may be one more watch.
    pub(crate) fn watch(&self, counts: WatchCounts, asking: Asking<'_>, waiting: Waiting<'_>) -> Verdict {
        let limit = self.rates.read().config.watches;
        let WatchCounts { own, of_address, all } = counts;
        let counts = [(Scope::Session, own), (Scope::Address, of_address), (Scope::Tenant, all)];
        let counts = counts.map(|(scope, count)| (scope, count as u64));
        self.level((Kind::Watches, limit), &counts, asking, waiting)
    }

    /// What is to be done with one more of what there are so many.
    fn level(
        &self,
        (kind, limit): (Kind, config::Limit),
        counts: &[(Scope, u64)],
        asking: Asking<'_>,
        Waiting { since, patience }: Waiting<'_>,
    ) -> Verdict {
        let reached = |(scope, count): &&(Scope, u64)| scope.of(&limit) > 0 && *count >= scope.of(&limit);
        let Some((scope, _)) = counts.iter().filter(|_| limit.mode != Mode::Off).find(reached) else {
            return Verdict::Pass;
        };
        let is_first = since.is_none();
        if is_first || limit.mode != Mode::Delay {
            self.note((kind, *scope), limit.mode, asking);
        }
        if limit.mode == Mode::Report {
            self.metrics.palisade_throttle_reported.inc();
            return Verdict::Pass;
        }
        let (max_delay, refusal) = {
            let config = &self.rates.read().config;
            (config.max_delay, config.refusal)
        };
        if limit.mode == Mode::Delay {
            let now = std::time::Instant::now();
            let waited = now.saturating_duration_since(*since.get_or_insert(now));
            let left = max_delay.min(patience).saturating_sub(waited);
            if !left.is_zero() {
                if is_first {
                    self.metrics.palisade_throttle_delayed.inc();
                }
                return Verdict::Wait(look_after(waited).min(left));
            }
        }
        self.metrics.palisade_throttle_refused.inc();
        Verdict::Refuse(refusal)
    }

    /// A limit is reached.
    pub(super) fn note(&self, (kind, scope): (Kind, Scope), mode: Mode, asking: Asking<'_>) {
        let Asking { address, session, path } = asking;
        kind.counter(&self.metrics).inc();
        let mut bites = self.bites.lock();
        bites.note(Bitten { kind, scope, mode, address, session, path }, std::time::Instant::now());
        self.metrics.palisade_limits_reached.set(bites.len() as u64);
    }

    /// Whether the tenant has nearly as much as it may, so that it is to be looked at before each write.
    pub(crate) fn is_nearly_full(&self) -> bool {
        self.usage.is_near.load(Ordering::Relaxed)
    }

    /// What the tenant has now.
    pub(crate) fn measured(&self, usage: Usage) {
        let near = {
            let config = &self.rates.read().config;
            let is_near = |limit: &config::Limit, used: u64, near: u64| {
                limit.mode != Mode::Off && limit.tenant > 0 && used.saturating_add(near) >= limit.tenant
            };
            is_near(&config.znodes, usage.znodes as u64, NEAR.znodes as u64)
                || is_near(&config.bytes, usage.bytes, NEAR.bytes)
        };
        self.usage.znodes.store(usage.znodes as u64, Ordering::Relaxed);
        self.usage.bytes.store(usage.bytes, Ordering::Relaxed);
        self.usage.is_near.store(near, Ordering::Relaxed);
    }

    /// Tells of limits that ceased to bite, and forgets what need not be remembered. To be called about every second.
    pub(crate) fn tidy(&self) {
        let mut bites = self.bites.lock();
        bites.sweep(std::time::Instant::now());
        self.metrics.palisade_limits_reached.set(bites.len() as u64);
        drop(bites);
        let fine_grained = self.locks.lock().fine_grained(std::time::Instant::now());
        self.metrics.palisade_lock_fine_grained.set(fine_grained as u64);
        self.turns.lock().tidy(Instant::now());
        let rates = Arc::clone(&self.rates.read());
        rates.tidy();
    }

    /// A session acquired a lock below `parent`, if that is one: it made a numbered ephemeral there. Whether it is a client
    /// of this gateway.
    pub(crate) fn acquired(&self, parent: &str, is_here: impl FnOnce() -> bool) {
        let is_lock = self.locks.lock().acquired(parent, std::time::Instant::now());
        if is_lock && is_here() {
            self.metrics.palisade_lock_acquisitions.inc();
        }
    }

    /// What a session made there is gone, after that time, and because of a client of this gateway if `is_here`.
    pub(crate) fn released(&self, parent: &str, lived: Duration, is_here: impl FnOnce() -> bool) {
        let is_short = self.locks.lock().released(parent, lived, std::time::Instant::now());
        if is_short && is_here() {
            self.metrics.palisade_lock_short_holds.inc();
        }
    }

    /// The tree is another one.
    pub(crate) fn forget_queues(&self) {
        self.locks.lock().forget_queues();
    }

    /// The paths with the most acquisitions of locks, at most `limit`.
    pub(crate) fn busiest_locks(&self, limit: usize) -> Vec<LockUse> {
        self.locks.lock().busiest(limit, std::time::Instant::now())
    }

    /// What of a path is known to be a parent of locks.
    pub(crate) fn lock_parent(&self, path: &str) -> Option<String> {
        self.locks.lock().parent_of(path).map(str::to_owned)
    }

    /// The locks with the longest queues, holders included, at most `limit`.
    pub(crate) fn longest_queues(&self, limit: usize) -> Vec<(String, u32)> {
        self.locks.lock().longest_queues(limit)
    }
}
