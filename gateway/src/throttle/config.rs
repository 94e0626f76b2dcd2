//! `[throttle]`: how much clients may ask of the core.

use std::time::Duration;

use palisade_wire::ErrorCode;

use super::kind::{Kind, Scope};
use crate::config::ConfigMistake;

/// `[throttle]`: how much clients may ask of the core. Can be changed while the gateway runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Throttle {
    /// What a refused request is answered with.
    pub refusal: Refusal,
    /// How long a request is held back at most before it is refused; a third of the session's timeout, or
    /// `sessions.write_wait`, if that is less.
    pub max_delay: Duration,
    /// Creates and sets, those in multis included.
    pub writes: Limit,
    /// Bytes of such requests.
    pub write_bytes: Limit,
    /// Ephemeral sequential creates: acquisitions of locks, candidacies.
    pub locks: Limit,
    /// Of such creates, those below prefixes whose locks are held for a short time only, whatever their parents.
    pub short_locks: Limit,
    /// New parents of those: where each lock has a parent of its own.
    pub lock_parents: Limit,
    /// Requests for the core that are not answered; a write that exceeds them is held up. Of those of the tenant and of an
    /// address, no session may have more than it leaves to others.
    pub in_flight: Limit,
    /// New sessions a second.
    pub sessions: Limit,
    /// Connections.
    pub connections: Limit,
    /// Watches. Those that are registered again after a reconnect count, and are never refused.
    pub watches: Limit,
    /// Znodes under the tenant's root, about: what is held up are creates.
    pub znodes: Limit,
    /// Bytes of their paths and data: what is held up are creates and sets.
    pub bytes: Limit,
}

/// One limit: so much - of what has a rate, so much a second - for each key; 0 for no limit. Keys that make no sense for
/// it must be 0: a connection has no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What happens to what exceeds it.
    pub mode: Mode,
    /// Of all clients together.
    pub tenant: u64,
    /// Of one client address.
    pub address: u64,
    /// Of one session.
    pub session: u64,
    /// Of one path: the parent of what is written, or the parent of a lock's parent.
    pub prefix: u64,
}

/// What happens to what exceeds a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nothing: it is not even counted.
    #[default]
    Off,
    /// It is counted and logged, and passes.
    Report,
    /// It waits, and what comes behind it in the same session with it; pings are answered. What has waited for long enough
    /// is refused.
    Delay,
    /// It is refused.
    Refuse,
}

/// What a refused request is answered with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Refusal {
    /// OPERATIONTIMEOUT: every client knows it, and Curator and kazoo try again after a pause.
    #[default]
    OperationTimeout,
    /// THROTTLEDOP: says what it is, but clients before Java 3.7 and kazoo 2.11 do not know it, and kazoo dies of it.
    Throttled,
    /// CONNECTIONLOSS: every client knows it.
    ConnectionLoss,
    /// No answer: the connection is closed, and the client looks for another gateway.
    Close,
}

