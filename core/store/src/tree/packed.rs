//! A znode as it is stored: in as few bytes as may be, as there are very many.

use palisade_wire::{Stat, Zxid};

use super::acls::AclId;
use super::node::{Meta, NodeId, Owner, content_crc, node_digest};

/// A znode: 96 bytes, and one allocation for its path and its data.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// The full path, "" for the root, and then the data. The path never changes.
    content: Box<[u8]>,
    lengths: Lengths,
    czxid: Zxid,
    mzxid: Zxid,
    ctime: i64,
    mtime: i64,
    owner: i64,
    version: i32,
    acl: AclId,
    rare: Option<Box<Rare>>,
    /// Of the root: itself.
    pub(crate) parent: NodeId,
    /// Index among the parent's children.
    pub(crate) place: u32,
    /// Distinguishes znodes that use the same slot one after the other.
    pub(crate) born: u32,
    /// [`content_crc`] of this znode.
    pub(crate) content_crc: u32,
}

/// What most znodes do not need: they never have children, and keep the ACL that they were created with.
#[derive(Clone, Debug)]
struct Rare {
    pzxid: Zxid,
    cversion: i32,
    aversion: i32,
    /// In no particular order; each knows its place here.
    children: Vec<NodeId>,
}

impl Rare {
    const fn of(meta: &Meta) -> Self {
        let Meta { pzxid, cversion, aversion, .. } = *meta;
        Self { pzxid, cversion, aversion, children: Vec::new() }
    }
}

/// The length of a path, and whether data follows it: null and empty data are distinct.
#[derive(Clone, Copy, Debug)]
struct Lengths(u32);

impl Lengths {
    const NULL: u32 = 1 << 31;

    const fn path(self) -> usize {
        (self.0 & !Self::NULL) as usize
    }

    const fn with_data(self, is_some: bool) -> Self {
        Self(if is_some { self.0 & !Self::NULL } else { self.0 | Self::NULL })
    }
}

fn join(path: &[u8], data: Option<&[u8]>) -> Box<[u8]> {
    [path, data.unwrap_or_default()].concat().into()
}

impl Node {
    /// Paths and data are limited far below 2 GiB by what a packet may hold.
    pub(crate) fn new(path: &str, data: Option<&[u8]>, meta: Meta) -> Self {
        let mut node = Self {
            content: join(path.as_bytes(), data),
            lengths: Lengths(path.len() as u32).with_data(data.is_some()),
            czxid: Zxid::ZERO,
            mzxid: Zxid::ZERO,
            ctime: 0,
            mtime: 0,
            owner: 0,
            version: 0,
            acl: meta.acl,
            rare: None,
            parent: NodeId::ROOT,
            place: 0,
            born: 0,
            content_crc: content_crc(path, data),
        };
        node.set_meta(&meta);
        node
    }

    pub(crate) fn path(&self) -> &str {
        std::str::from_utf8(self.path_bytes()).expect("it was made of a str and never changes")
    }

    /// The same, for those who need not read it.
    pub(crate) fn path_bytes(&self) -> &[u8] {
        self.content.get(..self.lengths.path()).unwrap_or_default()
    }

    pub(crate) fn data(&self) -> Option<&[u8]> {
        (self.lengths.0 & Lengths::NULL == 0).then(|| &self.content[self.lengths.path()..])
    }

    /// Uses the allocation again if the data fits exactly.
    pub(crate) fn set_data(&mut self, data: Option<&[u8]>) {
        let new = data.unwrap_or_default();
        if new.len() == self.data_len() {
            self.content[self.lengths.path()..].copy_from_slice(new);
        } else {
            self.content = join(self.path_bytes(), data);
        }
        self.lengths = self.lengths.with_data(data.is_some());
        self.content_crc = content_crc(self.path_bytes(), data);
    }

    pub(crate) fn meta(&self) -> Meta {
        let (pzxid, cversion, aversion) = match &self.rare {
            Some(rare) => (rare.pzxid, rare.cversion, rare.aversion),
            None => (self.czxid, 0, 0),
        };
        let Self { czxid, mzxid, ctime, mtime, owner, version, acl, .. } = *self;
        Meta { czxid, mzxid, pzxid, ctime, mtime, owner, version, cversion, aversion, acl }
    }

