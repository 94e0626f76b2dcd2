//! What the edge hands to the link, behind one short lock: requests that wait to be sent, limits.
//!
//! The leader is given so many requests at a time. While there are fewer, each is sent as it comes; beyond, it waits in the
//! [`Backlog`], where sessions take turns. No session may fill that: it may have as much there as is left for all others.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use palisade_wire::quorum::{ForwardedRequest, PacketType, QuorumPacket, encode_revalidate};
use palisade_wire::request::Request;
use palisade_wire::{Id, OpCode, SessionId, Zxid};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::core_link::{Refused, Ticket, is_forwarded};
use crate::link::backlog::{Backlog, is_release};
use crate::link::contact::Contact;
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

/// A request on its way to the leader.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) packet: QuorumPacket,
    pub(crate) expect: Expect,
    pub(crate) ticket: Ticket,
    /// Whether a link broke since it was accepted: its requester may have gone meanwhile.
    pub(crate) again: bool,
}

impl Outgoing {
    /// What it counts for in [`Limits::bytes`].
    pub(crate) fn cost(&self) -> usize {
        let ids = self.packet.auth.iter().flatten();
        self.packet.data().len() + ids.map(|id| id.scheme.len() + id.id.len()).sum::<usize>()
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
        &self,
        request: ForwardedRequest,
        auth: Vec<Id>,
        ticket: Ticket,
    ) -> Result<(), Refused> {
        let ForwardedRequest { session, cxid, op, .. } = request;
        if !is_forwarded(op) {
            ticket.void();
            return Err(Refused::NotForwarded(op));
        }
        let expect = Expect::Txn { session, cxid, op };
        self.accept(session, request_packet(&request, auth), expect, ticket)
    }

    /// See [`CoreLink::sync`](crate::core_link::CoreLink::sync).
    ///
    /// # Errors
    /// See [`Refused`]; the ticket is void then.
    pub(crate) fn sync(
        &self,
        session: SessionId,
        cxid: i32,
        path: &str,
        ticket: Ticket,
    ) -> Result<(), Refused> {
        self.accept(session, sync_packet(session, cxid, path), Expect::Sync, ticket)
    }

    pub(crate) fn revalidate(
        &self,
        session: SessionId,
        timeout_ms: i32,
        ticket: Ticket,
    ) -> Result<(), Refused> {
        let data = encode_revalidate(session, timeout_ms);
        let packet = QuorumPacket::new(PacketType::Revalidate, Zxid(-1), Some(data));
        self.accept(session, packet, Expect::Revalidation(session), ticket)
    }

    fn accept(
        &self,
        session: SessionId,
        packet: QuorumPacket,
        expect: Expect,
        ticket: Ticket,
    ) -> Result<(), Refused> {
        let outgoing = Outgoing { packet, expect, ticket, again: false };
        let cost = outgoing.cost();
        let mut inner = self.inner.lock();
        if let Err(refused) = inner.admits(session, &outgoing.expect, cost, self.limits) {
            drop(inner);
            outgoing.ticket.void();
            return Err(refused);
        }
        let at_once = inner.backlog.is_empty() && inner.window_is_open(self.limits);
        inner.requests += 1;
        inner.bytes += cost;
        self.requests.store(inner.requests, Ordering::Relaxed);
        if !at_once {
            inner.backlog.push(session, outgoing);
            return Ok(());
        }
        inner.waiting.push_back(outgoing);
        let first = inner.waiting.len() == 1;
        drop(inner);
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
        let outgoing = Outgoing { packet: bare_sync(), expect: Expect::Sync, ticket, again: false };
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
        let mut inner = self.inner.lock();
        inner.open = false;
        let mut unsent = std::mem::take(&mut inner.waiting);
        unsent.extend(std::iter::from_fn(|| inner.backlog.pop()));
        unsent
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
        if had_none && !inner.waiting.is_empty() {
            self.accepted.notify_one();
        }
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
    ) -> Result<(), Refused> {
        if !self.open {
            return Err(Refused::NotConnected);
        }
        let with_reserve = |limit: usize| if is_release(expect) { limit + limit / 8 } else { limit };
        let requests = with_reserve(limits.requests).saturating_sub(self.requests);
        let bytes = with_reserve(limits.bytes).saturating_sub(self.bytes);
        let (own, own_bytes) =
            if self.backlog.is_empty() { (0, 0) } else { self.backlog.waiting_of(session) };
        if requests <= own || !self.backlog.takes(session, expect) {
            Err(Refused::Busy("limits.in_flight"))
        } else if bytes < own_bytes + cost {
            Err(Refused::Busy("limits.in_flight_bytes"))
        } else {
            Ok(())
        }
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
    sync_packet(0, 0, "/")
}

fn sync_packet(session: SessionId, cxid: i32, path: &str) -> QuorumPacket {
    let mut body = Vec::with_capacity(4 + path.len());
    Request::Sync(Some(path.into())).encode(&mut body);
    let request = ForwardedRequest { session, cxid, op: OpCode::Sync.as_i32(), body: body.into() };
    request_packet(&request, Vec::new())
}

fn request_packet(request: &ForwardedRequest, auth: Vec<Id>) -> QuorumPacket {
    let mut packet = QuorumPacket::new(PacketType::Request, Zxid(-1), Some(request.encode()));
    packet.auth = Some(auth);
    packet
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
