//! One client's connection, and its task: it alone reads, writes and executes.
//!
//! Each turn executes what can be executed, gives the core what it is to have, and writes what is finished; then the
//! task sleeps until the socket, the applier, the link or the clock has news.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use palisade_wire::request::Request;
use palisade_wire::{Id, OpCode, SessionId};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::Edge;
use super::buffers;
use super::client::{Client, FENCE_TAG, HIGH_WATER, SESSION_TAG};
use super::outbox::{CloseReason, End};
use super::pipeline::{Answered, Job};
use crate::config::Owners;
use crate::core_link::{LinkState, Refused, Ticket};
use crate::exec::write_header;
use crate::throttle::{Brought, Gate, Verdict};
use crate::top::Tally;

/// Room that a read is given.
const READ_CHUNK: usize = 8 << 10;
/// How soon a request that a limit refused is tried again.
const BUSY_RETRY: Duration = Duration::from_millis(10);
/// How long the client may take to see the end of a stream.
const LINGER: Duration = Duration::from_secs(1);
/// Turns before other tasks get a chance.
const MAX_TURNS: usize = 16;

/// Ends a stream so that the client can read all that was written: a socket that is closed while input is unread is
/// reset, and takes written bytes with it.
pub(super) async fn finish(stream: &mut TcpStream) {
    let ended = async {
        stream.shutdown().await?;
        // Not an array: that would be a part of every connection's task.
        let mut ignored = vec![0; 1024];
        while stream.read(&mut ignored).await? > 0 {}
        io::Result::Ok(())
    };
    timeout(LINGER, ended).await.ok();
}

/// A connection whose session is established.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) edge: Arc<Edge>,
    pub(super) client: Arc<Client>,
    pub(super) session: SessionId,
    pub(super) timeout: Duration,
    /// Copy of what stands behind the client's lock; only this task changes it.
    pub(super) ids: Arc<[Id]>,
    /// Bytes read and not yet understood.
    pub(super) inbox: BytesMut,
    /// Frames being made.
    pub(super) scratch: BytesMut,
    link_state: watch::Receiver<LinkState>,
    /// Whether the leader of the present link was told that this gateway has the session.
    owner_known: bool,
    /// Whether the client was heard since the present link came up.
    heard: bool,
    /// Whether the client was told that nothing is written here.
    pub(super) only_reads: bool,
    /// Whether the session was local when last looked at.
    local: bool,
    active: Instant,
    /// The request that has waited for the core for the longest time, and since when it is the first to.
    waiting: Option<Waiting>,
    /// The limits on the way of its requests.
    gate: Gate,
    /// Until when a limit holds its requests up.
    throttled: Option<Instant>,
    /// What the client did lately.
    pub(super) tally: Tally,
    /// Until when the session need not be looked at again: it owned no ephemerals while the core was silent.
    carefree: Instant,
    /// Whether nothing more is read: the client closed its side, or its session.
    pub(super) deaf: bool,
    /// Whether a local session's createSession is on its way.
    pub(super) upgrading: bool,
}

/// A request that the core is to answer.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    tag: u64,
    since: Instant,
    /// Whether the link has it.
    sent: bool,
}

/// What a handshake hands over.
pub(super) struct Established {
    pub edge: Arc<Edge>,
    pub client: Arc<Client>,
    pub session: SessionId,
    pub timeout: Duration,
    pub ids: Arc<[Id]>,
    pub inbox: BytesMut,
    pub link_state: watch::Receiver<LinkState>,
    /// Whether the leader knows that this gateway has the session.
    pub introduced: bool,
    /// Whether the client was told that nothing is written here.
    pub only_reads: bool,
}

impl Connection {
    pub(super) fn new(established: Established) -> Self {
        let Established { edge, client, session, timeout, ids, inbox, .. } = established;
        Self {
            local: client.is_local(),
            gate: edge.throttle.gate(client.peer().ip().to_canonical(), session),
            edge,
            client,
            session,
            timeout,
            ids,
            inbox,
            scratch: BytesMut::new(),
            link_state: established.link_state,
            owner_known: established.introduced,
            heard: true,
            only_reads: established.only_reads,
            active: Instant::now(),
            waiting: None,
            throttled: None,
            tally: Tally::default(),
            carefree: Instant::now(),
            deaf: false,
            upgrading: false,
        }
    }

