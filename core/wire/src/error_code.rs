use std::fmt;

/// A result code in a reply or an error transaction (Apache `KeeperException.Code`).
///
/// A newtype rather than an enum: codes that we do not know pass through logs and replicas unchanged.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ErrorCode(pub i32);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal;)*) => {
        impl ErrorCode {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// The code's name, `None` if it is unknown.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    /// Success.
    OK = 0;
    /// A later operation of a multi whose earlier one failed.
    RUNTIME_INCONSISTENCY = -2;
    /// The connection was lost while the outcome was unknown.
    CONNECTION_LOSS = -4;
    /// The request's bytes were not a record.
    MARSHALLING_ERROR = -5;
    /// The operation does not exist here.
    UNIMPLEMENTED = -6;
    /// The operation took too long; its outcome is unknown.
    OPERATION_TIMEOUT = -7;
    /// An argument is not allowed.
    BAD_ARGUMENTS = -8;
    /// The session is not known (between servers only).
    UNKNOWN_SESSION = -12;
    /// A new configuration has no synced quorum.
    NEW_CONFIG_NO_QUORUM = -13;
    /// Another reconfiguration is under way.
    RECONFIG_IN_PROGRESS = -14;
    /// The znode does not exist.
    NO_NODE = -101;
    /// Permission denied.
    NO_AUTH = -102;
    /// The version is not the expected one.
    BAD_VERSION = -103;
    /// Ephemeral znodes have no children.
    NO_CHILDREN_FOR_EPHEMERALS = -108;
    /// The znode exists already.
    NODE_EXISTS = -110;
    /// The znode has children.
    NOT_EMPTY = -111;
    /// The session has expired or is closing.
    SESSION_EXPIRED = -112;
    /// The ACL is not valid.
    INVALID_ACL = -114;
    /// Authentication failed.
    AUTH_FAILED = -115;
    /// The session has moved to another server.
    SESSION_MOVED = -118;
    /// A write on a read-only server.
    NOT_READONLY = -119;
    /// An ephemeral znode for a local session that cannot be upgraded.
    EPHEMERAL_ON_LOCAL_SESSION = -120;
    /// No such watch.
    NO_WATCHER = -121;
    /// Reconfiguration is disabled.
    RECONFIG_DISABLED = -123;
    /// The session must authenticate first.
    SESSION_CLOSED_REQUIRE_SASL_AUTH = -124;
    /// A hard quota is exceeded.
    QUOTA_EXCEEDED = -125;
    /// The request was throttled away.
    THROTTLED_OP = -127;
}

impl ErrorCode {
    /// Whether this is [`ErrorCode::OK`].
    pub const fn is_ok(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "ErrorCode({})", self.0),
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
