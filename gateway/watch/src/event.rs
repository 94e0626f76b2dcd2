//! One event, built once for all who hear of it.

use std::sync::Arc;

use bytes::BytesMut;
use palisade_wire::reply::{EventType, WatchEvent};
use palisade_wire::{Zxid, frame};

/// An event with its frame. Whoever queues it queues a reference.
#[derive(Debug, PartialEq, Eq)]
pub struct Event {
    zxid: Zxid,
    kind: EventType,
    /// Length, header, type, state and path; the path is at the end.
    frame: Box<[u8]>,
    path_len: usize,
}

impl Event {
    /// The event that `zxid` fired on `path`, as the client calls it.
    pub fn new(zxid: Zxid, kind: EventType, path: &str) -> Arc<Self> {
        let mut buf = BytesMut::new();
        frame::write(&mut buf, |b| WatchEvent { zxid, kind, path }.encode(b));
        Arc::new(Self { zxid, kind, frame: buf[..].into(), path_len: path.len() })
    }

    /// The transaction that fired it.
    pub const fn zxid(&self) -> Zxid {
        self.zxid
    }

    /// What happened.
    pub const fn kind(&self) -> EventType {
        self.kind
    }

    /// To which znode, as the client calls it.
    pub fn path(&self) -> &str {
        // It was a `str` when it was encoded.
        std::str::from_utf8(&self.frame[self.frame.len() - self.path_len..]).unwrap_or_default()
    }

    /// All bytes that the client gets.
    pub const fn frame(&self) -> &[u8] {
        &self.frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_the_client_reads() {
        let event = Event::new(Zxid(7), EventType::NodeDeleted, "/a/ä");
        assert_eq!((event.zxid(), event.kind(), event.path()), (Zxid(7), EventType::NodeDeleted, "/a/ä"));
        let mut expected = BytesMut::new();
        frame::write(&mut expected, |b| {
            WatchEvent { zxid: Zxid(7), kind: EventType::NodeDeleted, path: "/a/ä" }.encode(b);
        });
        assert_eq!(event.frame(), &expected[..]);
    }
}
