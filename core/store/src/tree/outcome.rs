use palisade_wire::{Acl, ErrorCode, OpCode, SessionId, Stat};

/// Something that a transaction did, told while it is applied.
///
/// The ACL is the one against which READ is checked before a watch event is delivered (ZOOKEEPER-4799).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// A znode was created.
    Created {
        /// Full path.
        path: &'a str,
        /// The new znode's ACL.
        acl: &'a [Acl],
        /// Whether a session owns it.
        is_ephemeral: bool,
    },
    /// A znode was deleted.
    Deleted {
        /// Full path.
        path: &'a str,
        /// Its last ACL.
        acl: &'a [Acl],
        /// When it was created, in ms since 1970 by the leader's clock, if a session owned it.
        ephemeral_since: Option<i64>,
    },
    /// A znode's data was set, to other bytes or the same.
    DataChanged {
        /// Full path.
        path: &'a str,
        /// Its ACL.
        acl: &'a [Acl],
    },
    /// A child was created or deleted; follows the child's own change.
    ChildrenChanged {
        /// Full path of the parent.
        path: &'a str,
        /// The parent's ACL.
        acl: &'a [Acl],
    },
    /// A global session began.
    SessionCreated {
        /// Its id.
        session: SessionId,
        /// Its timeout in ms.
        timeout_ms: i32,
    },
    /// A global session ended, by its client or by expiry. Its ephemerals were told before.
    SessionClosed {
        /// Its id.
        session: SessionId,
    },
}

/// What became of a transaction: all that the reply to its client needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnOutcome<'t> {
    /// The reply's code. Of a multi always OK: its parts have their own.
    pub error: ErrorCode,
    /// The reply's body.
    pub result: TxnResult<'t>,
}

/// The body of a successful write's reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnResult<'t> {
    /// None: delete, check, sessions, and everything that failed.
    None,
    /// A create of any kind. The reply to [`OpCode::Create`] has the path only.
    Created {
        /// Full path, sequence number included.
        path: &'t str,
        /// Metadata as of this transaction.
        stat: Stat,
    },
    /// A setData or setACL, or a reconfig: metadata as of this transaction.
    Stat(Stat),
    /// A multi: one outcome per operation. If one failed, so did all: OK before it, RUNTIME_INCONSISTENCY after.
    Multi(Vec<PartOutcome<'t>>),
}

/// The outcome of one operation of a multi.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartOutcome<'t> {
    /// The part's type; [`OpCode::Error`] for every part of a failed multi.
    pub op: OpCode,
    /// Its outcome.
    pub outcome: TxnOutcome<'t>,
}

impl TxnOutcome<'_> {
    /// Success without a body.
    pub const OK: Self = Self { error: ErrorCode::OK, result: TxnResult::None };

    /// A failure.
    pub const fn error(error: ErrorCode) -> Self {
        Self { error, result: TxnResult::None }
    }
}
