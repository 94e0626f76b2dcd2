//! The same requests over and over: in a closed loop as many as the server takes, in an open one at a fixed rate.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use palisade_wire::reply::ReplyHeader;
use palisade_wire::request::Request;
use palisade_wire::{OpCode, Reader};

use crate::env::Env;
use crate::failure::Failure;
use crate::net::conn::{Conn, Incoming};
use crate::net::reactor::Reactor;
use crate::net::{batch, sessions};
use crate::outcome::{Latency, Outcome, Series};
use crate::scenario::TICK;
use crate::scenario::requests::{Load, Plan, Requests};
use crate::site::Site;
use crate::usage::Used;

/// How long is waited for answers after the end; what is then unanswered counts with its age.
const DRAIN: Duration = Duration::from_secs(10);
/// Resolution of the curve of throughput.
const BIN: Duration = Duration::from_millis(100);

/// A steady load.
#[derive(Clone, Debug)]
pub(crate) struct Steady {
    /// What to send.
    pub(crate) load: Load,
    /// Number of connections.
    pub(crate) connections: usize,
    /// Most unanswered operations of one connection.
    pub(crate) pipeline: usize,
    /// Operations per second of all connections together: an open loop. Without it, a closed one.
    pub(crate) rate: Option<u32>,
    /// Time before measuring.
    pub(crate) warmup: Duration,
    /// Time that is measured.
    pub(crate) duration: Duration,
    /// Size of a znode's data, in bytes.
    pub(crate) size: usize,
    /// Number of znodes that are read and written.
    pub(crate) znodes: usize,
    /// Children of each znode.
    pub(crate) children: usize,
}

/// Sets up the znodes, runs the load, and removes them.
pub(crate) fn run(env: &Env, site: &Site, steady: &Steady) -> Result<Outcome, Failure> {
    let plan = plan(site, steady);
    site.with_root(env, steady.connections, || {
        let mut reactor = site.sessions(env, steady.connections, sessions::AT_ONCE)?;
        prepare(env, site, &mut reactor, &plan, steady.children).map_err(Failure::before)?;
        let outcome = drive(env, site, steady, &plan, &mut reactor)?;
        sessions::close(&mut reactor, &env.progress)?;
        Ok(outcome)
    })
}

/// What all connections of the load share.
pub(crate) fn plan(site: &Site, steady: &Steady) -> Plan {
    Plan {
        load: steady.load,
        root: site.root.clone(),
        znodes: (0..steady.znodes).map(|n| site.path(n)).collect(),
        data: vec![b'x'; steady.size],
    }
}

/// Creates what the load reads and writes.
pub(crate) fn prepare(
    env: &Env,
    site: &Site,
    reactor: &mut Reactor,
    plan: &Plan,
    children: usize,
) -> Result<(), Failure> {
    env.progress.phase("creating znodes", 1);
    match plan.load {
        Load::Create | Load::Ephemeral => {
            batch::send_all(reactor, 0, [batch::create(&site.path("created"), &[])])?;
        }
        _ => batch::send_all(reactor, 0, plan.znodes.iter().map(|path| batch::create(path, &plan.data)))?,
    }
    if plan.load == Load::Children {
        for n in 0..children {
            let name = child_name(n);
            let paths: Vec<String> = plan.znodes.iter().map(|path| format!("{path}/{name}")).collect();
            batch::send_all(reactor, 0, paths.iter().map(|path| batch::create(path, &[])))?;
        }
    }
    site.sync(reactor)
}

/// The name of a znode's child.
pub(crate) fn child_name(n: usize) -> String {
    format!("child-{n}")
}

/// Puts the load on the sessions that are open, and measures. Further connections of the reactor stay as they are.
pub(crate) fn drive(
    env: &Env,
    site: &Site,
    steady: &Steady,
    plan: &Plan,
    reactor: &mut Reactor,
) -> Result<Outcome, Failure> {
    let mut run = Run::new(plan, steady);
    let used = run.drive(env, site, reactor)?;
    Ok(run.outcome(site, &used))
}

/// An operation whose answer is due.
#[derive(Debug)]
struct Pending {
    xid: i32,
    /// When it was to be sent.
    due: Instant,
    /// Whether the create of a pair was answered and its delete is under way.
    is_delete: bool,
}

/// One connection.
#[derive(Debug)]
struct Lane {
    requests: Requests,
    waiting: VecDeque<Pending>,
    /// How many were sent.
    sent: u64,
}

