//! For how long an owner of ephemerals may be told anything.
//!
//! When the core ends a session, its ephemerals go to others. At no moment may it do so while the session's client
//! believes it to live. Let T be the session's timeout.
//!
//! * A client that hears nothing for two thirds of T gives its connection up, by its own clock. So it believes for two
//!   thirds of T after the last bytes that it was sent.
//! * The leader ends a session T after it last heard of it, or later: it rounds up, and a new leader starts all over. Let L
//!   be a moment at which this gateway had not yet sent something that *is proven* to have arrived, and that made the
//!   leader count anew. The leader heard of the session after L, and ends it after L + T.
//!
//! So nothing is written to an owner later than L + T/3, whatever it be: an answer, a ping's answer, an event. It stays
//! in the outbox until L is known to be later. This holds however the links fail, and both at once: the client may be cut
//! off at any moment, and the core, silently or not, at any other.
//!
//! L comes from [rounds](crate::link::touches): the moment at which the client was last heard before a round that was
//! answered. A session that is created counts anew when its createSession is carried out, which was later than that was
//! sent. A revalidation counts anew, too, but a leader answers it that may have been deposed; so a client that comes back
//! has to wait for a round.
//!
//! In normal operation nothing waits: a client says something every third of T, and the round that this needs is asked for
//! at once if the last is older than a sixth. Nor does anybody wait longer for it than his patience allows: see
//! `Connection::doubt`, by which the connection is closed, so that its client can look for another gateway in time. That
//! is a courtesy; it is this module that keeps two clients from holding one lock.
//!
//! What is assumed: clocks that run at the same rate; that bytes, once written, reach the client sooner than the leader
//! ends the session *and* tells somebody; and a leader that has its quorum when it answers a sync. One of Palisade makes
//! sure of that. One of Apache does not: deposed, it may answer until syncLimit has passed, to gateways as to Apache's own
//! servers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::link::touches::{Heard, Touches, Waiter};

/// See the module. Of a session that the core knows.
#[derive(Debug)]
pub(super) struct Lease {
    touches: Arc<Touches>,
    timeout: Duration,
    /// Whether the session may own ephemerals.
    pub(super) owns: bool,
    /// The leader counted anew later than this.
    counted: Option<Instant>,
    /// The leader counts anew later than this, if that is proven.
    heard: Option<Heard>,
    /// While something cannot be written: up to which round it was known that it cannot.
    held: Option<u64>,
    /// The round behind which it is waited for.
    waits: Option<u64>,
}

impl Lease {
    /// Of a session that owns ephemerals or not, and of which the leader was never told.
    pub(super) const fn new(touches: Arc<Touches>, timeout: Duration, owns: bool) -> Self {
        Self { touches, timeout, owns, counted: None, heard: None, held: None, waits: None }
    }

    /// The client was heard, and the leader will be told.
    pub(super) fn heard(&mut self, heard: Heard) {
        self.look(self.touches.arrived());
        // One that waits for an earlier round stays, or one who is heard all the time would never be proven.
        if self.heard.is_none_or(|earlier| earlier.round == heard.round) {
            self.heard = Some(heard);
        }
    }

    /// The session was created, which was asked for at this time.
    pub(super) fn created(&mut self, asked: Instant) {
        self.counted = self.counted.max(Some(asked));
    }

    /// Takes in what is proven.
    fn look(&mut self, arrived: u64) {
        if let Some(heard) = self.heard.take_if(|heard| heard.round <= arrived) {
            self.counted = self.counted.max(Some(heard.at));
        }
    }

    /// Whether a round is needed soon.
    pub(super) fn is_old(&mut self, now: Instant) -> bool {
        self.look(self.touches.arrived());
        self.counted.is_none_or(|counted| counted + self.timeout / 6 < now)
    }

    /// Whether the client may be written to.
    pub(super) fn allows(&mut self, now: Instant) -> bool {
        let arrived = self.touches.arrived();
        self.look(arrived);
        let allows = !self.owns || self.counted.is_some_and(|counted| now <= counted + self.timeout / 3);
        self.held = (!allows).then_some(arrived);
        allows
    }

    /// Whether something waits, as of the last [`Self::allows`].
    pub(super) const fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    /// Nothing waits any more.
    pub(super) const fn release(&mut self) {
        self.held = None;
    }

    /// Has `client` told when [`Self::allows`] may say something else; false if it may already.
    pub(super) fn wait(&mut self, client: Arc<dyn Waiter>) -> bool {
        let Some(held) = self.held else { return true };
        if self.waits == Some(held) {
            return true;
        }
        let waits = self.touches.wait(held, client);
        self.waits = waits.then_some(held);
        waits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Duration = Duration::from_secs(9);

    fn lease() -> (Arc<Touches>, Lease) {
        let touches = Arc::new(Touches::default());
        (Arc::clone(&touches), Lease::new(touches, T, true))
    }

    fn round(touches: &Touches) {
        let (round, _) = touches.begin(0);
        touches.answered(round);
    }

    #[test]
    fn an_owner_is_told_nothing_before_the_leader_is_proven_to_have_heard_of_it() {
        let (touches, mut lease) = lease();
        let heard = touches.touch(1, 9_000);
        lease.heard(heard);
        assert!(!lease.allows(heard.at) && lease.is_old(heard.at));
        let (round, _) = touches.begin(0);
        assert!(!lease.allows(heard.at), "it is asked, and not answered");
        touches.answered(round);
        assert!(lease.allows(heard.at) && !lease.is_old(heard.at));
    }

    #[test]
    fn a_third_of_the_timeout_after_it_was_heard_nothing_is_told_any_more_whatever_the_link_does() {
        let (touches, mut lease) = lease();
        let heard = touches.touch(1, 9_000);
        lease.heard(heard);
        round(&touches);
        assert!(lease.allows(heard.at + T / 3));
        assert!(!lease.allows(heard.at + T / 3 + Duration::from_nanos(1)));
        // The leader is there, and was not told anything new.
        round(&touches);
        assert!(!lease.allows(heard.at + T / 3 + Duration::from_nanos(1)));
        lease.owns = false;
        assert!(lease.allows(heard.at + T));
    }

    #[test]
    fn one_who_is_heard_all_the_time_is_proven_again_and_again() {
        let (touches, mut lease) = lease();
        let mut last = touches.touch(1, 9_000);
        lease.heard(last);
        for _ in 0..3 {
            let (round, _) = touches.begin(0);
            lease.heard(touches.touch(1, 9_000));
            touches.answered(round);
            last = touches.touch(1, 9_000);
            lease.heard(last);
        }
        round(&touches);
        lease.look(touches.arrived());
        assert_eq!(lease.counted, Some(last.at));
    }

    #[test]
    fn a_session_counts_from_when_it_was_asked_for() {
        let (_, mut lease) = lease();
        let asked = Instant::now();
        lease.created(asked);
        assert!(lease.allows(asked + T / 3) && !lease.allows(asked + T / 2));
    }

    struct Nobody;

    impl Waiter for Nobody {
        fn arrived(&self) {}
    }

    #[test]
    fn who_waits_asks_again_if_there_was_news_meanwhile() {
        let (touches, mut lease) = lease();
        assert!(!lease.allows(Instant::now()) && lease.is_holding());
        round(&touches);
        assert!(!lease.wait(Arc::new(Nobody)));
        assert!(!lease.allows(Instant::now()));
        assert!(lease.wait(Arc::new(Nobody)) && lease.wait(Arc::new(Nobody)));
    }
}
