//! Clients that ask and never read: what they cost the others.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use palisade_wire::OpCode;
use palisade_wire::request::{PathWatch, Request};

use crate::env::Env;
use crate::failure::Failure;
use crate::net::reactor::Reactor;
use crate::net::{batch, sessions};
use crate::outcome::Outcome;
use crate::scenario::idle::grown;
use crate::scenario::requests::Load;
use crate::scenario::settle;
use crate::scenario::steady::{self, Steady};
use crate::site::Site;

/// Requests that are sent at once on a slow connection.
const BURST: usize = 64;
/// Time between bursts.
const PAUSE: Duration = Duration::from_millis(50);
/// Bursts on each slow connection.
const BURSTS: usize = 20;

/// Slow readers beside ordinary ones.
#[derive(Clone, Debug)]
pub(crate) struct Slow {
    /// Sessions that ask and never read.
    pub(crate) slow: usize,
    /// Bytes of the znode that they ask for.
    pub(crate) slow_size: usize,
    /// What the ordinary sessions do, once without the slow ones and once beside them.
    pub(crate) steady: Steady,
}

/// Measures the ordinary sessions alone, lets the slow ones ask, and measures again.
pub(crate) fn run(env: &Env, site: &Site, slow: &Slow) -> Result<Outcome, Failure> {
    let ordinary = slow.steady.connections;
    let plan = steady::plan(site, &slow.steady);
    site.with_root(env, ordinary + slow.slow, || {
        let mut reactor = site.reactor(env.interrupt.clone(), ordinary + slow.slow)?;
        (ordinary..ordinary + slow.slow).for_each(|id| reactor.deafen(id));
        let total = reactor.len();
        sessions::open(&mut reactor, 0..total, sessions::AT_ONCE, &env.progress).map_err(Failure::before)?;
        steady::prepare(env, site, &mut reactor, &plan, 0).map_err(Failure::before)?;
        let large = site.path("large");
        let data = vec![b'x'; slow.slow_size];
        batch::send_all(&mut reactor, 0, [batch::create(&large, &data)]).map_err(Failure::before)?;
        site.sync(&mut reactor).map_err(Failure::before)?;
        let alone = steady::drive(env, site, &slow.steady, &plan, &mut reactor)?;
        let rss = site.servers.rss()?;
        let asked = ask(&mut reactor, ordinary, &large)?;
        let beside = steady::drive(env, site, &slow.steady, &plan, &mut reactor)?;
        let rss = grown(&site.servers.rss()?, &rss);
        let closed = (ordinary..total).filter(|id| !reactor.conn(*id).is_open()).count();
        (ordinary..total).for_each(|id| reactor.conn(id).hang_up());
        sessions::close(&mut reactor, &env.progress)?;
        Ok(outcome(site, slow, [alone, beside], [asked as f64, closed as f64, rss]))
    })
}

/// Lets the slow sessions ask, and returns how often they did.
fn ask(reactor: &mut Reactor, first: usize, path: &str) -> Result<usize, Failure> {
    let mut asked = 0;
    for _ in 0..BURSTS {
        let now = Instant::now();
        for id in first..reactor.len() {
            if !reactor.conn(id).is_open() {
                continue;
            }
            for _ in 0..BURST {
                let watch = PathWatch { path: Cow::Borrowed(path), watch: false };
                reactor.conn(id).push(now, OpCode::GetData, &Request::GetData(watch));
            }
            asked += BURST;
            // A server that has closed the connection is counted later.
            if reactor.flush(id).is_err() {
                reactor.conn(id).hang_up();
            }
        }
        // Their end is what may happen; that of an ordinary session is met by the load that follows.
        let _ = settle(reactor, PAUSE);
    }
    Ok(asked)
}

fn outcome(site: &Site, slow: &Slow, [alone, beside]: [Outcome; 2], figures: [f64; 3]) -> Outcome {
    let [asked, closed, rss] = figures;
    let mut outcome = Outcome::new("slow-readers");
    outcome.set("slow sessions", slow.slow);
    outcome.set("slow size B", slow.slow_size);
    outcome.settings.extend(alone.settings.clone());
    for name in ["throughput", "p50", "p99"] {
        let unit = if name == "throughput" { "op/s" } else { "ms" };
        for (when, run) in [("alone", &alone), ("beside", &beside)] {
            outcome.metric(format!("{name} {when}"), run.get(name).unwrap_or(f64::NAN), unit);
        }
    }
    outcome.metric("asked and not read", asked, "requests");
    outcome.metric("slow closed", closed, "sessions");
    if !site.servers.pids.is_empty() {
        outcome.metric("rss", rss / slow.slow.max(1) as f64, "B/slow session");
    }
    for (when, run) in [("alone", alone), ("beside", beside)] {
        outcome.latencies.extend(run.latencies.into_iter().map(|(_, latency)| (when.to_owned(), latency)));
        run.errors.into_iter().for_each(|(code, count)| *outcome.errors.entry(code).or_default() += count);
    }
    outcome
}

impl Slow {
    /// What the ordinary sessions do where nothing else is asked for.
    pub(crate) fn readers(connections: usize, duration: Duration) -> Steady {
        Steady {
            load: Load::Get,
            connections,
            pipeline: 4,
            rate: None,
            warmup: duration / 10,
            duration,
            size: 100,
            znodes: 100,
            children: 0,
        }
    }
}
