//! The end of the log, in memory.

use std::collections::VecDeque;

use bytes::Bytes;
use palisade_wire::Zxid;

/// A transaction would leave a gap behind the log's last one, or repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{next} cannot follow {last} in the log")]
pub(crate) struct Gap {
    last: Zxid,
    next: Zxid,
}

/// The newest transactions of a history. Invariant: `base` and the entries' zxids are a contiguous piece of it, in the
/// sense of [`Zxid::follows`].
#[derive(Debug)]
pub(crate) struct RecentLog {
    base: Zxid,
    entries: VecDeque<(Zxid, Bytes)>,
    bytes: usize,
}

impl RecentLog {
    /// A log that continues after `base`.
    pub(crate) fn new(base: Zxid) -> Self {
        Self { base, entries: VecDeque::new(), bytes: 0 }
    }

    /// The zxid just before the first entry: known to be in the history, its payload no longer at hand.
    pub(crate) fn base(&self) -> Zxid {
        self.base
    }

    /// The last zxid.
    pub(crate) fn last(&self) -> Zxid {
        self.entries.back().map_or(self.base, |(zxid, _)| *zxid)
    }

    /// Payload bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether it is known that this very zxid is in the history.
    pub(crate) fn contains(&self, zxid: Zxid) -> bool {
        zxid == self.base || self.entries.binary_search_by_key(&zxid, |(z, _)| *z).is_ok()
    }

    /// The entries later than `zxid`, ascending.
    pub(crate) fn after(&self, zxid: Zxid) -> impl Iterator<Item = &(Zxid, Bytes)> {
        self.entries.range(self.index_after(zxid)..)
    }

    /// How many entries are later than `zxid`.
    pub(crate) fn count_after(&self, zxid: Zxid) -> usize {
        self.entries.len() - self.index_after(zxid)
    }

    /// Where the entries later than `zxid` begin.
    fn index_after(&self, zxid: Zxid) -> usize {
        // Within the last epoch entries are numbered without a gap, so the place can be told without a search.
        let newer = self.last().0.wrapping_sub(zxid.0);
        let guess = usize::try_from(newer).ok().and_then(|newer| self.entries.len().checked_sub(newer));
        match guess {
            Some(at) if at == self.entries.len() => at,
            Some(0) if zxid == self.base => 0,
            Some(at) if at > 0 && self.entries[at - 1].0 == zxid => at,
            _ => self.entries.partition_point(|(z, _)| *z <= zxid),
        }
    }

    /// Adds one. Refuses what is not contiguous.
    pub(crate) fn push(&mut self, zxid: Zxid, payload: Bytes) -> Result<(), Gap> {
        let last = self.last();
        if !zxid.follows(last) {
            return Err(Gap { last, next: zxid });
        }
        self.bytes += payload.len();
        self.entries.push_back((zxid, payload));
        Ok(())
    }

    /// Forgets what is later than `to`. `to` becomes the last zxid.
    pub(crate) fn truncate(&mut self, to: Zxid) {
        while let Some((zxid, payload)) = self.entries.back() {
            if *zxid <= to {
                break;
            }
            self.bytes -= payload.len();
            self.entries.pop_back();
        }
        if self.last() != to {
            *self = Self::new(to);
        }
    }

    /// Forgets the oldest entries, none later than `floor`, until at most `count` entries and `bytes` bytes are left.
    pub(crate) fn trim(&mut self, floor: Zxid, count: usize, bytes: usize) {
        while self.entries.len() > count || self.bytes > bytes {
            match self.entries.front() {
                Some((zxid, payload)) if *zxid <= floor => {
                    self.base = *zxid;
                    self.bytes -= payload.len();
                    self.entries.pop_front();
                }
                _ => break,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> RecentLog {
        let mut log = RecentLog::new(Zxid::new(1, 3));
        for zxid in [Zxid::new(1, 4), Zxid::new(1, 5), Zxid::new(3, 1)] {
            log.push(zxid, Bytes::from_static(b"12")).unwrap();
        }
        log
    }

    #[test]
    fn gaps_and_repetitions_are_refused() {
        let mut log = log();
        for bad in [Zxid::new(3, 1), Zxid::new(3, 3), Zxid::new(4, 2), Zxid::new(2, 1), Zxid::new(4, 0)] {
            assert!(log.push(bad, Bytes::new()).is_err(), "{bad}");
        }
        log.push(Zxid::new(3, 2), Bytes::new()).unwrap();
        assert_eq!(log.last(), Zxid::new(3, 2));
    }

    #[test]
    fn it_knows_its_entries_and_the_one_before() {
        let log = log();
        assert!(log.contains(Zxid::new(1, 3)) && log.contains(Zxid::new(3, 1)));
        assert!(!log.contains(Zxid::new(1, 2)) && !log.contains(Zxid::new(1, 6)));
        assert_eq!(log.after(Zxid::new(1, 4)).count(), 2);
        assert_eq!(log.count_after(Zxid::ZERO), 3);
    }

    #[test]
    fn the_place_of_a_zxid_is_the_same_as_found_by_a_search() {
        let mut log = log();
        for counter in 2..6 {
            log.push(Zxid::new(3, counter), Bytes::new()).unwrap();
        }
        let all: Vec<Zxid> = log.after(Zxid::ZERO).map(|(zxid, _)| *zxid).collect();
        let zxids = [1, 2, 3, 4].into_iter().flat_map(|e| (0..8).map(move |c| Zxid::new(e, c)));
        for zxid in zxids.chain([Zxid(-1), Zxid::ZERO, Zxid(i64::MIN), Zxid(i64::MAX)]) {
            let later: Vec<Zxid> = log.after(zxid).map(|(zxid, _)| *zxid).collect();
            let expected: Vec<Zxid> = all.iter().copied().filter(|z| *z > zxid).collect();
            assert_eq!((later, log.count_after(zxid)), (expected.clone(), expected.len()), "{zxid}");
        }
    }

    #[test]
    fn truncation_keeps_what_is_at_or_before_the_target() {
        let mut kept = log();
        kept.truncate(Zxid::new(1, 5));
        assert_eq!((kept.last(), kept.bytes()), (Zxid::new(1, 5), 4));
        let mut emptied = log();
        emptied.truncate(Zxid::new(1, 1));
        assert_eq!((emptied.base(), emptied.last(), emptied.bytes()), (Zxid::new(1, 1), Zxid::new(1, 1), 0));
    }

    #[test]
    fn trimming_stops_at_the_floor() {
        let mut log = log();
        log.trim(Zxid::new(1, 4), 0, 0);
        assert_eq!((log.base(), log.bytes()), (Zxid::new(1, 4), 4));
        log.trim(Zxid::new(3, 1), 1, 100);
        assert_eq!((log.base(), log.last()), (Zxid::new(1, 5), Zxid::new(3, 1)));
    }
}
