//! Requests from the moment that a leader is to have them until they are answered, over any number of leaders.
//!
//! When a leader is lost, nobody can say at once what became of the writes that it was sent. They are kept, and the
//! transactions with which the next leader brings the replica up to date are looked through: a write that is found is
//! answered with its result. What is left then depends on what is known:
//!
//! * Under a **new epoch**, a write that was not found can never commit (see below). It is sent again, in its place:
//!   behind what was sent before it, ahead of everything that is accepted from then on.
//! * If the leader sent a **tree** instead of transactions, the write may be part of it, and nothing tells. In the
//!   **same epoch** it may still wait in the leader's memory or in a socket. Its ticket answers
//!   [`Lost`](crate::core_link::Answer::Lost), which the edge tells the client honestly.
//!
//! Syncs and revalidations have no effect that could be doubled, and are always sent again. What was never sent keeps
//! its place. Nothing is sent again for somebody who does not wait any more: a client that gave up its connection may
//! have gone on elsewhere, and a write of the past must not overtake what it did there. What is sent again still counts
//! against the limits of the [`Queue`](super::queue::Queue), which it passed once; so there is never more of it.
//!
//! # Why absent under a new epoch means never
//!
//! Let a write be sent to the leader of epoch *e*, and let this gateway be synchronised (UPTODATE) by the leader of
//! epoch *f* > *e* without having received a transaction of the write.
//!
//! 1. *Only the leader of e can turn it into a transaction, and only as one of epoch e.* Its bytes went into one
//!    connection, whose other end belongs to that term of office: when it ends, a leader closes its learners' links and
//!    drops what was read from them (in Apache, the `LearnerHandler` and the request queue belong to the
//!    `LeaderZooKeeperServer` of that term, and a later term of the same process gets new ones). Until then it may well
//!    do so: buffered requests, and requests of a leader that does not know yet that it is deposed, become proposals of
//!    epoch *e*.
//! 2. *A proposal of epoch e that is not in the initial history of f never gets a quorum.* UPTODATE is sent only after
//!    a quorum Q has promised *f* (ACKEPOCH) and adopted the history of its leader (ACK of NEWLEADER). Whoever has
//!    promised *f* acknowledges nothing of *e* any more. So a quorum for the proposal would have to share a member with
//!    Q that had logged it before its promise; the leader's history is at least as recent as that of every member of Q,
//!    and would contain it.
//! 3. *Nor does it come back with the log of the old leader, or of a follower that kept it.* From then on every quorum
//!    has a member whose current epoch is at least *f*, and whoever wins an election has the most recent (epoch, zxid)
//!    of a quorum; a log that ends in *e* without that history loses, and its tail is truncated or replaced when its
//!    owner joins.
//! 4. *What is in the initial history of f, this gateway has received.* The transactions that it is sent begin right
//!    behind its own last one, without a gap, and up to UPTODATE include all of that history. A replica that was replaced
//!    by a tree, or told to forget transactions, is the case in which this does not hold, and is treated so.
//!
//! Hence the write has no effect, and never will: sent again, it has at most one. The argument needs of a leader no more
//! than Zab promises, so it holds for Apache's leaders as well. A second election while this one is being dealt with
//! changes nothing: what was not sent to the leader of *f* is still known to be without effect, and what was, is in doubt
//! as of *f*.

//!
//! # Why not within an epoch
//!
//! If the link breaks while its leader goes on, a write that was sent may still become a transaction of the same epoch:
//! its bytes may wait in the old connection's socket, or in the leader's queue before preparation. That the new link was
//! synchronised without it says nothing, nor does a SYNC alone, which waits for what was *proposed* before it.
//!
//! A REVALIDATE of its session with a SYNC behind it would tell. From the REVALIDATE on, the new link owns the session, and
//! what came by the old one is refused when it is prepared (SESSION_MOVED); what was prepared before is applied here
//! before the SYNC is answered. A write that was not seen by then has no effect and, *while the session lives*, never will:
//! it could be sent again, under another cxid, as the refusal of the first may still come. It is not done, because
//!
//! * an Apache leader that allows local sessions takes a late write of a session that has expired for one of a session
//!   that it does not know, and applies it: then it would have two effects;
//! * createSession and closeSession, which begin and end the ownership, are not covered;
//! * all that the link has to send would have to wait for the fence, at each leader, for the sake of writes that were on
//!   their way when a network failed. The death of a leader brings a new epoch.
//!
//! Nor does time help: nothing bounds for how long an Apache leader's handler goes on reading what the old connection's
//! socket has buffered, as it ends only when a write or a read on it fails. A leader that ended the old link of a gateway
//! before it admits a new one, and dropped what it had read from there, could promise more, but only one that says so.
//!
//! So the ticket answers [`Lost`](crate::core_link::Answer::Lost), and the client finds out by itself, as after any
//! lost connection.

