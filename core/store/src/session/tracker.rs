use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use palisade_wire::SessionId;

use super::SessionState;
use crate::time::Timestamp;

#[derive(Clone, Copy, Debug)]
struct Session {
    /// When its bucket is emptied, in ms; a multiple of the tick.
    expires: u64,
    timeout_ms: i32,
    closing: bool,
    /// 0 is nobody.
    owner: u64,
}

/// Tracks live sessions in buckets of one tick.
///
/// A session expires between its timeout and one tick later after it was last touched. A closing session no longer
/// expires.
#[derive(Clone, Debug)]
pub struct SessionTracker {
    tick_ms: u64,
    sessions: BTreeMap<SessionId, Session>,
    /// Sessions by expiry; closing ones are in none.
    buckets: BTreeMap<u64, BTreeSet<SessionId>>,
}

impl SessionTracker {
    /// No sessions. `tick` is the width of an expiry bucket; less than 1 ms counts as 1 ms.
    pub fn new(tick: Duration) -> Self {
        let tick_ms = u64::try_from(tick.as_millis()).unwrap_or(u64::MAX).max(1);
        Self { tick_ms, sessions: BTreeMap::new(), buckets: BTreeMap::new() }
    }

    /// Starts to track a session, or touches one that is tracked. `timeout_ms` below 0 counts as 0.
    ///
    /// `owner` is an opaque name of the connection that owns it; 0 is nobody.
    pub fn add(&mut self, session: SessionId, timeout_ms: i32, owner: u64, now: Timestamp) {
        let expires = self.expiry(timeout_ms, now);
        let new = Session { expires, timeout_ms, closing: false, owner };
        if let std::collections::btree_map::Entry::Vacant(entry) = self.sessions.entry(session) {
            entry.insert(new);
            self.buckets.entry(expires).or_default().insert(session);
        } else {
            self.touch(session, timeout_ms, now);
            self.set_owner(session, owner);
        }
    }

    /// The session was heard of, and wants to live for `timeout_ms` from now. False if it is not tracked or closing.
    pub fn touch(&mut self, session: SessionId, timeout_ms: i32, now: Timestamp) -> bool {
        let expires = self.expiry(timeout_ms, now);
        let Some(tracked) = self.open(session) else { return false };
        tracked.timeout_ms = timeout_ms;
        let old = tracked.expires;
        if expires != old {
            tracked.expires = expires;
            self.leave_bucket(session, old);
            self.buckets.entry(expires).or_default().insert(session);
        }
        true
    }

    /// Makes `owner` the session's owner. False if it is not tracked or closing.
    pub fn set_owner(&mut self, session: SessionId, owner: u64) -> bool {
        self.open(session).map(|tracked| tracked.owner = owner).is_some()
    }

    /// The session as seen by `owner`; the first to ask owns a session that nobody owns.
    /// Never [`SessionState::Local`]: that is the caller's policy for [`SessionState::Unknown`].
    pub fn check(&mut self, session: SessionId, owner: u64) -> SessionState {
        match self.sessions.get_mut(&session) {
            None => SessionState::Unknown,
            Some(tracked) if tracked.closing => SessionState::Closing,
            Some(tracked) => {
                if tracked.owner == 0 {
                    tracked.owner = owner;
                }
                if tracked.owner == owner { SessionState::Open } else { SessionState::Moved }
            }
        }
    }

    /// Its end is under way: nothing may follow. It stays tracked until [`SessionTracker::remove`].
    pub fn set_closing(&mut self, session: SessionId) {
        let Some(tracked) = self.open(session) else { return };
        tracked.closing = true;
        let expires = tracked.expires;
        self.leave_bucket(session, expires);
    }

    /// Whether the session is tracked and its end is under way.
    pub fn is_closing(&self, session: SessionId) -> bool {
        self.sessions.get(&session).is_some_and(|tracked| tracked.closing)
    }

    /// Whether the session is tracked, closing or not.
    pub fn contains(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }

    /// The timeout in ms that a tracked session last asked for.
    pub fn timeout_ms(&self, session: SessionId) -> Option<i32> {
        self.sessions.get(&session).map(|tracked| tracked.timeout_ms)
    }

    /// Stops to track a session: its closeSession was applied.
    pub fn remove(&mut self, session: SessionId) {
        if let Some(tracked) = self.sessions.remove(&session) {
            self.leave_bucket(session, tracked.expires);
        }
    }

    /// Takes out the sessions whose time is up, in a deterministic order, and marks them as closing.
    pub fn expired(&mut self, now: Timestamp) -> Vec<SessionId> {
        let mut expired = Vec::new();
        while let Some(bucket) = self.buckets.first_entry().filter(|b| *b.key() <= now.as_millis()) {
            expired.extend(bucket.remove());
        }
        for session in &expired {
            if let Some(tracked) = self.sessions.get_mut(session) {
                tracked.closing = true;
            }
        }
        expired
    }

