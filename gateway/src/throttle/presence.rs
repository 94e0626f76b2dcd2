//! Who is there: connections and unanswered requests of each address, and of all.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

/// What one address has here, or all together.
#[derive(Debug, Default)]
pub(super) struct Presence {
    pub(super) connections: AtomicUsize,
    pub(super) in_flight: AtomicUsize,
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
    address: IpAddr,
}

impl Presences {
    /// Takes a place for one more connection, if `admits` - which is told how many this address and all have - says so.
    pub(super) fn enter<E>(
        self: &Arc<Self>,
        address: IpAddr,
        admits: impl FnOnce(usize, usize) -> Result<(), E>,
    ) -> Result<Seat, E> {
        let mut addresses = self.addresses.lock();
        let own = addresses.get(&address).map_or_else(Arc::default, Arc::clone);
        admits(own.connections.load(Ordering::Relaxed), self.tenant.connections.load(Ordering::Relaxed))?;
        own.connections.fetch_add(1, Ordering::Relaxed);
        self.tenant.connections.fetch_add(1, Ordering::Relaxed);
        addresses.entry(address).or_insert_with(|| Arc::clone(&own));
        drop(addresses);
        Ok(Seat { all: Arc::clone(self), own, address })
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

impl Drop for Seat {
    fn drop(&mut self) {
        let mut addresses = self.all.addresses.lock();
        self.all.tenant.connections.fetch_sub(1, Ordering::Relaxed);
        if self.own.connections.fetch_sub(1, Ordering::Relaxed) == 1 {
            addresses.remove(&self.address);
        }
    }
}
