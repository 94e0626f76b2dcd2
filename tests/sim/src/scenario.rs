//! Clients, faults, and the end of a run.

use bytes::BytesMut;
use palisade_gateway::config::Pacing;
use palisade_store::{PrepareRequest, Timestamp};
use palisade_wire::multi::create_op;
use palisade_wire::quorum::{ForwardedRequest, PacketType, QuorumPacket};
use palisade_wire::request::{Create, Request};
use palisade_wire::{Acl, OpCode, SessionId, Zxid};
use palisade_zab::Input;

use crate::network::{Message, NodeId, Way};
use crate::node::Work;
use crate::oracle::{Check, Violation};
use crate::params::Params;
use crate::wires::{Item, Toward};
use crate::world::{Event, World};

/// Sessions of gateways' clients are above; below are those of plain requests, which nobody tracks.
pub(crate) const FIRST_SESSION: SessionId = 1_000;
/// How long everything may take to be well again after the faults have ended, ms.
const HEALING_TIME: u64 = 60_000;

impl World {
    /// A client asks for something, at an observer or at a leader directly.
    pub(crate) fn request(&mut self) -> Check {
        let pause = self.chance.between(1, 2 * self.params.request_every);
        self.agenda.plan(self.now + pause, Event::Request);
        let node = self.chance.index(self.nodes.len());
        if let Some(link) = self.nodes[node].memory.uplink {
            let Some(conn) = self.network.find(node, link, Way::ToLeader) else { return Ok(()) };
            let request = self.write_request();
            let mut packet = QuorumPacket::new(
                PacketType::Request,
                Zxid(-1),
                Some(
                    ForwardedRequest {
                        session: request.session,
                        cxid: request.cxid,
                        op: request.op,
                        body: request.body,
                    }
                    .encode(),
                ),
            );
            packet.auth = Some(Vec::new());
            self.send(conn, Way::ToLeader, Message::Packet(packet));
            return Ok(());
        }
        let leads = self.nodes[node].machine.as_ref().is_some_and(|m| m.next_zxid().is_some());
        if leads && self.nodes[node].paused_until <= self.now {
            for _ in 0..self.chance.between(1, 4) {
                let request = self.write_request();
                self.nodes[node].memory.work.push_back(Work::Request(request, None));
            }
            return self.drain(node);
        }
        Ok(())
    }

    pub(crate) fn write_request(&mut self) -> PrepareRequest {
        self.requests += 1;
        let path = ["/a", "/b", "/c", "/a/x", "/a/y", "/b/x", "/b/x/deep"][self.chance.index(7)];
        let data = self.requests.to_be_bytes();
        let version = self.chance.pick(&[-1, -1, 0, 3]);
        let create = |flags| {
            Request::Create(Create {
                path: path.into(),
                data: Some(&data),
                acl: Acl::open(),
                flags,
                ttl_ms: None,
            })
        };
        let (op, request) = match self.chance.between(0, 9) {
            0..=2 => (OpCode::Create, create(self.chance.pick(&[0, 1, 2, 3]))),
            3 => (OpCode::CreateContainer, create(4)),
            4..=5 => (OpCode::SetData, Request::SetData { path: path.into(), data: Some(&data), version }),
            6 => (OpCode::Delete, Request::Delete { path: path.into(), version }),
            7 => (OpCode::SetAcl, Request::SetAcl { path: path.into(), acl: Acl::open(), version }),
            8 => {
                let delete = (OpCode::Delete, Request::Delete { path: "/c".into(), version: -1 });
                let check = (OpCode::Check, Request::Check { path: path.into(), version });
                (OpCode::Multi, Request::Multi(vec![create_op(path, &data, 2), check, delete]))
            }
            _ => (OpCode::CloseSession, Request::CloseSession),
        };
        let mut body = BytesMut::new();
        request.encode(&mut body);
        PrepareRequest {
            session: self.chance.between(1, 4) as i64,
            cxid: self.requests as i32,
            op: op.as_i32(),
            body: body.freeze(),
            auth: Some(Vec::new()),
        }
    }

