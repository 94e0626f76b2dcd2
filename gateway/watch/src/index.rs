//! Who watches what.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use palisade_wire::ErrorCode;
use palisade_wire::reply::EventType;

use crate::covers::Covers;
use crate::kinds::{Kinds, Slot, WatchKind};
use crate::paths::{PathId, PathSet, Paths};
use crate::watchers::{Groups, Watchers};

/// Counts for `wchs`: the data table only, as Apache has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchSummary {
    /// Connections with a watch.
    pub connections: usize,
    /// Watched paths.
    pub paths: usize,
    /// Watches.
    pub watches: usize,
}

/// What a watch counts at most: Apache keeps a persistent one in both of its tables.
const MOST: usize = 2;

/// How many watches there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchLimits {
    /// Of one connection.
    pub connection: usize,
    /// Of all together.
    pub total: usize,
}

/// A limit that more watches would exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooMany {
    /// [`WatchLimits::connection`].
    OfConnection,
    /// [`WatchLimits::total`].
    OfAll,
}

/// One connection that hears of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fired {
    /// The connection.
    pub slot: Slot,
    /// Whether a one-shot watch was used up. If not, the next event of this kind will be heard as well.
    pub one_shot: bool,
}

/// What one connection watches.
#[derive(Debug, Default)]
struct Watched {
    paths: PathSet,
    /// Paths in Apache's data table.
    data: u32,
    /// Paths in Apache's child table.
    child: u32,
    /// The count of those with whom it is counted together.
    together: Option<Arc<AtomicUsize>>,
}

/// All watches of a gateway.
///
/// Adding, removing and firing take time in proportion to the watches that they touch (and to the length of the
/// path); ending a connection, to the watches that it has.
#[derive(Debug, Default)]
pub struct WatchIndex {
    paths: Paths,
    groups: Groups,
    by_slot: Vec<Watched>,
    /// How many watches are on recursively watched paths, by the lengths of these paths: only ancestors of such a
    /// length need to be looked up.
    recursive: BTreeMap<usize, usize>,
    /// Stands for lasting watches beyond a limit.
    covers: Covers,
    summary: WatchSummary,
    child_watches: usize,
    version: u64,
}

impl WatchIndex {
    /// As long as this stays the same, nobody gains or loses a watch.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Adds a one-shot watch of data or existence.
    pub fn add_data(&mut self, slot: Slot, path: &str) {
        self.add(slot, path, Kinds::DATA);
    }

    /// Adds a one-shot watch of the list of children.
    pub fn add_child(&mut self, slot: Slot, path: &str) {
        self.add(slot, path, Kinds::CHILD);
    }

    /// Adds a persistent watch.
    pub fn add_persistent(&mut self, slot: Slot, path: &str) {
        self.add(slot, path, Kinds::PERSISTENT);
    }

    /// Adds a persistent recursive watch. It hears of children by their own creation and deletion, not by changes of
    /// lists (since 3.9).
    pub fn add_recursive(&mut self, slot: Slot, path: &str) {
        self.add(slot, path, Kinds::RECURSIVE);
    }

    /// Has a connection that has too many lasting watches hear of everything at and below what `path` and the others that
    /// are too many have in common; of changes of lists of children, too, `with_lists`. It counts as no watch.
    pub fn cover(&mut self, slot: Slot, path: &str, with_lists: bool) {
        self.version += 1;
        self.covers.add(slot, path, with_lists);
    }

    fn add(&mut self, slot: Slot, path: &str, kinds: Kinds) {
        let id = self.paths.find_or_insert(path);
        let before = self.groups.kinds(self.paths.watchers(id), slot);
        self.change(slot, id, before, before.and(kinds));
    }

    /// Replaces the kinds that `slot` has on a path, and forgets the path if nobody is left.
    fn change(&mut self, slot: Slot, id: PathId, before: Kinds, after: Kinds) {
        if before == after {
            return;
        }
        let had_data = self.groups.any(self.paths.watchers(id), Kinds::DATA_TABLE);
        self.groups.set(self.paths.watchers_mut(id), slot, after);
        self.account(slot, id, before, after);
        self.settle(id, had_data);
    }

    fn make_place(&mut self, slot: Slot) {
        if self.by_slot.len() <= slot.index() {
            self.by_slot.resize_with(slot.index() + 1, Watched::default);
        }
    }

