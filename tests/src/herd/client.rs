//! One session, on one connection at a time.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use palisade_wire::connect::{ConnectRequest, ConnectResponse};
use palisade_wire::reply::{EventType, ReplyHeader, WatchEvent};
use palisade_wire::request::{Create, PathWatch, Request, RequestHeader, SetWatches, xid};
use palisade_wire::{Acl, DecodeError, ErrorCode, OpCode, Reader, SessionId, Stat, Zxid, frame};

use crate::wait::PATIENCE;

const MAX_FRAME: usize = 4 << 20;
const TIMEOUT_MS: i32 = 10_000;

/// Why a client did not get what it asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The connection ended.
    Disconnected,
    /// The session has ended, the server says.
    Expired,
    /// Nothing came for the client's patience.
    Silence,
    /// The answer was an error.
    Refused(ErrorCode),
    /// The answer was not one that a server may give.
    Nonsense(String),
}

fn nonsense(error: DecodeError) -> Trouble {
    Trouble::Nonsense(error.to_string())
}

/// How a client watches a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Watch {
    Data,
    Existence,
    Children,
    Persistent,
    Recursive,
}

impl Watch {
    /// Whether this event uses up such a watch of its path.
    const fn ends_with(self, event: EventType) -> bool {
        match self {
            Self::Data | Self::Existence => !matches!(event, EventType::NodeChildrenChanged),
            Self::Children => matches!(event, EventType::NodeChildrenChanged | EventType::NodeDeleted),
            Self::Persistent | Self::Recursive => false,
        }
    }
}

/// A session. It knows what it watches, as clients do.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    input: BytesMut,
    xid: i32,
    session: SessionId,
    password: [u8; 16],
    timeout_ms: i32,
    last: Zxid,
    watches: BTreeSet<(Watch, String)>,
    events: Vec<(EventType, String)>,
}

fn open(address: &str, patience: Duration) -> Result<TcpStream, Trouble> {
    let stream = TcpStream::connect(address).map_err(|_| Trouble::Disconnected)?;
    stream.set_nodelay(true).expect("a socket option of every TCP socket");
    stream.set_read_timeout(Some(patience)).expect("a socket option of every TCP socket");
    Ok(stream)
}

