//! What persistent watches missed while their client was away.

use std::sync::Arc;

use hashbrown::HashSet;
use palisade_wire::reply::EventType;
use palisade_wire::{Acl, Zxid};

use crate::event::Event;
use crate::recent::Recent;

/// Events that a client may have missed. It may also have seen them: they may have arrived just before the connection
/// broke, and nothing that the client says tells so. Hence they come at least once.
#[derive(Debug, Default)]
pub struct Missed {
    /// In their order.
    pub events: Vec<Arc<Event>>,
    /// Whether there certainly were no more.
    pub is_complete: bool,
}

/// Persistent watches that a client sets again.
#[derive(Debug, Default)]
pub struct Lasting<'a> {
    persistent: HashSet<&'a str>,
    recursive: HashSet<&'a str>,
}

impl<'a> Lasting<'a> {
    /// Of these paths.
    pub fn new(persistent: impl Iterator<Item = &'a str>, recursive: impl Iterator<Item = &'a str>) -> Self {
        Self { persistent: persistent.collect(), recursive: recursive.collect() }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.persistent.is_empty() && self.recursive.is_empty()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.persistent.len() + self.recursive.len()
    }

    /// The paths of those that are not recursive.
    pub(crate) fn persistent(&self) -> impl Iterator<Item = &str> {
        self.persistent.iter().copied()
    }

    /// The paths of the recursive ones that are not below another one.
    pub(crate) fn outermost(&self) -> impl Iterator<Item = &str> {
        self.recursive.iter().copied().filter(|path| !self.is_below_recursive(path))
    }

    fn is_below_recursive(&self, path: &str) -> bool {
        let above = path.match_indices('/').map(|(at, _)| if at == 0 { "/" } else { &path[..at] });
        above.filter(|above| *above != path).any(|above| self.recursive.contains(above))
    }

    fn hears(&self, event: &Event) -> bool {
        let path = event.path();
        if self.persistent.contains(path) {
            return true;
        }
        if event.kind() == EventType::NodeChildrenChanged || self.recursive.is_empty() {
            return false;
        }
        self.recursive.contains(path) || self.is_below_recursive(path)
    }

    /// What they did not hear after `since`, as far as `may_read` lets them, but not what `known` tells of: that is
    /// heard on this connection. Of more than `budget` bytes, the eldest events are left out.
    pub fn missed(
        &self,
        recent: &mut Recent,
        since: Zxid,
        budget: usize,
        may_read: impl Fn(&[Acl]) -> bool,
        known: impl Fn(&Event) -> bool,
    ) -> Missed {
        let mut missed = Missed { events: Vec::new(), is_complete: recent.reaches_back_to(since) };
        let mut bytes = 0;
        for recent in recent.latest_first(since, self) {
            let event = &recent.event;
            if !self.hears(event) || !recent.acl.as_deref().is_none_or(&may_read) || known(event) {
                continue;
            }
            bytes += event.frame().len();
            if bytes > budget {
                missed.is_complete = false;
                break;
            }
            missed.events.push(Arc::clone(event));
        }
        missed.events.reverse();
        missed
    }
}

#[cfg(test)]
mod tests {
    use palisade_wire::{Id, Perms};
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn each_kind_hears_what_it_would_have_heard() {
        let acl = [Acl { perms: Perms::READ, id: Id::new("digest", "me:hash") }];
        let mut recent = Recent::new(1 << 20);
        let happened = [
            (EventType::NodeCreated, "/a/b", None),
            (EventType::NodeChildrenChanged, "/a", None),
            (EventType::NodeDataChanged, "/p", None),
            (EventType::NodeChildrenChanged, "/p", None),
            (EventType::NodeDeleted, "/p/q", None),
            (EventType::NodeDataChanged, "/p", Some(&acl[..])),
            (EventType::NodeDataChanged, "/ab", None),
        ];
        for (i, (kind, path, acl)) in happened.into_iter().enumerate() {
            let zxid = Zxid(i as i64 + 1);
            recent.push(&Event::new(zxid, kind, path), acl);
        }
        let lasting = Lasting::new(["/p"].into_iter(), ["/a"].into_iter());
        let mut missed = |since, budget, readable: bool, known: i64| {
            let known = |event: &Event| event.zxid().0 == known;
            let Missed { events, is_complete } =
                lasting.missed(&mut recent, Zxid(since), budget, |_| readable, known);
            (events.iter().map(|event| event.zxid().0).collect::<Vec<_>>(), is_complete)
        };
        assert_eq!(missed(0, 1_000, true, 0), (vec![1, 3, 4, 6], true));
        assert_eq!(missed(3, 1_000, true, 4), (vec![6], true));
        assert_eq!(missed(0, 1_000, false, 0), (vec![1, 3, 4], true));
        assert_eq!(missed(-1, 1_000, true, 0), (vec![1, 3, 4, 6], false));
        assert_eq!(missed(0, 100, true, 0), (vec![4, 6], false));
        let all = Lasting::new([].into_iter(), ["/"].into_iter());
        let all = all.missed(&mut recent, Zxid(0), 1_000, |_| true, |_| false);
        assert_eq!(all.events.len(), 5);
    }
    #[test]
    fn what_is_found_by_path_is_what_is_found_one_by_one() {
        const NAMES: [&str; 4] = ["a", "a0", "a-", "b"];
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let path = |rng: &mut ChaCha8Rng| {
            let depth = rng.random_range(0..4);
            let path: String = (0..depth).map(|_| format!("/{}", NAMES[rng.random_range(0..4)])).collect();
            if path.is_empty() { "/".to_owned() } else { path }
        };
        let kinds = [EventType::NodeDataChanged, EventType::NodeChildrenChanged, EventType::NodeDeleted];
        let mut recent = Recent::new(100_000);
        let mut longest = 0;
        for round in 0..300 {
            for zxid in round * 10..(round + 1) * 10 {
                recent.push(&Event::new(Zxid(zxid), kinds[rng.random_range(0..3)], &path(&mut rng)), None);
            }
            if round % 100 == 99 {
                recent.begin(Zxid((round + 1) * 10 - 1));
            }
            let watched = [rng.random_range(0..3), rng.random_range(0..3)]
                .map(|count| (0..count).map(|_| path(&mut rng)).collect::<Vec<_>>());
            let [persistent, recursive] = watched.each_ref().map(|paths| paths.iter().map(|path| &**path));
            let lasting = Lasting::new(persistent, recursive);
            let since = Zxid(rng.random_range(0..=(round + 1) * 10));
            while round % 2 == 0 && recent.make_ready(since, 30) {}
            let zxid = |event: &Arc<Event>| event.zxid().0;
            let all = recent.since(since).map(|recent| &recent.event).filter(|event| lasting.hears(event));
            let expected: Vec<_> = all.map(zxid).collect();
            let missed = lasting.missed(&mut recent, since, usize::MAX, |_| true, |_| false);
            assert_eq!(missed.events.iter().map(zxid).collect::<Vec<_>>(), expected, "round {round}");
            longest = longest.max(expected.len());
        }
        assert!(longest > 300, "none was found by its path");
    }
}
