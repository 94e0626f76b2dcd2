//! What a server's runtime does with the outputs of its machine.

use palisade_wire::Zxid;
use palisade_wire::election::Notification;
use palisade_wire::quorum::{PacketType, QuorumPacket, decode_revalidated};
use palisade_zab::{Input, LinkId, Output, Role};

use bytes::{Bytes, BytesMut};
use palisade_store::SnapshotCursor;

use crate::disk::{Done, Image, Write};
use crate::machine::Act;
use crate::network::{ConnId, End, Message, NodeId, Way};
use crate::node::{SnapshotJob, State};
use crate::oracle::{Check, Violation};
use crate::sabotage::Sabotage;
use crate::world::{Event, World};

impl World {
    /// Carries out one output.
    pub(crate) fn execute(&mut self, node: NodeId, act: Act) -> Check {
        self.note(|| format!("{} {}", self.nodes[node].sid, brief(&act)));
        match act {
            Act::Common(output) => self.execute_common(node, output)?,
            Act::ObserverClose(link) => {
                self.close(node, link, Way::ToLeader);
                self.lose_uplink(node)?;
            }
            Act::AnswerPing(link, zxid) => {
                let touched =
                    self.nodes[node].memory.front.as_ref().map(|front| front.gateway.take_touched());
                let answer = QuorumPacket::new(PacketType::Ping, zxid, touched);
                self.send_packet(node, link, Way::ToLeader, answer);
            }
            Act::FromLeader(packet) => self.leader_answers(node, &packet)?,
            Act::ObserverServing(link, epoch) => {
                let memory = &mut self.nodes[node].memory;
                memory.serving = true;
                memory.uplink = Some(link);
                self.oracle.serves(node, &self.nodes[node].state.applied)?;
                self.hear()?;
                self.synchronised(node, epoch)?;
            }
        }
        Ok(())
    }

    /// What a leader answers to a gateway.
    fn leader_answers(&mut self, node: NodeId, packet: &QuorumPacket) -> Check {
        let Some(front) = &mut self.nodes[node].memory.front else { return Ok(()) };
        match packet.packet_type() {
            Some(PacketType::Sync) => self.synced(node)?,
            Some(PacketType::Revalidate) => {
                let garbled = |e| Violation(format!("a revalidation arrived garbled: {e}"));
                let (session, valid) = decode_revalidated(packet.data()).map_err(garbled)?;
                front.gateway.revalidated(session, valid);
            }
            _ => {}
        }
        self.stir(node)
    }

    fn execute_common(&mut self, node: NodeId, output: Output) -> Check {
        match output {
            Output::SendNotification { to, notification } => self.send_vote(node, to, notification),
            Output::ConnectLeader { link, sid } => {
                if let Some(target) = self.node_of(sid) {
                    self.dial(node, link, target);
                }
            }
            Output::CloseLeader { link, .. } => self.close(node, link, Way::ToLeader),
            Output::CloseLearner { link, .. } => self.close(node, link, Way::ToLearner),
            Output::SendToLeader { link, packet } => self.send_packet(node, link, Way::ToLeader, packet),
            Output::SendToLearner { link, packet } => self.send_packet(node, link, Way::ToLearner, packet),
            Output::SendSnapshot { link, zxid } => self.begin_snapshot(node, link, zxid),
            Output::LearnerPacket { link, packet, .. } => self.learner_packet(node, link, &packet)?,
            Output::Append { zxid, payload } => {
                self.oracle.proposed(node, zxid, &payload)?;
                self.write(node, Write::Append(zxid, payload));
            }
            Output::Truncate { to } => self.write(node, Write::Truncate(to)),
            Output::InstallSnapshot { zxid } => {
                let Some(image) = self.nodes[node].memory.received.take().filter(|i| i.zxid == zxid) else {
                    return Err(Violation(format!(
                        "{node} installs a snapshot at {zxid} that it does not have"
                    )));
                };
                self.write(node, Write::Install(image));
            }
            Output::WriteAcceptedEpoch { epoch } => self.write(node, Write::AcceptedEpoch(epoch)),
            Output::WriteCurrentEpoch { epoch } => self.write(node, Write::CurrentEpoch(epoch)),
            Output::Deliver { zxid, payload } => self.deliver(node, zxid, &payload)?,
            Output::RoleChanged(role) => {
                let memory = &mut self.nodes[node].memory;
                memory.leading = role == Role::Leading;
                memory.serving = false;
                memory.work.clear();
                memory.sessions = None;
                memory.syncs.clear();
                memory.preparer().reset();
                if role == Role::Leading {
                    self.limit_reign(node);
                }
            }
            Output::Serving { epoch } => {
                self.nodes[node].memory.serving = true;
                let applied = &self.nodes[node].state.applied;
                if self.nodes[node].memory.leading {
                    self.oracle.leads(node, epoch, applied)?;
                    self.begin_to_lead(node);
                    self.hear()?;
                } else {
                    self.oracle.serves(node, applied)?;
                }
            }
            // Voters forward nothing, so they get no answers.
            Output::LeaderPacket { .. } => {}
            Output::SyncReady { token } => {
                if let Some(link) = self.nodes[node].memory.syncs.remove(&token) {
                    let packet = QuorumPacket::new(PacketType::Sync, Zxid::ZERO, None);
                    self.send_packet(node, link, Way::ToLearner, packet);
                }
            }
        }
        Ok(())
    }

