//! One event on its way from the applier to all who hear of it.
//!
//! Few are told at once. Very many wait for their wave, or for a worker that writes to them; an event that they hear
//! once is queued for each of them, while those who hear lastingly share it ([`Changes`]): so the applier does not
//! visit those who are yet to be told of the change before.

use std::sync::Arc;

use palisade_store::acl;
use palisade_watch::{Added, Changes, Event, Fired, Hearers, Herds, Holding, Pacing, Slot};
use palisade_wire::reply::EventType;
use palisade_wire::{Id, Perms};
use parking_lot::MutexGuard;

use super::client::Client;
use super::notify::{DIRECT, Notifications};

/// See the module.
pub(super) struct Delivery<'a> {
    pub(super) notifications: &'a Notifications,
    pub(super) herds: MutexGuard<'a, Herds>,
    pub(super) kind: EventType,
    pub(super) path: &'a str,
    pub(super) hearers: Hearers<'a>,
    pub(super) pacing: Pacing,
}

impl Delivery<'_> {
    /// How many are to be told, if they are those who heard of the last such event, all of them lastingly.
    pub(super) fn known(&self) -> Option<usize> {
        let known =
            (self.kind == EventType::NodeDataChanged).then(|| self.herds.known(self.path, &self.hearers));
        Some(known.flatten()?.1)
    }

    /// Tells them. `client` finds the connection in a slot.
    pub(super) fn tell_again<'a>(
        mut self,
        event: &Arc<Event>,
        client: impl Fn(Slot) -> Option<&'a Arc<Client>>,
    ) {
        let place = self.herds.next();
        let Some((changes, size)) = self.herds.known(self.path, &self.hearers) else { return };
        let added = changes.add_again((place, Arc::clone(event)));
        self.join(changes, &added, size, client);
    }

    /// Tells these, as of this version of the watch index.
    pub(super) fn tell<'a>(
        mut self,
        event: &Arc<Event>,
        version: u64,
        fired: &[Fired],
        client: impl Fn(Slot) -> Option<&'a Arc<Client>>,
    ) {
        self.hearers.version = version;
        let told = (self.herds.next(), Arc::clone(event));
        let Some(changes) = self.share(fired) else {
            return self.tell_alone(&told, fired.len(), fired.iter().filter_map(|fired| client(fired.slot)));
        };
        let alone = fired.iter().filter(|fired| fired.one_shot).filter_map(|fired| client(fired.slot));
        let leaving = |client: &&Arc<Client>| {
            if changes.is_shared_by(client.slot()) {
                client.leave_shares();
            }
        };
        self.tell_alone(&told, fired.len(), alone.inspect(leaving));
        let lasting = fired.iter().filter(|fired| !fired.one_shot).map(|fired| fired.slot);
        self.join(&changes, &changes.add(told, lasting), fired.len(), client);
    }

    /// What those share who hear lastingly, if it is worth it.
    fn share(&mut self, fired: &[Fired]) -> Option<Arc<Changes>> {
        let lasting = fired.iter().filter(|fired| !fired.one_shot).count();
        let shares = self.kind == EventType::NodeDataChanged
            && lasting > 0
            && (self.hearers.merge(lasting) || fired.len() > DIRECT);
        shares.then(|| self.herds.share(self.path, &self.hearers, lasting, lasting == fired.len()))
    }

    fn may_read(&self, ids: &[Id]) -> bool {
        self.hearers.acl.is_none_or(|acl| acl::check(acl, Perms::READ, ids))
    }

    /// Tells an event, which `size` hear in all, to each of these by itself.
    fn tell_alone<'a>(
        &self,
        told: &(u64, Arc<Event>),
        size: usize,
        clients: impl Iterator<Item = &'a Arc<Client>>,
    ) {
        let may_read = |ids: &[_]| self.may_read(ids);
        if self.pacing.applies_to(size) {
            let (now, mut held) = (self.notifications.now(), 0);
            let first: Vec<_> = clients
                .filter(|client| {
                    let holding = client.hold_event(told, may_read, now);
                    held += u64::from(holding != Holding::Nothing);
                    holding == Holding::First
                })
                .collect();
            self.notifications.metrics.palisade_events_held.add(held);
            return self.notifications.hold(first.into_iter(), now);
        }
        let told = clients.filter(|client| client.push_event(&told.1, may_read));
        if size > DIRECT {
            self.notifications.hand_over(told);
        } else {
            told.for_each(|client| client.wake());
        }
    }

    /// Gives those a share who have none.
    fn join<'a>(
        &self,
        changes: &Arc<Changes>,
        added: &Added,
        size: usize,
        client: impl Fn(Slot) -> Option<&'a Arc<Client>>,
    ) {
        let Added { sharing, others } = added;
        let since = self.pacing.applies_to(size).then(|| self.notifications.now());
        let others = others.iter().filter_map(|slot| client(*slot));
        let mut joined = others
            .map(|client| (client, client.join(changes, |ids| self.may_read(ids), since)))
            .filter(|(_, holding)| *holding != Holding::Nothing);
        let metrics = &self.notifications.metrics;
        if changes.merges() {
            metrics.palisade_events_merged.add(*sharing as u64);
        }
        let Some(now) = since else {
            return self.notifications.hand_over(joined.map(|(client, _)| client));
        };
        let mut held = *sharing as u64;
        let first: Vec<_> = joined
            .by_ref()
            .inspect(|_| held += 1)
            .filter_map(|(client, holding)| (holding == Holding::First).then_some(client))
            .collect();
        metrics.palisade_events_held.add(held);
        self.notifications.hold(first.into_iter(), now);
    }
}
