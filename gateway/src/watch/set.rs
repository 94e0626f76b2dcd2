//! The watchers of one path, in as few bytes as possible.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

/// A connection's place in the tables of its gateway; given again after the connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Slot(u32);

impl Slot {
    /// Slots are below this: three bits of a watcher's word hold its modes.
    pub(crate) const LIMIT: usize = 1 << 29;

    /// The slot with this index, `None` if it is too large.
    pub(crate) fn new(index: usize) -> Option<Self> {
        u32::try_from(index).ok().filter(|_| index < Self::LIMIT).map(Self)
    }

    /// The index.
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// How long a watch lasts and what it covers (`WatcherMode`). One watcher may hold one path in all three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mode {
    /// Gone once it has fired.
    Standard = 1,
    /// Stays.
    Persistent = 2,
    /// Stays, and covers all descendants.
    Recursive = 4,
}

/// A slot and the set of its modes, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Watcher(u32);

impl Watcher {
    fn new(slot: Slot, modes: u8) -> Self {
        Self(slot.0 << 3 | u32::from(modes))
    }

    pub(super) const fn slot(self) -> Slot {
        Slot(self.0 >> 3)
    }

    pub(super) const fn has(self, mode: Mode) -> bool {
        self.0 & mode as u32 != 0
    }

    const fn modes(self) -> u8 {
        (self.0 & 7) as u8
    }
}

/// More watchers than this are hashed.
const FEW: usize = 8;

/// The watchers of one path: mostly one, sometimes very many.
#[derive(Debug, Default)]
pub(super) enum WatcherSet {
    #[default]
    Empty,
    One(Watcher),
    Few(Vec<Watcher>),
    Many(Box<HashTable<Watcher>>),
}

fn hash(slot: Slot) -> u64 {
    FxBuildHasher.hash_one(slot.0)
}

impl WatcherSet {
    /// Adds `mode` to the modes of `slot`; returns the modes from before, 0 if it was no watcher.
    pub(super) fn add(&mut self, slot: Slot, mode: Mode) -> u8 {
        let before = self.modes(slot);
        self.put(Watcher::new(slot, before | mode as u8));
        before
    }

    /// The modes of `slot`, 0 if it is no watcher.
    pub(super) fn modes(&self, slot: Slot) -> u8 {
        match self {
            Self::Empty => None,
            Self::One(one) => Some(one).filter(|w| w.slot() == slot),
            Self::Few(few) => few.iter().find(|w| w.slot() == slot),
            Self::Many(many) => many.find(hash(slot), |w| w.slot() == slot),
        }
        .map_or(0, |w| w.modes())
    }

    /// Makes `modes` the modes of `slot`; 0 removes it.
    pub(super) fn set(&mut self, slot: Slot, modes: u8) {
        if modes == 0 {
            self.remove(slot);
        } else {
            self.put(Watcher::new(slot, modes));
        }
    }

    fn put(&mut self, watcher: Watcher) {
        let slot = watcher.slot();
        match self {
            Self::Empty => *self = Self::One(watcher),
            Self::One(one) if one.slot() == slot => *one = watcher,
            Self::One(one) => *self = Self::Few(vec![*one, watcher]),
            Self::Few(few) => match few.iter().position(|w| w.slot() == slot) {
                Some(at) => few[at] = watcher,
                None if few.len() < FEW => few.push(watcher),
                None => {
                    let mut many = HashTable::with_capacity(2 * FEW);
                    for w in few.drain(..).chain([watcher]) {
                        many.insert_unique(hash(w.slot()), w, |w| hash(w.slot()));
                    }
                    *self = Self::Many(Box::new(many));
                }
            },
            Self::Many(many) => match many.find_mut(hash(slot), |w| w.slot() == slot) {
                Some(found) => *found = watcher,
                None => {
                    many.insert_unique(hash(slot), watcher, |w| hash(w.slot()));
                }
            },
        }
    }

    fn remove(&mut self, slot: Slot) {
        match self {
            Self::Empty => {}
            Self::One(one) if one.slot() == slot => *self = Self::Empty,
            Self::One(_) => {}
            Self::Few(few) => few.retain(|w| w.slot() != slot),
            Self::Many(many) => {
                if let Ok(entry) = many.find_entry(hash(slot), |w| w.slot() == slot) {
                    entry.remove();
                }
            }
        }
        self.shrink();
    }

    /// Removes the one-shot mode of every watcher, and who is none without it; says who they all were, and what is
    /// left of each.
    pub(super) fn fire(&mut self, mut fired: impl FnMut(Slot, u8)) {
        let mut shot = |w: &mut Watcher| {
            *w = Watcher::new(w.slot(), w.modes() & !(Mode::Standard as u8));
            fired(w.slot(), w.modes());
            w.modes() != 0
        };
        match self {
            Self::Empty => {}
            Self::One(one) => {
                if !shot(one) {
                    *self = Self::Empty;
                }
            }
            Self::Few(few) => few.retain_mut(&mut shot),
            Self::Many(many) => many.retain(&mut shot),
        }
        self.shrink();
    }

    fn shrink(&mut self) {
        let empty = match self {
            Self::Empty | Self::One(_) => false,
            Self::Few(few) => few.is_empty(),
            Self::Many(many) => many.is_empty(),
        };
        if empty {
            *self = Self::Empty;
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    /// Every watcher once, in no particular order.
    pub(super) fn for_each(&self, mut f: impl FnMut(Watcher)) {
        match self {
            Self::Empty => {}
            Self::One(one) => f(*one),
            Self::Few(few) => few.iter().copied().for_each(f),
            Self::Many(many) => many.iter().copied().for_each(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(set: &WatcherSet) -> Vec<(usize, u8)> {
        let mut all = Vec::new();
        set.for_each(|w| all.push((w.slot().index(), w.modes())));
        all.sort_unstable();
        all
    }

    #[test]
    fn every_size_behaves_alike() {
        for n in [1, 2, FEW, FEW + 1, 1_000] {
            let slot = |i| Slot::new(i).unwrap();
            let mut set = WatcherSet::default();
            for i in 0..n {
                assert_eq!(set.add(slot(i), Mode::Standard), 0);
                assert_eq!(set.add(slot(i), Mode::Standard), Mode::Standard as u8);
            }
            assert_eq!(set.add(slot(n - 1), Mode::Persistent), Mode::Standard as u8);
            assert_eq!(slots(&set).len(), n, "{n}");
            let mut fired = Vec::new();
            set.fire(|slot, left| fired.push((slot.index(), left)));
            fired.sort_unstable();
            let expected = (0..n).map(|i| (i, if i == n - 1 { Mode::Persistent as u8 } else { 0 }));
            assert_eq!(fired, expected.collect::<Vec<_>>(), "{n}");
            assert_eq!(slots(&set), [(n - 1, Mode::Persistent as u8)]);
            set.set(slot(n - 1), 0);
            assert!(set.is_empty());
        }
    }

    #[test]
    fn an_unknown_slot_is_no_watcher() {
        let (a, b) = (Slot::new(1).unwrap(), Slot::new(2).unwrap());
        let mut set = WatcherSet::default();
        set.add(a, Mode::Recursive);
        set.set(b, 0);
        assert_eq!((set.modes(a), set.modes(b)), (Mode::Recursive as u8, 0));
        assert_eq!(Slot::new(Slot::LIMIT), None);
        assert!(size_of::<WatcherSet>() <= 24);
    }
}