/// When a run warms up, measures and ends.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    start: Instant,
    measure: Instant,
    end: Instant,
}

/// A load that is on.
#[derive(Debug)]
struct Run<'a> {
    plan: &'a Plan,
    steady: &'a Steady,
    schedule: Schedule,
    lanes: Vec<Lane>,
    latency: Latency,
    completed: u64,
    /// Operations that were sent and not answered.
    outstanding: usize,
    unanswered: u64,
    bins: Vec<u32>,
    errors: BTreeMap<i32, u64>,
}

impl<'a> Run<'a> {
    fn new(plan: &'a Plan, steady: &'a Steady) -> Self {
        let start = Instant::now();
        let measure = start + steady.warmup;
        let lane = |n| Lane { requests: Requests::new(n), waiting: VecDeque::new(), sent: 0 };
        Self {
            plan,
            steady,
            schedule: Schedule { start, measure, end: measure + steady.duration },
            lanes: (0..steady.connections).map(lane).collect(),
            latency: Latency::new(),
            completed: 0,
            outstanding: 0,
            unanswered: 0,
            bins: vec![0; steady.duration.as_millis().div_ceil(BIN.as_millis()) as usize],
            errors: BTreeMap::new(),
        }
    }

    /// Sends until the schedule ends and everything is answered.
    fn drive(&mut self, env: &Env, site: &Site, reactor: &mut Reactor) -> Result<Used, Failure> {
        let (start, end) = (self.schedule.start, self.schedule.end);
        let whole = end - start;
        env.progress.phase_of("under load", whole);
        let (mut before, mut used) = (None, None);
        // The next operation of an open loop, over all connections.
        let mut next = 0;
        if self.steady.rate.is_none() {
            for id in 0..self.lanes.len() {
                self.send(start, reactor.conn(id));
                reactor.flush(id)?;
            }
        }
        loop {
            let now = Instant::now();
            if before.is_none() && now >= self.schedule.measure {
                before = Some(site.servers.sample()?);
            }
            if let (Some(before), true) = (&before, used.is_none() && now >= end) {
                used = Some(site.servers.since(before)?);
            }
            let due = self.offer(now, &mut next, reactor)?;
            let done = self.outstanding == 0 && due.is_none();
            if let Some(used) = used.take_if(|_| done || now >= end + DRAIN) {
                self.give_up(now);
                return Ok(used);
            }
            let mark = [self.schedule.measure, end].into_iter().find(|mark| *mark > now);
            let mark = mark.unwrap_or(end + DRAIN).min(now + TICK);
            let until = due.map_or(mark, |due| due.min(mark));
            reactor.poll_or_fail(until, |now, conn, incoming| match incoming {
                // Not one of ours.
                _ if conn.id >= self.lanes.len() => Ok(()),
                Incoming::Reply { header, body } => self.answered(now, conn, header, body),
                Incoming::Lost(reason) => Err(reason),
                _ => Ok(()),
            })?;
            env.progress.elapsed(start.elapsed().min(whole));
        }
    }

    /// Open loop: sends what has become due, and returns when the next operation does.
    fn offer(
        &mut self,
        now: Instant,
        next: &mut u64,
        reactor: &mut Reactor,
    ) -> Result<Option<Instant>, Failure> {
        let Some(rate) = self.steady.rate else { return Ok(None) };
        loop {
            let due = self.due(rate, *next);
            if due >= self.schedule.end {
                return Ok(None);
            }
            if due > now {
                return Ok(Some(due));
            }
            let id = (*next % self.lanes.len() as u64) as usize;
            *next += 1;
            self.send(now, reactor.conn(id));
            reactor.flush(id)?;
        }
    }

