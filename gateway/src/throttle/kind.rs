//! What is limited, and of whom.

use palisade_admin::metric::Counter;

use super::config::{Limit, Throttle};
use crate::metrics::Metrics;

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Writes a second.
    Writes,
    /// Their bytes.
    WriteBytes,
    /// Acquisitions of locks a second.
    Locks,
    /// Of those, the ones of locks that are held for a short time.
    ShortLocks,
    /// New parents of fine-grained locks a second.
    LockParents,
    /// Unanswered requests.
    InFlight,
    /// New sessions a second.
    Sessions,
    /// Connections.
    Connections,
    /// Watches.
    Watches,
    /// Znodes under the root.
    Znodes,
    /// Their bytes.
    Bytes,
}

impl Kind {
    pub(crate) const ALL: [Self; 11] = [
        Self::Writes,
        Self::WriteBytes,
        Self::Locks,
        Self::ShortLocks,
        Self::LockParents,
        Self::InFlight,
        Self::Sessions,
        Self::Connections,
        Self::Watches,
        Self::Znodes,
        Self::Bytes,
    ];

    /// Those with token buckets; the first ones.
    pub(super) const BUCKETS: usize = 5;

    /// Whether it has token buckets.
    pub(super) const fn is_rate(self) -> bool {
        (self as usize) < Self::BUCKETS
    }

    /// Those on the way of a write: what it cannot pass at all comes first, then what it uses up.
    pub(super) const OF_WRITES: [Self; 8] = [
        Self::Znodes,
        Self::Bytes,
        Self::InFlight,
        Self::Writes,
        Self::WriteBytes,
        Self::Locks,
        Self::ShortLocks,
        Self::LockParents,
    ];

    pub(super) const fn limit(self, config: &Throttle) -> &Limit {
        match self {
            Self::Writes => &config.writes,
            Self::WriteBytes => &config.write_bytes,
            Self::Locks => &config.locks,
            Self::ShortLocks => &config.short_locks,
            Self::LockParents => &config.lock_parents,
            Self::InFlight => &config.in_flight,
            Self::Sessions => &config.sessions,
            Self::Connections => &config.connections,
            Self::Watches => &config.watches,
            Self::Znodes => &config.znodes,
            Self::Bytes => &config.bytes,
        }
    }

    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::Writes => "throttle.writes",
            Self::WriteBytes => "throttle.write_bytes",
            Self::Locks => "throttle.locks",
            Self::ShortLocks => "throttle.short_locks",
            Self::LockParents => "throttle.lock_parents",
            Self::InFlight => "throttle.in_flight",
            Self::Sessions => "throttle.sessions",
            Self::Connections => "throttle.connections",
            Self::Watches => "throttle.watches",
            Self::Znodes => "throttle.znodes",
            Self::Bytes => "throttle.bytes",
        }
    }

    /// How often it was reached.
    pub(super) const fn counter(self, metrics: &Metrics) -> &Counter {
        match self {
            Self::Writes => &metrics.palisade_limit_writes,
            Self::WriteBytes => &metrics.palisade_limit_write_bytes,
            Self::Locks => &metrics.palisade_limit_locks,
            Self::ShortLocks => &metrics.palisade_limit_short_locks,
            Self::LockParents => &metrics.palisade_limit_lock_parents,
            Self::InFlight => &metrics.palisade_limit_in_flight,
            Self::Sessions => &metrics.palisade_limit_sessions,
            Self::Connections => &metrics.palisade_limit_connections,
            Self::Watches => &metrics.palisade_limit_watches,
            Self::Znodes => &metrics.palisade_limit_znodes,
            Self::Bytes => &metrics.palisade_limit_bytes,
        }
    }

    /// Of whom it is counted.
    pub(crate) const fn scopes(self) -> &'static [Scope] {
        use Scope::{Address, Session, Tenant};
        match self {
            Self::Writes | Self::WriteBytes | Self::Locks | Self::ShortLocks | Self::LockParents => {
                &Scope::ALL
            }
            Self::InFlight | Self::Watches => &[Session, Address, Tenant],
            Self::Sessions | Self::Connections => &[Address, Tenant],
            Self::Znodes | Self::Bytes => &[Tenant],
        }
    }
}

/// Whose part of a limit, the most specific first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    /// One session.
    Session,
    /// All of one address.
    Address,
    /// All below one path.
    Prefix,
    /// All.
    Tenant,
}

impl Scope {
    pub(crate) const ALL: [Self; 4] = [Self::Session, Self::Address, Self::Prefix, Self::Tenant];

    pub(super) const fn of(self, limit: &Limit) -> u64 {
        match self {
            Self::Session => limit.session,
            Self::Address => limit.address,
            Self::Prefix => limit.prefix,
            Self::Tenant => limit.tenant,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Address => "address",
            Self::Prefix => "prefix",
            Self::Tenant => "tenant",
        }
    }
}
