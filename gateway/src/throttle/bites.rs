//! When limits begin and cease to bite: a line in the log for each, with who does it and where.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use palisade_wire::SessionId;
use rustc_hash::FxHashMap;
use tracing::{info, warn};

use super::config::Mode;
use super::kind::{Kind, Scope};

/// A limit that was not reached for so long has ceased to bite.
const QUIET: Duration = Duration::from_secs(5);
/// Addresses told apart, over all limits; what more there are count as one, so that nobody fills log and memory by
/// having many.
const MAX_TOLD: usize = 256;
/// Bytes of a path that is told.
const MAX_PATH: usize = 256;
/// Stands for all those.
const OTHERS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// The limits that bite now.
#[derive(Debug, Default)]
pub(super) struct Bites(FxHashMap<(Kind, Scope, IpAddr), Bite>);

#[derive(Clone, Debug)]
struct Bite {
    since: Instant,
    last: Instant,
    requests: u64,
    path: Box<str>,
}

/// Who reached which limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bitten<'a> {
    pub(super) kind: Kind,
    pub(super) scope: Scope,
    pub(super) mode: Mode,
    pub(super) address: IpAddr,
    /// 0 where there is none.
    pub(super) session: SessionId,
    pub(super) path: &'a str,
}

impl Bites {
    /// Notes it, and tells of the first.
    pub(super) fn note(&mut self, bitten: Bitten<'_>, now: Instant) {
        let Bitten { kind, scope, mode, address, session, path } = bitten;
        let path = path.get(..path.floor_char_boundary(MAX_PATH)).unwrap_or(path);
        let known = self.0.contains_key(&(kind, scope, address));
        let key = (kind, scope, if known || self.0.len() < MAX_TOLD { address } else { OTHERS });
        let bite = self.0.entry(key).or_insert_with(|| {
            let (limit, by, session) = (kind.key(), scope.name(), format_args!("{session:#x}"));
            warn!(limit, by, ?mode, %address, %session, path, "a limit is reached");
            Bite { since: now, last: now, requests: 0, path: path.into() }
        });
        bite.last = now;
        bite.requests += 1;
    }

    /// Tells of those that ceased. To be called about every second.
    pub(super) fn sweep(&mut self, now: Instant) {
        self.0.retain(|(kind, scope, address), bite| {
            let bites = now.saturating_duration_since(bite.last) < QUIET;
            if !bites {
                let Bite { since, last, requests, path } = bite;
                let (limit, by) = (kind.key(), scope.name());
                let lasted = last.saturating_duration_since(*since);
                info!(limit, by, %address, path, requests, ?lasted, "a limit is no longer reached");
            }
            bites
        });
    }

    /// How many bite.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bitten(address: u32) -> Bitten<'static> {
        let (kind, scope, mode) = (Kind::Writes, Scope::Address, Mode::Refuse);
        Bitten { kind, scope, mode, address: Ipv4Addr::from(address).into(), session: 7, path: "/a" }
    }

    #[test]
    fn a_limit_bites_until_it_was_quiet_for_a_while() {
        let (mut bites, now) = (Bites::default(), Instant::now());
        bites.note(bitten(1), now);
        bites.note(bitten(2), now);
        bites.note(bitten(1), now + QUIET / 2);
        bites.sweep(now + QUIET);
        assert_eq!(bites.len(), 1);
        bites.sweep(now + 2 * QUIET);
        assert_eq!(bites.len(), 0);
    }

    #[test]
    fn memory_is_bounded_whatever_the_number_of_offenders() {
        let (mut bites, now) = (Bites::default(), Instant::now());
        (1..10_000).for_each(|address| bites.note(bitten(address), now));
        assert_eq!(bites.len(), MAX_TOLD + 1);
        bites.note(bitten(1), now);
        assert_eq!(bites.len(), MAX_TOLD + 1);
    }
}