impl Mode {
    /// All, with their names in files.
    pub const NAMES: [(&'static str, Self); 4] =
        [("off", Self::Off), ("report", Self::Report), ("delay", Self::Delay), ("refuse", Self::Refuse)];
}

impl Refusal {
    /// All, with their names in files.
    pub const NAMES: [(&'static str, Self); 4] = [
        ("operation_timeout", Self::OperationTimeout),
        ("throttled", Self::Throttled),
        ("connection_loss", Self::ConnectionLoss),
        ("close", Self::Close),
    ];

    /// The error code, if there is an answer.
    pub const fn code(self) -> Option<ErrorCode> {
        match self {
            Self::OperationTimeout => Some(ErrorCode::OPERATION_TIMEOUT),
            Self::Throttled => Some(ErrorCode::THROTTLED_OP),
            Self::ConnectionLoss => Some(ErrorCode::CONNECTION_LOSS),
            Self::Close => None,
        }
    }
}

impl Limit {
    /// No limit.
    pub const NONE: Self = Self { mode: Mode::Off, tenant: 0, address: 0, session: 0, prefix: 0 };
}

/// Nothing that a healthy tenant does is held back; what only a runaway client does is told; a storm of fine-grained
/// locks is slowed down to what a core can bear beside everything else.
impl Default for Throttle {
    fn default() -> Self {
        let reported =
            |tenant, address, session| Limit { mode: Mode::Report, tenant, address, session, ..Limit::NONE };
        Self {
            refusal: Refusal::default(),
            max_delay: Duration::from_secs(5),
            writes: reported(50_000, 50_000, 20_000),
            write_bytes: reported(64 << 20, 64 << 20, 32 << 20),
            locks: reported(20_000, 20_000, 5_000),
            short_locks: Limit { mode: Mode::Delay, tenant: 500, address: 250, session: 100, prefix: 250 },
            lock_parents: Limit { mode: Mode::Delay, tenant: 100, address: 50, session: 50, prefix: 50 },
            in_flight: Limit { mode: Mode::Delay, address: 2_000, session: 500, ..Limit::NONE },
            sessions: Limit { mode: Mode::Delay, tenant: 10_000, address: 10_000, ..Limit::NONE },
            // Half of all, so that no address takes all places; Apache's 60 is too few where containers share one.
            connections: Limit { mode: Mode::Refuse, tenant: 20_000, address: 10_000, ..Limit::NONE },
            watches: reported(10_000_000, 0, 250_000),
            znodes: reported(5_000_000, 0, 0),
            bytes: reported(4 << 30, 0, 0),
        }
    }
}

const MIN_DELAY: Duration = Duration::from_millis(1);
const MAX_DELAY: Duration = Duration::from_secs(60);
/// More than anybody has of anything, and little enough to be reckoned with.
const MOST: u64 = 1 << 50;

impl Throttle {
    /// All that makes no sense, each with a reason.
    pub fn mistakes(&self) -> Vec<ConfigMistake> {
        let mut mistakes = Vec::new();
        if !(MIN_DELAY..=MAX_DELAY).contains(&self.max_delay) {
            let message = format!("{:?} is not within {MIN_DELAY:?} to {MAX_DELAY:?}", self.max_delay);
            mistakes.push(ConfigMistake { key: "throttle.max_delay", message });
        }
        for kind in Kind::ALL {
            let messages = kind.limit(self).mistakes(kind);
            mistakes.extend(messages.into_iter().map(|message| ConfigMistake { key: kind.key(), message }));
        }
        mistakes
    }
}

impl Limit {
    fn mistakes(&self, kind: Kind) -> Vec<String> {
        let mut mistakes = Vec::new();
        let most = if kind.is_rate() { u32::MAX.into() } else { MOST };
        for scope in Scope::ALL {
            let (name, value) = (scope.name(), scope.of(self));
            if value > 0 && !kind.scopes().contains(&scope) {
                let known: Vec<_> = kind.scopes().iter().map(|scope| scope.name()).collect();
                let known = known.join(", ");
                mistakes.push(format!("{name} = {value}: this is not counted by {name}, only by {known}"));
            } else if value > most {
                mistakes.push(format!("{name} = {value} is more than {most}"));
            }
        }
        if self.mode != Mode::Off && Scope::ALL.iter().all(|scope| scope.of(self) == 0) {
            mistakes.push("limits nothing: give a number, or mode = \"off\"".to_owned());
        }
        mistakes.extend(self.disorder());
        mistakes
    }

    /// What is shared is no less than one's own part of it.
    fn disorder(&self) -> Vec<String> {
        let shared = [Scope::Session, Scope::Address, Scope::Tenant];
        let given: Vec<_> = shared.into_iter().filter(|scope| scope.of(self) > 0).collect();
        let pairs = given.windows(2).filter_map(|pair| {
            let [own, shared] = pair else { return None };
            let (less, more) = (own.of(self), shared.of(self));
            let (own, shared) = (own.name(), shared.name());
            (less > more).then(|| format!("{own} = {less} is more than {shared} = {more}"))
        });
        pairs.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_make_sense_and_are_on() {
        let config = Throttle::default();
        assert_eq!(config.mistakes(), []);
        assert!(Kind::ALL.iter().all(|kind| kind.limit(&config).mode != Mode::Off));
    }

    #[test]
    fn what_makes_no_sense_is_told_all_at_once_with_the_reason() {
        let limit = Limit { mode: Mode::Delay, tenant: 7, ..Limit::NONE };
        let config = Throttle {
            max_delay: Duration::from_secs(61),
            writes: Limit { session: 9, address: 8, ..limit },
            locks: Limit { tenant: 1 << 40, ..limit },
            lock_parents: Limit { tenant: 0, ..limit },
            connections: Limit { prefix: 5, ..limit },
            znodes: Limit { session: 5, ..limit },
            ..Throttle::default()
        };
        let told: Vec<_> = config.mistakes().iter().map(ToString::to_string).collect();
        let expected = [
            "throttle.max_delay: 61s is not within 1ms to 60s",
            "throttle.writes: session = 9 is more than address = 8",
            "throttle.writes: address = 8 is more than tenant = 7",
            "throttle.locks: tenant = 1099511627776 is more than 4294967295",
            "throttle.lock_parents: limits nothing: give a number, or mode = \"off\"",
            "throttle.connections: prefix = 5: this is not counted by prefix, only by address, tenant",
            "throttle.znodes: session = 5: this is not counted by session, only by tenant",
        ];
        assert_eq!(told, expected);
    }
}
