//! The only clock.

use std::time::Duration;

use palisade_admin::system::wall_clock;
use palisade_store::Timestamp;
use tokio::time::Instant;

/// Monotonic time in milliseconds since the start, and the wall clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    pub(crate) fn now(&self) -> Timestamp {
        let elapsed = self.start.elapsed();
        Timestamp::from_millis(elapsed.as_secs() * 1000 + u64::from(elapsed.subsec_millis()))
    }

    pub(crate) fn instant(&self, at: Timestamp) -> Instant {
        self.start + Duration::from_millis(at.as_millis())
    }

    /// A moment at which to look again when nothing is due.
    pub(crate) fn later(&self) -> Timestamp {
        self.now() + Duration::from_secs(60)
    }

    /// Milliseconds since 1970, as they stand in transactions.
    pub(crate) fn wall_ms(&self) -> i64 {
        wall_clock().as_millis() as i64
    }
}
