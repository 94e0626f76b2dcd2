//! ZooKeeper's lock recipe, with many clients that want few locks.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use palisade_wire::reply::ReplyHeader;
use palisade_wire::request::{PathWatch, Request};
use palisade_wire::{CreateMode, ErrorCode, OpCode, Reader};

use crate::env::Env;
use crate::failure::Failure;
use crate::net::conn::{Conn, Incoming};
use crate::net::{batch, sessions};
use crate::outcome::{Latency, Outcome};
use crate::scenario::TICK;
use crate::site::Site;

/// Clients that take and release locks.
#[derive(Clone, Debug)]
pub(crate) struct Lock {
    /// Number of clients, each with a session of its own.
    pub(crate) clients: usize,
    /// Number of locks; client n wants lock n modulo this.
    pub(crate) locks: usize,
    /// Time that is measured.
    pub(crate) duration: Duration,
}

/// Lets all clients take and release their locks until the time is up.
pub(crate) fn run(env: &Env, site: &Site, lock: &Lock) -> Result<Outcome, Failure> {
    site.with_root(env, lock.clients, || {
        let mut reactor = site.sessions(env, lock.clients, sessions::AT_ONCE)?;
        let locks: Vec<String> = (0..lock.locks).map(|n| site.path(format_args!("lock-{n}"))).collect();
        let create = locks.iter().map(|path| batch::create(path, &[]));
        batch::send_all(&mut reactor, 0, create).map_err(Failure::before)?;
        site.sync(&mut reactor).map_err(Failure::before)?;
        let before = site.servers.sample()?;
        let start = Instant::now();
        let mut churn = Churn::new(&locks, lock.clients, start);
        for id in 0..lock.clients {
            churn.enter(start, reactor.conn(id));
            reactor.flush(id)?;
        }
        env.progress.phase_of("taking and releasing locks", lock.duration);
        while start.elapsed() < lock.duration {
            let until = (Instant::now() + TICK).min(start + lock.duration);
            reactor.poll_or_fail(until, |now, conn, incoming| match incoming {
                Incoming::Reply { header, body } => churn.answered(now, conn, header, body),
                Incoming::Event => churn.told(now, conn),
                Incoming::Lost(reason) => Err(reason),
                _ => Ok(()),
            })?;
            env.progress.elapsed(start.elapsed());
        }
        let (used, time) = (site.servers.since(&before)?, start.elapsed());
        sessions::close(&mut reactor, &env.progress)?;
        let mut outcome = Outcome::new("lock");
        outcome.set("clients", lock.clients);
        outcome.set("locks", lock.locks);
        outcome.set("seconds", lock.duration.as_secs_f64());
        outcome.metric("throughput", churn.released as f64 / time.as_secs_f64(), "locks/s");
        outcome.metric("p50", churn.wait.quantile_ms(0.5), "ms");
        outcome.metric("p99", churn.wait.quantile_ms(0.99), "ms");
        outcome.metric("requests", churn.requests as f64 / churn.released.max(1) as f64, "per lock");
        outcome.used(&used, churn.released, "us/lock", !site.servers.upstream.is_empty());
        outcome.latencies.push(("waiting for the lock".into(), churn.wait));
        Ok(outcome)
    })
}

/// What a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Create,
    List,
    Watch,
    /// The event of the znode before its own.
    Turn,
    Delete,
}

#[derive(Debug)]
struct Client {
    step: Step,
    /// The full path of its own znode.
    own: String,
    since: Instant,
}

#[derive(Debug)]
struct Churn<'a> {
    locks: &'a [String],
    clients: Vec<Client>,
    wait: Latency,
    released: u64,
    requests: u64,
}

impl<'a> Churn<'a> {
    fn new(locks: &'a [String], clients: usize, since: Instant) -> Self {
        let client = |_| Client { step: Step::Create, own: String::new(), since };
        let clients = (0..clients).map(client).collect();
        Self { locks, clients, wait: Latency::new(), released: 0, requests: 0 }
    }

    fn lock(&self, id: usize) -> &'a str {
        &self.locks[id % self.locks.len()]
    }

    fn ask(&mut self, now: Instant, conn: &mut Conn, step: Step, (op, request): (OpCode, Request<'_>)) {
        self.clients[conn.id].step = step;
        self.requests += 1;
        conn.push(now, op, &request);
    }

    fn enter(&mut self, now: Instant, conn: &mut Conn) {
        self.clients[conn.id].since = now;
        let path = format!("{}/n-", self.lock(conn.id));
        let create = batch::create_as(&path, &[], CreateMode::EphemeralSequential);
        self.ask(now, conn, Step::Create, create);
    }

    fn list(&mut self, now: Instant, conn: &mut Conn) {
        let lock = self.lock(conn.id);
        self.ask(now, conn, Step::List, batch::children(lock));
    }

    fn answered(
        &mut self,
        now: Instant,
        conn: &mut Conn,
        header: ReplyHeader,
        body: &[u8],
    ) -> Result<(), String> {
        let step = self.clients[conn.id].step;
        let went = step == Step::Watch && header.err == ErrorCode::NO_NODE;
        if !(header.err.is_ok() || went) {
            return Err(format!("{}: {step:?} of a lock: {}", conn.target, header.err));
        }
        match step {
            Step::Create => {
                let path = Reader::new(body).string("path").map_err(|error| error.to_string())?;
                self.clients[conn.id].own = path.into_owned();
                self.list(now, conn);
            }
            Step::List => self.listed(now, conn, body)?,
            // It went before it could be watched: whose turn it is has to be looked up again.
            Step::Watch if went => self.list(now, conn),
            Step::Watch => self.clients[conn.id].step = Step::Turn,
            Step::Delete => {
                self.released += 1;
                self.enter(now, conn);
            }
            Step::Turn => return Err(format!("{} answered what was not asked", conn.target)),
        }
        Ok(())
    }

    /// The lock is held by whoever has the lowest number; all others watch the one before theirs.
    fn listed(&mut self, now: Instant, conn: &mut Conn, body: &[u8]) -> Result<(), String> {
        let names = batch::child_names(body)?;
        let own = self.clients[conn.id].own.clone();
        let (lock, name) = own.rsplit_once('/').ok_or("a lock's znode without a parent")?;
        match names.iter().filter(|other| other.as_str() < name).max() {
            None => {
                self.wait.record(now.saturating_duration_since(self.clients[conn.id].since));
                self.ask(now, conn, Step::Delete, batch::delete(&own));
            }
            Some(before) => {
                let path = Cow::Owned(format!("{lock}/{before}"));
                let request = Request::Exists(PathWatch { path, watch: true });
                self.ask(now, conn, Step::Watch, (OpCode::Exists, request));
            }
        }
        Ok(())
    }

    fn told(&mut self, now: Instant, conn: &mut Conn) -> Result<(), String> {
        if self.clients[conn.id].step != Step::Turn {
            return Err(format!("{} sent an event of a watch that nobody has set", conn.target));
        }
        self.list(now, conn);
        Ok(())
    }
}
