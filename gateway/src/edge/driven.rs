//! A gateway whose driver brings what the core and the clients say, and the time: no sockets, no disk, no tasks. What
//! decides is the code that serves, so whoever drives it, as the simulator does, sees what clients would see.
//!
//! Time is tokio's clock, which a driver can pause: everything here is to be called within a runtime.

use std::fmt;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use palisade_store::DataTree;
use palisade_watch::Pacing;
use palisade_wire::quorum::QuorumPacket;
use palisade_wire::txn::TxnRecord;
use palisade_wire::{DecodeError, Id, SessionId, Zxid, frame};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::client::Sink;
use super::connection::Connection;
use super::handshake::{Greeted, Greeting};
use super::outbox::CloseReason;
use super::{Client, Edge, Hub, Remembered};
use crate::config::Config;
use crate::core_link::{Answer, CoreLink, LinkState};
use crate::exec::remote_id;
use crate::link::queue::Queue;
use crate::link::requests::Requests;
use crate::link::touches::Rounds;
use crate::replica::Replica;
use crate::replica::closed::ClosedSessions;
use crate::session::SessionIds;

/// Bytes that are written before the link is waited for.
const BURST: usize = 64 << 10;
const MAX_PACKET: usize = 1 << 20;
/// How often a handshake that waits is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// What a gateway finds on its disk.
#[derive(Debug, Default)]
pub struct Restored<'a> {
    /// The tree in the snapshot.
    pub tree: DataTree,
    /// The tree may have parts of what comes up to this transaction.
    pub exact_from: Zxid,
    /// What [`Gateway::ended_sessions`] said when the snapshot was taken.
    pub ended: Option<&'a [u8]>,
    /// The transactions behind the snapshot.
    pub log: Vec<TxnRecord>,
}

/// A gateway between a link and its clients.
pub struct Gateway {
    edge: Arc<Edge>,
    queue: Arc<Queue>,
    requests: Requests,
    state: watch::Sender<LinkState>,
    /// Asks the leader what has arrived there, and how fresh the replica is.
    rounds: Option<Rounds>,
    /// To be sent ahead of all requests.
    first: Vec<QuorumPacket>,
    next_tick: Instant,
    out: BytesMut,
}

impl Gateway {
    /// One that has no core yet. Its session ids begin with `first_ids`, a time in ms.
    pub fn new(config: Config, first_ids: u64, restored: Restored<'_>) -> Self {
        let Restored { mut tree, exact_from, ended, log } = restored;
        let (snapshot, mut remembered) = (tree.last_zxid(), Remembered::new(&config));
        let replayed = remembered.replay(&mut tree, exact_from, &log);
        let closed = ClosedSessions::restore(ended, snapshot, replayed);
        let hub = Hub::with_past(&config, remembered);
        let replica = Replica::restored(tree, closed, Arc::clone(&hub) as _);
        let queue = Arc::new(Queue::new(config.limits.link_limits()));
        let (state, watched) = watch::channel(LinkState::Searching);
        let link = CoreLink::new(Arc::clone(&queue), watched);
        let ids = SessionIds::starting_at(config.id, first_ids);
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let edge = Edge::new(config, ids, hub, replica, link, nowhere);
        edge.passwords.learn(b"what establishes a root would find");
        edge.rooted.send_replace(true);
        Self {
            edge: Arc::new(edge),
            queue,
            requests: Requests::default(),
            state,
            rounds: None,
            first: Vec::new(),
            next_tick: Instant::now(),
            out: BytesMut::new(),
        }
    }

    /// The leader was heard.
    pub fn heard(&self) {
        if self.state.borrow().is_connected() {
            self.queue.contact.heard();
        }
    }

    /// A transaction is to be applied to the tree that is shown.
    pub fn apply(&mut self, record: &TxnRecord) {
        self.edge.replica.write().apply(record, self.requests.applied(record));
        self.settle();
    }

    /// The leader answered a sync.
    pub fn synced(&mut self) {
        if let Some(ticket) = self.requests.synced() {
            ticket.answer(Answer::Synced { zxid: self.edge.replica.last_zxid() });
        }
        self.settle();
    }

    /// The leader said whether a session lives.
    pub fn revalidated(&mut self, session: SessionId, valid: bool) {
        if let Some(ticket) = self.requests.revalidated(session) {
            ticket.answer(Answer::Revalidated { valid });
        }
        self.settle();
    }

