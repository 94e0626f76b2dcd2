//! Which locks are in use below which paths, and for how long.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use lru::LruCache;

use super::work::parent as prefix;

/// A hold that ends within this time is short.
const SHORT_HOLD: Duration = Duration::from_secs(5);
/// A prefix with this many short holds of late is one of fine-grained locks,
const FINE_GRAINED: f64 = 50.0;
/// and of new parents for each order, say, if so many were new: not one lock or election that changes hands often.
const NEW_PARENTS: f64 = FINE_GRAINED / 2.0;
/// In this time, what happened comes to count half.
const HALF_LIFE: Duration = Duration::from_secs(30);
/// Parents that are remembered: the least recently used are forgotten first.
const MAX_PARENTS: NonZeroUsize = NonZeroUsize::new(50_000).expect("not zero");
/// Prefixes that are remembered.
const MAX_PREFIXES: NonZeroUsize = NonZeroUsize::new(4_096).expect("not zero");

/// Parents of ephemeral sequential znodes, and the paths below which there are many.
#[derive(Debug)]
pub(super) struct LockTable {
    parents: LruCache<Box<str>, Parent>,
    prefixes: LruCache<String, Prefix>,
}

#[derive(Clone, Copy, Debug)]
struct Parent {
    last_acquired: Instant,
    /// Acquired and not yet released: who holds, and who waits.
    queue: u32,
}

#[derive(Clone, Copy, Debug)]
struct Prefix {
    acquired: Recent,
    new_parents: Recent,
    short_holds: Recent,
    refused: Recent,
}

/// What the locks below one path did of late.
#[derive(Clone, Debug, PartialEq)]
pub struct LockUse {
    /// The path.
    pub prefix: String,
    /// Acquisitions per second.
    pub acquired_per_s: f64,
    /// Parents per second that were not in use before.
    pub new_parents_per_s: f64,
    /// Holds per second that ended at once.
    pub short_holds_per_s: f64,
    /// Refusals per second, because of any limit.
    pub refused_per_s: f64,
    /// Whether new parents here are limited as `throttle.lock_parents`.
    pub fine_grained: bool,
}

/// A counter in which the past fades.
#[derive(Clone, Copy, Debug)]
struct Recent {
    value: f64,
    at: Instant,
}

impl Recent {
    const fn none(at: Instant) -> Self {
        Self { value: 0.0, at }
    }

    fn value(&self, now: Instant) -> f64 {
        let age = now.saturating_duration_since(self.at).as_secs_f64();
        self.value * (-age / HALF_LIFE.as_secs_f64()).exp2()
    }

    fn count(&mut self, now: Instant) {
        *self = Self { value: self.value(now) + 1.0, at: now };
    }

    fn per_s(&self, now: Instant) -> f64 {
        self.value(now) * std::f64::consts::LN_2 / HALF_LIFE.as_secs_f64()
    }
}

impl Default for LockTable {
    fn default() -> Self {
        Self { parents: LruCache::new(MAX_PARENTS), prefixes: LruCache::new(MAX_PREFIXES) }
    }
}

impl LockTable {
    /// Whether a lock below `parent` is one more of many that are held for a short time each and have a parent each.
    pub(super) fn is_fine_grained(&self, parent: &str, now: Instant) -> bool {
        self.prefixes.peek(prefix(parent)).is_some_and(|prefix| prefix.is_fine_grained(now))
            && !self.parents.contains(parent)
    }

    /// Whether a lock below `parent` is one more of many that are held for a short time each.
    pub(super) fn is_short(&self, parent: &str, now: Instant) -> bool {
        self.prefixes.peek(prefix(parent)).is_some_and(|prefix| prefix.has_short_holds(now))
    }

    /// What [`Self::is_fine_grained`] is true of was let in: the locks below it need not ask again.
    pub(super) fn expect(&mut self, parent: &str, now: Instant) {
        self.parents.put(parent.into(), Parent { last_acquired: now, queue: 0 });
        if let Some(prefix) = self.prefixes.get_mut(prefix(parent)) {
            prefix.new_parents.count(now);
        }
    }

    /// A lock below `parent` was refused.
    pub(super) fn refused(&mut self, parent: &str, now: Instant) {
        if let Some(prefix) = self.prefixes.get_mut(prefix(parent)) {
            prefix.refused.count(now);
        }
    }

