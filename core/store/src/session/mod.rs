//! Sessions: ids, passwords, expiry and ownership (Apache `SessionTrackerImpl`, `ExpiryQueue`).

use std::time::Duration;

use palisade_wire::{SessionId, Sid};

use crate::time::Timestamp;

/// What a session may do, as seen from one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// A global session that this connection owns.
    Open,
    /// Not known here, but assumed to be a local session of a gateway: it may write, but own no ephemerals.
    Local,
    /// Not known: it expired, or never was.
    Unknown,
    /// Its end is already under way.
    Closing,
    /// Another connection owns it now.
    Moved,
}

/// Tracks live sessions in buckets of one tick.
///
/// A session expires between its timeout and one tick later after it was last touched.
#[derive(Debug)]
pub struct SessionTracker {
    _tick: Duration,
}

impl SessionTracker {
    /// No sessions. `tick` is the width of an expiry bucket, at least 1 ms.
    pub fn new(tick: Duration) -> Self {
        Self { _tick: tick }
    }

    /// Starts to track a session, or touches one that is tracked. `timeout_ms` below 0 counts as 0.
    ///
    /// `owner` is an opaque name of the connection that owns it; 0 is nobody, and matches everybody.
    pub fn add(&mut self, _session: SessionId, _timeout_ms: i32, _owner: u64, _now: Timestamp) {
        todo!()
    }

    /// The session was heard of. False if it is not tracked or closing.
    pub fn touch(&mut self, _session: SessionId, _timeout_ms: i32, _now: Timestamp) -> bool {
        todo!()
    }

    /// Makes `owner` the session's owner. False if it is not tracked or closing.
    pub fn set_owner(&mut self, _session: SessionId, _owner: u64) -> bool {
        todo!()
    }

    /// The session as seen by `owner`; the first to ask owns a session that nobody owns.
    /// Never [`SessionState::Local`]: that is the caller's policy for [`SessionState::Unknown`].
    pub fn check(&mut self, _session: SessionId, _owner: u64) -> SessionState {
        todo!()
    }

    /// Its end is under way: nothing may follow.
    pub fn set_closing(&mut self, _session: SessionId) {
        todo!()
    }

    /// Whether the session is tracked and its end is under way.
    pub fn is_closing(&self, _session: SessionId) -> bool {
        todo!()
    }

    /// Whether the session is tracked, closing or not.
    pub fn contains(&self, _session: SessionId) -> bool {
        todo!()
    }

    /// Stops to track a session: its closeSession was applied.
    pub fn remove(&mut self, _session: SessionId) {
        todo!()
    }

    /// Takes out the sessions whose time is up, in a deterministic order, and marks them as closing.
    pub fn expired(&mut self, _now: Timestamp) -> Vec<SessionId> {
        todo!()
    }

    /// When [`SessionTracker::expired`] may next yield something.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        todo!()
    }

    /// Number of tracked sessions.
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Whether none is tracked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all sessions.
    pub fn clear(&mut self) {
        todo!()
    }
}

/// The first id that a server hands out: its own id in the high byte, then 40 bits of a clock in ms, then a counter.
/// Later ids count up from it.
pub fn first_id(_sid: Sid, _millis: u64) -> SessionId {
    todo!()
}

/// The password of a session: a function of its id that all servers share, without secrecy
/// (`ZooKeeperServer.generatePasswd`).
pub fn password(_session: SessionId) -> [u8; 16] {
    todo!()
}
