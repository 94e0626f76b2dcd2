//! How a learner's history is made equal to the leader's, as a function of the two (Apache `LearnerHandler.syncFollower`).

use palisade_wire::Zxid;

use crate::log::RecentLog;

/// What brings a learner up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SyncPlan {
    /// It lacks only what is later than `after`.
    Diff { after: Zxid },
    /// It has too much: everything later than `to`, which its log is known to contain.
    Trunc { to: Zxid },
    /// Its history and the log in memory have no known point in common.
    Snap,
}

/// Decides for a learner whose log ends with `peer`.
///
/// Stricter than Apache in one respect: TRUNC is only sent where the learner's log provably contains the target, as an
/// Apache learner that lacks it keeps the first larger transaction.
pub(crate) fn plan(peer: Zxid, log: &RecentLog) -> SyncPlan {
    let last = log.last();
    // Counter 0: it led, or was sent the snapshot of a leader that had proposed nothing yet. So it has all of what
    // that epoch began with, and that is all of our log that is earlier.
    let at_epoch_start = peer.counter() == 0;
    if peer == last {
        SyncPlan::Diff { after: peer }
    } else if peer == Zxid::ZERO || peer < log.base() {
        SyncPlan::Snap
    } else if peer > last {
        if peer.epoch() == last.epoch() && last.counter() != 0 {
            SyncPlan::Trunc { to: last }
        } else {
            SyncPlan::Snap
        }
    } else if at_epoch_start || log.contains(peer) {
        SyncPlan::Diff { after: peer }
    } else {
        SyncPlan::Snap
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    /// A log with entries from `first` of epoch 1 to 0xb, then 1 to 6 of epoch 2.
    fn log(base: Zxid) -> RecentLog {
        let mut log = RecentLog::new(base);
        for counter in base.counter() + 1..=0xb {
            log.push(Zxid::new(1, counter), Bytes::new()).unwrap();
        }
        for counter in 1..=6 {
            log.push(Zxid::new(2, counter), Bytes::new()).unwrap();
        }
        log
    }

    #[test]
    fn decides_as_observed_on_apache() {
        let (diff, trunc) = (|z| SyncPlan::Diff { after: Zxid(z) }, |z| SyncPlan::Trunc { to: Zxid(z) });
        let table = [
            (0x1_0000_0005, diff(0x1_0000_0005)),
            (0x2_0000_0006, diff(0x2_0000_0006)),
            (0x2_0000_0099, trunc(0x2_0000_0006)),
            (0x2_0000_0000, diff(0x2_0000_0000)),
            (0x1_0000_0099, SyncPlan::Snap),
            (0x5_0000_0000, SyncPlan::Snap),
            (0, SyncPlan::Snap),
            (0x1_0000_0001, diff(0x1_0000_0001)),
            (0x1_0000_000b, diff(0x1_0000_000b)),
        ];
        for (peer, expected) in table {
            assert_eq!(plan(Zxid(peer), &log(Zxid::new(1, 1))), expected, "{peer:#x}");
        }
    }

    #[test]
    fn truncation_needs_a_target_that_the_learner_has() {
        // A later epoch: whether that one began with our last transaction is unknown.
        assert_eq!(plan(Zxid::new(3, 4), &log(Zxid::new(1, 1))), SyncPlan::Snap);
    }

    #[test]
    fn what_is_older_than_the_log_in_memory_takes_a_snapshot() {
        let log = log(Zxid::new(1, 4));
        assert_eq!(plan(Zxid::new(1, 3), &log), SyncPlan::Snap);
        assert_eq!(plan(Zxid::new(1, 0), &log), SyncPlan::Snap);
        assert_eq!(plan(Zxid::new(1, 4), &log), SyncPlan::Diff { after: Zxid::new(1, 4) });
    }

    #[test]
    fn an_empty_ensemble_needs_nothing() {
        let empty = RecentLog::new(Zxid::ZERO);
        assert_eq!(plan(Zxid::ZERO, &empty), SyncPlan::Diff { after: Zxid::ZERO });
        assert_eq!(plan(Zxid::new(1, 1), &empty), SyncPlan::Snap);
    }
}
