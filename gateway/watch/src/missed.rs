//! What persistent watches missed while their client was away.

use std::sync::Arc;

use palisade_wire::reply::EventType;
use palisade_wire::{Acl, Zxid};
use rustc_hash::FxHashSet;

use crate::event::Event;
use crate::recent::Recent;

/// Persistent watches that a client sets again.
#[derive(Debug, Default)]
pub struct Lasting<'a> {
    persistent: FxHashSet<&'a str>,
    recursive: FxHashSet<&'a str>,
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

    fn hears(&self, event: &Event) -> bool {
        let path = event.path();
        if self.persistent.contains(path) {
            return true;
        }
        if event.kind() == EventType::NodeChildrenChanged || self.recursive.is_empty() {
            return false;
        }
        let ancestors = path.match_indices('/').map(|(at, _)| if at == 0 { "/" } else { &path[..at] });
        self.recursive.contains(path)
            || ancestors.into_iter().any(|ancestor| self.recursive.contains(ancestor))
    }

    /// The events after `since` that they did not hear, in their order, as far as `may_read` lets them; `None` if that is
    /// not remembered. An event may have been heard all the same: it may have arrived just before the connection broke.
    /// Those that `known` tells of were heard on this connection.
    pub fn missed(
        &self,
        recent: &Recent,
        since: Zxid,
        may_read: impl Fn(&[Acl]) -> bool,
        known: impl Fn(&Event) -> bool,
    ) -> Option<Vec<Arc<Event>>> {
        let heard = recent.since(since)?.filter(|recent| {
            self.hears(&recent.event) && recent.acl.as_deref().is_none_or(&may_read) && !known(&recent.event)
        });
        Some(heard.map(|recent| Arc::clone(&recent.event)).collect())
    }
}

#[cfg(test)]
mod tests {
    use palisade_wire::{Id, Perms};

    use super::*;
    use crate::recent::RecentLimits;

    #[test]
    fn each_kind_hears_what_it_would_have_heard() {
        let acl = [Acl { perms: Perms::READ, id: Id::new("digest", "me:hash") }];
        let mut recent = Recent::new(RecentLimits { events: 100, bytes: 1 << 20 });
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
            recent.push(&Event::new(zxid, kind, path), acl, Zxid(i as i64));
        }
        let lasting = Lasting::new(["/p"].into_iter(), ["/a"].into_iter());
        let missed = |since, readable: bool, known: i64| {
            let missed = lasting.missed(&recent, Zxid(since), |_| readable, |event| event.zxid().0 == known);
            missed.map(|missed| missed.iter().map(|event| event.zxid().0).collect::<Vec<_>>())
        };
        assert_eq!(missed(0, true, 0), Some(vec![1, 3, 4, 6]));
        assert_eq!(missed(3, true, 4), Some(vec![6]));
        assert_eq!(missed(0, false, 0), Some(vec![1, 3, 4]));
        assert_eq!(missed(-1, true, 0), None);
        let all = Lasting::new([].into_iter(), ["/"].into_iter());
        assert_eq!(all.missed(&recent, Zxid(0), |_| true, |_| false).map(|missed| missed.len()), Some(5));
    }
}
