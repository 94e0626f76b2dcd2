//! Watches that a client registers again after it was away (Apache `DataTree.setWatches`).

use std::borrow::Cow;
use std::ops::Deref;

use bytes::BytesMut;
use palisade_store::{NodeRef, acl};
use palisade_watch::{Event, Lasting, Missed, Recent, WatchIndex, WatchKind};
use palisade_wire::reply::{EventType, WatchEvent};
use palisade_wire::request::SetWatches;
use palisade_wire::{DecodeError, Perms, Reader, Zxid, frame};
use parking_lot::Mutex;

use super::{Local, status};

/// The zxid of an event that no transaction fired.
const CATCH_UP: Zxid = Zxid(-1);

/// Characters of paths at which the Java client ends a request and puts the rest into another one (its
/// `SET_WATCHES_MAX_LENGTH`).
const SPLIT: usize = 128 << 10;

/// Recent events that are sorted by their paths at once.
const EVENTS_AT_ONCE: usize = 1_000;

/// The lists of watches, in the order in which they are looked at; that of one-shot ones is Apache's.
#[derive(Clone, Copy)]
enum List {
    Persistent,
    Data,
    Exist,
    Child,
}

impl List {
    const fn kind(self) -> WatchKind {
        match self {
            Self::Persistent => WatchKind::Persistent,
            Self::Data | Self::Exist => WatchKind::Data,
            Self::Child => WatchKind::Children,
        }
    }

    /// An event that uses such a watch up, whether or not the znode is there.
    const fn fired_by(self) -> EventType {
        match self {
            Self::Persistent | Self::Data => EventType::NodeDataChanged,
            Self::Exist => EventType::NodeDeleted,
            Self::Child => EventType::NodeChildrenChanged,
        }
    }
}

/// Where what persistent watches missed is found.
#[derive(Clone, Copy)]
pub(crate) struct Past<'a> {
    /// What happened lately.
    pub recent: &'a Mutex<Recent>,
    /// Bytes of events that may be told at once.
    pub budget: usize,
}

fn event(out: &mut BytesMut, kind: EventType, path: &str) {
    frame::write(out, |b| WatchEvent { zxid: CATCH_UP, kind, path }.encode(b));
}

/// What is left to do of a request to set watches again. It may name as many as a connection may have, so it is done
/// in steps, each on the replica as it is then: a path is looked at and watched in the same step.
///
/// # Persistent watches
///
/// In Apache's servers they miss what happens while their client is away. Here they are told of it, at least once:
/// [`Recent`] has every event of the tree after some zxid, and those after the last zxid that the client saw in a reply
/// are told again, in their order, with their zxids, before anything else. It is the same at every gateway of the
/// tenant. What the client heard after its last reply is told twice, as events do not raise the zxid that it presents.
/// Clients that read what they are told of, such as Curator's caches, hardly ever notice. Very many watches are registered
/// some at a time, each time as by a request of their own. A gateway that starts takes what happened before
/// from its log.
///
/// If the client was away for longer than is remembered, a persistent watch is told of what the znode itself shows, as
/// one-shot watches are; recursive ones miss, as in Apache's, what happened before.
///
/// # Too many
///
/// No client looks at an error that answers this request (Java's drops it), so it would believe that it watches. A
/// one-shot watch beyond a limit fires instead: its client reads again, as after any change, and is refused the new watch
/// by an error that it does look at. A persistent watch cannot end like that, and its client would never ask again. Those
/// beyond a limit are [covered](WatchIndex::cover): the client is told of all that happens at and below what they have in
/// common, and passes over what it does not watch. So it misses nothing, for more traffic.
pub(crate) struct CatchUp<'a> {
    since: Zxid,
    /// Watches that were too many, and fired.
    pub(crate) refused: u64,
    /// Persistent watches that were too many, and are covered.
    pub(crate) covered: u64,
    watches: &'a SetWatches<'a>,
    /// How many of the persistent watches, and of the recursive ones behind them, are registered.
    registered: usize,
    /// Whether they have certainly been told of all that they missed.
    is_complete: bool,
    left: Box<dyn Iterator<Item = (List, &'a str)> + 'a>,
}

impl<'a> CatchUp<'a> {
    /// With everything still to do.
    pub(crate) fn new(watches: &'a SetWatches<'_>) -> Self {
        let SetWatches { relative_zxid, data, exist, child, .. } = watches;
        let data = data.iter().map(|path| (List::Data, &**path));
        let exist = exist.iter().map(|path| (List::Exist, &**path));
        let child = child.iter().map(|path| (List::Child, &**path));
        let left = Box::new(data.chain(exist).chain(child));
        Self {
            since: *relative_zxid,
            refused: 0,
            covered: 0,
            watches,
            registered: 0,
            is_complete: true,
            left,
        }
    }

    /// Makes it quick to find what persistent watches missed. Nothing may be locked: the first client that comes back after
    /// a while has the most to do, and others go on in between.
    pub(crate) fn make_ready(&self, past: Past<'_>) {
        if self.has_more_to_register() {
            while past.recent.lock().make_ready(self.since, EVENTS_AT_ONCE) {}
        }
    }

    /// Whether [`Self::register`] is not done yet.
    pub(crate) const fn has_more_to_register(&self) -> bool {
        self.registered < self.watches.persistent.len() + self.watches.recursive.len()
    }

