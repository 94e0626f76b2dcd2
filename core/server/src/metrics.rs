//! Counters for the monitoring port.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Everything that is counted. Written by one task or thread each, read by anybody.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// Packets from other servers.
    pub(crate) received: Counter,
    /// Packets to other servers.
    pub(crate) sent: Counter,
    /// Proposals made or received.
    pub(crate) proposals: Counter,
    /// Transactions applied.
    pub(crate) commits: Counter,
    /// Proposals of this leader that are not yet applied, and requests that wait for their turn.
    pub(crate) outstanding: Gauge,
    /// Elections begun.
    pub(crate) looking: Counter,
    /// Learners brought up to date without a tree.
    pub(crate) diffs: Counter,
    /// Learners that were sent a tree.
    pub(crate) snaps: Counter,
    /// Sessions revalidated for learners.
    pub(crate) revalidated: Counter,
    /// Sessions that expired.
    pub(crate) expired: Counter,
    /// Transactions after which the tree's digest was not the leader's.
    pub(crate) digest_mismatches: Counter,
    /// Sizes of proposals, bytes.
    pub(crate) proposal_size: Sizes,
    /// Flushes of the log.
    pub(crate) fsync: Summary,
    /// Snapshots written.
    pub(crate) snapshot: Summary,
}

/// A number that only rises.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that stands for the present.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicU64);

impl Gauge {
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The last, smallest and largest of some sizes. Written by one task.
#[derive(Debug)]
pub(crate) struct Sizes {
    last: AtomicU64,
    min: AtomicU64,
    max: AtomicU64,
}

/// No size yet; as −1 it is how Apache shows that.
const NONE: u64 = u64::MAX;

impl Default for Sizes {
    fn default() -> Self {
        Self { last: AtomicU64::new(NONE), min: AtomicU64::new(NONE), max: AtomicU64::new(NONE) }
    }
}

impl Sizes {
    pub(crate) fn record(&self, size: usize) {
        let size = size as u64;
        self.last.store(size, Ordering::Relaxed);
        self.min.fetch_min(size, Ordering::Relaxed);
        if self.max.load(Ordering::Relaxed) == NONE {
            self.max.store(size, Ordering::Relaxed);
        } else {
            self.max.fetch_max(size, Ordering::Relaxed);
        }
    }

    pub(crate) fn reset(&self) {
        for cell in [&self.last, &self.min, &self.max] {
            cell.store(NONE, Ordering::Relaxed);
        }
    }

    /// Last, smallest, largest; −1 each before the first.
    pub(crate) fn get(&self) -> [i64; 3] {
        [&self.last, &self.min, &self.max].map(|cell| cell.load(Ordering::Relaxed) as i64)
    }
}

/// Durations.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    count: AtomicU64,
    sum_micros: AtomicU64,
    max_micros: AtomicU64,
}

impl Summary {
    pub(crate) fn record(&self, duration: Duration) {
        let micros = duration.as_micros() as u64;
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
        self.max_micros.fetch_max(micros, Ordering::Relaxed);
    }

    /// Count, sum in ms, maximum in ms.
    pub(crate) fn get(&self) -> (u64, u64, u64) {
        let load = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        (load(&self.count), load(&self.sum_micros) / 1000, load(&self.max_micros) / 1000)
    }
}
