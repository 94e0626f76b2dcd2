use bytes::{Buf, BytesMut};
use hashbrown::HashMap;
use palisade_wire::{Acl, DecodeError, Reader, Zxid};
use thiserror::Error;

use super::{NODE_FIXED, TERMINATOR};
use crate::tree::{AclId, DataTree, Meta, Node, NodeId};

/// Why a stream is not a tree.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SnapshotError {
    /// A record is malformed.
    #[error("record at byte {offset} of the tree stream: {source}")]
    Record {
        /// Where the record starts, in bytes from the start of the stream.
        offset: u64,
        /// What is wrong.
        source: DecodeError,
    },
    /// A znode whose parent did not come before it, or a stream without a root.
    #[error("znode {path:?} at byte {offset} of the tree stream has no parent before it")]
    Orphan {
        /// The znode's path; empty if the root is missing.
        path: String,
        /// Where its record starts.
        offset: u64,
    },
    /// A path came twice.
    #[error("znode {path:?} at byte {offset} of the tree stream came before")]
    Duplicate {
        /// The znode's path.
        path: String,
        /// Where its second record starts.
        offset: u64,
    },
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    SessionCount,
    /// How many are still to come.
    Sessions(u32),
    AclCount,
    /// How many are still to come.
    Acls(u32),
    Nodes,
}

/// What one record was.
enum Step {
    /// The next one is of this kind.
    Go(Stage),
    End,
}

/// Reads a tree stream as its bytes arrive.
#[derive(Debug)]
pub struct SnapshotReader {
    tree: DataTree,
    stage: Stage,
    /// Ids in the stream. Each list is used once by this map until the end.
    acls: HashMap<i64, AclId>,
    has_root: bool,
    /// Bytes consumed.
    offset: u64,
}

impl SnapshotReader {
    /// Expects the first byte of the snapshot taken at `zxid`: the one in its file's name, or of its SNAP packet.
    pub fn new(zxid: Zxid) -> Self {
        let mut tree = DataTree::empty();
        tree.set_last_zxid(zxid);
        Self { tree, stage: Stage::SessionCount, acls: HashMap::new(), has_root: false, offset: 0 }
    }

    /// Consumes whole records from `input` and leaves the rest for the next call with more bytes behind it.
    ///
    /// Yields the tree once the terminator was consumed; what is left in `input` then is what follows the stream.
    /// No single field (and no ACL) may exceed `max_field` bytes, so that `input` need never hold more than about
    /// twice that.
    ///
    /// # Errors
    /// [`SnapshotError`] if the stream is not a tree. The reader is of no further use then, as after the tree.
    pub fn feed(
        &mut self,
        input: &mut BytesMut,
        max_field: usize,
    ) -> Result<Option<DataTree>, SnapshotError> {
        loop {
            let mut r = Reader::new(input);
            let step = match self.record(&mut r, max_field) {
                Ok(step) => step,
                Err(SnapshotError::Record { source: DecodeError::Truncated { .. }, .. }) => return Ok(None),
                Err(error) => return Err(error),
            };
            let used = input.len() - r.rest().len();
            input.advance(used);
            self.offset += used as u64;
            match step {
                Step::Go(stage) => self.stage = stage,
                Step::End => return self.finish().map(Some),
            }
        }
    }

    fn record(&mut self, r: &mut Reader<'_>, max_field: usize) -> Result<Step, SnapshotError> {
        let offset = self.offset;
        let malformed = |source| SnapshotError::Record { offset, source };
        Ok(Step::Go(match self.stage {
            Stage::SessionCount => sessions_left(count(r, "session count").map_err(malformed)?),
            Stage::Sessions(left) => {
                let session = r.i64("session id").map_err(malformed)?;
                let timeout_ms = r.i32("session timeout").map_err(malformed)?;
                self.tree.restore_session(session, timeout_ms);
                sessions_left(left - 1)
            }
            Stage::AclCount => acls_left(count(r, "acl count").map_err(malformed)?),
            Stage::Acls(left) => {
                let (id, list) = read_acl(r, max_field).map_err(malformed)?;
                let id_in_tree = self.tree.acls_mut().intern(&list);
                if let Some(old) = self.acls.insert(id, id_in_tree) {
                    self.tree.acls_mut().release(old);
                }
                acls_left(left - 1)
            }
            Stage::Nodes => return self.node(r, max_field),
        }))
    }

