//! One connection: frames out, frames in, the handshake between.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use palisade_wire::connect::{ConnectRequest, ConnectResponse, PASSWORD_LEN};
use palisade_wire::reply::ReplyHeader;
use palisade_wire::request::{Request, RequestHeader, xid};
use palisade_wire::{OpCode, Reader, SessionId, Zxid, frame};
use socket2::{Domain, Protocol, Socket, Type};

/// Largest frame that is accepted from a server, in bytes.
const MAX_FRAME: usize = 64 << 20;

/// What a connection tells the scenario.
#[derive(Debug)]
pub(crate) enum Incoming<'a> {
    /// A session is open, a new one or the one of before.
    Open,
    /// The server does not know the session of before any more.
    Expired,
    /// An answer. Those to pings are left out.
    Reply {
        /// Its header.
        header: ReplyHeader,
        /// What follows the header.
        body: &'a [u8],
    },
    /// A watch has fired.
    Event,
    /// The connection could not be made, or has ended; why.
    Lost(String),
}

/// Called with all that comes in, and when it came.
pub(crate) type Callback<'c> = dyn FnMut(Instant, &mut Conn, Incoming<'_>) + 'c;

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// There is none.
    Closed,
    /// The operating system connects.
    Dialing,
    /// The server has been asked for a session.
    Greeting,
    /// A session is open.
    Open,
}

/// A connection, or the memory of one: its session can be resumed by dialing again.
#[derive(Debug)]
pub(crate) struct Conn {
    /// Its number in the reactor.
    pub(crate) id: usize,
    /// The server.
    pub(crate) target: SocketAddr,
    /// Whether nothing is read: what the server sends stays in the socket's buffers.
    pub(super) deaf: bool,
    pub(super) phase: Phase,
    pub(super) socket: Option<TcpStream>,
    pub(super) out: BytesMut,
    /// Whether the reactor waits for the socket to take more.
    pub(super) waits_for_room: bool,
    /// Whether the reactor will look at the time of the next ping.
    pub(super) has_alarm: bool,
    /// The beginning of a frame whose rest has not come yet.
    partial: Vec<u8>,
    next_xid: i32,
    session: Session,
    pub(super) last_sent: Instant,
}

/// What is needed to resume a session.
#[derive(Debug)]
struct Session {
    id: SessionId,
    password: [u8; PASSWORD_LEN],
    timeout: Duration,
    last_zxid: Zxid,
}

impl Conn {
    pub(super) fn new(id: usize, target: SocketAddr, session_timeout: Duration) -> Self {
        let session =
            Session { id: 0, password: [0; PASSWORD_LEN], timeout: session_timeout, last_zxid: Zxid(0) };
        Self {
            id,
            target,
            deaf: false,
            phase: Phase::Closed,
            socket: None,
            out: BytesMut::new(),
            waits_for_room: false,
            has_alarm: false,
            partial: Vec::new(),
            next_xid: 1,
            session,
            last_sent: Instant::now(),
        }
    }

    /// Whether a session is open.
    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// How often something must be sent to keep the session.
    pub(super) fn ping_interval(&self) -> Duration {
        self.session.timeout / 3
    }

    /// The session's timeout.
    pub(crate) const fn timeout(&self) -> Duration {
        self.session.timeout
    }

    /// The last transaction that the server has shown.
    pub(crate) const fn last_zxid(&self) -> Zxid {
        self.session.last_zxid
    }

    /// Puts a request into the output buffer and returns its xid. The reactor sends it after the callback; outside
    /// of one, [`super::reactor::Reactor::flush`] does.
    pub(crate) fn push(&mut self, now: Instant, op: OpCode, request: &Request<'_>) -> i32 {
        let xid = self.next_xid;
        self.next_xid = xid.checked_add(1).unwrap_or(1);
        self.last_sent = now;
        frame::write(&mut self.out, |b| {
            RequestHeader { xid, op: op.as_i32() }.encode(b);
            request.encode(b);
        });
        xid
    }

    pub(super) fn push_ping(&mut self, now: Instant) {
        self.last_sent = now;
        frame::write(&mut self.out, |b| {
            RequestHeader { xid: xid::PING, op: OpCode::Ping.as_i32() }.encode(b);
        });
    }

    /// Ends the connection without a word; the server keeps the session until it times out.
    pub(crate) fn hang_up(&mut self) {
        self.socket = None;
        self.phase = Phase::Closed;
        self.out.clear();
        self.waits_for_room = false;
        self.partial = Vec::new();
    }

    /// Begins to connect. Returns whether the connection is there already.
    pub(super) fn dial(&mut self) -> io::Result<bool> {
        self.hang_up();
        let socket = Socket::new(Domain::for_address(self.target), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if self.deaf {
            // The least there is, so that the server meets the slowness soon.
            socket.set_recv_buffer_size(1)?;
        }
        let connected = match socket.connect(&self.target.into()) {
            Ok(()) => true,
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => false,
            Err(error) => return Err(error),
        };
        self.socket = Some(socket.into());
        self.phase = Phase::Dialing;
        Ok(connected)
    }

    /// The operating system has connected: asks for a session.
    pub(super) fn greet(&mut self, now: Instant) {
        self.phase = Phase::Greeting;
        self.last_sent = now;
        let hello = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: self.session.last_zxid,
            timeout_ms: self.session.timeout.as_millis() as i32,
            session: self.session.id,
            password: &self.session.password,
            read_only: Some(false),
        };
        frame::write(&mut self.out, |b| hello.encode(b));
    }

