use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::node::NodeId;
use super::slab::Slab;

/// A znode's place in the index. The hash is kept so that growing never reads the paths.
#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u32,
    id: NodeId,
}

impl Entry {
    /// The table wants 64 good bits.
    const fn spread(hash: u32) -> u64 {
        (hash as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// Finds a znode by its full path, which is stored in the znode alone. The root is not in it.
///
/// The hash is keyed at random, so that clients cannot choose colliding paths; nothing depends on its order.
#[derive(Clone, Debug, Default)]
pub(super) struct PathIndex {
    table: HashTable<Entry>,
    hasher: DefaultHashBuilder,
}

impl PathIndex {
    pub(super) fn find(&self, path: &[u8], slab: &Slab) -> Option<NodeId> {
        let hash = self.hash(path);
        self.table.find(Entry::spread(hash), |e| is(*e, hash, path, slab)).map(|e| e.id)
    }

    /// `path` must not be in the index.
    pub(super) fn insert(&mut self, path: &[u8], id: NodeId) {
        let hash = self.hash(path);
        self.table.insert_unique(Entry::spread(hash), Entry { hash, id }, |e| Entry::spread(e.hash));
    }

    /// Must be called while the znode is still in the slab.
    pub(super) fn remove(&mut self, path: &[u8], slab: &Slab) {
        let hash = self.hash(path);
        if let Ok(entry) = self.table.find_entry(Entry::spread(hash), |e| is(*e, hash, path, slab)) {
            entry.remove();
        }
    }

    fn hash(&self, path: &[u8]) -> u32 {
        (self.hasher.hash_one(path) >> 32) as u32
    }
}

fn is(entry: Entry, hash: u32, path: &[u8], slab: &Slab) -> bool {
    entry.hash == hash && slab.get(entry.id).is_some_and(|node| node.path_bytes() == path)
}