use std::collections::VecDeque;

use bytes::BytesMut;
use palisade_wire::SessionId;
use palisade_wire::txn::TxnRecord;

use crate::core_link::Ticket;
use crate::link::in_flight::{InFlight, Settled};
use crate::link::queue::{Expect, Outgoing};

/// See the module. No I/O, no clock.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    /// Sent to a leader of `epoch`, and not answered.
    flight: InFlight,
    epoch: u32,
    /// To be sent, in this order.
    ready: VecDeque<Outgoing>,
    /// Whether the replica was replaced since `flight` was sent: a write may have passed unseen.
    blind: bool,
}

/// What became of the requests that were in doubt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// Without effect so far, and to be sent again.
    pub(crate) again: usize,
    /// Writes whose outcome nobody knows.
    pub(crate) lost: usize,
}

impl Requests {
    /// Where requests are added that are to be sent behind all others.
    pub(crate) const fn ready(&mut self) -> &mut VecDeque<Outgoing> {
        &mut self.ready
    }

    /// Writes the next requests into `out`, until that has `limit` bytes. `now` is the time, microseconds.
    pub(crate) fn send(&mut self, out: &mut BytesMut, limit: usize, now: u64) {
        while out.len() < limit
            && let Some(outgoing) = self.ready.pop_front()
        {
            if outgoing.again && !outgoing.ticket.is_waited_for() {
                self.flight.settle(&outgoing);
                continue;
            }
            outgoing.message.encode(out);
            self.flight.sent(outgoing, now);
        }
    }

    /// A transaction is applied: whose write it is, if it was sent from here.
    pub(crate) fn applied(&mut self, record: &TxnRecord) -> Option<Ticket> {
        self.flight.take_write(record)
    }

    /// The leader answered a sync.
    pub(crate) fn synced(&mut self) -> Option<Ticket> {
        self.flight.take_sync()
    }

    /// The leader has said whether the session lives.
    pub(crate) fn revalidated(&mut self, session: SessionId) -> Option<Ticket> {
        self.flight.take_revalidation(session)
    }

    /// Another tree took the place of the replica's.
    pub(crate) const fn replaced(&mut self) {
        self.blind = true;
    }

    /// The link broke. `unsent` was accepted behind everything else.
    pub(crate) fn broken(&mut self, mut unsent: VecDeque<Outgoing>) {
        self.ready.append(&mut unsent);
        for outgoing in &mut self.ready {
            outgoing.again = true;
        }
    }

    /// A leader of `epoch` has brought the replica up to date: all that it has to say about the past was applied.
    pub(crate) fn synchronised(&mut self, epoch: u32) -> Resolved {
        let fenced = epoch > self.epoch && !self.blind;
        (self.epoch, self.blind) = (epoch, false);
        let mut resolved = Resolved::default();
        let mut ready = VecDeque::new();
        for mut outgoing in self.flight.take_all() {
            if matches!(outgoing.expect, Expect::Txn { .. }) && !fenced {
                resolved.lost += 1;
                self.flight.settle(&outgoing);
                drop(outgoing);
            } else {
                resolved.again += 1;
                outgoing.again = true;
                ready.push_back(outgoing);
            }
        }
        ready.append(&mut self.ready);
        self.ready = ready;
        resolved
    }

    /// What was answered since the last call.
    pub(crate) fn take_settled(&mut self) -> Settled {
        self.flight.take_settled()
    }

    /// Answers everything with [`Lost`](crate::core_link::Answer::Lost), in order.
    pub(crate) fn give_up(&mut self) {
        self.flight.take_all().for_each(drop);
        self.ready.clear();
    }
}

#[cfg(test)]
#[path = "requests_tests.rs"]
mod tests;
