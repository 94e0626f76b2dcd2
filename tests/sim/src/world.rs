//! The world: servers, network and time, driven event by event.

use palisade_store::Timestamp;
use palisade_wire::Sid;
use palisade_wire::election::Notification;
use palisade_zab::{Ensemble, Input, LinkId, Member, MemberRole};

use crate::Report;
use crate::agenda::Agenda;
use crate::chance::Chance;
use crate::client::Client;
use crate::effects::Effects;
use crate::front::Clock;
use crate::history::History;
use crate::machine::Machine;
use crate::network::{ConnId, Message, Network, NodeId, Way};
use crate::node::Node;
use crate::oracle::{Check, Oracle, Violation};
use crate::params::{Habits, Params};
use crate::sabotage::Sabotage;
use crate::wires::{Toward, WireId, Wires};

/// An event. Those of a server carry its life: a crash voids them.
#[derive(Debug)]
pub(crate) enum Event {
    /// The machine asked to be woken.
    Wake(NodeId, u32),
    /// A disk write completes.
    DiskDone(NodeId, u32),
    /// A vote arrives.
    Vote { from: NodeId, to: NodeId, life: u32, notification: Notification },
    /// An election connection is established.
    ElectionLink(NodeId, u32, NodeId),
    /// An attempt to reach a leader ends.
    Dial { node: NodeId, life: u32, link: LinkId, target: NodeId },
    /// The message at the head of a connection arrives.
    Arrival(ConnId, Way),
    /// A snapshot that is being sent goes on.
    Snapshot { node: NodeId, life: u32, link: LinkId },
    /// A client asks for something.
    Request,
    /// A client of a gateway looks around.
    Client(usize),
    /// The first thing on a client's connection arrives.
    Wire(WireId, Toward),
    /// A connection of a gateway has something to do.
    Turn { node: NodeId, life: u32, wire: WireId },
    /// A gateway has.
    Gateway { node: NodeId, life: u32 },
    /// A leader looks for sessions that have expired.
    Expiry { node: NodeId, life: u32 },
    /// Something breaks, or mends.
    Fault,
    /// A leader falls.
    Depose { node: NodeId, life: u32 },
    /// A crashed server comes back.
    Restart(NodeId, u32),
    /// The faults are over.
    Calm,
    /// Look whether all is well at last.
    Inspect,
}

/// Everything.
#[derive(Debug)]
pub(crate) struct World {
    /// Virtual time, milliseconds.
    pub(crate) now: u64,
    /// Source of all choices.
    pub(crate) chance: Chance,
    /// What will happen.
    pub(crate) agenda: Agenda<Event>,
    /// The servers; voters first.
    pub(crate) nodes: Vec<Node>,
    /// What is between them.
    pub(crate) network: Network,
    /// What must hold.
    pub(crate) oracle: Oracle,
    /// The set-up.
    pub(crate) params: Params,
    /// The members.
    pub(crate) ensemble: Ensemble,
    /// What is broken on purpose.
    pub(crate) sabotage: Option<Sabotage>,
    /// Whether the faults are over.
    pub(crate) calm: bool,
    /// Number of requests so far; makes each unique.
    pub(crate) requests: u32,
    /// Number of events so far.
    pub(crate) events: u64,
    /// Whether to print what happens.
    pub(crate) trace: bool,
    /// Time, for what has no other.
    pub(crate) clock: Clock,
    /// The gateways' clients.
    pub(crate) clients: Vec<Client>,
    /// Their connections.
    pub(crate) wires: Wires,
    /// What became of their writes.
    pub(crate) effects: Effects,
    /// What became of the tree.
    pub(crate) history: History,
    /// What the run was like so far.
    pub(crate) report: Report,
}

