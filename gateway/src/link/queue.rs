//! What the edge hands to the link, behind one short lock: requests that wait to be sent, limits.
//!
//! The leader is given so many requests at a time. While there are fewer, each is sent as it comes; beyond, it waits in the
//! [`Backlog`], where sessions take turns. No session may fill that: it may have as much there as is left for all others.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::BytesMut;
use palisade_wire::quorum::{ForwardedRequest, PacketType, QuorumPacket, encode_revalidate};
use palisade_wire::request::Request;
use palisade_wire::{Id, OpCode, SessionId, Zxid};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::core_link::{Refused, Requester, Ticket, is_forwarded};
use crate::link::backlog::Backlog;
use crate::link::contact::Contact;
use crate::link::line::{Lane, Line, Place};
use crate::link::touches::{Heard, Touches};

/// The part of the window that is filled at once.
const REFILL: usize = 8;

/// What answers a request.
#[derive(Debug)]
pub(crate) enum Expect {
    /// A transaction with this session, cxid and type (or the error type).
    Txn { session: SessionId, cxid: i32, op: i32 },
    /// The next SYNC.
    Sync,
    /// A REVALIDATE of this session.
    Revalidation(SessionId),
}

/// What the leader is sent.
#[derive(Debug)]
pub(crate) enum Message {
    /// A request in the name of these identities. It is written once, when it is sent.
    Request(ForwardedRequest, Arc<[Id]>),
    /// Anything else.
    Packet(QuorumPacket),
}

impl Message {
    /// Writes the packet.
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Request(request, auth) => request.encode_packet(auth, out),
            Self::Packet(packet) => packet.encode(out),
        }
    }
}

/// A request on its way to the leader.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) message: Message,
    pub(crate) expect: Expect,
    pub(crate) ticket: Ticket,
    /// Whether a link broke since it was accepted: its requester may have gone meanwhile.
    pub(crate) again: bool,
}

impl Outgoing {
    /// What it counts for in [`Limits::bytes`].
    pub(crate) fn cost(&self) -> usize {
        match &self.message {
            Message::Request(request, auth) => {
                let ids = auth.iter().map(|id| id.scheme.len() + id.id.len());
                request.encoded_len() + ids.sum::<usize>()
            }
            Message::Packet(packet) => packet.data().len(),
        }
    }
}

/// Bounds on what was accepted and is not answered. What lets go of something may exceed the first two by an eighth.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How many.
    pub(crate) requests: usize,
    /// The bytes of their bodies and identities.
    pub(crate) bytes: usize,
    /// How many the leader is given at a time.
    pub(crate) window: usize,
    /// The bytes of those, about.
    pub(crate) window_bytes: usize,
}

/// See the module.
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    limits: Limits,
    /// Told when something was accepted.
    accepted: Notify,
    /// Copy of [`Inner::requests`], for monitoring.
    requests: AtomicUsize,
    /// What is known of the core's being there.
    pub(crate) contact: Arc<Contact>,
    /// Which sessions the core is to hear of.
    pub(crate) touches: Arc<Touches>,
}

#[derive(Default)]
struct Inner {
    open: bool,
    /// For the link to take.
    waiting: VecDeque<Outgoing>,
    /// What comes behind. Empty unless the leader has as much as it may.
    backlog: Backlog,
    /// Who waits for room in order to let go of something.
    releases: Line,
    /// All others who do.
    others: Line,
    /// Accepted and not answered: `waiting`, `backlog` and what the link has taken.
    requests: usize,
    bytes: usize,
}