impl Client {
    /// Connects and begins a session.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn connect(address: &str, timeout_ms: i32) -> Result<Self, Trouble> {
        Self::connect_with(address, timeout_ms, PATIENCE)
    }

    /// The same for a client that waits no longer than this for an answer.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn connect_with(address: &str, timeout_ms: i32, patience: Duration) -> Result<Self, Trouble> {
        let mut client = Self::unconnected(address, timeout_ms, patience)?;
        client.shake_hands()?;
        Ok(client)
    }

    fn unconnected(address: &str, timeout_ms: i32, patience: Duration) -> Result<Self, Trouble> {
        Ok(Self {
            stream: open(address, patience)?,
            input: BytesMut::new(),
            xid: 0,
            session: 0,
            password: [0; 16],
            timeout_ms,
            last: Zxid::ZERO,
            watches: BTreeSet::new(),
            events: Vec::new(),
        })
    }

    /// Says to be the client of this session, who has seen this much.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn present(
        address: &str,
        (session, password): (SessionId, [u8; 16]),
        last: Zxid,
    ) -> Result<Self, Trouble> {
        let mut client = Self::unconnected(address, TIMEOUT_MS, PATIENCE)?;
        (client.session, client.password, client.last) = (session, password, last);
        client.shake_hands()?;
        Ok(client)
    }

    /// Goes on with the session on another connection, and sets its watches again.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn reconnect(&mut self, address: &str) -> Result<(), Trouble> {
        let patience = self.stream.read_timeout().ok().flatten().unwrap_or(PATIENCE);
        self.stream = open(address, patience)?;
        self.input.clear();
        self.shake_hands()?;
        let paths = |kind| {
            let of_kind = self.watches.iter().filter(move |(k, _)| *k == kind);
            of_kind.map(|(_, path)| path.clone().into()).collect()
        };
        let request = Request::SetWatches(SetWatches {
            relative_zxid: self.last,
            data: paths(Watch::Data),
            exist: paths(Watch::Existence),
            child: paths(Watch::Children),
            persistent: paths(Watch::Persistent),
            recursive: paths(Watch::Recursive),
        });
        if self.watches.is_empty() {
            return Ok(());
        }
        self.call_as(xid::SET_WATCHES, OpCode::SetWatches2, &request).map(|_| ())
    }

    fn shake_hands(&mut self) -> Result<(), Trouble> {
        let (session, password) = (self.session, self.password);
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: self.last,
            timeout_ms: self.timeout_ms,
            session,
            password: &password,
            read_only: Some(false),
        };
        self.send(|b| request.encode(b))?;
        let response = ConnectResponse::decode(&self.frame()?).map_err(nonsense)?;
        if response.session == 0 || response.timeout_ms <= 0 {
            return Err(Trouble::Expired);
        }
        (self.session, self.password) = (response.session, response.password);
        Ok(())
    }

    /// Its session's id.
    pub const fn session(&self) -> SessionId {
        self.session
    }

    /// What proves that the session is its own.
    pub const fn password(&self) -> [u8; 16] {
        self.password
    }

    /// How many watch events it received.
    pub const fn events(&self) -> usize {
        self.events.len()
    }

    /// Whether it received such an event.
    pub fn was_told(&self, kind: EventType, path: &str) -> bool {
        self.events.iter().any(|(k, p)| *k == kind && p == path)
    }

    /// Asks, and waits for the answer; events that come before it are counted.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn call(&mut self, op: OpCode, request: &Request<'_>) -> Result<Bytes, Trouble> {
        self.xid += 1;
        self.call_as(self.xid, op, request)
    }

    /// Waits until the server has all that is committed.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn sync(&mut self) -> Result<(), Trouble> {
        self.call(OpCode::Sync, &Request::Sync(Some("/".into()))).map(|_| ())
    }

    /// Asks without waiting for the answer; several may be on their way.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn post(&mut self, op: OpCode, request: &Request<'_>) -> Result<(), Trouble> {
        self.xid += 1;
        let xid = self.xid;
        self.send(|b| {
            RequestHeader { xid, op: op.as_i32() }.encode(b);
            request.encode(b);
        })
    }

    /// Waits for the answer to the oldest request that was only posted.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn answer(&mut self) -> Result<ErrorCode, Trouble> {
        loop {
            let frame = self.frame()?;
            let header = ReplyHeader::decode(&mut Reader::new(&frame)).map_err(nonsense)?;
            if header.xid != xid::NOTIFICATION {
                self.last = self.last.max(header.zxid);
                return Ok(header.err);
            }
        }
    }

    /// Says that it is still there, and waits until the server says so, too.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn ping(&mut self) -> Result<(), Trouble> {
        self.call_as(xid::PING, OpCode::Ping, &Request::Ping).map(|_| ())
    }

    /// Says that it is still there, and waits for nothing.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn nod(&mut self) -> Result<(), Trouble> {
        self.send(|b| {
            RequestHeader { xid: xid::PING, op: OpCode::Ping.as_i32() }.encode(b);
            Request::Ping.encode(b);
        })
    }

    /// Waits until it hears anything, for this long at the most; whether it did.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn listen(&mut self, patience: Duration) -> Result<bool, Trouble> {
        self.stream.set_read_timeout(Some(patience)).map_err(|_| Trouble::Disconnected)?;
        match self.frame() {
            Ok(_) => Ok(true),
            Err(Trouble::Silence) => Ok(false),
            Err(trouble) => Err(trouble),
        }
    }

    fn call_as(&mut self, xid: i32, op: OpCode, request: &Request<'_>) -> Result<Bytes, Trouble> {
        self.send(|b| {
            RequestHeader { xid, op: op.as_i32() }.encode(b);
            request.encode(b);
        })?;
        loop {
            let frame = self.frame()?;
            let mut r = Reader::new(&frame);
            let header = ReplyHeader::decode(&mut r).map_err(nonsense)?;
            if header.xid == xid::NOTIFICATION {
                self.heard(&WatchEvent::decode(&header, r.rest()).map_err(nonsense)?);
                continue;
            }
            if header.xid != xid {
                return Err(Trouble::Nonsense(format!("xid {} instead of {xid}", header.xid)));
            }
            if header.zxid < self.last {
                return Err(Trouble::Nonsense(format!("{} after {}", header.zxid, self.last)));
            }
            self.last = header.zxid;
            if !header.err.is_ok() {
                return Err(Trouble::Refused(header.err));
            }
            return Ok(frame.slice_ref(r.rest()));
        }
    }

    fn heard(&mut self, event: &WatchEvent<'_>) {
        self.watches.retain(|(kind, path)| !kind.ends_with(event.kind) || path != event.path);
        self.events.push((event.kind, event.path.to_owned()));
    }

    fn watch(&mut self, kind: Watch, path: &str) {
        self.watches.insert((kind, path.to_owned()));
    }

    /// Creates a znode; its path.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn create(&mut self, path: &str, flags: i32) -> Result<String, Trouble> {
        let (path, data, acl) = (path.into(), Some(&b"0"[..]), Acl::open());
        let body =
            self.call(OpCode::Create, &Request::Create(Create { path, data, acl, flags, ttl_ms: None }))?;
        let path = Reader::new(&body).string("path").map_err(nonsense)?;
        Ok(path.into_owned())
    }

    /// Sets data if the version is this one.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn set(&mut self, path: &str, data: &[u8], version: i32) -> Result<(), Trouble> {
        let request = Request::SetData { path: path.into(), data: Some(data), version };
        self.call(OpCode::SetData, &request).map(|_| ())
    }

    /// Deletes a znode.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn delete(&mut self, path: &str) -> Result<(), Trouble> {
        self.call(OpCode::Delete, &Request::Delete { path: path.into(), version: -1 }).map(|_| ())
    }

    /// Reads data, and watches it.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn get(&mut self, path: &str) -> Result<Vec<u8>, Trouble> {
        let body = self.call(OpCode::GetData, &Request::GetData(watched(path)))?;
        self.watch(Watch::Data, path);
        let data = Reader::new(&body).buffer("data").map_err(nonsense)?;
        Ok(data.to_vec())
    }

    /// The session that owns an ephemeral znode, 0 for another kind's, none if there is no such znode; watches it.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn owner(&mut self, path: &str) -> Result<Option<SessionId>, Trouble> {
        match self.call(OpCode::Exists, &Request::Exists(watched(path))) {
            Ok(body) => {
                self.watch(Watch::Data, path);
                let stat = Stat::decode(&mut Reader::new(&body)).map_err(nonsense)?;
                Ok(Some(stat.ephemeral_owner))
            }
            Err(Trouble::Refused(ErrorCode::NO_NODE)) => {
                self.watch(Watch::Existence, path);
                Ok(None)
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// The names of a znode's children.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn children(&mut self, path: &str) -> Result<Vec<String>, Trouble> {
        let request = Request::GetChildren(PathWatch { path: path.into(), watch: false });
        let body = self.call(OpCode::GetChildren, &request)?;
        Reader::new(&body).vec("children", |r| Ok(r.string("child")?.into_owned())).map_err(nonsense)
    }

    /// Watches the list of children.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn watch_children(&mut self, path: &str) -> Result<(), Trouble> {
        self.call(OpCode::GetChildren, &Request::GetChildren(watched(path)))?;
        self.watch(Watch::Children, path);
        Ok(())
    }

    /// Watches a znode, or all below it as well, for good.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn watch_for_good(&mut self, path: &str, recursive: bool) -> Result<(), Trouble> {
        let mode = i32::from(recursive);
        self.call(OpCode::AddWatch, &Request::AddWatch { path: path.into(), mode })?;
        self.watch(if recursive { Watch::Recursive } else { Watch::Persistent }, path);
        Ok(())
    }

    fn send(&mut self, encode: impl FnOnce(&mut BytesMut)) -> Result<(), Trouble> {
        let mut out = BytesMut::new();
        frame::write(&mut out, encode);
        self.stream.write_all(&out).map_err(|_| Trouble::Disconnected)
    }

    fn frame(&mut self) -> Result<Bytes, Trouble> {
        let mut chunk = [0; 4096];
        loop {
            match frame::split(&mut self.input, MAX_FRAME) {
                Ok(Some(frame)) => return Ok(frame),
                Ok(None) => {}
                Err(e) => return Err(Trouble::Nonsense(e.to_string())),
            }
            match self.stream.read(&mut chunk) {
                Ok(count @ 1..) => self.input.extend_from_slice(&chunk[..count]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Err(Trouble::Silence);
                }
                Ok(0) | Err(_) => return Err(Trouble::Disconnected),
            }
        }
    }
}

fn watched(path: &str) -> PathWatch<'_> {
    PathWatch { path: path.into(), watch: true }
}
