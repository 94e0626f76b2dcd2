//! What clients do, and what reaches them.

use palisade_store::PrepareRequest;
use palisade_watch::check::Watch;
use palisade_wire::OpCode;

use crate::client::{Asked, Client, Link, Received, Truth, Write};
use crate::network::NodeId;
use crate::oracle::{Check, Violation};
use crate::params::PATHS;
use crate::scenario::FIRST_SESSION;
use crate::wires::{Item, Toward, WireId};
use crate::world::{Event, World};

/// What is held up for longer, ms, never reaches a client.
const LATE: u64 = 150;

impl World {
    /// Puts something on its way over a client's connection.
    pub(crate) fn put(&mut self, wire: WireId, toward: Toward, item: Item) {
        let arrival = self.now + self.delay();
        let Some(this) = self.wires.get(wire) else { return };
        let queue = this.queue(toward);
        let arrival = queue.back().map_or(arrival, |(last, _)| arrival.max(*last));
        queue.push_back((arrival, item));
        self.agenda.plan(arrival, Event::Wire(wire, toward));
    }

    /// What is next on a client's connection arrives.
    pub(crate) fn arrival_on_wire(&mut self, id: WireId, toward: Toward) -> Check {
        let (now, calm) = (self.now, self.calm);
        let Some(wire) = self.wires.get(id) else { return Ok(()) };
        let (node, client) = (wire.node, wire.client);
        let paused_until = self.nodes[node].paused_until;
        let (stuck, gone) = (wire.stuck_until > now && !calm, wire.life != self.nodes[node].life);
        let later = if stuck { wire.stuck_until } else { paused_until };
        if stuck || (toward == Toward::Gateway && paused_until > now) {
            self.agenda.plan(later, Event::Wire(id, toward));
            return Ok(());
        }
        let wire_is_mute = wire.mute;
        let Some((_, item)) = wire.queue(toward).pop_front() else { return Ok(()) };
        match toward {
            Toward::Gateway if gone => Ok(()),
            Toward::Gateway => {
                self.arrive_at_gateway(node, id, item);
                Ok(())
            }
            Toward::Client if wire_is_mute => Ok(()),
            Toward::Client => self.arrive_at_client(client, id, item),
        }
    }

    fn arrive_at_client(&mut self, client: usize, id: WireId, item: Item) -> Check {
        let this = &mut self.clients[client];
        if !matches!(this.link, Link::Opening(wire) | Link::Open(wire) if wire == id) {
            return Ok(());
        }
        match item {
            Item::Closed => {
                this.lose();
                self.wires.forget(id);
            }
            Item::Replaced(zxid) => this.replaced(zxid),
            Item::Remembers(zxid) => this.horizon = zxid,
            Item::Bytes(bytes) => {
                let merging = self.params.pacing.merge;
                let mut truth = Truth { history: &self.history, effects: &mut self.effects, merging };
                let Received { answer, answered, lost, over } = this.receive(&bytes, self.now, &mut truth)?;
                self.report.answered += answered;
                self.report.lost += lost;
                if over {
                    self.hang_up(client, id);
                }
                if let Some(bytes) = answer {
                    self.put(id, Toward::Gateway, Item::Bytes(bytes));
                }
            }
        }
        Ok(())
    }

    fn hang_up(&mut self, client: usize, wire: WireId) {
        self.clients[client].lose();
        self.clients[client].not_before = self.now + 2 * self.params.max_delay;
        self.note(|| format!("client {client} gives up connection {wire}"));
        self.put(wire, Toward::Gateway, Item::Closed);
    }

    /// A client looks around.
    pub(crate) fn client(&mut self, client: usize) -> Check {
        let Client { habits, link, .. } = self.clients[client];
        let longest = habits.every.min(habits.timeout / 8);
        let next = self.now + self.chance.between(1, 2 * longest);
        self.agenda.plan(next, Event::Client(client));
        let this = &mut self.clients[client];
        match link {
            Link::None if this.closing => {
                // It does not come back for what it asked to end.
                let merging = self.params.pacing.merge;
                let truth = Truth { history: &self.history, effects: &mut self.effects, merging };
                this.start_over(&truth)?;
            }
            Link::None => self.dial_gateway(client),
            Link::Opening(wire) | Link::Open(wire) if this.is_fed_up(self.now) => self.hang_up(client, wire),
            Link::Opening(_) => {}
            Link::Open(wire) if this.owes_ping(self.now) || (self.calm && this.waiting() == 0) => {
                let bytes = this.ping(self.now);
                self.put(wire, Toward::Gateway, Item::Bytes(bytes));
            }
            Link::Open(wire) if !self.calm => {
                if self.chance.percent(if habits.lazy { 5 } else { 100 }) {
                    self.act(client, wire);
                }
            }
            Link::Open(_) => {}
        }
        Ok(())
    }

