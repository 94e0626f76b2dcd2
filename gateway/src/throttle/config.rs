//! `[throttle]`: how much clients may ask of the core.

use std::time::Duration;

use palisade_wire::ErrorCode;

/// `[throttle]`: how much clients may ask of the core. Can be changed while the gateway runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Throttle {
    /// What a refused request is answered with.
    pub refusal: Refusal,
    /// How long a request is held back at most before it is refused; a third of the session's timeout if that is
    /// less.
    pub max_delay: Duration,
    /// Creates, sets and multis.
    pub writes: Limit,
    /// Bytes of such requests.
    pub write_bytes: Limit,
    /// Ephemeral sequential creates: acquisitions of locks, candidacies.
    pub locks: Limit,
    /// New parents of such creates, below prefixes whose locks are held for a short time only.
    pub lock_parents: Limit,
}

/// One limit: so much per second and key, 0 for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What happens to what exceeds it.
    pub mode: Mode,
    /// Of all clients together.
    pub tenant: u32,
    /// Of one client address.
    pub address: u32,
    /// Of one session.
    pub session: u32,
    /// Of one path: the parent of what is written, or the parent of a lock's parent.
    pub prefix: u32,
}

/// What happens to what exceeds a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nothing: it is not even counted.
    #[default]
    Off,
    /// It is counted and logged, and passes.
    Report,
    /// It waits, and what comes behind it in the same session with it; pings are answered.
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

/// Nothing that a healthy tenant does is held back; what only a runaway client does is told; a storm of fine-grained
/// locks is slowed down to what a core can bear beside everything else.
impl Default for Throttle {
    fn default() -> Self {
        let reported =
            |tenant, address, session| Limit { mode: Mode::Report, tenant, address, session, prefix: 0 };
        Self {
            refusal: Refusal::default(),
            max_delay: Duration::from_secs(2),
            writes: reported(50_000, 50_000, 20_000),
            write_bytes: reported(64 << 20, 64 << 20, 32 << 20),
            locks: reported(20_000, 20_000, 5_000),
            lock_parents: Limit { mode: Mode::Delay, tenant: 500, address: 250, session: 50, prefix: 250 },
        }
    }
}
