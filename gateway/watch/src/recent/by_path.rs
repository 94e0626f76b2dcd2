//! Finds recent events by their paths.

use std::collections::BTreeMap;
use std::ops::Bound::Excluded;

/// Numbers of events, ascending, by path.
///
/// Nobody asks for as long as no client comes back, and then very many do at once: so events enter when somebody asks,
/// those of a path leave when all do, and the owner begins anew when most are of no use any more.
#[derive(Debug)]
pub(super) struct ByPath {
    numbers: BTreeMap<Box<str>, Vec<u64>>,
    count: usize,
    /// Events before this one are here, or were forgotten.
    until: u64,
}

impl ByPath {
    /// Empty; the first event to enter has this number.
    pub(super) const fn beginning_at(number: u64) -> Self {
        Self { numbers: BTreeMap::new(), count: 0, until: number }
    }

    /// The number of the next event to enter.
    pub(super) const fn until(&self) -> u64 {
        self.until
    }

    /// How many events are here.
    pub(super) const fn len(&self) -> usize {
        self.count
    }

    /// The event numbered [`Self::until`] enters.
    pub(super) fn push(&mut self, path: &str) {
        match self.numbers.get_mut(path) {
            Some(numbers) => numbers.push(self.until),
            None => _ = self.numbers.insert(path.into(), vec![self.until]),
        }
        self.until += 1;
        self.count += 1;
    }

    /// Appends those of this path from the one numbered `from` on.
    pub(super) fn at(&self, path: &str, from: u64, found: &mut Vec<u64>) {
        found.extend(self.numbers.get(path).into_iter().flat_map(|numbers| since(numbers, from)));
    }

    /// The same with those of the paths below.
    pub(super) fn at_or_below(&self, path: &str, from: u64, found: &mut Vec<u64>) {
        self.at(path, from, found);
        // In the order of bytes, what begins with `/a/` lies between it and `/a0`.
        let above = path.trim_end_matches('/');
        let (first, end) = (format!("{above}/"), format!("{above}0"));
        let below = self.numbers.range::<str, _>((Excluded(&*first), Excluded(&*end)));
        found.extend(below.flat_map(|(_, numbers)| since(numbers, from)));
    }
}

fn since(numbers: &[u64], from: u64) -> &[u64] {
    &numbers[numbers.partition_point(|number| *number < from)..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_told_from_those_that_only_look_like_being_below() {
        let mut by_path = ByPath::beginning_at(10);
        for path in ["/a", "/a/b", "/a-b", "/a0", "/", "/a/b/c", "/a/b", "/ab"] {
            by_path.push(path);
        }
        assert_eq!((by_path.until(), by_path.len()), (18, 8));
        let found = |find: &dyn Fn(&mut Vec<u64>)| {
            let mut found = Vec::new();
            find(&mut found);
            found.sort_unstable();
            found
        };
        assert_eq!(found(&|found| by_path.at("/a/b", 0, found)), [11, 16]);
        assert_eq!(found(&|found| by_path.at("/a/b", 12, found)), [16]);
        assert_eq!(found(&|found| by_path.at("/b", 0, found)), []);
        assert_eq!(found(&|found| by_path.at_or_below("/a", 0, found)), [10, 11, 15, 16]);
        assert_eq!(found(&|found| by_path.at_or_below("/a", 11, found)), [11, 15, 16]);
        assert_eq!(found(&|found| by_path.at_or_below("/a/b", 0, found)), [11, 15, 16]);
        assert_eq!(found(&|found| by_path.at_or_below("/", 0, found)), (10..18).collect::<Vec<_>>());
    }
}