    /// Serves the client until the connection ends.
    pub(super) async fn run(mut self: Box<Self>, stream: TcpStream) -> CloseReason {
        let stream = Arc::new(stream);
        self.client.set_sink(Some(Arc::clone(&stream) as _));
        let reason = self.serve(&stream).await.unwrap_or_else(|reason| reason);
        self.edge.top.finish(self.client.peer().ip(), self.session, &mut self.tally);
        self.client.set_sink(None);
        drop(self);
        if matches!(reason, CloseReason::ClosedByClient | CloseReason::Refused | CloseReason::Stopping)
            && let Some(mut stream) = Arc::into_inner(stream)
        {
            finish(&mut stream).await;
        }
        reason
    }

    async fn serve(&mut self, stream: &TcpStream) -> Result<CloseReason, CloseReason> {
        let client = Arc::clone(&self.client);
        let mut timer = pin!(sleep_until(self.active + self.timeout));
        loop {
            let mut turns = 1;
            while self.turn()? {
                if turns == MAX_TURNS {
                    tokio::task::yield_now().await;
                    turns = 0;
                }
                turns += 1;
            }
            let (interest, ending) = self.interest();
            if let Some(reason) = ending {
                return Ok(reason);
            }
            let deadline = self.deadline();
            if timer.deadline() != deadline {
                timer.as_mut().reset(deadline);
            }
            tokio::select! {
                () = client.changed() => {}
                ready = stream.ready(interest.unwrap_or(Interest::READABLE)), if interest.is_some() => {
                    if ready.map_err(|_| CloseReason::Gone)?.is_readable() && !self.deaf {
                        self.read(stream)?;
                    }
                }
                changed = self.link_state.changed() => {
                    changed.map_err(|_| CloseReason::Stopping)?;
                    self.forget_link();
                }
                () = &mut timer => self.check_time()?,
            }
        }
    }

    /// Does what can be done without waiting; whether more can be done at once.
    pub(super) fn turn(&mut self) -> Result<bool, CloseReason> {
        let halted = self.drain();
        let more = self.process()?;
        self.forward()?;
        self.flush()?;
        let (ending, unsent) = {
            let state = self.client.lock();
            (state.outbox.ending(), state.outbox.unsent())
        };
        match ending {
            Some(End::Now(reason)) => Err(reason),
            Some(End::AfterFlush(_)) => Ok(false),
            None => Ok((halted && unsent < HIGH_WATER) || (more && self.has_room())),
        }
    }

    /// Whether another request may be taken in.
    fn has_room(&self) -> bool {
        !self.deaf && self.client.lock().has_room(self.edge.config.limits.pipelined_requests)
    }

    /// What of the socket is to be waited for, and why the connection ends now that all is written.
    pub(super) fn interest(&self) -> (Option<Interest>, Option<CloseReason>) {
        let (ending, unsent) = {
            let outbox = &self.client.lock().outbox;
            (outbox.ending(), outbox.unsent())
        };
        let ending = match ending {
            Some(End::AfterFlush(reason)) if unsent == 0 => Some(reason),
            _ => None,
        };
        let read = self.has_room().then_some(Interest::READABLE);
        let write = (unsent > 0).then_some(Interest::WRITABLE);
        let both = match (read, write) {
            (Some(read), Some(write)) => Some(read | write),
            (one, other) => one.or(other),
        };
        (both, ending)
    }

    fn read(&mut self, stream: &TcpStream) -> Result<(), CloseReason> {
        buffers::reserve(&mut self.inbox, READ_CHUNK);
        buffers::reserve(&mut self.scratch, READ_CHUNK);
        match stream.try_read_buf(&mut self.inbox) {
            Ok(n) => self.received(n),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(_) => Err(CloseReason::Gone),
        }
    }

    /// So many bytes have come into the inbox; none if the client has closed its side.
    pub(super) fn received(&mut self, count: usize) -> Result<(), CloseReason> {
        if count > 0 {
            self.active = Instant::now();
            self.heard = true;
            self.client.was_heard();
            self.edge.hub.metrics().bytes_received_count.add(count as u64);
            return Ok(());
        }
        self.deaf = true;
        // A client that closed its session need not wait for the answer; the session ends all the same.
        if self.client.lock().pipeline.is_closing() { Ok(()) } else { Err(CloseReason::Gone) }
    }

