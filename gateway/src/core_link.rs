//! The narrow interface from the edge towards the core: forward a request, sync, revalidate a session, say that
//! sessions are alive. What carries it (TCP today) is the business of `link`.
//!
//! # Order
//!
//! * Requests reach the leader in the order of the calls of `CoreLink::forward` and `CoreLink::sync`, all
//!   sessions together. A refused call reached nobody.
//! * [`Answer::Applied`] is given under the replica's write lock, when exactly the transactions up to and including
//!   the write's own are applied, after the watch events of all of them were given to the
//!   [`ReplicaObserver`](crate::replica::ReplicaObserver), and before the next transaction's. Whoever queues events
//!   and answers in the order of the calls therefore keeps zxids non-decreasing and shows every event before the
//!   answer to a later read.
//! * [`Answer::Synced`] is given when the replica has applied everything that the leader had committed when the sync
//!   reached it. A read that starts after it sees that.
//! * When the link breaks, what was accepted and not answered is kept. The next leader brings its answer, or it is sent
//!   again ahead of all that is accepted later, if [`Requester::is_waiting`] still says so. [`Answer::Lost`] comes only
//!   where neither is right (see `link::requests`). Who has several requests of one session in flight must, upon the
//!   first [`Answer::Lost`], forward no more of what stood behind it, and wait for none of it any more.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use palisade_store::TxnOutcome;
use palisade_wire::quorum::ForwardedRequest;
use palisade_wire::txn::{Txn, TxnHeader};
use palisade_wire::{Id, OpCode, SessionId, Zxid};
use tokio::sync::watch;

pub(crate) use crate::link::line::Place;
use crate::link::queue::Queue;
use crate::link::touches::{Heard, Touches};

/// Where answers to forwarded requests go.
///
/// Called on the link's task, most often under the replica's write lock: it must be quick, must not block, and must
/// not touch the replica or the [`CoreLink`].
pub trait Requester: Send + Sync {
    /// The request with this `tag` is answered. Called once per accepted request.
    fn answered(&self, tag: u64, answer: Answer<'_>);

    /// Whether the request with this `tag` is still to take effect. Asked after the link broke, before it is sent; if
    /// not, it never is, and the answer, which comes all the same, means nothing.
    fn is_waiting(&self, tag: u64) -> bool;

    /// It is the turn of a request that was refused as [`Refused::Busy`] and has a place in line, or the link is gone.
    fn has_turn(&self) {}
}

/// The answer to a forwarded request.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    /// The write's transaction is applied. Failed writes are transactions too: see [`TxnOutcome::error`].
    Applied {
        /// Where in history; its zxid is the one to reply with.
        header: &'a TxnHeader,
        /// What it was.
        txn: &'a Txn,
        /// What came of it.
        outcome: &'a TxnOutcome<'a>,
    },
    /// The replica has caught up.
    Synced {
        /// The replica's last transaction.
        zxid: Zxid,
    },
    /// The leader said whether the session lives. If so, it now belongs to this gateway.
    Revalidated {
        /// Whether it lives.
        valid: bool,
    },
    /// The link broke first, and nobody knows whether the request took effect.
    Lost,
}

/// A right to one answer. Dropped unanswered, it answers [`Answer::Lost`].
pub struct Ticket {
    requester: Option<Arc<dyn Requester>>,
    tag: u64,
}

impl Ticket {
    /// Answers will go to `requester`, under `tag`.
    pub fn new(requester: Arc<dyn Requester>, tag: u64) -> Self {
        Self { requester: Some(requester), tag }
    }

    /// Uses the right.
    pub fn answer(mut self, answer: Answer<'_>) {
        if let Some(requester) = self.requester.take() {
            requester.answered(self.tag, answer);
        }
    }

    /// Whether whoever holds the other half still wants the request to take effect.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.requester.as_ref().is_some_and(|requester| requester.is_waiting(self.tag))
    }

    /// Ends the ticket without an answer: the caller learns the refusal from its call. Whose it was.
    pub(crate) fn void(mut self) -> Option<Arc<dyn Requester>> {
        self.requester.take()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(requester) = self.requester.take() {
            requester.answered(self.tag, Answer::Lost);
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("tag", &self.tag).finish_non_exhaustive()
    }
}

/// Why a request was not accepted. Nothing was sent, and the ticket was voided without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No leader now: wait for [`LinkState::Connected`], within limits.
    #[error("not connected to a leader")]
    NotConnected,
    /// A limit of this gateway is reached.
    #[error("{0} is reached: requests towards the core wait for an answer")]
    Busy(&'static str),
    /// This type of request must never be forwarded. A top-level check, for one, is logged by Apache leaders in a
    /// form that they cannot read again (ZOOKEEPER-2623).
    #[error("{0:?} is not forwarded")]
    NotForwarded(i32),
}

