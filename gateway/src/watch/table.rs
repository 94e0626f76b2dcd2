//! One table of watches: paths to watchers, and back.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashSet, HashTable};
use palisade_wire::path;
use rustc_hash::FxBuildHasher;

use super::set::{Mode, Slot, WatcherSet};

/// A path's place in [`Table::entries`].
type PathId = u32;

#[derive(Debug, Default)]
struct Entry {
    path: Box<str>,
    watchers: WatcherSet,
}

/// Paths with their watchers, and watchers with their paths (Apache `WatchManager`).
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: Vec<Entry>,
    free: Vec<PathId>,
    /// Finds an entry by its path without storing the path a second time.
    by_path: HashTable<PathId>,
    /// What each slot watches, to end all of it with the connection.
    by_slot: Vec<HashSet<PathId, FxBuildHasher>>,
    /// Recursive watches; without any, a change need not look at the ancestors of its path.
    recursive: usize,
    /// Seeded by chance: clients choose the paths, and must not choose their collisions. No order depends on it.
    hasher: DefaultHashBuilder,
}

impl Table {
    pub(super) fn add(&mut self, slot: Slot, path: &str, mode: Mode) {
        let id = self.find(path).unwrap_or_else(|| self.insert(path));
        let Some(entry) = self.entries.get_mut(id as usize) else { return };
        let before = entry.watchers.add(slot, mode);
        if before == 0 {
            if self.by_slot.len() <= slot.index() {
                self.by_slot.resize_with(slot.index() + 1, HashSet::default);
            }
            self.by_slot[slot.index()].insert(id);
        }
        if mode == Mode::Recursive && before & Mode::Recursive as u8 == 0 {
            self.recursive += 1;
        }
    }

    fn find(&self, path: &str) -> Option<PathId> {
        let same = |id: &PathId| self.entries.get(*id as usize).is_some_and(|e| *e.path == *path);
        self.by_path.find(self.hasher.hash_one(path), same).copied()
    }

    fn insert(&mut self, path: &str) -> PathId {
        let entry = Entry { path: path.into(), watchers: WatcherSet::default() };
        let id = match self.free.pop() {
            Some(id) => {
                self.entries[id as usize] = entry;
                id
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as PathId
            }
        };
        let (entries, hasher) = (&self.entries, &self.hasher);
        let hash = |id: &PathId| hasher.hash_one(&*entries[*id as usize].path);
        self.by_path.insert_unique(hash(&id), id, hash);
        id
    }

    /// The modes in which `slot` watches `path`, 0 for none.
    pub(super) fn modes(&self, slot: Slot, path: &str) -> u8 {
        self.find(path)
            .and_then(|id| self.entries.get(id as usize))
            .map_or(0, |entry| entry.watchers.modes(slot))
    }

    /// Takes `modes` away; whether any of them was there.
    pub(super) fn remove(&mut self, slot: Slot, path: &str, modes: u8) -> bool {
        let Some(id) = self.find(path) else { return false };
        self.take(slot, id, modes)
    }

    fn take(&mut self, slot: Slot, id: PathId, modes: u8) -> bool {
        let Some(entry) = self.entries.get_mut(id as usize) else { return false };
        let before = entry.watchers.modes(slot);
        if before & modes == 0 {
            return false;
        }
        entry.watchers.set(slot, before & !modes);
        if before & modes & Mode::Recursive as u8 != 0 {
            self.recursive -= 1;
        }
        if before & !modes == 0 {
            if let Some(paths) = self.by_slot.get_mut(slot.index()) {
                paths.remove(&id);
            }
            self.forget_if_unwatched(id);
        }
        true
    }

    fn forget_if_unwatched(&mut self, id: PathId) {
        let Some(entry) = self.entries.get_mut(id as usize).filter(|e| e.watchers.is_empty()) else { return };
        if let Ok(found) = self.by_path.find_entry(self.hasher.hash_one(&*entry.path), |other| *other == id) {
            found.remove();
        }
        entry.path = Box::default();
        self.free.push(id);
    }

    /// Ends everything that `slot` watches.
    pub(super) fn remove_slot(&mut self, slot: Slot) {
        let Some(paths) = self.by_slot.get_mut(slot.index()).map(std::mem::take) else { return };
        for id in paths {
            self.take(slot, id, Mode::Standard as u8 | Mode::Persistent as u8 | Mode::Recursive as u8);
        }
    }

    /// Fires `path`: appends every watcher of the path itself and every recursive watcher of an ancestor to
    /// `fired`, each once, sorted; one-shot watches are gone afterwards.
    pub(super) fn fire(&mut self, path: &str, fired: &mut Vec<Slot>) {
        self.fire_exact(path, fired);
        if self.recursive > 0 {
            let mut at = path;
            while let Some(parent) = path::parent(at) {
                at = parent;
                let Some(id) = self.find(parent) else { continue };
                self.entries[id as usize].watchers.for_each(|watcher| {
                    if watcher.has(Mode::Recursive) {
                        fired.push(watcher.slot());
                    }
                });
            }
        }
        fired.sort_unstable();
        fired.dedup();
    }

    fn fire_exact(&mut self, path: &str, fired: &mut Vec<Slot>) {
        let Some(id) = self.find(path) else { return };
        let (entry, by_slot) = (&mut self.entries[id as usize], &mut self.by_slot);
        entry.watchers.fire(|slot, left| {
            fired.push(slot);
            if left == 0
                && let Some(paths) = by_slot.get_mut(slot.index())
            {
                paths.remove(&id);
            }
        });
        self.forget_if_unwatched(id);
    }

    /// Paths that `slot` watches.
    pub(super) fn count_of(&self, slot: Slot) -> usize {
        self.by_slot.get(slot.index()).map_or(0, HashSet::len)
    }

    /// Watchers with at least one watch, watched paths, and pairs of both.
    pub(super) fn count(&self) -> (usize, usize, usize) {
        let watchers = self.by_slot.iter().filter(|paths| !paths.is_empty()).count();
        let pairs = self.by_slot.iter().map(HashSet::len).sum();
        (watchers, self.by_path.len(), pairs)
    }

    /// Who has a recursive watch, each once.
    pub(super) fn recursive_slots(&self) -> Vec<Slot> {
        let mut slots = Vec::new();
        if self.recursive > 0 {
            for entry in &self.entries {
                entry.watchers.for_each(|w| slots.extend(w.has(Mode::Recursive).then(|| w.slot())));
            }
        }
        slots.sort_unstable();
        slots.dedup();
        slots
    }

    /// Every watched path with its watchers.
    pub(super) fn for_each_path(&self, mut f: impl FnMut(&str, &mut dyn Iterator<Item = Slot>)) {
        for entry in self.entries.iter().filter(|e| !e.watchers.is_empty()) {
            let mut slots = Vec::new();
            entry.watchers.for_each(|watcher| slots.push(watcher.slot()));
            slots.sort_unstable();
            f(&entry.path, &mut slots.into_iter());
        }
    }

    /// Every watcher with its paths.
    pub(super) fn for_each_slot(&self, mut f: impl FnMut(Slot, &mut dyn Iterator<Item = &str>)) {
        for (index, paths) in self.by_slot.iter().enumerate().filter(|(_, paths)| !paths.is_empty()) {
            if let Some(slot) = Slot::new(index) {
                f(slot, &mut paths.iter().filter_map(|id| self.entries.get(*id as usize)).map(|e| &*e.path));
            }
        }
    }
}