    fn deliver(&mut self, node: NodeId, zxid: Zxid, payload: &Bytes) -> Check {
        let is_observer = node >= self.params.voters;
        let this = &mut self.nodes[node];
        let record = this.state.apply(zxid, payload)?;
        this.memory.preparer().applied(zxid);
        self.session_ended(node, &record);
        let this = &mut self.nodes[node];
        if zxid >= this.state.exact_from {
            let digest = this.state.tree.digest();
            self.oracle.digest(node, zxid, digest)?;
        }
        if is_observer || this.memory.serving {
            self.oracle.delivered(node, &this.state.applied, this.memory.leading)?;
        }
        self.hear()?;
        if let Some(front) = &mut self.nodes[node].memory.front {
            front.applied(&record);
            self.stir(node)?;
        }
        Ok(())
    }

    /// A vote is lost if there is no way; a new connection is told to both sides first.
    fn send_vote(&mut self, node: NodeId, to: i64, notification: Notification) {
        let Some(to) = self.node_of(to).filter(|to| *to != node) else { return };
        if self.nodes[to].machine.is_none() || self.network.is_cut(node, to) {
            return;
        }
        let (life, from_life) = (self.nodes[to].life, self.nodes[node].life);
        let at = self.now + 1 + self.delay();
        if self.network.join_election(node, to) {
            self.agenda.plan(at, Event::ElectionLink(to, life, node));
            self.agenda.plan(at, Event::ElectionLink(node, from_life, to));
        }
        self.agenda.plan(at, Event::Vote { from: node, to, life, notification });
    }

    fn dial(&mut self, node: NodeId, link: LinkId, target: NodeId) {
        let at = self.now + 1 + self.delay();
        self.agenda.plan(at, Event::Dial { node, life: self.nodes[node].life, link, target });
    }

    /// An observer tries a voter; it does not know who leads.
    pub(crate) fn dial_somebody(&mut self, node: NodeId) {
        let target = self.chance.index(self.params.voters);
        let link = LinkId(self.nodes[node].memory.number());
        let at = self.now + self.chance.between(10, 50);
        self.agenda.plan(at, Event::Dial { node, life: self.nodes[node].life, link, target });
    }

    /// An attempt to connect has come to its end.
    pub(crate) fn dialed(&mut self, node: NodeId, link: LinkId, target: NodeId) -> Check {
        let there = &mut self.nodes[target];
        let open = there.machine.is_some() && there.memory.leading && there.paused_until <= self.now;
        if open && !self.network.is_cut(node, target) {
            let far = LinkId(there.memory.number());
            self.network.connect((node, link), (target, far));
            self.feed(target, Input::LearnerUp { link: far })?;
            self.feed(node, Input::LeaderLinkUp { link })
        } else if node >= self.params.voters {
            self.dial_somebody(node);
            Ok(())
        } else {
            self.feed(node, Input::LeaderLinkDown { link })
        }
    }

