//! The event loop.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};

use crate::env::Interrupt;
use crate::failure::Failure;
use crate::net::conn::{Callback, Conn, Incoming, Phase};

/// Events taken from the operating system at once.
const EVENTS: usize = 1024;
/// What tells that a connection ends.
const GONE: EventFlags = EventFlags::RDHUP.union(EventFlags::HUP).union(EventFlags::ERR);
/// Longest wait, so that a signal is met soon.
const PATIENCE: Duration = Duration::from_millis(100);

/// All connections of a run.
pub(crate) struct Reactor {
    epoll: OwnedFd,
    conns: Vec<Conn>,
    events: Vec<epoll::Event>,
    /// What was read last, of whichever connection.
    buffer: Vec<u8>,
    /// When to look whether a connection has to ping; its entry stays although it sends something else meanwhile.
    pings: BinaryHeap<Reverse<(Instant, usize)>>,
    interrupt: Interrupt,
}

impl Reactor {
    /// One without connections.
    pub(crate) fn new(interrupt: Interrupt) -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            conns: Vec::new(),
            events: Vec::with_capacity(EVENTS),
            buffer: Vec::new(),
            pings: BinaryHeap::new(),
            interrupt,
        })
    }

    /// Adds connections to the targets in turn, not dialed yet.
    pub(crate) fn add(&mut self, targets: &[SocketAddr], count: usize, session_timeout: Duration) {
        for target in targets.iter().cycle().take(count) {
            self.conns.push(Conn::new(self.conns.len(), *target, session_timeout));
        }
    }

    /// How many connections there are, open or not.
    pub(crate) fn len(&self) -> usize {
        self.conns.len()
    }

    /// A connection by its number.
    ///
    /// # Panics
    ///
    /// If there is none of this number: numbers are never taken from outside.
    pub(crate) fn conn(&mut self, id: usize) -> &mut Conn {
        &mut self.conns[id]
    }

    /// All connections.
    pub(crate) fn conns(&self) -> &[Conn] {
        &self.conns
    }

    /// Reads nothing from this connection once its session is open, and gives it the least buffer there is.
    pub(crate) fn deafen(&mut self, id: usize) {
        self.conns[id].deaf = true;
    }

    /// Dials, dropping an earlier connection; resumes its session if it had one.
    pub(crate) fn dial(&mut self, id: usize) -> io::Result<()> {
        let conn = &mut self.conns[id];
        let connected = conn.dial()?;
        if let Some(socket) = &conn.socket {
            epoll::add(&self.epoll, socket, EventData::new_u64(id as u64), EventFlags::OUT)?;
        }
        if connected {
            Self::listen(&self.epoll, conn, false)?;
            conn.greet(Instant::now());
            self.flush(id)?;
        }
        Ok(())
    }

    /// Sends what was pushed, now as much as the socket takes, the rest when it takes more.
    pub(crate) fn flush(&mut self, id: usize) -> io::Result<()> {
        let conn = &mut self.conns[id];
        if !conn.flush()? {
            Self::listen(&self.epoll, conn, true)?;
        }
        Ok(())
    }

    /// Waits until something comes, `until` at most, and handles all that is there.
    pub(crate) fn poll(&mut self, until: Instant, on: &mut Callback<'_>) -> Result<(), Failure> {
        self.interrupt.check()?;
        let now = Instant::now();
        self.ping(now);
        let wake = self.pings.peek().map_or(until, |Reverse((due, _))| until.min(*due));
        let wait = wake.saturating_duration_since(now).min(PATIENCE);
        let wait = Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() };
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Failure::During(format!("waiting for the network: {error}"))),
        }
        let events = std::mem::take(&mut self.events);
        for event in &events {
            let (flags, data) = (event.flags, event.data);
            self.handle(data.u64() as usize, flags, on);
        }
        self.events = events;
        Ok(())
    }

    /// The same, but the first thing that goes wrong is the end of it, when all that is there is handled.
    pub(crate) fn poll_or_fail(
        &mut self,
        until: Instant,
        mut on: impl FnMut(Instant, &mut Conn, Incoming<'_>) -> Result<(), String>,
    ) -> Result<(), Failure> {
        let mut failed = None;
        self.poll(until, &mut |now, conn, incoming| {
            if let Err(reason) = on(now, conn, incoming) {
                failed.get_or_insert(reason);
            }
        })?;
        failed.map_or(Ok(()), |reason| Err(Failure::During(reason)))
    }

    fn handle(&mut self, id: usize, flags: EventFlags, on: &mut Callback<'_>) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let was_open = conn.is_open();
        let outcome = match conn.phase {
            Phase::Closed => return,
            Phase::Dialing => Self::connected(&self.epoll, conn),
            Phase::Open if conn.deaf && flags.intersects(GONE) => Err("closed the connection".into()),
            _ if flags == EventFlags::OUT => Self::sendable(&self.epoll, conn),
            _ => {
                let ends = flags.intersects(GONE);
                conn.read(&mut self.buffer, ends, on).and_then(|()| Self::sendable(&self.epoll, conn))
            }
        };
        if let Err(reason) = outcome {
            conn.hang_up();
            let reason = format!("{} {reason}", conn.target);
            on(Instant::now(), conn, Incoming::Lost(reason));
        } else if conn.is_open() && !was_open {
            if !std::mem::replace(&mut conn.has_alarm, true) {
                self.pings.push(Reverse((Instant::now() + conn.ping_interval(), id)));
            }
            if conn.deaf {
                // Fails only if the connection is gone, which the next event would say.
                let _ = Self::listen(&self.epoll, conn, false);
            }
        }
    }

    fn connected(epoll: &OwnedFd, conn: &mut Conn) -> Result<(), String> {
        match conn.socket.as_ref().map(std::net::TcpStream::take_error) {
            Some(Ok(None)) => {}
            Some(Ok(Some(error)) | Err(error)) => return Err(format!("cannot be reached: {error}")),
            None => return Ok(()),
        }
        conn.greet(Instant::now());
        Self::listen(epoll, conn, false).map_err(|error| error.to_string())?;
        Self::sendable(epoll, conn)
    }

    /// Sends what waits, and asks for the event only while something remains.
    fn sendable(epoll: &OwnedFd, conn: &mut Conn) -> Result<(), String> {
        let waited = conn.waits_for_room;
        let sent = conn.flush().map_err(|error| error.to_string())?;
        if sent == waited {
            Self::listen(epoll, conn, !sent).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Asks to be told of what is there now, and then of each change: being told again and again of what was seen to would
    /// cost nearly as much as reading it.
    fn listen(epoll: &OwnedFd, conn: &mut Conn, for_room: bool) -> io::Result<()> {
        conn.waits_for_room = for_room;
        let Some(socket) = &conn.socket else { return Ok(()) };
        let mut interest = EventFlags::RDHUP | EventFlags::ET;
        if !(conn.deaf && conn.is_open()) {
            interest |= EventFlags::IN;
        }
        if for_room {
            interest |= EventFlags::OUT;
        }
        epoll::modify(epoll, socket, EventData::new_u64(conn.id as u64), interest)?;
        Ok(())
    }

    /// Pings on connections that have been silent for a third of their timeout.
    fn ping(&mut self, now: Instant) {
        while let Some(Reverse((due, id))) = self.pings.peek().copied() {
            if due > now {
                return;
            }
            self.pings.pop();
            let Some(conn) = self.conns.get_mut(id) else { continue };
            if !conn.is_open() {
                conn.has_alarm = false;
                continue;
            }
            let interval = conn.ping_interval();
            let mut next = conn.last_sent + interval;
            if next <= now {
                conn.push_ping(now);
                next = now + interval;
                // A connection that broke is noticed when it is read.
                let _ = self.flush(id);
            }
            self.pings.push(Reverse((next, id)));
        }
    }
}