impl World {
    /// The world of a seed, all servers about to start.
    pub(crate) fn new(
        seed: u64,
        sabotage: Option<Sabotage>,
        trace: bool,
        clock: Clock,
    ) -> Result<Self, Violation> {
        let mut chance = Chance::new(seed);
        let params = Params::derive(&mut chance);
        let members = (1..=params.voters as Sid).map(|sid| Member {
            sid,
            host: "sim".to_owned(),
            quorum_port: 1000 + sid as u16,
            election_port: 2000 + sid as u16,
            role: MemberRole::Participant,
            client: None,
        });
        let ensemble = Ensemble::new(members).map_err(|e| Violation(format!("ensemble: {e}")))?;
        let voters = (1..=params.voters as Sid).chain((0..params.observers as Sid).map(|i| 101 + i));
        let clients = (0..params.clients).map(|_| Client::new(Habits::derive(&mut chance))).collect();
        let mut world = Self {
            now: 0,
            chance,
            agenda: Agenda::default(),
            nodes: voters.map(Node::new).collect(),
            network: Network::default(),
            oracle: Oracle::default(),
            params,
            ensemble,
            sabotage,
            calm: false,
            requests: 0,
            events: 0,
            trace,
            clock,
            clients,
            wires: Wires::default(),
            effects: Effects::default(),
            history: History::default(),
            report: Report::default(),
        };
        for node in 0..world.nodes.len() {
            world.start(node)?;
        }
        world.agenda.plan(500, Event::Request);
        for client in 0..world.clients.len() {
            world.agenda.plan(500, Event::Client(client));
        }
        world.agenda.plan(1_000, Event::Fault);
        world.agenda.plan(params.faults_until, Event::Calm);
        Ok(world)
    }

    /// Carries out the next event. False when all is well and the run is over.
    pub(crate) fn step(&mut self) -> Result<bool, Violation> {
        let Some((at, event)) = self.agenda.pop() else {
            return Err(Violation("nothing will ever happen again".to_owned()));
        };
        self.clock.advance(at - self.now);
        self.now = at;
        self.events += 1;
        if let Some((node, life)) = owner(&event) {
            let paused_until = self.nodes[node].paused_until;
            if self.nodes[node].life != life || self.nodes[node].machine.is_none() {
                return Ok(true);
            }
            if paused_until > self.now {
                self.agenda.plan(paused_until, event);
                return Ok(true);
            }
        }
        match event {
            Event::Wake(node, _) => self.wake(node)?,
            Event::DiskDone(node, _) => self.disk_done(node)?,
            Event::Vote { from, to, notification, .. } => {
                let from = self.nodes[from].sid;
                self.feed(to, Input::Notification { from, notification })?;
            }
            Event::ElectionLink(node, _, to) => {
                let to = self.nodes[to].sid;
                self.feed(node, Input::ElectionLinkUp { to })?;
            }
            Event::Dial { node, link, target, .. } => self.dialed(node, link, target)?,
            Event::Arrival(conn, way) => self.arrival(conn, way)?,
            Event::Snapshot { node, link, .. } => self.write_snapshot(node, link)?,
            Event::Request => self.request()?,
            Event::Client(client) => self.client(client)?,
            Event::Wire(wire, toward) => self.arrival_on_wire(wire, toward)?,
            Event::Turn { node, wire, .. } => self.planned_turn(node, wire)?,
            Event::Gateway { node, .. } => self.wake_gateway(node)?,
            Event::Expiry { node, .. } => self.expire(node)?,
            Event::Fault => self.fault()?,
            Event::Depose { node, .. } => self.depose(node)?,
            Event::Restart(node, life) => {
                if self.nodes[node].life == life && self.nodes[node].machine.is_none() {
                    self.start(node)?;
                }
            }
            Event::Calm => self.calm_down()?,
            Event::Inspect => return Ok(!self.inspect()?),
        }
        Ok(true)
    }

    /// The clock as machines see it.
    pub(crate) const fn timestamp(&self) -> Timestamp {
        Timestamp::from_millis(self.now)
    }

    /// The server with this id.
    pub(crate) fn node_of(&self, sid: Sid) -> Option<NodeId> {
        self.nodes.iter().position(|node| node.sid == sid)
    }

    /// A random delay of a message.
    pub(crate) fn delay(&mut self) -> u64 {
        let max = if self.calm { 2 } else { self.params.max_delay };
        self.chance.between(0, max)
    }

