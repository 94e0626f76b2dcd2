//! The leader's half of a write: every check, and the transaction that comes of it (Apache `PrepRequestProcessor`).

mod job;
mod outstanding;

#[cfg(test)]
mod tests;

use bytes::Bytes;
use palisade_wire::txn::{Txn, TxnHeader, TxnRecord};
use palisade_wire::{ErrorCode, Id, SessionId, Zxid};

use crate::session::SessionState;
use crate::tree::DataTree;
use job::Job;
use outstanding::{Draft, Outstanding};

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
/// Invariants: the digest in a record equals that of the tree after it is applied; applying a record that is no
/// error never fails. They hold if `tree` is the same in every call, has everything applied that came before
/// the first call (or [`Preparer::reset`]), and from then on only this preparer's transactions, in order.
#[derive(Debug)]
pub struct Preparer {
    config: PrepareConfig,
    outstanding: Outstanding,
}

impl Preparer {
    /// Nothing is outstanding.
    pub fn new(config: PrepareConfig) -> Self {
        Self { config, outstanding: Outstanding::default() }
    }

    /// Turns a request into its transaction. Always exactly one: what fails becomes an error transaction, a
    /// multi with a failing operation a multi with error parts.
    ///
    /// `zxid` must follow that of the previous record; `time_ms` is the wall clock. `state` is that of
    /// the request's session as seen from the connection that the request came by. Reads, sync and ping are not
    /// for this; they would become errors. So would a lone check, which no replica could read back
    /// (ZOOKEEPER-2623), and a deleteContainer, which needs no permission and is the leader's alone.
    pub fn prepare(
        &mut self,
        tree: &DataTree,
        request: &PrepareRequest,
        state: SessionState,
        zxid: Zxid,
        time_ms: i64,
    ) -> TxnRecord {
        let header = TxnHeader { session: request.session, cxid: request.cxid, zxid, time: time_ms };
        self.record(tree, header, state, request.auth.as_deref(), |job| job.write(request))
    }

    /// The beginning of a session under an id that its gateway chose. `cxid` tells who asked, and is 0 as a rule.
    pub fn prepare_create_session(
        &mut self,
        tree: &DataTree,
        (session, cxid): (SessionId, i32),
        timeout_ms: i32,
        zxid: Zxid,
        time_ms: i64,
    ) -> TxnRecord {
        let header = TxnHeader { session, cxid, zxid, time: time_ms };
        self.record(tree, header, SessionState::Open, None, |_| Ok(Txn::CreateSession(timeout_ms)))
    }

    /// The end of a session, with all ephemerals that it will have by then. `cxid` is 0 on expiry.
    ///
    /// From now on every request of the session must come with [`SessionState::Closing`].
    pub fn prepare_close_session(
        &mut self,
        tree: &DataTree,
        session: SessionId,
        cxid: i32,
        zxid: Zxid,
        time_ms: i64,
    ) -> TxnRecord {
        let header = TxnHeader { session, cxid, zxid, time: time_ms };
        self.record(tree, header, SessionState::Open, None, |job| Ok(job.close_session()))
    }

    /// The reaping of a container or TTL znode, if it still has no children.
    pub fn prepare_delete_container(
        &mut self,
        tree: &DataTree,
        path: &str,
        zxid: Zxid,
        time_ms: i64,
    ) -> TxnRecord {
        let header = TxnHeader { session: 0, cxid: 0, zxid, time: time_ms };
        self.record(tree, header, SessionState::Open, None, |job| job.delete_container(path))
    }

    /// Forgets what transactions up to `zxid`, now applied to the tree, had outstanding.
    pub fn applied(&mut self, zxid: Zxid) {
        self.outstanding.applied(zxid);
    }

    /// Forgets everything: leadership begins or ends.
    pub fn reset(&mut self) {
        self.outstanding.clear();
    }

    /// Number of transactions that have effects outstanding.
    pub fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    fn record(
        &mut self,
        tree: &DataTree,
        header: TxnHeader,
        state: SessionState,
        auth: Option<&[Id]>,
        make: impl FnOnce(&mut Job<'_>) -> Result<Txn, ErrorCode>,
    ) -> TxnRecord {
        let draft = Draft::new(&mut self.outstanding, tree, header.zxid);
        let mut job = Job { draft, config: self.config, header, state, auth, acl_bytes: 0 };
        match make(&mut job) {
            Ok(txn) => TxnRecord { header, txn, digest: Some(job.draft.commit()) },
            Err(code) => TxnRecord { header, txn: Txn::Error(code), digest: None },
        }
    }
}