    /// Counts what one connection gained or lost on one path.
    fn account(&mut self, slot: Slot, id: PathId, before: Kinds, after: Kinds) {
        self.version += 1;
        self.make_place(slot);
        let watched = &mut self.by_slot[slot.index()];
        if let Some(together) = &watched.together {
            // Wraps if it is less than before.
            together.fetch_add(after.tables().wrapping_sub(before.tables()), Ordering::Relaxed);
        }
        match (before.is_none(), after.is_none()) {
            (true, false) => watched.paths.insert(id),
            (false, true) => watched.paths.remove(id),
            _ => {}
        }
        match (before.has_any(Kinds::DATA_TABLE), after.has_any(Kinds::DATA_TABLE)) {
            (false, true) => {
                watched.data += 1;
                self.summary.watches += 1;
                self.summary.connections += usize::from(watched.data == 1);
            }
            (true, false) => {
                watched.data -= 1;
                self.summary.watches -= 1;
                self.summary.connections -= usize::from(watched.data == 0);
            }
            _ => {}
        }
        match (before.has_any(Kinds::CHILD_TABLE), after.has_any(Kinds::CHILD_TABLE)) {
            (false, true) => {
                watched.child += 1;
                self.child_watches += 1;
            }
            (true, false) => {
                watched.child -= 1;
                self.child_watches -= 1;
            }
            _ => {}
        }
        let len = self.paths.path(id).len();
        match (before.has_any(Kinds::RECURSIVE), after.has_any(Kinds::RECURSIVE)) {
            (false, true) => *self.recursive.entry(len).or_default() += 1,
            (true, false) => {
                let count = self.recursive.entry(len).or_default();
                *count -= 1;
                if *count == 0 {
                    self.recursive.remove(&len);
                }
            }
            _ => {}
        }
    }

    /// Counts what a path gained or lost, and forgets it if nobody watches it.
    fn settle(&mut self, id: PathId, had_data: bool) {
        let watchers = self.paths.watchers(id);
        match (had_data, self.groups.any(watchers, Kinds::DATA_TABLE)) {
            (false, true) => self.summary.paths += 1,
            (true, false) => self.summary.paths -= 1,
            _ => {}
        }
        if watchers == Watchers::Nobody {
            self.paths.remove(id);
        }
    }

    fn kinds(&self, slot: Slot, path: &str) -> Kinds {
        self.paths.find(path).map_or(Kinds::NONE, |id| self.groups.kinds(self.paths.watchers(id), slot))
    }

    /// Whether `slot` has a watch of this kind on `path`.
    ///
    /// # Errors
    /// [`ErrorCode::NO_WATCHER`] if it has none.
    pub fn check(&self, slot: Slot, path: &str, kind: WatchKind) -> Result<(), ErrorCode> {
        let has = self.kinds(slot, path).has_any(kind.kinds()) || self.is_covered(slot, path, kind);
        if has { Ok(()) } else { Err(ErrorCode::NO_WATCHER) }
    }

    /// Removes the watches of this kind that `slot` has on `path`.
    ///
    /// # Errors
    /// [`ErrorCode::NO_WATCHER`] if there was none.
    pub fn remove(&mut self, slot: Slot, path: &str, kind: WatchKind) -> Result<(), ErrorCode> {
        if let Some(id) = self.paths.find(path) {
            let before = self.groups.kinds(self.paths.watchers(id), slot);
            if before.has_any(kind.kinds()) {
                self.change(slot, id, before, before.without(kind.kinds()));
                return Ok(());
            }
        }
        if self.is_covered(slot, path, kind) { Ok(()) } else { Err(ErrorCode::NO_WATCHER) }
    }

    /// Whether `slot` may have been covered for the sake of such a watch. What it stands for is not known, so the cover
    /// stays if that is removed.
    fn is_covered(&self, slot: Slot, path: &str, kind: WatchKind) -> bool {
        kind.kinds().has_any(Kinds::LASTING) && self.covers.hears(slot, EventType::NodeDataChanged, path)
    }

    /// Removes all watches of a connection that ends.
    pub fn remove_slot(&mut self, slot: Slot) {
        while self.remove_some(slot, usize::MAX) {}
    }

