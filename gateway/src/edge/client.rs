//! The part of a connection that others reach: the applier, which queues events and answers, and connections that
//! take the session over. Everything is behind one short lock.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use palisade_watch::{Budget, Released, Slot};
use palisade_wire::connect::ConnectResponse;
use palisade_wire::request::Request;
use palisade_wire::txn::Txn;
use palisade_wire::{ErrorCode, Id, OpCode, SessionId, Writer, Zxid, frame};
use parking_lot::{Mutex, MutexGuard};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::Instant as Clock;

use super::bell::Bell;
use super::lease::Lease;
use super::outbox::{CloseReason, End, Outbox};
use super::pipeline::{Answered, Front, Job, Pipeline};
use super::stats::{ClientStats, ServerStats};
use crate::core_link::{Answer, Requester};
use crate::exec::{write_header, write_outcome, write_reply};
use crate::link::touches::Waiter;
use crate::tenancy::Root;

mod events;

/// Tag of the one request about the session itself that may be on its way: createSession or revalidate. Requests
/// of the client are tagged by their place in the pipeline, which counts up from 0.
pub(super) const SESSION_TAG: u64 = u64::MAX;
/// Tag of the sync behind a revalidation that nobody but this gateway knows to be in order.
pub(super) const FENCE_TAG: u64 = u64::MAX - 1;

/// While this many bytes are unsent, no more requests are read.
pub(super) const HIGH_WATER: usize = 1 << 20;
/// Pieces that one system call writes.
const SLICES: usize = 32;
/// While bodies of this many bytes wait, no more are read.
const MAX_HELD: usize = 1 << 20;

/// Where bytes for a client go.
pub(crate) trait Sink: fmt::Debug + Send + Sync {
    /// Takes as many of these bytes as it can at once; [`io::ErrorKind::WouldBlock`] if that is none.
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;
}

impl Sink for OwnedWriteHalf {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match slices {
            [slice] => Self::try_write(self, slice),
            slices => self.try_write_vectored(slices),
        }
    }
}

/// One connection, as others see it.
#[derive(Debug)]
pub(crate) struct Client {
    slot: Slot,
    peer: SocketAddr,
    /// Tells the connection's task that something changed here.
    wake: Bell,
    state: Mutex<State>,
    /// Whether the core does not know the session.
    local: AtomicBool,
    /// Whether the session may have written by way of another gateway since its client came here.
    elsewhere: AtomicBool,
    /// Whether the session was born with this connection and nobody was asked to make it global.
    sole: AtomicBool,
    pub(crate) stats: ClientStats,
    /// Whether it waits for somebody to write to it.
    in_line: AtomicBool,
    /// The wave that told this client something, and in the low byte how many more reads count as caused by it.
    wave: AtomicU64,
    server_stats: Arc<ServerStats>,
    root: Arc<Root>,
}

/// What the lock protects.
#[derive(Debug)]
pub(super) struct State {
    pub(super) outbox: Outbox,
    /// Where it goes; `None` before the handshake is over and after the connection's end.
    sink: Option<Arc<dyn Sink>>,
    /// Whether somebody else than the connection's task wrote to the client since this was last asked.
    written: bool,
    pub(super) pipeline: Pipeline,
    /// Who the client is; a request takes the identities that it came with along.
    pub(super) ids: Arc<[Id]>,
    /// 0 until the handshake names one.
    pub(super) session: SessionId,
    /// The highest zxid that an answer told.
    last_zxid: Zxid,
    /// Syncs on their way that shall show what the session did elsewhere.
    pub(super) fences: u32,
    /// What the core said about the session, not yet looked at.
    pub(super) verdict: Option<Verdict>,
    /// Whether the handshake is over: events and endings of the session concern this connection.
    pub(super) established: bool,
    /// Whether the connection has ended.
    pub(super) gone: bool,
    /// Whether it was told what its persistent watches missed.
    caught_up: bool,
    /// For how long it may be written to, if that depends on what the core knows of the session.
    pub(super) lease: Option<Box<Lease>>,
}

