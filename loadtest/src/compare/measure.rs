//! What is done to servers that have just been started.

use std::cell::RefCell;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use palisade_wire::OpCode;
use palisade_wire::request::{PathWatch, Request};

use crate::compare::launch::{Ensemble, VOTERS};
use crate::compare::scale::Scale;
use crate::env::{Env, Interrupt};
use crate::failure::Failure;
use crate::net::conn::Incoming;
use crate::net::{batch, sessions};
use crate::outcome::{Outcome, median};
use crate::scenario::idle::grown;
use crate::scenario::outage::{Fault, Faults, Outage};
use crate::scenario::{fanout, outage, rest, storm, watches};
use crate::site::Site;
use crate::usage::Used;

/// How long servers may come to rest.
const SETTLE: Duration = Duration::from_secs(1);
/// Sessions that create znodes.
const CREATORS: usize = 16;
/// How long a restart may take.
const RESTART_LIMIT: Duration = Duration::from_secs(60);
/// How long a client waits for one handshake while a server restarts.
const DIAL_LIMIT: Duration = Duration::from_millis(500);
/// Load before servers are killed.
const BEFORE_FAULT: Duration = Duration::from_secs(2);

/// Memory and processor time of idle sessions, and what they cost the leader more than a gateway without sessions does.
pub(super) fn idle(env: &Env, scale: &Scale, ensemble: &mut Ensemble) -> Result<Outcome, Failure> {
    let (sessions, duration) = scale.idle;
    let leader = ensemble.leader()?;
    let mut site = ensemble.site(&[VOTERS, leader]);
    site.servers.upstream = ensemble.upstream();
    let mut nobody = site.reactor(env.interrupt.clone(), 0)?;
    rest(env, &mut nobody, "coming to rest", SETTLE)?;
    let before = site.servers.sample()?;
    rest(env, &mut nobody, "idle, without sessions", duration)?;
    let without = site.servers.since(&before)?;
    // Like the idle scenario, but with gateway and leader told apart.
    let rss = site.servers.rss()?;
    let mut reactor = site.sessions(env, sessions, sessions::AT_ONCE)?;
    rest(env, &mut reactor, "coming to rest", SETTLE)?;
    let before = site.servers.sample()?;
    rest(env, &mut reactor, "idle", duration)?;
    let with = site.servers.since(&before)?;
    let after = site.servers.rss()?;
    sessions::close(&mut reactor, &env.progress)?;
    let per_second = |used: &Used, n: usize| {
        used.cpu.get(n).copied().unwrap_or_default().as_secs_f64() * 1e3 / used.time.as_secs_f64()
    };
    let bytes = |used: &Used| used.upstream as f64 / used.time.as_secs_f64();
    let mut outcome = Outcome::new("idle");
    outcome.set("sessions", sessions);
    outcome.metric(
        "rss",
        grown(after.get(..1).unwrap_or_default(), rss.get(..1).unwrap_or_default()) / sessions as f64,
        "B/session",
    );
    outcome.metric("server cpu", per_second(&with, 0), "ms/s");
    outcome.metric("to the leader, beyond an idle gateway's", bytes(&with) - bytes(&without), "B/s");
    outcome.metric(
        "leader's cpu, beyond an idle gateway's",
        per_second(&with, 1) - per_second(&without, 1),
        "ms/s",
    );
    Ok(outcome)
}

/// One change, many watchers.
pub(super) fn fanout(env: &Env, scale: &Scale, ensemble: &mut Ensemble) -> Result<Outcome, Failure> {
    run_fanout(env, scale, ensemble, false)
}

/// The same, and each watcher reads.
pub(super) fn fanout_reread(env: &Env, scale: &Scale, ensemble: &mut Ensemble) -> Result<Outcome, Failure> {
    run_fanout(env, scale, ensemble, true)
}

/// The rate of the waves: slow enough for more than a second, fast enough for two (`notifications.window`).
pub(crate) const PACE: u32 = 6_000;

/// The same in waves.
pub(super) fn fanout_paced(env: &Env, scale: &Scale, ensemble: &mut Ensemble) -> Result<Outcome, Failure> {
    ensemble.pace(env, VOTERS, PACE)?;
    run_fanout(env, scale, ensemble, true)
}