    /// When operation number `n` of all connections is due at `rate` a second.
    fn due(&self, rate: u32, n: u64) -> Instant {
        let nanos = u128::from(n) * 1_000_000_000 / u128::from(rate.max(1));
        self.schedule.start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// When the next operation of a connection is due, if one is: in an open loop it is due although it cannot be
    /// sent yet, and is still sent after the end if it was due before.
    fn next_due(&self, id: usize, now: Instant) -> Option<Instant> {
        let due = match self.steady.rate {
            Some(rate) => self.due(rate, id as u64 + self.lanes[id].sent * self.lanes.len() as u64),
            None => now,
        };
        (due <= now && due < self.schedule.end).then_some(due)
    }

    fn send(&mut self, now: Instant, conn: &mut Conn) {
        while self.lanes[conn.id].waiting.len() < self.steady.pipeline
            && let Some(due) = self.next_due(conn.id, now)
        {
            let lane = &mut self.lanes[conn.id];
            let xid = lane.requests.next(self.plan, |op, request| conn.push(now, op, request));
            lane.waiting.push_back(Pending { xid, due, is_delete: false });
            lane.sent += 1;
            self.outstanding += 1;
        }
    }

    fn answered(
        &mut self,
        now: Instant,
        conn: &mut Conn,
        header: ReplyHeader,
        body: &[u8],
    ) -> Result<(), String> {
        let lane = &mut self.lanes[conn.id];
        let pending = lane.waiting.pop_front().filter(|pending| pending.xid == header.xid);
        let pending =
            pending.ok_or_else(|| format!("{} answered request {} out of turn", conn.target, header.xid))?;
        if self.plan.load == Load::Ephemeral && !pending.is_delete && header.err.is_ok() {
            let path =
                Reader::new(body).string("path").map_err(|error| format!("{}: {error}", conn.target))?;
            let delete = Request::Delete { path: Cow::Borrowed(&path), version: -1 };
            let xid = conn.push(now, OpCode::Delete, &delete);
            lane.waiting.push_back(Pending { xid, is_delete: true, ..pending });
            return Ok(());
        }
        self.outstanding -= 1;
        let Schedule { measure, end, .. } = self.schedule;
        if now >= measure && now < end {
            self.completed += 1;
            let bin = ((now - measure).as_millis() / BIN.as_millis()) as usize;
            if let Some(bin) = self.bins.get_mut(bin) {
                *bin += 1;
            }
        }
        if pending.due >= measure {
            self.latency.record(now.saturating_duration_since(pending.due));
            if !header.err.is_ok() {
                *self.errors.entry(header.err.0).or_default() += 1;
            }
        }
        self.send(now, conn);
        Ok(())
    }

    /// What was due and has no answer counts with the time that it has waited: leaving it out would hide a server that
    /// stopped.
    fn give_up(&mut self, now: Instant) {
        for id in 0..self.lanes.len() {
            let mut waiting: Vec<Instant> = self.lanes[id].waiting.drain(..).map(|p| p.due).collect();
            if self.steady.rate.is_some() {
                while let Some(due) = self.next_due(id, now) {
                    waiting.push(due);
                    self.lanes[id].sent += 1;
                }
            }
            for due in waiting.into_iter().filter(|due| *due >= self.schedule.measure) {
                self.latency.record(now.saturating_duration_since(due));
                self.unanswered += 1;
            }
        }
    }

    fn outcome(self, site: &Site, used: &Used) -> Outcome {
        let steady = self.steady;
        let mut outcome = Outcome::new(steady.load.name());
        if let Load::Mixed(reads) = steady.load {
            outcome.set("reads %", reads);
        }
        outcome.set("connections", steady.connections);
        outcome.set("pipeline", steady.pipeline);
        outcome.set("size B", steady.size);
        outcome.set("znodes", steady.znodes);
        match steady.rate {
            Some(rate) => outcome.set("offered op/s", rate),
            None => outcome.set("loop", "closed"),
        }
        outcome.set("seconds", steady.duration.as_secs_f64());
        outcome.metric("throughput", self.completed as f64 / steady.duration.as_secs_f64(), "op/s");
        outcome.metric("p50", self.latency.quantile_ms(0.5), "ms");
        outcome.metric("p99", self.latency.quantile_ms(0.99), "ms");
        outcome.used(used, self.completed, "us/op", !site.servers.upstream.is_empty());
        outcome.metric("unanswered", self.unanswered as f64, "operations");
        let per_second =
            |bin: (usize, &u32)| (bin.0 as f64 * BIN.as_secs_f64(), f64::from(*bin.1) / BIN.as_secs_f64());
        outcome.series.push(Series {
            plot: "throughput over time",
            name: steady.load.name().into(),
            axes: ["seconds", "operations per second"],
            points: self.bins.iter().enumerate().map(per_second).collect(),
        });
        outcome.latencies.push((steady.load.name().into(), self.latency));
        outcome.errors = self.errors;
        outcome
    }
}

#[cfg(test)]
#[path = "steady_tests.rs"]
mod tests;
