use std::sync::Arc;
use std::vec;

use bytes::{BufMut, BytesMut};
use palisade_wire::{Acl, SessionId, Writer, Zxid};

use super::TERMINATOR;
use crate::tree::{AclId, DataTree, Node, NodeId};

/// Writes a tree in chunks while transactions are applied in between.
///
/// The result is fuzzy: it holds every znode that the tree had at [`SnapshotCursor::zxid`] and has still, in its
/// present state, and no znode that was created later. Replaying every transaction after that zxid yields the exact
/// tree. (Leaving out later znodes is better than Apache does: a create that is replayed finds no znode in
/// its place, and never one whose ACL came too late for the map.)
#[derive(Debug)]
pub struct SnapshotCursor {
    zxid: Zxid,
    stage: Stage,
    sessions: vec::IntoIter<(SessionId, i32)>,
    acls: vec::IntoIter<(AclId, Arc<[Acl]>)>,
    /// Znodes whose parents were written.
    open: Vec<Pending>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Start,
    Sessions,
    Acls,
    Nodes,
    Done,
}

/// A znode to be written, if it is the same one still.
#[derive(Clone, Copy, Debug)]
struct Pending {
    id: NodeId,
    born: u32,
}

impl SnapshotCursor {
    /// Starts a snapshot of `tree` as it stands now. Copies the session table and the ACL lists' references.
    pub fn new(tree: &DataTree) -> Self {
        let sessions: Vec<_> = tree.sessions().collect();
        let acls: Vec<_> = tree.acls().iter().map(|(id, list)| (id, list.clone())).collect();
        let mut open = Vec::new();
        expand(tree, &[NodeId::ROOT], tree.last_zxid(), &mut open);
        Self {
            zxid: tree.last_zxid(),
            stage: Stage::Start,
            sessions: sessions.into_iter(),
            acls: acls.into_iter(),
            open,
        }
    }

    /// The transaction up to which the snapshot is complete: its file's name, or the SNAP packet's zxid.
    pub const fn zxid(&self) -> Zxid {
        self.zxid
    }

    /// Appends about `budget` bytes (at least one record) to `out`; true when the stream is complete.
    ///
    /// `tree` must be the one that the cursor was made of; it may have applied transactions since.
    pub fn write_chunk(&mut self, tree: &DataTree, out: &mut BytesMut, budget: usize) -> bool {
        let end = out.len().saturating_add(budget.max(1));
        while out.len() < end && self.stage != Stage::Done {
            self.write_record(tree, out);
        }
        self.stage == Stage::Done
    }

    fn write_record(&mut self, tree: &DataTree, out: &mut BytesMut) {
        match self.stage {
            Stage::Start => {
                out.put_i32(self.sessions.len() as i32);
                self.stage = Stage::Sessions;
            }
            Stage::Sessions => match self.sessions.next() {
                Some((session, timeout_ms)) => {
                    out.put_i64(session);
                    out.put_i32(timeout_ms);
                }
                None => {
                    out.put_i32(self.acls.len() as i32);
                    self.stage = Stage::Acls;
                }
            },
            Stage::Acls => match self.acls.next() {
                Some((id, list)) => {
                    out.put_i64(id.in_snapshot());
                    Acl::encode_list(&list, out);
                }
                None => self.stage = Stage::Nodes,
            },
            Stage::Nodes => match self.open.pop() {
                Some(pending) => self.write_node(tree, pending, out),
                None => {
                    out.write_string(TERMINATOR);
                    self.stage = Stage::Done;
                }
            },
            Stage::Done => {}
        }
    }

    fn write_node(&mut self, tree: &DataTree, pending: Pending, out: &mut BytesMut) {
        let same = |node: &&Node| node.born == pending.born;
        let Some(node) = tree.get(pending.id).filter(same) else {
            return;
        };
        out.reserve(super::NODE_FIXED + node.path_bytes().len() + node.data_len());
        out.write_buffer(node.path_bytes());
        out.write_opt_buffer(node.data());
        let meta = node.meta();
        out.put_i64(meta.acl.in_snapshot());
        for long in [meta.czxid.0, meta.mzxid.0, meta.ctime, meta.mtime] {
            out.put_i64(long);
        }
        for int in [meta.version, meta.cversion, meta.aversion] {
            out.put_i32(int);
        }
        out.put_i64(meta.owner);
        out.put_i64(meta.pzxid.0);
        expand(tree, node.children(), self.zxid, &mut self.open);
    }
}

/// Znodes created after `zxid` are left out.
fn expand(tree: &DataTree, ids: &[NodeId], zxid: Zxid, open: &mut Vec<Pending>) {
    let nodes = ids.iter().filter_map(|id| Some((*id, tree.get(*id)?)));
    let old = nodes.filter(|(_, node)| node.meta().czxid <= zxid);
    open.extend(old.map(|(id, node)| Pending { id, born: node.born }));
}
