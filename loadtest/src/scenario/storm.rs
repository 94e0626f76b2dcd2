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
/// How long an attempt may take, as with ZooKeeper's C client: this part of the session's timeout.
const ATTEMPT: u32 = 3;

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
            if weather.still_out > 0 {
                break;
            }
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

/// The sessions' attempts to come back.
#[derive(Debug)]
struct Dials {
    start: Instant,
    at_once: usize,
    /// Who dials next, and not before when.
    queue: VecDeque<(Instant, usize)>,
    /// Of each session: its attempt that is under way.
    under_way: Vec<Option<Instant>>,
    count_under_way: usize,
    /// When to look whether an attempt takes too long; it may have ended since.
    deadlines: VecDeque<(Instant, Instant, usize)>,
    /// Of each session: when it came back, unless it was lost again.
    back: Vec<Option<Duration>>,
    count_back: usize,
    count_failed: u64,
}

impl Dials {
    fn new(total: usize, at_once: usize) -> Self {
        let start = Instant::now();
        Self {
            start,
            at_once,
            queue: (0..total).map(|id| (start, id)).collect(),
            under_way: vec![None; total],
            count_under_way: 0,
            deadlines: VecDeque::new(),
            back: vec![None; total],
            count_back: 0,
            count_failed: 0,
        }
    }

    /// Lets as many dial as may.
    fn dial(&mut self, now: Instant, reactor: &mut Reactor) {
        while self.count_under_way < self.at_once
            && let Some((_, id)) = self.queue.pop_front_if(|(due, _)| *due <= now)
        {
            self.under_way[id] = Some(now);
            self.count_under_way += 1;
            self.deadlines.push_back((now + reactor.conn(id).timeout() / ATTEMPT, now, id));
            if reactor.dial(id).is_err() {
                self.failed(now, id);
            }
        }
    }

    /// Ends attempts that take too long: a server whose queue of connections is full lets its clients wait for ever.
    fn give_up(&mut self, now: Instant, reactor: &mut Reactor) {
        while let Some((_, began, id)) = self.deadlines.pop_front_if(|(deadline, ..)| *deadline <= now) {
            if self.under_way[id] == Some(began) {
                reactor.conn(id).hang_up();
                self.failed(now, id);
            }
        }
    }

    /// When something is due. What comes until then makes room for others.
    fn wake(&self, now: Instant) -> Instant {
        let dial = self.queue.front().filter(|_| self.count_under_way < self.at_once).map(|(due, _)| *due);
        let deadline = self.deadlines.front().map(|(deadline, ..)| *deadline);
        dial.into_iter().chain(deadline).fold(now + TICK, Instant::min).max(now)
    }

    fn ended(&mut self, id: usize) {
        if self.under_way[id].take().is_some() {
            self.count_under_way -= 1;
        }
    }

    fn came_back(&mut self, now: Instant, id: usize) {
        self.ended(id);
        if self.back[id].replace(now - self.start).is_none() {
            self.count_back += 1;
        }
    }

    fn failed(&mut self, now: Instant, id: usize) {
        self.ended(id);
        if self.back[id].take().is_some() {
            self.count_back -= 1;
        }
        self.count_failed += 1;
        self.queue.push_back((now + RETRY, id));
    }
}

#[derive(Debug)]
struct Weather<'a> {
    storm: &'a Storm,
    /// What every session watches.
    watched: Vec<String>,
    back: Latency,
    /// Of each storm: when the last session was back, if all were within the limit.
    last: Vec<Option<Duration>>,
    still_out: u64,
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
            still_out: 0,
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
        let mut dials = Dials::new(total, self.storm.at_once);
        while dials.count_back < total && dials.start.elapsed() <= self.storm.limit {
            let now = Instant::now();
            dials.give_up(now, reactor);
            dials.dial(now, reactor);
            reactor.poll(dials.wake(now), &mut |now, conn, incoming| match incoming {
                Incoming::Open if !self.watched.is_empty() => self.set_watches(now, conn),
                Incoming::Open | Incoming::Reply { .. } => dials.came_back(now, conn.id),
                Incoming::Expired => {
                    self.expired += 1;
                    dials.ended(conn.id);
                    dials.queue.push_back((now, conn.id));
                }
                Incoming::Lost(_) => dials.failed(now, conn.id),
                Incoming::Event => {}
            })?;
            env.progress.at(dials.count_back as u64);
        }
        self.failed_attempts += dials.count_failed;
        self.still_out += (total - dials.count_back) as u64;
        let mut arrivals: Vec<Duration> = dials.back.into_iter().flatten().collect();
        arrivals.sort_unstable();
        self.last.push(arrivals.last().copied().filter(|_| arrivals.len() == total));
        let name = format!("storm {}", self.curves.len() + 1);
        self.curves.push(Series::cumulative("sessions back over time", name, "sessions", &arrivals));
        arrivals.into_iter().for_each(|time| self.back.record(time));
        Ok(())
    }

    fn set_watches(&self, now: Instant, conn: &mut Conn) {
        let exist = self.watched.iter().map(|path| Cow::Borrowed(path.as_str())).collect();
        let again = SetWatches { relative_zxid: conn.last_zxid(), exist, ..SetWatches::default() };
        conn.push(now, OpCode::SetWatches, &Request::SetWatches(again));
    }

    fn outcome(self, site: &Site) -> Outcome {
        let Storm { sessions, at_once, watches, rounds, limit } = *self.storm;
        let mut outcome = Outcome::new("storm");
        outcome.set("sessions", sessions);
        outcome.set("at once", at_once.min(sessions));
        outcome.set("watches each", watches);
        outcome.set("rounds", rounds);
        outcome.set("limit, s", limit.as_secs_f64());
        if let Some(last) = self.last.iter().copied().collect::<Option<Vec<_>>>() {
            let last = last.iter().map(|time| time.as_secs_f64() * 1e3).collect();
            outcome.metric("last back", median(last), "ms");
        }
        outcome.metric("never back", self.still_out as f64, "sessions");
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{self, Behaviour};

    fn blow(behaviour: Behaviour, limit: Duration) -> Outcome {
        let (env, mut site) = fake::site(fake::start(behaviour));
        site.session_timeout = Duration::from_millis(600);
        let storm = Storm { sessions: 10, at_once: 4, watches: 0, rounds: 1, limit };
        run(&env, &site, &storm).unwrap()
    }

    #[test]
    fn attempts_that_nobody_answers_are_given_up() {
        // Whether or not another connection made the root, these are the first to come back.
        let mute = Some((12, 17));
        let outcome = blow(Behaviour { mute, ..Behaviour::default() }, Duration::from_secs(60));
        assert_eq!((outcome.get("never back"), outcome.get("expired")), (Some(0.0), Some(0.0)));
        assert!(outcome.get("failed attempts").unwrap() >= 5.0);
        assert!(outcome.get("last back").unwrap() >= 200.0);
    }

    #[test]
    fn who_is_not_back_in_time_is_counted() {
        let outcome = blow(Behaviour::default(), Duration::ZERO);
        assert_eq!((outcome.get("never back"), outcome.get("last back")), (Some(10.0), None));
    }
}
