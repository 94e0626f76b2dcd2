//! What was sent to the leader on this connection and is not answered yet.

use std::collections::VecDeque;

use palisade_wire::txn::{Txn, TxnHeader, TxnRecord};
use palisade_wire::{OpCode, SessionId};
use rustc_hash::FxHashMap;
use tracing::warn;

use crate::core_link::Ticket;
use crate::link::queue::Expect;

/// Requests in the order in which they were sent; each kind is answered in that order.
///
/// A leader answers a write by its transaction, of which there is exactly one per write, failed or not; they come in
/// the order of the writes, among those of other gateways and the leader's own.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    writes: VecDeque<Write>,
    /// How many of `writes` have this key: tells other gateways' transactions without a search.
    keys: FxHashMap<(SessionId, i32), usize>,
    syncs: VecDeque<Waiting>,
    revalidations: VecDeque<(SessionId, Waiting)>,
    settled: Settled,
}

/// Requests answered since they were last counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(crate) requests: usize,
    pub(crate) bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    cost: usize,
}

#[derive(Debug)]
struct Write {
    session: SessionId,
    cxid: i32,
    op: i32,
    waiting: Waiting,
}

impl Write {
    /// A failed write's transaction has the error type. Two with session and cxid alike are told apart by type:
    /// the leader's own closeSession has cxid 0, as has a createSession.
    fn is_answered_by(&self, header: &TxnHeader, txn: &Txn) -> bool {
        let op = txn.op();
        self.session == header.session
            && self.cxid == header.cxid
            && (self.op == op.as_i32() || op == OpCode::Error)
    }
}

impl InFlight {
    /// The request is about to be sent.
    pub(crate) fn sent(&mut self, expect: Expect, ticket: Ticket, cost: usize) {
        let waiting = Waiting { ticket, cost };
        match expect {
            Expect::Txn { session, cxid, op } => {
                *self.keys.entry((session, cxid)).or_default() += 1;
                self.writes.push_back(Write { session, cxid, op, waiting });
            }
            Expect::Sync => self.syncs.push_back(waiting),
            Expect::Revalidation(session) => self.revalidations.push_back((session, waiting)),
        }
    }

    /// The write that this transaction answers, if it was sent from here.
    ///
    /// Writes that were sent before it and should have been answered before it never will be: their tickets answer
    /// [`Lost`](crate::core_link::Answer::Lost).
    pub(crate) fn take_write(&mut self, record: &TxnRecord) -> Option<Ticket> {
        let TxnRecord { header, txn, .. } = record;
        if !self.keys.contains_key(&(header.session, header.cxid)) {
            return None;
        }
        let at = self.writes.iter().position(|w| w.is_answered_by(header, txn))?;
        // A closeSession with cxid 0 may be the leader's own, out of order: it says nothing about earlier writes.
        let in_order = header.cxid != 0;
        if in_order {
            for _ in 0..at {
                let skipped = self.remove_write(0)?;
                warn!(
                    session = format_args!("{:#x}", skipped.session),
                    cxid = skipped.cxid,
                    op = skipped.op,
                    "the leader passed over a forwarded request"
                );
            }
        }
        let write = self.remove_write(if in_order { 0 } else { at })?;
        Some(write.waiting.ticket)
    }

    /// The sync that a SYNC answers.
    pub(crate) fn take_sync(&mut self) -> Option<Ticket> {
        let sync = self.syncs.pop_front()?;
        Some(self.settle(sync))
    }

    /// The question that a REVALIDATE of `session` answers.
    pub(crate) fn take_revalidation(&mut self, session: SessionId) -> Option<Ticket> {
        let at = self.revalidations.iter().position(|(s, _)| *s == session)?;
        let (_, waiting) = self.revalidations.remove(at)?;
        Some(self.settle(waiting))
    }

    /// What was answered since the last call.
    pub(crate) fn take_settled(&mut self) -> Settled {
        std::mem::take(&mut self.settled)
    }

