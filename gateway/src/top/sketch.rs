//! The heaviest of very many, in bounded memory (after Space-Saving: Metwally, Agrawal, El Abbadi 2005).

use std::cmp::Ordering;
use std::hash::Hash;

use rustc_hash::FxHashMap;

/// Keys that are kept: whoever has more than one part in so many of the whole load is among them.
const KEPT: usize = 256;
/// Keys among which those are chosen: as many again, so that choosing costs little for each that is new.
const MOST: usize = 2 * KEPT;

/// What was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) ops: u64,
    /// In both directions.
    pub(crate) bytes: u64,
    pub(crate) refusals: u64,
}

impl Load {
    const fn plus(self, other: Self) -> Self {
        Self {
            ops: self.ops + other.ops,
            bytes: self.bytes + other.bytes,
            refusals: self.refusals + other.refusals,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    load: Load,
    weight: u64,
    /// Weight of others that may have been forgotten in its favour.
    inherited: u64,
}

impl Entry {
    const fn order(&self) -> u64 {
        self.weight + self.inherited
    }
}

/// The load of the heaviest keys. A new key inherits the weight of the heaviest that was forgotten, so that no heavy one
/// is missed however late it comes; its own load is told without that.
#[derive(Debug)]
pub(crate) struct Sketch<K> {
    entries: FxHashMap<K, Entry>,
    /// The largest weight that was forgotten.
    forgotten: u64,
}

impl<K> Default for Sketch<K> {
    fn default() -> Self {
        Self { entries: FxHashMap::default(), forgotten: 0 }
    }
}

impl<K: Clone + Eq + Hash> Sketch<K> {
    /// Adds to what a key has; by `weight` it is compared.
    pub(crate) fn add(&mut self, key: &K, weight: u64, load: Load) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.load = entry.load.plus(load);
            entry.weight += weight;
            return;
        }
        if self.entries.len() >= MOST {
            self.forget_the_light();
        }
        self.entries.insert(key.clone(), Entry { load, weight, inherited: self.forgotten });
    }

    fn forget_the_light(&mut self) {
        let mut weights: Vec<u64> = self.entries.values().map(Entry::order).collect();
        let (_, lightest_kept, _) = weights.select_nth_unstable(MOST - KEPT);
        let limit = *lightest_kept;
        self.forgotten = limit;
        // Of those that weigh as much as the limit, as many as there is room for.
        let mut room = KEPT - self.entries.values().filter(|entry| entry.order() > limit).count();
        self.entries.retain(|_, entry| match entry.order().cmp(&limit) {
            Ordering::Greater => true,
            Ordering::Less => false,
            Ordering::Equal if room > 0 => {
                room -= 1;
                true
            }
            Ordering::Equal => false,
        });
    }

    /// What is known of a key.
    pub(super) fn load(&self, key: &K) -> Option<Load> {
        self.entries.get(key).map(|entry| entry.load)
    }

    /// What a key weighs, as far as that is known.
    pub(super) fn weight(&self, key: &K) -> u64 {
        self.entries.get(key).map_or(0, |entry| entry.weight)
    }

    /// At most `limit`, the heaviest first.
    pub(super) fn heaviest(&self, limit: usize) -> Vec<K> {
        let mut all: Vec<_> = self.entries.iter().collect();
        all.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.weight));
        all.into_iter().take(limit).map(|(key, _)| key.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heavy_key_among_very_many_light_ones_is_found_and_memory_is_bounded() {
        let mut sketch = Sketch::default();
        let one = Load { ops: 1, bytes: 100, refusals: 0 };
        for i in 0..100_000_u32 {
            sketch.add(&i, 1, one);
            // From the middle on, one in 50 is of the same key.
            if i > 50_000 && i % 50 == 0 {
                sketch.add(&u32::MAX, 1, Load { refusals: 1, ..one });
            }
        }
        assert!((KEPT..=MOST).contains(&sketch.entries.len()));
        assert_eq!(sketch.heaviest(1), [u32::MAX]);
        let load = sketch.load(&u32::MAX).unwrap();
        assert!((900..=1000).contains(&load.ops) && load.refusals == load.ops, "{load:?}");
        assert_eq!(sketch.weight(&u32::MAX), load.ops);
    }
}