    /// Removes up to `count` watched paths of a connection that ends, and says whether any may be left.
    pub fn remove_some(&mut self, slot: Slot, count: usize) -> bool {
        self.version += u64::from(self.covers.remove(slot));
        let Some(watched) = self.by_slot.get(slot.index()) else { return false };
        let some: Vec<PathId> = watched.paths.from(0).take(count).collect();
        for &id in &some {
            let before = self.groups.kinds(self.paths.watchers(id), slot);
            self.change(slot, id, before, Kinds::NONE);
        }
        let may_be_more = some.len() == count;
        if !may_be_more {
            self.by_slot[slot.index()].together = None;
        }
        may_be_more
    }

    /// From now on, and until it ends, the watches of a connection that has none yet are counted in `together`, too.
    pub fn count_together(&mut self, slot: Slot, together: Arc<AtomicUsize>) {
        self.make_place(slot);
        self.by_slot[slot.index()].together = Some(together);
    }

    /// Who hears of this event, each once, in the order of their slots; one-shot watches of the path are used up.
    /// `fired` is overwritten.
    pub fn fire(&mut self, event: EventType, path: &str, fired: &mut Vec<Fired>) {
        fired.clear();
        self.fire_exact(event, path, fired);
        if event != EventType::NodeChildrenChanged {
            self.fire_ancestors(path, fired);
        }
        self.covers.hear(event, path, |slot| fired.push(Fired { slot, one_shot: false }));
        fired.sort_unstable();
        fired.dedup_by(|later, earlier| {
            let same = later.slot == earlier.slot;
            if same {
                earlier.one_shot |= later.one_shot;
            }
            same
        });
    }

    fn fire_exact(&mut self, event: EventType, path: &str, fired: &mut Vec<Fired>) {
        let Some(id) = self.paths.find(path) else { return };
        let had_data = self.groups.any(self.paths.watchers(id), Kinds::DATA_TABLE);
        let mut watchers = std::mem::take(self.paths.watchers_mut(id));
        let mut groups = std::mem::take(&mut self.groups);
        groups.fire(&mut watchers, Kinds::hearing(event), |slot, before, left| {
            fired.push(Fired { slot, one_shot: before != left });
            if before != left {
                self.account(slot, id, before, left);
            }
        });
        self.groups = groups;
        *self.paths.watchers_mut(id) = watchers;
        self.settle(id, had_data);
    }

    fn fire_ancestors(&self, path: &str, fired: &mut Vec<Fired>) {
        for &len in self.recursive.range(..path.len()).map(|(len, _)| len) {
            let ancestor = match (len, path.as_bytes().get(len)) {
                (1, _) if path.starts_with('/') => "/",
                (2.., Some(b'/')) => &path[..len],
                _ => continue,
            };
            if let Some(id) = self.paths.find(ancestor) {
                let watchers = self.paths.watchers(id);
                let hear = |slot| fired.push(Fired { slot, one_shot: false });
                self.groups.for_each(watchers, Kinds::RECURSIVE, hear);
            }
        }
    }

    /// Whether `slot` hears of this event by a persistent watch.
    pub fn hears_lastingly(&self, slot: Slot, event: EventType, path: &str) -> bool {
        let lasting = Kinds::hearing(event).without(Kinds::ONE_SHOT);
        let by_ancestor = || {
            let mut fired = Vec::new();
            if event != EventType::NodeChildrenChanged {
                self.fire_ancestors(path, &mut fired);
            }
            fired.iter().any(|fired| fired.slot == slot)
        };
        self.kinds(slot, path).has_any(lasting) || by_ancestor() || self.covers.hears(slot, event, path)
    }

    /// Whether `slot` watches anything.
    pub fn watches_any(&self, slot: Slot) -> bool {
        self.count_of(slot) > 0 || self.covers.contains(slot)
    }

    /// How many watches one of this kind adds to those that are counted; none if the connection has it already.
    pub fn adds(&self, slot: Slot, path: &str, kind: WatchKind) -> usize {
        let before = self.kinds(slot, path);
        before.and(kind.kinds()).tables() - before.tables()
    }

    /// Whether a watch of this kind would be too many. One that the connection has already is not.
    ///
    /// # Errors
    /// Says which limit it would exceed.
    pub fn has_room(
        &self,
        slot: Slot,
        path: &str,
        kind: WatchKind,
        limits: &WatchLimits,
    ) -> Result<(), TooMany> {
        let room = |more: usize| match (self.count_of(slot), self.len()) {
            (own, _) if own.saturating_add(more) > limits.connection => Err(TooMany::OfConnection),
            (_, all) if all.saturating_add(more) > limits.total => Err(TooMany::OfAll),
            _ => Ok(()),
        };
        room(MOST).or_else(|_| match self.adds(slot, path, kind) {
            0 => Ok(()),
            more => room(more),
        })
    }

