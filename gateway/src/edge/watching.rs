//! Whether a client may have one more watch.

use std::time::Duration;

use palisade_watch::WatchKind;

use super::Edge;
use super::client::Client;
use crate::throttle::{Asking, Progress, Verdict, Waiting, WatchCounts};

impl Edge {
    /// Whether limits let this client watch this path. They do if it does so already.
    pub(super) fn admits_watch(
        &self,
        client: &Client,
        (path, kind): (&str, WatchKind),
        progress: &mut Progress,
    ) -> Verdict {
        let slot = client.slot();
        let counts = {
            let watches = self.hub.watches().lock();
            if watches.adds(slot, path, kind) == 0 {
                return Verdict::Pass;
            }
            let of_address = watches.count_of_all_with(slot);
            WatchCounts { own: watches.count_of(slot), of_address, all: watches.len() }
        };
        let (address, session) = (client.peer().ip().to_canonical(), client.session());
        let timeout = Duration::from_millis(client.stats.timeout_ms().unsigned_abs());
        let waiting = Waiting { since: progress.waits_since(), patience: self.patience(timeout) };
        let verdict = self.throttle.watch(counts, Asking { address, session, path }, waiting);
        if let Verdict::Refuse(_) = verdict {
            self.top.refused(address, Some((session, path)));
        }
        verdict
    }
}
