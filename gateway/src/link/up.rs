//! The connection that is up, without its socket: what waits to be sent on it and what waits for an answer.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use palisade_wire::txn::TxnRecord;
use palisade_wire::{SessionId, Zxid};
use palisade_zab::{CloseReason, LinkId};
use tokio::sync::watch;
use tracing::info;

use crate::core_link::{Answer, LinkState};
use crate::link::in_flight::InFlight;
use crate::link::queue::{Outgoing, Queue};

/// Bytes towards the leader beyond which no more requests are taken.
const MAX_OUT: usize = 256 << 10;

/// See the module.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: LinkId,
    voter: String,
    pub(crate) greeted: bool,
    pub(crate) serving: bool,
    pub(crate) out: BytesMut,
    pub(crate) in_flight: InFlight,
    pub(crate) taken: VecDeque<Outgoing>,
    /// The ensemble's configuration, as NEWLEADER told it.
    pub(crate) config: Option<Bytes>,
    /// Of the packet handed in last: decoded once to see that it can be.
    pub(crate) decoded: Option<TxnRecord>,
    pub(crate) closed: Option<CloseReason>,
}

impl Link {
    pub(crate) fn new(id: LinkId, voter: String) -> Self {
        Self {
            id,
            voter,
            greeted: false,
            serving: false,
            out: BytesMut::new(),
            in_flight: InFlight::default(),
            taken: VecDeque::new(),
            config: None,
            decoded: None,
            closed: None,
        }
    }

    /// Requests are taken from now on.
    pub(crate) fn serve(&mut self, epoch: u32, queue: &Queue, state: &watch::Sender<LinkState>) {
        self.serving = true;
        queue.open();
        info!(leader = self.voter, epoch, "following the leader");
        state.send_replace(LinkState::Connected { leader: self.voter.clone(), epoch: epoch.into() });
    }

    /// The replica, which stands at `zxid`, has what the oldest sync waits for.
    pub(crate) fn synced(&mut self, zxid: Zxid) {
        if let Some(ticket) = self.in_flight.take_sync() {
            ticket.answer(Answer::Synced { zxid });
        }
    }

    /// The leader has said whether the session lives.
    pub(crate) fn revalidated(&mut self, session: SessionId, valid: bool) {
        if let Some(ticket) = self.in_flight.take_revalidation(session) {
            ticket.answer(Answer::Revalidated { valid });
        }
    }

    /// Moves requests that wait into the bytes to be sent, as far as there is room.
    pub(crate) fn take_requests(&mut self, queue: &Queue) {
        if !self.serving || self.out.len() >= MAX_OUT {
            return;
        }
        if self.taken.is_empty() {
            queue.take(&mut self.taken);
        }
        while self.out.len() < MAX_OUT
            && let Some(outgoing) = self.taken.pop_front()
        {
            let cost = outgoing.cost();
            outgoing.packet.encode(&mut self.out);
            self.in_flight.sent(outgoing.expect, outgoing.ticket, cost);
        }
    }
}
