//! Which locks are in use, and for how long.
//!
//! What is asked for is known before it is done; who holds, and for how long, from the transactions: so whoever lets go
//! of a lock, its session's end included, and whichever gateway it is at, is seen.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use lru::LruCache;

use super::prefixes::{LockUse, Prefixes, Trait};

/// A hold that ends within this time, waiting included, is short.
const SHORT_HOLD: Duration = Duration::from_secs(5);
/// So many short holds of a lock are believed to be exceptions after each long one,
const TRUST: u8 = 4;
/// and so many at most.
const MAX_TRUST: u8 = 2 * TRUST;
/// Parents that are remembered: the least recently used are forgotten first.
const MAX_PARENTS: NonZeroUsize = NonZeroUsize::new(50_000).expect("not zero");

/// Bytes of a path that is remembered: longer ones that begin with the same are one.
const MAX_PATH: usize = 1_024;

fn cut(path: &str) -> &str {
    path.get(..path.floor_char_boundary(MAX_PATH)).unwrap_or(path)
}

/// Parents of ephemeral sequential znodes, and the paths below which there are many.
#[derive(Debug)]
pub(super) struct LockTable {
    parents: LruCache<Box<str>, Parent>,
    prefixes: Prefixes,
}

#[derive(Clone, Copy, Debug, Default)]
struct Parent {
    /// Acquired and not yet released: who holds, and who waits.
    queue: u32,
    /// Short holds that make no difference yet.
    trust: u8,
    /// Whether there was a lock below it, or only room was made for it.
    is_proven: bool,
}

impl Default for LockTable {
    fn default() -> Self {
        Self { parents: LruCache::new(MAX_PARENTS), prefixes: Prefixes::default() }
    }
}

impl LockTable {
    /// If a lock below `parent` is one more of many that are held for a short time each and have a parent each: the
    /// path above them.
    pub(super) fn fine_grained_at<'a>(&self, parent: &'a str, now: Instant) -> Option<&'a str> {
        self.new_at(parent, Trait::FineGrained, now)
    }

    /// If `path`, which is to be made, will most likely be such a parent: the path above them.
    pub(super) fn parents_made_at<'a>(&self, path: &'a str, now: Instant) -> Option<&'a str> {
        self.new_at(path, Trait::MadeForLocks, now)
    }

    fn new_at<'a>(&self, parent: &'a str, wanted: Trait, now: Instant) -> Option<&'a str> {
        let parent = cut(parent);
        let prefix = self.prefixes.nearest(parent, wanted, now)?;
        (!self.parents.contains(parent)).then_some(prefix)
    }

    /// If a lock below `parent` is one more of many that are held for a short time each: the path above them. One that
    /// is known to be held for long is not.
    pub(super) fn short_at<'a>(&self, parent: &'a str, now: Instant) -> Option<&'a str> {
        let parent = cut(parent);
        let prefix = self.prefixes.nearest(parent, Trait::Short, now)?;
        let is_trusted = self.parents.peek(parent).is_some_and(|parent| parent.trust > 0);
        (!is_trusted).then_some(prefix)
    }

    /// A lock below `parent` was let in: it is in use from now on.
    pub(super) fn let_in(&mut self, parent: &str, now: Instant) {
        let parent = cut(parent);
        if self.parents.get(parent).is_none() {
            self.expect(parent, now);
        }
        self.prefixes.count(parent, now, |uses| &mut uses.let_in);
        let known = self.parents.get_mut(parent);
        if known.is_some_and(|known| !std::mem::replace(&mut known.is_proven, true)) {
            self.prefixes.count(parent, now, |uses| &mut uses.new_parents);
        }
    }

    /// The making of `path` was let in. If it seems to be for locks, these need not ask for that again.
    pub(super) fn made(&mut self, path: &str, now: Instant) {
        let path = cut(path);
        if self.parents_made_at(path, now).is_some() {
            self.expect(path, now);
        }
    }

    fn expect(&mut self, parent: &str, now: Instant) {
        self.parents.put(parent.into(), Parent::default());
        self.prefixes.count(parent, now, |uses| &mut uses.made);
    }

    /// A lock below `parent` was refused.
    pub(super) fn refused(&mut self, parent: &str, now: Instant) {
        let parent = cut(parent);
        self.prefixes.refused(parent, now);
    }

    /// What of this path is known to be a parent of locks: itself, or its parent.
    pub(super) fn parent_of<'a>(&self, path: &'a str) -> Option<&'a str> {
        [path, super::work::parent(path)].into_iter().find(|path| self.parents.contains(cut(path)))
    }

    /// A numbered ephemeral was made below `parent`; whether that is the acquisition of a lock.
    pub(super) fn acquired(&mut self, parent: &str, now: Instant) -> bool {
        let parent = cut(parent);
        let Some(known) = self.parents.get_mut(parent) else { return false };
        known.queue = known.queue.saturating_add(1);
        self.prefixes.acquired(parent, now);
        true
    }

    /// One that was there for so long is gone; whether that was a short hold.
    pub(super) fn released(&mut self, parent: &str, lived: Duration, now: Instant) -> bool {
        let parent = cut(parent);
        let Some(known) = self.parents.get_mut(parent) else { return false };
        known.queue = known.queue.saturating_sub(1);
        if lived >= SHORT_HOLD {
            known.trust = MAX_TRUST.min(known.trust + TRUST);
            return false;
        }
        known.trust = known.trust.saturating_sub(1);
        self.prefixes.count(parent, now, |uses| &mut uses.short_holds);
        true
    }

    /// Who holds and who waits is not known any more.
    pub(super) fn forget_queues(&mut self) {
        self.parents.iter_mut().for_each(|(_, parent)| parent.queue = 0);
    }

    /// How many paths there are below which locks are fine-grained.
    pub(super) fn fine_grained(&self, now: Instant) -> usize {
        self.prefixes.fine_grained(now)
    }

    /// The paths with the most acquisitions of late, at most `limit`.
    pub(super) fn busiest(&self, limit: usize, now: Instant) -> Vec<LockUse> {
        self.prefixes.busiest(limit, now)
    }

    /// The parents with the longest queues, holders included, at most `limit`.
    pub(super) fn longest_queues(&self, limit: usize) -> Vec<(String, u32)> {
        let mut queues: Vec<_> = self.parents.iter().filter(|(_, parent)| parent.queue > 1).collect();
        queues.sort_by_key(|(_, parent)| std::cmp::Reverse(parent.queue));
        queues.into_iter().take(limit).map(|(path, parent)| (path.to_string(), parent.queue)).collect()
    }
}

#[cfg(test)]
#[path = "lock_table_tests.rs"]
mod tests;
