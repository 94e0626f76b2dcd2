//! A very small tree.

use std::collections::BTreeMap;

use palisade_watch::check::Change;
use palisade_wire::reply::EventType::{NodeChildrenChanged, NodeCreated, NodeDataChanged, NodeDeleted};
use palisade_wire::{Zxid, path};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

pub(crate) const PATHS: [&str; 6] = ["/a", "/a/x", "/a/y", "/a/x/z", "/b", "/"];

pub(crate) struct Node {
    pub(crate) mzxid: Zxid,
    pub(crate) pzxid: Zxid,
}

pub(crate) struct Tree {
    pub(crate) nodes: BTreeMap<&'static str, Node>,
    pub(crate) zxid: Zxid,
}

impl Default for Tree {
    fn default() -> Self {
        let root = Node { mzxid: Zxid(0), pzxid: Zxid(0) };
        Self { nodes: BTreeMap::from([("/", root)]), zxid: Zxid(0) }
    }
}

impl Tree {
    /// One transaction, of one or two operations; what it changed.
    pub(crate) fn write(&mut self, random: &mut ChaCha8Rng) -> Vec<Change> {
        self.zxid = Zxid(self.zxid.0 + 1);
        let mut changes = Vec::<Change>::new();
        for _ in 0..if random.random_bool(0.1) { 2 } else { 1 } {
            let path = PATHS[random.random_range(0..PATHS.len())];
            // Neither to a path nor to its parent's list does one transaction do the same twice.
            if changes.iter().any(|change| change.path == path || path::parent(path) == Some(&*change.path)) {
                continue;
            }
            self.write_one(path, random.random_bool(0.4), &mut changes);
        }
        changes
    }

    fn write_one(&mut self, path: &'static str, delete: bool, changes: &mut Vec<Change>) {
        let zxid = self.zxid;
        let Some(parent) = path::parent(path) else { return };
        let is_parent = self.nodes.keys().any(|other| path::parent(other) == Some(path));
        match (self.nodes.contains_key(path), delete && !is_parent) {
            (true, true) => {
                self.nodes.remove(path);
                changes.push(Change::new(zxid, NodeDeleted, path));
            }
            (true, false) => {
                self.nodes.entry(path).and_modify(|node| node.mzxid = zxid);
                changes.push(Change::new(zxid, NodeDataChanged, path));
                return;
            }
            (false, _) if self.nodes.contains_key(parent) => {
                self.nodes.insert(path, Node { mzxid: zxid, pzxid: zxid });
                changes.push(Change::new(zxid, NodeCreated, path));
            }
            (false, _) => return,
        }
        if let Some(node) = self.nodes.get_mut(parent) {
            node.pzxid = zxid;
        }
        changes.push(Change::new(zxid, NodeChildrenChanged, parent));
    }
}
