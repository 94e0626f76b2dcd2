//! The data tree: every replica at the same zxid holds an identical one (Apache `DataTree`).

mod outcome;

pub use outcome::{Change, PartOutcome, TxnOutcome, TxnResult};

use palisade_wire::txn::{Txn, TxnHeader};
use palisade_wire::{Acl, SessionId, Stat, Zxid};

/// What keeps a znode alive (Apache `EphemeralType`, the stored `ephemeralOwner`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// Nothing: it stays until it is deleted.
    Persistent,
    /// This session.
    Ephemeral(SessionId),
    /// Its children: a container is reaped after its last child went.
    Container,
    /// Its children and changes: reaped when it had neither for this many ms.
    Ttl(i64),
}

/// Znodes, sessions, and the digest over them.
///
/// Reads take `&self` and do not allocate. [`DataTree::apply`] is deterministic: it looks at the transaction and
/// the tree and at nothing else.
#[derive(Clone, Debug)]
pub struct DataTree {
    _todo: (),
}

/// One znode, borrowed from the tree.
#[derive(Clone, Copy, Debug)]
pub struct NodeRef<'a> {
    _tree: &'a DataTree,
}

impl Default for DataTree {
    fn default() -> Self {
        Self::new()
    }
}

impl DataTree {
    /// The tree of a fresh server: "/", /zookeeper, /zookeeper/quota and /zookeeper/config, digest 1371985504.
    pub fn new() -> Self {
        todo!()
    }

    /// The last transaction applied; [`Zxid::ZERO`] on a fresh tree.
    pub fn last_zxid(&self) -> Zxid {
        todo!()
    }

    /// Declares the tree to stand at `zxid`: after loading a snapshot of that name, and when an epoch begins.
    pub fn set_last_zxid(&mut self, _zxid: Zxid) {
        todo!()
    }

    /// Applies one transaction whole and reports what changed, in the order in which watches must fire:
    /// the znode itself, then its parent's children.
    ///
    /// Never fails: what cannot be done (its effect is already there, in a replay over a fuzzy snapshot) is
    /// left undone, and the outcome says so. Applying a transaction again is harmless. [`DataTree::last_zxid`]
    /// rises after the whole transaction and never falls. A multi with an error part has no effects.
    pub fn apply<'t>(
        &mut self,
        _header: &TxnHeader,
        _txn: &'t Txn,
        _changes: &mut impl FnMut(Change<'_>),
    ) -> TxnOutcome<'t> {
        todo!()
    }

    /// The znode at `path`; "" and "/" are both the root.
    pub fn node(&self, _path: &str) -> Option<NodeRef<'_>> {
        todo!()
    }

    /// Number of znodes as Apache reports it: one more than there are (5 on a fresh tree).
    pub fn node_count(&self) -> usize {
        todo!()
    }

    /// Number of ephemeral znodes.
    pub fn ephemeral_count(&self) -> usize {
        todo!()
    }

    /// Paths of a session's ephemeral znodes, in an order that is the same on every call.
    pub fn ephemerals(&self, _session: SessionId) -> impl Iterator<Item = &str> {
        std::iter::empty()
    }

    /// Sessions that own at least one ephemeral znode, each once, ascending.
    pub fn ephemeral_owners(&self) -> impl Iterator<Item = SessionId> {
        std::iter::empty()
    }

    /// Number of all descendants of `path` (not itself); `None` if it does not exist. Walks the subtree.
    pub fn descendants(&self, _path: &str) -> Option<usize> {
        todo!()
    }

    /// Bytes of all paths and data (`zk_approximate_data_size`).
    pub fn approximate_data_size(&self) -> u64 {
        todo!()
    }

    /// Apache's tree digest, version 2, kept up to date by every change.
    pub fn digest(&self) -> u64 {
        todo!()
    }

    /// The digest computed from scratch; equals [`DataTree::digest`]. For tests and audits: visits every znode.
    pub fn recompute_digest(&self) -> u64 {
        todo!()
    }

    /// Global sessions and their timeouts in ms, ascending by id.
    pub fn sessions(&self) -> impl ExactSizeIterator<Item = (SessionId, i32)> {
        std::iter::empty()
    }

    /// The timeout, in ms, of a global session that was created and not yet closed.
    pub fn session_timeout(&self, _session: SessionId) -> Option<i32> {
        todo!()
    }

    /// Paths of at most `limit` znodes that may be reaped at wall clock `now_ms` (Apache `ContainerManager`):
    /// containers that had children and have none left (or never had any for `max_never_used_ms`, 0 = for ever),
    /// and znodes without children whose time to live has passed.
    pub fn reapable(&self, _now_ms: i64, _max_never_used_ms: i64, _limit: usize) -> Vec<String> {
        todo!()
    }
}

impl<'a> NodeRef<'a> {
    /// Full path; "/" for the root.
    pub fn path(&self) -> &'a str {
        todo!()
    }

    /// Data; null and empty are distinct.
    pub fn data(&self) -> Option<&'a [u8]> {
        todo!()
    }

    /// Metadata as clients see it.
    pub fn stat(&self) -> Stat {
        todo!()
    }

    /// The access control list.
    pub fn acl(&self) -> &'a [Acl] {
        todo!()
    }

    /// Names of the children, in no particular order.
    pub fn children(&self) -> impl ExactSizeIterator<Item = &'a str> + use<'a> {
        std::iter::empty()
    }

    /// Number of children.
    pub fn children_count(&self) -> usize {
        todo!()
    }

    /// What keeps it alive.
    pub fn owner(&self) -> Owner {
        todo!()
    }

    /// Transaction that created it.
    pub fn czxid(&self) -> Zxid {
        todo!()
    }

    /// Transaction that last set its data.
    pub fn mzxid(&self) -> Zxid {
        todo!()
    }

    /// Transaction that last created or deleted a child.
    pub fn pzxid(&self) -> Zxid {
        todo!()
    }

    /// The stored `cversion`: number of children ever created, the next sequence number. The one in
    /// [`NodeRef::stat`] counts deletions too.
    pub fn created_children(&self) -> i32 {
        todo!()
    }
}