    /// Another tree is shown from now on. `rewound` says that the leader took back transactions of the present one.
    pub fn replace(&mut self, tree: DataTree, rewound: bool) {
        self.requests.replaced();
        drop(self.edge.replica.replace(tree, rewound));
    }

    /// The replica is in sync with the leader of `epoch`. How many requests are sent again.
    pub fn serves(&mut self, epoch: u32) -> usize {
        let resolved = self.requests.synchronised(epoch);
        self.rounds = Some(Rounds::new(&self.queue, Duration::ZERO));
        self.queue.open();
        self.state.send_replace(LinkState::Connected { leader: String::new(), epoch: epoch.into() });
        self.settle();
        resolved.again
    }

    /// The link broke.
    pub fn link_lost(&mut self) {
        self.out.clear();
        self.first.clear();
        self.rounds = None;
        self.requests.broken(self.queue.close());
        self.state.send_replace(LinkState::Searching);
    }

    /// What is to be sent to the leader now.
    ///
    /// # Errors
    /// A packet was made that cannot be read.
    pub fn packets(&mut self) -> Result<Vec<QuorumPacket>, DecodeError> {
        let mut packets = std::mem::take(&mut self.first);
        loop {
            self.queue.take(self.requests.ready());
            if self.requests.ready().is_empty() {
                return Ok(packets);
            }
            self.requests.send(&mut self.out, BURST, self.queue.contact.now());
            while let Some(packet) = QuorumPacket::split(&mut self.out, MAX_PACKET)? {
                packets.push(packet);
            }
            // What nobody waits for any more makes room for others.
            self.settle();
        }
    }

    /// Which sessions were heard, for the answer to the leader's ping.
    pub fn take_touched(&self) -> Bytes {
        self.queue.touches.tell()
    }

    /// The last transaction that clients see.
    pub fn last_zxid(&self) -> Zxid {
        self.edge.replica.last_zxid()
    }

    /// What to keep beside a snapshot that is taken now.
    pub fn ended_sessions(&self) -> Vec<u8> {
        let tree = self.edge.replica.read();
        self.edge.replica.closed().encode(tree.last_zxid())
    }

