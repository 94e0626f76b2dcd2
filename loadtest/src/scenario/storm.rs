//! All sessions lose their connections at the same moment, and come back at once.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use palisade_wire::OpCode;
use palisade_wire::request::{PathWatch, Request, SetWatches};

use crate::env::Env;
use crate::failure::Failure;
use crate::net::conn::{Conn, Incoming};
use crate::net::reactor::Reactor;
use crate::net::sessions;
use crate::outcome::{Latency, Outcome, Series, median};
use crate::scenario::{TICK, rest};
use crate::site::Site;
use crate::usage::Used;

/// Rest before each storm.
const SETTLE: Duration = Duration::from_secs(1);
/// How long a session waits after a failed attempt.
const RETRY: Duration = Duration::from_millis(20);

/// A storm.
#[derive(Clone, Debug)]
pub(crate) struct Storm {
    /// Number of sessions.
    pub(crate) sessions: usize,
    /// Sessions that dial at once.
    pub(crate) at_once: usize,
    /// Watches that each session registers again with SetWatches.
    pub(crate) watches: usize,
    /// How many storms.
    pub(crate) rounds: usize,
    /// How long all sessions together may take to come back.
    pub(crate) limit: Duration,
}

/// Opens the sessions, then cuts them all off and lets them come back, several times.
pub(crate) fn run(env: &Env, site: &Site, storm: &Storm) -> Result<Outcome, Failure> {
    site.with_root(env, storm.sessions, || {
        let mut reactor = site.sessions(env, storm.sessions, sessions::AT_ONCE)?;
        watch(env, site, &mut reactor, storm).map_err(Failure::before)?;
        let mut weather = Weather::new(site, storm);
        for _ in 0..storm.rounds {
            rest(env, &mut reactor, "coming to rest", SETTLE)?;
            let before = site.servers.sample()?;
            weather.blow(env, &mut reactor)?;
            weather.used.push(site.servers.since(&before)?);
        }
        sessions::close(&mut reactor, &env.progress)?;
        Ok(weather.outcome(site))
    })
}

fn watch(env: &Env, site: &Site, reactor: &mut Reactor, storm: &Storm) -> Result<(), Failure> {
    let all = 0..storm.sessions;
    sessions::ask(reactor, all, (storm.watches, 32), &env.progress, &mut |now, conn, n| {
        let request = Request::Exists(PathWatch { path: Cow::Owned(site.path(n)), watch: true });
        conn.push(now, OpCode::Exists, &request);
    })
}

#[derive(Debug)]
struct Weather<'a> {
    storm: &'a Storm,
    /// What every session watches.
    watched: Vec<String>,
    back: Latency,
    /// Of each storm: when the last session was back.
    last: Vec<Duration>,
    expired: u64,
    failed_attempts: u64,
    used: Vec<Used>,
    curves: Vec<Series>,
}

impl<'a> Weather<'a> {
    fn new(site: &Site, storm: &'a Storm) -> Self {
        Self {
            storm,
            watched: (0..storm.watches).map(|n| site.path(n)).collect(),
            back: Latency::new(),
            last: Vec::new(),
            expired: 0,
            failed_attempts: 0,
            used: Vec::new(),
            curves: Vec::new(),
        }
    }

    /// Cuts all connections and waits until every session is back: its handshake answered, its watches set again.
    fn blow(&mut self, env: &Env, reactor: &mut Reactor) -> Result<(), Failure> {
        let total = self.storm.sessions;
        env.progress.phase("sessions coming back", total as u64);
        for id in 0..total {
            reactor.conn(id).hang_up();
        }
        let start = Instant::now();
        let mut queue: VecDeque<(Instant, usize)> = (0..total).map(|id| (start, id)).collect();
        let (mut dialing, mut arrivals) = (0_usize, Vec::with_capacity(total));
        while arrivals.len() < total {
            let now = Instant::now();
            while let Some((due, id)) = queue.front().copied()
                && due <= now
                && dialing < self.storm.at_once
            {
                queue.pop_front();
                match reactor.dial(id) {
                    Ok(()) => dialing += 1,
                    Err(_) => self.again(&mut queue, now, id),
                }
            }
            let until = queue.front().map_or(now + TICK, |(due, _)| (*due).max(now).min(now + TICK));
            // As long as something is under way, its arrival makes room for the next one.
            let until = if dialing < self.storm.at_once { until } else { now + TICK };
            reactor.poll(until, &mut |now, conn, incoming| match incoming {
                Incoming::Open if !self.watched.is_empty() => self.set_watches(now, conn),
                Incoming::Open | Incoming::Reply { .. } => {
                    dialing = dialing.saturating_sub(1);
                    arrivals.push(now - start);
                }
                Incoming::Expired => {
                    self.expired += 1;
                    dialing = dialing.saturating_sub(1);
                    queue.push_back((now, conn.id));
                }
                Incoming::Lost(_) => {
                    dialing = dialing.saturating_sub(1);
                    self.again(&mut queue, now, conn.id);
                }
                Incoming::Event => {}
            })?;
            if start.elapsed() > self.storm.limit {
                let text =
                    format!("{} of {total} sessions were back after {:?}", arrivals.len(), self.storm.limit);
                return Err(Failure::During(text));
            }
            env.progress.at(arrivals.len() as u64);
        }
        self.last.push(arrivals.last().copied().unwrap_or_default());
        let name = format!("storm {}", self.curves.len() + 1);
        self.curves.push(Series::cumulative("sessions back over time", name, "sessions", &arrivals));
        arrivals.into_iter().for_each(|time| self.back.record(time));
        Ok(())
    }

    fn again(&mut self, queue: &mut VecDeque<(Instant, usize)>, now: Instant, id: usize) {
        self.failed_attempts += 1;
        queue.push_back((now + RETRY, id));
    }

    fn set_watches(&self, now: Instant, conn: &mut Conn) {
        let exist = self.watched.iter().map(|path| Cow::Borrowed(path.as_str())).collect();
        let again = SetWatches { relative_zxid: conn.last_zxid(), exist, ..SetWatches::default() };
        conn.push(now, OpCode::SetWatches, &Request::SetWatches(again));
    }

    fn outcome(self, site: &Site) -> Outcome {
        let Storm { sessions, at_once, watches, rounds, .. } = *self.storm;
        let mut outcome = Outcome::new("storm");
        outcome.set("sessions", sessions);
        outcome.set("at once", at_once.min(sessions));
        outcome.set("watches each", watches);
        outcome.set("rounds", rounds);
        let last = self.last.iter().map(|time| time.as_secs_f64() * 1e3).collect();
        outcome.metric("last back", median(last), "ms");
        outcome.metric("expired", self.expired as f64, "sessions");
        outcome.metric("failed attempts", self.failed_attempts as f64, "dials");
        let each = |time: fn(&Used) -> Duration| {
            median(self.used.iter().map(|used| time(used).as_secs_f64() * 1e6 / sessions as f64).collect())
        };
        if !site.servers.pids.is_empty() {
            outcome.metric("server cpu", each(Used::total), "us/session");
        }
        outcome.metric("client cpu", each(|used| used.own), "us/session");
        outcome.latencies.push(("back".into(), self.back));
        outcome.series = self.curves;
        outcome
    }
}
