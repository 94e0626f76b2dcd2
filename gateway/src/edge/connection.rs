//! One client's connection, and its task: it alone reads, writes and executes.
//!
//! Each turn executes what can be executed, gives the core what it is to have, and writes what is finished; then the
//! task sleeps until the socket, the applier, the link or the clock has news.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use palisade_wire::{Id, SessionId};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::Edge;
use super::buffers;
use super::client::{Client, Flushed, HIGH_WATER, Sink, Standing};
use super::lease::Lease;
use super::outbox::{CloseReason, End};
use super::requests::incomplete;
use super::room::{LARGE, Room};
use crate::config::Owners;
use crate::core_link::{LinkState, Place};
use crate::throttle::Gate;
use crate::top::Tally;
use forward::Fence;

mod forward;

/// Room that a read is given.
const READ_CHUNK: usize = 8 << 10;
/// The same, at most, if a larger request is on its way.
const READ_AHEAD: usize = 1 << 20;
/// How soon a request is tried again at the latest for which the session's own requests leave no room.
const BUSY_RETRY: Duration = Duration::from_millis(100);
/// How long the client may take to see the end of a stream.
const LINGER: Duration = Duration::from_secs(1);
/// Turns before other tasks get a chance.
const MAX_TURNS: usize = 16;

/// Ends a stream so that the client can read all that was written: a socket that is closed while input is unread is
/// reset, and takes written bytes with it.
pub(super) async fn finish(mut stream: TcpStream) {
    let ended = async {
        stream.shutdown().await?;
        let mut ignored = [0; 1024];
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
    /// Whether what the session wrote elsewhere before that was looked for.
    fence: Fence,
    /// Whether the client was heard since the present link came up.
    heard: bool,
    /// Whether the client was told that nothing is written here.
    pub(super) only_reads: bool,
    /// Whether the session was local when last looked at.
    local: bool,
    active: Instant,
    /// Whether bytes came since `active` was last set.
    stirred: bool,
    /// Whether no request waits, for its turn or for the core: only this task adds any.
    pub(super) idle: bool,
    /// How things stood after the last turn.
    standing: Standing,
    /// The request that has waited for the core for the longest time, and since when it is the first to.
    waiting: Option<Waiting>,
    /// The limits on the way of its requests, once there was one that they are for.
    gate: Option<Box<Gate>>,
    /// Where it waits for room in the link's queue.
    place: Place,
    /// Until when a limit holds its requests up.
    pub(super) throttled: Option<Instant>,
    /// What the client did lately.
    pub(super) tally: Tally,
    /// Until when the session need not be looked at again: it owned no ephemerals while the core was silent.
    carefree: Instant,
    /// Whether nothing more is read: the client closed its side, or its session.
    pub(super) deaf: bool,
    /// Whether a local session's createSession is on its way.
    pub(super) upgrading: bool,
    /// Room for a large request.
    pub(super) room: Option<Box<Room>>,
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

/// A connection on its socket. Serves the client until that ends. Small, as there are very many that only wait.
#[derive(Debug)]
pub(super) struct Serving {
    connection: Box<Connection>,
    /// The other half is the client's sink.
    reader: OwnedReadHalf,
    timer: Pin<Box<Sleep>>,
}

impl Serving {
    pub(super) fn new(established: Established, stream: TcpStream) -> Self {
        let connection = Box::new(Connection::new(established));
        let (reader, writer) = stream.into_split();
        connection.client.set_sink(Some(Sink::Socket(writer)));
        let timer = Box::pin(sleep_until(connection.active + connection.timeout));
        Self { connection, reader, timer }
    }

    /// It has ended for this reason. Gives back the socket, if the client is to see the end of what was written.
    pub(super) fn over(self, reason: CloseReason) -> Option<TcpStream> {
        let Self { mut connection, reader, .. } = self;
        let Connection { edge, client, session, tally, .. } = &mut *connection;
        edge.top.finish(client.peer().ip().to_canonical(), *session, tally);
        let orderly =
            matches!(reason, CloseReason::ClosedByClient | CloseReason::Refused | CloseReason::Stopping);
        match client.set_sink(None).filter(|_| orderly)? {
            Sink::Socket(writer) => reader.reunite(writer).ok(),
            Sink::Driven(_) => None,
        }
    }
}

impl Future for Serving {
    type Output = CloseReason;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<CloseReason> {
        let Self { connection, reader, timer, .. } = self.get_mut();
        connection.poll_end(reader, timer.as_mut(), cx).map(|ended| ended.unwrap_or_else(|reason| reason))
    }
}

impl Connection {
    pub(super) fn new(established: Established) -> Self {
        let Established { edge, client, session, timeout, ids, inbox, .. } = established;
        let local = client.is_local();
        let introduced = established.introduced && !local;
        let this = Self {
            local,
            gate: None,
            edge,
            client,
            session,
            timeout,
            ids,
            inbox,
            scratch: BytesMut::new(),
            link_state: established.link_state,
            owner_known: introduced,
            fence: if introduced { Fence::Passed } else { Fence::None },
            heard: true,
            only_reads: established.only_reads,
            active: Instant::now(),
            stirred: false,
            idle: true,
            standing: Standing { unfinished: true, ..Standing::default() },
            waiting: None,
            place: Place::default(),
            throttled: None,
            tally: Tally::default(),
            carefree: Instant::now(),
            deaf: false,
            upgrading: false,
            room: None,
        };
        if !this.local {
            this.tell_the_core(this.active);
        }
        this
    }

    /// The client of a session that the core knows, or is going to, was heard.
    pub(super) fn tell_the_core(&self, now: Instant) {
        let timeout_ms = self.timeout_ms();
        if self.edge.config.stale_reads.owners == Owners::Keep {
            self.edge.link.touch(self.session, timeout_ms, false);
            return;
        }
        self.take_lease();
        let mut state = self.client.lock();
        if let Some(lease) = &mut state.lease {
            let urgent = lease.owns && lease.is_old(now.into_std());
            lease.heard(self.edge.link.touch(self.session, timeout_ms, urgent));
        }
    }

    /// From now on the client is told no more than the core's knowledge of the session allows.
    fn take_lease(&self) {
        if self.edge.config.stale_reads.owners == Owners::Keep || self.client.lock().lease.is_some() {
            return;
        }
        // While the tree cannot change.
        let tree = self.edge.replica.read();
        let owns = tree.ephemerals(self.session).next().is_some();
        // A new leader begins with the timeout that the session was created with.
        let created = tree.session_timeout(self.session);
        let created = created.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
        let timeout = created.map_or(self.timeout, |created| created.min(self.timeout));
        let lease = Lease::new(Arc::clone(self.edge.link.touches()), timeout, owns);
        self.client.lock().lease = Some(Box::new(lease));
    }

    /// Goes on until there is no news, or the connection ends.
    fn poll_end(
        &mut self,
        reader: &mut OwnedReadHalf,
        mut timer: Pin<&mut Sleep>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<CloseReason, CloseReason>> {
        for _ in 0..MAX_TURNS {
            if !self.standing.unfinished {
                ready!(self.poll_news(reader, timer.as_mut(), cx))?;
            }
            self.standing.unfinished = self.turn()?;
            if self.standing.unfinished {
                continue;
            }
            if let Some(reason) = self.ending() {
                return Poll::Ready(Ok(reason));
            }
            // Every request puts the deadline off. The timer is left alone then: it strikes early, and is set again.
            let deadline = self.deadline();
            if deadline < timer.deadline() || timer.is_elapsed() {
                timer.as_mut().reset(deadline);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Waits for the socket, for those who reach the client, and for the clock. Those who reach it tell of changes of the
    /// link, too.
    fn poll_news(
        &mut self,
        reader: &mut OwnedReadHalf,
        timer: Pin<&mut Sleep>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), CloseReason>> {
        let interest = self.interest();
        let mut news = self.client.poll_changed(cx).is_ready();
        if interest.is_some_and(Interest::is_readable) {
            news |= self.poll_read(reader, cx)?.is_ready();
        } else {
            // Nobody waits behind one who would not come when it is his turn.
            self.room.take_if(|room| room.is_waiting());
        }
        if interest.is_some_and(Interest::is_writable) {
            let writable = reader.as_ref().poll_write_ready(cx).map_err(|_| CloseReason::Gone);
            news |= writable?.is_ready();
        }
        // It is asked when there is nothing else, and so before every rest.
        if !news && timer.poll(cx).is_ready() {
            self.check_time()?;
            news = true;
        }
        if news { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Has no buffers while there is nothing to read.
    fn poll_read(
        &mut self,
        reader: &mut OwnedReadHalf,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), CloseReason>> {
        let mut chunk = READ_CHUNK;
        if let Some((missing, (takes, purpose))) = incomplete(&self.inbox) {
            if takes > LARGE {
                ready!(Room::poll(&mut self.room, &self.edge.rooms, (takes, purpose), self.timeout, cx));
            }
            chunk = missing.clamp(READ_CHUNK, READ_AHEAD);
        }
        ready!(reader.as_ref().poll_read_ready(cx)).map_err(|_| CloseReason::Gone)?;
        buffers::reserve(&mut self.inbox, chunk);
        buffers::reserve(&mut self.scratch, READ_CHUNK);
        match pin!(reader.read_buf(&mut self.inbox)).poll(cx) {
            Poll::Ready(Ok(count)) => Poll::Ready(self.received(count)),
            Poll::Ready(Err(_)) => Poll::Ready(Err(CloseReason::Gone)),
            Poll::Pending => {
                self.give_back();
                Poll::Pending
            }
        }
    }

    /// Does what can be done without waiting; whether more can be done at once.
    pub(super) fn turn(&mut self) -> Result<bool, CloseReason> {
        let now = Instant::now();
        if std::mem::take(&mut self.stirred) {
            self.active = now;
        }
        self.throttled = None;
        let halted = self.drain(now);
        let more = self.process(now)?;
        let moved = self.forward(now)?;
        self.flush(now)?;
        let Standing { ending, unsent, has_room, .. } = self.standing;
        match ending {
            Some(End::Now(reason)) => Err(reason),
            Some(End::AfterFlush(_)) => Ok(false),
            None => Ok(moved
                || (halted && unsent < self.edge.hub.pending().high_water())
                || (more && has_room && !self.deaf)),
        }
    }

    /// What of the socket is to be waited for.
    pub(super) fn interest(&self) -> Option<Interest> {
        let Standing { unsent, is_held, has_room, .. } = self.standing;
        let read = (has_room && !self.deaf).then_some(Interest::READABLE);
        let write = (unsent > 0 && !is_held).then_some(Interest::WRITABLE);
        match (read, write) {
            (Some(read), Some(write)) => Some(read | write),
            (one, other) => one.or(other),
        }
    }

    /// Why the connection ends now that all is written.
    pub(super) fn ending(&self) -> Option<CloseReason> {
        match self.standing.ending {
            Some(End::AfterFlush(reason)) if self.standing.unsent == 0 => Some(reason),
            _ => None,
        }
    }

    /// So many bytes have come into the inbox; none if the client has closed its side.
    pub(super) fn received(&mut self, count: usize) -> Result<(), CloseReason> {
        if count > 0 {
            self.stirred = true;
            self.heard = true;
            self.edge.hub.metrics().bytes_received_count.add(count as u64);
            return Ok(());
        }
        self.deaf = true;
        // A client that closed its session need not wait for the answer; the session ends all the same.
        if self.client.lock().pipeline.is_closing() { Ok(()) } else { Err(CloseReason::Gone) }
    }

    /// Writes as much as the socket takes, and looks how things stand then.
    fn flush(&mut self, now: Instant) -> Result<(), CloseReason> {
        let mut state = self.client.lock();
        let mut flushed = state.flush(0).map_err(|_| CloseReason::Gone)?;
        while state.is_held() {
            drop(state);
            let waits = self.waits_for_lease();
            state = self.client.lock();
            if waits {
                break;
            }
            flushed = state.flush(0).map_err(|_| CloseReason::Gone)?;
        }
        let pending = self.edge.hub.pending();
        state.settle(pending);
        self.standing = state.standing(self.edge.config.limits.pipelined_requests, pending.high_water());
        self.idle = state.pipeline.is_empty();
        let waits = state.pipeline.waits_for_core();
        drop(state);
        if self.standing.unsent < HIGH_WATER {
            self.room.take_if(|room| room.is_done());
        }
        let Flushed { bytes, events, released } = flushed;
        if bytes > 0 {
            self.tally.sent(bytes);
            self.active = now;
            self.edge.hub.stats().written(bytes, events);
        }
        self.client.count_events(released.shared);
        self.edge.hub.count_released(released);
        self.give_back();
        if let Some(gate) = &mut self.gate {
            gate.occupy(self.standing.in_flight);
        }
        // A limit has a patience of its own.
        let waits = waits.filter(|(_, sent)| *sent || self.throttled.is_none());
        self.waiting = waits.map(|(tag, sent)| {
            let before = self.waiting.filter(|before| before.tag == tag);
            Waiting { tag, since: before.map_or(now, |before| before.since), sent }
        });
        Ok(())
    }

    /// The lease allows nothing to be written: whether it is waited for that it does. If not, it may now.
    fn waits_for_lease(&self) -> bool {
        // While the tree cannot change.
        let tree = self.edge.replica.read();
        let owns = tree.ephemerals(self.session).next().is_some();
        let mut state = self.client.lock();
        let Some(lease) = &mut state.lease else { return false };
        lease.owns = owns;
        owns && lease.wait(Arc::clone(&self.client) as _)
    }

    fn give_back(&mut self) {
        for buffer in [&mut self.scratch, &mut self.inbox] {
            buffers::give_back(buffer);
        }
    }

    pub(super) fn timeout_ms(&self) -> i32 {
        i32::try_from(self.timeout.as_millis()).unwrap_or(i32::MAX)
    }

    /// When [`Self::check_time`] may have something to do.
    pub(super) fn deadline(&self) -> Instant {
        let idle = self.active + self.timeout;
        // Whoever has a place in the link's line is told when it is his turn, and all of another link.
        let retry = self.place.is_behind_itself().then(|| Instant::now() + BUSY_RETRY);
        let room = self.room.as_ref().and_then(|room| room.until());
        [retry, self.out_of_patience(), self.throttled, self.doubt(), room]
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

    /// When an owner of ephemerals is let go, as the core is silent: early enough that its client can find another gateway
    /// before the session ends, and sooner if the link is known to be broken. What the owner believes meanwhile is bounded
    /// by its [`Lease`], whatever is decided here.
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

    pub(super) fn check_time(&mut self) -> Result<(), CloseReason> {
        let now = Instant::now();
        if self.out_of_patience().is_some_and(|end| end <= now) {
            self.client.fail_waiting(self.edge.replica.last_zxid());
            // Nothing of it was necessarily done: a local session that was to become global is to ask again.
            self.upgrading = false;
        }
        if self.client.take_written() || self.stirred {
            self.active = now;
        }
        if self.active + self.timeout <= now {
            return Err(CloseReason::Idle);
        }
        if let Some(room) = &mut self.room
            && room.is_overdue(&self.edge.rooms, now, self.timeout)
        {
            return Err(CloseReason::SlowRequest);
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
