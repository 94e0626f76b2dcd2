//! An observer's other half: the gateway itself, its clients' connections, and when each of them has something to do.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use palisade_gateway::driven::{Gateway, Restored, Visit};
use palisade_store::DataTree;
use palisade_wire::quorum::{ForwardedRequest, PacketType, QuorumPacket};
use palisade_wire::txn::TxnRecord;
use palisade_wire::{OpCode, Zxid};

use crate::disk::Disk;
use crate::network::{Message, NodeId, Way};
use crate::node::State;
use crate::oracle::{Check, Violation};
use crate::params::Params;
use crate::wires::{Item, Toward, WireId};
use crate::world::{Event, World};

/// How much longer than allowed an event may be held: waves come every 20 ms, and one that is late makes up for few.
const LATENESS: u64 = 200;

/// What a gateway forgets in a crash.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) gateway: Gateway,
    pub(crate) visits: BTreeMap<WireId, Place>,
    /// Whether what is applied now leads to a tree that is not shown yet; and if so, whether history went back.
    hidden: Option<bool>,
    /// The epoch in which the hidden tree is shown, when the leader has answered that all of it is here.
    fence: Option<u32>,
    /// Whether the tree that is shown may have parts of transactions that have yet to come: nobody is let in.
    fuzzy: bool,
    /// Since when it has seen every change.
    horizon: Zxid,
    wake: Option<u64>,
}

/// A client's connection at its gateway.
#[derive(Debug)]
pub(crate) struct Place {
    visit: Visit,
    /// When it is looked at next.
    turn: Option<u64>,
    holds_since: Option<u64>,
    /// Whether anything was sent.
    answered: bool,
    /// Behind how many more bytes the client is told which tree took the place of another.
    replaced: Option<(usize, Zxid)>,
}

impl Place {
    /// The mark, and what goes before it, if it is the turn of both.
    fn take_mark(&mut self, bytes: &mut Bytes) -> Option<(Bytes, Zxid)> {
        let (behind, zxid) = self.replaced?;
        if bytes.len() < behind {
            self.replaced = Some((behind - bytes.len(), zxid));
            return None;
        }
        self.replaced = None;
        Some((bytes.split_to(behind), zxid))
    }
}

impl Front {
    /// What starts on that disk. `first_ids` makes session ids unique over its lives.
    pub(crate) fn start(
        params: &Params,
        sid: i64,
        first_ids: u64,
        disk: &Disk,
        state: &State,
    ) -> Result<Self, Violation> {
        let image = disk.image();
        let record = |(zxid, payload): &(Zxid, Bytes)| {
            TxnRecord::decode(payload).map_err(|e| Violation(format!("{zxid} cannot be read: {e}")))
        };
        let restored = Restored {
            tree: State::load(image)?.tree,
            exact_from: image.exact_from.max(image.zxid),
            ended: disk.ended(),
            log: disk.log().map(record).collect::<Result<_, _>>()?,
        };
        let horizon = restored.exact_from;
        Ok(Self {
            gateway: Gateway::new(params.gateway(sid), first_ids, restored),
            visits: BTreeMap::new(),
            hidden: None,
            fence: None,
            fuzzy: state.applied.last().copied().unwrap_or_default() < state.exact_from,
            horizon,
            wake: None,
        })
    }

    /// A transaction was applied to the state.
    pub(crate) fn applied(&mut self, record: &TxnRecord) {
        if self.hidden.is_none() {
            self.gateway.apply(record);
        }
    }

    /// The link to the leader is gone.
    pub(crate) fn link_lost(&mut self) {
        self.fence = None;
        self.gateway.link_lost();
    }

    /// The disk holds another tree now, to be shown when the leader has nothing to add.
    pub(crate) fn replaced(&mut self, rewound: bool) {
        self.hidden = Some(rewound || self.hidden.unwrap_or_default());
    }
}

/// The same tree again.
fn copy(state: &State) -> Result<DataTree, Violation> {
    Ok(State::load(&state.image())?.tree)
}

impl World {
    /// The observer is in sync with the leader of `epoch`. A tree that it was sent may have parts of transactions that
    /// are still on their way: they have come when a sync is answered.
    pub(crate) fn synchronised(&mut self, node: NodeId, epoch: u32) -> Check {
        let Some(front) = &mut self.nodes[node].memory.front else { return Ok(()) };
        if front.hidden.is_none() {
            return self.serve(node, epoch);
        }
        front.fence = Some(epoch);
        let request = ForwardedRequest { session: 0, cxid: 0, op: OpCode::Sync.as_i32(), body: Bytes::new() };
        let packet = QuorumPacket::new(PacketType::Request, Zxid(-1), Some(request.encode()));
        if let Some(link) = self.nodes[node].memory.uplink {
            self.send_packet(node, link, Way::ToLeader, packet);
        }
        Ok(())
    }

