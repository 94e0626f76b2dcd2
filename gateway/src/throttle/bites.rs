//! When limits begin and cease to bite: a line in the log for each, with who does it and where.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use tracing::{info, warn};

use super::buckets::{Kind, Scope};
use super::config::Mode;

/// A limit that was not reached for so long has ceased to bite.
const QUIET: Duration = Duration::from_secs(5);

/// The limits that bite now.
#[derive(Debug, Default)]
pub(super) struct Bites(FxHashMap<(Kind, Scope), Bite>);

#[derive(Clone, Copy, Debug)]
struct Bite {
    since: Instant,
    last: Instant,
    requests: u64,
}

/// Who reached which limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bitten<'a> {
    pub(super) kind: Kind,
    pub(super) scope: Scope,
    pub(super) mode: Mode,
    pub(super) address: IpAddr,
    pub(super) path: &'a str,
}

impl Bites {
    pub(super) fn note(&mut self, bitten: Bitten<'_>, now: Instant) {
        let Bitten { kind, scope, mode, address, path } = bitten;
        let bite = self.0.entry((kind, scope)).or_insert_with(|| {
            let (limit, by) = (kind.key(), scope.name());
            warn!(limit, by, ?mode, %address, path, "a limit is reached");
            Bite { since: now, last: now, requests: 0 }
        });
        bite.last = now;
        bite.requests += 1;
    }

    /// Tells of those that ceased. To be called about every second.
    pub(super) fn sweep(&mut self, now: Instant) {
        self.0.retain(|(kind, scope), bite| {
            let bites = now.saturating_duration_since(bite.last) < QUIET;
            if !bites {
                let (limit, by, requests) = (kind.key(), scope.name(), bite.requests);
                let lasted = bite.last.saturating_duration_since(bite.since);
                info!(limit, by, requests, ?lasted, "a limit is no longer reached");
            }
            bites
        });
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
