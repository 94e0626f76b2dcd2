//! A core of one node: prepares and applies what the edge forwards, when the test wants it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use palisade_store::prepare::PrepareConfig;
use palisade_store::{PrepareRequest, Preparer, SessionState};
use palisade_wire::quorum::{ForwardedRequest, decode_touched};
use palisade_wire::request::Request;
use palisade_wire::txn::TxnRecord;
use palisade_wire::{Id, OpCode, SessionId, Zxid};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::config::Config;
use crate::core_link::{Answer, CoreLink, LinkState, Ticket};
use crate::link::queue::{Expect, Message, Outgoing, Queue};
use crate::replica::Replica;

const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Core {
    replica: Replica,
    queue: Arc<Queue>,
    state: watch::Sender<LinkState>,
    inner: Mutex<Inner>,
    /// Other gateways' replicas of the same core.
    others: Mutex<Vec<Replica>>,
}

struct Inner {
    preparer: Preparer,
    waiting: VecDeque<Outgoing>,
    /// Sessions that another gateway owns.
    moved: Vec<SessionId>,
    /// Sessions that the leader does not know.
    forgotten: Vec<SessionId>,
    /// What an unknown session is taken for.
    unknown: SessionState,
    epoch: u32,
    counter: u32,
    /// Sessions that were heard.
    told: Vec<(SessionId, i32)>,
}

fn connected(epoch: u32) -> LinkState {
    LinkState::Connected { leader: "core:2888".to_owned(), epoch: epoch.into() }
}

impl Core {
    pub(super) fn new(replica: Replica, config: &Config) -> (Arc<Self>, CoreLink) {
        let limits = config.limits.link_limits();
        let queue = Arc::new(Queue::new(limits));
        queue.open();
        let (state, watched) = watch::channel(connected(1));
        let inner = Inner {
            preparer: Preparer::new(PrepareConfig::default()),
            waiting: VecDeque::new(),
            moved: Vec::new(),
            forgotten: Vec::new(),
            unknown: if config.sessions.local { SessionState::Local } else { SessionState::Unknown },
            epoch: 1,
            counter: 0,
            told: Vec::new(),
        };
        let core = Self {
            replica,
            queue: Arc::clone(&queue),
            state,
            inner: Mutex::new(inner),
            others: Mutex::default(),
        };
        (Arc::new(core), CoreLink::new(queue, watched))
    }

    /// Is the same core as another from now on.
    pub(super) fn join(&self, other: &Self) {
        self.others.lock().push(other.replica.clone());
        other.others.lock().push(self.replica.clone());
    }