    /// Gives the core, in order, what it is to have.
    fn forward(&mut self) -> Result<(), CloseReason> {
        if self.link_state.has_changed().map_err(|_| CloseReason::Stopping)? {
            self.link_state.mark_unchanged();
            self.forget_link();
        }
        if self.only_reads && self.link_state.borrow().is_connected() {
            return Err(CloseReason::Writable);
        }
        self.throttled = None;
        while self.introduce() && self.admit()? {
            let next = self.client.lock().send_next();
            let Some((tag, job)) = next else { break };
            match self.send(tag, &job) {
                Ok(()) => {}
                Err(Refused::NotConnected | Refused::Busy(_)) => {
                    self.client.lock().pipeline.unsend(tag, job);
                    break;
                }
                Err(Refused::NotForwarded(_)) => return Err(CloseReason::Malformed),
            }
        }
        let (waits, in_flight) = {
            let state = self.client.lock();
            (state.pipeline.waits_for_core(), state.pipeline.in_flight())
        };
        self.gate.occupy(in_flight);
        // A limit has a patience of its own.
        let waits = waits.filter(|(_, sent)| *sent || self.throttled.is_none());
        self.waiting = waits.map(|(tag, sent)| {
            let before = self.waiting.filter(|before| before.tag == tag);
            Waiting { tag, since: before.map_or_else(Instant::now, |before| before.since), sent }
        });
        Ok(())
    }

    /// Whether limits let the next request pass. Those that are refused are answered here.
    fn admit(&mut self) -> Result<bool, CloseReason> {
        let patience = self.edge.patience(self.timeout);
        if self.edge.throttle.is_nearly_full() {
            // Not while the client is locked: the applier locks them the other way round.
            self.edge.measure();
        }
        let mut guard = self.client.lock();
        let state = &mut *guard;
        loop {
            let in_flight = state.pipeline.in_flight();
            let Some((tag, job)) = state.pipeline.peek_unsent() else { return Ok(true) };
            let brought = Brought { work: &job.work, bytes: job.body.len(), in_flight, patience };
            match self.gate.check(brought, &mut job.progress) {
                Verdict::Pass => return Ok(true),
                Verdict::Wait(time) => {
                    self.throttled = Some(Instant::now() + time);
                    return Ok(false);
                }
                Verdict::Refuse(refusal) => {
                    self.tally.refused();
                    let code = refusal.code().ok_or(CloseReason::Refused)?;
                    let mut reply = BytesMut::new();
                    write_header(&mut reply, job.xid, self.edge.replica.last_zxid(), code);
                    if state.pipeline.refuse(tag, || reply.clone().freeze()) == Answered::First {
                        state.outbox.append(&mut reply);
                    }
                }
            }
        }
    }

    /// The link is another one now, or none. That the core was away is no waiting for a limit.
    fn forget_link(&mut self) {
        (self.owner_known, self.heard) = (false, false);
        if let Some((_, job)) = self.client.lock().pipeline.peek_unsent() {
            job.progress.rest();
        }
    }

    /// Tells a new leader that this gateway has the session, before anything else of the session; whether it knows, and
    /// requests may be sent.
    ///
    /// The client may have moved to another gateway without this one noticing that its connection is dead. To claim the
    /// session for such a connection would take it from its client; and a write that waits here, sent behind what the
    /// client wrote there, would undo that. So a session is claimed for a client that was heard since the link came up.
    /// What waits from before is sent, too, after a sync has shown that the session wrote nothing elsewhere: behind the
    /// claim, the leader takes nothing more from there.
    fn introduce(&mut self) -> bool {
        if self.local && !self.client.is_local() {
            // It became global, perhaps by way of an earlier link.
            (self.local, self.owner_known) = (false, false);
        }
        if self.local {
            return true;
        }
        if self.client.is_elsewhere() {
            return false;
        }
        if !self.owner_known && (self.heard || self.client.lock().pipeline.is_stalled()) {
            self.owner_known = self.claim().is_ok();
        }
        self.owner_known && (self.heard || self.client.lock().fences == 0)
    }

