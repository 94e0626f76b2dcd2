//! Events of the last while, for clients that were away.

use std::collections::VecDeque;
use std::sync::Arc;

use palisade_wire::{Acl, Zxid};

use crate::event::Event;

/// What an entry takes beside its frame and its access list, roughly.
const OVERHEAD: usize = 96;

/// How much is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecentLimits {
    /// Events; 0 for none at all.
    pub events: usize,
    /// Bytes.
    pub bytes: usize,
}

/// An event, and who might hear of it.
#[derive(Clone, Debug)]
pub struct RecentEvent {
    /// The event.
    pub event: Arc<Event>,
    /// The access list that lets read it; `None` if everybody may.
    pub acl: Option<Arc<[Acl]>>,
    size: usize,
}

/// The last events, whether or not anybody watched, without a gap.
#[derive(Debug)]
pub struct Recent {
    limits: RecentLimits,
    events: VecDeque<RecentEvent>,
    bytes: usize,
    /// Every event after this one is here; `None` until that is known.
    complete_after: Option<Zxid>,
}

impl Recent {
    /// Remembers nothing yet.
    pub const fn new(limits: RecentLimits) -> Self {
        Self { limits, events: VecDeque::new(), bytes: 0, complete_after: None }
    }

    /// Whether anything is to be remembered.
    pub const fn is_on(&self) -> bool {
        self.limits.events > 0
    }

    /// Remembers an event of the tree, which was complete up to `before` when it happened.
    pub fn push(&mut self, event: &Arc<Event>, acl: Option<&[Acl]>, before: Zxid) {
        let same = self.events.back().and_then(|last| last.acl.clone()).filter(|last| Some(&**last) == acl);
        let acl = same.or_else(|| acl.map(Arc::from));
        let ids: usize = acl.iter().flat_map(|acl| acl.iter()).map(|acl| 64 + acl.id.id.len()).sum();
        let size = OVERHEAD + event.frame().len() + ids;
        self.complete_after.get_or_insert(before);
        self.events.push_back(RecentEvent { event: Arc::clone(event), acl, size });
        self.bytes += size;
        while self.events.len() > self.limits.events || self.bytes > self.limits.bytes {
            let Some(gone) = self.events.pop_front() else { break };
            self.bytes -= gone.size;
            self.complete_after = self.complete_after.max(Some(gone.event.zxid()));
        }
    }

    /// What was remembered leads nowhere: the tree is another one now.
    pub fn clear(&mut self) {
        self.events.clear();
        self.bytes = 0;
        self.complete_after = None;
    }

    /// All events after `zxid`, in their order; `None` if some may be missing.
    pub fn since(&self, zxid: Zxid) -> Option<impl Iterator<Item = &RecentEvent>> {
        if self.complete_after.is_none_or(|first| zxid < first) {
            return None;
        }
        Some(self.events.range(self.events.partition_point(|recent| recent.event.zxid() <= zxid)..))
    }
}

#[cfg(test)]
mod tests {
    use palisade_wire::reply::EventType;
    use palisade_wire::{Id, Perms};

    use super::*;

    const LIMITS: RecentLimits = RecentLimits { events: 3, bytes: 10_000 };

    fn event(zxid: i64) -> Arc<Event> {
        Event::new(Zxid(zxid), EventType::NodeDataChanged, "/a")
    }

    fn since(recent: &Recent, zxid: i64) -> Option<Vec<i64>> {
        Some(recent.since(Zxid(zxid))?.map(|recent| recent.event.zxid().0).collect())
    }

    #[test]
    fn it_knows_where_it_begins() {
        let mut recent = Recent::new(LIMITS);
        assert_eq!(since(&recent, 100), None);
        recent.push(&event(5), None, Zxid(3));
        assert_eq!([since(&recent, 2), since(&recent, 3)], [None, Some(vec![5])]);
        assert_eq!([since(&recent, 4), since(&recent, 5)], [Some(vec![5]), Some(vec![])]);
        // Two events of one transaction are forgotten together, as far as anybody can tell.
        recent.push(&event(5), None, Zxid(3));
        recent.push(&event(7), None, Zxid(6));
        recent.push(&event(8), None, Zxid(7));
        assert_eq!([since(&recent, 4), since(&recent, 5)], [None, Some(vec![7, 8])]);
        recent.clear();
        assert_eq!(since(&recent, 9), None);
    }

    #[test]
    fn its_bytes_are_bounded_and_lists_are_shared() {
        let acl = [Acl { perms: Perms::READ, id: Id::new("digest", "x".repeat(1_000)) }];
        let mut recent = Recent::new(RecentLimits { events: 100, bytes: 4_000 });
        for zxid in 1..20 {
            recent.push(&event(zxid), Some(&acl), Zxid(zxid - 1));
        }
        assert_eq!(since(&recent, 16), Some(vec![17, 18, 19]));
        assert_eq!(since(&recent, 15), None);
        let lists: Vec<_> = recent.events.iter().filter_map(|recent| recent.acl.as_ref()).collect();
        assert!(lists.windows(2).all(|pair| Arc::ptr_eq(pair[0], pair[1])));
    }
}
