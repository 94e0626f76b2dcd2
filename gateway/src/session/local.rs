//! Sessions that the core does not know: no transaction begins or ends them, and their pings stay here
//! (Apache `LocalSessionTracker`).
//!
//! Before its first write, a local session becomes a global one under the same id. Apache waits for the first ephemeral
//! znode, and its leader must then take every unknown session for a local one: it applies a late write of a session
//! that has expired, whose lock somebody else may hold by then. It counts as global from the moment that its
//! createSession is applied to the replica: what the core knows, not what was asked of it.

use std::time::Duration;

use palisade_store::{SessionTracker, Timestamp};
use palisade_wire::SessionId;
use parking_lot::Mutex;
use tokio::time::Instant;

/// The local sessions of a gateway.
#[derive(Debug)]
pub(crate) struct LocalSessions {
    tracker: Mutex<SessionTracker>,
    start: Instant,
    tick: Duration,
}

impl LocalSessions {
    /// None yet. A session expires between its timeout and one `tick` later.
    pub(crate) fn new(tick: Duration) -> Self {
        Self { tracker: Mutex::new(SessionTracker::new(tick)), start: Instant::now(), tick }
    }

    /// How often to look for expired ones.
    pub(crate) const fn tick(&self) -> Duration {
        self.tick
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Begins a session.
    pub(crate) fn add(&self, session: SessionId, timeout_ms: i32) {
        self.tracker.lock().add(session, timeout_ms, 0, self.now());
    }

    /// Keeps a session alive; whether there is such a local session.
    pub(crate) fn touch(&self, session: SessionId, timeout_ms: i32) -> bool {
        self.tracker.lock().touch(session, timeout_ms, self.now())
    }

    /// Keeps a session alive and, if there is such a local session, calls `then` before it can be removed.
    pub(crate) fn touch_and(&self, session: SessionId, timeout_ms: i32, then: impl FnOnce()) -> bool {
        let mut tracker = self.tracker.lock();
        let found = tracker.touch(session, timeout_ms, self.now());
        if found {
            then();
        }
        found
    }

    /// The session ended, or became global.
    pub(crate) fn remove(&self, session: SessionId) {
        self.tracker.lock().remove(session);
    }

    /// Removes and returns the sessions whose time is up.
    pub(crate) fn take_expired(&self) -> Vec<SessionId> {
        let mut tracker = self.tracker.lock();
        let expired = tracker.expired(self.now());
        for session in &expired {
            tracker.remove(*session);
        }
        expired
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.tracker.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn sessions_expire_unless_they_are_heard() {
        let sessions = LocalSessions::new(SECOND);
        sessions.add(1, 4_000);
        sessions.add(2, 4_000);
        tokio::time::advance(3 * SECOND).await;
        assert!(sessions.touch(2, 4_000));
        tokio::time::advance(2 * SECOND).await;
        assert_eq!(sessions.take_expired(), [1]);
        assert!(!sessions.touch(1, 4_000));
        assert_eq!(sessions.len(), 1);
    }

    #[tokio::test]
    async fn what_became_global_is_not_here() {
        let sessions = LocalSessions::new(SECOND);
        sessions.add(1, 4_000);
        let mut called = false;
        assert!(sessions.touch_and(1, 4_000, || called = true));
        assert!(called);
        sessions.remove(1);
        assert!(!sessions.touch_and(1, 4_000, || unreachable!("it is gone")));
    }
}