impl Queue {
    /// An empty one that refuses everything until [`Self::open`].
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            inner: Mutex::default(),
            limits,
            accepted: Notify::new(),
            requests: AtomicUsize::new(0),
            contact: Arc::new(Contact::new(None)),
            touches: Arc::default(),
        }
    }

    /// See [`CoreLink::forward`](crate::core_link::CoreLink::forward).
    ///
    /// # Errors
    /// See [`Refused`]; the ticket is void then.
    pub(crate) fn forward(
        self: &Arc<Self>,
        request: ForwardedRequest,
        auth: Arc<[Id]>,
        ticket: Ticket,
        place: &mut Place,
    ) -> Result<(), Refused> {
        let ForwardedRequest { session, cxid, op, .. } = request;
        if !is_forwarded(op) {
            drop(ticket.void());
            *place = Place::NONE;
            return Err(Refused::NotForwarded(op));
        }
        let expect = Expect::Txn { session, cxid, op };
        self.accept(session, outgoing(Message::Request(request, auth), expect, ticket), place)
    }

    /// See [`CoreLink::sync`](crate::core_link::CoreLink::sync).
    ///
    /// # Errors
    /// See [`Refused`]; the ticket is void then.
    pub(crate) fn sync(
        self: &Arc<Self>,
        (session, cxid): (SessionId, i32),
        path: &str,
        ticket: Ticket,
        place: &mut Place,
    ) -> Result<(), Refused> {
        let message = Message::Request(sync_request(session, cxid, path), Arc::default());
        self.accept(session, outgoing(message, Expect::Sync, ticket), place)
    }

    pub(crate) fn revalidate(
        self: &Arc<Self>,
        session: SessionId,
        timeout_ms: i32,
        ticket: Ticket,
        place: &mut Place,
    ) -> Result<(), Refused> {
        let data = encode_revalidate(session, timeout_ms);
        let message = Message::Packet(QuorumPacket::new(PacketType::Revalidate, Zxid(-1), Some(data)));
        self.accept(session, outgoing(message, Expect::Revalidation(session), ticket), place)
    }

    /// Callers may hold locks: no others are taken behind this one, and nothing is dropped that could take one.
    fn accept(
        self: &Arc<Self>,
        session: SessionId,
        outgoing: Outgoing,
        place: &mut Place,
    ) -> Result<(), Refused> {
        let (cost, lane) = (outgoing.cost(), Lane::of(&outgoing.expect));
        let mut inner = self.inner.lock();
        if let Err(refused) = inner.admits(session, &outgoing.expect, cost, self.limits, place.number(lane)) {
            let is_busy = matches!(refused, Refused::Busy(_));
            let who = outgoing.ticket.void();
            let next = if !is_busy {
                Place::NONE
            } else if let Some(number) = place.keep(lane, cost) {
                inner.line(lane).stay(number);
                return Err(refused);
            } else if inner.backlog.waiting_of(session).0 > 0 {
                Place::behind_itself()
            } else {
                let join = |who| inner.line(lane).join(who, cost.min(self.limits.bytes));
                who.map(join).map_or(Place::NONE, |number| Place::in_line(self, lane, cost, number))
            };
            drop(inner);
            *place = next;
            return Err(refused);
        }
        let served = place.number(lane).and_then(|number| inner.line(lane).leave(number));
        let at_once = inner.backlog.is_empty() && inner.window_is_open(self.limits);
        inner.requests += 1;
        inner.bytes += cost;
        self.requests.store(inner.requests, Ordering::Relaxed);
        let mut first = false;
        if at_once {
            inner.waiting.push_back(outgoing);
            first = inner.waiting.len() == 1;
        } else {
            inner.backlog.push(session, outgoing);
        }
        drop(inner);
        drop(served);
        if !place.is_none() {
            *place = Place::NONE;
        }
        if first {
            self.accepted.notify_one();
        }
        Ok(())
    }

    /// See [`CoreLink::touch`](crate::core_link::CoreLink::touch).
    pub(crate) fn touch(&self, session: SessionId, timeout_ms: i32, urgent: bool) -> Heard {
        let heard = self.touches.touch(session, timeout_ms);
        if urgent && self.touches.hurry() {
            self.accepted.notify_one();
        }
        heard
    }

    /// Requests accepted and not yet answered.
    pub(crate) fn in_flight(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    // What follows is the link's side.

    /// Requests are taken from now on.
    pub(crate) fn open(&self) {
        self.inner.lock().open = true;
    }

    /// Takes a sync of the link itself, which waits behind no session's requests; the link is up.
    pub(crate) fn own_sync(&self, ticket: Ticket) {
        let outgoing = outgoing(Message::Packet(bare_sync()), Expect::Sync, ticket);
        let mut inner = self.inner.lock();
        inner.requests += 1;
        inner.bytes += outgoing.cost();
        self.requests.store(inner.requests, Ordering::Relaxed);
        inner.waiting.push_back(outgoing);
    }

    /// Nothing is accepted from now on. Gives back what waits to be sent; it still counts.
    #[must_use]
    pub(crate) fn close(&self) -> VecDeque<Outgoing> {
        self.touches.broken();
        let (mut inner, mut turns) = (self.inner.lock(), Vec::new());
        inner.open = false;
        let mut unsent = std::mem::take(&mut inner.waiting);
        unsent.extend(std::iter::from_fn(|| inner.backlog.pop()));
        inner.releases.dissolve(&mut turns);
        inner.others.dissolve(&mut turns);
        drop(inner);
        turns.iter().for_each(|who| who.has_turn());
        unsent
    }

    /// Somebody does not wait any more.
    pub(super) fn leave(&self, lane: Lane, number: u64) {
        let mut inner = self.inner.lock();
        let left = inner.line(lane).leave(number);
        let turns = inner.turns(self.limits);
        drop(inner);
        drop(left);
        turns.iter().for_each(|who| who.has_turn());
    }

    /// Waits until something may have been accepted since the last [`Self::take`].
    pub(crate) async fn accepted(&self) {
        self.accepted.notified().await;
    }

    /// Moves all that waits to be sent to the end of `into`.
    pub(crate) fn take(&self, into: &mut VecDeque<Outgoing>) {
        into.append(&mut self.inner.lock().waiting);
    }

    /// This many requests with this cost were answered.
    pub(crate) fn settle(&self, requests: usize, bytes: usize) {
        let mut inner = self.inner.lock();
        inner.requests = inner.requests.saturating_sub(requests);
        inner.bytes = inner.bytes.saturating_sub(bytes);
        self.requests.store(inner.requests, Ordering::Relaxed);
        let had_none = inner.waiting.is_empty();
        if !inner.backlog.is_empty() && inner.has_much_room(self.limits) {
            while inner.window_is_open(self.limits)
                && let Some(next) = inner.backlog.pop()
            {
                inner.waiting.push_back(next);
            }
        }
        let has_some = !inner.waiting.is_empty();
        let turns = inner.turns(self.limits);
        drop(inner);
        if had_none && has_some {
            self.accepted.notify_one();
        }
        turns.iter().for_each(|who| who.has_turn());
    }

    /// Requests that wait for their session's turn.
    pub(crate) fn backlog(&self) -> usize {
        self.inner.lock().backlog.len()
    }
}

