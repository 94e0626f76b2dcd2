//! A queue in which flows of work share one server by weight, each in its own order.
//!
//! Every flow has a virtual time: how much it was served, divided by its weight. The one that is least far is served
//! next. A flow that begins to wait is put where the queue is, neither ahead of the others for the time in which it asked
//! for nothing, nor, if it was served beyond that, back to them: whoever asks for little is served at once, and whoever
//! asks for much gets its share (start-time fair queueing, Goyal, Vin and Cheng 1996).
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

/// What waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// How many items.
    pub items: usize,
    /// What they cost together.
    pub cost: u64,
}

impl<K, T> Default for Fair<K, T> {
    fn default() -> Self {
        Self {
            flows: FxHashMap::default(),
            turns: BTreeMap::new(),
            resting: BTreeMap::new(),
            now: 0,
            number: 0,
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
        let flow = self.flows.get(&flow);
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
    pub fn peek(&self) -> Option<(K, &T)> {
        let key = *self.turns.first_key_value()?.1;
        let (item, _) = self.flows.get(&key)?.items.front()?;
        Some((key, item))
    }

    /// The same, taken out.
    pub fn pop(&mut self) -> Option<(K, T)> {
        let (turn, key) = self.turns.pop_first()?;
        let flow = self.flows.get_mut(&key)?;
        let (item, cost) = flow.items.pop_front()?;
        self.now = turn.0;
        flow.cost -= cost;
        self.cost -= cost;
        self.len -= 1;
        flow.turn = (turn.0 + cost.max(1) * u64::from(MAX_WEIGHT) / u64::from(flow.weight), self.number);
        self.number += 1;
        let rests = if flow.items.is_empty() { &mut self.resting } else { &mut self.turns };
        rests.insert(flow.turn, key);
        self.forget();
        Some((key, item))
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
