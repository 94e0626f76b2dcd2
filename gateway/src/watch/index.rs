//! Both tables together, and what each kind of request means for them.

use palisade_wire::{DecodeError, ErrorCode};

use super::set::{Mode, Slot};
use super::table::Table;

/// What checkWatches and removeWatches name (`Watcher.WatcherType`, with ZOOKEEPER-4471).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WatchKind {
    /// One-shot child watches.
    Children,
    /// One-shot data and exist watches.
    Data,
    /// All.
    Any,
    /// Persistent watches.
    Persistent,
    /// Persistent recursive watches.
    Recursive,
}

impl WatchKind {
    /// The kind with this number.
    ///
    /// # Errors
    /// The number names none, which a client is told as a marshalling error.
    pub(crate) fn from_i32(value: i32) -> Result<Self, DecodeError> {
        Ok(match value {
            1 => Self::Children,
            2 => Self::Data,
            3 => Self::Any,
            4 => Self::Persistent,
            5 => Self::Recursive,
            other => return Err(DecodeError::Unknown { field: "watch type", value: other.into() }),
        })
    }

    /// The modes that it names in the data table and in the child table.
    const fn modes(self) -> (u8, u8) {
        const STANDARD: u8 = Mode::Standard as u8;
        const PERSISTENT: u8 = Mode::Persistent as u8;
        const RECURSIVE: u8 = Mode::Recursive as u8;
        match self {
            Self::Children => (0, STANDARD),
            Self::Data => (STANDARD, 0),
            Self::Any => (STANDARD | PERSISTENT | RECURSIVE, STANDARD | PERSISTENT | RECURSIVE),
            Self::Persistent => (PERSISTENT, PERSISTENT),
            Self::Recursive => (RECURSIVE, 0),
        }
    }
}

/// Counts for `wchs`: the data table only, as Apache has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WatchSummary {
    /// Connections with a watch.
    pub connections: usize,
    /// Watched paths.
    pub paths: usize,
    /// Watches.
    pub watches: usize,
}

/// All watches of a gateway.
#[derive(Debug, Default)]
pub(crate) struct WatchIndex {
    /// Data and exist watches; persistent and recursive ones.
    data: Table,
    /// Child watches; persistent ones.
    child: Table,
}

impl WatchIndex {
    /// Adds a one-shot watch of data or existence.
    pub(crate) fn add_data(&mut self, slot: Slot, path: &str) {
        self.data.add(slot, path, Mode::Standard);
    }

    /// Adds a one-shot watch of the list of children.
    pub(crate) fn add_child(&mut self, slot: Slot, path: &str) {
        self.child.add(slot, path, Mode::Standard);
    }

    /// Adds a persistent watch.
    pub(crate) fn add_persistent(&mut self, slot: Slot, path: &str) {
        self.data.add(slot, path, Mode::Persistent);
        self.child.add(slot, path, Mode::Persistent);
    }

    /// Adds a persistent recursive watch. It hears of children by their own creation and deletion, so it has no
    /// part in the child table (since 3.9).
    pub(crate) fn add_recursive(&mut self, slot: Slot, path: &str) {
        self.data.add(slot, path, Mode::Recursive);
    }

    /// Whether `slot` has a watch of this kind on `path`.
    ///
    /// # Errors
    /// [`ErrorCode::NO_WATCHER`] if it has none.
    pub(crate) fn check(&self, slot: Slot, path: &str, kind: WatchKind) -> Result<(), ErrorCode> {
        let (data, child) = kind.modes();
        let found = self.data.modes(slot, path) & data != 0 || self.child.modes(slot, path) & child != 0;
        if found { Ok(()) } else { Err(ErrorCode::NO_WATCHER) }
    }

    /// Removes the watches of this kind that `slot` has on `path`.
    ///
    /// # Errors
    /// [`ErrorCode::NO_WATCHER`] if there was none.
    pub(crate) fn remove(&mut self, slot: Slot, path: &str, kind: WatchKind) -> Result<(), ErrorCode> {
        let (data, child) = kind.modes();
        let from_data = self.data.remove(slot, path, data);
        let from_child = self.child.remove(slot, path, child);
        if from_data || from_child { Ok(()) } else { Err(ErrorCode::NO_WATCHER) }
    }

    /// Removes all watches of a connection that ends.
    pub(crate) fn remove_slot(&mut self, slot: Slot) {
        self.data.remove_slot(slot);
        self.child.remove_slot(slot);
    }

    /// Who hears that `path` was created or that its data was set. `fired` is overwritten.
    pub(crate) fn fire_data(&mut self, path: &str, fired: &mut Vec<Slot>) {
        fired.clear();
        self.data.fire(path, fired);
    }

    /// Who hears that `path` was deleted: watchers of both tables, each once. `fired` is overwritten.
    pub(crate) fn fire_deleted(&mut self, path: &str, fired: &mut Vec<Slot>) {
        fired.clear();
        self.data.fire(path, fired);
        self.child.fire(path, fired);
    }

    /// Who hears that the children of `path` changed. `fired` is overwritten.
    pub(crate) fn fire_children(&mut self, path: &str, fired: &mut Vec<Slot>) {
        fired.clear();
        self.child.fire(path, fired);
    }

    /// Watches of one connection in both tables.
    pub(crate) fn count_of(&self, slot: Slot) -> usize {
        self.data.count_of(slot) + self.child.count_of(slot)
    }

    /// Counts of the data table.
    pub(crate) fn summary(&self) -> WatchSummary {
        let (connections, paths, watches) = self.data.count();
        WatchSummary { connections, paths, watches }
    }

    /// Watches in both tables.
    pub(crate) fn len(&self) -> usize {
        self.data.count().2 + self.child.count().2
    }

    /// Every watched path of both tables, once.
    pub(crate) fn exact_paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.data.for_each_path(|path, _| paths.push(path.to_owned()));
        self.child.for_each_path(|path, _| paths.push(path.to_owned()));
        paths.sort_unstable();
        paths.dedup();
        paths
    }

    /// Who has a recursive watch.
    pub(crate) fn recursive_slots(&self) -> Vec<Slot> {
        self.data.recursive_slots()
    }

    /// Every path of the data table with its watchers.
    pub(crate) fn for_each_path(&self, f: impl FnMut(&str, &mut dyn Iterator<Item = Slot>)) {
        self.data.for_each_path(f);
    }

    /// Every watcher of the data table with its paths.
    pub(crate) fn for_each_slot(&self, f: impl FnMut(Slot, &mut dyn Iterator<Item = &str>)) {
        self.data.for_each_slot(f);
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