impl Inner {
    /// Whether one more request may be taken.
    fn admits(
        &self,
        session: SessionId,
        expect: &Expect,
        cost: usize,
        limits: Limits,
        place: Option<u64>,
    ) -> Result<(), Refused> {
        if !self.open {
            return Err(Refused::NotConnected);
        }
        let lane = Lane::of(expect);
        let (requests, bytes) = self.room(lane, limits);
        let (own, own_bytes) =
            if self.backlog.is_empty() { (0, 0) } else { self.backlog.waiting_of(session) };
        let line = if lane == Lane::Releases { &self.releases } else { &self.others };
        if requests <= own || !self.backlog.takes(session, expect) || !line.lets_pass(place) {
            Err(Refused::Busy("limits.in_flight"))
        } else if bytes < own_bytes + cost.min(limits.bytes) {
            // One that is larger than the limit is taken when there is nothing else.
            Err(Refused::Busy("limits.in_flight_bytes"))
        } else {
            Ok(())
        }
    }

    /// How many more requests may be taken, and how many bytes.
    const fn room(&self, lane: Lane, Limits { requests, bytes, .. }: Limits) -> (usize, usize) {
        let (requests, bytes) = match lane {
            Lane::Releases => (requests + requests / 8, bytes + bytes / 8),
            Lane::Others => (requests, bytes),
        };
        (requests.saturating_sub(self.requests), bytes.saturating_sub(self.bytes))
    }

    const fn line(&mut self, lane: Lane) -> &mut Line {
        match lane {
            Lane::Releases => &mut self.releases,
            Lane::Others => &mut self.others,
        }
    }

    /// Who of those that wait has his turn now, and is to be told.
    fn turns(&mut self, limits: Limits) -> Vec<Arc<dyn Requester>> {
        let mut turns = Vec::new();
        for lane in [Lane::Releases, Lane::Others] {
            if !self.line(lane).is_empty() {
                let (requests, bytes) = self.room(lane, limits);
                self.line(lane).tell(requests, bytes, &mut turns);
            }
        }
        turns
    }

    /// Whether so much of the window is free that it is filled again: many are sent with less work than one at a time, and
    /// meanwhile the leader has enough.
    const fn has_much_room(&self, limits: Limits) -> bool {
        let requests = self.requests - self.backlog.len();
        let bytes = self.bytes - self.backlog.bytes();
        requests <= limits.window - limits.window.div_ceil(REFILL)
            && bytes <= limits.window_bytes - limits.window_bytes.div_ceil(REFILL)
    }

    /// Whether the leader may be given one more.
    const fn window_is_open(&self, limits: Limits) -> bool {
        self.requests - self.backlog.len() < limits.window
            && self.bytes - self.backlog.bytes() < limits.window_bytes
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}

/// A sync that is no client's.
pub(crate) fn bare_sync() -> QuorumPacket {
    let data = sync_request(0, 0, "/").encode();
    QuorumPacket { auth: Some(Vec::new()), ..QuorumPacket::new(PacketType::Request, Zxid(-1), Some(data)) }
}

fn sync_request(session: SessionId, cxid: i32, path: &str) -> ForwardedRequest {
    let mut body = Vec::with_capacity(4 + path.len());
    Request::Sync(Some(path.into())).encode(&mut body);
    ForwardedRequest { session, cxid, op: OpCode::Sync.as_i32(), body: body.into() }
}

const fn outgoing(message: Message, expect: Expect, ticket: Ticket) -> Outgoing {
    Outgoing { message, expect, ticket, again: false }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
