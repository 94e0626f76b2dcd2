//! One change, very many watchers: how long until the last one knows, and what each costs.

use std::borrow::Cow;
use std::thread;
use std::time::{Duration, Instant};

use palisade_wire::OpCode;
use palisade_wire::request::{PathWatch, Request};

use crate::env::Env;
use crate::failure::Failure;
use crate::net::conn::{Conn, Incoming};
use crate::net::reactor::Reactor;
use crate::net::{batch, sessions};
use crate::outcome::{Latency, Outcome, Series, median};
use crate::scenario::settle;
use crate::site::Site;
use crate::usage::Used;

/// Longest silence in the middle of a change.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a server may come to rest after a change before its processor time is read.
const SETTLE: Duration = Duration::from_millis(100);
/// How long what arrives is left to gather. On one machine, being woken for each event takes processor time from the server,
/// which clients on machines of their own would not.
const GATHER: Duration = Duration::from_micros(250);
const SECOND: Duration = Duration::from_secs(1);
/// `AddWatch`'s mode for a watch that stays, on one znode.
const PERSISTENT: i32 = 0;

/// What is watched, and how.
#[derive(Clone, Debug)]
pub(crate) struct Fanout {
    /// Number of watching sessions.
    pub(crate) watchers: usize,
    /// How often the znode is changed.
    pub(crate) changes: usize,
    /// Whether each watcher reads the znode when it is told, which sets the watch again.
    pub(crate) reread: bool,
    /// Whether the watches are persistent.
    pub(crate) persistent: bool,
    /// Size of the znode, in bytes.
    pub(crate) size: usize,
}

/// Opens the watchers and one more session that changes the znode.
pub(crate) fn run(env: &Env, site: &Site, fanout: &Fanout) -> Result<Outcome, Failure> {
    run_while(env, site, fanout, &|done| done < fanout.changes)
}

/// The same, with changes as long as it goes on after so many of them.
pub(crate) fn run_while(
    env: &Env,
    site: &Site,
    fanout: &Fanout,
    goes_on: &dyn Fn(usize) -> bool,
) -> Result<Outcome, Failure> {
    site.with_root(env, fanout.watchers + 1, || {
        let mut reactor = site.sessions(env, fanout.watchers + 1, sessions::AT_ONCE)?;
        let znode = site.path("watched");
        let data = vec![b'x'; fanout.size];
        batch::send_all(&mut reactor, 0, [batch::create(&znode, &data)]).map_err(Failure::before)?;
        site.sync(&mut reactor).map_err(Failure::before)?;
        let mut herd = Herd::new(fanout, &znode, &data);
        herd.arm(env, &mut reactor).map_err(Failure::before)?;
        let mut done = 0;
        while goes_on(done) {
            if done > 0 && !fanout.reread && !fanout.persistent {
                herd.arm(env, &mut reactor)?;
            }
            if !fanout.reread {
                sessions::acknowledge_late(&reactor);
            }
            env.progress.phase("changing the watched znode", fanout.changes as u64);
            env.progress.at(done as u64);
            let before = site.servers.sample()?;
            herd.change(&mut reactor)?;
            settle(&mut reactor, SETTLE)?;
            herd.used.push(site.servers.since(&before)?);
            done += 1;
        }
        sessions::close(&mut reactor, &env.progress)?;
        Ok(herd.outcome(site))
    })
}

/// The watchers: connection 0 changes the znode, all others watch it.
#[derive(Debug)]
struct Herd<'a> {
    fanout: &'a Fanout,
    znode: &'a str,
    data: &'a [u8],
    told: Latency,
    read: Latency,
    /// For each change: when the writer had its answer, the last watcher its event, and the last one its answer.
    marks: Vec<[Duration; 3]>,
    /// For each change: the most watchers that were told within a second, and that had their answers.
    peaks: Vec<[usize; 2]>,
    used: Vec<Used>,
    curves: Vec<Series>,
}

/// The most times within any second; they are in order.
fn peak(times: &[Duration]) -> usize {
    let mut first = 0;
    let within = times.iter().enumerate().map(|(last, time)| {
        while times.get(first).is_some_and(|start| *start + SECOND <= *time) {
            first += 1;
        }
        last + 1 - first
    });
    within.max().unwrap_or(0)
}

impl<'a> Herd<'a> {
    fn new(fanout: &'a Fanout, znode: &'a str, data: &'a [u8]) -> Self {
        Self {
            fanout,
            znode,
            data,
            told: Latency::new(),
            read: Latency::new(),
            marks: Vec::new(),
            peaks: Vec::new(),
            used: Vec::new(),
            curves: Vec::new(),
        }
    }

    fn arm(&self, env: &Env, reactor: &mut Reactor) -> Result<(), Failure> {
        let all = 1..self.fanout.watchers + 1;
        env.progress.phase("setting watches", all.len() as u64);
        sessions::ask(reactor, all, (1, 1), &env.progress, &mut |now, conn, _| {
            if self.fanout.persistent {
                let request = Request::AddWatch { path: Cow::Borrowed(self.znode), mode: PERSISTENT };
                conn.push(now, OpCode::AddWatch, &request);
            } else {
                self.read_and_watch(now, conn);
            }
        })
    }

