//! Events of the last while, for clients that were away.

mod by_path;

use std::collections::VecDeque;
use std::sync::Arc;

use palisade_wire::{Acl, Zxid};

use self::by_path::ByPath;
use crate::event::Event;
use crate::missed::Lasting;

/// So many events are looked at one by one.
const FEW: usize = 32;

/// What an entry takes beside its frame and its access list, roughly.
const OVERHEAD: usize = 96;

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
    /// Bytes that may be remembered; 0 for nothing at all.
    limit: usize,
    events: VecDeque<RecentEvent>,
    /// The number of the first of them; they are numbered without a gap.
    first: u64,
    bytes: usize,
    /// Of some of them, as long as clients come back.
    by_path: ByPath,
    /// Every event after this one is here; `None` until that is known.
    complete_after: Option<Zxid>,
}

impl Recent {
    /// Remembers nothing yet, and never more than `limit` bytes; 0 for nothing at all.
    pub const fn new(limit: usize) -> Self {
        Self {
            limit,
            events: VecDeque::new(),
            first: 0,
            bytes: 0,
            by_path: ByPath::beginning_at(0),
            complete_after: None,
        }
    }

    /// Whether anything is to be remembered.
    pub const fn is_on(&self) -> bool {
        self.limit > 0
    }

    /// Bytes that may be remembered.
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// From now on it is so many bytes.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.forget_excess();
        if limit == 0 {
            self.complete_after = None;
        }
    }

    /// Remembers an event of the tree. All of them must be told, in the order of their transactions.
    pub fn push(&mut self, event: &Arc<Event>, acl: Option<&[Acl]>) {
        let same = self.events.back().and_then(|last| last.acl.clone()).filter(|last| Some(&**last) == acl);
        let acl = same.or_else(|| acl.map(Arc::from));
        let ids: usize = acl.iter().flat_map(|acl| acl.iter()).map(|acl| 64 + acl.id.id.len()).sum();
        let size = OVERHEAD + event.frame().len() + ids;
        self.complete_after.get_or_insert(Zxid(event.zxid().0 - 1));
        self.events.push_back(RecentEvent { event: Arc::clone(event), acl, size });
        self.bytes += size;
        self.forget_excess();
    }

    fn forget_excess(&mut self) {
        while self.bytes > self.limit {
            let Some(gone) = self.events.pop_front() else { break };
            self.first += 1;
            self.bytes -= gone.size;
            self.complete_after = self.complete_after.max(Some(gone.event.zxid()));
        }
        if self.by_path.len() > 0 && self.by_path.until() <= self.first {
            self.by_path = ByPath::beginning_at(self.first);
        }
    }

    /// What was remembered leads nowhere, as the tree is another one now.
    pub fn forget(&mut self) {
        self.first += self.events.len() as u64;
        self.events.clear();
        self.by_path = ByPath::beginning_at(self.first);
        self.bytes = 0;
        self.complete_after = None;
    }

    /// The same, and all events after `zxid` will be told.
    pub fn begin(&mut self, zxid: Zxid) {
        self.forget();
        self.complete_after = Some(zxid).filter(|_| self.is_on());
    }

    /// All events after `zxid` will be told; what was remembered, if anything, leads there.
    pub fn go_on(&mut self, zxid: Zxid) {
        if self.complete_after.is_none() {
            self.begin(zxid);
        }
    }

    /// Whether no event after `zxid` is forgotten.
    pub fn reaches_back_to(&self, zxid: Zxid) -> bool {
        self.complete_after.is_some_and(|first| first <= zxid)
    }

    /// The events after `zxid` that are remembered, in their order.
    pub fn since(&self, zxid: Zxid) -> impl DoubleEndedIterator<Item = &RecentEvent> {
        self.events.range(self.place_after(zxid)..)
    }

    fn place_after(&self, zxid: Zxid) -> usize {
        self.events.partition_point(|recent| recent.event.zxid() <= zxid)
    }

    /// The events after `zxid`, the last one first, without most of those that `watches` do not hear: in time
    /// proportional to what is found, so that thousands of clients may ask for it at once.
    pub(crate) fn latest_first<'a>(
        &'a mut self,
        zxid: Zxid,
        watches: &Lasting<'_>,
    ) -> Box<dyn Iterator<Item = &'a RecentEvent> + 'a> {
        let place = self.place_after(zxid);
        if self.events.len() - place <= watches.len().max(FEW) {
            return Box::new(self.events.range(place..).rev());
        }
        self.catch_up_by_path(usize::MAX);
        let (mut found, from) = (Vec::new(), self.first + place as u64);
        watches.persistent().for_each(|path| self.by_path.at(path, from, &mut found));
        watches.outermost().for_each(|path| self.by_path.at_or_below(path, from, &mut found));
        found.sort_unstable();
        found.dedup();
        let event = |number: u64| self.events.get(usize::try_from(number - self.first).ok()?);
        Box::new(found.into_iter().rev().filter_map(event))
    }

    /// Does up to `count` events' part of what makes it quick to find those after `zxid` by their paths; whether any are
    /// left. Whoever asks for them must wait for that part, with all that is locked then.
    pub fn make_ready(&mut self, zxid: Zxid, count: usize) -> bool {
        if self.events.len() - self.place_after(zxid) <= FEW {
            return false;
        }
        self.catch_up_by_path(count);
        self.by_path.until() < self.first + self.events.len() as u64
    }

    fn catch_up_by_path(&mut self, count: usize) {
        if self.by_path.until() < self.first || self.by_path.len() > 2 * self.events.len() {
            self.by_path = ByPath::beginning_at(self.first);
        }
        let known = self.by_path.until() - self.first;
        let unknown = self.events.iter().skip(usize::try_from(known).unwrap_or(usize::MAX));
        for recent in unknown.take(count) {
            self.by_path.push(recent.event.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use palisade_wire::reply::EventType;
    use palisade_wire::{Id, Perms};

    use super::*;

    fn event(zxid: i64) -> Arc<Event> {
        Event::new(Zxid(zxid), EventType::NodeDataChanged, "/a")
    }

    /// The zxids after `zxid`, and whether none is forgotten.
    fn since(recent: &Recent, zxid: i64) -> (Vec<i64>, bool) {
        let zxid = Zxid(zxid);
        (recent.since(zxid).map(|recent| recent.event.zxid().0).collect(), recent.reaches_back_to(zxid))
    }

    #[test]
    fn it_knows_where_it_begins() {
        let mut recent = Recent::new(3 * (OVERHEAD + event(1).frame().len()));
        assert_eq!(since(&recent, 100), (vec![], false));
        recent.push(&event(5), None);
        assert_eq!([since(&recent, 3), since(&recent, 4)], [(vec![5], false), (vec![5], true)]);
        assert_eq!(since(&recent, 5), (vec![], true));
        // Two events of one transaction are forgotten together, as far as anybody can tell.
        recent.push(&event(5), None);
        recent.push(&event(7), None);
        recent.push(&event(8), None);
        assert_eq!([since(&recent, 4), since(&recent, 5)], [(vec![5, 7, 8], false), (vec![7, 8], true)]);
        recent.begin(Zxid(9));
        assert_eq!([since(&recent, 8), since(&recent, 9)], [(vec![], false), (vec![], true)]);
        recent.push(&event(12), None);
        assert_eq!(since(&recent, 9), (vec![12], true));
        recent.go_on(Zxid(12));
        assert_eq!(since(&recent, 9), (vec![12], true));
        recent.forget();
        assert_eq!(since(&recent, 12), (vec![], false));
        recent.go_on(Zxid(12));
        assert_eq!([since(&recent, 11), since(&recent, 12)], [(vec![], false), (vec![], true)]);
        recent.set_limit(0);
        assert_eq!(since(&recent, 12), (vec![], false), "switched off");
    }

    #[test]
    fn its_bytes_are_bounded_and_lists_are_shared() {
        let acl = [Acl { perms: Perms::READ, id: Id::new("digest", "x".repeat(1_000)) }];
        let mut recent = Recent::new(4_000);
        for zxid in 1..20 {
            recent.push(&event(zxid), Some(&acl));
        }
        assert_eq!(since(&recent, 16), (vec![17, 18, 19], true));
        assert!(!recent.reaches_back_to(Zxid(15)));
        let lists: Vec<_> = recent.events.iter().filter_map(|recent| recent.acl.as_ref()).collect();
        assert!(lists.windows(2).all(|pair| Arc::ptr_eq(pair[0], pair[1])));
    }
}
