//! Changes that very many hear lastingly, kept once for all of them.
//!
//! Ten thousand watchers of a znode that changes a thousand times a second cannot be visited at every change. Whoever
//! has not been told of the last one has a [`Share`] in what follows: the change is added in one place ([`Changes`]),
//! and only those who were told in the meantime get a new share.

use std::collections::VecDeque;
use std::sync::Arc;

use palisade_wire::Acl;
use parking_lot::Mutex;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::event::Event;
use crate::kinds::Slot;

/// Paths whose watchers are remembered.
const PATHS: usize = 1_024;
/// Watchers of all of these. Each takes some 12 bytes, whether or not there is anything to be told.
const WATCHERS: usize = 2_000_000;

/// An event, and its place among all of its gateway.
pub type Told = (u64, Arc<Event>);

/// The znodes whose changes of data are shared by those who hear of them.
#[derive(Debug, Default)]
pub struct Herds {
    by_path: FxHashMap<Box<str>, Herd>,
    /// The eldest is forgotten if there are too many.
    paths: VecDeque<Box<str>>,
    /// The sum of their sizes.
    watchers: usize,
    events: u64,
}

#[derive(Debug)]
struct Herd {
    changes: Arc<Changes>,
    /// The version of the index as of which the herd is known; none if it has others than those with a share.
    version: Option<u64>,
    /// The list that must let its clients read.
    acl: Option<Box<[Acl]>>,
    size: usize,
}

/// Who hears of a change of data, as the watch index and the znode say.
#[derive(Clone, Copy, Debug)]
pub struct Hearers<'a> {
    /// The list that must let them read; `None` if everybody may.
    pub acl: Option<&'a [Acl]>,
    /// [`WatchIndex::version`](crate::WatchIndex::version).
    pub version: u64,
    /// If there are more than this, of several changes that somebody was not told of only the last one is told.
    pub merge_above: Option<usize>,
}

impl Hearers<'_> {
    /// Whether only the last one is told if so many hear lastingly.
    pub fn merge(&self, size: usize) -> bool {
        self.merge_above.is_some_and(|above| size > above)
    }
}

impl Herds {
    /// The place of the next event.
    pub const fn next(&mut self) -> u64 {
        self.events += 1;
        self.events
    }

    /// The changes that are shared by all who hear of a change of `path`, and how many these are, if that is known.
    pub fn known(&self, path: &str, hearers: &Hearers<'_>) -> Option<(&Arc<Changes>, usize)> {
        let herd = self.by_path.get(path).filter(|herd| herd.version == Some(hearers.version))?;
        herd.fits(hearers, herd.size).then_some((&herd.changes, herd.size))
    }

    /// The changes of `path` that are shared by `size` connections from now on. `all` says that nobody else hears of
    /// them by a watch that is there already.
    pub fn share(&mut self, path: &str, hearers: &Hearers<'_>, size: usize, all: bool) -> Arc<Changes> {
        let version = all.then_some(hearers.version);
        if let Some(herd) = self.by_path.get_mut(path).filter(|herd| herd.fits(hearers, size)) {
            self.watchers = self.watchers - herd.size + size;
            (herd.version, herd.size) = (version, size);
            return Arc::clone(&herd.changes);
        }
        self.forget(path);
        while (self.paths.len() >= PATHS || self.watchers + size > WATCHERS)
            && let Some(eldest) = self.paths.pop_front()
        {
            self.watchers -= self.by_path.remove(&eldest).map_or(0, |herd| herd.size);
        }
        self.watchers += size;
        let changes = Arc::new(Changes { merge: hearers.merge(size), state: Mutex::default() });
        let acl = hearers.acl.map(Box::from);
        let herd = Herd { changes: Arc::clone(&changes), version, acl, size };
        self.by_path.insert(path.into(), herd);
        self.paths.push_back(path.into());
        changes
    }

    /// Something else happened to `path`: what changed before is not merged with what will.
    pub fn forget(&mut self, path: &str) {
        if let Some(herd) = self.by_path.remove(path) {
            self.watchers -= herd.size;
            self.paths.retain(|other| **other != *path);
        }
    }
}

