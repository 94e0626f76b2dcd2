//! Reads and writes at a fixed rate while servers are killed: how many succeed, and how long none does.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use palisade_wire::OpCode;
use palisade_wire::reply::ReplyHeader;
use palisade_wire::request::{PathWatch, Request};

use crate::env::Env;
use crate::failure::Failure;
use crate::net::conn::{Conn, Incoming};
use crate::net::reactor::Reactor;
use crate::net::{batch, sessions};
use crate::outcome::{Latency, Outcome, Series};
use crate::scenario::TICK;
use crate::site::Site;

/// How long a client waits before it dials again.
const RETRY: Duration = Duration::from_millis(50);
/// How long a dial or a handshake may take before it is given up.
const DIAL_LIMIT: Duration = Duration::from_secs(2);
/// How long is waited for answers after the end.
const DRAIN: Duration = Duration::from_secs(5);
/// Resolution of the curve of availability.
const BIN: Duration = Duration::from_millis(200);
/// How often it is asked whether the servers are back.
const PROBE: Duration = Duration::from_millis(10);

/// Load during an outage.
#[derive(Clone, Debug)]
pub(crate) struct Outage {
    /// Connections that read.
    pub(crate) readers: usize,
    /// Reads per second of all of them.
    pub(crate) read_rate: u32,
    /// Connections that write.
    pub(crate) writers: usize,
    /// Writes per second of all of them.
    pub(crate) write_rate: u32,
    /// How long the load is on.
    pub(crate) duration: Duration,
}

/// What is done to the servers meanwhile.
pub(crate) struct Fault<'a> {
    /// When, from the beginning of the load.
    pub(crate) at: Duration,
    /// What, for the report.
    pub(crate) name: &'static str,
    /// Does it.
    pub(crate) act: Box<dyn FnMut() -> Result<(), Failure> + 'a>,
}

/// What happens, in the order of time, and how to find out when the servers are back after the last of it.
#[derive(Default)]
pub(crate) struct Faults<'a> {
    /// What happens.
    pub(crate) list: Vec<Fault<'a>>,
    /// Whether enough servers are there again; asked after the last fault.
    pub(crate) is_back: Option<Box<dyn FnMut() -> bool + 'a>>,
}

/// Puts the load on, does what is to be done to the servers, and counts what succeeds.
pub(crate) fn run(env: &Env, site: &Site, outage: &Outage, faults: Faults<'_>) -> Result<Outcome, Failure> {
    let total = outage.readers + outage.writers;
    site.with_root(env, total, || {
        let mut reactor = site.sessions(env, total, sessions::AT_ONCE)?;
        let znode = site.path("znode");
        batch::send_all(&mut reactor, 0, [batch::create(&znode, b"x")]).map_err(Failure::before)?;
        site.sync(&mut reactor).map_err(Failure::before)?;
        let mut watch = Watch::new(outage, &znode);
        watch.drive(env, &mut reactor, faults)?;
        let outcome = watch.outcome();
        sessions::close(&mut reactor, &env.progress)?;
        Ok(outcome)
    })
}

#[derive(Debug)]
struct Client {
    writes: bool,
    /// When the next request is due, and how far apart they are.
    due: Instant,
    apart: Duration,
    waiting: VecDeque<(i32, Instant)>,
    /// When to dial again, or to give the dial up.
    retry: Option<Instant>,
}

/// What became of the requests of one kind.
#[derive(Debug)]
struct Tally {
    /// Succeeded and due, in each bin of the time at which they were due.
    bins: Vec<(u32, u32)>,
    latency: Latency,
    /// When the last one succeeded, and the longest time in which none did.
    last: Instant,
    gap: Duration,
    /// The first that succeeded after the servers were back.
    resumed: Option<Instant>,
}

impl Tally {
    fn new(start: Instant, duration: Duration) -> Self {
        let bins = vec![(0, 0); duration.as_millis().div_ceil(BIN.as_millis()) as usize];
        Self { bins, latency: Latency::new(), last: start, gap: Duration::ZERO, resumed: None }
    }

