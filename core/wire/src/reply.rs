//! What servers send to clients after the handshake.

use bytes::BufMut;

use crate::error_code::ErrorCode;
use crate::jute::{DecodeError, Reader, Result, Writer};
use crate::request::xid;
use crate::zxid::Zxid;

/// What stands before every reply and event: 16 bytes. A reply whose code is not OK normally has no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyHeader {
    /// The request's xid, or a special one.
    pub xid: i32,
    /// The server's last applied transaction; the client's `lastZxidSeen` later.
    pub zxid: Zxid,
    /// The result.
    pub err: ErrorCode,
}

impl ReplyHeader {
    /// Encoded size in bytes.
    pub const LEN: usize = 16;

    /// Reads one.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self> {
        Ok(Self { xid: r.i32("xid")?, zxid: Zxid(r.i64("zxid")?), err: ErrorCode(r.i32("err")?) })
    }

    /// Writes one, in one piece: a buffer looks for room at every call.
    pub fn encode(&self, buf: &mut impl BufMut) {
        let mut bytes = [0; Self::LEN];
        let mut b = &mut bytes[..];
        b.put_i32(self.xid);
        b.put_i64(self.zxid.0);
        b.put_i32(self.err.0);
        buf.put_slice(&bytes);
    }
}

/// What happened to a watched znode (`Watcher.Event.EventType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i32)]
pub enum EventType {
    /// The znode was created.
    NodeCreated = 1,
    /// The znode was deleted.
    NodeDeleted = 2,
    /// Its data was set.
    NodeDataChanged = 3,
    /// A child was created or deleted.
    NodeChildrenChanged = 4,
}

/// The `state` of every event that a server sends: SyncConnected.
const SYNC_CONNECTED: i32 = 3;

/// A watch event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchEvent<'a> {
    /// The transaction that fired it; `Zxid(-1)` for events that SetWatches catches up with.
    pub zxid: Zxid,
    /// What happened.
    pub kind: EventType,
    /// To which znode.
    pub path: &'a str,
}

impl<'a> WatchEvent<'a> {
    /// Writes header and body (no frame length).
    pub fn encode(&self, buf: &mut impl BufMut) {
        ReplyHeader { xid: xid::NOTIFICATION, zxid: self.zxid, err: ErrorCode::OK }.encode(buf);
        buf.put_i32(self.kind as i32);
        buf.put_i32(SYNC_CONNECTED);
        buf.write_string(self.path);
    }

    /// Reads the body that follows `header`. The path must be UTF-8.
    pub fn decode(header: &ReplyHeader, body: &'a [u8]) -> Result<Self> {
        let mut r = Reader::new(body);
        let kind = match r.i32("event type")? {
            1 => EventType::NodeCreated,
            2 => EventType::NodeDeleted,
            3 => EventType::NodeDataChanged,
            4 => EventType::NodeChildrenChanged,
            other => {
                return Err(DecodeError::Unknown { field: "event type", value: other.into() });
            }
        };
        r.i32("event state")?;
        let path = std::str::from_utf8(r.buffer("event path")?)
            .map_err(|_| DecodeError::Malformed { field: "event path", reason: "not UTF-8" })?;
        Ok(Self { zxid: header.zxid, kind, path })
    }
}