    fn dial_gateway(&mut self, client: usize) {
        let gateways = self.params.voters..self.nodes.len();
        let early = self.now < self.clients[client].not_before;
        if gateways.is_empty() || early || !self.chance.percent(60) {
            return;
        }
        let node: NodeId = gateways.start + self.chance.index(gateways.len());
        if self.nodes[node].machine.is_none() {
            return;
        }
        let wire = self.wires.connect(client, node, self.nodes[node].life);
        let bytes = self.clients[client].open(wire, self.now);
        self.note(|| {
            let (session, sid) = (self.clients[client].session, self.nodes[node].sid);
            format!("client {client} asks {sid} for session {session:#x} over connection {wire}")
        });
        self.put(wire, Toward::Gateway, Item::Bytes(bytes));
    }

    fn act(&mut self, client: usize, wire: WireId) {
        match self.chance.between(0, 99) {
            0..3 => {
                if self.wires.get(wire).is_some_and(|wire| wire.stuck_until <= self.now) {
                    self.hang_up(client, wire);
                }
                return;
            }
            3..5 => {
                let until = self.now + self.chance.pick(&[50, 150, 500, 1_500, 4_000]);
                if let Some(wire) = self.wires.get(wire) {
                    wire.stuck_until = until;
                    wire.mute |= until > self.now + LATE;
                }
                return;
            }
            _ => {}
        }
        for _ in 0..self.chance.pick(&[1, 1, 2, 4]) {
            let bytes = match self.chance.between(0, 99) {
                0..45 if self.clients[client].habits.writes => {
                    let request = self.write_request();
                    if request.op == OpCode::CloseSession.as_i32() {
                        continue;
                    }
                    let PrepareRequest { op, body, cxid, .. } = request;
                    let plain = [OpCode::Delete, OpCode::SetAcl].iter().any(|plain| plain.as_i32() == op);
                    let number = (!plain).then_some(cxid as u32);
                    // The flags are the last field.
                    let ephemeral = op == OpCode::Create.as_i32() && body.last().is_some_and(|b| b & 1 == 1);
                    self.clients[client].write(Write { number, op, ephemeral }, &body, self.now)
                }
                _ => {
                    let asked = self.question();
                    let ends = matches!(asked, Asked::Close);
                    let bytes = self.clients[client].ask(asked, self.now);
                    if ends {
                        return self.put(wire, Toward::Gateway, Item::Bytes(bytes));
                    }
                    bytes
                }
            };
            self.put(wire, Toward::Gateway, Item::Bytes(bytes));
        }
    }

    fn question(&mut self) -> Asked {
        let path = self.chance.pick(&PATHS).to_owned();
        let watch = self.chance.percent(60);
        match self.chance.between(0, 99) {
            0..30 => Asked::Data(path, watch),
            30..55 => Asked::Exists(path, watch),
            55..75 => Asked::Children(path, watch),
            75..82 => Asked::AddWatch(Watch::Persistent, path),
            82..89 => Asked::AddWatch(Watch::Recursive, path),
            89..98 => Asked::Sync(self.oracle.committed().last().copied().unwrap_or_default()),
            _ => Asked::Close,
        }
    }

    /// Looks at what was committed since the last time.
    pub(crate) fn hear(&mut self) -> Check {
        while let Some(zxid) = self.oracle.committed().get(self.history.len()) {
            let unknown = || Violation(format!("{zxid} is committed, and nobody proposed it"));
            let record = self.oracle.transaction(*zxid).ok_or_else(unknown)?;
            if record.header.session >= FIRST_SESSION {
                let header = &record.header;
                let op = record.txn.op();
                self.note(|| {
                    format!("committed {zxid}: {op:?} {} of session {:#x}", header.cxid, header.session)
                });
                self.effects.committed(&record)?;
            }
            let Some(session) = self.history.apply(&record) else { continue };
            let believes = |c: &&Client| {
                c.session == session && c.believes(self.now) && c.was_robbed(&self.history).is_some()
            };
            if let Some(client) = self.clients.iter().find(believes) {
                return Err(Violation(format!(
                    "Locks: session {session:#x} ended at {zxid}, and its client takes its ephemerals for its own \
                     over {:?}",
                    client.link
                )));
            }
        }
        Ok(())
    }

    /// Whether every client has seen all that concerns it.
    pub(crate) fn clients_are_settled(&self) -> bool {
        let settled = |client: &Client| {
            matches!(client.link, Link::Open(_)) && client.waiting() == 0 && client.pings >= 2
        };
        self.nodes.len() == self.params.voters || self.clients.iter().all(settled)
    }

    /// Whether what clients saw is what they may rely on.
    pub(crate) fn check_clients(&self) -> Check {
        let merging = self.params.pacing.merge;
        self.clients.iter().try_for_each(|client| client.check(&self.history, merging))
    }
}