    /// Something breaks or mends.
    pub(crate) fn fault(&mut self) -> Check {
        if self.calm {
            return Ok(());
        }
        let pause = self.chance.between(1, 2 * self.params.fault_every);
        self.agenda.plan(self.now + pause, Event::Fault);
        if self.params.reign.is_some() {
            // No leader can be left to fall.
            return self.everybody_returns();
        }
        let any = self.chance.index(self.nodes.len());
        let leader = (0..self.nodes.len()).find(|n| self.nodes[*n].memory.leading);
        let victim = if self.chance.percent(40) { leader.unwrap_or(any) } else { any };
        match self.chance.between(0, 10) {
            0..=2 => self.crash(victim),
            3 => (0..self.params.voters).for_each(|node| self.crash(node)),
            4 => {
                let until = self.now + self.chance.between(50, 4_000);
                self.pause(victim, until);
            }
            5..=6 => self.isolate(victim),
            7 => {
                let other = self.chance.index(self.nodes.len());
                self.network.set_cut(victim, other, true);
            }
            8 => self.break_link()?,
            _ => self.network.heal(),
        }
        if self.chance.percent(self.params.snapshot_percent) {
            self.take_snapshot(any);
        }
        if self.chance.percent(20) {
            let pacing = Pacing { merge: self.params.pacing.merge, ..Params::pacing(&mut self.chance) };
            if let Some(front) = &self.nodes[any].memory.front {
                front.gateway.set_pacing(pacing);
            }
        }
        Ok(())
    }

    /// A process stands still. What it was to do is put off until then: no pause becomes shorter.
    fn pause(&mut self, node: NodeId, until: u64) {
        let until = until.max(self.nodes[node].paused_until);
        self.nodes[node].paused_until = until;
        self.forgive(node, until);
        // It has not yet read what says that sessions are alive, and gives them time for that.
        let held = Timestamp::from_millis(until) + self.params.tick;
        if let Some(sessions) = &mut self.nodes[node].memory.sessions {
            sessions.hold_expiry(held);
        }
    }

    fn isolate(&mut self, node: NodeId) {
        for other in 0..self.nodes.len() {
            if other != node && self.chance.percent(80) {
                self.network.set_cut(node, other, true);
            }
        }
    }

    /// In some runs, no leader stays for long.
    pub(crate) fn limit_reign(&mut self, node: NodeId) {
        if let (Some(reign), false) = (self.params.reign, self.calm) {
            let (end, life) = (self.now + self.chance.between(0, reign), self.nodes[node].life);
            self.agenda.plan(end, Event::Depose { node, life });
        }
    }

    /// A leader falls, perhaps before others know of it, or have what it proposed. Who was away returns: always another
    /// one is.
    pub(crate) fn depose(&mut self, node: NodeId) -> Check {
        if self.calm || !self.nodes[node].memory.leading {
            return Ok(());
        }
        self.everybody_returns()?;
        match self.chance.between(0, 9) {
            0..=1 => (0..self.nodes.len()).for_each(|other| self.network.set_cut(node, other, other != node)),
            2..=3 => (0..self.params.voters).for_each(|voter| self.crash(voter)),
            _ => self.crash(node),
        }
        Ok(())
    }

    fn everybody_returns(&mut self) -> Check {
        self.network.heal();
        for node in 0..self.nodes.len() {
            if self.nodes[node].machine.is_none() {
                self.nodes[node].life += 1;
                self.start(node)?;
            }
        }
        Ok(())
    }

