//! The paths below which there are many locks, and what these are like.
//!
//! The parents of fine-grained locks differ in one name, which is not always the last but one: `/orders/17`,
//! `/orders/17/leases`, `/locks/a7/f3/17`. So what happens is counted a few levels up, but only a little of it below each
//! name: what is above a few busy locks has other things below it, too. And where much was acquired and little of it
//! released soon, that is known, whatever is around it.

use std::num::NonZeroUsize;
use std::time::Instant;

use lru::LruCache;

use super::recent::Recent;
use super::work::parent as above;

/// A prefix whose own children have this many short holds of late is one of fine-grained locks,
const FINE_GRAINED: f64 = 50.0;
/// and of new parents for each order, say, if for so many of them one was new: not one lock or election that changes hands
/// often.
const NEW_PARENTS: f64 = 0.5;
/// If so much of what is made has no locks below it yet, it is made for something else.
const UNPROVEN: f64 = 50.0;
/// So much of what happens below a path is counted further up, too: it takes many such paths to say something of what is
/// above them all.
const SHARE: f64 = 10.0;
/// Where this much was acquired of late,
const JUDGED: f64 = 10.0;
/// and no more than this part of it was released soon, locks are held. (Some clients ask twice for what they acquire once.)
const SELDOM: f64 = 0.25;
/// Further up, it takes so many times more, so that what is nearer is recognised first.
const FARTHER: [f64; LEVELS] = [1.0, 2.0, 4.0, 8.0];
/// Levels that are looked at. The whole tree is nobody's prefix, but of locks right below it.
const LEVELS: usize = 4;
/// Prefixes that are remembered: the least recently used are forgotten first.
const MAX_PREFIXES: NonZeroUsize = NonZeroUsize::new(4_096).expect("not zero");

/// See the module.
#[derive(Debug)]
pub(super) struct Prefixes(LruCache<String, Prefix>);

#[derive(Clone, Copy, Debug)]
struct Prefix {
    acquired: Recent,
    refused: Recent,
    /// Of the parents that are its children, of those one level further down, and so on, unless something nearer to them
    /// is recognised.
    levels: [Uses; LEVELS],
}

/// What tells fine-grained locks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Uses {
    /// What was made that is a parent or taken for one.
    pub(super) made: Recent,
    /// Acquisitions that were let in.
    pub(super) let_in: Recent,
    /// Parents that were not in use before.
    pub(super) new_parents: Recent,
    /// Holds that ended soon.
    pub(super) short_holds: Recent,
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

/// What a prefix is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trait {
    /// Many locks are held for a short time each.
    Short,
    /// And many have a parent of their own.
    FineGrained,
    /// And what is made where these are becomes such a parent, as far as is known.
    MadeForLocks,
}

impl Uses {
    fn have(&self, wanted: Trait, enough: f64, now: Instant) -> bool {
        let new_parents = self.new_parents.value(now);
        self.short_holds.value(now) >= enough
            && (wanted == Trait::Short || new_parents >= enough * NEW_PARENTS)
            && (wanted != Trait::MadeForLocks || self.made.value(now) - new_parents < UNPROVEN)
    }

    /// Whether it is known that locks are held here, and not for a short time.
    fn are_held(&self, now: Instant) -> bool {
        let let_in = self.let_in.value(now);
        let_in >= JUDGED && self.short_holds.value(now) <= let_in * SELDOM
    }
}

impl Prefix {
    const fn new(now: Instant) -> Self {
        let none = Recent::none(now);
        let uses = Uses { made: none, let_in: none, new_parents: none, short_holds: none };
        Self { acquired: none, refused: none, levels: [uses; LEVELS] }
    }

    fn has(&self, wanted: Trait, level: usize, now: Instant) -> bool {
        let at = self.levels.iter().zip(FARTHER).nth(level);
        at.is_some_and(|(uses, farther)| uses.have(wanted, FINE_GRAINED * farther, now))
    }

