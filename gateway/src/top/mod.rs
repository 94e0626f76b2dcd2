//! Who asks for most: the heaviest addresses, sessions, paths and locks, in bounded memory.
//!
//! A connection counts for itself in a [`Tally`], which nobody shares, and hands the sum over now and then; of the paths
//! it names every so manieth, which stands for those between. If another one is handing over at that moment, it tries
//! again later: nobody waits.

mod heavy;
mod sketch;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use palisade_admin::json::Json;
use palisade_wire::SessionId;
use parking_lot::Mutex;

use heavy::Heavy;

pub(crate) use heavy::Measure;
pub(crate) use sketch::{Load, Sketch};

/// Requests after which a connection hands over: at 16, it took 4 in 100 of a read's instructions.
const OPS_PER_REPORT: u64 = 64;
/// Bytes after which it does.
const BYTES_PER_REPORT: u64 = 64 << 10;
/// How long is counted before it is told.
const WINDOW: Duration = Duration::from_secs(10);
/// Parts of a path that count as its prefixes: the first, and both.
const PREFIX_PARTS: usize = 2;
/// Bytes of a path that is remembered.
const MAX_PATH: usize = 256;

/// What one connection did since it last handed over.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    load: Load,
    /// Behind a pointer, as most connections are idle.
    named: Option<Box<Named>>,
}

/// The paths that a connection named.
#[derive(Debug, Default)]
struct Named {
    /// The last path that was looked at.
    path: Option<Box<str>>,
    /// The last request that was refused: where, and whether it was for a lock, whose parent that is then.
    refused: Option<(Box<str>, bool)>,
}

impl Tally {
    /// A request came in. `path` is asked for only if it is needed.
    pub(crate) fn request<'a>(&mut self, bytes: usize, path: impl FnOnce() -> Option<&'a str>) {
        self.load.ops += 1;
        self.load.bytes += bytes as u64;
        if self.named.as_ref().is_none_or(|named| named.path.is_none())
            && let Some(path) = path()
        {
            self.named.get_or_insert_default().path = Some(cut(path).into());
        }
    }

    /// Bytes were sent.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.load.bytes += bytes as u64;
    }

    /// A request was refused because of a limit. `path` is the parent of a lock if it was for one.
    pub(crate) fn refused(&mut self, path: &str, is_lock: bool) {
        self.load.refusals += 1;
        self.named.get_or_insert_default().refused = Some((cut(path).into(), is_lock));
    }

    const fn is_due(&self) -> bool {
        self.load.ops >= OPS_PER_REPORT || self.load.bytes >= BYTES_PER_REPORT || self.load.refusals > 0
    }
}

fn cut(path: &str) -> &str {
    path.get(..path.floor_char_boundary(MAX_PATH)).unwrap_or(path)
}

/// The first parts of a path: one part, two, and so on.
pub(crate) fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    let ends = path.match_indices('/').map(|(at, _)| at).skip(1).chain([path.len()]);
    ends.take(PREFIX_PARTS).filter_map(|end| path.get(..end))
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
    addresses: Heavy<IpAddr>,
    sessions: Heavy<SessionId>,
    prefixes: Heavy<Box<str>>,
    lock_parents: Heavy<Box<str>>,
}

/// Who watches, as it is now.
#[derive(Debug, Default)]
pub(crate) struct Watching {
    pub(crate) addresses: Sketch<IpAddr>,
    pub(crate) sessions: Sketch<SessionId>,
    pub(crate) prefixes: Sketch<Box<str>>,
    pub(crate) lock_parents: Sketch<Box<str>>,
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
    /// Takes over what a connection counted, if it is enough to be worth it. `lock_parent` says what of a path is a parent
    /// of locks.
    pub(crate) fn report(
        &self,
        (address, session): (IpAddr, SessionId),
        tally: &mut Tally,
        lock_parent: impl FnOnce(&str) -> Option<String>,
    ) {
        if tally.is_due()
            && let Some(mut windows) = self.windows.try_lock()
        {
            windows.add(address, session, std::mem::take(tally), lock_parent);
        }
    }

    /// Takes over the rest: the connection ends.
    pub(crate) fn finish(&self, address: IpAddr, session: SessionId, tally: &mut Tally) {
        self.windows.lock().add(address, session, std::mem::take(tally), |_| None);
    }

    /// A connection or a new session of this address was refused because of a limit, or a watch that a session asked for.
    pub(crate) fn refused(&self, address: IpAddr, watch: Option<(SessionId, &str)>) {
        let one = Load { refusals: 1, ..Load::default() };
        let mut windows = self.windows.lock();
        windows.turn(Instant::now());
        let Window { addresses, sessions, prefixes, .. } = &mut windows.present;
        addresses.add(&address, one);
        if let Some((session, path)) = watch {
            sessions.add(&session, one);
            self::prefixes(cut(path)).for_each(|prefix| prefixes.add(&prefix.into(), one));
        }
    }

    /// The heaviest `lines` of each kind by this measure, per second, over the last whole window.
    pub(crate) fn heaviest(&self, measure: Measure, lines: usize, watching: &Watching) -> Json {
        let mut windows = self.windows.lock();
        windows.turn(Instant::now());
        let Windows { last, lasted, .. } = &*windows;
        let seconds = lasted.as_secs_f64();
        let (Window { addresses, sessions, prefixes, lock_parents }, how) = (last, (measure, lines, seconds));
        Json::object([
            ("seconds", Json::Float(seconds)),
            ("addresses", addresses.table(&watching.addresses, how, ToString::to_string)),
            ("sessions", sessions.table(&watching.sessions, how, |session| format!("{session:#x}"))),
            ("prefixes", prefixes.table(&watching.prefixes, how, ToString::to_string)),
            ("lock_parents", lock_parents.table(&watching.lock_parents, how, ToString::to_string)),
        ])
    }
}