fn run_fanout(env: &Env, scale: &Scale, ensemble: &Ensemble, reread: bool) -> Result<Outcome, Failure> {
    let (watchers, changes) = scale.fanout;
    let fanout = fanout::Fanout { watchers, changes, reread, persistent: false, size: 100 };
    fanout::run(env, &ensemble.front(), &fanout)
}

/// All sessions come back at once.
pub(super) fn storm(env: &Env, scale: &Scale, ensemble: &mut Ensemble) -> Result<Outcome, Failure> {
    let (sessions, rounds) = scale.storm;
    let limit = Duration::from_secs(60);
    let storm = storm::Storm { sessions, at_once: sessions, watches: 0, rounds, limit };
    storm::run(env, &ensemble.front(), &storm)
}

/// The memory of voters that hold nothing.
pub(super) fn empty(env: &Env, _: &Scale, ensemble: &mut Ensemble) -> Result<Outcome, Failure> {
    let site = ensemble.site(&[0, 1, 2]);
    rest(env, &mut site.reactor(env.interrupt.clone(), 0)?, "coming to rest", SETTLE)?;
    let largest = site.servers.rss()?.into_iter().max().unwrap_or_default();
    let mut outcome = Outcome::new("empty");
    outcome.metric("largest voter", largest as f64 / 1e6, "MB");
    Ok(outcome)
}

/// Memory of watches.
pub(super) fn watches(env: &Env, scale: &Scale, ensemble: &mut Ensemble) -> Result<Outcome, Failure> {
    let (sessions, each) = scale.watches;
    watches::run(env, &ensemble.front(), &watches::Watches { sessions, each, distinct: false })
}

/// Memory of znodes, and how long the servers take to serve them again.
pub(super) fn znodes(env: &Env, scale: &Scale, ensemble: &mut Ensemble) -> Result<Outcome, Failure> {
    let site = ensemble.site(&[VOTERS, 0]);
    let mut reactor = site.sessions(env, CREATORS, CREATORS)?;
    batch::send_all(&mut reactor, 0, [batch::create(&site.root, &[])])?;
    let (each, data) = (scale.znodes / CREATORS, [b'x'; 100]);
    // What servers remember of recent changes is bounded, and no part of a znode.
    let changes = each / 4;
    env.progress.phase("filling what is remembered of changes", (changes * CREATORS) as u64);
    sessions::ask(&mut reactor, 0..CREATORS, (changes, 64), &env.progress, &mut |now, conn, _| {
        let set = Request::SetData { path: (&*site.root).into(), data: Some(&data), version: -1 };
        conn.push(now, OpCode::SetData, &set);
    })?;
    rest(env, &mut reactor, "coming to rest", SETTLE)?;
    let rss = site.servers.rss()?;
    env.progress.phase("creating znodes", (each * CREATORS) as u64);
    sessions::ask(&mut reactor, 0..CREATORS, (each, 64), &env.progress, &mut |now, conn, n| {
        let path = site.path(format_args!("{}-{n}", conn.id));
        let (op, request) = batch::create(&path, &data);
        conn.push(now, op, &request);
    })?;
    rest(env, &mut reactor, "coming to rest", SETTLE)?;
    let after = site.servers.rss()?;
    sessions::close(&mut reactor, &env.progress)?;
    let each_rss = |n: usize| {
        let of = |rss: &[u64]| rss.get(n..=n).unwrap_or_default().to_vec();
        grown(&of(&after), &of(&rss)) / (each * CREATORS) as f64
    };
    let last = site.path(format_args!("{}-{}", CREATORS - 1, each - 1));
    let front = restart(env, ensemble, &[VOTERS], &last)?;
    let all = restart(env, ensemble, &[0, 1, 2, VOTERS], &last)?;
    let mut outcome = Outcome::new("znodes");
    outcome.set("znodes", each * CREATORS);
    outcome.metric("rss", each_rss(0), "B/znode");
    outcome.metric("rss of a voter", each_rss(1), "B/znode");
    outcome.metric("restart, server for clients", front.as_secs_f64() * 1e3, "ms");
    outcome.metric("restart, all four", all.as_secs_f64() * 1e3, "ms");
    Ok(outcome)
}

