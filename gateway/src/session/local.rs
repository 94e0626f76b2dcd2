//! Sessions that the core does not know: no transaction begins or ends them, and their pings stay here
//! (Apache `LocalSessionTracker`).
//!
//! A session whose client is not heard for its timeout loses its place here, no more: the client may have moved to
//! another gateway, and may come back (see [`adoption`](super::adoption)).
//!
//! Before its first write, a local session becomes a global one under the same id. Apache waits for the first ephemeral
//! znode, and its leader must then take every unknown session for a local one: it applies a late write of a session
//! that has expired, whose lock somebody else may hold by then. It counts as global from the moment that its
//! createSession is applied to the replica: what the core knows, not what was asked of it.

use std::collections::VecDeque;
use std::time::Duration;

use palisade_store::{SessionTracker, Timestamp};
use palisade_wire::SessionId;
use parking_lot::Mutex;
use rustc_hash::FxHashSet;
use tokio::time::Instant;

/// How many sessions are remembered that their clients have closed.
const MAX_CLOSED: usize = 65_536;

/// The local sessions of a gateway.
#[derive(Debug)]
pub(crate) struct LocalSessions {
    inner: Mutex<Inner>,
    start: Instant,
    tick: Duration,
    max: usize,
}

#[derive(Debug)]
struct Inner {
    tracker: SessionTracker,
    /// Closed here by their clients, oldest first, and the same as a set.
    closed: VecDeque<SessionId>,
    is_closed: FxHashSet<SessionId>,
}

impl LocalSessions {
    /// None yet, and never more than `max`. A session expires between its timeout and one `tick` later.
    pub(crate) fn new(tick: Duration, max: usize) -> Self {
        let tracker = SessionTracker::new(tick);
        let inner = Inner { tracker, closed: VecDeque::new(), is_closed: FxHashSet::default() };
        Self { inner: Mutex::new(inner), start: Instant::now(), tick, max }
    }

    /// How often to look for expired ones.
    pub(crate) const fn tick(&self) -> Duration {
        self.tick
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Begins a session, or takes one in; `false` if there are too many.
    pub(crate) fn add(&self, session: SessionId, timeout_ms: i32) -> bool {
        let tracker = &mut self.inner.lock().tracker;
        let fits = tracker.len() < self.max || tracker.contains(session);
        if fits {
            tracker.add(session, timeout_ms, 0, self.now());
        }
        fits
    }

    /// Keeps a session alive; whether there is such a local session.
    pub(crate) fn touch(&self, session: SessionId, timeout_ms: i32) -> bool {
        self.inner.lock().tracker.touch(session, timeout_ms, self.now())
    }

    /// The session became global, or is given up.
    pub(crate) fn remove(&self, session: SessionId) {
        self.inner.lock().tracker.remove(session);
    }

    /// The client closed the session: nobody comes back with it.
    pub(crate) fn close(&self, session: SessionId) {
        let Inner { tracker, closed, is_closed } = &mut *self.inner.lock();
        tracker.remove(session);
        if is_closed.insert(session) {
            closed.push_back(session);
        }
        if closed.len() > MAX_CLOSED
            && let Some(oldest) = closed.pop_front()
        {
            is_closed.remove(&oldest);
        }
    }

    /// Whether its client closed the session here, not long ago.
    pub(crate) fn was_closed(&self, session: SessionId) -> bool {
        self.inner.lock().is_closed.contains(&session)
    }

    /// Keeps only these.
    pub(crate) fn keep_only(&self, sessions: &[(SessionId, i32)]) {
        let tracker = &mut self.inner.lock().tracker;
        tracker.clear();
        for (session, timeout_ms) in sessions {
            tracker.add(*session, *timeout_ms, 0, self.now());
        }
    }

    /// Removes and returns the sessions whose time is up.
    pub(crate) fn take_expired(&self) -> Vec<SessionId> {
        let tracker = &mut self.inner.lock().tracker;
        let expired = tracker.expired(self.now());
        for session in &expired {
            tracker.remove(*session);
        }
        expired
    }

    /// Time left, ascending, with the sessions that have so much of it.
    pub(crate) fn expiries(&self) -> Vec<(Duration, Vec<SessionId>)> {
        let (inner, now) = (self.inner.lock(), self.now());
        let expiries = inner.tracker.expiries();
        expiries.map(|(at, sessions)| (at.since(now), sessions.iter().copied().collect())).collect()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.inner.lock().tracker.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn sessions_expire_unless_they_are_heard() {
        let sessions = LocalSessions::new(SECOND, 2);
        assert!(sessions.add(1, 4_000) && sessions.add(2, 4_000));
        assert!(!sessions.add(3, 4_000) && sessions.add(2, 4_000));
        tokio::time::advance(3 * SECOND).await;
        assert!(sessions.touch(2, 4_000));
        tokio::time::advance(2 * SECOND).await;
        assert_eq!(sessions.take_expired(), [1]);
        assert!(!sessions.touch(1, 4_000));
        assert_eq!(sessions.len(), 1);
    }

    #[tokio::test]
    async fn those_that_their_clients_closed_are_remembered_for_a_while() {
        let sessions = LocalSessions::new(SECOND, 9);
        for session in 0..=MAX_CLOSED as i64 {
            sessions.close(session);
        }
        sessions.close(1);
        assert!(!sessions.was_closed(0) && sessions.was_closed(1));
        let inner = sessions.inner.lock();
        assert_eq!((inner.closed.len(), inner.is_closed.len()), (MAX_CLOSED, MAX_CLOSED));
    }
}