    /// Prints what happens, if asked to.
    pub(crate) fn note(&self, what: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{:>8} {}", self.now, what());
        }
    }

    /// Starts a server that is down.
    pub(crate) fn start(&mut self, node: NodeId) -> Check {
        let now = self.timestamp();
        let recent = self.chance.pick(&[0, 3, usize::MAX]);
        self.nodes[node].start(&self.ensemble, &self.params, recent, now)?;
        self.note(|| {
            format!("{} starts at {:?}", self.nodes[node].sid, self.nodes[node].state.applied.last())
        });
        if node >= self.params.voters {
            self.dial_somebody(node);
            self.stir(node)?;
        }
        self.drain(node)
    }

    /// Hands an input to a machine and carries out what it wants.
    pub(crate) fn feed(&mut self, node: NodeId, input: Input) -> Check {
        self.nodes[node].memory.inputs.push_back(input);
        self.drain(node)
    }

    fn wake(&mut self, node: NodeId) -> Check {
        let now = self.timestamp();
        self.nodes[node].memory.wake = None;
        if let Some(machine) = &mut self.nodes[node].machine
            && machine.next_timeout().is_some_and(|at| at <= now)
        {
            machine.handle_timeout(now);
        }
        self.drain(node)
    }

    /// Carries out outputs, hands in inputs, proposes requests, until there is nothing left.
    pub(crate) fn drain(&mut self, node: NodeId) -> Check {
        loop {
            while let Some(act) = self.nodes[node].machine.as_mut().and_then(Machine::poll) {
                self.execute(node, act)?;
            }
            let now = self.timestamp();
            let Node { machine: Some(machine), memory, .. } = &mut self.nodes[node] else { return Ok(()) };
            if let Some(input) = memory.inputs.pop_front() {
                machine.handle(now, input);
            } else if let Some(work) = memory.work.pop_front() {
                self.propose(node, work)?;
            } else {
                self.plan_wake(node);
                self.plan_expiry(node);
                return Ok(());
            }
        }
    }

    fn plan_wake(&mut self, node: NodeId) {
        let this = &mut self.nodes[node];
        let Some(at) = this.machine.as_ref().and_then(Machine::next_timeout) else { return };
        let at = at.as_millis().max(self.now);
        if this.memory.wake.is_none_or(|planned| at < planned) {
            this.memory.wake = Some(at);
            self.agenda.plan(at, Event::Wake(node, this.life));
        }
    }

    /// Puts a message on its way.
    pub(crate) fn send(&mut self, conn: ConnId, way: Way, message: Message) {
        let arrival = self.now + self.delay();
        if let Some(c) = self.network.conn(conn) {
            let queue = c.queue(way);
            let arrival = queue.back().map_or(arrival, |(last, _)| arrival.max(*last));
            queue.push_back((arrival, message));
            self.agenda.plan(arrival, Event::Arrival(conn, way));
        }
    }

    fn arrival(&mut self, conn: ConnId, way: Way) -> Check {
        let Some(c) = self.network.conn(conn) else { return Ok(()) };
        let to = *c.receiver(way);
        let from = c.sender(way).node;
        let waits = matches!(c.queue(way).front(), Some((_, Message::Snapshot { stream: None, .. })));
        let held_until = if way == Way::ToLeader { c.held_until } else { 0 };
        if !to.open {
            c.queue(way).pop_front();
            return Ok(());
        }
        let paused_until = self.nodes[to.node].paused_until;
        if waits || self.network.is_cut(from, to.node) {
            let later = self.now + self.chance.between(10, 60);
            self.agenda.plan(later, Event::Arrival(conn, way));
            return Ok(());
        }
        let later = paused_until.max(held_until);
        if later > self.now {
            self.agenda.plan(later, Event::Arrival(conn, way));
            return Ok(());
        }
        let Some((_, message)) = self.network.conn(conn).and_then(|c| c.queue(way).pop_front()) else {
            return Ok(());
        };
        self.receive(conn, way, to, message)
    }
}

fn owner(event: &Event) -> Option<(NodeId, u32)> {
    match event {
        Event::Wake(node, life)
        | Event::DiskDone(node, life)
        | Event::ElectionLink(node, life, _)
        | Event::Vote { to: node, life, .. }
        | Event::Dial { node, life, .. }
        | Event::Snapshot { node, life, .. }
        | Event::Turn { node, life, .. }
        | Event::Gateway { node, life }
        | Event::Expiry { node, life }
        | Event::Depose { node, life } => Some((*node, *life)),
        Event::Arrival(..)
        | Event::Request
        | Event::Client(_)
        | Event::Wire(..)
        | Event::Fault
        | Event::Restart(..)
        | Event::Calm
        | Event::Inspect => None,
    }
}