    /// When sessions expire if nothing is heard of them, ascending; closing ones do not.
    pub fn expiries(&self) -> impl Iterator<Item = (Timestamp, &BTreeSet<SessionId>)> {
        self.buckets.iter().map(|(expires, sessions)| (Timestamp::from_millis(*expires), sessions))
    }

    /// When [`SessionTracker::expired`] may next yield something.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.buckets.first_key_value().map(|(expires, _)| Timestamp::from_millis(*expires))
    }

    /// Number of tracked sessions, closing ones included.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether none is tracked.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Forgets all sessions.
    pub fn clear(&mut self) {
        self.sessions.clear();
        self.buckets.clear();
    }

    /// The end of the tick after the one in which the timeout ends.
    fn expiry(&self, timeout_ms: i32, now: Timestamp) -> u64 {
        let ends = now.as_millis().saturating_add(u64::try_from(timeout_ms).unwrap_or(0));
        (ends / self.tick_ms).saturating_add(1).saturating_mul(self.tick_ms)
    }

    fn open(&mut self, session: SessionId) -> Option<&mut Session> {
        self.sessions.get_mut(&session).filter(|tracked| !tracked.closing)
    }

    fn leave_bucket(&mut self, session: SessionId, expires: u64) {
        if let Some(bucket) = self.buckets.get_mut(&expires) {
            bucket.remove(&session);
            if bucket.is_empty() {
                self.buckets.remove(&expires);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn tracker() -> SessionTracker {
        SessionTracker::new(Duration::from_secs(2))
    }

    #[test]
    fn a_session_lives_for_its_timeout_and_at_most_a_tick_more() {
        let mut t = tracker();
        t.add(1, 4000, 7, at(100));
        assert_eq!(t.next_expiry(), Some(at(6000)));
        assert!(t.expired(at(5999)).is_empty());
        assert_eq!(t.expired(at(6000)), [1]);
        assert!(t.is_closing(1) && t.contains(1));
        assert_eq!(t.expired(at(99_999)), []);
        assert_eq!(t.next_expiry(), None);
    }

    #[test]
    fn a_touch_starts_the_timeout_anew() {
        let mut t = tracker();
        t.add(1, 4000, 0, at(0));
        assert!(t.touch(1, 4000, at(3000)));
        assert_eq!(t.next_expiry(), Some(at(8000)));
        assert!(t.touch(1, 10, at(3001)), "a session may ask for less");
        assert_eq!(t.next_expiry(), Some(at(4000)));
        assert!(!t.touch(2, 10, at(0)));
        t.add(1, 20_000, 0, at(3002));
        assert_eq!((t.next_expiry(), t.len()), (Some(at(24_000)), 1));
        assert_eq!(t.timeout_ms(1), Some(20_000));
    }

    #[test]
    fn a_closing_session_neither_lives_on_nor_expires() {
        let mut t = tracker();
        t.add(1, 4000, 0, at(0));
        t.set_closing(1);
        assert!(!t.touch(1, 4000, at(1)) && !t.set_owner(1, 3));
        assert_eq!(t.check(1, 0), SessionState::Closing);
        assert!(t.expired(at(60_000)).is_empty());
        t.remove(1);
        assert!(t.is_empty() && !t.contains(1));
        assert_eq!(t.check(1, 0), SessionState::Unknown);
    }

    #[test]
    fn the_last_to_take_a_session_owns_it() {
        let mut t = tracker();
        t.add(1, 4000, 0, at(0));
        assert_eq!(t.check(1, 5), SessionState::Open, "nobody's session goes to the first who asks");
        assert_eq!(t.check(1, 6), SessionState::Moved);
        assert!(t.set_owner(1, 6));
        assert_eq!((t.check(1, 6), t.check(1, 5)), (SessionState::Open, SessionState::Moved));
    }

    #[test]
    fn sessions_of_one_bucket_expire_together_and_in_order() {
        let mut t = tracker();
        for (session, timeout_ms) in [(9, 3900), (-4, 3000), (5, 100), (6, 30_000)] {
            t.add(session, timeout_ms, 0, at(0));
        }
        assert_eq!(t.expired(at(4000)), [5, -4, 9]);
        t.remove(6);
        assert_eq!(t.next_expiry(), None);
        t.clear();
        assert!(t.is_empty());
    }

    #[test]
    fn extreme_values_do_not_overflow() {
        let mut t = SessionTracker::new(Duration::ZERO);
        t.add(1, i32::MAX, 0, at(u64::MAX - 5));
        t.add(2, -5, 0, at(10));
        assert_eq!(t.expired(at(11)), [2]);
    }
}