    /// What of this path is known to be a parent of locks: itself, or its parent.
    pub(super) fn parent_of<'a>(&self, path: &'a str) -> Option<&'a str> {
        [path, prefix(path)].into_iter().find(|path| self.parents.contains(*path))
    }

    /// A lock below `parent` is asked for.
    pub(super) fn acquired(&mut self, parent: &str, now: Instant) {
        let known = self.parents.get_mut(parent);
        let new = known.is_none();
        match known {
            Some(known) => {
                known.last_acquired = now;
                known.queue = known.queue.saturating_add(1);
            }
            None => {
                self.parents.put(parent.into(), Parent { last_acquired: now, queue: 1 });
            }
        }
        let none = Recent::none(now);
        let fresh = || Prefix { acquired: none, new_parents: none, short_holds: none, refused: none };
        let prefix = self.prefixes.get_or_insert_mut_ref(prefix(parent), fresh);
        prefix.acquired.count(now);
        if new {
            prefix.new_parents.count(now);
        }
    }

    /// A znode below `parent` is deleted; whether that ends a short hold.
    pub(super) fn released(&mut self, parent: &str, now: Instant) -> bool {
        let Some(known) = self.parents.get_mut(parent) else { return false };
        known.queue = known.queue.saturating_sub(1);
        let is_short = now.saturating_duration_since(known.last_acquired) < SHORT_HOLD;
        if is_short && let Some(prefix) = self.prefixes.get_mut(prefix(parent)) {
            prefix.short_holds.count(now);
        }
        is_short
    }

    /// How many paths there are below which locks are fine-grained.
    pub(super) fn fine_grained(&self, now: Instant) -> usize {
        self.prefixes.iter().filter(|(_, prefix)| prefix.is_fine_grained(now)).count()
    }

    /// The paths with the most acquisitions of late, at most `limit`.
    pub(super) fn busiest(&self, limit: usize, now: Instant) -> Vec<LockUse> {
        let mut uses: Vec<_> = self
            .prefixes
            .iter()
            .map(|(path, prefix)| LockUse {
                prefix: path.clone(),
                acquired_per_s: prefix.acquired.per_s(now),
                new_parents_per_s: prefix.new_parents.per_s(now),
                short_holds_per_s: prefix.short_holds.per_s(now),
                refused_per_s: prefix.refused.per_s(now),
                fine_grained: prefix.is_fine_grained(now),
            })
            .collect();
        uses.sort_by(|a, b| b.acquired_per_s.total_cmp(&a.acquired_per_s));
        uses.truncate(limit);
        uses
    }

    /// The parents with the longest queues, holders included, at most `limit`.
    pub(super) fn longest_queues(&self, limit: usize) -> Vec<(String, u32)> {
        let mut queues: Vec<_> = self.parents.iter().filter(|(_, parent)| parent.queue > 1).collect();
        queues.sort_by_key(|(_, parent)| std::cmp::Reverse(parent.queue));
        queues.into_iter().take(limit).map(|(path, parent)| (path.to_string(), parent.queue)).collect()
    }
}

impl Prefix {
    fn is_fine_grained(&self, now: Instant) -> bool {
        self.has_short_holds(now) && self.new_parents.value(now) >= NEW_PARENTS
    }

    fn has_short_holds(&self, now: Instant) -> bool {
        self.short_holds.value(now) >= FINE_GRAINED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn many_short_holds_of_many_parents_are_fine_grained() {
        let (mut table, now) = (LockTable::default(), Instant::now());
        for n in 0..60 {
            let parent = format!("/orders/{n}");
            assert!(!table.is_fine_grained(&parent, now) || n >= 50, "too early: {n}");
            table.acquired(&parent, now);
            table.released(&parent, now + seconds(1));
        }
        assert!(table.is_fine_grained("/orders/60", now + seconds(1)));
        assert_eq!([1, 60].map(|n| table.fine_grained(now + seconds(n))), [1, 0]);
        assert!(!table.is_fine_grained("/orders/1", now + seconds(1)), "known already");
        assert!(!table.is_fine_grained("/services/1", now + seconds(1)), "another path");
        assert!(!table.is_fine_grained("/orders/60", now + seconds(60)), "long ago");
        table.expect("/orders/60", now + seconds(1));
        assert!(!table.is_fine_grained("/orders/60", now + seconds(1)), "let in already");
    }

    #[test]
    fn short_holds_below_the_same_parents_are_told_from_elections_that_last() {
        let (mut table, now) = (LockTable::default(), Instant::now());
        for n in 0..60 {
            for (parent, held) in [(format!("/rows/{}", n % 3), 0), ("/masters/a".to_owned(), 6)] {
                table.acquired(&parent, now);
                table.released(&parent, now + seconds(held));
            }
        }
        assert!(table.is_short("/rows/1", now) && table.is_short("/rows/new", now));
        assert!(!table.is_fine_grained("/rows/new", now) && !table.is_short("/masters/a", now));
    }

    #[test]
    fn refusals_are_told() {
        let (mut table, now) = (LockTable::default(), Instant::now());
        table.acquired("/orders/1", now);
        (0..30).for_each(|_| table.refused("/orders/2", now));
        assert!(table.busiest(1, now)[0].refused_per_s > 0.5);
        let known =
            ["/orders/1", "/orders/1/lock-7", "/orders/2", "/orders"].map(|path| table.parent_of(path));
        assert_eq!(known, [Some("/orders/1"), Some("/orders/1"), None, None]);
    }

    #[test]
    fn registrations_and_coarse_locks_are_not() {
        let (mut table, now) = (LockTable::default(), Instant::now());
        for n in 0..1_000 {
            table.acquired(&format!("/services/{n}"), now);
            table.released("/services/0", now + seconds(6));
        }
        assert!(!table.is_fine_grained("/services/new", now));
        for _ in 0..400 {
            table.acquired("/leader", now);
            table.released("/leader", now);
        }
        assert!(!table.is_fine_grained("/other", now));
    }

    #[test]
    fn the_busiest_come_first() {
        let (mut table, now) = (LockTable::default(), Instant::now());
        table.acquired("/seldom/a", now);
        for n in 0..30 {
            table.acquired(&format!("/often/{}", n % 10), now);
        }
        let uses = table.busiest(10, now);
        assert_eq!(uses.iter().map(|u| u.prefix.as_str()).collect::<Vec<_>>(), ["/often", "/seldom"]);
        assert!(uses[0].acquired_per_s > 2.9 * uses[0].new_parents_per_s);
        assert_eq!(table.longest_queues(1)[0].1, 3);
        assert_eq!(table.busiest(1, now).len(), 1);
    }

    #[test]
    fn memory_is_bounded() {
        let (mut table, now) = (LockTable::default(), Instant::now());
        for n in 0..60_000 {
            table.acquired(&format!("/{}/{n}", n % 5_000), now);
        }
        assert_eq!((table.parents.len(), table.prefixes.len()), (50_000, 4_096));
    }
}
