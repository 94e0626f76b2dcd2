//! Small numbers for watched paths, so that a path is stored once.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use roaring::RoaringBitmap;

use crate::slab::Slab;
use crate::watchers::Watchers;

/// Tables among which paths are spread, so that none of them takes long to grow: nobody gets at the index meanwhile.
const TABLES: usize = 256;
/// Places of a table of which at most one in so many is taken are too many, if there are more than so many.
const SPARSE: usize = 16;
const SMALL: usize = 32;

/// A path's place in [`Paths`].
pub(crate) type PathId = u32;

#[derive(Debug, Default)]
struct Entry {
    path: Box<str>,
    watchers: Watchers,
}

/// The watched paths with their watchers.
#[derive(Debug)]
pub(crate) struct Paths {
    entries: Slab<Entry>,
    /// Finds an entry by its path without storing the path a second time.
    by_path: Box<[HashTable<PathId>]>,
    /// Seeded by chance: clients choose the paths, and must not choose their collisions. No order depends on it.
    hasher: DefaultHashBuilder,
}

impl Default for Paths {
    fn default() -> Self {
        let by_path = (0..TABLES).map(|_| HashTable::new()).collect();
        Self { entries: Slab::default(), by_path, hasher: DefaultHashBuilder::default() }
    }
}

/// The table for paths with this hash. The last one gets twice as many as the first, and those between according to their
/// place, so that they grow one after the other, and not all of them at about the same time. Within a table, a place is
/// found by other bits.
fn table(hash: u64) -> usize {
    let part = (hash >> 32 & 0xff_ffff) as f32 / (1 << 24) as f32;
    let place = (1.0 + part).log2() * TABLES as f32;
    (place as usize).min(TABLES - 1)
}

impl Paths {
    pub(crate) fn find(&self, path: &str) -> Option<PathId> {
        let same = |id: &PathId| *self.entries.get(*id).path == *path;
        let hash = self.hasher.hash_one(path);
        self.by_path[table(hash)].find(hash, same).copied()
    }

    pub(crate) fn find_or_insert(&mut self, path: &str) -> PathId {
        if let Some(id) = self.find(path) {
            return id;
        }
        let id = self.entries.insert(Entry { path: path.into(), watchers: Watchers::default() });
        let (entries, hasher) = (&self.entries, &self.hasher);
        let hash = |id: &PathId| hasher.hash_one(&*entries.get(*id).path);
        let own = hash(&id);
        self.by_path[table(own)].insert_unique(own, id, hash);
        id
    }

    /// The path of an id that was not removed.
    pub(crate) fn path(&self, id: PathId) -> &str {
        &self.entries.get(id).path
    }

    /// The watchers of an id that was not removed.
    pub(crate) fn watchers(&self, id: PathId) -> Watchers {
        self.entries.get(id).watchers
    }

    pub(crate) fn watchers_mut(&mut self, id: PathId) -> &mut Watchers {
        &mut self.entries.get_mut(id).watchers
    }

    /// Forgets a path that nobody watches.
    pub(crate) fn remove(&mut self, id: PathId) {
        let Entry { path, .. } = self.entries.remove(id);
        let hash = self.hasher.hash_one(&*path);
        let table = &mut self.by_path[table(hash)];
        if let Ok(found) = table.find_entry(hash, |other| *other == id) {
            found.remove();
        }
        if table.capacity() > SMALL.max(SPARSE * table.len()) {
            let (entries, hasher) = (&self.entries, &self.hasher);
            let hash = |id: &PathId| hasher.hash_one(&*entries.get(*id).path);
            table.shrink_to(2 * table.len(), hash);
        }
    }

    /// The watched paths from this place on.
    pub(crate) fn from(&self, id: PathId) -> impl Iterator<Item = PathId> {
        let watched = self.entries.from(id).filter(|(_, entry)| entry.watchers != Watchers::Nobody);
        watched.map(|(id, _)| id)
    }
}

/// Numbers of the paths that one connection watches: mostly few, sometimes very many.
#[derive(Debug)]
pub(crate) enum PathSet {
    Few { len: u8, ids: [PathId; Self::FEW] },
    Many(Box<RoaringBitmap>),
}

impl Default for PathSet {
    fn default() -> Self {
        Self::Few { len: 0, ids: [0; Self::FEW] }
    }
}

impl PathSet {
    const FEW: usize = 5;

