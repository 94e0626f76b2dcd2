//! The watch index, the outboxes, the pacer and the recent events, put together as a gateway does it.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use palisade_watch::check::{Change, Watch};
use palisade_watch::{
    Budget, Changes, Event, Fired, Hearers, Herds, Holding, Lasting, Outbox, Pacer, Pacing, Recent, Slot,
    WatchIndex,
};
use palisade_wire::reply::{EventType, ReplyHeader, WatchEvent};
use palisade_wire::{ErrorCode, Zxid, frame};
use rand_chacha::ChaCha8Rng;

use super::tree::Tree;

const TIMEOUT: Duration = Duration::from_secs(9);
const OUTBOX: usize = 4 << 10;

pub(crate) struct Gateway {
    pub(crate) history: Vec<Change>,
    tree: Tree,
    index: WatchIndex,
    pacer: Pacer,
    recent: Recent,
    connections: Vec<Option<Outbox<()>>>,
    herds: Herds,
    budget: Arc<Budget>,
    now: Duration,
    fired: Vec<Fired>,
}

fn slot(index: usize) -> Slot {
    Slot::new(index).expect("there are few")
}

impl Gateway {
    pub(crate) fn new(pacing: Pacing, window: usize) -> Self {
        Self {
            history: Vec::new(),
            tree: Tree::default(),
            index: WatchIndex::default(),
            pacer: Pacer::new(pacing),
            recent: Recent::new(window),
            connections: Vec::new(),
            herds: Herds::default(),
            budget: Arc::new(Budget::new(OUTBOX, usize::MAX)),
            now: Duration::ZERO,
            fired: Vec::new(),
        }
    }

    pub(crate) fn set_pacing(&mut self, pacing: Pacing) {
        self.pacer.set_pacing(pacing);
    }

    pub(crate) fn write(&mut self, random: &mut ChaCha8Rng) {
        for change in self.tree.write(random) {
            let event = Event::new(change.zxid, change.kind, &change.path);
            self.recent.push(&event, None);
            self.deliver(&event);
            self.history.push(change);
        }
    }

    fn deliver(&mut self, event: &Arc<Event>) {
        let pacing = *self.pacer.pacing();
        let told = (self.herds.next(), Arc::clone(event));
        let shares = event.kind() == EventType::NodeDataChanged;
        if !shares {
            self.herds.forget(event.path());
        }
        let mut hearers =
            Hearers { acl: None, version: self.index.version(), merge_above: pacing.merge_above() };
        if let Some((changes, size)) = self.herds.known(event.path(), &hearers) {
            let changes = Arc::clone(changes);
            let since = pacing.applies_to(size).then_some(self.now);
            let added = changes.add_again(told);
            return self.join(&changes, &added.others, since);
        }
        let mut fired = std::mem::take(&mut self.fired);
        self.index.fire(event.kind(), event.path(), &mut fired);
        hearers.version = self.index.version();
        let since = pacing.applies_to(fired.len()).then_some(self.now);
        let (alone, lasting): (Vec<Fired>, Vec<Fired>) =
            fired.iter().partition(|fired| fired.one_shot || !shares);
        let lasting: Vec<Slot> = lasting.into_iter().map(|fired| fired.slot).collect();
        let changes = (!lasting.is_empty())
            .then(|| self.herds.share(event.path(), &hearers, lasting.len(), alone.is_empty()));
        for Fired { slot, .. } in alone {
            let Some(outbox) = self.connections[slot.index()].as_mut() else { continue };
            if changes.as_ref().is_some_and(|changes| changes.is_shared_by(slot)) {
                outbox.leave_shares();
            }
            match since {
                None => outbox.push_event(event),
                Some(now) => {
                    if outbox.hold_event(told.clone(), now) == Holding::First {
                        self.pacer.hold(slot, TIMEOUT, now);
                    }
                }
            }
        }
        if let Some(changes) = changes {
            let added = changes.add(told, lasting.into_iter());
            self.join(&changes, &added.others, since);
        }
        self.fired = fired;
    }

    fn join(&mut self, changes: &Arc<Changes>, others: &[Slot], since: Option<Duration>) {
        for slot in others {
            let Some(outbox) = self.connections[slot.index()].as_mut() else { continue };
            if outbox.hold_share(changes.join(*slot), since) == Holding::First
                && let Some(now) = since
            {
                self.pacer.hold(*slot, TIMEOUT, now);
            }
        }
    }

