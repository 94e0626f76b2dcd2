use std::fmt;
use std::ops::Bound;

use palisade_wire::{Acl, SessionId, Stat, Zxid};

use super::node::NodeId;
use super::packed::Node;
use super::{AclTable, DataTree, Owner};

/// One znode, borrowed from the tree.
#[derive(Clone, Copy)]
pub struct NodeRef<'a> {
    tree: &'a DataTree,
    node: &'a Node,
}

impl DataTree {
    /// The last transaction applied; [`Zxid::ZERO`] on a fresh tree.
    pub const fn last_zxid(&self) -> Zxid {
        self.last_zxid
    }

    /// The znode at `path`; "" and "/" are both the root.
    pub fn node(&self, path: &str) -> Option<NodeRef<'_>> {
        let node = self.get(self.find(path)?)?;
        Some(NodeRef { tree: self, node })
    }

    /// All znodes, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = NodeRef<'_>> {
        self.nodes.iter().map(|node| NodeRef { tree: self, node })
    }

    /// Number of znodes as Apache reports it: one more than there are (5 on a fresh tree).
    pub const fn node_count(&self) -> usize {
        self.nodes.len() + 1
    }

    /// Number of ephemeral znodes.
    pub fn ephemeral_count(&self) -> usize {
        self.ephemerals.len()
    }

    /// Paths of a session's ephemeral znodes, in an order that is the same on every call.
    pub fn ephemerals(&self, session: SessionId) -> impl Iterator<Item = &str> {
        let all = (session, NodeId::ROOT)..=(session, NodeId(u32::MAX));
        self.ephemerals.range(all).filter_map(|(_, id)| Some(self.get(*id)?.path()))
    }

    /// Sessions that own at least one ephemeral znode, each once, ascending.
    pub fn ephemeral_owners(&self) -> impl Iterator<Item = SessionId> {
        self.ephemeral_owners_after(None)
    }

    /// The same, beginning behind a session, so that a long listing need not hold the tree.
    pub fn ephemeral_owners_after(&self, session: Option<SessionId>) -> impl Iterator<Item = SessionId> {
        let mut from = session.map_or(Bound::Unbounded, |s| Bound::Excluded((s, NodeId(u32::MAX))));
        std::iter::from_fn(move || {
            let (session, _) = *self.ephemerals.range((from, Bound::Unbounded)).next()?;
            from = Bound::Excluded((session, NodeId(u32::MAX)));
            Some(session)
        })
    }

    /// Number of all descendants of `path` (not itself); `None` if it does not exist. Walks the subtree.
    pub fn descendants(&self, path: &str) -> Option<usize> {
        let id = self.find(path)?;
        if id == NodeId::ROOT {
            return Some(self.nodes.len() - 1);
        }
        let mut count = 0;
        let mut open = vec![id];
        while let Some(node) = open.pop().and_then(|id| self.get(id)) {
            count += node.children().len();
            open.extend_from_slice(node.children());
        }
        Some(count)
    }

    /// Bytes of all paths and data (`zk_approximate_data_size`).
    pub const fn approximate_data_size(&self) -> u64 {
        self.content_bytes
    }

    /// Apache's tree digest, version 2, kept up to date by every change.
    pub const fn digest(&self) -> u64 {
        self.digest
    }

    /// The digest computed from scratch; equals [`DataTree::digest`]. For tests and audits: visits every znode.
    pub fn recompute_digest(&self) -> u64 {
        let digest = |n: &Node| Node::new(n.path(), n.data(), n.meta()).digest();
        self.nodes.iter().map(digest).fold(0, u64::wrapping_add)
    }

    /// Global sessions and their timeouts in ms, ascending by id.
    pub fn sessions(&self) -> impl ExactSizeIterator<Item = (SessionId, i32)> {
        self.sessions.iter().map(|(id, timeout_ms)| (*id, *timeout_ms))
    }

    /// The same, beginning behind a session, so that a long listing need not hold the tree.
    pub fn sessions_after(&self, session: Option<SessionId>) -> impl Iterator<Item = (SessionId, i32)> {
        let from = session.map_or(Bound::Unbounded, Bound::Excluded);
        self.sessions.range((from, Bound::Unbounded)).map(|(id, timeout_ms)| (*id, *timeout_ms))
    }

    /// The timeout, in ms, of a global session that was created and not yet closed.
    pub fn session_timeout(&self, session: SessionId) -> Option<i32> {
        self.sessions.get(&session).copied()
    }

    /// Paths of at most `limit` znodes that may be reaped at wall clock `now_ms` (Apache `ContainerManager`):
    /// containers that had children and have none left (or never had any for `max_never_used_ms`, 0 = for ever),
    /// and znodes without children whose time to live has passed.
    pub fn reapable(&self, now_ms: i64, max_never_used_ms: i64, limit: usize) -> Vec<String> {
        let is_due = |node: &&Node| {
            let meta = node.meta();
            let age_ms = now_ms.saturating_sub(meta.mtime);
            node.children().is_empty()
                && match node.owner() {
                    Owner::Container if meta.cversion > 0 => true,
                    Owner::Container => max_never_used_ms != 0 && age_ms > max_never_used_ms,
                    Owner::Ttl(ttl_ms) => ttl_ms != 0 && age_ms > ttl_ms,
                    Owner::Persistent | Owner::Ephemeral(_) => false,
                }
        };
        let due = self.mortal.iter().filter_map(|id| self.get(*id)).filter(is_due);
        due.take(limit).map(|node| node.path().to_owned()).collect()
    }

    pub(crate) const fn acls(&self) -> &AclTable {
        &self.acls
    }

    pub(crate) const fn acls_mut(&mut self) -> &mut AclTable {
        &mut self.acls
    }
}

