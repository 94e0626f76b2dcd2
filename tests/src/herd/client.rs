//! One session on one connection, which must never break.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use bytes::{Bytes, BytesMut};
use palisade_wire::connect::{ConnectRequest, ConnectResponse};
use palisade_wire::reply::ReplyHeader;
use palisade_wire::request::{Create, PathWatch, Request, RequestHeader, xid};
use palisade_wire::{Acl, ErrorCode, OpCode, Reader, SessionId, Zxid, frame};

use crate::wait::PATIENCE;

const MAX_FRAME: usize = 4 << 20;

/// Why a client did not get what it asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The connection ended.
    Disconnected,
    /// Nothing came for [`PATIENCE`].
    Silence,
    /// The answer was an error.
    Refused(ErrorCode),
    /// The answer was not one that a server may give.
    Nonsense(String),
}

/// A session.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    input: BytesMut,
    xid: i32,
    session: SessionId,
    last: Zxid,
    events: u64,
}

impl Client {
    /// Connects and begins a session.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn connect(address: &str, timeout_ms: i32) -> Result<Self, Trouble> {
        let stream = TcpStream::connect(address).map_err(|_| Trouble::Disconnected)?;
        stream.set_nodelay(true).expect("a socket option of every TCP socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option of every TCP socket");
        let mut client =
            Self { stream, input: BytesMut::new(), xid: 0, session: 0, last: Zxid::ZERO, events: 0 };
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid::ZERO,
            timeout_ms,
            session: 0,
            password: &[0; 16],
            read_only: Some(false),
        };
        client.send(|b| request.encode(b))?;
        let frame = client.frame()?;
        let response = ConnectResponse::decode(&frame).map_err(|e| Trouble::Nonsense(e.to_string()))?;
        client.session = response.session;
        Ok(client)
    }

    /// Its session's id.
    pub const fn session(&self) -> SessionId {
        self.session
    }

    /// Watch events received.
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// Asks, and waits for the answer; events that come before it are counted.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn call(&mut self, op: OpCode, request: &Request<'_>) -> Result<Bytes, Trouble> {
        self.xid += 1;
        let header = RequestHeader { xid: self.xid, op: op.as_i32() };
        self.send(|b| {
            header.encode(b);
            request.encode(b);
        })?;
        loop {
            let frame = self.frame()?;
            let mut r = Reader::new(&frame);
            let header = ReplyHeader::decode(&mut r).map_err(|e| Trouble::Nonsense(e.to_string()))?;
            if header.xid == xid::NOTIFICATION {
                self.events += 1;
                continue;
            }
            if header.xid != self.xid {
                return Err(Trouble::Nonsense(format!("xid {} instead of {}", header.xid, self.xid)));
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

    /// Creates a znode; its path.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn create(&mut self, path: &str, flags: i32) -> Result<String, Trouble> {
        let (path, data, acl) = (path.into(), Some(&b"0"[..]), Acl::open());
        let body =
            self.call(OpCode::Create, &Request::Create(Create { path, data, acl, flags, ttl_ms: None }))?;
        let path = Reader::new(&body).string("path").map_err(|e| Trouble::Nonsense(e.to_string()))?;
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

    /// Reads data, and watches it.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn get(&mut self, path: &str) -> Result<Vec<u8>, Trouble> {
        let body =
            self.call(OpCode::GetData, &Request::GetData(PathWatch { path: path.into(), watch: true }))?;
        let data = Reader::new(&body).buffer("data").map_err(|e| Trouble::Nonsense(e.to_string()))?;
        Ok(data.to_vec())
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