    fn count(&mut self, start: Instant, due: Instant, succeeded: bool) {
        let bin = (due.saturating_duration_since(start).as_millis() / BIN.as_millis()) as usize;
        if let Some((ok, all)) = self.bins.get_mut(bin) {
            *ok += u32::from(succeeded);
            *all += 1;
        }
    }

    fn percent(&self) -> f64 {
        let sum = |of: fn(&(u32, u32)) -> u32| self.bins.iter().map(|bin| f64::from(of(bin))).sum::<f64>();
        sum(|bin| bin.0) * 100.0 / sum(|bin| bin.1)
    }
}

#[derive(Debug)]
struct Watch<'a> {
    outage: &'a Outage,
    znode: &'a str,
    start: Instant,
    end: Instant,
    clients: Vec<Client>,
    reads: Tally,
    writes: Tally,
    lost: u64,
    expired: u64,
    /// What was done, and when it was finished.
    marks: Vec<(&'static str, Instant)>,
    back: Option<Instant>,
}

impl<'a> Watch<'a> {
    fn new(outage: &'a Outage, znode: &'a str) -> Self {
        let start = Instant::now();
        let client = |n: usize| {
            let writes = n >= outage.readers;
            let (group, of, rate) = if writes {
                (n - outage.readers, outage.writers, outage.write_rate)
            } else {
                (n, outage.readers, outage.read_rate)
            };
            let apart = Duration::from_secs(1).mul_f64(of as f64 / f64::from(rate));
            let due = start + apart.mul_f64(group as f64 / of as f64);
            Client { writes, due, apart, waiting: VecDeque::new(), retry: None }
        };
        Self {
            outage,
            znode,
            start,
            end: start + outage.duration,
            clients: (0..outage.readers + outage.writers).map(client).collect(),
            reads: Tally::new(start, outage.duration),
            writes: Tally::new(start, outage.duration),
            lost: 0,
            expired: 0,
            marks: Vec::new(),
            back: None,
        }
    }

    fn drive(&mut self, env: &Env, reactor: &mut Reactor, faults: Faults<'_>) -> Result<(), Failure> {
        env.progress.phase_of("serving through an outage", self.outage.duration);
        let Faults { list, mut is_back } = faults;
        let mut list: VecDeque<Fault<'_>> = list.into();
        let (mut probed, end) = (self.start, self.end);
        loop {
            let now = Instant::now();
            if now >= end + DRAIN || (now >= end && self.clients.iter().all(|c| c.waiting.is_empty())) {
                break;
            }
            if let Some(mut fault) = list.pop_front_if(|fault| self.start + fault.at <= now) {
                (fault.act)()?;
                self.marks.push((fault.name, Instant::now()));
                continue;
            }
            if let Some(is_back) = &mut is_back
                && list.is_empty()
                && self.back.is_none()
                && now >= probed + PROBE
            {
                probed = now;
                self.back = is_back().then_some(now);
            }
            let mut wake = self.send(now, reactor);
            if let Some(fault) = list.front() {
                wake = wake.min(self.start + fault.at);
            }
            if is_back.is_some() && list.is_empty() && self.back.is_none() {
                wake = wake.min(probed + PROBE);
            }
            reactor.poll(wake, &mut |now, conn, incoming| match incoming {
                Incoming::Reply { header, .. } => self.answered(now, conn, header),
                Incoming::Open => self.clients[conn.id].retry = None,
                Incoming::Expired => {
                    self.expired += 1;
                    self.cut(now, conn.id);
                }
                Incoming::Lost(_) => self.cut(now, conn.id),
                Incoming::Event => {}
            })?;
            env.progress.elapsed(now.saturating_duration_since(self.start).min(self.outage.duration));
        }
        for id in 0..self.clients.len() {
            self.fail_waiting(id);
        }
        for tally in [&mut self.reads, &mut self.writes] {
            tally.gap = tally.gap.max(end.saturating_duration_since(tally.last));
        }
        Ok(())
    }