    fn remove_write(&mut self, at: usize) -> Option<Write> {
        let write = self.writes.remove(at)?;
        let key = (write.session, write.cxid);
        if let Some(count) = self.keys.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.keys.remove(&key);
            }
        }
        self.settled.requests += 1;
        self.settled.bytes += write.waiting.cost;
        Some(write)
    }

    fn settle(&mut self, waiting: Waiting) -> Ticket {
        self.settled.requests += 1;
        self.settled.bytes += waiting.cost;
        waiting.ticket
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use palisade_wire::ErrorCode;

    use super::*;
    use crate::core_link::Answer;
    use crate::link::testing::{Edge, header};

    const SESSION: i64 = 0x65_0000_0000_0001;

    fn sent(flight: &mut InFlight, edge: &Arc<Edge>, tag: u64, cxid: i32, op: OpCode) {
        let expect = Expect::Txn { session: SESSION, cxid, op: op.as_i32() };
        flight.sent(expect, edge.ticket(tag), 10);
    }

    const fn record(header: TxnHeader, txn: Txn) -> TxnRecord {
        TxnRecord { header, txn, digest: None }
    }

    fn delete() -> Txn {
        Txn::Delete("/a".to_owned())
    }

    #[test]
    fn a_write_is_answered_by_its_own_transaction_or_its_error() {
        let (edge, mut flight) = (Edge::new(), InFlight::default());
        sent(&mut flight, &edge, 1, 7, OpCode::Delete);
        sent(&mut flight, &edge, 2, 8, OpCode::Delete);
        assert!(flight.take_write(&record(header(SESSION, 9, 1), delete())).is_none(), "another gateway's");
        assert!(
            flight.take_write(&record(header(SESSION + 1, 7, 2), delete())).is_none(),
            "another session's"
        );
        flight.take_write(&record(header(SESSION, 7, 3), delete())).unwrap().answer(Answer::Lost);
        let error = Txn::Error(ErrorCode::NO_NODE);
        flight.take_write(&record(header(SESSION, 8, 4), error)).unwrap().answer(Answer::Lost);
        assert_eq!(edge.take(), ["answer 1: lost", "answer 2: lost"]);
        assert_eq!(flight.take_settled(), Settled { requests: 2, bytes: 20 });
        assert_eq!(flight.take_settled(), Settled::default());
    }

    #[test]
    fn a_write_that_the_leader_passed_over_is_lost_before_the_next_is_answered() {
        let (edge, mut flight) = (Edge::new(), InFlight::default());
        for (tag, cxid) in [(1, 7), (2, 8), (3, 9)] {
            sent(&mut flight, &edge, tag, cxid, OpCode::Delete);
        }
        let ticket = flight.take_write(&record(header(SESSION, 8, 1), delete())).unwrap();
        assert_eq!(edge.take(), ["answer 1: lost"]);
        ticket.answer(Answer::Synced { zxid: palisade_wire::Zxid(1) });
        assert!(flight.take_write(&record(header(SESSION, 7, 2), delete())).is_none());
        drop(flight);
        assert_eq!(edge.take(), ["answer 2: synced 0x1", "answer 3: lost"]);
    }

    #[test]
    fn a_session_that_the_leader_expires_answers_no_create_session_and_passes_over_nothing() {
        let (edge, mut flight) = (Edge::new(), InFlight::default());
        sent(&mut flight, &edge, 1, 5, OpCode::Delete);
        sent(&mut flight, &edge, 2, 0, OpCode::CreateSession);
        sent(&mut flight, &edge, 3, 0, OpCode::CloseSession);
        let closed = flight.take_write(&record(header(SESSION, 0, 1), Txn::CloseSession(None))).unwrap();
        closed.answer(Answer::Lost);
        assert_eq!(edge.take(), ["answer 3: lost"]);
        flight.take_write(&record(header(SESSION, 5, 2), delete())).unwrap().void();
        flight.take_write(&record(header(SESSION, 0, 3), Txn::CreateSession(4_000))).unwrap().void();
        assert_eq!(edge.take(), [""; 0]);
    }

    #[test]
    fn syncs_are_answered_in_order_and_revalidations_by_session() {
        let (edge, mut flight) = (Edge::new(), InFlight::default());
        flight.sent(Expect::Sync, edge.ticket(1), 0);
        flight.sent(Expect::Sync, edge.ticket(2), 0);
        flight.sent(Expect::Revalidation(5), edge.ticket(3), 0);
        flight.sent(Expect::Revalidation(6), edge.ticket(4), 0);
        flight.take_sync().unwrap().answer(Answer::Lost);
        flight.take_revalidation(6).unwrap().answer(Answer::Revalidated { valid: true });
        assert!(flight.take_revalidation(6).is_none());
        assert_eq!(edge.take(), ["answer 1: lost", "answer 4: valid true"]);
    }
}
