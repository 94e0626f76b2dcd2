//! What was sent to a leader and is not answered yet.

use std::collections::VecDeque;

use palisade_wire::txn::{Txn, TxnHeader, TxnRecord};
use palisade_wire::{OpCode, SessionId};
use rustc_hash::FxHashMap;
use tracing::warn;

use crate::core_link::Ticket;
use crate::link::queue::{Expect, Outgoing};

/// Requests in the order in which they were sent; each kind is answered in that order.
///
/// A leader answers a write by its transaction, of which there is exactly one per write, failed or not; they come in
/// the order of the writes, among those of other gateways and the leader's own.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    writes: VecDeque<Sent>,
    /// How many of `writes` have this key: tells other gateways' transactions without a search.
    keys: FxHashMap<(SessionId, i32), usize>,
    syncs: VecDeque<Sent>,
    revalidations: VecDeque<Sent>,
    /// The number of the next request to be sent.
    next: u64,
    settled: Settled,
}

/// Requests answered since they were last counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    /// How many.
    pub(crate) requests: usize,
    /// What they counted for in [`Limits::bytes`](super::queue::Limits::bytes).
    pub(crate) bytes: usize,
    /// When the last of the answered writes was sent, microseconds on the sender's clock.
    pub(crate) committed: Option<u64>,
}

/// A request, whole: it may have to be sent again.
#[derive(Debug)]
struct Sent {
    /// Its place among all requests.
    number: u64,
    /// When, microseconds on the sender's clock.
    at: u64,
    outgoing: Outgoing,
}

impl Sent {
    /// A failed write's transaction has the error type. Two with session and cxid alike are told apart by type:
    /// the leader's own closeSession has cxid 0, as has a createSession.
    fn is_answered_by(&self, header: &TxnHeader, txn: &Txn) -> bool {
        let Expect::Txn { session, cxid, op } = self.outgoing.expect else { return false };
        let answer = txn.op();
        session == header.session && cxid == header.cxid && (op == answer.as_i32() || answer == OpCode::Error)
    }
}

impl InFlight {
    /// The request is about to be sent.
    pub(crate) fn sent(&mut self, outgoing: Outgoing, at: u64) {
        let sent = Sent { number: self.next, at, outgoing };
        self.next += 1;
        match sent.outgoing.expect {
            Expect::Txn { session, cxid, .. } => {
                *self.keys.entry((session, cxid)).or_default() += 1;
                self.writes.push_back(sent);
            }
            Expect::Sync => self.syncs.push_back(sent),
            Expect::Revalidation(_) => self.revalidations.push_back(sent),
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
                warn!(request = ?skipped.outgoing.expect, "the leader passed over a forwarded request");
            }
        }
        let write = self.remove_write(if in_order { 0 } else { at })?;
        self.settled.committed = Some(write.at);
        Some(write.outgoing.ticket)
    }

    /// The sync that a SYNC answers.
    pub(crate) fn take_sync(&mut self) -> Option<Ticket> {
        let sync = self.syncs.pop_front()?;
        self.settle(&sync.outgoing);
        Some(sync.outgoing.ticket)
    }

    /// The question that a REVALIDATE of `session` answers.
    pub(crate) fn take_revalidation(&mut self, session: SessionId) -> Option<Ticket> {
        let asks = |sent: &Sent| matches!(sent.outgoing.expect, Expect::Revalidation(s) if s == session);
        let at = self.revalidations.iter().position(asks)?;
        let sent = self.revalidations.remove(at)?;
        self.settle(&sent.outgoing);
        Some(sent.outgoing.ticket)
    }

    /// All that is left, in the order in which it was sent.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = Outgoing> + use<> {
        let mut all: Vec<Sent> = self.writes.drain(..).collect();
        all.extend(self.syncs.drain(..));
        all.extend(self.revalidations.drain(..));
        all.sort_unstable_by_key(|sent| sent.number);
        self.keys.clear();
        all.into_iter().map(|sent| sent.outgoing)
    }

    /// The request will not be answered any more, or is answered otherwise.
    pub(crate) fn settle(&mut self, outgoing: &Outgoing) {
        self.settled.requests += 1;
        self.settled.bytes += outgoing.cost();
    }

    /// What was answered since the last call.
    pub(crate) fn take_settled(&mut self) -> Settled {
        std::mem::take(&mut self.settled)
    }

    fn remove_write(&mut self, at: usize) -> Option<Sent> {
        let write = self.writes.remove(at)?;
        if let Expect::Txn { session, cxid, .. } = write.outgoing.expect
            && let Some(count) = self.keys.get_mut(&(session, cxid))
        {
            *count -= 1;
            if *count == 0 {
                self.keys.remove(&(session, cxid));
            }
        }
        self.settle(&write.outgoing);
        Some(write)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use palisade_wire::quorum::{PacketType, QuorumPacket};
    use palisade_wire::{ErrorCode, Zxid};

    use super::*;
    use crate::core_link::Answer;
    use crate::link::queue::Message;
    use crate::link::testing::{Edge, header};

    const SESSION: i64 = 0x65_0000_0000_0001;

    fn send(flight: &mut InFlight, edge: &Arc<Edge>, tag: u64, expect: Expect) {
        let packet = QuorumPacket::new(PacketType::Request, Zxid(-1), Some(Bytes::from_static(&[0; 10])));
        let message = Message::Packet(packet);
        flight.sent(Outgoing { message, expect, ticket: edge.ticket(tag), again: false }, 100 + tag);
    }

    fn sent(flight: &mut InFlight, edge: &Arc<Edge>, tag: u64, cxid: i32, op: OpCode) {
        send(flight, edge, tag, Expect::Txn { session: SESSION, cxid, op: op.as_i32() });
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
        assert_eq!(flight.take_settled(), Settled { requests: 2, bytes: 20, committed: Some(102) });
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
        ticket.answer(Answer::Synced { zxid: Zxid(1) });
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
        for (tag, expect) in
            [(1, Expect::Sync), (2, Expect::Sync), (3, Expect::Revalidation(5)), (4, Expect::Revalidation(6))]
        {
            send(&mut flight, &edge, tag, expect);
        }
        flight.take_sync().unwrap().answer(Answer::Lost);
        flight.take_revalidation(6).unwrap().answer(Answer::Revalidated { valid: true });
        assert!(flight.take_revalidation(6).is_none());
        assert_eq!(edge.take(), ["answer 1: lost", "answer 4: valid true"]);
    }

    #[test]
    fn what_is_left_comes_back_in_the_order_in_which_it_was_sent() {
        let (edge, mut flight) = (Edge::new(), InFlight::default());
        sent(&mut flight, &edge, 1, 7, OpCode::Delete);
        send(&mut flight, &edge, 2, Expect::Revalidation(5));
        sent(&mut flight, &edge, 3, 8, OpCode::Delete);
        send(&mut flight, &edge, 4, Expect::Sync);
        sent(&mut flight, &edge, 5, 9, OpCode::Delete);
        flight.take_write(&record(header(SESSION, 7, 1), delete())).unwrap().void();
        flight.take_all().for_each(drop);
        assert_eq!(edge.take(), ["answer 2: lost", "answer 3: lost", "answer 4: lost", "answer 5: lost"]);
        assert!(flight.take_write(&record(header(SESSION, 8, 2), delete())).is_none());
    }
}