impl Herd {
    fn fits(&self, hearers: &Hearers<'_>, size: usize) -> bool {
        self.acl.as_deref() == hearers.acl && self.changes.merge == hearers.merge(size)
    }
}

/// Changes of one znode's data of which somebody is yet to be told.
#[derive(Debug)]
pub struct Changes {
    merge: bool,
    /// Taken for a moment, and while a connection is locked.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    log: VecDeque<Entry>,
    /// The number of the first one in the log.
    first: u64,
    /// Connections with a share.
    sharing: FxHashSet<Slot>,
    /// Connections whose share ended since the last change.
    left: Vec<Slot>,
}

#[derive(Debug)]
struct Entry {
    told: Told,
    /// Shares that begin with this one.
    begin: usize,
}

/// What was there when a change was added.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// Connections that share it already.
    pub sharing: usize,
    /// Those that are to [`Changes::join`].
    pub others: Vec<Slot>,
}

impl Changes {
    /// Adds a change of which the same connections hear as of the one before.
    pub fn add_again(&self, told: Told) -> Added {
        let mut state = self.state.lock();
        state.add(told, self.merge);
        Added { sharing: state.sharing.len(), others: std::mem::take(&mut state.left) }
    }

    /// Adds a change of which these connections hear.
    pub fn add(&self, told: Told, hearers: impl Iterator<Item = Slot>) -> Added {
        let mut state = self.state.lock();
        state.add(told, self.merge);
        state.left.clear();
        let others = hearers.filter(|slot| !state.sharing.contains(slot)).collect();
        Added { sharing: state.sharing.len(), others }
    }

    /// Whether only the last of several changes is told.
    pub const fn merges(&self) -> bool {
        self.merge
    }

    /// Whether this connection has a share.
    pub fn is_shared_by(&self, slot: Slot) -> bool {
        self.state.lock().sharing.contains(&slot)
    }

    /// From the last change on, this connection has a share. It has none yet.
    pub fn join(self: &Arc<Self>, slot: Slot) -> Share {
        let mut state = self.state.lock();
        state.sharing.insert(slot);
        if let Some(last) = state.log.back_mut() {
            last.begin += 1;
        }
        let from = state.first + (state.log.len() as u64).saturating_sub(1);
        drop(state);
        Share { changes: Arc::clone(self), slot, from, ended: false }
    }
}

impl State {
    fn add(&mut self, told: Told, merge: bool) {
        self.trim();
        match self.log.back_mut() {
            Some(last) if merge => last.told = told,
            _ => self.log.push_back(Entry { told, begin: 0 }),
        }
    }

    /// Forgets what everybody was told.
    fn trim(&mut self) {
        while self.log.front().is_some_and(|entry| entry.begin == 0) {
            self.log.pop_front();
            self.first += 1;
        }
    }

    fn leave(&mut self, slot: Slot, from: u64, mut take: impl FnMut(&Told)) {
        let at = usize::try_from(from - self.first).unwrap_or(usize::MAX);
        self.log.range(at.min(self.log.len())..).for_each(|entry| take(&entry.told));
        if let Some(entry) = self.log.get_mut(at) {
            entry.begin -= 1;
        }
        self.sharing.remove(&slot);
        self.left.push(slot);
    }
}

/// What one connection is yet to be told of [`Changes`]. Dropped, it ends, and the connection is to join again with the
/// next change.
#[derive(Debug)]
pub struct Share {
    changes: Arc<Changes>,
    slot: Slot,
    from: u64,
    ended: bool,
}

impl Share {
    /// How many events the connection is yet to be told.
    pub(crate) fn len(&self) -> usize {
        let state = self.changes.state.lock();
        let end = state.first + state.log.len() as u64;
        usize::try_from(end.saturating_sub(self.from)).unwrap_or(usize::MAX)
    }

    /// Ends it, and hands over what the connection is told by that, the eldest first.
    pub fn take(mut self, take: impl FnMut(&Told)) {
        self.ended = true;
        self.changes.state.lock().leave(self.slot, self.from, take);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if !self.ended {
            self.changes.state.lock().leave(self.slot, self.from, |_| {});
        }
    }
}

#[cfg(test)]
#[path = "herd_tests.rs"]
mod tests;
