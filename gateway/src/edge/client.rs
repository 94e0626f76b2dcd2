//! The part of a connection that others reach: the applier, which queues events and answers, and connections that
//! take the session over. Everything is behind one short lock.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use palisade_watch::{Budget, Slot};
use palisade_wire::connect::ConnectResponse;
use palisade_wire::{Id, SessionId, frame};
use parking_lot::{Mutex, MutexGuard};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use tokio::net::tcp::OwnedWriteHalf;

use super::bell::Bell;
use super::driven::Pipe;
use super::outbox::{CloseReason, End};
use super::stats::{ClientStats, ServerStats};
use crate::tenancy::Root;

mod answers;
mod events;
mod state;

pub(super) use answers::makes_ephemerals;
pub(super) use state::{Flushed, Standing, State};

/// Tag of the one request about the session itself that may be on its way: createSession or revalidate. Requests
/// of the client are tagged by their place in the pipeline, which counts up from 0.
pub(super) const SESSION_TAG: u64 = u64::MAX;
/// Tag of the sync behind a revalidation that nobody but this gateway knows to be in order.
pub(super) const FENCE_TAG: u64 = u64::MAX - 1;

/// While this many bytes are unsent, or of requests wait, no more are read.
pub(super) const HIGH_WATER: usize = 1 << 20;

/// Where bytes for a client go. Kept in place: whoever writes to very many visits each for the first time in a while.
#[derive(Debug)]
pub(super) enum Sink {
    /// Its socket.
    Socket(OwnedWriteHalf),
    /// To whoever drives the gateway.
    Driven(Arc<Pipe>),
}

impl Sink {
    /// Takes as many of these bytes as it can at once; [`io::ErrorKind::WouldBlock`] if that is none.
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match (self, slices) {
            // Without a look at what the runtime knows of the socket, which is far away in memory. It has to know if the
            // socket takes nothing.
            (Self::Socket(socket), [slice]) => {
                match send(socket.as_ref(), slice, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                    Err(Errno::AGAIN) => socket.try_write(slice),
                    sent => Ok(sent?),
                }
            }
            (Self::Socket(socket), slices) => socket.try_write_vectored(slices),
            (Self::Driven(pipe), slices) => Ok(pipe.put(slices)),
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
    /// The wave that told this client something, and in the lower half how many more reads count as caused by it.
    wave: AtomicU64,
    server_stats: Arc<ServerStats>,
    root: Arc<Root>,
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
        Self {
            slot,
            peer,
            wake: Bell::default(),
            state: Mutex::new(State::new(budget, ids)),
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

    /// From now on, or no longer, what is in the outbox can be written. Gives back where it went until now.
    pub(super) fn set_sink(&self, sink: Option<Sink>) -> Option<Sink> {
        std::mem::replace(&mut self.lock().sink, sink)
    }

    /// The client is to be written to; whether that is news.
    pub(super) fn get_in_line(&self) -> bool {
        !self.in_line.swap(true, Ordering::AcqRel)
    }

    /// Nobody will write to the client but the connection's task.
    pub(super) fn leave_line(&self) {
        self.in_line.store(false, Ordering::Release);
        self.wake.ring();
    }

    /// Writes as much as the client takes, for the connection's task, which is told of what it must see to. What was written
    /// is yet to be counted.
    pub(super) fn flush_for_task(&self) -> Flushed {
        self.in_line.store(false, Ordering::Release);
        let mut guard = self.lock();
        let state = &mut *guard;
        let flushed = state.flush(usize::MAX).unwrap_or_else(|_| {
            state.outbox.end(End::Now(CloseReason::Gone));
            Flushed::default()
        });
        state.written |= flushed.bytes > 0;
        let unfinished = state.outbox.unsent() > 0
            || state.outbox.ending().is_some()
            || state.sink.is_none()
            || state.is_charged();
        drop(guard);
        self.count_events(flushed.released.shared);
        if unfinished {
            self.wake.ring();
        }
        flushed
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
}
