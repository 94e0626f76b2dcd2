//! Sessions that do nothing: what one costs.

use std::time::Duration;

use crate::env::Env;
use crate::failure::Failure;
use crate::net::sessions;
use crate::outcome::Outcome;
use crate::scenario::rest;
use crate::site::Site;

/// How long a server may come to rest before it is measured.
const SETTLE: Duration = Duration::from_secs(1);

/// Idle sessions.
#[derive(Clone, Debug)]
pub(crate) struct Idle {
    /// Number of sessions.
    pub(crate) sessions: usize,
    /// Sessions that are opened at once.
    pub(crate) at_once: usize,
    /// Time that is measured.
    pub(crate) duration: Duration,
}

/// Opens the sessions, measures while they idle, and closes them.
pub(crate) fn run(env: &Env, site: &Site, idle: &Idle) -> Result<Outcome, Failure> {
    site.with_root(env, idle.sessions, || {
        let rss = site.servers.rss()?;
        let before = site.servers.sample()?;
        let mut reactor = site.sessions(env, idle.sessions, idle.at_once)?;
        let opened = site.servers.since(&before)?;
        rest(env, &mut reactor, "coming to rest", SETTLE)?;
        let before = site.servers.sample()?;
        rest(env, &mut reactor, "idle", idle.duration)?;
        let used = site.servers.since(&before)?;
        let grown = grown(&site.servers.rss()?, &rss);
        sessions::close(&mut reactor, &env.progress)?;
        let mut outcome = Outcome::new("idle");
        outcome.set("sessions", idle.sessions);
        outcome.set("seconds", idle.duration.as_secs_f64());
        let per_second = |time: Duration| time.as_secs_f64() * 1000.0 / used.time.as_secs_f64();
        if !used.cpu.is_empty() {
            outcome.metric("rss", grown / idle.sessions as f64, "B/session");
            outcome.metric("server cpu", per_second(used.total()), "ms/s");
        }
        outcome.metric("client cpu", per_second(used.own), "ms/s");
        if !site.servers.upstream.is_empty() {
            outcome.metric("between tiers", used.upstream as f64 / used.time.as_secs_f64(), "B/s");
        }
        outcome.metric("opening", opened.time.as_secs_f64() * 1000.0, "ms");
        let each = opened.total().as_secs_f64() * 1e6 / idle.sessions as f64;
        outcome.metric("server cpu of opening", each, "us/session");
        Ok(outcome)
    })
}

/// By how much the memory of all processes has grown, in bytes; less than nothing if it shrank.
pub(crate) fn grown(after: &[u64], before: &[u64]) -> f64 {
    after.iter().sum::<u64>() as f64 - before.iter().sum::<u64>() as f64
}