    /// The leader answered a sync.
    pub(crate) fn synced(&mut self, node: NodeId) -> Check {
        let Some(front) = &mut self.nodes[node].memory.front else { return Ok(()) };
        match front.fence.take() {
            Some(epoch) => self.serve(node, epoch),
            None => {
                front.gateway.synced();
                Ok(())
            }
        }
    }

    fn serve(&mut self, node: NodeId, epoch: u32) -> Check {
        let Some(front) = &mut self.nodes[node].memory.front else { return Ok(()) };
        if let Some(rewound) = front.hidden.take() {
            let wires: Vec<_> = front.visits.keys().copied().collect();
            for wire in wires {
                self.turn(node, wire)?;
            }
            let tree = copy(&self.nodes[node].state)?;
            let zxid = self.nodes[node].state.applied.last().copied().unwrap_or_default();
            if let Some(front) = &mut self.nodes[node].memory.front {
                for place in front.visits.values_mut() {
                    place.replaced = Some((place.visit.unsent(), zxid));
                }
                front.gateway.replace(tree, rewound);
                front.horizon = zxid;
            }
        }
        if let Some(front) = &mut self.nodes[node].memory.front {
            front.fuzzy = false;
            self.report.again += front.gateway.serves(epoch);
        }
        self.stir(node)
    }

    /// Something happened at a gateway: everybody there looks what it means to him.
    pub(crate) fn stir(&mut self, node: NodeId) -> Check {
        let Some(front) = &self.nodes[node].memory.front else { return Ok(()) };
        let wires: Vec<_> = front.visits.keys().copied().collect();
        for wire in wires {
            let soon = self.now + self.chance.between(0, 2);
            self.plan_turn(node, wire, soon);
        }
        self.plan_gateway(node);
        self.forward(node)
    }

    fn plan_turn(&mut self, node: NodeId, wire: WireId, at: u64) {
        let life = self.nodes[node].life;
        let Some(front) = &mut self.nodes[node].memory.front else { return };
        let Some(place) = front.visits.get_mut(&wire) else { return };
        if place.turn.is_none_or(|planned| at < planned) {
            place.turn = Some(at);
            self.agenda.plan(at, Event::Turn { node, life, wire });
        }
    }

    fn plan_gateway(&mut self, node: NodeId) {
        let life = self.nodes[node].life;
        let Some(front) = &mut self.nodes[node].memory.front else { return };
        let at = self.clock.millis(front.gateway.next_timeout()).max(self.now);
        if front.wake.is_none_or(|planned| at < planned) {
            front.wake = Some(at);
            self.agenda.plan(at, Event::Gateway { node, life });
        }
    }

    /// A gateway's own time has come.
    pub(crate) fn wake_gateway(&mut self, node: NodeId) -> Check {
        let Some(front) = &mut self.nodes[node].memory.front else { return Ok(()) };
        if front.wake.is_none_or(|planned| planned > self.now) {
            // This was planned before an earlier one.
            return Ok(());
        }
        front.wake = None;
        front.gateway.handle_timeout();
        self.stir(node)
    }

    /// The time of a connection's turn has come, unless it was planned before an earlier one.
    pub(crate) fn planned_turn(&mut self, node: NodeId, wire: WireId) -> Check {
        let front = self.nodes[node].memory.front.as_ref();
        let planned = front.and_then(|front| front.visits.get(&wire)?.turn);
        if planned.is_none_or(|planned| planned > self.now) { Ok(()) } else { self.turn(node, wire) }
    }