    /// Time passes, and waves go.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        let connections = &mut self.connections;
        self.pacer.poll(self.now, |slot, _| {
            connections.get_mut(slot.index()).and_then(Option::as_mut).map_or(0, Outbox::let_go)
        });
    }

    pub(crate) fn connect(&mut self) -> usize {
        let free = self.connections.iter().position(Option::is_none);
        let at = free.unwrap_or(self.connections.len());
        if free.is_none() {
            self.connections.push(None);
        }
        self.connections[at] = Some(Outbox::new(Arc::clone(&self.budget), ()));
        at
    }

    pub(crate) fn disconnect(&mut self, at: usize) {
        self.index.remove_slot(slot(at));
        self.connections[at] = None;
    }

    pub(crate) fn is_holding(&self, at: usize) -> bool {
        self.connections[at].as_ref().is_some_and(Outbox::is_holding)
    }

    /// The next bytes for a client, at most `count`; `None` if the gateway closed the connection.
    pub(crate) fn take(&mut self, at: usize, count: usize) -> Option<Vec<u8>> {
        let outbox = self.connections[at].as_mut()?;
        if outbox.ending().is_some() {
            return None;
        }
        outbox.release_due();
        let mut slices = [IoSlice::new(&[]); 3];
        let filled = outbox.unsent_slices(&mut slices);
        let mut bytes: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
        bytes.truncate(count);
        outbox.sent(bytes.len());
        Some(bytes)
    }

    fn header(xid: i32, zxid: Zxid, out: &mut BytesMut) {
        frame::write(out, |b| ReplyHeader { xid, zxid, err: ErrorCode::OK }.encode(b));
    }

    pub(crate) fn ping(&mut self, at: usize) {
        let zxid = self.tree.zxid;
        if let Some(outbox) = &mut self.connections[at] {
            outbox.reply(|out| Self::header(-2, zxid, out));
        }
    }

    /// A read that leaves a watch, if the client asks for one and it can be had.
    pub(crate) fn read(&mut self, at: usize, xid: i32, watch: Option<(Watch, &str)>) {
        let mut frames = BytesMut::new();
        if let Some((watch, path)) = watch {
            self.register(at, watch, path);
        }
        Self::header(xid, self.tree.zxid, &mut frames);
        self.append(at, &mut frames);
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        self.tree.nodes.contains_key(path)
    }

    fn append(&mut self, at: usize, frames: &mut BytesMut) {
        if let Some(outbox) = &mut self.connections[at] {
            outbox.append(frames);
        }
    }

    fn register(&mut self, at: usize, watch: Watch, path: &str) {
        match watch {
            Watch::Data | Watch::Exist => self.index.add_data(slot(at), path),
            Watch::Child => self.index.add_child(slot(at), path),
            Watch::Persistent => self.index.add_persistent(slot(at), path),
            Watch::Recursive => self.index.add_recursive(slot(at), path),
        }
    }

    /// SetWatches: whether what persistent watches missed was remembered.
    pub(crate) fn set_watches(
        &mut self,
        at: usize,
        xid: i32,
        since: Zxid,
        watches: &[(Watch, String)],
    ) -> bool {
        let of = |kind| watches.iter().filter(move |(watch, _)| *watch == kind).map(|(_, path)| &**path);
        let lasting = Lasting::new(of(Watch::Persistent), of(Watch::Recursive));
        let missed = lasting.missed(&mut self.recent, since, OUTBOX / 2, |_| true, |_| false);
        let complete = since == self.tree.zxid || missed.is_complete;
        if let Some(outbox) = &mut self.connections[at] {
            for event in &missed.events {
                outbox.push_event(event);
            }
        }
        let mut frames = BytesMut::new();
        for (watch, path) in watches {
            let node = self.tree.nodes.get(&**path);
            let kind = match (watch, node) {
                (Watch::Data, Some(node)) if node.mzxid > since => Some(EventType::NodeDataChanged),
                (Watch::Child, Some(node)) if node.pzxid > since => Some(EventType::NodeChildrenChanged),
                (Watch::Data | Watch::Child, None) => Some(EventType::NodeDeleted),
                (Watch::Exist, Some(_)) => Some(EventType::NodeCreated),
                _ => None,
            };
            if let Some(kind) = kind {
                frame::write(&mut frames, |b| WatchEvent { zxid: Zxid(-1), kind, path }.encode(b));
            } else {
                self.register(at, *watch, path);
            }
        }
        Self::header(xid, self.tree.zxid, &mut frames);
        self.append(at, &mut frames);
        complete
    }
}
