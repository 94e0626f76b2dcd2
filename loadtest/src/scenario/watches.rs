//! Very many watches, most of which never fire: what one costs, and whether they do when they should.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use palisade_wire::OpCode;
use palisade_wire::request::{PathWatch, Request};

use crate::env::Env;
use crate::failure::Failure;
use crate::net::conn::Incoming;
use crate::net::reactor::Reactor;
use crate::net::{batch, sessions};
use crate::outcome::Outcome;
use crate::scenario::idle::grown;
use crate::scenario::rest;
use crate::site::Site;

/// How long a server may come to rest before it is measured.
const SETTLE: Duration = Duration::from_secs(1);
/// Unanswered requests of one session.
const WINDOW: usize = 32;
/// Znodes that are created under the eyes of the watchers in the end.
const CREATED: usize = 3;
/// Longest silence while they are told.
const PATIENCE: Duration = Duration::from_secs(30);

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
        let told = fire(env, site, watches, &mut reactor)?;
        sessions::close(&mut reactor, &env.progress)?;
        let mut outcome = Outcome::new("watches");
        outcome.set("sessions", watches.sessions);
        outcome.set("watches each", watches.each);
        outcome.set("paths", if watches.distinct { "own" } else { "shared" });
        if !used.cpu.is_empty() {
            outcome.metric("rss", grown / total as f64, "B/watch");
        }
        outcome.metric("last told", told.as_secs_f64() * 1e3, "ms");
        outcome.metric("throughput", total as f64 / time.as_secs_f64(), "op/s");
        outcome.used(&used, total as u64, "us/op", !site.servers.upstream.is_empty());
        Ok(outcome)
    })
}

/// Creates a few of the znodes, and waits until all that watch them are told.
fn fire(env: &Env, site: &Site, watches: &Watches, reactor: &mut Reactor) -> Result<Duration, Failure> {
    let created = watches.each.min(CREATED);
    let expected = created * if watches.distinct { 1 } else { watches.sessions };
    env.progress.phase("firing watches", expected as u64);
    let start = Instant::now();
    for n in 0..created {
        let path = if watches.distinct { site.path(format_args!("0-{n}")) } else { site.path(n) };
        let (op, request) = batch::create(&path, &[]);
        reactor.conn(0).push(start, op, &request);
    }
    reactor.flush(0)?;
    let (mut moved, mut answered, mut told) = (start, 0, 0);
    while answered < created || told < expected {
        reactor.poll_or_fail(moved + PATIENCE, |now, conn, incoming| {
            moved = now;
            match incoming {
                Incoming::Event => told += 1,
                Incoming::Reply { header, .. } if !header.err.is_ok() => {
                    return Err(format!("{} answered: {}", conn.target, header.err));
                }
                Incoming::Reply { .. } => answered += 1,
                Incoming::Lost(reason) => return Err(reason),
                _ => {}
            }
            Ok(())
        })?;
        if moved.elapsed() >= PATIENCE {
            return Err(Failure::During(format!(
                "{told} of {expected} watches fired, and then none for {PATIENCE:?}"
            )));
        }
    }
    Ok(start.elapsed())
}
