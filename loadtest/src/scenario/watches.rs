//! Very many watches that never fire: what one costs.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use palisade_wire::OpCode;
use palisade_wire::request::{PathWatch, Request};

use crate::env::Env;
use crate::failure::Failure;
use crate::net::sessions;
use crate::outcome::Outcome;
use crate::scenario::idle::grown;
use crate::scenario::rest;
use crate::site::Site;

/// How long a server may come to rest before it is measured.
const SETTLE: Duration = Duration::from_secs(1);
/// Unanswered requests of one session.
const WINDOW: usize = 32;

/// Watches to register.
#[derive(Clone, Debug)]
pub(crate) struct Watches {
    /// Number of sessions.
    pub(crate) sessions: usize,
    /// Exist watches of each session.
    pub(crate) each: usize,
    /// Whether each session watches paths of its own; otherwise all watch the same ones.
    pub(crate) distinct: bool,
}

/// Registers the watches, on paths that do not exist, and measures what that takes.
pub(crate) fn run(env: &Env, site: &Site, watches: &Watches) -> Result<Outcome, Failure> {
    site.with_root(env, watches.sessions, || {
        let mut reactor = site.sessions(env, watches.sessions, sessions::AT_ONCE)?;
        rest(env, &mut reactor, "coming to rest", SETTLE)?;
        let rss = site.servers.rss()?;
        let before = site.servers.sample()?;
        let start = Instant::now();
        let total = watches.sessions * watches.each;
        env.progress.phase("registering watches", total as u64);
        let all = 0..watches.sessions;
        sessions::ask(&mut reactor, all, (watches.each, WINDOW), &env.progress, &mut |now, conn, n| {
            let path =
                if watches.distinct { site.path(format_args!("{}-{n}", conn.id)) } else { site.path(n) };
            let request = Request::Exists(PathWatch { path: Cow::Owned(path), watch: true });
            conn.push(now, OpCode::Exists, &request);
        })?;
        let time = start.elapsed();
        let used = site.servers.since(&before)?;
        rest(env, &mut reactor, "coming to rest", SETTLE)?;
        let grown = grown(&site.servers.rss()?, &rss);
        sessions::close(&mut reactor, &env.progress)?;
        let mut outcome = Outcome::new("watches");
        outcome.set("sessions", watches.sessions);
        outcome.set("watches each", watches.each);
        outcome.set("paths", if watches.distinct { "own" } else { "shared" });
        if !used.cpu.is_empty() {
            outcome.metric("rss", grown / total as f64, "B/watch");
        }
        outcome.metric("throughput", total as f64 / time.as_secs_f64(), "op/s");
        outcome.used(&used, total as u64, "us/op", !site.servers.upstream.is_empty());
        Ok(outcome)
    })
}
