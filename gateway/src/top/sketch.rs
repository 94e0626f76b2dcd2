//! The heaviest of very many, in bounded memory (Space-Saving: Metwally, Agrawal, El Abbadi 2005).

use std::hash::Hash;

use rustc_hash::FxHashMap;

/// Keys that are kept: whoever has more than one part in so many of the whole load is among them.
const KEPT: usize = 256;

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

/// The load of the heaviest keys. A key that is not kept takes the place of the lightest and inherits its weight, so
/// that no heavy one is missed however late it comes; its own load is told without that.
#[derive(Debug)]
pub(super) struct Sketch<K> {
    entries: FxHashMap<K, Entry>,
}

impl<K> Default for Sketch<K> {
    fn default() -> Self {
        Self { entries: FxHashMap::default() }
    }
}

impl<K: Clone + Eq + Hash> Sketch<K> {
    pub(super) fn add(&mut self, key: K, load: Load) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.load = entry.load.plus(load);
            return;
        }
        let mut inherited = 0;
        if self.entries.len() >= KEPT {
            let lightest = self.entries.iter().min_by_key(|(_, entry)| entry.load.weight() + entry.inherited);
            if let Some((key, entry)) = lightest.map(|(key, entry)| (key.clone(), *entry)) {
                inherited = entry.load.weight() + entry.inherited;
                self.entries.remove(&key);
            }
        }
        self.entries.insert(key, Entry { load, inherited });
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
        assert_eq!(sketch.entries.len(), KEPT);
        let (heaviest, load) = sketch.heaviest(1)[0];
        assert_eq!(heaviest, u32::MAX);
        assert!((900..=1000).contains(&load.ops) && load.refusals == load.ops, "{load:?}");
    }
}
