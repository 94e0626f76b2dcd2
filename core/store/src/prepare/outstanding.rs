//! What was prepared but not yet applied, and one transaction in the making on top of it.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;
use palisade_wire::{Acl, SessionId, Zxid};

use crate::tree::{DataTree, Meta, Owner, content_crc, node_digest};

/// A znode as it will be once everything that was prepared is applied.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// Its `acl` means nothing: [`View::acl`] is the list.
    pub(super) meta: Meta,
    pub(super) acl: Arc<[Acl]>,
    pub(super) children: usize,
    pub(super) data_len: usize,
    content_crc: u32,
}

impl View {
    /// A znode about to be created.
    pub(super) fn new(path: &str, data: Option<&[u8]>, meta: Meta, acl: Arc<[Acl]>) -> Self {
        let data_len = data.map_or(0, <[u8]>::len);
        Self { meta, acl, children: 0, data_len, content_crc: content_crc(path, data) }
    }

    fn in_tree(tree: &DataTree, path: &str) -> Option<Self> {
        let node = tree.get(tree.find(path)?)?;
        Some(Self {
            meta: node.meta(),
            acl: tree.acls().get(node.acl()).clone(),
            children: node.children().len(),
            data_len: node.data_len(),
            content_crc: node.content_crc,
        })
    }

    pub(super) fn set_data(&mut self, path: &str, data: Option<&[u8]>) {
        self.content_crc = content_crc(key(path), data);
        self.data_len = data.map_or(0, <[u8]>::len);
    }

    fn digest(&self, path: &str) -> u64 {
        node_digest(path, self.content_crc, &self.meta)
    }
}

/// The latest prepared state of one path.
#[derive(Clone, Debug)]
struct Record {
    zxid: Zxid,
    /// `None`: deleted.
    view: Option<View>,
}

/// Which paths a prepared transaction touched.
#[derive(Debug)]
struct Touched {
    zxid: Zxid,
    paths: Vec<Arc<str>>,
}

/// Prepared states over the tree, oldest transaction first.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    records: HashMap<Arc<str>, Record>,
    queue: VecDeque<Touched>,
    /// The tree's digest after the last of the queue; means nothing if the queue is empty.
    digest: u64,
}

impl Outstanding {
    /// Forgets transactions up to `zxid`: the tree has them.
    pub(super) fn applied(&mut self, zxid: Zxid) {
        while let Some(touched) = self.queue.pop_front_if(|t| t.zxid <= zxid) {
            for path in touched.paths {
                if self.records.get(&path).is_some_and(|record| record.zxid <= zxid) {
                    self.records.remove(&path);
                }
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.records.clear();
        self.queue.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }
}

/// One transaction in the making. Dropped without [`Draft::commit`], it leaves no trace.
pub(super) struct Draft<'a> {
    outstanding: &'a mut Outstanding,
    tree: &'a DataTree,
    zxid: Zxid,
    /// Before this transaction, and so far.
    digest_before: u64,
    digest: u64,
    /// What the touched paths had before, in order.
    undo: Vec<(Arc<str>, Option<Record>)>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(outstanding: &'a mut Outstanding, tree: &'a DataTree, zxid: Zxid) -> Self {
        let digest = if outstanding.queue.is_empty() { tree.digest() } else { outstanding.digest };
        Self { outstanding, tree, zxid, digest_before: digest, digest, undo: Vec::new() }
    }

    /// The znode at `path` after all that was prepared, this transaction's part so far included.
    pub(super) fn view(&self, path: &str) -> Option<View> {
        match self.outstanding.records.get(key(path)) {
            Some(record) => record.view.clone(),
            None => View::in_tree(self.tree, path),
        }
    }

    /// `acl` as a [`View`] holds it.
    pub(super) fn share_acl(&self, acl: &[Acl]) -> Arc<[Acl]> {
        self.tree.acls().share(acl)
    }

    /// [`DataTree::quota_forbids`] of the tree as it is applied.
    pub(super) fn quota_forbids(&self, path: &str, bytes: i64, count: i64) -> bool {
        self.tree.quota_forbids(path, bytes, count)
    }

    /// Replaces `old`, which must be [`Draft::view`] of `path`, by `new`.
    pub(super) fn replace(&mut self, path: &str, old: Option<&View>, new: Option<View>) {
        let path = key(path);
        let share = |view: Option<&View>| view.map_or(0, |view| view.digest(path));
        self.digest = self.digest.wrapping_sub(share(old)).wrapping_add(share(new.as_ref()));
        let record = Record { zxid: self.zxid, view: new };
        let shared = match self.outstanding.records.get_key_value(path) {
            Some((shared, _)) => shared.clone(),
            None => path.into(),
        };
        let before = self.outstanding.records.insert(shared.clone(), record);
        self.undo.push((shared, before));
    }

    /// Paths of the ephemerals that `session` will have, ascending.
    pub(super) fn ephemerals(&self, session: SessionId) -> Vec<String> {
        let owned = |view: &View| Owner::from_stored(view.meta.owner) == Owner::Ephemeral(session);
        let stored = self.tree.ephemerals(session);
        let kept = stored.filter(|path| match self.outstanding.records.get(*path) {
            Some(record) => record.view.as_ref().is_some_and(owned),
            None => true,
        });
        let prepared = self.outstanding.records.iter();
        let prepared = prepared.filter(|(_, record)| record.view.as_ref().is_some_and(owned));
        let mut paths: Vec<_> = kept.chain(prepared.map(|(path, _)| &**path)).map(str::to_owned).collect();
        paths.sort_unstable();
        paths.dedup();
        paths
    }

    /// Undoes what this transaction has done so far.
    pub(super) fn roll_back(&mut self) {
        for (path, before) in self.undo.drain(..).rev() {
            match before {
                Some(record) => self.outstanding.records.insert(path, record),
                None => self.outstanding.records.remove(&path),
            };
        }
        self.digest = self.digest_before;
    }

    /// Makes it outstanding; yields the digest of the tree after it.
    pub(super) fn commit(mut self) -> u64 {
        if !self.undo.is_empty() {
            let paths = self.undo.drain(..).map(|(path, _)| path).collect();
            self.outstanding.queue.push_back(Touched { zxid: self.zxid, paths });
            self.outstanding.digest = self.digest;
        }
        self.digest
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        self.roll_back();
    }
}

/// The root is known as "".
fn key(path: &str) -> &str {
    if path == "/" { "" } else { path }
}