    /// Other pacing from now on.
    pub fn set_pacing(&self, pacing: Pacing) {
        self.edge.hub.notifications().set_pacing(pacing);
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn next_timeout(&self) -> Instant {
        let round = self.rounds.as_ref().map(Rounds::due);
        let wave = self.edge.hub.notifications().next_wave();
        [round, wave].into_iter().flatten().fold(self.next_tick, Instant::min)
    }

    /// Does what time demands: waves of events, expired local sessions, proofs of freshness.
    pub fn handle_timeout(&mut self) {
        let now = Instant::now();
        if self.next_tick <= now {
            self.next_tick = now + self.edge.hub.local().tick();
            self.edge.hub.expire_local();
        }
        self.edge.hub.notifications().release(&self.edge.hub);
        while self.edge.hub.notifications().unwritten.write_some(&self.edge.hub) {}
        if let Some(rounds) = &mut self.rounds {
            self.first.extend(rounds.begin(&self.queue));
        }
    }

    /// A client has connected.
    pub fn visit(&self) -> Option<Visit> {
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let ids: Arc<[Id]> = Arc::from([remote_id(peer.ip())]);
        let edge = Arc::clone(&self.edge);
        let client = edge.hub.connect(peer, Arc::clone(&ids))?;
        let greeting = Greeting { edge: Arc::clone(&edge), client: Arc::clone(&client), ids };
        let (pipe, stage) = (Arc::default(), Stage::Opening(greeting));
        Some(Visit { edge, client, pipe, inbox: BytesMut::new(), hung_up: false, stage })
    }

    fn settle(&mut self) {
        let settled = self.requests.take_settled();
        self.queue.settle(settled.requests, settled.bytes);
        if let Some(at) = settled.committed {
            self.queue.contact.proves(at);
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.requests.give_up();
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("last_zxid", &self.last_zxid()).finish_non_exhaustive()
    }
}

/// What a client is sent, until it is taken.
#[derive(Debug, Default)]
pub(super) struct Pipe(Mutex<BytesMut>);

impl Pipe {
    /// Takes every byte at once; how many these are.
    pub(super) fn put(&self, slices: &[IoSlice<'_>]) -> usize {
        let mut bytes = self.0.lock();
        let before = bytes.len();
        slices.iter().for_each(|slice| bytes.extend_from_slice(slice));
        bytes.len() - before
    }
}

enum Stage {
    /// The connect request has not come.
    Opening(Greeting),
    /// The session is looked for.
    Greeting(Pin<Box<dyn Future<Output = Greeted> + Send>>),
    Serving(Box<Connection>),
    Over,
}

/// One client's connection.
pub struct Visit {
    edge: Arc<Edge>,
    client: Arc<Client>,
    pipe: Arc<Pipe>,
    /// What came before the session was found.
    inbox: BytesMut,
    hung_up: bool,
    stage: Stage,
}

impl Visit {
    /// The client sent these bytes.
    pub fn receive(&mut self, bytes: &[u8]) {
        if let Stage::Serving(connection) = &mut self.stage {
            connection.inbox.extend_from_slice(bytes);
            // Only the end of what comes is an error.
            connection.received(bytes.len()).ok();
        } else {
            self.inbox.extend_from_slice(bytes);
        }
    }

    /// The client is gone.
    pub const fn hang_up(&mut self) {
        self.hung_up = true;
    }

    /// When [`Self::run`] has something to do even if nothing happens.
    pub fn next_timeout(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Opening(_) | Stage::Over => None,
            Stage::Greeting(_) => Some(Instant::now() + LOOK),
            Stage::Serving(connection) => Some(connection.deadline()),
        }
    }

    /// Whether the connection has ended.
    pub const fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    /// Whether events are held back from this client.
    pub fn is_holding(&self) -> bool {
        self.client.lock().outbox.is_holding()
    }

    /// Bytes for the client that may not be sent yet.
    pub fn unsent(&self) -> usize {
        self.client.lock().outbox.unsent()
    }

    /// What the client is sent.
    pub fn take(&self) -> Bytes {
        self.pipe.0.lock().split().freeze()
    }

    /// Does all that can be done now. Says why, if the connection ends.
    pub fn run(&mut self) -> Option<String> {
        let reason = self.go_on().err()?;
        self.stage = Stage::Over;
        self.client.set_sink(None);
        self.edge.hub.disconnect(&self.client);
        Some(format!("{reason:?}"))
    }

    fn go_on(&mut self) -> Result<(), CloseReason> {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Over => Ok(()),
            Stage::Opening(greeting) => self.open(greeting),
            Stage::Greeting(greeting) => self.greet(greeting),
            Stage::Serving(connection) => self.serve(connection),
        }
    }

    fn open(&mut self, greeting: Greeting) -> Result<(), CloseReason> {
        if self.hung_up {
            return Err(CloseReason::Gone);
        }
        let request = frame::split(&mut self.inbox, MAX_PACKET).map_err(|_| CloseReason::Malformed)?;
        let Some(request) = request else {
            self.stage = Stage::Opening(greeting);
            return Ok(());
        };
        let wanted = greeting.wanted(&request)?;
        self.greet(Box::pin(greeting.establish(wanted, BytesMut::new())))
    }

    fn greet(
        &mut self,
        mut greeting: Pin<Box<dyn Future<Output = Greeted> + Send>>,
    ) -> Result<(), CloseReason> {
        match greeting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => {
                self.stage = Stage::Greeting(greeting);
                Ok(())
            }
            Poll::Ready(Greeted::Over(reason)) => Err(reason),
            Poll::Ready(Greeted::Ended(response)) => {
                frame::write(&mut self.pipe.0.lock(), |b| response.encode(b));
                Err(CloseReason::SessionEnded)
            }
            Poll::Ready(Greeted::Session(established)) => {
                self.client.set_sink(Some(Sink::Driven(Arc::clone(&self.pipe))));
                let mut connection = Box::new(Connection::new(established));
                connection.inbox = self.inbox.split();
                self.serve(connection)
            }
        }
    }

    fn serve(&mut self, mut connection: Box<Connection>) -> Result<(), CloseReason> {
        if self.hung_up {
            connection.received(0)?;
        }
        while connection.turn()? {}
        if connection.deadline() <= Instant::now() {
            connection.check_time()?;
            while connection.turn()? {}
        }
        let ending = connection.ending();
        self.stage = Stage::Serving(connection);
        ending.map_or(Ok(()), Err)
    }
}

impl fmt::Debug for Visit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Visit").field("client", &self.client).finish_non_exhaustive()
    }
}
