//! Requests beyond what the leader is given at once: sessions take turns, each in its own order, so that one with very
//! many waits behind itself and not before others.
//!
//! What lets go of something - a delete, the end of a session - has a lane of its own, which gets every second turn: under
//! overload, locks are still given back. A session's requests are in one lane at a time.

use palisade_fair::{Fair, Waiting};
use palisade_wire::{OpCode, SessionId};

use crate::link::queue::{Expect, Outgoing};

/// What every request costs besides its bytes.
const BASE_COST: u64 = 1_024;
/// All sessions are alike.
const WEIGHT: u32 = 1;
/// What a session may send in a row: what is answered at once is written at once.
const BURST: u64 = 16 * BASE_COST;

/// See the module.
#[derive(Debug)]
pub(super) struct Backlog {
    releases: Fair<SessionId, Outgoing>,
    others: Fair<SessionId, Outgoing>,
    /// Whether the last turn was not a release's.
    owes_release: bool,
}

/// Whether the request lets go of something, or keeps a session alive.
pub(super) const fn is_release(expect: &Expect) -> bool {
    match expect {
        Expect::Txn { op, .. } => {
            matches!(OpCode::from_i32(*op), Some(OpCode::Delete | OpCode::CloseSession))
        }
        Expect::Revalidation(_) => true,
        Expect::Sync => false,
    }
}

impl Default for Backlog {
    fn default() -> Self {
        Self { releases: Fair::default(), others: Fair::with_bursts(BURST), owes_release: false }
    }
}

impl Backlog {
    pub(super) const fn len(&self) -> usize {
        self.releases.len() + self.others.len()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of what waits.
    pub(super) const fn bytes(&self) -> usize {
        let cost = self.releases.cost() + self.others.cost();
        (cost - BASE_COST * self.len() as u64) as usize
    }

    /// What waits of one session: how many, and their bytes.
    pub(super) fn waiting_of(&self, session: SessionId) -> (usize, usize) {
        let (releases, others) = (self.releases.waiting_of(session), self.others.waiting_of(session));
        let Waiting { items, cost } =
            Waiting { items: releases.items + others.items, cost: releases.cost + others.cost };
        (items, (cost - BASE_COST * items as u64) as usize)
    }

    /// Whether the request can be put behind what waits of its session: where a release waits, only another can.
    pub(super) fn takes(&self, session: SessionId, expect: &Expect) -> bool {
        is_release(expect) || self.releases.waiting_of(session).items == 0
    }

    /// Adds a request that [`Self::takes`] allows.
    pub(super) fn push(&mut self, session: SessionId, outgoing: Outgoing) {
        let is_first = || self.others.waiting_of(session).items == 0;
        let has_lane = is_release(&outgoing.expect) && is_first();
        let lane = if has_lane { &mut self.releases } else { &mut self.others };
        lane.push(session, WEIGHT, BASE_COST + outgoing.cost() as u64, outgoing);
    }

    /// The next request to be given to the leader.
    pub(super) fn pop(&mut self) -> Option<Outgoing> {
        self.owes_release = !self.owes_release;
        let lanes = if self.owes_release {
            [&mut self.releases, &mut self.others]
        } else {
            [&mut self.others, &mut self.releases]
        };
        lanes.into_iter().find_map(|lane| Some(lane.pop()?.1))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use palisade_wire::Zxid;
    use palisade_wire::quorum::{PacketType, QuorumPacket};

    use super::*;
    use crate::link::queue::Message;
    use crate::link::testing::Edge;

    fn request(edge: &Arc<Edge>, session: SessionId, tag: u64, op: OpCode) -> Outgoing {
        let packet = QuorumPacket::new(PacketType::Request, Zxid(-1), Some(vec![0; 10].into()));
        let expect = Expect::Txn { session, cxid: 1, op: op.as_i32() };
        Outgoing { message: Message::Packet(packet), expect, ticket: edge.ticket(tag), again: false }
    }

    struct Bench {
        edge: Arc<Edge>,
        backlog: Backlog,
    }

    impl Bench {
        fn new() -> Self {
            Self { edge: Edge::new(), backlog: Backlog::default() }
        }

        fn push(&mut self, session: SessionId, tag: u64, op: OpCode) {
            let outgoing = request(&self.edge, session, tag, op);
            assert!(self.backlog.takes(session, &outgoing.expect));
            self.backlog.push(session, outgoing);
        }

        /// Tags, as they stand in the answer of a dropped ticket.
        fn pop(&mut self, n: usize) -> Vec<u64> {
            (0..n).for_each(|_| drop(self.backlog.pop()));
            let answers = self.edge.take();
            answers.iter().map(|a| a["answer ".len()..].split(':').next().unwrap().parse().unwrap()).collect()
        }
    }

    #[test]
    fn a_session_with_one_write_does_not_wait_for_one_with_thousands() {
        let mut bench = Bench::new();
        (1..=5_000).for_each(|tag| bench.push(1, tag, OpCode::SetData));
        bench.pop(1_000);
        bench.push(2, 9_999, OpCode::Create);
        assert!(bench.pop(40).contains(&9_999));
        assert!(bench.pop(4_000).is_sorted());
        assert_eq!((bench.backlog.len(), bench.backlog.bytes()), (0, 0));
    }

    #[test]
    fn what_lets_go_has_every_second_turn_but_not_before_its_own_sessions_writes() {
        let mut bench = Bench::new();
        (1..=100).for_each(|tag| bench.push(1, tag, OpCode::SetData));
        bench.push(1, 101, OpCode::Delete);
        (201..=203).for_each(|tag| bench.push(2, tag, OpCode::Delete));
        bench.push(3, 301, OpCode::CloseSession);
        let served = bench.pop(8);
        for tag in [201, 202, 203, 301] {
            assert!(served.contains(&tag), "{served:?}");
        }
        assert_eq!(bench.pop(97), (5..=101).collect::<Vec<_>>());
    }

    #[test]
    fn a_write_is_not_taken_while_a_release_of_its_session_waits() {
        let mut bench = Bench::new();
        bench.push(1, 1, OpCode::Delete);
        let write = request(&bench.edge, 1, 2, OpCode::Create);
        assert!(!bench.backlog.takes(1, &write.expect));
        assert!(bench.backlog.takes(2, &write.expect));
        assert_eq!(bench.backlog.waiting_of(1), (1, 10));
        bench.pop(1);
        assert!(bench.backlog.takes(1, &write.expect));
    }
}
