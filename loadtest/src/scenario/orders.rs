//! Fine-grained locks: one for every order, each with a parent of its own and held for a moment, as Curator's and kazoo's
//! recipes take them; beside them a lock that few clients share and hold for long, as an election is.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use palisade_wire::reply::ReplyHeader;
use palisade_wire::request::{Create, PathWatch, Request};
use palisade_wire::{Acl, CreateMode, ErrorCode, OpCode, Reader};

use crate::env::Env;
use crate::failure::Failure;
use crate::net::conn::{Conn, Incoming};
use crate::net::reactor::Reactor;
use crate::net::{batch, sessions};
use crate::outcome::Latency;
use crate::scenario::TICK;
use crate::site::Site;

/// How long the shared lock is held, and how long its clients pause.
const TERM: Duration = Duration::from_millis(100);
/// How long a client waits after a refusal, as Curator and kazoo do.
const BACK_OFF: Duration = Duration::from_millis(200);
/// How long clients may take to give back what they hold at the end.
const GIVE_BACK: Duration = Duration::from_secs(30);

/// Clients and what they want.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    /// Clients that lock orders. Every other one does it as Curator does, the others as kazoo does.
    pub(crate) clients: usize,
    /// Locks that all of them together want each second.
    pub(crate) rate: u32,
    /// Clients that share a lock.
    pub(crate) leaders: usize,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Taken {
    /// Orders that were locked and unlocked.
    pub(crate) orders: u64,
    /// Acquisitions that the server refused.
    pub(crate) refused: u64,
    /// How often the shared lock changed hands.
    pub(crate) terms: u64,
    /// The longest time in which it did not.
    pub(crate) longest_wait: Duration,
    /// From asking for an order's lock to holding it.
    pub(crate) wait: Latency,
    /// Znodes that nobody took away again.
    pub(crate) stranded: usize,
    /// How long it was measured.
    pub(crate) time: Duration,
}

/// Locks orders until `is_over`, then lets everybody give back what he holds.
pub(crate) fn run(
    env: &Env,
    site: &Site,
    orders: &Orders,
    is_over: &dyn Fn() -> bool,
) -> Result<Taken, Failure> {
    let count = orders.clients + orders.leaders;
    let mut reactor = site.sessions(env, count, sessions::AT_ONCE)?;
    let (parents, shared) = (site.path("orders"), site.path("leader"));
    batch::send_all(&mut reactor, 0, [&parents, &shared].map(|path| batch::create(path, &[])))?;
    let start = Instant::now();
    let mut churn = Churn::new(orders, parents.clone(), shared, start);
    while !is_over() {
        churn.poll(&mut reactor)?;
    }
    let time = start.elapsed();
    let (counted, refused, terms) = (churn.orders, churn.refused, churn.terms);
    churn.over = true;
    let until = Instant::now() + GIVE_BACK;
    while Instant::now() < until && churn.clients.iter().any(|client| client.step != Step::Idle) {
        churn.poll(&mut reactor)?;
    }
    let mut stranded = 0;
    batch::send(&mut reactor, 0, [batch::children(&parents), batch::children(&churn.shared)], |_, body| {
        stranded += batch::child_names(body)?.len();
        Ok(())
    })?;
    sessions::close(&mut reactor, &env.progress)?;
    let longest_wait = churn.longest_wait;
    Ok(Taken { orders: counted, refused, terms, longest_wait, wait: churn.wait, stranded, time })
}

/// What a client does, or waits for the answer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Idle,
    /// kazoo looks for the parent.
    Look,
    Parent,
    Create,
    List,
    /// The shared lock's clients only.
    Watch,
    Turn,
    Hold,
    Delete,
    DeleteParent,
}

#[derive(Debug)]
struct Client {
    step: Step,
    /// The lock's znode.
    parent: String,
    /// The full path of its own znode.
    own: String,
    since: Instant,
}

#[derive(Debug)]
struct Churn {
    locking: usize,
    interval: Duration,
    parents: String,
    shared: String,
    clients: Vec<Client>,
    due: BinaryHeap<Reverse<(Instant, usize)>>,
    next_order: u64,
    over: bool,
    orders: u64,
    refused: u64,
    terms: u64,
    last_term: Instant,
    longest_wait: Duration,
    wait: Latency,
}