impl Windows {
    fn add(
        &mut self,
        address: IpAddr,
        session: SessionId,
        tally: Tally,
        lock_parent: impl FnOnce(&str) -> Option<String>,
    ) {
        self.turn(Instant::now());
        let Tally { load, named } = tally;
        let Named { path, refused } = named.map(|named| *named).unwrap_or_default();
        let Window { addresses, sessions, prefixes, lock_parents } = &mut self.present;
        addresses.add(&address, load);
        sessions.add(&session, load);
        if let Some(path) = path {
            let load = Load { refusals: 0, ..load };
            self::prefixes(&path).for_each(|prefix| prefixes.add(&prefix.into(), load));
            if let Some(parent) = lock_parent(&path) {
                lock_parents.add(&parent.into(), load);
            }
        }
        if let Some((path, is_lock)) = refused {
            let load = Load { refusals: load.refusals, ..Load::default() };
            self::prefixes(&path).for_each(|prefix| prefixes.add(&prefix.into(), load));
            if is_lock {
                lock_parents.add(&path, load);
            }
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

    const ANN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    /// Names and figures of one table, after the window in which things were counted.
    fn listed(top: &Top, measure: Measure, watching: &Watching) -> String {
        let mut windows = top.windows.lock();
        let end = windows.since + WINDOW;
        windows.turn(end);
        drop(windows);
        top.heaviest(measure, 5, watching).to_string()
    }

    #[test]
    fn prefixes_are_the_first_parts() {
        let cases: [(&str, &[&str]); 5] = [
            ("/", &["/"]),
            ("/a", &["/a"]),
            ("/a/b", &["/a", "/a/b"]),
            ("/a/b/c/d", &["/a", "/a/b"]),
            ("", &[""]),
        ];
        for (path, expected) in cases {
            assert_eq!(prefixes(path).collect::<Vec<_>>(), expected);
        }
        assert_eq!(cut(&"ö".repeat(1_000)).len(), MAX_PATH);
    }

    #[test]
    fn a_tally_is_handed_over_when_it_is_worth_it() {
        let top = Top::default();
        let mut tally = Tally::default();
        for _ in 1..OPS_PER_REPORT {
            tally.request(10, || Some("/a/b/c"));
            top.report((ANN, 7), &mut tally, |_| panic!("too early"));
        }
        tally.request(10, || panic!("the path is known"));
        top.report((ANN, 7), &mut tally, |path| path.strip_suffix("/c").map(str::to_owned));
        assert_eq!(tally.load, Load::default());
        let text = listed(&top, Measure::Ops, &Watching::default());
        for name in ["\"10.0.0.1\"", "\"0x7\"", "\"/a\"", "\"/a/b\""] {
            assert!(text.contains(name), "{name}: {text}");
        }
        let mut windows = top.windows.lock();
        let end = windows.since + 6 * WINDOW;
        windows.turn(end);
        drop(windows);
        assert!(!top.heaviest(Measure::Ops, 5, &Watching::default()).to_string().contains("0x7"));
    }

    #[test]
    fn whoever_is_heavy_by_one_measure_is_found_among_many_who_are_by_another() {
        let top = Top::default();
        for session in 0..2_000 {
            let mut tally = Tally::default();
            (0..OPS_PER_REPORT).for_each(|_| tally.request(10, || Some("/busy")));
            top.report((ANN, 1_000 + session), &mut tally, |_| None);
        }
        let mut refused = Tally::default();
        refused.refused("/orders/17", true);
        top.report((ANN, 0xbad), &mut refused, |_| None);
        let mut large = Tally::default();
        large.sent(1 << 30);
        top.report((ANN, 0xb16), &mut large, |_| None);
        let mut watching = Watching::default();
        watching.sessions.add(&0xfee, 3, Load::default());
        watching.lock_parents.add(&"/rows/1".into(), 3, Load::default());
        // The sessions come first to last.
        let first = |text: &str| {
            let (_, sessions) = text.split_once("\"sessions\"").unwrap();
            sessions.split('}').next().unwrap().to_owned()
        };
        let refusals = listed(&top, Measure::Refusals, &watching);
        assert!(first(&refusals).contains("0xbad"), "{refusals}");
        for (measure, name) in [(Measure::Bytes, "0xb16"), (Measure::Watches, "0xfee")] {
            let text = top.heaviest(measure, 5, &watching).to_string();
            assert!(first(&text).contains(name), "{measure:?}: {text}");
        }
        assert!(refusals.contains("\"/orders\"") && refusals.contains("\"/orders/17\""), "{refusals}");
        assert!(top.heaviest(Measure::Watches, 5, &watching).to_string().contains("/rows/1"));
    }

    #[test]
    fn who_is_not_let_in_is_listed_too() {
        let top = Top::default();
        top.refused(ANN, None);
        top.refused(ANN, Some((7, "/a/b/c")));
        let text = listed(&top, Measure::Refusals, &Watching::default());
        for name in ["\"10.0.0.1\"", "\"0x7\"", "\"/a/b\""] {
            assert!(text.contains(name), "{name}: {text}");
        }
    }
}