    /// A connection's task has its turn.
    fn turn(&mut self, node: NodeId, wire: WireId) -> Check {
        let Some(front) = &mut self.nodes[node].memory.front else { return Ok(()) };
        let Some(place) = front.visits.get_mut(&wire) else { return Ok(()) };
        place.turn = None;
        let ended = place.visit.run();
        let mut bytes = place.visit.take();
        let next = place.visit.next_timeout();
        let held = place.visit.is_holding();
        place.holds_since = held.then(|| place.holds_since.unwrap_or(self.now));
        let (since, allowed) = (place.holds_since, self.params.longest_hold() + LATENESS);
        if since.is_some_and(|since| since + allowed < self.now) {
            return Err(Violation(format!("Waves: events are held for more than {allowed} ms")));
        }
        let first = !bytes.is_empty() && !std::mem::replace(&mut place.answered, true);
        let marked = place.take_mark(&mut bytes);
        let horizon = front.horizon;
        if first {
            self.put(wire, Toward::Client, Item::Remembers(horizon));
        }
        if let Some((before, zxid)) = marked {
            if !before.is_empty() {
                self.put(wire, Toward::Client, Item::Bytes(before));
            }
            self.put(wire, Toward::Client, Item::Replaced(zxid));
        }
        if !bytes.is_empty() {
            self.put(wire, Toward::Client, Item::Bytes(bytes));
        }
        if let Some(reason) = ended {
            self.note(|| format!("{} ends connection {wire}: {reason}", self.nodes[node].sid));
            if let Some(front) = &mut self.nodes[node].memory.front {
                front.visits.remove(&wire);
            }
            self.put(wire, Toward::Client, Item::Closed);
        } else if let Some(next) = next {
            let at = self.clock.millis(next).max(self.now + 1);
            self.plan_turn(node, wire, at);
        }
        self.plan_gateway(node);
        self.forward(node)
    }

    /// What a client sent has arrived.
    pub(crate) fn arrive_at_gateway(&mut self, node: NodeId, wire: WireId, item: Item) {
        let Some(front) = &mut self.nodes[node].memory.front else { return };
        if !front.visits.contains_key(&wire) {
            // Nothing came before: so this is a new connection, unless there is no place, or the tree is not fit to see.
            let visit = front.gateway.visit().filter(|_| matches!(item, Item::Bytes(_)) && !front.fuzzy);
            let known = self.wires.get(wire).is_some_and(|wire| std::mem::replace(&mut wire.accepted, true));
            let Some(visit) = visit.filter(|_| !known) else {
                return self.put(wire, Toward::Client, Item::Closed);
            };
            front.visits.insert(
                wire,
                Place { visit, turn: None, holds_since: None, answered: false, replaced: None },
            );
        }
        let Some(place) = front.visits.get_mut(&wire) else { return };
        match item {
            Item::Bytes(bytes) => place.visit.receive(&bytes),
            Item::Closed => place.visit.hang_up(),
            Item::Replaced(_) | Item::Remembers(_) => {}
        }
        let soon = self.now + self.chance.between(0, 2);
        self.plan_turn(node, wire, soon);
    }

    /// A gateway sends what it may.
    pub(crate) fn forward(&mut self, node: NodeId) -> Check {
        let Some(link) = self.nodes[node].memory.uplink else { return Ok(()) };
        let Some(conn) = self.network.find(node, link, Way::ToLeader) else { return Ok(()) };
        let Some(front) = &mut self.nodes[node].memory.front else { return Ok(()) };
        let garbled = |e| Violation(format!("a forwarded request is garbled: {e}"));
        for packet in front.gateway.packets().map_err(garbled)? {
            self.send(conn, Way::ToLeader, Message::Packet(packet));
        }
        Ok(())
    }

    /// A gateway was stopped for a while: what it held meanwhile is not its fault.
    pub(crate) fn forgive(&mut self, node: NodeId, until: u64) {
        if let Some(front) = &mut self.nodes[node].memory.front {
            for place in front.visits.values_mut() {
                place.holds_since = place.holds_since.map(|_| until);
            }
        }
    }
}

/// Virtual time for what takes it from tokio's clock.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    runtime: std::rc::Rc<tokio::runtime::Runtime>,
    start: tokio::time::Instant,
}

impl Clock {
    /// One that stands still. To be made within the runtime, whose clock is paused.
    pub(crate) fn new(runtime: std::rc::Rc<tokio::runtime::Runtime>) -> Self {
        Self { runtime, start: tokio::time::Instant::now() }
    }

    /// Time passes.
    pub(crate) fn advance(&self, millis: u64) {
        if millis > 0 {
            self.runtime.block_on(tokio::time::advance(Duration::from_millis(millis)));
        }
    }

    /// The first millisecond of the run at which it is not earlier than this.
    pub(crate) fn millis(&self, at: tokio::time::Instant) -> u64 {
        let micros = at.saturating_duration_since(self.start).as_micros();
        u64::try_from(micros.div_ceil(1_000)).unwrap_or(u64::MAX)
    }
}
