//! What the driver shares with those that only look: the applied tree.

use palisade_store::{DataTree, SnapshotCursor};
use parking_lot::{MappedRwLockReadGuard, RwLock, RwLockReadGuard};

/// The applied tree. Only the driver changes it; all others read, and hold the lock for moments.
pub(crate) struct SharedTree {
    held: RwLock<Held>,
}

struct Held {
    tree: DataTree,
    generation: Generation,
    /// Whether everything applied is committed.
    settled: bool,
}

/// Tells one tree from the one that took its place, and times in which everything applied is committed from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation(u64);

impl SharedTree {
    pub(crate) fn new(tree: DataTree) -> Self {
        Self { held: RwLock::new(Held { tree, generation: Generation(0), settled: false }) }
    }

    pub(crate) fn read(&self) -> MappedRwLockReadGuard<'_, DataTree> {
        RwLockReadGuard::map(self.held.read(), |held| &held.tree)
    }

    /// Changes the tree by applying to it.
    pub(crate) fn update<R>(&self, change: impl FnOnce(&mut DataTree) -> R) -> R {
        change(&mut self.held.write().tree)
    }

    /// The beginning of a snapshot for a learner.
    pub(crate) fn cursor(&self) -> (Box<SnapshotCursor>, Generation) {
        let held = self.held.read();
        (Box::new(SnapshotCursor::new(&held.tree)), held.generation)
    }

    /// The beginning of a snapshot for the disk; `None` while what is applied may yet be undone.
    pub(crate) fn settled_cursor(&self) -> Option<(SnapshotCursor, Generation)> {
        let held = self.held.read();
        held.settled.then(|| (SnapshotCursor::new(&held.tree), held.generation))
    }

    /// Reads the tree if it is still the one of `generation`.
    pub(crate) fn read_same<R>(
        &self,
        generation: Generation,
        read: impl FnOnce(&DataTree) -> R,
    ) -> Option<R> {
        let held = self.held.read();
        (held.generation == generation).then(|| read(&held.tree))
    }

    /// Puts another tree in place and returns the old one. Ends snapshots under way.
    pub(crate) fn replace(&self, tree: DataTree) -> DataTree {
        let mut held = self.held.write();
        held.generation.0 += 1;
        std::mem::replace(&mut held.tree, tree)
    }

    /// Everything applied is committed.
    pub(crate) fn settle(&self) {
        self.held.write().settled = true;
    }

    /// What is applied from now on may yet be undone. Ends snapshots under way, because it must not get into them.
    pub(crate) fn unsettle(&self) {
        let mut held = self.held.write();
        if held.settled {
            held.generation.0 += 1;
            held.settled = false;
        }
    }
}