    pub(crate) fn set_meta(&mut self, meta: &Meta) {
        let Meta { czxid, mzxid, ctime, mtime, owner, version, acl, .. } = *meta;
        (self.czxid, self.mzxid, self.ctime, self.mtime) = (czxid, mzxid, ctime, mtime);
        (self.owner, self.version, self.acl) = (owner, version, acl);
        match &mut self.rare {
            Some(rare) => {
                (rare.pzxid, rare.cversion, rare.aversion) = (meta.pzxid, meta.cversion, meta.aversion);
            }
            None if (meta.pzxid, meta.cversion, meta.aversion) == (czxid, 0, 0) => {}
            None => self.rare = Some(Box::new(Rare::of(meta))),
        }
    }

    pub(crate) const fn acl(&self) -> AclId {
        self.acl
    }

    pub(crate) const fn owner(&self) -> Owner {
        Owner::from_stored(self.owner)
    }

    pub(crate) fn children(&self) -> &[NodeId] {
        self.rare.as_ref().map_or(&[], |rare| &rare.children)
    }

    pub(crate) fn add_child(&mut self, child: NodeId) {
        let meta = self.meta();
        self.rare.get_or_insert_with(|| Box::new(Rare::of(&meta))).children.push(child);
    }

    /// Takes out the child at `place`, which becomes that of the last child: the one that is given back, unless it was
    /// the last itself.
    pub(crate) fn remove_child(&mut self, place: u32) -> Option<NodeId> {
        let children = &mut self.rare.as_mut()?.children;
        let place = place as usize;
        if place < children.len() {
            children.swap_remove(place);
            shrink(children);
        }
        children.get(place).copied()
    }

    pub(crate) fn data_len(&self) -> usize {
        self.content.len() - self.lengths.path()
    }

    /// What the node takes of the tree's size: its path and its data.
    pub(crate) const fn content_bytes(&self) -> u64 {
        self.content.len() as u64
    }

    pub(crate) fn digest(&self) -> u64 {
        node_digest(self.path_bytes(), self.content_crc, &self.meta())
    }

    pub(crate) fn stat(&self) -> Stat {
        self.meta().stat(self.data_len(), self.children().len())
    }
}

/// Gives memory back after a herd of children went, but not so eagerly that a queue pays for it on every change.
fn shrink(children: &mut Vec<NodeId>) {
    if children.is_empty() {
        *children = Vec::new();
    } else if children.capacity() > 64 && children.len() < children.capacity() / 4 {
        children.shrink_to(children.len() * 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_small() {
        assert_eq!((size_of::<Node>(), size_of::<Rare>()), (96, 40));
    }

    #[test]
    fn null_and_empty_data_are_distinct_and_no_data_touches_the_path() {
        let mut node = Node::new("/a", None, Meta::default());
        for data in [Some(&b""[..]), None, Some(b"data"), Some(b"DATA"), Some(b"longer"), None] {
            node.set_data(data);
            let fresh = Node::new("/a", data, Meta::default());
            assert_eq!(
                (node.path(), node.data(), node.data_len()),
                ("/a", data, data.map_or(0, <[u8]>::len))
            );
            assert_eq!((node.content_crc, node.content_bytes()), (fresh.content_crc, fresh.content_bytes()));
        }
    }

    #[test]
    fn what_is_rare_takes_room_only_where_it_is_needed() {
        let plain = Meta::created(Zxid(7), 5, Owner::Ephemeral(3), AclId::OPEN);
        for (meta, is_rare) in [
            (plain, false),
            (Meta { mzxid: Zxid(9), mtime: 8, version: 2, ..plain }, false),
            (Meta { pzxid: Zxid(8), ..plain }, true),
            (Meta { cversion: 1, ..plain }, true),
            (Meta { aversion: -1, ..plain }, true),
        ] {
            let mut node = Node::new("/a", None, meta);
            assert_eq!((node.meta(), node.rare.is_some()), (meta, is_rare));
            node.set_meta(&plain);
            assert_eq!(node.meta(), plain);
        }
    }

    #[test]
    fn the_last_child_takes_the_place_that_becomes_free() {
        let mut node = Node::new("/a", None, Meta { czxid: Zxid(4), ..Meta::default() });
        let meta = node.meta();
        (1..=3).for_each(|n| node.add_child(NodeId(n)));
        assert_eq!(node.remove_child(0), Some(NodeId(3)));
        assert_eq!(node.children(), [NodeId(3), NodeId(2)]);
        assert_eq!([node.remove_child(1), node.remove_child(5), node.remove_child(0)], [None; 3]);
        assert_eq!((node.children(), node.meta()), (&[][..], meta));
    }
}
