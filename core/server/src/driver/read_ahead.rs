//! Transactions between their arrival and their application.

use std::collections::VecDeque;

use palisade_wire::Zxid;
use palisade_wire::txn::{TxnHeader, TxnRecord};

/// Records kept, at most; later ones are read again from their payloads.
const MAX: usize = 8192;

/// What the leader's transactions say: read once, to see that they can be, before they are logged; needed once more
/// when they are applied. Holds those of one link.
#[derive(Default)]
pub(super) struct ReadAhead {
    records: VecDeque<TxnRecord>,
}

impl ReadAhead {
    /// Keeps a record, which comes later than all before it.
    pub(super) fn push(&mut self, record: TxnRecord) {
        if self.records.len() < MAX {
            self.records.push_back(record);
        }
    }

    /// The record of `zxid`, if it was kept. Forgets those before it.
    pub(super) fn take(&mut self, zxid: Zxid) -> Option<TxnRecord> {
        while self.records.pop_front_if(|record| record.header.zxid < zxid).is_some() {}
        self.records.pop_front_if(|record| record.header.zxid == zxid)
    }

    /// The headers of what was kept, from `from` on.
    pub(super) fn headers_from(&self, from: Zxid) -> impl Iterator<Item = &TxnHeader> {
        let first = self.records.partition_point(|record| record.header.zxid < from);
        self.records.range(first..).map(|record| &record.header)
    }

    /// Forgets all: another leader may propose something else under the same zxids.
    pub(super) fn clear(&mut self) {
        self.records.clear();
    }
}

#[cfg(test)]
mod tests {
    use palisade_wire::txn::Txn;

    use super::*;

    fn record(counter: u32) -> TxnRecord {
        let header = TxnHeader { session: 1, cxid: 1, zxid: Zxid::new(1, counter), time: counter.into() };
        TxnRecord { header, txn: Txn::CreateSession(counter as i32), digest: None }
    }

    #[test]
    fn a_record_is_given_once_and_only_under_its_zxid() {
        let mut ahead = ReadAhead::default();
        for counter in [3, 4, 6] {
            ahead.push(record(counter));
        }
        let made_from = |counter| ahead.headers_from(Zxid::new(1, counter)).map(|header| header.time);
        assert!(made_from(2).eq([3, 4, 6]) && made_from(4).eq([4, 6]) && made_from(7).eq([]));
        assert_eq!(ahead.take(Zxid::new(1, 2)), None);
        assert_eq!(ahead.take(Zxid::new(1, 4)), Some(record(4)));
        assert_eq!(ahead.take(Zxid::new(1, 4)), None);
        assert_eq!(ahead.take(Zxid::new(1, 5)), None);
        assert_eq!(ahead.take(Zxid::new(1, 6)), Some(record(6)));
        ahead.push(record(7));
        ahead.clear();
        assert_eq!(ahead.take(Zxid::new(1, 7)), None);
    }
}