/// Where the link stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// No leader is known.
    Searching,
    /// A leader was found, and the replica is being brought up to date.
    Synchronising {
        /// The leader's quorum address, as configured.
        leader: String,
    },
    /// The replica follows a leader, and requests are taken.
    Connected {
        /// The leader's quorum address, as configured.
        leader: String,
        /// Its epoch.
        epoch: i64,
    },
    /// The link has ended, and will not come back.
    Stopped,
}

impl LinkState {
    /// Whether requests are taken.
    pub const fn is_connected(&self) -> bool {
        matches!(self, Self::Connected { .. })
    }
}

/// A handle to the core; clones are the same link.
#[derive(Clone, Debug)]
pub struct CoreLink {
    queue: Arc<Queue>,
    state: watch::Receiver<LinkState>,
}

impl CoreLink {
    pub(crate) const fn new(queue: Arc<Queue>, state: watch::Receiver<LinkState>) -> Self {
        Self { queue, state }
    }

    /// Forwards a write, createSession or closeSession. `auth` is what the leader will trust the client to be.
    ///
    /// Never blocks, and copies nothing. The answer is [`Answer::Applied`] or [`Answer::Lost`].
    ///
    /// # Errors
    /// See [`Refused`]. If a limit is reached, `place` is one in the line of those who wait until it no longer is.
    pub(crate) fn forward(
        &self,
        request: ForwardedRequest,
        auth: Arc<[Id]>,
        ticket: Ticket,
        place: &mut Place,
    ) -> Result<(), Refused> {
        self.queue.forward(request, auth, ticket, place)
    }

    /// Asks the leader for a barrier. The answer is [`Answer::Synced`] or [`Answer::Lost`].
    ///
    /// # Errors
    /// As of [`Self::forward`].
    pub(crate) fn sync(
        &self,
        (session, cxid): (SessionId, i32),
        path: &str,
        ticket: Ticket,
        place: &mut Place,
    ) -> Result<(), Refused> {
        self.queue.sync((session, cxid), path, ticket, place)
    }

    /// Asks the leader whether a session lives, and takes it over. `timeout_ms` is the negotiated timeout.
    /// The answer is [`Answer::Revalidated`] or [`Answer::Lost`].
    ///
    /// # Errors
    /// As of [`Self::forward`].
    pub(crate) fn revalidate(
        &self,
        session: SessionId,
        timeout_ms: i32,
        ticket: Ticket,
        place: &mut Place,
    ) -> Result<(), Refused> {
        self.queue.revalidate(session, timeout_ms, ticket, place)
    }

    /// Notes that a session's client was heard. The leader is told with its next ping, or in a moment if that is
    /// `urgent`. Cheap; at any time.
    pub(crate) fn touch(&self, session: SessionId, timeout_ms: i32, urgent: bool) -> Heard {
        self.queue.touch(session, timeout_ms, urgent)
    }

    /// What the leader was told of sessions, and what of it is known to have arrived.
    pub(crate) fn touches(&self) -> &Arc<Touches> {
        &self.queue.touches
    }

    /// Where the link stands, to look at or to wait on.
    pub fn state(&self) -> watch::Receiver<LinkState> {
        self.state.clone()
    }

    /// When a leader that takes requests was last heard, if ever.
    pub fn last_contact(&self) -> Option<Instant> {
        self.queue.contact.last_heard()
    }

    /// Everything that was committed before this moment is in the replica: a leader that had its quorum has answered
    /// what was asked then. What the replica shows is at most as old as this is long ago. `None` until proven once.
    ///
    /// Moves on about twice a second while the core answers, and with each own write.
    pub fn proven(&self) -> Option<Instant> {
        self.queue.contact.proven()
    }

    /// Requests accepted that wait for their session's turn.
    pub fn backlog(&self) -> usize {
        self.queue.backlog()
    }

    /// Requests accepted and not yet answered.
    pub fn in_flight(&self) -> usize {
        self.queue.in_flight()
    }
}

/// Whether a learner may forward this type as a request that yields one transaction.
pub(crate) const fn is_forwarded(op: i32) -> bool {
    matches!(
        OpCode::from_i32(op),
        Some(
            OpCode::Create
                | OpCode::Create2
                | OpCode::CreateContainer
                | OpCode::CreateTtl
                | OpCode::Delete
                | OpCode::SetData
                | OpCode::SetAcl
                | OpCode::Multi
                | OpCode::Reconfig
                | OpCode::CreateSession
                | OpCode::CloseSession
        )
    )
}
