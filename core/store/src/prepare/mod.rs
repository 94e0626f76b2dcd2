//! The leader's half of a write: every check, and the transaction that comes of it (Apache `PrepRequestProcessor`).

use bytes::Bytes;
use palisade_wire::txn::TxnRecord;
use palisade_wire::{Id, SessionId, Zxid};

use crate::session::SessionState;
use crate::tree::DataTree;

/// A request as it reached the leader.
#[derive(Clone, Debug)]
pub struct PrepareRequest {
    /// The client's session.
    pub session: SessionId,
    /// The client's xid.
    pub cxid: i32,
    /// The [`palisade_wire::OpCode`], unchecked.
    pub op: i32,
    /// The request's record, unchecked.
    pub body: Bytes,
    /// Identities of the client's connection; `None` makes every write fail with MARSHALLING_ERROR, as Apache does.
    pub auth: Option<Vec<Id>>,
}

/// Settings that decide which requests are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrepareConfig {
    /// Whether znodes may have a time to live (`zookeeper.extendedTypesEnabled`). Must be equal on all replicas.
    pub extended_types: bool,
    /// Whether ACLs are ignored (`zookeeper.skipACL`).
    pub skip_acl: bool,
    /// Whether hard quotas are enforced (`zookeeper.enforceQuota`).
    pub enforce_quota: bool,
}

impl Default for PrepareConfig {
    fn default() -> Self {
        Self { extended_types: true, skip_acl: false, enforce_quota: false }
    }
}

/// Prepares transactions in order, over the tree and over what was prepared but not yet applied.
///
/// Invariant: the digest in a record equals that of the tree after it is applied.
#[derive(Debug)]
pub struct Preparer {
    _config: PrepareConfig,
}

impl Preparer {
    /// Nothing is outstanding.
    pub const fn new(config: PrepareConfig) -> Self {
        Self { _config: config }
    }

    /// Turns a request into its transaction. Always exactly one: what fails becomes an error transaction, a
    /// multi with a failing operation a multi with error parts.
    ///
    /// `zxid` must follow that of the previous record; `time_ms` is the wall clock. `state` is that of
    /// the request's session as seen from the connection that the request came by.
    pub fn prepare(
        &mut self,
        _tree: &DataTree,
        _request: &PrepareRequest,
        _state: SessionState,
        _zxid: Zxid,
        _time_ms: i64,
    ) -> TxnRecord {
        todo!()
    }

    /// The beginning of a session under an id that its gateway chose.
    pub fn prepare_create_session(
        &mut self,
        _tree: &DataTree,
        _session: SessionId,
        _timeout_ms: i32,
        _zxid: Zxid,
        _time_ms: i64,
    ) -> TxnRecord {
        todo!()
    }

    /// The end of a session, with all ephemerals that it will have by then. `cxid` is 0 on expiry.
    pub fn prepare_close_session(
        &mut self,
        _tree: &DataTree,
        _session: SessionId,
        _cxid: i32,
        _zxid: Zxid,
        _time_ms: i64,
    ) -> TxnRecord {
        todo!()
    }

    /// The reaping of a container or TTL znode, if it still has no children.
    pub fn prepare_delete_container(
        &mut self,
        _tree: &DataTree,
        _path: &str,
        _zxid: Zxid,
        _time_ms: i64,
    ) -> TxnRecord {
        todo!()
    }

    /// Forgets what transactions up to `zxid`, now applied to the tree, had outstanding.
    pub fn applied(&mut self, _zxid: Zxid) {
        todo!()
    }

    /// Forgets everything: leadership begins or ends.
    pub fn reset(&mut self) {
        todo!()
    }
}