    /// A gateway loses its link while the leader goes on; what it has sent arrives all the same, perhaps late.
    fn break_link(&mut self) -> Check {
        let linked = |node: &NodeId| self.nodes[*node].memory.uplink.is_some();
        let linked: Vec<NodeId> = (self.params.voters..self.nodes.len()).filter(linked).collect();
        if linked.is_empty() {
            return Ok(());
        }
        let node = linked[self.chance.index(linked.len())];
        let Some(link) = self.nodes[node].memory.uplink.filter(|_| self.nodes[node].paused_until <= self.now)
        else {
            return Ok(());
        };
        let held_until = self.now + self.chance.pick(&[0, 20, 100, 300]);
        if let Some(conn) = self.network.find(node, link, Way::ToLeader) {
            self.close_conn(conn, Way::ToLeader);
            self.send(conn, Way::ToLeader, Message::Closed);
            if let Some(conn) = self.network.conn(conn) {
                conn.held_until = held_until;
            }
        }
        self.note(|| format!("{} loses its link", self.nodes[node].sid));
        self.feed(node, Input::LeaderLinkDown { link })?;
        self.lose_uplink(node)
    }

    fn take_snapshot(&mut self, node: NodeId) {
        let this = &mut self.nodes[node];
        if this.machine.is_some() && this.memory.serving {
            this.disk.snapshot(this.state.image());
            if let Some(front) = &this.memory.front {
                this.disk.note_ended(front.gateway.ended_sessions());
            }
        }
    }

    /// Power loss.
    fn crash(&mut self, node: NodeId) {
        if self.nodes[node].machine.take().is_none() {
            return;
        }
        self.note(|| format!("{} crashes", self.nodes[node].sid));
        self.nodes[node].life += 1;
        self.nodes[node].paused_until = 0;
        self.nodes[node].disk.crash(&mut self.chance);
        self.nodes[node].memory = crate::node::Memory::default();
        self.network.leave_election(node);
        for (conn, way) in self.network.of_node(node) {
            self.close_conn(conn, way);
            if self.chance.percent(50)
                && let Some(c) = self.network.conn(conn)
            {
                c.queue(way).clear();
            }
            if self.chance.percent(70) {
                self.send(conn, way, Message::Closed);
            }
        }
        self.network.sweep();
        for wire in self.wires.of_node(node) {
            if self.chance.percent(70) {
                self.put(wire, Toward::Client, Item::Closed);
            }
        }
        let longest = if self.params.reign.is_some() { 500 } else { 5_000 };
        let back = self.now + self.chance.between(10, longest);
        self.agenda.plan(back, Event::Restart(node, self.nodes[node].life));
    }

    /// The faults end: from here on everything must get well by itself.
    pub(crate) fn calm_down(&mut self) -> Check {
        self.note(|| "the faults end".to_owned());
        self.calm = true;
        self.everybody_returns()?;
        self.agenda.plan(self.now + 1_000, Event::Inspect);
        Ok(())
    }

    /// Whether every server serves, and all have the same tree at a point of history after the faults.
    pub(crate) fn inspect(&mut self) -> Result<bool, Violation> {
        let committed = self.oracle.committed();
        let serving = self.nodes.iter().all(|node| node.memory.serving);
        let least = self.nodes.iter().map(|node| node.state.applied.len()).min().unwrap_or_default();
        let fresh = committed.len().saturating_sub(50);
        let settled = self.clients_are_settled();
        if serving && settled && !committed.is_empty() && least >= fresh.max(1) {
            self.hear()?;
            self.check_clients()?;
            return Ok(true);
        }
        if self.now > self.params.faults_until + HEALING_TIME {
            let states: Vec<_> = self
                .nodes
                .iter()
                .map(|n| (n.sid, n.memory.leading, n.memory.serving, n.state.applied.last().copied()))
                .collect();
            return Err(Violation(format!(
                "Liveness: not healed {HEALING_TIME} ms after the faults: {states:?}, committed {:?}, clients {:?}",
                committed.last(),
                self.clients.iter().map(|c| (c.link, c.waiting(), c.pings)).collect::<Vec<_>>()
            )));
        }
        self.agenda.plan(self.now + 500, Event::Inspect);
        Ok(false)
    }
}