/// A summary: trees are large.
impl fmt::Debug for DataTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataTree")
            .field("last_zxid", &self.last_zxid)
            .field("znodes", &self.nodes.len())
            .field("sessions", &self.sessions.len())
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for NodeRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeRef")
            .field("path", &self.path())
            .field("data", &self.data())
            .field("acl", &self.acl())
            .field("owner", &self.owner())
            .field("stat", &self.stat())
            .finish()
    }
}

/// Equal in all that replicas must agree on, and in the znodes below /zookeeper too.
impl PartialEq for DataTree {
    fn eq(&self, other: &Self) -> bool {
        let same = |a: NodeRef<'_>| {
            other.node(a.path()).is_some_and(|b| {
                (a.data(), a.acl(), a.owner(), a.stat()) == (b.data(), b.acl(), b.owner(), b.stat())
            })
        };
        self.last_zxid == other.last_zxid
            && self.sessions == other.sessions
            && self.nodes.len() == other.nodes.len()
            && self.iter().all(same)
    }
}

impl Eq for DataTree {}

impl<'a> NodeRef<'a> {
    /// Full path; "/" for the root.
    pub fn path(&self) -> &'a str {
        if self.node.path_bytes().is_empty() { "/" } else { self.node.path() }
    }

    /// Data; null and empty are distinct.
    pub fn data(&self) -> Option<&'a [u8]> {
        self.node.data()
    }

    /// Metadata as clients see it.
    pub fn stat(&self) -> Stat {
        self.node.stat()
    }

    /// The access control list.
    pub fn acl(&self) -> &'a [Acl] {
        self.tree.acls.get(self.node.acl())
    }

    /// Names of the children, in no particular order.
    pub fn children(&self) -> impl ExactSizeIterator<Item = &'a str> + use<'a> {
        self.child_names().map(|name| std::str::from_utf8(name).unwrap_or_default())
    }

    /// The same as bytes, for those who only pass them on.
    pub fn child_names(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let Self { tree, node } = *self;
        let prefix = node.path_bytes().len() + 1;
        let name = move |id: &NodeId| tree.get(*id).and_then(|n| n.path_bytes().get(prefix..));
        node.children().iter().map(move |id| name(id).unwrap_or_default())
    }

    /// Number of children.
    pub fn children_count(&self) -> usize {
        self.node.children().len()
    }

    /// What keeps it alive.
    pub fn owner(&self) -> Owner {
        self.node.owner()
    }

    /// Transaction that created it.
    pub fn czxid(&self) -> Zxid {
        self.node.meta().czxid
    }

    /// Transaction that last set its data.
    pub fn mzxid(&self) -> Zxid {
        self.node.meta().mzxid
    }

    /// Transaction that last created or deleted a child.
    pub fn pzxid(&self) -> Zxid {
        self.node.meta().pzxid
    }

    /// The stored `cversion`: number of children ever created, the next sequence number. The one in
    /// [`NodeRef::stat`] counts deletions too.
    pub fn created_children(&self) -> i32 {
        self.node.meta().cversion
    }
}
