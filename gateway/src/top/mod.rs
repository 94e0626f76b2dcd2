//! Who asks for most: the heaviest addresses, sessions and paths, in bounded memory.
//!
//! A connection counts for itself in a [`Tally`], which nobody shares, and hands the sum over now and then; of the paths
//! it names every so manieth, which stands for those between. If another one is handing over at that moment, it tries
//! again later: nobody waits.

mod sketch;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use palisade_admin::json::Json;
use palisade_wire::SessionId;
use parking_lot::Mutex;

use sketch::{Load, Sketch};

/// Requests after which a connection hands over: at 16, it took 4 in 100 of a read's instructions.
const OPS_PER_REPORT: u64 = 64;
/// Bytes after which it does.
const BYTES_PER_REPORT: u64 = 64 << 10;
/// How long is counted before it is told.
const WINDOW: Duration = Duration::from_secs(10);
/// Parts of a path that count as its prefix.
const PREFIX_PARTS: usize = 2;

/// What one connection did since it last handed over.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    load: Load,
    /// The last path that was looked at.
    prefix: Option<Box<str>>,
}

impl Tally {
    /// A request came in. `path` is asked for only if it is needed.
    pub(crate) fn request<'a>(&mut self, bytes: usize, path: impl FnOnce() -> Option<&'a str>) {
        self.load.ops += 1;
        self.load.bytes += bytes as u64;
        if self.prefix.is_none() {
            self.prefix = path().map(|path| prefix(path).into());
        }
    }

    /// Bytes were sent.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.load.bytes += bytes as u64;
    }

    /// A request was refused because of a limit.
    pub(crate) fn refused(&mut self) {
        self.load.refusals += 1;
    }

    const fn is_due(&self) -> bool {
        self.load.ops >= OPS_PER_REPORT || self.load.bytes >= BYTES_PER_REPORT || self.load.refusals > 0
    }
}

/// The first parts of a path.
fn prefix(path: &str) -> &str {
    let mut ends = path.match_indices('/').map(|(at, _)| at).skip(1);
    ends.nth(PREFIX_PARTS - 1).and_then(|end| path.get(..end)).unwrap_or(path)
}

/// What all connections did, by who and where.
#[derive(Debug)]
pub(crate) struct Top {
    windows: Mutex<Windows>,
}

#[derive(Debug)]
struct Windows {
    /// What is being counted, since when.
    present: Window,
    since: Instant,
    /// What was counted before, for how long.
    last: Window,
    lasted: Duration,
}

#[derive(Debug, Default)]
struct Window {
    addresses: Sketch<IpAddr>,
    sessions: Sketch<SessionId>,
    prefixes: Sketch<Box<str>>,
}

impl Default for Top {
    fn default() -> Self {
        let windows = Windows {
            present: Window::default(),
            since: Instant::now(),
            last: Window::default(),
            lasted: Duration::ZERO,
        };
        Self { windows: Mutex::new(windows) }
    }
}

impl Top {
    /// Takes over what a connection counted, if it is enough to be worth it.
    pub(crate) fn report(&self, address: IpAddr, session: SessionId, tally: &mut Tally) {
        if tally.is_due()
            && let Some(mut windows) = self.windows.try_lock()
        {
            windows.add(address, session, std::mem::take(tally));
        }
    }

    /// Takes over the rest: the connection ends.
    pub(crate) fn finish(&self, address: IpAddr, session: SessionId, tally: &mut Tally) {
        self.windows.lock().add(address, session, std::mem::take(tally));
    }

    /// The heaviest `limit` of each kind, per second, over the last whole window.
    pub(crate) fn heaviest(&self, limit: usize) -> Json {
        let mut windows = self.windows.lock();
        windows.turn(Instant::now());
        let Windows { last, lasted, .. } = &*windows;
        let seconds = lasted.as_secs_f64();
        Json::object([
            ("seconds", Json::Float(seconds)),
            ("addresses", table(&last.addresses, limit, seconds, ToString::to_string)),
            ("sessions", table(&last.sessions, limit, seconds, |session| format!("{session:#x}"))),
            ("prefixes", table(&last.prefixes, limit, seconds, ToString::to_string)),
        ])
    }
}

fn table<K: Clone + Eq + std::hash::Hash>(
    sketch: &Sketch<K>,
    limit: usize,
    seconds: f64,
    name: impl Fn(&K) -> String,
) -> Json {
    let rate = |count: u64| Json::Float(if seconds > 0.0 { count as f64 / seconds } else { 0.0 });
    Json::list(sketch.heaviest(limit).into_iter().map(|(key, load)| {
        Json::object([
            ("name", Json::Text(name(&key))),
            ("ops_per_s", rate(load.ops)),
            ("bytes_per_s", rate(load.bytes)),
            ("refusals_per_s", rate(load.refusals)),
        ])
    }))
}

impl Windows {
    fn add(&mut self, address: IpAddr, session: SessionId, tally: Tally) {
        self.turn(Instant::now());
        let Tally { load, prefix } = tally;
        self.present.addresses.add(address, load);
        self.present.sessions.add(session, load);
        if let Some(prefix) = prefix {
            self.present.prefixes.add(prefix, load);
        }
    }

    fn turn(&mut self, now: Instant) {
        let lasted = now.saturating_duration_since(self.since);
        if lasted >= WINDOW {
            // Whoever is silent for long has done nothing lately.
            self.last =
                if lasted < 3 * WINDOW { std::mem::take(&mut self.present) } else { Window::default() };
            self.present = Window::default();
            (self.lasted, self.since) = (lasted, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_the_first_parts() {
        for (path, expected) in [("/", "/"), ("/a", "/a"), ("/a/b", "/a/b"), ("/a/b/c/d", "/a/b"), ("", "")] {
            assert_eq!(prefix(path), expected);
        }
    }

    #[test]
    fn a_tally_is_handed_over_when_it_is_worth_it() {
        let (top, address) = (Top::default(), IpAddr::from([10, 0, 0, 1]));
        let mut tally = Tally::default();
        for _ in 1..OPS_PER_REPORT {
            tally.request(10, || Some("/a/b/c"));
            top.report(address, 7, &mut tally);
        }
        assert_eq!(tally.load.ops, OPS_PER_REPORT - 1);
        tally.request(10, || panic!("the path is known"));
        top.report(address, 7, &mut tally);
        assert_eq!(tally.load, Load::default());
        let mut windows = top.windows.lock();
        let end = windows.since + WINDOW;
        windows.turn(end);
        let load = Load { ops: OPS_PER_REPORT, bytes: 10 * OPS_PER_REPORT, refusals: 0 };
        assert_eq!(windows.last.prefixes.heaviest(5), [("/a/b".into(), load)]);
        windows.turn(end + 5 * WINDOW);
        assert!(windows.last.sessions.heaviest(5).is_empty());
    }
}