    /// Watches of one connection in both tables.
    pub fn count_of(&self, slot: Slot) -> usize {
        self.by_slot.get(slot.index()).map_or(0, |watched| watched.data as usize + watched.child as usize)
    }

    /// Watches, in both tables, of all that are counted together with this one.
    pub fn count_of_all_with(&self, slot: Slot) -> usize {
        let together = self.by_slot.get(slot.index()).and_then(|watched| watched.together.as_ref());
        together.map_or_else(|| self.count_of(slot), |together| together.load(Ordering::Relaxed))
    }

    /// Counts of the data table.
    pub const fn summary(&self) -> WatchSummary {
        self.summary
    }

    /// Watches in both tables.
    pub const fn len(&self) -> usize {
        self.summary.watches + self.child_watches
    }

    /// Whether nobody watches anything.
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && self.covers.is_empty()
    }

    /// Every watched path of both tables, once.
    pub fn exact_paths(&self) -> Vec<String> {
        self.paths.from(0).map(|id| self.paths.path(id).to_owned()).collect()
    }

    /// Every path below which somebody hears of everything.
    pub fn recursive_paths(&self) -> Vec<String> {
        let mut listed: Vec<_> = self.covers.paths().map(str::to_owned).collect();
        if !self.recursive.is_empty() {
            let recursive = |id: &PathId| self.groups.any(self.paths.watchers(*id), Kinds::RECURSIVE);
            listed.extend(self.paths.from(0).filter(recursive).map(|id| self.paths.path(id).to_owned()));
        }
        listed
    }

    /// Paths of the data table with their watchers, from the path numbered `from` on, until about `limit` watches are
    /// listed, and the number to go on from. For listings that must not hold the index for long: what changes
    /// meanwhile may be missed.
    pub fn paths_from(&self, from: u32, limit: usize) -> (Vec<(String, Vec<Slot>)>, Option<u32>) {
        let (mut listed, mut seen) = (Vec::new(), 0);
        for id in self.paths.from(from) {
            if seen >= limit {
                return (listed, Some(id));
            }
            let mut slots = Vec::new();
            self.groups.for_each(self.paths.watchers(id), Kinds::DATA_TABLE, |slot| slots.push(slot));
            // Paths of the other table take time too.
            seen += slots.len().max(1);
            if !slots.is_empty() {
                slots.sort_unstable();
                slots.dedup();
                listed.push((self.paths.path(id).to_owned(), slots));
            }
        }
        (listed, None)
    }

    /// Tells of every watched path, from the path numbered `from` on, with how many watch it, at most `limit` of them; the
    /// number to go on from. Whoever watches one in several ways may count several times.
    pub fn watched_from(&self, from: u32, limit: usize, mut tell: impl FnMut(&str, u64)) -> Option<u32> {
        for (seen, id) in self.paths.from(from).enumerate() {
            if seen >= limit {
                return Some(id);
            }
            tell(self.paths.path(id), self.groups.len(self.paths.watchers(id)));
        }
        None
    }

    /// The first connection from slot number `from` on that has a watch in the data table.
    pub fn watcher_from(&self, from: usize) -> Option<Slot> {
        let mut watchers = self.by_slot.iter().enumerate().skip(from);
        watchers.find(|(_, watched)| watched.data > 0).and_then(|(index, _)| Slot::new(index))
    }

    /// Paths that a connection has in the data table, from the path numbered `from` on, at most `limit`, and the number
    /// to go on from.
    pub fn paths_of(&self, slot: Slot, from: u32, limit: usize) -> (Vec<String>, Option<u32>) {
        let mut listed = Vec::new();
        let Some(watched) = self.by_slot.get(slot.index()) else { return (listed, None) };
        for (seen, id) in watched.paths.from(from).enumerate() {
            if seen >= limit {
                return (listed, Some(id));
            }
            if self.groups.kinds(self.paths.watchers(id), slot).has_any(Kinds::DATA_TABLE) {
                listed.push(self.paths.path(id).to_owned());
            }
        }
        (listed, None)
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
