//! What requests have to do with locks, as far as that is known when they come.

use std::time::Instant;

use parking_lot::Mutex;
use rustc_hash::FxHashSet;

use super::kind::Kind;
use super::lock_table::LockTable;
use super::work::{self, Amount, Work};

/// How much a request asks for, and what of it has to do with locks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Found<'a> {
    amount: Amount,
    short_locks: Count<'a>,
    new_parents: Count<'a>,
}

/// How many there are, and the path above the first of them by which it is recognised.
#[derive(Clone, Copy, Debug, Default)]
struct Count<'a> {
    n: u32,
    at: Option<&'a str>,
}

impl<'a> Count<'a> {
    fn add(&mut self, n: u32, at: Option<&'a str>) {
        if at.is_some() {
            self.n = self.n.saturating_add(n);
            self.at = self.at.or(at);
        }
    }
}

impl<'a> Found<'a> {
    /// What is known of this request.
    pub(super) fn of(work: &'a Work, locks: &Mutex<LockTable>, now: Instant) -> Self {
        let mut found = Self { amount: work.amount(), ..Self::default() };
        let (parts, each) = work.parts();
        // A parent that is made, and the locks below it, are one.
        let mut parents = FxHashSet::default();
        let mut is_first = |path: &'a str| parts.len() == 1 || parents.insert(path);
        for part in parts {
            match part {
                Work::Lock { parent } => {
                    let locks = locks.lock();
                    found.short_locks.add(each, locks.short_at(parent, now));
                    let new_at = locks.fine_grained_at(parent, now);
                    found.new_parents.add(each, new_at.filter(|_| is_first(parent)));
                }
                Work::Create { path } => {
                    let new_at = locks.lock().parents_made_at(path, now);
                    found.new_parents.add(each, new_at.filter(|_| is_first(path)));
                }
                Work::Free | Work::Set { .. } | Work::Multi(_) => {}
            }
        }
        found
    }

    /// Whether it acquires locks, or makes room for such as are limited.
    pub(super) const fn is_any(&self) -> bool {
        self.amount.locks > 0 || self.new_parents.n > 0
    }

    /// The path of which a limit counts it.
    pub(super) fn prefix(&self, kind: Kind, parent: &'a str) -> &'a str {
        match kind {
            Kind::ShortLocks => self.short_locks.at.unwrap_or(parent),
            Kind::LockParents => self.new_parents.at.unwrap_or(parent),
            _ if self.amount.locks > 0 => work::parent(parent),
            _ => parent,
        }
    }

    /// How many of what a limit counts it asks for.
    pub(super) const fn asks_for(&self, kind: Kind) -> u32 {
        match kind {
            Kind::Locks => self.amount.locks,
            Kind::ShortLocks => self.short_locks.n,
            Kind::LockParents => self.new_parents.n,
            Kind::Znodes => self.amount.creates,
            Kind::Writes => self.amount.writes,
            _ => 1,
        }
    }
}