    fn are_held(&self, level: usize, now: Instant) -> bool {
        self.levels.get(level).is_some_and(|uses| uses.are_held(now))
    }

    fn is_fine_grained(&self, now: Instant) -> bool {
        (0..LEVELS).any(|level| self.has(Trait::FineGrained, level, now))
    }
}

/// What is above a parent of locks, the nearest first, with its level.
fn levels(parent: &str) -> impl Iterator<Item = (usize, &str)> {
    let above_all = std::iter::successors(Some(above(parent)), |path| Some(above(path)));
    let is_told = |(level, path): &(usize, &str)| *level == 0 || *path != "/";
    (0..LEVELS).zip(above_all).take_while(is_told)
}

impl Default for Prefixes {
    fn default() -> Self {
        Self(LruCache::new(MAX_PREFIXES))
    }
}

impl Prefixes {
    /// The nearest path above `parent` below which locks are such, if any, and none of a nearer one is known to be held.
    pub(super) fn nearest<'a>(&self, parent: &'a str, wanted: Trait, now: Instant) -> Option<&'a str> {
        let judged = levels(parent).find_map(|(level, path)| {
            let prefix = self.0.peek(path)?;
            let has = prefix.has(wanted, level, now);
            (has || prefix.are_held(level, now)).then_some((path, has))
        });
        judged.filter(|(_, has)| *has).map(|(path, _)| path)
    }

    /// Something happened at `parent`.
    pub(super) fn count(&mut self, parent: &str, now: Instant, what: fn(&mut Uses) -> &mut Recent) {
        let nearest = self.nearest(parent, Trait::Short, now);
        for (level, path) in levels(parent) {
            let Some(uses) = self.of(path, now).levels.get_mut(level) else { break };
            let counted = what(uses);
            counted.count(now);
            if nearest == Some(path) || counted.value(now) > SHARE {
                break;
            }
        }
    }

    /// A lock below `parent` was acquired.
    pub(super) fn acquired(&mut self, parent: &str, now: Instant) {
        self.shown(parent, now).acquired.count(now);
    }

    /// One was refused.
    pub(super) fn refused(&mut self, parent: &str, now: Instant) {
        self.shown(parent, now).refused.count(now);
    }

    /// Where what happens at `parent` is told.
    fn shown(&mut self, parent: &str, now: Instant) -> &mut Prefix {
        let path = self.nearest(parent, Trait::Short, now).unwrap_or_else(|| above(parent));
        self.of(path, now)
    }

    fn of(&mut self, path: &str, now: Instant) -> &mut Prefix {
        self.0.get_or_insert_mut_ref(path, || Prefix::new(now))
    }

    /// How many paths there are below which locks are fine-grained.
    pub(super) fn fine_grained(&self, now: Instant) -> usize {
        self.0.iter().filter(|(_, prefix)| prefix.is_fine_grained(now)).count()
    }

    /// Those with the most acquisitions of late, at most `limit`.
    pub(super) fn busiest(&self, limit: usize, now: Instant) -> Vec<LockUse> {
        let of_all = |prefix: &Prefix, what: fn(&Uses) -> &Recent| {
            prefix.levels.iter().map(|uses| what(uses).per_s(now)).sum()
        };
        let asked = self.0.iter().filter(|(_, prefix)| {
            [&prefix.acquired, &prefix.refused].into_iter().any(|count| count.value(now) > 0.0)
        });
        let mut uses: Vec<_> = asked
            .map(|(path, prefix)| LockUse {
                prefix: path.clone(),
                acquired_per_s: prefix.acquired.per_s(now),
                new_parents_per_s: of_all(prefix, |uses| &uses.new_parents),
                short_holds_per_s: of_all(prefix, |uses| &uses.short_holds),
                refused_per_s: prefix.refused.per_s(now),
                fine_grained: prefix.is_fine_grained(now),
            })
            .collect();
        uses.sort_by(|a, b| b.acquired_per_s.total_cmp(&a.acquired_per_s));
        uses.truncate(limit);
        uses
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
