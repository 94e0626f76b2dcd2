//! The connections of a gateway: which slot each has, and which of them has which session.

use std::sync::Arc;

use palisade_watch::Slot;
use palisade_wire::SessionId;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use rustc_hash::FxHashMap;

use super::client::Client;
use super::outbox::CloseReason;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    slots: RwLock<Slots>,
    owners: Mutex<FxHashMap<SessionId, Arc<Client>>>,
}

/// Who has which slot.
#[derive(Debug, Default)]
pub(super) struct Slots {
    clients: Vec<Option<Arc<Client>>>,
    free: Vec<Slot>,
}

impl Slots {
    /// The connection in a slot.
    pub(super) fn get(&self, slot: Slot) -> Option<&Arc<Client>> {
        self.clients.get(slot.index())?.as_ref()
    }
}

impl Connections {
    /// Gives a new connection its slot; `None` if there are too many.
    pub(super) fn add(&self, client: impl FnOnce(Slot) -> Client) -> Option<Arc<Client>> {
        let mut slots = self.slots.write();
        let slot = match slots.free.pop() {
            Some(slot) => slot,
            None => {
                let slot = Slot::new(slots.clients.len())?;
                slots.clients.push(None);
                slot
            }
        };
        let client = Arc::new(client(slot));
        slots.clients[slot.index()] = Some(Arc::clone(&client));
        Some(client)
    }

    /// Makes `client` the one whom the session's end concerns, instead of whom this returns.
    pub(super) fn attach(&self, session: SessionId, client: &Arc<Client>) -> Option<Arc<Client>> {
        self.owners.lock().insert(session, Arc::clone(client))
    }

    /// The session's end does not concern this connection any more.
    pub(super) fn detach(&self, session: SessionId, client: &Arc<Client>) {
        let mut owners = self.owners.lock();
        if owners.get(&session).is_some_and(|owner| Arc::ptr_eq(owner, client)) {
            owners.remove(&session);
        }
    }

    /// The slot is another connection's from now on.
    pub(super) fn remove(&self, slot: Slot) {
        let mut slots = self.slots.write();
        if let Some(place) = slots.clients.get_mut(slot.index()) {
            *place = None;
            slots.free.push(slot);
        }
    }

    /// Whom a session's end concerns.
    pub(super) fn owner(&self, session: SessionId) -> Option<Arc<Client>> {
        self.owners.lock().get(&session).cloned()
    }

    /// Whether the session is connected here.
    pub(crate) fn has(&self, session: SessionId) -> bool {
        self.owners.lock().contains_key(&session)
    }

    /// All sessions that are connected here.
    pub(super) fn owners(&self) -> Vec<(SessionId, Arc<Client>)> {
        self.owners.lock().iter().map(|(session, owner)| (*session, Arc::clone(owner))).collect()
    }

    /// Finds many connections by their slots. Nobody comes or goes meanwhile.
    pub(super) fn read(&self) -> RwLockReadGuard<'_, Slots> {
        self.slots.read()
    }

    /// The connection in a slot.
    pub(crate) fn get(&self, slot: Slot) -> Option<Arc<Client>> {
        self.slots.read().get(slot).cloned()
    }

    /// All connections, in the order of their slots.
    pub(crate) fn all(&self) -> Vec<Arc<Client>> {
        self.slots.read().clients.iter().flatten().cloned().collect()
    }

    /// At most `limit` connections from slot `from` on, and the slot to go on from.
    pub(crate) fn from(&self, from: usize, limit: usize) -> (Vec<Arc<Client>>, Option<usize>) {
        let slots = self.slots.read();
        let clients = slots.clients.get(from..).unwrap_or_default();
        let found = clients.iter().take(limit).flatten().cloned().collect();
        (found, (clients.len() > limit).then_some(from + limit))
    }

    /// Number of connections, with or without a session.
    pub(crate) fn count(&self) -> usize {
        let slots = self.slots.read();
        slots.clients.len() - slots.free.len()
    }

    /// Tells all connections that something changed which concerns each of them.
    pub(super) fn wake_all(&self) {
        self.slots.read().clients.iter().flatten().for_each(|client| client.wake());
    }

    /// Ends all connections.
    pub(super) fn close_all(&self, reason: CloseReason) {
        for client in self.all() {
            client.close(reason);
        }
    }
}