    /// Sends as much as the socket takes. Returns whether everything went.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        let Some(socket) = &mut self.socket else { return Ok(true) };
        while !self.out.is_empty() {
            match socket.write(&self.out) {
                Ok(sent) if sent == self.out.len() => self.out.clear(),
                Ok(sent) => self.out.advance(sent),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Reads all that is there, into `buffer`, which all connections share, and hands every whole frame on. Nothing tells
    /// of it again, nor, if the connection `ends`, of its end.
    pub(super) fn read(
        &mut self,
        buffer: &mut Vec<u8>,
        ends: bool,
        on: &mut Callback<'_>,
    ) -> Result<(), String> {
        while self.read_once(buffer, on)?.is_some_and(|is_full| is_full || ends) {}
        Ok(())
    }

    /// Whether all the room was taken, so that there may be more; `None` if there certainly is nothing more.
    fn read_once(&mut self, buffer: &mut Vec<u8>, on: &mut Callback<'_>) -> Result<Option<bool>, String> {
        let held = self.partial.len();
        let room = held.max(256 << 10);
        if buffer.len() < held + room {
            buffer.resize(held + room, 0);
        }
        let (start, free) = buffer.split_at_mut(held);
        start.copy_from_slice(&self.partial);
        let Some(socket) = &mut self.socket else { return Ok(None) };
        let room = free.len();
        let count = match socket.read(free) {
            Ok(0) => return Err("closed the connection".into()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(Some(true)),
            Err(error) => return Err(error.to_string()),
        };
        self.partial.clear();
        let now = Instant::now();
        let mut rest = buffer.get(..held + count).unwrap_or_default();
        while let Some((body, after)) = split(rest)? {
            self.accept(now, body, on)?;
            if self.socket.is_none() {
                return Ok(None);
            }
            rest = after;
        }
        self.partial.extend_from_slice(rest);
        Ok(Some(count == room))
    }

    fn accept(&mut self, now: Instant, body: &[u8], on: &mut Callback<'_>) -> Result<(), String> {
        if self.phase == Phase::Greeting {
            return self.greeted(now, body, on);
        }
        let mut reader = Reader::new(body);
        let header =
            ReplyHeader::decode(&mut reader).map_err(|error| format!("sent what is no reply: {error}"))?;
        if header.zxid > self.session.last_zxid {
            self.session.last_zxid = header.zxid;
        }
        match header.xid {
            xid::PING => {}
            xid::NOTIFICATION => on(now, self, Incoming::Event),
            _ => on(now, self, Incoming::Reply { header, body: reader.rest() }),
        }
        Ok(())
    }

    fn greeted(&mut self, now: Instant, body: &[u8], on: &mut Callback<'_>) -> Result<(), String> {
        let answer = ConnectResponse::decode(body)
            .map_err(|error| format!("sent what is no answer to a handshake: {error}"))?;
        if answer.session == 0 || answer.timeout_ms <= 0 {
            if self.session.id == 0 {
                return Err("refused a new session".into());
            }
            self.session.id = 0;
            self.session.password = [0; PASSWORD_LEN];
            self.hang_up();
            on(now, self, Incoming::Expired);
            return Ok(());
        }
        self.session.id = answer.session;
        self.session.password = answer.password;
        self.session.timeout = Duration::from_millis(answer.timeout_ms.unsigned_abs().into());
        self.phase = Phase::Open;
        on(now, self, Incoming::Open);
        Ok(())
    }
}

/// A frame's body and what follows it.
type Split<'a> = (&'a [u8], &'a [u8]);

/// Splits the first frame off, if it is whole.
fn split(input: &[u8]) -> Result<Option<Split<'_>>, String> {
    let Some(length) = frame::peek_len(input) else { return Ok(None) };
    match usize::try_from(length) {
        Ok(length) if length <= MAX_FRAME => {
            Ok(input.get(4..).and_then(|after| after.split_at_checked(length)))
        }
        _ => Err(format!("sent a frame of {length} bytes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_split_when_whole() {
        assert_eq!(split(&[0, 0, 0]).unwrap(), None);
        assert_eq!(split(&[0, 0, 0, 2, 7]).unwrap(), None);
        assert_eq!(split(&[0, 0, 0, 2, 7, 8, 9]).unwrap(), Some((&[7u8, 8][..], &[9u8][..])));
        assert_eq!(split(&[0, 0, 0, 0]).unwrap(), Some((&[][..], &[][..])));
        assert!(split(&[255, 0, 0, 0]).is_err());
        assert!(split(b"HTTP/1.1").is_err());
    }
}