/// How things stand with a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Standing {
    /// Whether and how it ends.
    pub ending: Option<End>,
    /// Bytes that the socket has not taken.
    pub unsent: usize,
    /// Whether they wait for the core to have heard of the session.
    pub is_held: bool,
    /// Whether one more request may be taken in.
    pub has_room: bool,
    /// Whether a request waits for a leader.
    pub is_stalled: bool,
    /// The first request that waits for the core: its tag, and whether the link has it.
    pub waits: Option<(u64, bool)>,
    /// Requests that the link has.
    pub in_flight: usize,
    /// Whether something was left that can be done at once.
    pub unfinished: bool,
}

/// What the core said about a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It lives, and belongs to this gateway.
    Lives,
    /// It is not known, or has ended.
    Ended,
    /// Nobody knows: the link broke.
    Unknown,
}

impl Client {
    pub(super) fn new(
        slot: Slot,
        peer: SocketAddr,
        ids: Arc<[Id]>,
        budget: Arc<Budget>,
        (server_stats, root): (Arc<ServerStats>, Arc<Root>),
    ) -> Self {
        let state = State {
            outbox: Outbox::new(budget, CloseReason::SlowReader),
            sink: None,
            written: false,
            pipeline: Pipeline::default(),
            ids,
            session: 0,
            last_zxid: Zxid::ZERO,
            fences: 0,
            verdict: None,
            established: false,
            gone: false,
            caught_up: false,
            lease: None,
        };
        Self {
            slot,
            peer,
            wake: Bell::default(),
            state: Mutex::new(state),
            local: AtomicBool::new(false),
            elsewhere: AtomicBool::new(false),
            sole: AtomicBool::new(false),
            stats: ClientStats::default(),
            in_line: AtomicBool::new(false),
            wave: AtomicU64::new(0),
            server_stats,
            root,
        }
    }

    /// From now on, or no longer, what is in the outbox can be written.
    pub(super) fn set_sink(&self, sink: Option<Arc<dyn Sink>>) {
        self.lock().sink = sink;
    }

    /// The client is to be written to; whether that is news.
    pub(super) fn get_in_line(&self) -> bool {
        !self.in_line.swap(true, Ordering::AcqRel)
    }

    /// Writes as much as the client takes, for the connection's task, which is told of what it must see to.
    pub(super) fn flush_for_task(&self) -> Released {
        self.in_line.store(false, Ordering::Release);
        let mut guard = self.lock();
        let state = &mut *guard;
        let (count, released) = state.flush(usize::MAX).unwrap_or_else(|_| {
            state.outbox.end(End::Now(CloseReason::Gone));
            (0, Released::default())
        });
        state.written |= count > 0;
        let unfinished = state.outbox.unsent() > 0 || state.outbox.ending().is_some() || state.sink.is_none();
        drop(guard);
        self.server_stats.metrics.response_bytes.add(count as u64);
        self.count_events(released.shared);
        if unfinished {
            self.wake.ring();
        }
        released
    }

    /// Whether somebody else than the connection's task wrote to the client since this was last asked.
    pub(super) fn take_written(&self) -> bool {
        std::mem::take(&mut self.lock().written)
    }

    /// Tells the connection's task that there is something to do.
    pub(super) fn wake(&self) {
        self.wake.ring();
    }

