//! What will happen, ordered by virtual time; what falls on the same millisecond, by the order of planning.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// A queue of events.
#[derive(Debug)]
pub(crate) struct Agenda<E> {
    order: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, E>,
    planned: u64,
}

impl<E> Default for Agenda<E> {
    fn default() -> Self {
        Self { order: BinaryHeap::new(), events: BTreeMap::new(), planned: 0 }
    }
}

impl<E> Agenda<E> {
    /// Plans `event` for the millisecond `at`.
    pub(crate) fn plan(&mut self, at: u64, event: E) {
        self.planned += 1;
        self.order.push(Reverse((at, self.planned)));
        self.events.insert(self.planned, event);
    }

    /// The next event and its time.
    pub(crate) fn pop(&mut self) -> Option<(u64, E)> {
        let Reverse((at, number)) = self.order.pop()?;
        Some((at, self.events.remove(&number)?))
    }
}
