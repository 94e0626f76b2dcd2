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
pub(super) struct Load {
    pub(super) ops: u64,
    /// In both directions.
    pub(super) bytes: u64,
    pub(super) refusals: u64,
}

/// Bytes that count as much as one operation.
const BYTES_PER_OP: u64 = 4 << 10;

impl Load {
    /// By what it is compared.
    const fn weight(&self) -> u64 {
        self.ops + self.bytes / BYTES_PER_OP + self.refusals
    }

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
    /// Weight of others that may have been forgotten in its favour.
    inherited: u64,
}

impl Entry {
    const fn weight(&self) -> u64 {
        self.load.weight() + self.inherited
    }
}

/// The load of the heaviest keys. A new key inherits the weight of the heaviest that was forgotten, so that no heavy one
/// is missed however late it comes; its own load is told without that.
#[derive(Debug)]
pub(super) struct Sketch<K> {
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
    pub(super) fn add(&mut self, key: K, load: Load) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.load = entry.load.plus(load);
            return;
        }
        if self.entries.len() >= MOST {
            self.forget_the_light();
        }
        self.entries.insert(key, Entry { load, inherited: self.forgotten });
    }

    fn forget_the_light(&mut self) {
        let mut weights: Vec<u64> = self.entries.values().map(Entry::weight).collect();
        let (_, lightest_kept, _) = weights.select_nth_unstable(MOST - KEPT);
        let limit = *lightest_kept;
        self.forgotten = limit;
        // Of those that weigh as much as the limit, as many as there is room for.
        let mut room = KEPT - self.entries.values().filter(|entry| entry.weight() > limit).count();
        self.entries.retain(|_, entry| match entry.weight().cmp(&limit) {
            Ordering::Greater => true,
            Ordering::Less => false,
            Ordering::Equal if room > 0 => {
                room -= 1;
                true
            }
            Ordering::Equal => false,
        });
    }

    /// At most `limit`, the heaviest first.
    pub(super) fn heaviest(&self, limit: usize) -> Vec<(K, Load)> {
        let mut all: Vec<_> = self.entries.iter().map(|(key, entry)| (key.clone(), entry.load)).collect();
        all.sort_by_key(|(_, load)| std::cmp::Reverse(load.weight()));
        all.truncate(limit);
        all
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
            sketch.add(i, one);
            // From the middle on, one in 50 is of the same key.
            if i > 50_000 && i % 50 == 0 {
                sketch.add(u32::MAX, Load { refusals: 1, ..one });
            }
        }
        assert!((KEPT..=MOST).contains(&sketch.entries.len()));
        let (heaviest, load) = sketch.heaviest(1)[0];
        assert_eq!(heaviest, u32::MAX);
        assert!((900..=1000).contains(&load.ops) && load.refusals == load.ops, "{load:?}");
    }
}
