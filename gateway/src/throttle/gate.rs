//! The limits on the way of one connection's writes.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use palisade_wire::SessionId;

use super::Work;
use super::buckets::Buckets;
use super::config::{Mode, Refusal};
use super::kind::{Kind, Scope};
use super::limits::{Asking, Rates, Stage, Throttle};
use super::presence::Presence;
use super::work::prefix;

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
    pub(super) stage: u8,
    waits_since: Option<Instant>,
}

impl Progress {
    /// The core was away: that does not count as waiting.
    pub(crate) const fn rest(&mut self) {
        self.waits_since = None;
    }
}

/// One connection's way through the limits.
#[derive(Debug)]
pub(crate) struct Gate {
    throttle: Arc<Throttle>,
    rates: Arc<Rates>,
    /// Made with the first write: many sessions never write.
    session_buckets: Option<Box<Buckets>>,
    address_buckets: Arc<Buckets>,
    presence: Arc<Presence>,
    /// What of this connection counts there.
    in_flight: usize,
    address: IpAddr,
    session: SessionId,
}

impl Throttle {
    /// A connection from this address, which [`Throttle::enter`] let in. Its session's limits start anew.
    pub(crate) fn gate(self: &Arc<Self>, address: IpAddr, session: SessionId) -> Gate {
        let rates = Arc::clone(&self.rates.read());
        Gate {
            throttle: Arc::clone(self),
            session_buckets: None,
            address_buckets: rates.address(address),
            rates,
            presence: self.presences.of(address),
            in_flight: 0,
            address,
            session,
        }
    }
}

/// A request that is to pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Brought<'a> {
    pub(crate) work: &'a Work,
    /// Of its body.
    pub(crate) bytes: usize,
    /// Requests of its session that the core has and has not answered.
    pub(crate) in_flight: usize,
    /// How long its session may be held back.
    pub(crate) patience: Duration,
}

/// The stage of what has passed all limits.
const PASSED: u8 = u8::MAX;
/// When a request that waits for others' answers is brought again. Those of its own session bring it at once.
const ANSWERS: Duration = Duration::from_millis(10);

impl Gate {
    /// Takes a request through the limits.
    pub(crate) fn check(&mut self, brought: Brought<'_>, progress: &mut Progress) -> Verdict {
        if progress.stage == PASSED {
            return Verdict::Pass;
        }
        let (parent, is_lock) = match brought.work {
            Work::Free => return Verdict::Pass,
            Work::Release { parent } => {
                self.throttle.locks.lock().released(parent, Instant::now());
                progress.stage = PASSED;
                return Verdict::Pass;
            }
            Work::Write { parent, .. } => (&**parent, false),
            Work::Lock { parent } => (&**parent, true),
        };
        self.refresh();
        while let Some(stage) = self.rates.stages.get(usize::from(progress.stage)).copied() {
            if self.concerns(stage.kind, parent, brought.work)
                && let Err(wait) = self.take(stage, parent, &brought)
            {
                let verdict = self.bite(stage, parent, wait, progress, brought.patience);
                if verdict != Verdict::Pass {
                    return verdict;
                }
            }
            progress.stage += 1;
        }
        progress.stage = PASSED;
        if is_lock {
            self.throttle.locks.lock().acquired(parent, Instant::now());
        }
        Verdict::Pass
    }

    /// So many requests of this connection are unanswered now.
    pub(crate) fn occupy(&mut self, in_flight: usize) {
        if in_flight == self.in_flight {
            return;
        }
        let tenant = &self.throttle.presences.tenant;
        for count in [&self.presence.in_flight, &tenant.in_flight] {
            if in_flight > self.in_flight {
                count.fetch_add(in_flight - self.in_flight, Ordering::Relaxed);
            } else if in_flight < self.in_flight {
                count.fetch_sub(self.in_flight - in_flight, Ordering::Relaxed);
            }
        }
        self.in_flight = in_flight;
    }

    /// Takes over settings that have changed.
    fn refresh(&mut self) {
        let rates = self.throttle.rates.read();
        if !Arc::ptr_eq(&rates, &self.rates) {
            self.rates = Arc::clone(&rates);
            self.session_buckets = None;
            self.address_buckets = self.rates.address(self.address);
        }
    }

    fn concerns(&self, kind: Kind, parent: &str, work: &Work) -> bool {
        let is_lock = matches!(work, Work::Lock { .. });
        match kind {
            Kind::Locks => is_lock,
            Kind::LockParents => {
                is_lock && self.throttle.locks.lock().is_fine_grained(parent, Instant::now())
            }
            Kind::Znodes => work.creates(),
            _ => true,
        }
    }

    fn take(&mut self, stage: Stage, parent: &str, brought: &Brought<'_>) -> Result<(), Duration> {
        let Stage { kind, scope, most } = stage;
        let usage = &self.throttle.usage;
        let full = |count: u64| if count < most { Ok(()) } else { Err(ANSWERS) };
        let n = match kind {
            Kind::Znodes => return full(usage.znodes.load(Ordering::Relaxed)),
            Kind::Bytes => return full(usage.bytes.load(Ordering::Relaxed)),
            Kind::InFlight => return full(self.in_flight(scope, brought.in_flight)),
            Kind::WriteBytes => u32::try_from(brought.bytes).unwrap_or(u32::MAX),
            _ => 1,
        };
        let Some(n) = NonZeroU32::new(n) else { return Ok(()) };
        match scope {
            Scope::Session => {
                let new = || Box::new(Buckets::new(Scope::Session, &self.rates.config));
                self.session_buckets.get_or_insert_with(new).take(kind, n)
            }
            Scope::Address => self.address_buckets.take(kind, n),
            Scope::Prefix => {
                let is_lock = matches!(brought.work, Work::Lock { .. });
                let path = if is_lock { prefix(parent) } else { parent };
                let mut hasher = DefaultHasher::new();
                path.hash(&mut hasher);
                self.rates.prefixes.take(kind, hasher.finish(), n)
            }
            Scope::Tenant => self.rates.tenant.take(kind, n),
        }
    }

    /// Unanswered requests, `own` of which are this connection's. Of what is shared, it may have as much as it leaves to
    /// others: its own count twice.
    fn in_flight(&self, scope: Scope, own: usize) -> u64 {
        let all = match scope {
            Scope::Session | Scope::Prefix => return own as u64,
            Scope::Address => &self.presence.in_flight,
            Scope::Tenant => &self.throttle.presences.tenant.in_flight,
        };
        (all.load(Ordering::Relaxed) + 2 * own).saturating_sub(self.in_flight) as u64
    }

    /// A limit is reached.
    fn bite(
        &self,
        Stage { kind, scope, .. }: Stage,
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
            let asking = Asking { address: self.address, session: self.session, path };
            self.throttle.note((kind, scope), mode, asking);
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

impl Drop for Gate {
    fn drop(&mut self) {
        self.occupy(0);
    }
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
