//! Who is there: connections and unanswered requests of each address, and of all.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use palisade_wire::Id;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

/// What one address has here, or all together.
#[derive(Debug, Default)]
pub(super) struct Presence {
    pub(super) connections: AtomicUsize,
    pub(super) in_flight: AtomicUsize,
    /// Kept by the index of watches. Not used of all together.
    watches: Arc<AtomicUsize>,
    /// None if it is of all together.
    address: Option<IpAddr>,
    /// The identities that all clients there have by where they come from.
    ids: OnceLock<Arc<[Id]>>,
}

/// Everybody who is there.
#[derive(Debug, Default)]
pub(super) struct Presences {
    pub(super) tenant: Presence,
    addresses: Mutex<FxHashMap<IpAddr, Arc<Presence>>>,
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    all: Arc<Presences>,
    own: Arc<Presence>,
}

impl Presences {
    /// Takes a place for one more connection, if `admits` - which is told how many this address and all have - says so.
    pub(super) fn enter<E>(
        self: &Arc<Self>,
        address: IpAddr,
        admits: impl FnOnce(usize, usize) -> Result<(), E>,
    ) -> Result<Seat, E> {
        let mut addresses = self.addresses.lock();
        let new = || Arc::new(Presence { address: Some(address), ..Presence::default() });
        let own = addresses.get(&address).map_or_else(new, Arc::clone);
        admits(own.connections.load(Ordering::Relaxed), self.tenant.connections.load(Ordering::Relaxed))?;
        own.connections.fetch_add(1, Ordering::Relaxed);
        self.tenant.connections.fetch_add(1, Ordering::Relaxed);
        addresses.entry(address).or_insert_with(|| Arc::clone(&own));
        drop(addresses);
        Ok(Seat { all: Arc::clone(self), own })
    }

    /// What this address has; nothing if it has no connection.
    pub(super) fn of(&self, address: IpAddr) -> Arc<Presence> {
        self.addresses.lock().get(&address).map_or_else(Arc::default, Arc::clone)
    }

    #[cfg(test)]
    pub(super) fn addresses(&self) -> usize {
        self.addresses.lock().len()
    }
}

impl Seat {
    /// The count of the watches that clients there have.
    pub(super) fn watches(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.own.watches)
    }

    /// The identities that clients there have by where they come from, made once for all of them.
    pub(super) fn ids(&self, make: impl FnOnce() -> Arc<[Id]>) -> Arc<[Id]> {
        Arc::clone(self.own.ids.get_or_init(make))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut addresses = self.all.addresses.lock();
        self.all.tenant.connections.fetch_sub(1, Ordering::Relaxed);
        if self.own.connections.fetch_sub(1, Ordering::Relaxed) == 1
            && let Some(address) = &self.own.address
        {
            addresses.remove(address);
        }
    }
}