impl Churn {
    fn new(orders: &Orders, parents: String, shared: String, start: Instant) -> Self {
        let count = orders.clients + orders.leaders;
        let client = |_| Client { step: Step::Idle, parent: String::new(), own: String::new(), since: start };
        let interval = Duration::from_secs_f64(orders.clients as f64 / f64::from(orders.rate.max(1)));
        let due = |id| Reverse((start + interval.mul_f64(id as f64 / count as f64), id));
        Self {
            locking: orders.clients,
            interval,
            parents,
            shared,
            clients: (0..count).map(client).collect(),
            due: (0..count).map(due).collect(),
            next_order: first_order(),
            over: false,
            orders: 0,
            refused: 0,
            terms: 0,
            last_term: start,
            longest_wait: Duration::ZERO,
            wait: Latency::new(),
        }
    }

    /// Sends what is due, and takes what comes.
    fn poll(&mut self, reactor: &mut Reactor) -> Result<(), Failure> {
        let now = Instant::now();
        while let Some(Reverse((due, id))) = self.due.peek().copied().filter(|Reverse((due, _))| *due <= now)
        {
            self.due.pop();
            self.wake(due, now, reactor.conn(id));
            reactor.flush(id)?;
        }
        let next = self.due.peek().map_or(now + TICK, |Reverse((due, _))| *due);
        reactor.poll_or_fail(next.min(now + TICK), |now, conn, incoming| match incoming {
            Incoming::Reply { header, body } => self.answered(now, conn, header, body),
            Incoming::Event => self.told(now, conn),
            Incoming::Lost(reason) => Err(reason),
            _ => Ok(()),
        })
    }

    const fn is_leader(&self, id: usize) -> bool {
        id >= self.locking
    }

    fn wake(&mut self, due: Instant, now: Instant, conn: &mut Conn) {
        let id = conn.id;
        if self.clients[id].step == Step::Hold {
            return self.delete(now, conn);
        }
        if self.over {
            return;
        }
        if self.is_leader(id) {
            self.clients[id].parent.clone_from(&self.shared);
            return self.create(now, conn);
        }
        // Who is late does not make up for it.
        self.due.push(Reverse(((due + self.interval).max(now), id)));
        if self.clients[id].step != Step::Idle {
            return;
        }
        self.next_order += 1;
        let parent = format!("{}/order-{}", self.parents, self.next_order);
        self.clients[id].since = now;
        if id.is_multiple_of(2) {
            let create = Request::Create(Create {
                path: Cow::Borrowed(&parent),
                data: Some(&[]),
                acl: Acl::open(),
                flags: CreateMode::Container.flags(),
                ttl_ms: None,
            });
            self.ask(now, conn, Step::Parent, (OpCode::CreateContainer, create));
        } else {
            let look = Request::Exists(PathWatch { path: Cow::Borrowed(&parent), watch: false });
            self.ask(now, conn, Step::Look, (OpCode::Exists, look));
        }
        self.clients[id].parent = parent;
    }