    /// Registers up to `count` persistent watches, and returns what they missed, to be told at once.
    pub(crate) fn register(&mut self, local: &Local<'_>, past: Past<'_>, count: usize) -> Missed {
        let SetWatches { persistent, recursive, .. } = self.watches;
        let begun = self.registered.saturating_sub(persistent.len());
        let persistent = part(persistent, self.registered, count);
        let recursive = part(recursive, begun, count - persistent.len());
        self.registered += persistent.len() + recursive.len();
        let mut index = local.watches.lock();
        let missed = missed(local, past, (self.since, persistent, recursive), &index);
        let has_room = |index: &WatchIndex, path: &str, kind| {
            index.has_room(local.slot, path, kind, local.limits).is_ok()
        };
        for path in persistent {
            if has_room(&index, path, WatchKind::Persistent) {
                index.add_persistent(local.slot, path);
            } else {
                index.cover(local.slot, path, true);
                self.covered += 1;
            }
        }
        for path in recursive {
            if has_room(&index, path, WatchKind::Recursive) {
                index.add_recursive(local.slot, path);
            } else {
                index.cover(local.slot, path, false);
                self.covered += 1;
            }
        }
        self.is_complete &= missed.is_complete;
        if !self.is_complete && !self.has_more_to_register() {
            let forgotten = self.watches.persistent.iter().map(|path| (List::Persistent, &**path));
            let left = std::mem::replace(&mut self.left, Box::new(std::iter::empty()));
            self.left = Box::new(forgotten.chain(left));
        }
        missed
    }

    /// Deals with up to `count` watches: appends an event for what changed, and registers the one-shot ones that it does
    /// not use up. Returns whether any are left.
    pub(crate) fn step(&mut self, local: &Local<'_>, count: usize, out: &mut BytesMut) -> bool {
        let mut index = local.watches.lock();
        for _ in 0..count {
            let Some((list, path)) = self.left.next() else { return false };
            if path == status::PATH {
                // It tells something else now: of another moment, and perhaps of another gateway.
                match list {
                    List::Data | List::Persistent => event(out, EventType::NodeDataChanged, path),
                    List::Exist => event(out, EventType::NodeCreated, path),
                    List::Child => index.add_child(local.slot, path),
                }
                continue;
            }
            let node = local.tree.node(&local.root.enter(path));
            match (list, node) {
                (List::Persistent, node) => visible(node, self.since, path, out),
                (List::Data | List::Child, None) => event(out, EventType::NodeDeleted, path),
                (List::Data, Some(node)) if node.mzxid() > self.since => {
                    event(out, EventType::NodeDataChanged, path);
                }
                (List::Child, Some(node)) if node.pzxid() > self.since => {
                    event(out, EventType::NodeChildrenChanged, path);
                }
                (List::Exist, Some(_)) => event(out, EventType::NodeCreated, path),
                _ if index.has_room(local.slot, path, list.kind(), local.limits).is_err() => {
                    self.refused += 1;
                    event(out, list.fired_by(), path);
                }
                (List::Data, Some(_)) | (List::Exist, None) => index.add_data(local.slot, path),
                (List::Child, Some(_)) => index.add_child(local.slot, path),
            }
        }
        true
    }
}

/// Up to `count` of a list from the one numbered `from` on.
fn part<T>(list: &[T], from: usize, count: usize) -> &[T] {
    let (_, rest) = list.split_at(from.min(list.len()));
    rest.split_at(count.min(rest.len())).0
}

/// What persistent watches missed, except what those of the same connection hear that are there already: a client may
/// set its watches again with several requests.
fn missed(
    local: &Local<'_>,
    past: Past<'_>,
    (since, persistent, recursive): (Zxid, &[Cow<'_, str>], &[Cow<'_, str>]),
    index: &WatchIndex,
) -> Missed {
    let mut recent = past.recent.lock();
    if (persistent.is_empty() && recursive.is_empty()) || !recent.is_on() {
        return Missed { events: Vec::new(), is_complete: true };
    }
    let lasting = Lasting::new(persistent.iter().map(Deref::deref), recursive.iter().map(Deref::deref));
    let may_read = |list: &[_]| acl::check(list, Perms::READ, local.ids);
    let has_others = index.watches_any(local.slot);
    let known = |event: &Event| has_others && index.hears_lastingly(local.slot, event.kind(), event.path());
    lasting.missed(&mut recent, since, past.budget, may_read, known)
}

/// What a znode shows of its changes after `since`. One that is not there may have been.
fn visible(node: Option<NodeRef<'_>>, since: Zxid, path: &str, out: &mut BytesMut) {
    let Some(node) = node else { return event(out, EventType::NodeDeleted, path) };
    if node.czxid() > since {
        event(out, EventType::NodeCreated, path);
    } else if node.mzxid() > since {
        event(out, EventType::NodeDataChanged, path);
    }
    if node.pzxid() > since {
        event(out, EventType::NodeChildrenChanged, path);
    }
}

/// How many watches a request names: so many places its decoded form takes, however short its paths are.
pub(crate) fn count(body: &[u8]) -> usize {
    let mut r = Reader::new(body);
    let mut count = 0;
    let mut lists = || {
        r.i64("relative zxid")?;
        loop {
            for _ in 0..r.i32("number of paths")? {
                r.buffer("path")?;
                count += 1;
            }
        }
    };
    let _end: Result<(), DecodeError> = lists();
    count
}

/// The zxid of the reply. The client takes it for what it has seen of all its watches; as long as it has not told of all
/// of them, that must not grow, or changes would be missed if the connection breaks in between. Where nothing is
/// replayed, it does as in Apache's servers.
pub(crate) fn reply_zxid(past: Past<'_>, watches: &SetWatches<'_>, now: Zxid) -> Zxid {
    let SetWatches { relative_zxid, data, exist, child, persistent, recursive } = watches;
    let lists = [data, exist, child, persistent, recursive];
    let length: usize = lists.into_iter().flatten().map(|path| path.len()).sum();
    let is_whole = length < SPLIT || !past.recent.lock().is_on();
    if is_whole { now } else { now.min((*relative_zxid).max(Zxid::ZERO)) }
}