    pub(crate) fn send_packet(&mut self, node: NodeId, link: LinkId, way: Way, packet: QuorumPacket) {
        if let Some(conn) = self.network.find(node, link, way) {
            self.send(conn, way, Message::Packet(packet));
        }
    }

    fn close(&mut self, node: NodeId, link: LinkId, way: Way) {
        if let Some(conn) = self.network.find(node, link, way) {
            self.close_conn(conn, way);
            self.send(conn, way, Message::Closed);
        }
        self.network.sweep();
    }

    /// Closes the end of `conn` that sends this way.
    pub(crate) fn close_conn(&mut self, conn: ConnId, way: Way) {
        if let Some(c) = self.network.conn(conn) {
            c.sender(way).open = false;
        }
    }

    /// An observer is without a leader.
    pub(crate) fn lose_uplink(&mut self, node: NodeId) -> Check {
        let memory = &mut self.nodes[node].memory;
        memory.uplink = None;
        memory.serving = false;
        if let Some(front) = &mut memory.front {
            front.link_lost();
        }
        self.dial_somebody(node);
        self.stir(node)
    }

    /// Takes in what has come over a connection.
    pub(crate) fn receive(&mut self, conn: ConnId, way: Way, to: End, message: Message) -> Check {
        let (node, link) = (to.node, to.link);
        if let (Way::ToLearner, Some(front)) = (way, &self.nodes[node].memory.front) {
            front.gateway.heard();
        }
        match message {
            Message::Packet(packet) if way == Way::ToLeader => {
                self.feed(node, Input::LearnerPacket { link, packet })
            }
            Message::Packet(packet) => self.feed(node, Input::LeaderPacket { link, packet }),
            Message::Snapshot { zxid, stream, applied, exact_from } => {
                let packet = QuorumPacket::new(PacketType::Snap, zxid, None);
                self.feed(node, Input::LeaderPacket { link, packet })?;
                let stream = stream.unwrap_or_default();
                self.nodes[node].memory.received = Some(Image { zxid, stream, applied, exact_from });
                self.feed(node, Input::LeaderSnapshotReceived { link, zxid })
            }
            Message::Closed => {
                let own = if way == Way::ToLeader { Way::ToLearner } else { Way::ToLeader };
                self.close_conn(conn, own);
                self.network.sweep();
                if way == Way::ToLeader {
                    return self.feed(node, Input::LearnerDown { link });
                }
                self.feed(node, Input::LeaderLinkDown { link })?;
                if node >= self.params.voters {
                    self.lose_uplink(node)?;
                }
                Ok(())
            }
        }
    }

    fn begin_snapshot(&mut self, node: NodeId, link: LinkId, zxid: Zxid) {
        let Some(conn) = self.network.find(node, link, Way::ToLearner) else { return };
        let this = &mut self.nodes[node];
        let cursor = SnapshotCursor::new(&this.state.tree);
        this.memory.jobs.push(SnapshotJob { link, cursor, stream: BytesMut::new() });
        let applied = this.state.applied.iter().copied().filter(|z| *z <= zxid).collect();
        let life = this.life;
        self.send(conn, Way::ToLearner, Message::Snapshot { zxid, stream: None, applied, exact_from: zxid });
        self.agenda.plan(self.now, Event::Snapshot { node, life, link });
    }

