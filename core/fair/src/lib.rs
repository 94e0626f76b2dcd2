//! A queue in which flows of work share one server by weight, each in its own order.
//!
//! Every flow has a virtual time: how much it was served, divided by its weight. The one that is least far is served
//! next. A flow that begins to wait is put where the queue is, neither ahead of the others for the time in which it asked
//! for nothing, nor, if it was served beyond that, back to them: whoever asks for little is served at once, and whoever
//! asks for much gets its share (start-time fair queueing, Goyal, Vin and Cheng 1996).
//!
//! A flow whose turn it is may go on for a while, if what it asks is done more cheaply at once: see [`Fair::with_bursts`].
//!
//! No I/O, no clock. Nothing here bounds the queue: its owner does, by [`Fair::waiting_of`] and [`Fair::len`].

use std::collections::{BTreeMap, VecDeque};
use std::hash::Hash;

use rustc_hash::FxHashMap;

/// The greatest weight.
pub const MAX_WEIGHT: u32 = 1_000;
/// Queues of flows that are kept to be used again.
const SPARE: usize = 64;
/// The largest one to be kept, items.
const SPARE_ITEMS: usize = 4_096;

/// See the module. `K` names a flow, `T` is a piece of work.
#[derive(Debug)]
pub struct Fair<K, T> {
    /// Those that wait, and those that were served beyond `now` and are empty.
    flows: FxHashMap<K, Flow<T>>,
    /// The flows with something to do.
    turns: BTreeMap<Turn, K>,
    /// The others.
    resting: BTreeMap<Turn, K>,
    /// The virtual time of what was served last.
    now: u64,
    /// Tells turns of the same time apart: the first that came is first.
    number: u64,
    /// What a flow may be ahead of the others, so that it is served several times in a row, cost.
    burst: u64,
    /// The flow that was served last.
    current: Option<K>,
    len: usize,
    cost: u64,
    spare: Vec<VecDeque<(T, u64)>>,
}

/// Virtual time, and a number that no other turn has.
type Turn = (u64, u64);

#[derive(Debug)]
struct Flow<T> {
    items: VecDeque<(T, u64)>,
    /// What `items` cost.
    cost: u64,
    weight: u32,
    turn: Turn,
}

impl<T> Flow<T> {
    /// The virtual time that this cost takes.
    fn time(&self, cost: u64) -> u64 {
        cost * u64::from(MAX_WEIGHT) / u64::from(self.weight)
    }
}

/// What waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// How many items.
    pub items: usize,
    /// What they cost together.
    pub cost: u64,
}

impl<K, T> Default for Fair<K, T> {
    /// Flows take turns with every item.
    fn default() -> Self {
        Self::with_bursts(0)
    }
}

impl<K, T> Fair<K, T> {
    /// A flow goes on until it is so much ahead of the one that would be next.
    pub fn with_bursts(cost: u64) -> Self {
        Self {
            flows: FxHashMap::default(),
            turns: BTreeMap::new(),
            resting: BTreeMap::new(),
            now: 0,
            number: 0,
            burst: cost,
            current: None,
            len: 0,
            cost: 0,
            spare: Vec::new(),
        }
    }
}

impl<K: Copy + Eq + Hash, T> Fair<K, T> {
    /// How many items wait.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether none does.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What all that wait cost together.
    pub const fn cost(&self) -> u64 {
        self.cost
    }

    /// What waits of one flow.
    pub fn waiting_of(&self, flow: K) -> Waiting {
        let flow = if self.is_empty() { None } else { self.flows.get(&flow) };
        flow.map_or_else(Waiting::default, |flow| Waiting { items: flow.items.len(), cost: flow.cost })
    }

    /// Adds an item behind those of its flow, which has this weight (1 to [`MAX_WEIGHT`]) from its next turn on.
    pub fn push(&mut self, key: K, weight: u32, cost: u64, item: T) {
        let (now, number) = (self.now, self.number);
        self.number += 1;
        let spare = &mut self.spare;
        let flow = self.flows.entry(key).or_insert_with(|| {
            let items = spare.pop().unwrap_or_default();
            Flow { items, cost: 0, weight, turn: (now, number) }
        });
        if flow.items.is_empty() {
            self.resting.remove(&flow.turn);
            flow.turn = (flow.turn.0.max(now), number);
            self.turns.insert(flow.turn, key);
        }
        flow.weight = weight.clamp(1, MAX_WEIGHT);
        flow.cost += cost;
        flow.items.push_back((item, cost));
        self.cost += cost;
        self.len += 1;
    }

    /// What is served next, and whose it is.
    pub fn pop(&mut self) -> Option<(K, T)> {
        let (first, next) = self.turns.first_key_value().map(|(turn, key)| (*turn, *key))?;
        let key = self.current.filter(|key| self.goes_on(*key, first)).unwrap_or(next);
        let flow = self.flows.get_mut(&key)?;
        let (item, cost) = flow.items.pop_front()?;
        self.turns.remove(&flow.turn);
        (self.now, self.current) = (first.0, Some(key));
        flow.cost -= cost;
        self.cost -= cost;
        self.len -= 1;
        flow.turn = (flow.turn.0 + flow.time(cost.max(1)), self.number);
        self.number += 1;
        let rests = if flow.items.is_empty() { &mut self.resting } else { &mut self.turns };
        rests.insert(flow.turn, key);
        self.forget();
        Some((key, item))
    }

    /// Whether the flow may be served though another is less far.
    fn goes_on(&self, key: K, first: Turn) -> bool {
        let flow = self.flows.get(&key).filter(|flow| !flow.items.is_empty());
        self.burst > 0 && flow.is_some_and(|flow| flow.turn.0 < first.0 + flow.time(self.burst))
    }

    /// Flows that rest are remembered only while they are ahead of the others: who waits alone is ahead of nobody.
    fn forget(&mut self) {
        let alone = self.turns.is_empty();
        while let Some((turn, key)) = self.resting.first_key_value()
            && (alone || turn.0 <= self.now)
        {
            if let Some(flow) = self.flows.remove(key)
                && self.spare.len() < SPARE
                && flow.items.capacity() <= SPARE_ITEMS
            {
                self.spare.push(flow.items);
            }
            self.resting.pop_first();
        }
        if alone {
            self.now = 0;
        }
    }
}

#[cfg(test)]
mod tests;
