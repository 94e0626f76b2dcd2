//! What learners ask of the leader.

use bytes::Bytes;
use palisade_store::Timestamp;
use palisade_wire::quorum::{
    ForwardedRequest, PacketType, QuorumPacket, decode_revalidate, decode_touched, encode_revalidated,
};
use palisade_wire::{DecodeError, OpCode, Zxid};
use palisade_zab::{Input, LinkId};

use super::Driver;
use super::leading::{self, Next, Work};
use crate::quorum::Outgoing;

/// Why a learner's link is closed.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("malformed request: {0}")]
    Malformed(#[from] DecodeError),
    #[error("more than {0} bytes of requests wait to be proposed")]
    TooManyRequests(usize),
}

impl Driver {
    /// Deals with a packet that is not the Zab machine's: REQUEST, REVALIDATE, or what a PING carries.
    pub(super) fn on_request(&mut self, link: LinkId, packet: &QuorumPacket) {
        let outcome = match packet.packet_type() {
            Some(PacketType::Request) => self.on_forwarded(link, packet),
            Some(PacketType::Revalidate) => self.on_revalidate(link, packet),
            Some(PacketType::Ping) => self.on_touched(packet),
            _ => Ok(()),
        };
        if let Err(error) = outcome {
            self.drop_learner(link, &error);
            self.links.follow_ups.push_back(Input::LearnerDown { link });
        }
    }

    fn on_forwarded(&mut self, link: LinkId, packet: &QuorumPacket) -> Result<(), Refused> {
        let data = packet.data.clone().unwrap_or_default();
        let forwarded = ForwardedRequest::decode(&data)?;
        let admission = self.links.admission.clone();
        let limit = self.shared.config.limits.learner_backlog_bytes;
        let Some(learner) = self.links.learners.sid(link) else { return Ok(()) };
        let Some(leading) = &mut self.links.leading else { return Ok(()) };
        match OpCode::from_i32(forwarded.op) {
            Some(OpCode::Sync) => leading.push(learner, Work::Sync { link, admission }),
            Some(op) if !becomes_txn(op) => {
                tracing::debug!(?link, ?op, "ignored: not for the leader");
            }
            _ => {
                let request = leading::request(forwarded, packet.auth.clone());
                leading.push(learner, Work::Request { link, request, admission });
            }
        }
        if leading.unadmitted() > limit { Err(Refused::TooManyRequests(limit)) } else { Ok(()) }
    }

    fn on_revalidate(&mut self, link: LinkId, packet: &QuorumPacket) -> Result<(), Refused> {
        let (session, timeout_ms) = decode_revalidate(packet.data())?;
        let now = self.clock.now();
        let Some(leading) = &mut self.links.leading else { return Ok(()) };
        let valid = leading.revalidate(session, timeout_ms, link, now);
        self.shared.metrics.revalidate_count.add(1);
        self.answer(link, PacketType::Revalidate, packet.zxid, Some(encode_revalidated(session, valid)));
        Ok(())
    }

    fn on_touched(&mut self, packet: &QuorumPacket) -> Result<(), Refused> {
        let touched = decode_touched(packet.data())?;
        let now = self.clock.now();
        if let Some(leading) = &mut self.links.leading {
            for (session, timeout_ms) in touched {
                leading.touch(session, timeout_ms, now);
            }
        }
        Ok(())
    }

    pub(super) fn answer_sync(&mut self, token: u64) {
        if let Some(link) = self.links.leading.as_mut().and_then(|leading| leading.take_sync(token)) {
            self.answer(link, PacketType::Sync, Zxid::ZERO, None);
        }
    }

    fn answer(&mut self, link: LinkId, kind: PacketType, zxid: Zxid, data: Option<Bytes>) {
        self.send(link, Outgoing::Packet(QuorumPacket::new(kind, zxid, data)));
    }

    /// The next thing that waits to be proposed, if there is room for it.
    pub(super) fn next_proposal(&mut self, now: Timestamp, wall_ms: i64) -> Option<Input> {
        let leading = self.links.leading.as_mut()?;
        self.shared.metrics.outstanding_requests.set(leading.outstanding() as u64);
        self.shared.pending_syncs.set(leading.pending_syncs() as u64);
        let fairness = &self.shared.config.fairness;
        let full = self.peer.in_flight() >= fairness.in_flight
            || leading.proposed_bytes() >= fairness.in_flight_bytes;
        if full || !self.jobs.has_room() {
            return None;
        }
        let zxid = self.peer.next_zxid()?;
        let next = leading.next(&self.shared.tree.read(), zxid, now, wall_ms)?;
        Some(match next {
            Next::Sync { token } => Input::Sync { token },
            Next::Propose(payload) => {
                self.shared.proposal_size.record(payload.len());
                Input::Propose { zxid, payload }
            }
        })
    }
}

/// Whether a forwarded request must yield a transaction, be it an error. A learner waits for one for everything
/// that it forwards except reads.
const fn becomes_txn(op: OpCode) -> bool {
    op.is_write()
        || matches!(op, OpCode::CreateSession | OpCode::DeleteContainer | OpCode::Check | OpCode::Error)
}
