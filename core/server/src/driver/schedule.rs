//! When to take snapshots, and when to purge.

use std::time::Duration;

use palisade_store::Timestamp;

/// Counts what was applied since the last snapshot (Apache `SyncRequestProcessor.shouldSnapshot`).
///
/// Each interval is half of the configured number plus a random part of the other half, so that the members
/// of an ensemble do not all write snapshots at the same time.
#[derive(Debug)]
pub(crate) struct Schedule {
    snap_count: u64,
    snap_bytes: u64,
    count: u64,
    bytes: u64,
    due_count: u64,
    due_bytes: u64,
    random: u64,
    purge_interval: Option<Duration>,
    next_purge: Option<Timestamp>,
}

impl Schedule {
    /// `replayed` transactions are in the log since the last snapshot. `seed` makes it differ between members.
    pub(crate) fn new(snap_count: u32, snap_bytes: u64, replayed: u64, seed: u64) -> Self {
        let mut schedule = Self {
            snap_count: snap_count.into(),
            snap_bytes,
            count: replayed,
            bytes: 0,
            due_count: 0,
            due_bytes: 0,
            random: seed | 1,
            purge_interval: None,
            next_purge: None,
        };
        schedule.draw();
        schedule
    }

    /// Purges every `interval`, first after one.
    pub(crate) fn purge_every(mut self, interval: Option<Duration>, now: Timestamp) -> Self {
        self.purge_interval = interval;
        self.next_purge = interval.map(|interval| now + interval);
        self
    }

    /// Counts a transaction of `bytes`. True if a snapshot is due; the count then starts anew.
    pub(crate) fn applied(&mut self, bytes: usize) -> bool {
        self.count += 1;
        self.bytes += bytes as u64;
        let due = self.count > self.due_count || self.bytes > self.due_bytes;
        if due {
            self.restart();
        }
        due
    }

    /// A snapshot was made by other means.
    pub(crate) fn restart(&mut self) {
        (self.count, self.bytes) = (0, 0);
        self.draw();
    }

    pub(crate) const fn next_purge(&self) -> Option<Timestamp> {
        self.next_purge
    }

    /// Whether to purge now; the next one is then an interval away.
    pub(crate) fn purge_due(&mut self, now: Timestamp) -> bool {
        let due = self.next_purge.is_some_and(|at| at <= now);
        if due {
            self.next_purge = self.purge_interval.map(|interval| now + interval);
        }
        due
    }

    fn draw(&mut self) {
        // Xorshift: any spread will do.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let between = |whole: u64| whole / 2 + self.random % (whole / 2).max(1);
        (self.due_count, self.due_bytes) = (between(self.snap_count), between(self.snap_bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_are_due_between_half_and_the_whole_count() {
        for seed in 0..50 {
            let mut schedule = Schedule::new(100, u64::MAX, 0, seed);
            for _ in 0..3 {
                let after = (1..).find(|_| schedule.applied(10)).unwrap();
                assert!((51..=100).contains(&after), "{after} with seed {seed}");
            }
        }
    }

    #[test]
    fn bytes_make_one_due_as_well_and_replayed_transactions_count() {
        let mut schedule = Schedule::new(1000, 100, 0, 7);
        let after = (1..).find(|_| schedule.applied(30)).unwrap();
        assert!((2..=4).contains(&after), "{after}");
        assert!(Schedule::new(100, u64::MAX, 100, 7).applied(1));
    }

    #[test]
    fn purges_come_an_interval_apart() {
        let at = |s: u64| Timestamp::from_millis(s * 1000);
        let mut schedule = Schedule::new(100, 100, 0, 1).purge_every(Some(Duration::from_secs(10)), at(5));
        assert!(!schedule.purge_due(at(14)));
        assert!(schedule.purge_due(at(15)));
        assert!(!schedule.purge_due(at(16)));
        assert_eq!(schedule.next_purge(), Some(at(25)));
    }
}