    /// Sends what is due, dials where there is no connection, and returns when to look again.
    fn send(&mut self, now: Instant, reactor: &mut Reactor) -> Instant {
        let mut wake = now + TICK;
        for id in 0..self.clients.len() {
            let open = reactor.conn(id).is_open();
            let client = &mut self.clients[id];
            while client.due <= now && client.due < self.end {
                if open {
                    let xid = push(now, reactor.conn(id), self.znode, client.writes);
                    client.waiting.push_back((xid, client.due));
                } else {
                    let tally = if client.writes { &mut self.writes } else { &mut self.reads };
                    tally.count(self.start, client.due, false);
                }
                client.due += client.apart;
            }
            if client.due < self.end {
                wake = wake.min(client.due);
            }
            if !open && client.retry.is_none_or(|retry| retry <= now) {
                let dialed = reactor.dial(id).is_ok();
                client.retry = Some(now + if dialed { DIAL_LIMIT } else { RETRY });
            }
            if let Some(retry) = client.retry {
                wake = wake.min(retry);
            }
            // A connection that broke is noticed when it is read.
            let _ = reactor.flush(id);
        }
        wake
    }

    fn answered(&mut self, now: Instant, conn: &Conn, header: ReplyHeader) {
        let client = &mut self.clients[conn.id];
        let tally = if client.writes { &mut self.writes } else { &mut self.reads };
        let Some((_, due)) = client.waiting.pop_front() else { return };
        tally.count(self.start, due, header.err.is_ok());
        if header.err.is_ok() {
            tally.latency.record(now.saturating_duration_since(due));
            tally.gap = tally.gap.max(now.saturating_duration_since(tally.last));
            tally.last = now;
            if self.back.is_some() {
                tally.resumed.get_or_insert(now);
            }
        }
    }

    /// A connection is gone, and with it what waited on it.
    fn cut(&mut self, now: Instant, id: usize) {
        // A dial that failed was no connection.
        self.lost += u64::from(self.clients[id].retry.is_none());
        self.clients[id].retry = Some(now + RETRY);
        self.fail_waiting(id);
    }

    fn fail_waiting(&mut self, id: usize) {
        let client = &mut self.clients[id];
        let tally = if client.writes { &mut self.writes } else { &mut self.reads };
        for (_, due) in client.waiting.drain(..) {
            tally.count(self.start, due, false);
        }
    }

    fn outcome(self) -> Outcome {
        let mut outcome = Outcome::new("outage");
        outcome.set("readers", self.outage.readers);
        outcome.set("reads/s", self.outage.read_rate);
        outcome.set("writers", self.outage.writers);
        outcome.set("writes/s", self.outage.write_rate);
        outcome.set("seconds", self.outage.duration.as_secs_f64());
        for (name, at) in &self.marks {
            outcome.set(name, format!("after {:.2} s", (*at - self.start).as_secs_f64()));
        }
        for (name, tally) in [("reads", &self.reads), ("writes", &self.writes)] {
            outcome.metric(format!("{name} that succeeded"), tally.percent(), "%");
            outcome.metric(format!("{name} out"), tally.gap.as_secs_f64() * 1e3, "ms");
        }
        if let (Some(back), Some(resumed)) = (self.back, self.writes.resumed) {
            let after = resumed.saturating_duration_since(back).as_secs_f64() * 1e3;
            outcome.metric("writes resumed after the servers were back", after, "ms");
        }
        outcome.metric("disconnects", self.lost as f64, "connections");
        outcome.metric("expired", self.expired as f64, "sessions");
        let tallies = [("reads", "reads over time", self.reads), ("writes", "writes over time", self.writes)];
        for (name, plot, tally) in tallies {
            let point = |(n, (ok, all)): (usize, &(u32, u32))| {
                let percent = f64::from(*ok) * 100.0 / f64::from((*all).max(1));
                (n as f64 * BIN.as_secs_f64(), percent)
            };
            outcome.series.push(Series {
                plot,
                name: name.into(),
                axes: ["seconds", "percent that succeeded"],
                points: tally.bins.iter().enumerate().map(point).collect(),
            });
            outcome.latencies.push((name.into(), tally.latency));
        }
        outcome
    }
}

fn push(now: Instant, conn: &mut Conn, znode: &str, writes: bool) -> i32 {
    let path = Cow::Borrowed(znode);
    if writes {
        conn.push(now, OpCode::SetData, &Request::SetData { path, data: Some(b"y"), version: -1 })
    } else {
        conn.push(now, OpCode::GetData, &Request::GetData(PathWatch { path, watch: false }))
    }
}