    /// Writes the next chunk of a snapshot; transactions may be applied before the one after.
    pub(crate) fn write_snapshot(&mut self, node: NodeId, link: LinkId) -> Check {
        let budget = self.chance.between(100, 2_000) as usize;
        let life = self.nodes[node].life;
        let Some(conn) = self.network.find(node, link, Way::ToLearner) else {
            self.nodes[node].memory.jobs.retain(|job| job.link != link);
            return Ok(());
        };
        let crate::node::Node { state, memory, .. } = &mut self.nodes[node];
        let Some(at) = memory.jobs.iter().position(|job| job.link == link) else { return Ok(()) };
        let job = &mut memory.jobs[at];
        if !job.cursor.write_chunk(&state.tree, &mut job.stream, budget) {
            let later = self.now + self.chance.between(0, 20);
            self.agenda.plan(later, Event::Snapshot { node, life, link });
            return Ok(());
        }
        let job = memory.jobs.swap_remove(at);
        let last = state.applied.last().copied().unwrap_or_default();
        let fuzzy_until = state.exact_from.max(last);
        if let Some(c) = self.network.conn(conn) {
            for (_, message) in c.queue(Way::ToLearner).iter_mut() {
                if let Message::Snapshot { stream: stream @ None, exact_from, .. } = message {
                    *stream = Some(job.stream.clone().freeze());
                    *exact_from = fuzzy_until;
                }
            }
        }
        self.feed(node, Input::SnapshotSent { link })
    }

    fn write(&mut self, node: NodeId, write: Write) {
        let lie = match (&write, self.sabotage) {
            (Write::Append(zxid, _), Some(Sabotage::AckBeforeFsync)) => Some(Input::Flushed { zxid: *zxid }),
            (Write::AcceptedEpoch(epoch), Some(Sabotage::EpochBeforeFsync)) => {
                Some(Input::AcceptedEpochWritten { epoch: *epoch })
            }
            (Write::CurrentEpoch(epoch), Some(Sabotage::EpochBeforeFsync)) => {
                Some(Input::CurrentEpochWritten { epoch: *epoch })
            }
            _ => None,
        };
        self.nodes[node].memory.inputs.extend(lie);
        if self.nodes[node].disk.submit(write) {
            self.start_disk(node);
        }
    }

    fn start_disk(&mut self, node: NodeId) {
        let max = if self.calm { 1 } else { self.params.max_disk };
        let mut took = self.chance.between(0, max);
        if !self.calm && self.chance.percent(1) {
            took += self.chance.between(100, 1_500);
        }
        if self.nodes[node].disk.start() {
            if self.params.reign.is_some() && !self.calm && self.nodes[node].disk.is_at_epoch() {
                took += self.chance.between(0, 200);
            }
            self.agenda.plan(self.now + took, Event::DiskDone(node, self.nodes[node].life));
        }
    }

    /// A write, or a batch of appends, is durable.
    pub(crate) fn disk_done(&mut self, node: NodeId) -> Check {
        let done = self.nodes[node].disk.complete();
        self.start_disk(node);
        let Some(done) = done else { return Ok(()) };
        let input = match (done, self.sabotage) {
            (Done::Flushed(_), Some(Sabotage::AckBeforeFsync))
            | (Done::AcceptedEpoch(_) | Done::CurrentEpoch(_), Some(Sabotage::EpochBeforeFsync)) => {
                return Ok(());
            }
            (Done::Flushed(zxid), _) => Input::Flushed { zxid },
            (Done::Truncated(zxid), _) => {
                self.nodes[node].state = State::recover(&self.nodes[node].disk)?;
                self.hide(node, true);
                Input::Truncated { zxid }
            }
            (Done::TruncateFailed, _) => Input::TruncateFailed,
            (Done::Installed(zxid), _) => {
                self.nodes[node].state = State::recover(&self.nodes[node].disk)?;
                self.hide(node, false);
                Input::SnapshotInstalled { zxid }
            }
            (Done::AcceptedEpoch(epoch), _) => Input::AcceptedEpochWritten { epoch },
            (Done::CurrentEpoch(epoch), _) => Input::CurrentEpochWritten { epoch },
        };
        self.feed(node, input)
    }
}

impl World {
    /// A gateway goes on showing what it showed, until its new tree is whole.
    fn hide(&mut self, node: NodeId, rewound: bool) {
        if let Some(front) = &mut self.nodes[node].memory.front {
            front.replaced(rewound);
        }
    }
}

fn brief(act: &Act) -> String {
    let mut text = format!("{act:?}");
    if let Some((cut, _)) = text.char_indices().nth(220) {
        text.truncate(cut);
    }
    text
}