    pub(super) fn session_timeout(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.stats.timeout_ms()).unwrap_or(0))
    }

    pub(crate) const fn slot(&self) -> Slot {
        self.slot
    }

    /// The connection's number among all present ones.
    pub(crate) const fn number(&self) -> usize {
        self.slot.index()
    }

    pub(crate) const fn peer(&self) -> SocketAddr {
        self.peer
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// The session, 0 before there is one.
    pub(crate) fn session(&self) -> SessionId {
        self.lock().session
    }

    /// Whether the core does not know the session.
    pub(super) fn is_local(&self) -> bool {
        self.local.load(Ordering::Acquire)
    }

    /// The session is known to this gateway only, or to the core as well.
    pub(super) fn set_local(&self, local: bool) {
        self.local.store(local, Ordering::Release);
        self.wake.ring();
    }

    /// The session is new, and local.
    pub(super) fn begin_local(&self) {
        self.sole.store(true, Ordering::Release);
        self.set_local(true);
    }

    /// The session wrote by way of another gateway, or a tree hides whether it did.
    pub(super) fn may_be_elsewhere(&self) {
        self.elsewhere.store(true, Ordering::Release);
    }

    /// The session may own ephemerals.
    pub(super) fn may_own(&self) {
        if let Some(lease) = &mut self.lock().lease {
            lease.owns = true;
        }
    }

    /// Whether the client may have moved to another gateway: nothing that it asked for here may take effect behind what
    /// it did there. That bytes come from it says nothing, as they may be old.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.elsewhere.load(Ordering::Acquire)
    }

    /// Whether the session certainly is unknown to the core, whatever the replica missed.
    pub(super) fn is_sole(&self) -> bool {
        self.sole.load(Ordering::Acquire)
    }

    /// The core is going to be asked to make the session global.
    pub(super) fn leave_sole(&self) {
        self.sole.store(false, Ordering::Release);
    }

    /// The core knows the session from now on. If this gateway did not ask for it, the client was elsewhere, and its
    /// connection here must not take the session over again.
    pub(super) fn became_global(&self, asked_here: bool) {
        if self.is_local() && !asked_here {
            self.close(CloseReason::Moved);
        }
        self.set_local(false);
    }

    /// Requests that are not answered yet.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().pipeline.len()
    }

    /// Queues the answer to the connect request; from then on, events follow.
    pub(super) fn push_response(&self, response: &ConnectResponse) {
        let mut state = self.lock();
        state.outbox.reply(|out| frame::write(out, |b| response.encode(b)));
        state.established = true;
    }

    /// Waits until something may have changed since the last time.
    pub(super) async fn changed(&self) {
        poll_fn(|cx| self.poll_changed(cx)).await;
    }

    /// The same for the one task that waits.
    pub(super) fn poll_changed(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.wake.poll_rung(cx)
    }

    /// Ends the connection at once, unless it is ending so already.
    pub(super) fn close(&self, reason: CloseReason) {
        self.lock().outbox.end(End::Now(reason));
        self.wake.ring();
    }

    /// Ends the connection when all that is queued is written.
    pub(super) fn leave(&self) {
        self.lock().outbox.end(End::AfterFlush(CloseReason::Stopping));
        self.wake.ring();
    }

    /// The core closed the session. A client that asked for it gets its answer first; others get nothing.
    pub(super) fn session_closed(&self) {
        let mut state = self.lock();
        if !state.pipeline.is_closing() {
            state.outbox.end(End::Now(CloseReason::SessionEnded));
            state.verdict = Some(Verdict::Ended);
            self.wake.ring();
        }
    }

    fn applied(&self, tag: u64, answer: Answer<'_>) {
        let Answer::Applied { header, txn, outcome } = answer else { return };
        let mut guard = self.lock();
        let state = &mut *guard;
        let Some((job, since)) = state.pipeline.sent(tag) else { return };
        if outcome.error == ErrorCode::SESSION_MOVED {
            // No client knows this code: it shall look for the session's new place (ZOOKEEPER-710).
            state.outbox.end(End::Now(CloseReason::Moved));
            return;
        }
        if job.internal {
            // The session became a global one; its client did not ask for that.
            match &mut state.lease {
                _ if !outcome.error.is_ok() => state.outbox.end(End::Now(CloseReason::SessionEnded)),
                Some(lease) => lease.created(since),
                None => {}
            }
            state.pipeline.answered(tag, false, Bytes::new);
            return;
        }
        if let Some(lease) = &mut state.lease {
            lease.owns |= makes_ephemerals(txn);
        }
        let (call, closing) = ((job.xid, job.op), job.op == OpCode::CloseSession);
        self.answered_after(since, (job.op, job.xid, header.zxid));
        state.last_zxid = header.zxid;
        let encode = |out: &mut BytesMut| write_outcome(out, &self.root, call, (header.zxid, txn), outcome);
        if state.pipeline.answered(tag, closing, || encoded(encode)) == Answered::First {
            state.outbox.reply(encode);
            if closing {
                state.pipeline.clear();
                state.outbox.end(End::AfterFlush(CloseReason::ClosedByClient));
            }
        }
    }

    fn synced(&self, tag: u64, zxid: Zxid) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let Some((job, since)) = state.pipeline.sent(tag) else { return };
        if job.internal {
            state.pipeline.answered(tag, false, Bytes::new);
            return;
        }
        let (xid, echo) = (job.xid, job.body.clone());
        self.answered_after(since, (OpCode::Sync, xid, zxid));
        state.last_zxid = zxid;
        let encode = |out: &mut BytesMut| {
            write_reply(out, xid, zxid, |b| {
                let Ok(Request::Sync(path)) = Request::decode(OpCode::Sync, &echo) else {
                    return Err(ErrorCode::MARSHALLING_ERROR);
                };
                b.write_opt_string(path.as_deref());
                Ok(())
            });
        };
        if state.pipeline.answered(tag, false, || encoded(encode)) == Answered::First {
            state.outbox.reply(encode);
        }
    }

    fn answered_after(&self, since: Instant, last: (OpCode, i32, Zxid)) {
        let took = since.elapsed();
        self.stats.answered(took, last);
        self.server_stats.answered(took);
    }

    /// Nobody knows whether a write had its effect.
    fn lost(&self, tag: u64) {
        let mut state = self.lock();
        if state.pipeline.sent(tag).is_some() {
            state.outbox.end(End::Now(CloseReason::OutcomeUnknown));
        }
    }

    /// Answers all that waits for the core, which does not answer: whether it took effect is unknown.
    pub(super) fn fail_waiting(&self, zxid: Zxid) {
        let mut state = self.lock();
        state.pipeline.fail(|job| {
            // The client did not ask for this.
            if job.internal {
                return Bytes::new();
            }
            encoded(|out| write_header(out, job.xid, zxid, ErrorCode::CONNECTION_LOSS))
        });
    }

    fn judged(&self, verdict: Verdict) {
        let mut state = self.lock();
        if !state.established && verdict == Verdict::Lives {
            // What was seen until now was written before the leader gave the session to this gateway.
            self.elsewhere.store(false, Ordering::Release);
        }
        // Who asked for the end gets the answer to that.
        let asked = state.pipeline.is_closing() || state.outbox.ending().is_some();
        if state.established && verdict == Verdict::Ended && !asked {
            state.outbox.end(End::Now(CloseReason::SessionEnded));
        }
        state.verdict = Some(verdict);
    }
}

