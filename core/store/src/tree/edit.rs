//! Edits that keep the tree's parts consistent: index, children, ephemerals, ACL uses, sizes and digest.

use palisade_wire::Acl;

use super::node::{Meta, NodeId};
use super::packed::Node;
use super::{DataTree, Owner};

impl DataTree {
    /// Which znode is at `path`; "" and "/" are both the root.
    pub(crate) fn find(&self, path: &str) -> Option<NodeId> {
        match path {
            "" | "/" => Some(NodeId::ROOT),
            _ => self.index.find(path.as_bytes(), &self.nodes),
        }
    }

    pub(crate) fn get(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id)
    }

    /// Puts a znode, whose path must be new and whose ACL's use must be counted already, below `parent`. The
    /// parent's metadata stays as it is. The very first is the root, its own parent.
    pub(crate) fn insert(&mut self, parent: NodeId, mut node: Node) -> NodeId {
        node.parent = parent;
        node.place = self.nodes.get(parent).map_or(0, |p| p.children().len() as u32);
        self.digest = self.digest.wrapping_add(node.digest());
        self.content_bytes += node.content_bytes();
        self.tracked.inserted(&node);
        let owner = node.owner();
        let is_root = node.path_bytes().is_empty();
        let id = self.nodes.insert(node);
        match owner {
            Owner::Persistent => {}
            Owner::Ephemeral(session) => {
                self.ephemerals.insert((session, id));
            }
            Owner::Container | Owner::Ttl(_) => {
                self.mortal.insert(id);
            }
        }
        if !is_root {
            if let Some(parent) = self.nodes.get_mut(parent) {
                parent.add_child(id);
            }
            if let Some(node) = self.nodes.get(id) {
                self.index.insert(node.path_bytes(), id);
            }
        }
        id
    }

    /// Takes out a znode without children that is not the root. The parent's metadata stays as it is; the ACL's
    /// use stays counted, for the caller to release.
    pub(super) fn unlink(&mut self, id: NodeId) -> Option<Node> {
        if id == NodeId::ROOT {
            return None;
        }
        let path = self.nodes.get(id)?.path_bytes();
        self.index.remove(path, &self.nodes);
        let node = self.nodes.remove(id)?;
        self.remove_child(node.parent, node.place);
        self.digest = self.digest.wrapping_sub(node.digest());
        self.content_bytes -= node.content_bytes();
        self.tracked.removed(&node);
        match node.owner() {
            Owner::Persistent => {}
            Owner::Ephemeral(session) => {
                self.ephemerals.remove(&(session, id));
            }
            Owner::Container | Owner::Ttl(_) => {
                self.mortal.remove(&id);
            }
        }
        Some(node)
    }

    /// The last child moves to the place that becomes free.
    fn remove_child(&mut self, parent: NodeId, place: u32) {
        let moved = self.nodes.get_mut(parent).and_then(|parent| parent.remove_child(place));
        if let Some(moved) = moved.and_then(|id| self.nodes.get_mut(id)) {
            moved.place = place;
        }
    }

    /// Changes metadata and keeps the digest right.
    pub(super) fn edit_meta(&mut self, id: NodeId, edit: impl FnOnce(&mut Meta)) {
        if let Some(node) = self.nodes.get_mut(id) {
            let before = node.digest();
            edit_meta(node, edit);
            self.digest = self.digest.wrapping_sub(before).wrapping_add(node.digest());
        }
    }

    /// Replaces data and changes metadata.
    pub(super) fn replace_data(&mut self, id: NodeId, data: Option<&[u8]>, edit: impl FnOnce(&mut Meta)) {
        if let Some(node) = self.nodes.get_mut(id) {
            let (before, old_len) = (node.digest(), node.data_len());
            node.set_data(data);
            edit_meta(node, edit);
            self.digest = self.digest.wrapping_sub(before).wrapping_add(node.digest());
            self.content_bytes = self.content_bytes - old_len as u64 + node.data_len() as u64;
            self.tracked.data_replaced(node.path(), old_len, node.data_len());
        }
    }

    /// Replaces the ACL and changes metadata.
    pub(super) fn replace_acl(&mut self, id: NodeId, acl: &[Acl], edit: impl FnOnce(&mut Meta)) {
        let new = self.acls.intern(acl);
        let mut old = new;
        self.edit_meta(id, |meta| {
            old = std::mem::replace(&mut meta.acl, new);
            edit(meta);
        });
        self.acls.release(old);
    }
}

fn edit_meta(node: &mut Node, edit: impl FnOnce(&mut Meta)) {
    let mut meta = node.meta();
    edit(&mut meta);
    node.set_meta(&meta);
}
