//! When the core was last heard, and up to when the replica is proven to have everything.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::time::Instant as Clock;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_proven_does_not_go_back() {
        let contact = Contact::new(None);
        assert_eq!(contact.proven(), None);
        contact.proves(2_000);
        let proven = contact.proven().unwrap();
        assert_eq!(proven, contact.start + Duration::from_millis(2));
        contact.proves(1_000);
        assert_eq!(contact.proven(), Some(proven));
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
}