/// Kills the servers and starts them again; the time from then until a client has read the znode.
fn restart(env: &Env, ensemble: &mut Ensemble, servers: &[usize], znode: &str) -> Result<Duration, Failure> {
    env.progress.phase("restarting servers", 1);
    servers.iter().for_each(|n| ensemble.kill(*n));
    let start = Instant::now();
    servers.iter().try_for_each(|n| ensemble.restart(*n))?;
    let site = ensemble.front();
    while start.elapsed() < RESTART_LIMIT {
        if reads(env.interrupt.clone(), &site, znode)? {
            let time = start.elapsed();
            ensemble.wait_until_serving(env)?;
            return Ok(time);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Err(Failure::During(format!("not serving {RESTART_LIMIT:?} after a restart")))
}

/// Whether a new session can read the znode now.
fn reads(interrupt: Interrupt, site: &Site, znode: &str) -> Result<bool, Failure> {
    let mut reactor = site.reactor(interrupt, 1)?;
    if reactor.dial(0).is_err() {
        return Ok(false);
    }
    let until = Instant::now() + DIAL_LIMIT;
    let (mut over, mut read) = (false, false);
    while !over && Instant::now() < until {
        reactor.poll(until, &mut |now, conn, incoming| match incoming {
            Incoming::Open => {
                let watch = PathWatch { path: znode.into(), watch: false };
                conn.push(now, OpCode::GetData, &Request::GetData(watch));
            }
            Incoming::Reply { header, .. } => (over, read) = (true, header.err.is_ok()),
            Incoming::Lost(_) | Incoming::Expired => over = true,
            Incoming::Event => {}
        })?;
    }
    Ok(read)
}

/// Two of three voters are killed, and start again after a while.
pub(super) fn quorum(env: &Env, scale: &Scale, ensemble: &mut Ensemble) -> Result<Outcome, Failure> {
    let (lost_for, after) = scale.outage;
    let site = ensemble.front();
    let leader = ensemble.leader()?;
    let victims = [leader, (leader + 1) % VOTERS];
    let elections = victims.map(|n| ensemble.election(n));
    let ensemble = RefCell::new(ensemble);
    let kill = || {
        victims.iter().for_each(|n| ensemble.borrow_mut().kill(*n));
        Ok(())
    };
    let start = || victims.iter().try_for_each(|n| ensemble.borrow_mut().restart(*n));
    let faults = Faults {
        list: vec![
            Fault { at: BEFORE_FAULT, name: "quorum lost", act: Box::new(kill) },
            Fault { at: BEFORE_FAULT + lost_for, name: "voters started", act: Box::new(start) },
        ],
        // One of the two is a quorum with the voter that stayed.
        is_back: Some(Box::new(move || elections.iter().any(|address| TcpStream::connect(address).is_ok()))),
    };
    outage::run(env, &without_servers(site), &load(BEFORE_FAULT + lost_for + after), faults)
}

/// The leader is killed, several times; the medians.
pub(super) fn leader(env: &Env, scale: &Scale, ensemble: &mut Ensemble) -> Result<Outcome, Failure> {
    let (kills, after) = scale.leader_kills;
    let mut outcomes = Vec::new();
    for _ in 0..kills {
        ensemble.wait_until_serving(env)?;
        let site = without_servers(ensemble.front());
        let leader = ensemble.leader()?;
        let kill = || {
            ensemble.kill(leader);
            Ok(())
        };
        let list = vec![Fault { at: BEFORE_FAULT, name: "leader killed", act: Box::new(kill) }];
        let faults = Faults { list, is_back: None };
        outcomes.push(outage::run(env, &site, &load(BEFORE_FAULT + after), faults)?);
        ensemble.restart(leader)?;
    }
    let of_all = |name: &str| median(outcomes.iter().filter_map(|outcome| outcome.get(name)).collect());
    let mut outcome = Outcome::new("leader");
    for metric in outcomes.first().map(|outcome| outcome.metrics.as_slice()).unwrap_or_default() {
        outcome.metric(metric.name.clone(), of_all(&metric.name), metric.unit);
    }
    if let Some(last) = outcomes.pop() {
        (outcome.settings, outcome.series, outcome.latencies) = (last.settings, last.series, last.latencies);
    }
    Ok(outcome)
}

fn load(duration: Duration) -> Outage {
    Outage { readers: 50, read_rate: 1000, writers: 10, write_rate: 200, duration }
}

/// Nothing is measured of servers that come and go.
fn without_servers(mut site: Site) -> Site {
    site.servers.pids.clear();
    site
}