    fn ask(&mut self, now: Instant, conn: &mut Conn, step: Step, (op, request): (OpCode, Request<'_>)) {
        self.clients[conn.id].step = step;
        conn.push(now, op, &request);
    }

    fn create(&mut self, now: Instant, conn: &mut Conn) {
        let Client { parent, .. } = &self.clients[conn.id];
        let id = format!("{:08x}-{:04x}-4000-8000-{:012x}", self.next_order, conn.id, self.orders);
        let path = match conn.id % 2 {
            0 => format!("{parent}/_c_{id}-lock-"),
            _ => format!("{parent}/{}__lock__", id.replace('-', "")),
        };
        let create = batch::create_as(&path, b"host", CreateMode::EphemeralSequential);
        self.ask(now, conn, Step::Create, create);
    }

    fn list(&mut self, now: Instant, conn: &mut Conn) {
        let parent = self.clients[conn.id].parent.clone();
        self.ask(now, conn, Step::List, batch::children(&parent));
    }

    fn delete(&mut self, now: Instant, conn: &mut Conn) {
        let own = std::mem::take(&mut self.clients[conn.id].own);
        self.ask(now, conn, Step::Delete, batch::delete(&own));
    }

    fn delete_parent(&mut self, now: Instant, conn: &mut Conn) {
        let parent = std::mem::take(&mut self.clients[conn.id].parent);
        self.ask(now, conn, Step::DeleteParent, batch::delete(&parent));
    }

    fn answered(
        &mut self,
        now: Instant,
        conn: &mut Conn,
        header: ReplyHeader,
        body: &[u8],
    ) -> Result<(), String> {
        let (id, step, err) = (conn.id, self.clients[conn.id].step, header.err);
        let is_refused = matches!(
            err,
            ErrorCode::OPERATION_TIMEOUT | ErrorCode::THROTTLED_OP | ErrorCode::CONNECTION_LOSS
        );
        match step {
            Step::Parent if is_refused => {
                self.refused += 1;
                self.clients[id].step = Step::Idle;
            }
            Step::Create if is_refused => {
                self.refused += 1;
                if self.is_leader(id) {
                    self.rest(now, id, BACK_OFF);
                } else {
                    self.delete_parent(now, conn);
                }
            }
            Step::Look if err == ErrorCode::NO_NODE => {
                let parent = self.clients[id].parent.clone();
                self.ask(now, conn, Step::Parent, batch::create(&parent, &[]));
            }
            // It went before it could be watched.
            Step::Watch if err == ErrorCode::NO_NODE => self.list(now, conn),
            // The server reaps containers by itself.
            Step::DeleteParent if err == ErrorCode::NO_NODE => self.clients[id].step = Step::Idle,
            _ if !err.is_ok() => return Err(format!("{}: {step:?} of a lock: {err}", conn.target)),
            Step::Look | Step::Parent => self.create(now, conn),
            Step::Create => {
                let path = Reader::new(body).string("path").map_err(|error| error.to_string())?;
                self.clients[id].own = path.into_owned();
                self.list(now, conn);
            }
            Step::List => self.listed(now, conn, body)?,
            Step::Watch => self.clients[id].step = Step::Turn,
            Step::Delete if self.is_leader(id) => self.rest(now, id, TERM),
            Step::Delete => {
                self.orders += 1;
                self.delete_parent(now, conn);
            }
            Step::DeleteParent => self.clients[id].step = Step::Idle,
            Step::Idle | Step::Turn | Step::Hold => {
                return Err(format!("{} answered what was not asked", conn.target));
            }
        }
        Ok(())
    }

    /// The lock is held by whoever has the lowest number; all others watch the one before theirs.
    fn listed(&mut self, now: Instant, conn: &mut Conn, body: &[u8]) -> Result<(), String> {
        let names = batch::child_names(body)?;
        let Client { own, parent, since, .. } = &self.clients[conn.id];
        let own = number(own);
        let before = names.iter().filter(|name| number(name) < own).max_by_key(|name| number(name));
        match before {
            Some(before) => {
                let path = Cow::Owned(format!("{parent}/{before}"));
                let request = Request::Exists(PathWatch { path, watch: true });
                self.ask(now, conn, Step::Watch, (OpCode::Exists, request));
            }
            None if self.is_leader(conn.id) => {
                self.terms += 1;
                self.longest_wait = self.longest_wait.max(now - self.last_term);
                self.last_term = now;
                self.clients[conn.id].step = Step::Hold;
                self.due.push(Reverse((now + TERM, conn.id)));
            }
            None => {
                self.wait.record(now.saturating_duration_since(*since));
                self.delete(now, conn);
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

    fn rest(&mut self, now: Instant, id: usize, time: Duration) {
        self.clients[id].step = Step::Idle;
        self.due.push(Reverse((now + time, id)));
    }
}

/// Orders are never locked twice, not by another run either.
fn first_order() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(0)
}

/// What a server appended to a name.
fn number(name: &str) -> &str {
    name.get(name.len().saturating_sub(10)..).unwrap_or(name)
}
