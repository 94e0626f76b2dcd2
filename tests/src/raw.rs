//! A client that sends what it is told to, right or wrong, and keeps all that it receives.

use bytes::{BufMut, Bytes, BytesMut};
use palisade_wire::connect::{ConnectRequest, PASSWORD_LEN};
use palisade_wire::reply::ReplyHeader;
use palisade_wire::request::{Request, xid};
use palisade_wire::{ErrorCode, OpCode, Reader, SessionId, Zxid, frame};

use crate::conformance::Connection;

/// A connection with a session. It never waits longer than a server may take.
#[derive(Debug)]
pub struct RawClient {
    connection: Connection,
    /// Its id.
    pub session: SessionId,
    /// To come back with.
    pub password: [u8; PASSWORD_LEN],
    xid: i32,
    /// Every frame since this was emptied last.
    pub received: Vec<Bytes>,
    /// Every event since this was emptied last: the type's number and the path.
    pub events: Vec<(i32, String)>,
}

impl RawClient {
    /// Begins a session.
    #[track_caller]
    pub fn connect(address: &str) -> Self {
        Self::resume(address, 0, [0; PASSWORD_LEN]).expect("the server has room for a session")
    }

    /// Asks for a session by its id; none if the server does not give it.
    pub fn resume(address: &str, session: SessionId, password: [u8; PASSWORD_LEN]) -> Option<Self> {
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid::ZERO,
            timeout_ms: 30_000,
            session,
            password: &password,
            read_only: Some(false),
        };
        let mut connection = Connection::open(address, &request);
        let (_, response) = connection.connected().ok()??;
        (response.session != 0).then_some(Self {
            connection,
            session: response.session,
            password: response.password,
            xid: 0,
            received: Vec::new(),
            events: Vec::new(),
        })
    }

    /// Sends a request, and leaves its answer to [`Self::reply`].
    pub fn ask(&mut self, op: OpCode, request: &Request<'_>) {
        let mut body = BytesMut::new();
        request.encode(&mut body);
        self.ask_raw(op.as_i32(), &body);
    }

    /// Sends a request; the error and the body of the reply, none if the server closed the connection instead.
    pub fn call(&mut self, op: OpCode, request: &Request<'_>) -> Option<(ErrorCode, Bytes)> {
        self.ask(op, request);
        self.reply()
    }

    /// The same with any type and body.
    pub fn call_raw(&mut self, op: i32, body: &[u8]) -> Option<(ErrorCode, Bytes)> {
        self.ask_raw(op, body);
        self.reply()
    }

    fn ask_raw(&mut self, op: i32, body: &[u8]) {
        self.xid += 1;
        let mut out = BytesMut::new();
        frame::write(&mut out, |buf| {
            buf.put_i32(self.xid);
            buf.put_i32(op);
            buf.put_slice(body);
        });
        self.connection.send(&out);
    }

    /// Waits until an event comes, and keeps it.
    #[track_caller]
    pub fn wait_for_event(&mut self) {
        let reply = self.frame().expect("the server closes no connection");
        assert!(reply.is_none(), "nothing was asked, but answered: {reply:?}");
    }

    /// The next answer, none if the server closed the connection instead.
    pub fn reply(&mut self) -> Option<(ErrorCode, Bytes)> {
        loop {
            if let Some(reply) = self.frame()? {
                return Some(reply);
            }
        }
    }

    /// The next frame, if it is a reply; an event is kept. None if the server closed the connection.
    fn frame(&mut self) -> Option<Option<(ErrorCode, Bytes)>> {
        let frame = self.connection.frame().expect("a server answers, or closes the connection")?;
        self.received.push(frame.clone());
        let mut r = Reader::new(&frame);
        let header = ReplyHeader::decode(&mut r).expect("a reply has a header");
        if header.xid != xid::NOTIFICATION {
            return Some(Some((header.err, Bytes::copy_from_slice(r.rest()))));
        }
        let mut event = || -> Result<_, palisade_wire::DecodeError> {
            let kind = r.i32("type")?;
            r.i32("state")?;
            Ok((kind, r.string("path")?.into_owned()))
        };
        self.events.push(event().expect("an event has a path"));
        Some(None)
    }
}
