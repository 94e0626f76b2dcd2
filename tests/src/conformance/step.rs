//! What a sequence is made of.

use std::fmt;

use bytes::{BufMut, BytesMut};
use palisade_wire::request::{Request, xid};
use palisade_wire::{OpCode, frame};

/// Clients of one sequence, each with at most one connection and session at a time.
pub(super) const SLOTS: usize = 3;

/// Stands in every path for the folder of one run of a sequence; as long as the names that replace it.
pub const ROOT: &str = "/c-------";

/// One thing that a client does, and whose consequences are awaited before the next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Sends requests in one go, then reads all replies.
    Calls(usize, Vec<Call>),
    /// Sends bytes that are not a request and for which the server closes the connection.
    Garbage(usize, Bytes),
    /// Sends part of a request, drops the connection, and leaves the session behind.
    Drop(usize, Bytes),
    /// Opens a connection.
    Connect(usize, Connect),
    /// Somebody's first bytes, whatever they are; the connection is not used any further.
    Handshake(Bytes),
    /// Sends requests and closes the session, while all clients wait for their events.
    Close(usize, Vec<Call>),
}

impl Step {
    /// Whether a quota is made or counted.
    pub(super) fn is_about_quotas(&self) -> bool {
        let calls = match self {
            Self::Calls(_, calls) | Self::Close(_, calls) => calls,
            _ => return false,
        };
        let quota = b"/zookeeper/quota/";
        calls.iter().any(|call| call.body.windows(quota.len()).any(|part| part == quota))
    }
}

/// Bytes that are shown as text.
#[derive(Clone, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// How a client opens a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect {
    /// For which session.
    pub how: How,
    /// The timeout that it asks for, ms.
    pub timeout_ms: i32,
    /// Whether a read-only server would do; none from clients that are too old to know of those.
    pub read_only: Option<bool>,
}

/// For which session a connection is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// For a new session. A session that the slot still has goes on without a connection.
    New,
    /// For the slot's session, after the old connection is gone.
    Resume,
    /// For the slot's session, while the old connection is there.
    TakeOver,
    /// For the slot's session, with another password.
    WrongPassword,
    /// For a session that never was.
    Unknown,
    /// With a zxid that the server has not seen yet.
    Ahead,
}

/// One request.
#[derive(Clone, PartialEq, Eq)]
pub struct Call {
    /// The type, known or not.
    pub op: i32,
    /// The body, well formed or not.
    pub body: Vec<u8>,
    /// Put over the first eight bytes of the body when it is sent: a zxid that only the run knows.
    pub relative: Option<Relative>,
    /// In place of the connection's next one.
    pub xid: Option<i32>,
}

/// A zxid for SetWatches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relative {
    /// Before the sequence.
    Start,
    /// Of the client's last reply.
    LastSeen,
}

impl Call {
    /// A well-formed request.
    pub fn new(op: OpCode, request: &Request<'_>) -> Self {
        let mut body = Vec::new();
        request.encode(&mut body);
        Self { op: op.as_i32(), body, relative: None, xid: None }
    }

    /// A ping.
    pub(super) fn ping() -> Self {
        Self { xid: Some(xid::PING), ..Self::new(OpCode::Ping, &Request::Ping) }
    }

    /// Whether this is of the type `op`.
    pub(super) fn is(&self, op: OpCode) -> bool {
        self.op == op.as_i32()
    }

    /// Whether the type, known or not, is none that makes a transaction.
    pub(super) fn is_read(&self) -> bool {
        !OpCode::from_i32(self.op).is_some_and(OpCode::is_write)
    }

    /// Whether this is no record, of a type that makes a transaction.
    pub(super) fn is_malformed_write(&self) -> bool {
        !self.is_read() && self.request().is_none()
    }

    /// What the body says; none if it is malformed.
    pub(super) fn request(&self) -> Option<Request<'_>> {
        Request::decode(OpCode::from_i32(self.op)?, &self.body).ok()
    }

    /// The frame with this xid, this zxid for SetWatches, and this folder's name, which is as long as [`ROOT`].
    pub(super) fn frame(&self, xid: i32, relative: i64, root: &str) -> BytesMut {
        let mut body = rooted(&self.body, root);
        if let (Some(_), Some(field)) = (self.relative, body.first_chunk_mut::<8>()) {
            *field = relative.to_be_bytes();
        }
        let mut buf = BytesMut::new();
        frame::write(&mut buf, |buf| {
            buf.put_i32(xid);
            buf.put_i32(self.op);
            buf.put_slice(&body);
        });
        buf
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = OpCode::from_i32(self.op);
        match (known, self.request()) {
            (Some(op), Some(request)) => write!(f, "{op:?} {request:?}")?,
            _ => write!(f, "op {} ({known:?}) with the body {}", self.op, self.body.escape_ascii())?,
        }
        if let Some(relative) = self.relative {
            write!(f, " relative to {relative:?}")?;
        }
        self.xid.map_or(Ok(()), |xid| write!(f, " as xid {xid}"))
    }
}

fn rooted(body: &[u8], root: &str) -> Vec<u8> {
    debug_assert_eq!(root.len(), ROOT.len());
    let mut body = body.to_vec();
    let mut at = 0;
    while at + ROOT.len() <= body.len() {
        if body[at..].starts_with(ROOT.as_bytes()) {
            body[at..at + ROOT.len()].copy_from_slice(root.as_bytes());
        }
        at += 1;
    }
    body
}
