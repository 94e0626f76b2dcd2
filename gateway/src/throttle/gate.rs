//! The limits on the way of one connection's writes.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use palisade_wire::SessionId;

use super::buckets::{Buckets, Portion};
use super::config::{Mode, Refusal};
use super::found::Found;
use super::kind::{Kind, Scope};
use super::limits::{Asking, Rates, Stage, Throttle};
use super::presence::Presence;
use super::queue::{Taken, Ticket};
use super::work::Work;

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
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    pub(super) stage: u8,
    /// Its place among those who wait for the limit of that stage.
    ticket: Option<Ticket>,
    waits_since: Option<Instant>,
}

impl Progress {
    /// The core was away: that does not count as waiting.
    pub(crate) const fn rest(&mut self) {
        self.waits_since = None;
    }

    /// Since when it waits, if it does.
    pub(crate) const fn waits_since(&mut self) -> &mut Option<Instant> {
        &mut self.waits_since
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
/// Those who wait for a rate go on together, so often. What comes at once costs the core, its disks and all who follow it
/// much less than the same one after the other, and between two waves it has its time for others.
const WAVE: Duration = Duration::from_millis(100);
/// When what waits for others to let go of something is brought again at the earliest. (Answers bring the requests of their
/// own session at once.)
const LOOK: Duration = Duration::from_millis(10);

/// When what has waited for others for so long is brought again: the longer, the more seldom, as there may be thousands.
pub(super) fn look_after(waited: Duration) -> Duration {
    waited.clamp(LOOK, WAVE)
}

impl Gate {
    /// Takes a request through the limits.
    pub(crate) fn check(&mut self, brought: Brought<'_>, progress: &mut Progress) -> Verdict {
        if progress.stage == PASSED {
            return Verdict::Pass;
        }
        let Some(parent) = brought.work.parent() else { return Verdict::Pass };
        if self.refresh() {
            // Nothing was taken from these.
            (progress.stage, progress.ticket) = (0, None);
        }
        let found = Found::of(brought.work, &self.throttle.locks, Instant::now());
        while let Some(stage) = self.rates.stages.get(usize::from(progress.stage)).copied() {
            if let Some(n) = NonZeroU32::new(found.asks_for(stage.kind))
                && let Err(wait) = self.take((stage, n), found.prefix(stage.kind, parent), &brought, progress)
            {
                let named = brought.work.lock_parent().filter(|_| stage.kind == Kind::LockParents);
                let path = named.unwrap_or(parent);
                let verdict = self.bite(stage, path, wait, progress, brought.patience);
                if let Verdict::Refuse(_) = verdict
                    && found.is_any()
                    && let Some(parent) = brought.work.lock_parent()
                {
                    self.throttle.locks.lock().refused(parent, Instant::now());
                }
                if verdict != Verdict::Pass {
                    return verdict;
                }
            }
            (progress.stage, progress.ticket) = (progress.stage + 1, None);
        }
        progress.stage = PASSED;
        if found.is_any() {
            self.let_in(brought.work);
        }
        Verdict::Pass
    }

    /// Remembers what is to be known of locks that may be acquired from now on.
    fn let_in(&self, work: &Work) {
        let now = Instant::now();
        for part in work.parts().0 {
            match part {
                Work::Lock { parent } => self.throttle.locks.lock().let_in(parent, now),
                Work::Create { path } => self.throttle.locks.lock().made(path, now),
                Work::Free | Work::Set { .. } | Work::Multi(_) => {}
            }
        }
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

    /// Takes over settings that have changed; whether they have.
    fn refresh(&mut self) -> bool {
        let rates = self.throttle.rates.read();
        let is_new = !Arc::ptr_eq(&rates, &self.rates);
        if is_new {
            self.rates = Arc::clone(&rates);
            self.session_buckets = None;
            self.address_buckets = self.rates.address(self.address);
        }
        is_new
    }

    fn take(
        &mut self,
        (Stage { kind, scope, most }, n): (Stage, NonZeroU32),
        prefix: &str,
        brought: &Brought<'_>,
        Progress { ticket, .. }: &mut Progress,
    ) -> Taken {
        let usage = &self.throttle.usage;
        let full = |count: u64| if count < most { Ok(()) } else { Err(LOOK) };
        let n = match kind {
            Kind::Znodes => {
                return full(usage.znodes.load(Ordering::Relaxed).saturating_add(u64::from(n.get()) - 1));
            }
            Kind::Bytes => return full(usage.bytes.load(Ordering::Relaxed)),
            Kind::InFlight => return full(self.in_flight(scope, brought.in_flight)),
            Kind::WriteBytes => {
                let bytes = u32::try_from(brought.bytes).unwrap_or(u32::MAX);
                NonZeroU32::new(bytes).unwrap_or(NonZeroU32::MIN)
            }
            _ => n,
        };
        let delays = kind.limit(&self.rates.config).mode == Mode::Delay;
        let portion = Portion { kind, n, wave: delays.then(|| self.wave(Instant::now())) };
        match scope {
            Scope::Session => {
                let new = || Box::new(Buckets::new(Scope::Session, &self.rates.config));
                self.session_buckets.get_or_insert_with(new).take(portion, ticket)
            }
            Scope::Address => self.address_buckets.take(portion, ticket),
            Scope::Prefix => {
                let mut hasher = DefaultHasher::new();
                prefix.hash(&mut hasher);
                self.rates.prefixes.take(hasher.finish(), portion, ticket)
            }
            Scope::Tenant => self.rates.tenant.take(portion, ticket),
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

    /// The number of the wave at this moment, from 1 on.
    fn wave(&self, at: Instant) -> u64 {
        let waves = at.saturating_duration_since(self.rates.since).as_nanos() / WAVE.as_nanos();
        u64::try_from(waves).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// The time until the first wave that begins after `wait`.
    fn until_wave(&self, now: Instant, wait: Duration) -> Duration {
        let next = u32::try_from(self.wave(now + wait)).unwrap_or(u32::MAX);
        (self.rates.since + WAVE * next).saturating_duration_since(now)
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
                let left = (since + config.max_delay.min(patience)).saturating_duration_since(now);
                let (least, wait) = if kind.is_rate() {
                    (self.until_wave(now, Duration::ZERO), self.until_wave(now, wait))
                } else {
                    (wait, look_after(now - since))
                };
                if least <= left {
                    if first {
                        metrics.palisade_throttle_delayed.inc();
                    }
                    // Who may have to wait for longer than that waits so long: he does not know who gives up before him.
                    Verdict::Wait(wait.min(left))
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