    /// Adds an id that may be there already.
    pub(crate) fn insert(&mut self, id: PathId) {
        match self {
            Self::Few { len, ids } if ids[..usize::from(*len)].contains(&id) => {}
            Self::Few { len, ids } if usize::from(*len) < Self::FEW => {
                ids[usize::from(*len)] = id;
                *len += 1;
            }
            Self::Few { ids, .. } => {
                *self = Self::Many(Box::new(ids.iter().copied().chain([id]).collect()));
            }
            Self::Many(many) => {
                many.insert(id);
            }
        }
    }

    pub(crate) fn remove(&mut self, id: PathId) {
        match self {
            Self::Few { len, ids } => {
                if let Some(at) = ids[..usize::from(*len)].iter().position(|other| *other == id) {
                    *len -= 1;
                    ids.swap(at, usize::from(*len));
                }
            }
            Self::Many(many) => {
                many.remove(id);
                if many.is_empty() {
                    *self = Self::default();
                }
            }
        }
    }

    /// The ids from this one on, in their order.
    pub(crate) fn from(&self, id: PathId) -> Box<dyn Iterator<Item = PathId> + '_> {
        match self {
            Self::Few { len, ids } => {
                let mut few = ids[..usize::from(*len)].to_vec();
                few.sort_unstable();
                Box::new(few.into_iter().filter(move |other| *other >= id))
            }
            Self::Many(many) => Box::new(many.range(id..)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_every_size_behave_alike() {
        assert!(size_of::<PathSet>() <= 24);
        for n in [1, PathSet::FEW, PathSet::FEW + 1, 10_000] {
            let mut set = PathSet::default();
            for id in (0..n as PathId).rev().chain([0]) {
                set.insert(id);
            }
            assert!(set.from(1).eq(1..n as PathId));
            set.remove(n as PathId);
            (1..n as PathId).for_each(|id| set.remove(id));
            assert!(set.from(0).eq([0]));
            set.remove(0);
            assert!(matches!(set, PathSet::Few { len: 0, .. }), "memory is given back");
        }
    }

    #[test]
    fn numbers_are_given_again_and_memory_is_given_back() {
        let mut paths = Paths::default();
        let (a, b) = (paths.find_or_insert("/a"), paths.find_or_insert("/b"));
        assert_eq!((paths.find("/a"), paths.find("/b"), paths.find("/c")), (Some(a), Some(b), None));
        paths.remove(a);
        assert_eq!((paths.find("/a"), paths.path(b)), (None, "/b"));
        assert_eq!(paths.find_or_insert("/c"), a);
        paths.remove(a);
        paths.remove(b);
        assert!(paths.entries.is_empty() && paths.by_path.iter().all(HashTable::is_empty));
    }

    /// Whoever adds the path for which a table has no place moves all that are in it, and nobody gets at the index meanwhile.
    #[test]
    fn no_table_takes_long_to_grow_nor_do_many_grow_together() {
        let mut paths = Paths::default();
        let (mut before, mut most) = (vec![0; TABLES], 0);
        for round in 0..100 {
            (0..1_000).for_each(|i| {
                paths.find_or_insert(&format!("/{round}/{i}"));
            });
            let now: Vec<_> = paths.by_path.iter().map(HashTable::capacity).collect();
            let grown = before.iter().zip(&now).filter(|(before, now)| before < now);
            let moved: usize = grown.map(|(_, now)| *now).sum();
            most = if round < 10 { 0 } else { most.max(moved) };
            before = now;
        }
        assert!(most < 100_000 / 5, "{most}");
    }

    #[test]
    fn a_few_paths_that_stay_do_not_keep_the_memory_of_very_many() {
        let mut paths = Paths::default();
        let stays = paths.find_or_insert("/stays");
        let many: Vec<_> = (0..100_000).map(|i| paths.find_or_insert(&format!("/{i}"))).collect();
        let last = paths.find_or_insert("/last");
        let most = paths.entries.capacity();
        many[1_000..].iter().for_each(|id| paths.remove(*id));
        assert!(paths.entries.capacity() < most / 50, "{}", paths.entries.capacity());
        let places = |paths: &Paths| -> usize { paths.by_path.iter().map(|table| table.capacity()).sum() };
        assert!(places(&paths) < most / 5, "{}", places(&paths));
        for (i, id) in many[..1_000].iter().enumerate() {
            assert_eq!(paths.find(&format!("/{i}")), Some(*id));
            paths.remove(*id);
        }
        assert_eq!((paths.find("/stays"), paths.find("/last")), (Some(stays), Some(last)));
        assert!(places(&paths) <= 2 * TABLES * SMALL, "{}", places(&paths));
    }
}