    fn read_and_watch(&self, now: Instant, conn: &mut Conn) {
        let watch = !self.fanout.persistent;
        let request = Request::GetData(PathWatch { path: Cow::Borrowed(self.znode), watch });
        conn.push(now, OpCode::GetData, &request);
    }

    /// Changes the znode once, and waits until everybody has what they are due.
    fn change(&mut self, reactor: &mut Reactor) -> Result<(), Failure> {
        let watchers = self.fanout.watchers;
        let reads = if self.fanout.reread { watchers } else { 0 };
        let mut arrivals = Vec::with_capacity(watchers);
        let (mut acked, mut read) = (None, Vec::with_capacity(reads));
        let start = Instant::now();
        let request =
            Request::SetData { path: Cow::Borrowed(self.znode), data: Some(self.data), version: -1 };
        reactor.conn(0).push(start, OpCode::SetData, &request);
        reactor.flush(0)?;
        let mut moved = start;
        while acked.is_none() || arrivals.len() < watchers || read.len() < reads {
            reactor.poll_or_fail(moved + PATIENCE, |now, conn, incoming| {
                moved = now;
                match incoming {
                    Incoming::Event => {
                        arrivals.push(now - start);
                        if self.fanout.reread {
                            self.read_and_watch(now, conn);
                        }
                    }
                    Incoming::Reply { header, .. } if !header.err.is_ok() => {
                        return Err(format!("{} answered: {}", conn.target, header.err));
                    }
                    Incoming::Reply { .. } if conn.id == 0 => acked = Some(now - start),
                    Incoming::Reply { .. } => read.push(now - start),
                    Incoming::Lost(reason) => return Err(reason),
                    _ => {}
                }
                Ok(())
            })?;
            thread::sleep(GATHER);
            if moved.elapsed() >= PATIENCE {
                let told = arrivals.len();
                let text = format!(
                    "{told} of {watchers} watchers were told, {} of {reads} answered, and then nothing for \
                     {PATIENCE:?}",
                    read.len()
                );
                return Err(Failure::During(text));
            }
        }
        let last = |times: &[Duration]| times.last().copied().unwrap_or_default();
        self.marks.push([acked.unwrap_or_default(), last(&arrivals), last(&read)]);
        self.peaks.push([peak(&arrivals), peak(&read)]);
        let name = format!("change {}", self.curves.len() + 1);
        self.curves.push(Series::cumulative("watchers told over time", name, "watchers", &arrivals));
        arrivals.into_iter().for_each(|time| self.told.record(time));
        read.into_iter().for_each(|time| self.read.record(time));
        Ok(())
    }

    fn outcome(self, site: &Site) -> Outcome {
        let Fanout { watchers, changes: _, reread, persistent, size } = *self.fanout;
        let mut outcome = Outcome::new("fan-out");
        outcome.set("watchers", watchers);
        outcome.set("changes", self.marks.len());
        outcome.set("re-reads", reread);
        outcome.set("persistent", persistent);
        outcome.set("size B", size);
        let mark = |n: usize| median(self.marks.iter().map(|marks| marks[n].as_secs_f64() * 1e3).collect());
        outcome.metric("last told", mark(1), "ms");
        if reread {
            outcome.metric("last read", mark(2), "ms");
        }
        outcome.metric("writer answered", mark(0), "ms");
        outcome.metric("peak told", median(self.peaks.iter().map(|peaks| peaks[0] as f64).collect()), "1/s");
        if reread {
            outcome.metric(
                "peak read",
                median(self.peaks.iter().map(|peaks| peaks[1] as f64).collect()),
                "1/s",
            );
        }
        let each = |time: fn(&Used) -> Duration| {
            let times = self.used.iter().map(|used| time(used).as_secs_f64() * 1e6 / watchers as f64);
            median(times.collect())
        };
        if !site.servers.pids.is_empty() {
            outcome.metric("server cpu", each(Used::total), "us/watcher");
        }
        outcome.metric("client cpu", each(|used| used.own), "us/watcher");
        if !site.servers.upstream.is_empty() {
            let bytes = median(self.used.iter().map(|used| used.upstream as f64).collect());
            outcome.metric("between tiers", bytes, "B/change");
        }
        outcome.latencies.push(("told".into(), self.told));
        if reread {
            outcome.latencies.push(("read".into(), self.read));
        }
        outcome.series = self.curves;
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_is_of_any_second() {
        let times =
            |millis: &[u64]| -> Vec<Duration> { millis.iter().copied().map(Duration::from_millis).collect() };
        assert_eq!(peak(&[]), 0);
        assert_eq!(peak(&times(&[0, 1_000, 2_000])), 1);
        assert_eq!(peak(&times(&[0, 900, 950, 1_100, 1_899, 1_900, 5_000])), 4);
    }
}
