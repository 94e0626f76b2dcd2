//! What a leader's runtime does with requests and sessions.

use palisade_store::session::LeaderSessions;
use palisade_store::{PrepareRequest, SessionState};
use palisade_wire::quorum::{
    ForwardedRequest, PacketType, QuorumPacket, decode_revalidate, decode_touched, encode_revalidated,
};
use palisade_wire::txn::{Txn, TxnRecord};
use palisade_wire::{OpCode, Reader, SessionId, Zxid};
use palisade_zab::{Input, LinkId};

use crate::machine::Machine;
use crate::network::{NodeId, Way};
use crate::node::Work;
use crate::oracle::{Check, Violation};
use crate::scenario::FIRST_SESSION;
use crate::world::{Event, World};

fn garbled(e: palisade_wire::DecodeError) -> Violation {
    Violation(format!("a learner's packet arrived garbled: {e}"))
}

const fn owner(link: LinkId) -> u64 {
    link.0 + 1
}

impl World {
    /// A leader begins: all sessions in its tree have their full timeout from now on.
    pub(crate) fn begin_to_lead(&mut self, node: NodeId) {
        let (now, tick) = (self.timestamp(), self.params.tick);
        let this = &mut self.nodes[node];
        let sessions = LeaderSessions::new(this.sid, tick, true, this.state.tree.sessions(), now);
        this.memory.sessions = Some(sessions);
    }

    /// A learner asks for something that is not the machine's business.
    pub(crate) fn learner_packet(&mut self, node: NodeId, link: LinkId, packet: &QuorumPacket) -> Check {
        let now = self.timestamp();
        let memory = &mut self.nodes[node].memory;
        match packet.packet_type() {
            Some(PacketType::Request) => {
                let request =
                    ForwardedRequest::decode(&packet.data.clone().unwrap_or_default()).map_err(garbled)?;
                if request.op == OpCode::Sync.as_i32() {
                    let token = memory.number();
                    memory.syncs.insert(token, link);
                    memory.inputs.push_back(Input::Sync { token });
                    return Ok(());
                }
                let ForwardedRequest { session, cxid, op, body } = request;
                let request = PrepareRequest { session, cxid, op, body, auth: packet.auth.clone() };
                memory.work.push_back(Work::Request(request, Some(link)));
            }
            Some(PacketType::Revalidate) => {
                let (session, timeout_ms) = decode_revalidate(packet.data()).map_err(garbled)?;
                let Some(sessions) = &mut memory.sessions else { return Ok(()) };
                let valid = sessions.revalidate(session, timeout_ms, owner(link), now);
                let data = Some(encode_revalidated(session, valid));
                let answer = QuorumPacket::new(PacketType::Revalidate, packet.zxid, data);
                self.send_packet(node, link, Way::ToLearner, answer);
            }
            Some(PacketType::Ping) => {
                let touched = decode_touched(packet.data()).map_err(garbled)?;
                let Some(sessions) = &mut memory.sessions else { return Ok(()) };
                for (session, timeout_ms) in touched {
                    sessions.touch(session, timeout_ms, now);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Turns what waits into a proposal; nobody but the leader does anything with it.
    pub(crate) fn propose(&mut self, node: NodeId, work: Work) -> Check {
        let Some(zxid) = self.nodes[node].machine.as_ref().and_then(Machine::next_zxid) else {
            return Ok(());
        };
        let record = match work {
            Work::Expire(session) => self.prepare_close(node, session, 0, zxid),
            Work::Request(request, _) if request.op == OpCode::CloseSession.as_i32() => {
                self.prepare_close(node, request.session, request.cxid, zxid)
            }
            Work::Request(request, link) => self.prepare(node, &request, link, zxid),
        };
        let payload = record.encode();
        self.oracle.proposed(node, zxid, &payload)?;
        self.nodes[node].memory.inputs.push_back(Input::Propose { zxid, payload });
        Ok(())
    }

    fn prepare_close(&mut self, node: NodeId, session: SessionId, cxid: i32, zxid: Zxid) -> TxnRecord {
        let time = self.now as i64;
        let this = &mut self.nodes[node];
        if let Some(sessions) = &mut this.memory.sessions {
            sessions.close(session);
        }
        this.memory.preparer().prepare_close_session(&this.state.tree, session, cxid, zxid, time)
    }

    fn prepare(
        &mut self,
        node: NodeId,
        request: &PrepareRequest,
        link: Option<LinkId>,
        zxid: Zxid,
    ) -> TxnRecord {
        let (now, time) = (self.timestamp(), self.now as i64);
        let this = &mut self.nodes[node];
        let (session, cxid) = (request.session, request.cxid);
        let mut state = SessionState::Open;
        if let (Some(sessions), Some(link)) = (&mut this.memory.sessions, link)
            && session >= FIRST_SESSION
        {
            if request.op == OpCode::CreateSession.as_i32()
                && let Ok(timeout_ms) = Reader::new(&request.body).i32("session timeout")
                && sessions.create(session, timeout_ms, owner(link), now)
            {
                let tree = &this.state.tree;
                let preparer = this.memory.preparer();
                return preparer.prepare_create_session(tree, (session, cxid), timeout_ms, zxid, time);
            }
            state = sessions.state(session, owner(link));
        }
        let tree = &this.state.tree;
        this.memory.preparer().prepare(tree, request, state, zxid, time)
    }

    /// A transaction was applied at a leader, or elsewhere, where there are no such sessions.
    pub(crate) fn session_ended(&mut self, node: NodeId, record: &TxnRecord) {
        if let (Txn::CloseSession(_), Some(sessions)) = (&record.txn, &mut self.nodes[node].memory.sessions) {
            sessions.closed(record.header.session);
        }
    }

    /// Wakes a leader when sessions may have expired.
    pub(crate) fn plan_expiry(&mut self, node: NodeId) {
        let this = &mut self.nodes[node];
        let Some(at) = this.memory.sessions.as_ref().and_then(LeaderSessions::next_expiry) else { return };
        let at = at.as_millis().max(self.now);
        if this.memory.expiry.is_none_or(|planned| at < planned) {
            this.memory.expiry = Some(at);
            self.agenda.plan(at, Event::Expiry { node, life: this.life });
        }
    }

    /// Sessions may have expired.
    pub(crate) fn expire(&mut self, node: NodeId) -> Check {
        let now = self.timestamp();
        let memory = &mut self.nodes[node].memory;
        memory.expiry = None;
        let expired = memory.sessions.as_mut().map(|sessions| sessions.expired(now)).unwrap_or_default();
        memory.work.extend(expired.into_iter().map(Work::Expire));
        self.drain(node)
    }
}