impl Requester for Client {
    fn answered(&self, tag: u64, answer: Answer<'_>) {
        match answer {
            Answer::Synced { .. } | Answer::Lost if tag == FENCE_TAG => self.lock().fences -= 1,
            Answer::Applied { outcome, .. } if tag == SESSION_TAG => {
                self.judged(if outcome.error.is_ok() { Verdict::Lives } else { Verdict::Ended });
            }
            Answer::Lost if tag == SESSION_TAG => self.judged(Verdict::Unknown),
            Answer::Revalidated { valid: true } => self.judged(Verdict::Lives),
            Answer::Revalidated { valid: false } => self.judged(Verdict::Ended),
            Answer::Applied { .. } => self.applied(tag, answer),
            Answer::Synced { zxid } => self.synced(tag, zxid),
            Answer::Lost => self.lost(tag),
        }
        self.wake.ring();
    }

    fn is_waiting(&self, tag: u64) -> bool {
        let state = self.lock();
        match (state.outbox.ending(), tag) {
            (Some(_), _) => false,
            // An established session is introduced to each leader anew.
            (None, SESSION_TAG) => !state.gone && !state.established,
            (None, FENCE_TAG) => false,
            (None, tag) => !self.is_elsewhere() && state.pipeline.sent(tag).is_some(),
        }
    }
}

impl Waiter for Client {
    fn arrived(&self) {
        self.wake.ring();
    }
}