    fn node(&mut self, r: &mut Reader<'_>, max_field: usize) -> Result<Step, SnapshotError> {
        let offset = self.offset;
        let malformed = |source| SnapshotError::Record { offset, source };
        let path = bounded(r, max_field, "path").map_err(malformed)?.unwrap_or_default();
        let path = std::str::from_utf8(path)
            .map_err(|_| malformed(DecodeError::Malformed { field: "path", reason: "not UTF-8" }))?;
        if path == TERMINATOR {
            return Ok(Step::End);
        }
        let data = bounded(r, max_field, "data").map_err(malformed)?;
        let (acl_in_stream, meta) = read_meta(r).map_err(malformed)?;
        if !self.has_root && !path.is_empty() {
            return Err(SnapshotError::Orphan { path: path.into(), offset });
        }
        if self.has_root && self.tree.find(path).is_some() {
            return Err(SnapshotError::Duplicate { path: path.into(), offset });
        }
        let parent = self.parent(path).ok_or_else(|| SnapshotError::Orphan { path: path.into(), offset })?;
        let acl = self.acl(acl_in_stream);
        self.tree.insert(parent, Node::new(path, data, Meta { acl, ..meta }));
        self.has_root = true;
        Ok(Step::Go(Stage::Nodes))
    }

    fn parent(&self, path: &str) -> Option<NodeId> {
        if path.is_empty() { Some(NodeId::ROOT) } else { self.tree.find(palisade_wire::path::parent(path)?) }
    }

    /// A fuzzy snapshot may name a list that it does not have; the replay of what set it will.
    fn acl(&mut self, in_stream: i64) -> AclId {
        let id = match in_stream {
            -1 => AclId::OPEN,
            _ => self.acls.get(&in_stream).copied().unwrap_or(AclId::UNKNOWN),
        };
        self.tree.acls_mut().retain(id);
        id
    }

    fn finish(&mut self) -> Result<DataTree, SnapshotError> {
        if !self.has_root {
            return Err(SnapshotError::Orphan { path: String::new(), offset: self.offset });
        }
        let mut tree = std::mem::replace(&mut self.tree, DataTree::empty());
        self.has_root = false;
        for (_, id) in self.acls.drain() {
            tree.acls_mut().release(id);
        }
        tree.ensure_config();
        tree.restore_quotas();
        Ok(tree)
    }
}

const fn sessions_left(left: u32) -> Stage {
    if left == 0 { Stage::AclCount } else { Stage::Sessions(left) }
}

const fn acls_left(left: u32) -> Stage {
    if left == 0 { Stage::Nodes } else { Stage::Acls(left) }
}

/// Negative counts are none, as in Java.
fn count(r: &mut Reader<'_>, field: &'static str) -> Result<u32, DecodeError> {
    Ok(u32::try_from(r.i32(field)?).unwrap_or(0))
}

/// A field whose length is checked before its bytes are waited for.
fn bounded<'a>(r: &mut Reader<'a>, max: usize, field: &'static str) -> Result<Option<&'a [u8]>, DecodeError> {
    let len = r.clone().i32(field)?;
    if usize::try_from(len).is_ok_and(|len| len > max) {
        return Err(DecodeError::Length { field, len: len.into() });
    }
    r.opt_buffer(field)
}

fn read_acl(r: &mut Reader<'_>, max: usize) -> Result<(i64, Vec<Acl>), DecodeError> {
    let whole = r.rest().len();
    let id = r.i64("acl id")?;
    match r.vec("acl", Acl::decode) {
        Err(DecodeError::Truncated { .. }) if whole > max.max(NODE_FIXED) => {
            Err(DecodeError::Length { field: "acl", len: whole as i64 })
        }
        Err(DecodeError::Truncated { field, needed, .. }) if needed > max => {
            Err(DecodeError::Length { field, len: needed as i64 })
        }
        list => Ok((id, list?)),
    }
}

/// `DataNode.serialize` without the data: the ACL's id in the stream, and `StatPersisted`.
fn read_meta(r: &mut Reader<'_>) -> Result<(i64, Meta), DecodeError> {
    let acl = r.i64("node acl")?;
    let meta = Meta {
        czxid: Zxid(r.i64("czxid")?),
        mzxid: Zxid(r.i64("mzxid")?),
        ctime: r.i64("ctime")?,
        mtime: r.i64("mtime")?,
        version: r.i32("version")?,
        cversion: r.i32("cversion")?,
        aversion: r.i32("aversion")?,
        owner: r.i64("ephemeralOwner")?,
        pzxid: Zxid(r.i64("pzxid")?),
        acl: AclId::OPEN,
    };
    Ok((acl, meta))
}