    /// Answers whatever comes, from now on.
    pub(super) fn answer_all(self: &Arc<Self>) {
        let core = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                core.queue.accepted().await;
                core.take();
                while core.answer_next() {}
            }
        });
    }

    /// Waits for this many forwarded requests that are not answered.
    pub(super) async fn arrived(&self, count: usize) {
        let arrived = async {
            loop {
                self.take();
                if self.inner.lock().waiting.len() >= count {
                    return;
                }
                self.queue.accepted().await;
            }
        };
        timeout(PATIENCE, arrived).await.expect("the edge forwards what it should");
    }

    /// How many requests are forwarded and not answered.
    pub(super) fn waiting(&self) -> usize {
        self.take();
        self.inner.lock().waiting.len()
    }

    /// The types of the writes that are forwarded and not answered.
    pub(super) fn forwarded(&self) -> Vec<i32> {
        self.take();
        let op = |outgoing: &Outgoing| match outgoing.expect {
            Expect::Txn { op, .. } => Some(op),
            Expect::Sync | Expect::Revalidation(_) => None,
        };
        self.inner.lock().waiting.iter().filter_map(op).collect()
    }

    /// The xids of these writes.
    pub(super) fn cxids(&self) -> Vec<i32> {
        self.take();
        let cxid = |outgoing: &Outgoing| match outgoing.expect {
            Expect::Txn { cxid, .. } => Some(cxid),
            Expect::Sync | Expect::Revalidation(_) => None,
        };
        self.inner.lock().waiting.iter().filter_map(cxid).collect()
    }

    /// Answers the next request.
    pub(super) async fn step(&self) {
        self.arrived(1).await;
        assert!(self.answer_next());
    }

    fn take(&self) {
        self.queue.take(&mut self.inner.lock().waiting);
        if self.state.borrow().is_connected() {
            self.hear();
        }
    }

    /// Is told which sessions were heard, and says so.
    pub(super) fn hear(&self) {
        let touches = &self.queue.touches;
        let (round, told) = touches.begin(self.queue.contact.now());
        self.inner
            .lock()
            .told
            .extend(told.iter().flat_map(|data| decode_touched(data).expect("touches decode")));
        touches.answered(round);
    }

    fn answer_next(&self) -> bool {
        let Some(outgoing) = self.inner.lock().waiting.pop_front() else { return false };
        self.queue.settle(1, outgoing.cost());
        let Outgoing { message, expect, ticket, .. } = outgoing;
        match expect {
            Expect::Sync => ticket.answer(Answer::Synced { zxid: self.replica.last_zxid() }),
            Expect::Revalidation(session) => {
                let known = self.replica.read().session_timeout(session).is_some();
                let valid = known && !self.inner.lock().forgotten.contains(&session);
                ticket.answer(Answer::Revalidated { valid });
            }
            Expect::Txn { .. } => {
                let Message::Request(request, auth) = message else { panic!("a write is a request") };
                self.commit(&request, Some(auth.to_vec()), Some(ticket));
            }
        }
        true
    }

    /// A write of somebody else.
    pub(super) fn write(&self, op: OpCode, request: &Request<'_>) {
        self.write_elsewhere(7, op, request);
    }

    /// A write of this session by way of another server.
    pub(super) fn write_elsewhere(&self, session: SessionId, op: OpCode, request: &Request<'_>) {
        let mut body = Vec::new();
        request.encode(&mut body);
        let request = ForwardedRequest { session, cxid: 1, op: op.as_i32(), body: body.into() };
        self.commit(&request, Some(vec![Id::new("super", "")]), None);
    }

    /// The gateway 101 makes a session global.
    pub(super) fn upgrade(&self, session: SessionId) {
        let mut body = Vec::new();
        Request::CreateSession(10_000).encode(&mut body);
        let op = OpCode::CreateSession.as_i32();
        self.commit(&ForwardedRequest { session, cxid: 101, op, body: body.into() }, None, None);
    }

    /// The session's end, without its client asking for it.
    pub(super) fn expire(&self, session: SessionId) {
        let op = OpCode::CloseSession.as_i32();
        self.commit(&ForwardedRequest { session, cxid: 0, op, body: Default::default() }, None, None);
    }

    pub(super) fn knows(&self, session: SessionId) -> bool {
        self.replica.read().session_timeout(session).is_some()
    }

    /// Another gateway takes the session over.
    pub(super) fn move_away(&self, session: SessionId) {
        self.inner.lock().moved.push(session);
    }

    fn commit(&self, request: &ForwardedRequest, auth: Option<Vec<Id>>, ticket: Option<Ticket>) {
        let mut inner = self.inner.lock();
        // Another gateway's core may have been asked before.
        let last = self.zxid();
        inner.counter =
            if last.epoch() == inner.epoch { inner.counter.max(last.counter()) } else { inner.counter } + 1;
        let zxid = Zxid::new(inner.epoch, inner.counter);
        let record = self.prepare(&mut inner, request, auth, zxid);
        self.replica.write().apply(&record, ticket);
        for other in self.others.lock().iter() {
            other.write().apply(&record, None);
        }
        inner.preparer.applied(zxid);
    }

    fn prepare(
        &self,
        inner: &mut Inner,
        request: &ForwardedRequest,
        auth: Option<Vec<Id>>,
        zxid: Zxid,
    ) -> TxnRecord {
        let tree = self.replica.read();
        let ForwardedRequest { session, cxid, op, ref body } = *request;
        match OpCode::from_i32(op) {
            Some(OpCode::CreateSession) => {
                let Ok(Request::CreateSession(timeout)) = Request::decode(OpCode::CreateSession, body) else {
                    panic!("createSession without a timeout");
                };
                inner.preparer.prepare_create_session(&tree, (session, cxid), timeout, zxid, 1)
            }
            Some(OpCode::CloseSession) => inner.preparer.prepare_close_session(&tree, session, cxid, zxid, 1),
            _ => {
                let state = match tree.session_timeout(session) {
                    _ if inner.moved.contains(&session) => SessionState::Moved,
                    None if session != 7 => inner.unknown,
                    _ => SessionState::Open,
                };
                let request = PrepareRequest { session, cxid, op, body: body.clone(), auth };
                inner.preparer.prepare(&tree, &request, state, zxid, 1)
            }
        }
    }

    /// The link breaks; what is in flight is in doubt.
    pub(super) fn disconnect(&self) {
        self.take();
        self.state.send_replace(LinkState::Searching);
        let unsent = self.queue.close();
        self.inner.lock().waiting.extend(unsent);
    }

    /// What is in flight is lost: whether it took effect cannot be known.
    pub(super) fn lose(&self) {
        for lost in std::mem::take(&mut self.inner.lock().waiting) {
            self.queue.settle(1, lost.cost());
        }
    }

    /// The leader says something.
    pub(super) fn speak(&self) {
        self.queue.contact.heard();
    }

    /// A new leader is found, and is sent what is without effect and still waited for.
    pub(super) fn reconnect(&self) {
        let waiting = std::mem::take(&mut self.inner.lock().waiting);
        let (again, dropped): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|outgoing| outgoing.ticket.is_waited_for());
        for outgoing in dropped {
            self.queue.settle(1, outgoing.cost());
        }
        let mut inner = self.inner.lock();
        inner.waiting.extend(again);
        inner.epoch += 1;
        inner.counter = 0;
        let epoch = inner.epoch;
        drop(inner);
        self.queue.open();
        self.state.send_replace(connected(epoch));
    }

    /// The leader's tree loses a session while nobody watches.
    pub(super) fn forget(&self, session: SessionId) {
        self.inner.lock().forgotten.push(session);
    }

    /// Writes happen elsewhere, and the whole tree takes the place of the replica's.
    pub(super) fn replace_by(&self, write: impl FnOnce(&Self)) {
        let silent = crate::edge::Hub::new(&Config::default());
        let tree = self.replica.read().clone();
        let elsewhere = Replica::new(tree, Arc::clone(&silent) as _);
        let (core, _link) = Self::new(elsewhere, &Config::default());
        {
            let mut theirs = core.inner.lock();
            theirs.epoch = self.zxid().epoch();
            theirs.counter = self.zxid().counter();
        }
        write(&core);
        let tree = core.replica.read().clone();
        self.replica.replace(tree, false);
    }

    /// A core restored from a backup takes over.
    pub(super) fn lose_history(&self) {
        self.replica.replace(palisade_store::DataTree::new(), false);
    }

    pub(super) fn zxid(&self) -> Zxid {
        self.replica.last_zxid()
    }

    pub(super) fn touched(&self) -> Vec<(SessionId, i32)> {
        self.hear();
        std::mem::take(&mut self.inner.lock().told)
    }
}