    fn claim(&self) -> Result<(), Refused> {
        let ticket = |tag| Ticket::new(Arc::clone(&self.client) as _, tag);
        self.edge.link.revalidate(self.session, self.timeout_ms(), ticket(SESSION_TAG))?;
        if self.heard {
            return Ok(());
        }
        // Counted first: the answer may come at once. If there is none to come, all is asked again.
        self.client.lock().fences += 1;
        let asked = self.edge.link.sync(self.session, 0, "/", ticket(FENCE_TAG));
        asked.inspect_err(|_| self.client.lock().fences -= 1)
    }

    fn send(&self, tag: u64, job: &Job) -> Result<(), Refused> {
        let ticket = Ticket::new(Arc::clone(&self.client) as _, tag);
        if job.op == OpCode::Sync {
            let path = match Request::decode(job.op, &job.body) {
                Ok(Request::Sync(path)) => path.unwrap_or_default(),
                _ => "".into(),
            };
            return self.edge.link.sync(self.session, job.xid, &path, ticket);
        }
        let cxid = if job.internal { job.xid } else { self.edge.hub.cxids().issue() };
        self.edge.forward((self.session, cxid, job.op), job.body.clone(), job.ids.to_vec(), ticket)
    }

    /// Writes as much as the socket takes.
    fn flush(&mut self) -> Result<(), CloseReason> {
        let (count, released) = self.client.flush(0).map_err(|_| CloseReason::Gone)?;
        if count > 0 {
            self.tally.sent(count);
            self.active = Instant::now();
        }
        self.edge.hub.count_released(released);
        for buffer in [&mut self.scratch, &mut self.inbox] {
            buffers::give_back(buffer);
        }
        Ok(())
    }

    pub(super) fn timeout_ms(&self) -> i32 {
        i32::try_from(self.timeout.as_millis()).unwrap_or(i32::MAX)
    }

    /// When [`Self::check_time`] may have something to do.
    pub(super) fn deadline(&self) -> Instant {
        let idle = self.active + self.timeout;
        let retry = self.wants_link() && self.link_state.borrow().is_connected();
        let retry = retry.then(|| Instant::now() + BUSY_RETRY);
        [retry, self.out_of_patience(), self.throttled, self.doubt()]
            .into_iter()
            .flatten()
            .fold(idle, Instant::min)
    }

    /// When what waits for the core fails. A core that proves to be there may take its time with what it was given.
    fn out_of_patience(&self) -> Option<Instant> {
        let Waiting { since, sent, .. } = self.waiting?;
        let proven = self.edge.link.proven().filter(|_| sent).map(Instant::from_std);
        Some(proven.map_or(since, |proven| proven.max(since)) + self.edge.patience(self.timeout))
    }

    /// When an owner of ephemerals must stop believing, as the core is silent and may end the session. It was told of
    /// the session at most a third of the timeout before it was last heard, and so ends it two thirds after that at
    /// the earliest. A client learns of it sooner if the link is known to be broken.
    fn doubt(&self) -> Option<Instant> {
        if self.local || self.edge.config.stale_reads.owners == Owners::Keep {
            return None;
        }
        let heard = Instant::from_std(self.edge.link.last_contact()?);
        let share = if self.link_state.borrow().is_connected() { 2 } else { 3 };
        Some(self.carefree.max(heard + self.timeout / share))
    }

    fn owns_ephemerals(&self) -> bool {
        self.edge.replica.read().ephemerals(self.session).next().is_some()
    }

    fn wants_link(&self) -> bool {
        if self.client.is_elsewhere() {
            return false;
        }
        let state = self.client.lock();
        (state.pipeline.is_stalled() && state.fences == 0) || (self.heard && !self.owner_known && !self.local)
    }

    pub(super) fn check_time(&mut self) -> Result<(), CloseReason> {
        let now = Instant::now();
        if self.out_of_patience().is_some_and(|end| end <= now) {
            self.client.fail_waiting(self.edge.replica.last_zxid());
            // Nothing of it was necessarily done: a local session that was to become global is to ask again.
            self.upgrading = false;
        }
        if self.client.take_written() {
            self.active = now;
        }
        if self.active + self.timeout <= now {
            return Err(CloseReason::Idle);
        }
        if self.doubt().is_some_and(|doubt| doubt <= now) {
            if self.owns_ephemerals() {
                return Err(CloseReason::OutOfTouch);
            }
            self.carefree = now + self.timeout / 3;
        }
        Ok(())
    }
}
