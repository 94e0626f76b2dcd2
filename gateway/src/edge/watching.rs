//! Whether a client may have one more watch.

use std::net::IpAddr;

use palisade_admin::tree::BATCH;
use palisade_watch::WatchKind;
use rustc_hash::FxHashMap;

use super::Edge;
use super::client::Client;
use crate::throttle::config::Refusal;
use crate::throttle::{Asking, WatchCounts};

impl Edge {
    /// Whether a limit refuses this client a watch of this path. None does if the client has it already.
    pub(super) fn refuses_watch(&self, client: &Client, path: &str, kind: WatchKind) -> Option<Refusal> {
        let (own, all) = {
            let watches = self.hub.watches().lock();
            if watches.adds(client.slot(), path, kind) == 0 {
                return None;
            }
            (watches.count_of(client.slot()), watches.len())
        };
        let (address, session) = (client.peer().ip().to_canonical(), client.session());
        let counts = WatchCounts { own, all, by_address: &|| self.watches_by_address() };
        let refusal = self.throttle.watch(counts, Asking { address, session, path });
        if refusal.is_some() {
            self.top.refused(address, Some((session, path)));
        }
        refusal
    }

    fn watches_by_address(&self) -> FxHashMap<IpAddr, usize> {
        let mut addresses = FxHashMap::default();
        let mut from = Some(0);
        while let Some((clients, next)) = from.map(|from| self.hub.clients_from(from, BATCH)) {
            from = next;
            let watches = self.hub.watches().lock();
            for client in &clients {
                let count = watches.count_of(client.slot());
                if count > 0 {
                    *addresses.entry(client.peer().ip().to_canonical()).or_default() += count;
                }
            }
        }
        addresses
    }
}
