//! Whether a client may have one more watch.

use palisade_watch::WatchKind;

use super::Edge;
use super::client::Client;
use crate::throttle::config::Refusal;
use crate::throttle::{Asking, WatchCounts};

impl Edge {
    /// Whether a limit refuses this client a watch of this path. None does if the client has it already.
    pub(super) fn refuses_watch(&self, client: &Client, path: &str, kind: WatchKind) -> Option<Refusal> {
        let slot = client.slot();
        let counts = {
            let watches = self.hub.watches().lock();
            if watches.adds(slot, path, kind) == 0 {
                return None;
            }
            let of_address = watches.count_of_all_with(slot);
            WatchCounts { own: watches.count_of(slot), of_address, all: watches.len() }
        };
        let (address, session) = (client.peer().ip().to_canonical(), client.session());
        let refusal = self.throttle.watch(counts, Asking { address, session, path });
        if refusal.is_some() {
            self.top.refused(address, Some((session, path)));
        }
        refusal
    }
}
