//! The data tree: every replica at the same zxid holds an identical one (Apache `DataTree`).

mod acls;
mod apply;
mod edit;
mod index;
mod node;
mod outcome;
mod packed;
mod quota;
mod read;
mod slab;
mod tracked;

#[cfg(test)]
mod tests;

pub use node::Owner;
pub use outcome::{Change, PartOutcome, TxnOutcome, TxnResult};
pub use read::NodeRef;
pub use tracked::Usage;

pub(crate) use acls::{AclId, AclTable};
pub(crate) use node::{Meta, NodeId, content_crc, node_digest};
pub(crate) use packed::Node;

use std::collections::{BTreeMap, BTreeSet};

use palisade_wire::{Acl, SessionId, Zxid};

use index::PathIndex;
use quota::Quotas;
use slab::Slab;
use tracked::Tracked;

/// The znodes that every tree has and nobody may delete, "/" aside.
pub(crate) const ZOOKEEPER: &str = "/zookeeper";
/// Limits and counts of sub-trees are kept below this znode.
pub(crate) const QUOTA: &str = "/zookeeper/quota";
/// The ensemble's configuration.
pub(crate) const CONFIG: &str = "/zookeeper/config";

/// Znodes, sessions, and the digest over them.
///
/// Reads take `&self` and do not allocate. [`DataTree::apply`] is deterministic: it looks at the transaction and
/// the tree and at nothing else.
#[derive(Clone)]
pub struct DataTree {
    nodes: Slab,
    index: PathIndex,
    acls: AclTable,
    ephemerals: BTreeSet<(SessionId, NodeId)>,
    /// Containers and znodes with a time to live.
    mortal: BTreeSet<NodeId>,
    /// Global sessions and their timeouts in ms.
    sessions: BTreeMap<SessionId, i32>,
    quotas: Quotas,
    digest: u64,
    /// Bytes of all paths and data.
    content_bytes: u64,
    tracked: Tracked,
    last_zxid: Zxid,
}

impl Default for DataTree {
    fn default() -> Self {
        Self::new()
    }
}

impl DataTree {
    /// The tree of a fresh server: "/", /zookeeper, /zookeeper/quota and /zookeeper/config, digest 1371985504.
    pub fn new() -> Self {
        let mut tree = Self::empty();
        let root = tree.insert_built_in(NodeId::ROOT, "", &Acl::open(), 0);
        let zookeeper = tree.insert_built_in(root, ZOOKEEPER, &Acl::open(), 0);
        tree.insert_built_in(zookeeper, QUOTA, &Acl::open(), 0);
        tree.ensure_config();
        tree
    }

    fn insert_built_in(&mut self, parent: NodeId, path: &str, acl: &[Acl], aversion: i32) -> NodeId {
        let meta = Meta { aversion, acl: self.acls.intern(acl), ..Meta::default() };
        self.insert(parent, Node::new(path, Some(&[]), meta))
    }

    /// No znode at all, not even the root: for a snapshot to fill.
    pub(crate) fn empty() -> Self {
        Self {
            nodes: Slab::default(),
            index: PathIndex::default(),
            acls: AclTable::new(),
            ephemerals: BTreeSet::new(),
            mortal: BTreeSet::new(),
            sessions: BTreeMap::new(),
            quotas: Quotas::default(),
            digest: 0,
            content_bytes: 0,
            tracked: Tracked::default(),
            last_zxid: Zxid::ZERO,
        }
    }

    /// Creates /zookeeper/config if a snapshot (of 3.4) lacks it. Clients may read but not write it.
    pub(crate) fn ensure_config(&mut self) {
        if let (Some(parent), None) = (self.find(ZOOKEEPER), self.find(CONFIG)) {
            self.insert_built_in(parent, CONFIG, &Acl::read_only(), -1);
        }
    }

    /// Replaces the text of /zookeeper/config outside of any transaction, as a voter does when it starts or has
    /// loaded a leader's snapshot. The znode is not part of the digest.
    ///
    /// `version` is the configuration's own version, `time_ms` the wall clock.
    pub fn set_config(&mut self, text: &[u8], version: Zxid, time_ms: i64) {
        if let Some(id) = self.find(CONFIG) {
            self.replace_data(id, Some(text), |meta| meta.data_set(-1, version, time_ms));
        }
    }

    /// Declares the tree to stand at `zxid`, as when an epoch begins. No znode may be younger.
    pub const fn set_last_zxid(&mut self, zxid: Zxid) {
        self.last_zxid = zxid;
    }
}
