//! How many watches each address has. They come and go with every event, so that they are counted now and then only, and
//! those that were set since are added.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

/// How long a count is believed,
const BELIEVED: Duration = Duration::from_secs(1);
/// and how long one by which a limit is reached.
const DOUBTED: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Watched {
    addresses: FxHashMap<IpAddr, usize>,
    counted: Option<Instant>,
}

impl Watched {
    /// How many an address has, about, of which it may have `most`.
    pub(super) fn of(
        &mut self,
        (address, most): (IpAddr, u64),
        now: Instant,
        count: impl FnOnce() -> FxHashMap<IpAddr, usize>,
    ) -> usize {
        let known = self.addresses.get(&address).copied().unwrap_or_default();
        let age = self.counted.map(|counted| now.saturating_duration_since(counted));
        if age.is_none_or(|age| age >= BELIEVED || known as u64 >= most && age >= DOUBTED) {
            self.addresses = count();
            self.counted = Some(now);
        }
        self.addresses.get(&address).copied().unwrap_or_default()
    }

    /// This address sets one more.
    pub(super) fn add(&mut self, address: IpAddr) {
        *self.addresses.entry(address).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_since_the_last_count_is_added_and_what_reaches_a_limit_is_counted_again() {
        let (mut watched, now) = (Watched::default(), Instant::now());
        let [ann, bob] = [1, 2].map(|last| IpAddr::from([10, 0, 0, last]));
        let with = |count: usize| move || FxHashMap::from_iter([(ann, count)]);
        assert_eq!(watched.of((ann, 10), now, with(7)), 7);
        watched.add(ann);
        watched.add(bob);
        let soon = now + DOUBTED;
        assert_eq!(watched.of((ann, 10), soon, with(0)), 8, "believed");
        assert_eq!(watched.of((bob, 10), soon, with(0)), 1);
        assert_eq!(watched.of((ann, 8), soon, with(2)), 2, "some were fired");
        assert_eq!(watched.of((ann, 2), soon, with(0)), 2, "not again so soon");
        assert_eq!(watched.of((ann, 10), soon + BELIEVED, with(5)), 5);
    }
}