impl State {
    /// Writes as much as is taken at once, and as the session's lease allows; how many bytes, and what held events were
    /// among them. Empty buffers of more than `keep` bytes are given back.
    pub(super) fn flush(&mut self, keep: usize) -> io::Result<(usize, Released)> {
        let Self { outbox, sink, lease, .. } = self;
        outbox.release_due();
        let Some(sink) = sink else { return Ok((0, Released::default())) };
        if let Some(lease) = lease {
            if outbox.unsent() == 0 {
                lease.release();
            } else if !lease.allows(Clock::now().into_std()) {
                return Ok((0, Released::default()));
            }
        }
        let mut count = 0;
        while outbox.unsent() > 0 {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = outbox.unsent_slices(&mut slices);
            match sink.try_write(&slices[..filled]) {
                Ok(n) => {
                    outbox.sent(n);
                    count += n;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        outbox.give_back(keep);
        Ok((count, outbox.take_released()))
    }

    /// Whether what is unsent waits for the lease.
    pub(super) fn is_held(&self) -> bool {
        self.lease.as_ref().is_some_and(|lease| lease.is_holding())
    }

    /// What the connection's task goes by until it is told of a change.
    pub(super) fn standing(&self, max_requests: usize) -> Standing {
        Standing {
            ending: self.outbox.ending(),
            unsent: self.outbox.unsent(),
            is_held: self.is_held(),
            has_room: self.has_room(max_requests),
            is_stalled: self.pipeline.is_stalled(),
            waits: self.pipeline.waits_for_core(),
            in_flight: self.pipeline.in_flight(),
            unfinished: false,
        }
    }

    /// Whether one more request may be taken in.
    pub(super) fn has_room(&self, max_requests: usize) -> bool {
        self.outbox.ending().is_none()
            && self.outbox.unsent() < HIGH_WATER
            && self.pipeline.len() < max_requests
            && self.pipeline.held() < MAX_HELD
    }

    /// Queues answers, the last of which told this zxid.
    pub(super) fn append(&mut self, frames: &mut BytesMut, told: Zxid) {
        self.outbox.append(frames);
        self.last_zxid = self.last_zxid.max(told);
    }

    /// The same with large data between `frames` and what comes `behind` it.
    pub(super) fn append_around(&mut self, frames: &mut BytesMut, data: Bytes, behind: &[u8], told: Zxid) {
        self.append(frames, told);
        self.outbox.append_shared(data);
        self.outbox.reply(|out| out.extend_from_slice(behind));
    }

    /// The next request for the core. None once the connection ends: behind a write that was lost, no later one of
    /// the session may take effect.
    pub(super) fn send_next(&mut self) -> Option<(u64, Job)> {
        if self.outbox.ending().is_some() {
            return None;
        }
        self.pipeline.send_next(Instant::now())
    }

    /// Moves finished replies at the head of the line to the outbox, and takes the next request for the replica
    /// off the line if it is its turn.
    pub(super) fn next_local(&mut self) -> Option<Job> {
        while self.outbox.ending().is_none() {
            match self.pipeline.pop()? {
                Front::Local(job) => return Some(job),
                Front::Done { reply, last } => {
                    let told = &mut self.last_zxid;
                    self.outbox.reply(|out| {
                        let start = out.len();
                        out.extend_from_slice(&reply);
                        *told = raise_zxid(&mut out[start..], *told);
                    });
                    if last {
                        self.pipeline.clear();
                        self.outbox.end(End::AfterFlush(CloseReason::Refused));
                    }
                }
            }
        }
        None
    }
}

/// A reply that waited behind others must not tell less than theirs did. Special zxids stay. Returns the highest zxid
/// told so far.
fn raise_zxid(frame: &mut [u8], least: Zxid) -> Zxid {
    const AT: usize = 4 + 4;
    let Some(zxid) = frame.get_mut(AT..).and_then(|rest| rest.first_chunk_mut::<8>()) else { return least };
    let told = i64::from_be_bytes(*zxid);
    if (1..least.0).contains(&told) {
        *zxid = least.0.to_be_bytes();
    }
    least.max(Zxid(told))
}

/// Whether the session owns ephemerals, or may, once this is applied.
pub(super) fn makes_ephemerals(txn: &Txn) -> bool {
    matches!(txn, Txn::Create(_, true) | Txn::Create2(_, true) | Txn::Multi(_))
}

fn encoded(encode: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut buf = BytesMut::new();
    encode(&mut buf);
    buf.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ordinary_zxids_are_raised() {
        for (zxid, raised) in [(5, 7), (7, 7), (9, 9), (0, 0), (-1, -1)] {
            let (mut frame, mut expected) = (BytesMut::new(), BytesMut::new());
            write_header(&mut frame, 3, Zxid(zxid), ErrorCode::OK);
            write_header(&mut expected, 3, Zxid(raised), ErrorCode::OK);
            assert_eq!(raise_zxid(&mut frame, Zxid(7)), Zxid(zxid.max(7)));
            assert_eq!(frame, expected, "{zxid}");
        }
    }
}
