use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use palisade_wire::{SessionId, Sid};

use super::{SessionState, SessionTracker};
use crate::time::Timestamp;

/// Closed sessions that are remembered, so that a late request of one is not taken for a local session's.
const MAX_CLOSED: usize = 1 << 16;

/// The sessions as a leader knows them: who owns them, when they expire, and what a request of an unknown one may do
/// (Apache `LeaderSessionTracker`).
///
/// Owners are opaque names of links; 0 is nobody.
#[derive(Debug)]
pub struct LeaderSessions {
    tracker: SessionTracker,
    closed: Closed,
    sid: Sid,
    may_be_local: bool,
    /// No session expires before this.
    held_until: Timestamp,
}

impl LeaderSessions {
    /// Those that a new leader finds in its tree, with their timeouts in ms: each has its full timeout from now on. A
    /// session expires between its timeout and one `tick` later. `local_sessions` says whether a session that was never
    /// created here may write, as a gateway's local session.
    pub fn new(
        sid: Sid,
        tick: Duration,
        local_sessions: bool,
        sessions: impl Iterator<Item = (SessionId, i32)>,
        now: Timestamp,
    ) -> Self {
        let mut tracker = SessionTracker::new(tick);
        for (session, timeout_ms) in sessions {
            tracker.add(session, timeout_ms, 0, now);
        }
        Self { tracker, closed: Closed::default(), sid, may_be_local: local_sessions, held_until: now }
    }

    /// A learner creates a session; false if it may not. An id that has ended never lives again: its client would take
    /// it for the session that it had. And a session that somebody else has is not taken from there: of two gateways
    /// that make a local session global, the second has a connection that its client has left.
    pub fn create(&mut self, session: SessionId, timeout_ms: i32, owner: u64, now: Timestamp) -> bool {
        let free = matches!(self.tracker.check(session, owner), SessionState::Unknown | SessionState::Open);
        let new = free && !self.closed.contains(session);
        if new {
            self.tracker.add(session, timeout_ms, owner, now);
        }
        new
    }

    /// The end of a session is under way, tracked or not: whatever comes of it from now on is refused.
    pub fn close(&mut self, session: SessionId) {
        self.tracker.set_closing(session);
        self.closed.remember(session);
    }

    /// The end of a session was applied.
    pub fn closed(&mut self, session: SessionId) {
        self.tracker.remove(session);
    }

    /// The session as seen by `owner` (Apache `LeaderSessionTracker.checkSession`).
    pub fn state(&mut self, session: SessionId, owner: u64) -> SessionState {
        let issued_here = (session >> 56) & 0xff == self.sid & 0xff;
        match self.tracker.check(session, owner) {
            SessionState::Unknown if self.closed.contains(session) => SessionState::Closing,
            SessionState::Unknown if self.may_be_local && !issued_here => SessionState::Local,
            known => known,
        }
    }

    /// A session was heard of by a learner.
    pub fn touch(&mut self, session: SessionId, timeout_ms: i32, now: Timestamp) {
        self.tracker.touch(session, timeout_ms, now);
    }

    /// A session has moved to `owner`; false if there is no such session.
    pub fn revalidate(&mut self, session: SessionId, timeout_ms: i32, owner: u64, now: Timestamp) -> bool {
        self.tracker.touch(session, timeout_ms, now) && self.tracker.set_owner(session, owner)
    }

    /// Lets no session expire before `until`.
    pub const fn hold_expiry(&mut self, until: Timestamp) {
        self.held_until = until;
    }

    /// When [`Self::expired`] may next yield something.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.tracker.next_expiry().map(|expiry| expiry.max(self.held_until))
    }

    /// Takes out the sessions whose time is up: each is to be closed.
    pub fn expired(&mut self, now: Timestamp) -> Vec<SessionId> {
        if self.held_until <= now { self.tracker.expired(now) } else { Vec::new() }
    }
}

/// The sessions that were closed last.
#[derive(Debug, Default)]
struct Closed {
    order: VecDeque<SessionId>,
    known: HashSet<SessionId>,
}

impl Closed {
    fn remember(&mut self, session: SessionId) {
        if self.known.insert(session) {
            self.order.push_back(session);
            if self.order.len() > MAX_CLOSED
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
        }
    }

    fn contains(&self, session: SessionId) -> bool {
        self.known.contains(&session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEADER: Sid = 7;
    const TICK: Duration = Duration::from_secs(1);

    fn sessions(local: bool) -> LeaderSessions {
        LeaderSessions::new(LEADER, TICK, local, [(1, 4_000)].into_iter(), at(0))
    }

    const fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn an_id_that_has_ended_never_lives_again() {
        let mut sessions = sessions(true);
        assert_eq!(sessions.state(1, 5), SessionState::Open);
        sessions.close(1);
        assert_eq!(sessions.state(1, 5), SessionState::Closing);
        sessions.closed(1);
        assert_eq!(sessions.state(1, 5), SessionState::Closing, "it is not taken for a local one");
        assert!(!sessions.create(1, 4_000, 5, at(1)) && !sessions.revalidate(1, 4_000, 5, at(1)));
        assert!(sessions.create(2, 4_000, 5, at(1)));
        assert!(!sessions.create(2, 4_000, 6, at(1)) && sessions.create(2, 4_000, 5, at(1)));
        assert_eq!(sessions.state(2, 6), SessionState::Moved);
    }

    #[test]
    fn unknown_sessions_are_local_ones_unless_this_server_would_know_them() {
        let own = LEADER << 56 | 9;
        assert_eq!(sessions(true).state(9, 5), SessionState::Local);
        assert_eq!(sessions(true).state(own, 5), SessionState::Unknown);
        assert_eq!(sessions(false).state(9, 5), SessionState::Unknown);
    }

    #[test]
    fn nobody_expires_while_that_is_held_back() {
        let mut sessions = sessions(true);
        assert_eq!(sessions.next_expiry(), Some(at(5_000)));
        sessions.hold_expiry(at(6_000));
        assert_eq!((sessions.next_expiry(), sessions.expired(at(5_999))), (Some(at(6_000)), vec![]));
        assert_eq!(sessions.expired(at(6_000)), [1]);
    }
}
