//! When the core was last heard, and up to when the replica is proven to have everything.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::time::Instant as Clock;

use crate::core_link::{Answer, Requester};

/// Points in time that anybody may look at; none goes back.
#[derive(Debug)]
pub(crate) struct Contact {
    start: Instant,
    /// Microseconds since `start`, plus one; 0 for never. So is the next.
    heard: AtomicU64,
    proven: AtomicU64,
}

impl Contact {
    /// With a replica of this proven age.
    pub(crate) fn new(age: Option<Duration>) -> Self {
        let now = Clock::now().into_std();
        let proven = age.and_then(|age| now.checked_sub(age));
        let start = proven.unwrap_or(now);
        Self { start, heard: AtomicU64::new(0), proven: AtomicU64::new(proven.is_some().into()) }
    }

    /// Microseconds since the start of its time.
    pub(crate) fn now(&self) -> u64 {
        let elapsed = Clock::now().into_std() - self.start;
        u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX - 1)
    }

    /// The leader was heard now.
    pub(crate) fn heard(&self) {
        self.heard.fetch_max(self.now() + 1, Ordering::Relaxed);
    }

    /// What was committed before `at`, by [`Self::now`], is in the replica.
    pub(crate) fn proves(&self, at: u64) {
        self.proven.fetch_max(at + 1, Ordering::Relaxed);
    }

    pub(crate) fn last_heard(&self) -> Option<Instant> {
        self.instant(&self.heard)
    }

    pub(crate) fn proven(&self) -> Option<Instant> {
        self.instant(&self.proven)
    }

    fn instant(&self, at: &AtomicU64) -> Option<Instant> {
        let micros = at.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.start + Duration::from_micros(micros))
    }
}

/// Syncs of the gateway itself, to one leader, each tagged with the time at which it was made. The answer proves that
/// the replica has whatever was committed before that.
///
/// A leader of Palisade makes sure of its quorum before it answers. One of Apache does not (ZOOKEEPER-1675): it goes on
/// for as long as it may be out of touch with its quorum without noticing, and so much less is proven.
#[derive(Debug)]
pub(crate) struct Probe {
    contact: Arc<Contact>,
    doubt: Duration,
    pending: AtomicBool,
}

impl Probe {
    /// Probes of a leader that may answer for so long without having a quorum any more.
    pub(crate) const fn new(contact: Arc<Contact>, doubt: Duration) -> Self {
        Self { contact, doubt, pending: AtomicBool::new(false) }
    }

    /// Whether another one is to be sent: one at a time is. The caller sends it.
    pub(crate) fn begin(&self) -> bool {
        !self.pending.swap(true, Ordering::Relaxed)
    }

    /// It could not be sent.
    pub(crate) fn end(&self) {
        self.pending.store(false, Ordering::Relaxed);
    }
}

impl Requester for Probe {
    fn answered(&self, tag: u64, answer: Answer<'_>) {
        self.end();
        let doubt = u64::try_from(self.doubt.as_micros()).unwrap_or(u64::MAX);
        if let (Answer::Synced { .. }, Some(at)) = (answer, tag.checked_sub(doubt)) {
            self.contact.proves(at);
        }
    }

    fn is_waiting(&self, _tag: u64) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use palisade_wire::Zxid;

    use super::*;

    const SYNCED: Answer<'_> = Answer::Synced { zxid: Zxid(1) };

    #[test]
    fn an_answered_probe_proves_what_was_committed_before_it_was_sent() {
        let contact = Arc::new(Contact::new(None));
        let probe = Probe::new(Arc::clone(&contact), Duration::ZERO);
        assert!(probe.begin() && !probe.begin());
        probe.answered(5, Answer::Lost);
        assert_eq!(contact.proven(), None);
        assert!(probe.begin());
        probe.answered(2_000, SYNCED);
        let proven = contact.proven().unwrap();
        assert_eq!(proven, contact.start + Duration::from_millis(2));
        probe.answered(1_000, SYNCED);
        assert_eq!(contact.proven(), Some(proven), "it does not go back");
    }

    #[test]
    fn what_was_proven_before_a_restart_counts_until_more_is() {
        let age = Duration::from_secs(60);
        let contact = Contact::new(Some(age));
        let proven = contact.proven().unwrap();
        assert!(proven.elapsed() >= age && contact.last_heard().is_none());
        contact.proves(contact.now());
        assert!(contact.proven().unwrap().duration_since(proven) >= age);
    }

    #[test]
    fn a_leader_that_may_be_deposed_proves_less() {
        let contact = Arc::new(Contact::new(None));
        let probe = Probe::new(Arc::clone(&contact), Duration::from_millis(3));
        probe.answered(2_999, SYNCED);
        assert_eq!(contact.proven(), None);
        probe.answered(3_500, SYNCED);
        assert_eq!(contact.proven(), Some(contact.start + Duration::from_micros(500)));
    }
}
