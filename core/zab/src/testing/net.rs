//! Peers, and what lies between them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use palisade_store::Timestamp;
use palisade_wire::election::Notification;
use palisade_wire::quorum::QuorumPacket;
use palisade_wire::{Sid, Zxid};

use super::disk::{Disk, Tree, last_of};
use super::{ensemble, timing};
use crate::config::PeerConfig;
use crate::io::{CloseReason, Input, LinkId, Output, Role};
use crate::peer::Peer;

/// How long a message, or a write, takes.
const LATENCY: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) peer: Option<Peer>,
    pub(crate) disk: Disk,
    pub(crate) tree: Tree,
    staged: Tree,
    pub(crate) serving: Option<u32>,
    pub(crate) synced: Vec<u64>,
    pub(crate) closed: Vec<CloseReason>,
    disk_busy: bool,
    config: PeerConfig,
}

#[derive(Debug)]
enum Event {
    Notify {
        from: Sid,
        to: Sid,
        notification: Notification,
    },
    /// A connection arrives.
    Dial {
        from: Sid,
        to: Sid,
        link: LinkId,
    },
    Dialed {
        to: Sid,
        link: LinkId,
        refused: bool,
    },
    ToLearner {
        at: LinkId,
        packet: QuorumPacket,
    },
    Snapshot {
        at: LinkId,
        zxid: Zxid,
        tree: Tree,
    },
    ToLeader {
        at: LinkId,
        packet: QuorumPacket,
    },
    Disk {
        sid: Sid,
    },
}

/// An established connection, known at the leader by its key.
#[derive(Debug)]
struct Conn {
    leader: Sid,
    learner: Sid,
    learner_link: LinkId,
}

/// The network.
pub(crate) struct Net {
    pub(crate) now: Timestamp,
    pub(crate) nodes: BTreeMap<Sid, Node>,
    events: BTreeMap<(Timestamp, u64), Event>,
    seq: u64,
    conns: BTreeMap<LinkId, Conn>,
    cut: BTreeSet<Sid>,
    slow_disks: BTreeMap<Sid, Duration>,
    /// Ends of connections that a peer learns of when it is reachable again.
    unnoticed: Vec<(Sid, Input)>,
    /// What leaders have committed, in order.
    pub(crate) committed: Tree,
    /// Everything put out, for assertions.
    pub(crate) trace: VecDeque<(Timestamp, Sid, Output)>,
}

impl Net {
    /// `n` voters with empty disks.
    pub(crate) fn new(n: i64) -> Self {
        Self::with(n, |_| {})
    }

    pub(crate) fn with(n: i64, tune: impl Fn(&mut PeerConfig)) -> Self {
        let mut net = Self {
            now: Timestamp::ZERO,
            nodes: BTreeMap::new(),
            events: BTreeMap::new(),
            seq: 0,
            conns: BTreeMap::new(),
            cut: BTreeSet::new(),
            slow_disks: BTreeMap::new(),
            unnoticed: Vec::new(),
            committed: Vec::new(),
            trace: VecDeque::new(),
        };
        for sid in 1..=n {
            let mut config = PeerConfig::new(sid, ensemble(n));
            config.timing = timing();
            config.max_notification_interval = Duration::from_millis(800);
            tune(&mut config);
            let node = Node {
                peer: None,
                disk: Disk::default(),
                tree: Vec::new(),
                staged: Vec::new(),
                serving: None,
                synced: Vec::new(),
                closed: Vec::new(),
                disk_busy: false,
                config,
            };
            net.nodes.insert(sid, node);
        }
        net
    }

    pub(crate) fn node(&mut self, sid: Sid) -> &mut Node {
        self.nodes.get_mut(&sid).unwrap()
    }

    pub(crate) fn start(&mut self, sid: Sid) {
        let now = self.now;
        let node = self.node(sid);
        let recovered = node.disk.recover(node.config.log_count);
        node.tree = node.disk.log.clone();
        node.serving = None;
        node.disk_busy = false;
        node.peer = Some(Peer::new(node.config.clone(), recovered, now).unwrap());
        self.drain(sid);
    }

    pub(crate) fn start_all(&mut self) {
        for sid in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.start(sid);
        }
    }

    /// Ends a process; what its disk had not done is lost.
    pub(crate) fn crash(&mut self, sid: Sid) {
        self.node(sid).peer = None;
        self.node(sid).disk.queue.clear();
        self.events.retain(|_, e| !matches!(e, Event::Disk { sid: s } if *s == sid));
        self.drop_conns(|c| c.leader == sid || c.learner == sid);
    }

    pub(crate) fn crash_all(&mut self) {
        for sid in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.crash(sid);
        }
    }

    /// Cuts a peer off: its messages vanish, its connections stall.
    pub(crate) fn cut(&mut self, sid: Sid) {
        self.cut.insert(sid);
    }

    /// Ends the cuts. Connections that stalled break, as bytes were lost.
    pub(crate) fn heal(&mut self) {
        let cut = std::mem::take(&mut self.cut);
        self.drop_conns(|c| cut.contains(&c.leader) || cut.contains(&c.learner));
        for (sid, down) in std::mem::take(&mut self.unnoticed) {
            self.input(sid, down);
        }
    }

    pub(crate) fn slow_disk(&mut self, sid: Sid, delay: Duration) {
        self.slow_disks.insert(sid, delay);
    }

    /// The leader that serves in the latest epoch.
    pub(crate) fn leader(&self) -> Option<Sid> {
        let leads = |n: &Node| n.peer.as_ref().is_some_and(|p| p.role() == Role::Leading);
        let serving = self.nodes.iter().filter(|(_, n)| leads(n) && n.serving.is_some());
        serving.max_by_key(|(_, n)| n.serving).map(|(sid, _)| *sid)
    }

    /// All who lead and may propose, deposed ones included.
    pub(crate) fn leaders(&self) -> Vec<Sid> {
        let leads = |n: &Node| n.peer.as_ref().is_some_and(|p| p.next_zxid().is_some());
        self.nodes.iter().filter(|(_, n)| leads(n)).map(|(sid, _)| *sid).collect()
    }

    /// Proposes at a peer, which must lead.
    pub(crate) fn propose(&mut self, sid: Sid, payload: &str) -> Zxid {
        let peer = self.node(sid).peer.as_mut().unwrap();
        let zxid = peer.next_zxid().expect("it leads");
        self.input(sid, Input::Propose { zxid, payload: Bytes::copy_from_slice(payload.as_bytes()) });
        zxid
    }

    pub(crate) fn input(&mut self, sid: Sid, input: Input) {
        let now = self.now;
        if let Some(peer) = self.node(sid).peer.as_mut() {
            peer.handle(now, input);
        }
        self.drain(sid);
    }

    /// Lets `wait` pass.
    pub(crate) fn run(&mut self, wait: Duration) {
        let until = self.now + wait;
        while self.step(until) {}
        self.now = until;
    }

    /// Lets time pass until `done`, at most a minute.
    pub(crate) fn run_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let until = self.now + Duration::from_secs(60);
        while !done(self) {
            assert!(self.step(until), "in vain waited until {what}; the end of it:\n{}", self.recent(200));
        }
    }

    /// What was put out last, pings left out.
    fn recent(&self, count: usize) -> String {
        let telling = |o: &Output| match o {
            Output::SendToLearner { packet, .. } | Output::SendToLeader { packet, .. } => packet.kind != 5,
            _ => true,
        };
        let lines = self.trace.iter().rev().filter(|(_, _, o)| telling(o)).take(count);
        let lines = lines.map(|(at, sid, output)| format!("{at:?} {sid} {output:?}\n"));
        lines.collect::<Vec<_>>().into_iter().rev().collect()
    }

    /// Starts all, and waits until all serve.
    pub(crate) fn form(&mut self) -> Sid {
        self.start_all();
        self.await_all_serving();
        self.leader().unwrap()
    }

    pub(crate) fn await_all_serving(&mut self) {
        self.run_until("all serve", |net| {
            net.nodes.values().all(|n| n.peer.is_none() || n.serving.is_some())
        });
    }

    /// All trees are equal to what was committed.
    pub(crate) fn assert_agreement(&self) {
        for (sid, node) in self.nodes.iter().filter(|(_, n)| n.peer.is_some()) {
            assert_eq!(node.tree, self.committed, "tree of {sid}");
            assert_eq!(node.disk.log, self.committed, "log of {sid}");
        }
    }

    fn step(&mut self, until: Timestamp) -> bool {
        let event = self.events.keys().next().map(|(at, _)| *at);
        let timeouts =
            self.nodes.iter().filter_map(|(sid, n)| Some((n.peer.as_ref()?.next_timeout()?, *sid)));
        let timeout = timeouts.min();
        match (event, timeout) {
            (Some(at), timeout) if at <= until && timeout.is_none_or(|(t, _)| at <= t) => {
                self.now = self.now.max(at);
                let (_, event) = self.events.pop_first().expect("there is one");
                self.on_event(event);
                true
            }
            (_, Some((at, sid))) if at <= until => {
                self.now = self.now.max(at);
                let now = self.now;
                if let Some(peer) = self.node(sid).peer.as_mut() {
                    peer.handle_timeout(now);
                    assert!(peer.next_timeout().is_none_or(|t| t > now), "a timeout without effect");
                }
                self.drain(sid);
                true
            }
            _ => false,
        }
    }

    fn post(&mut self, delay: Duration, event: Event) {
        self.seq += 1;
        self.events.insert((self.now + delay, self.seq), event);
    }

    fn connected(&self, a: Sid, b: Sid) -> bool {
        !self.cut.contains(&a) && !self.cut.contains(&b)
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Notify { from, to, notification } => {
                if self.connected(from, to) {
                    self.input(to, Input::Notification { from, notification });
                }
            }
            Event::Dial { from, to, link } => self.on_dial(from, to, link),
            Event::Dialed { to, link, refused } => {
                let input =
                    if refused { Input::LeaderLinkDown { link } } else { Input::LeaderLinkUp { link } };
                self.input(to, input);
            }
            Event::ToLearner { at, packet } => {
                if let Some((learner, link)) = self.open(at).map(|c| (c.learner, c.learner_link)) {
                    self.input(learner, Input::LeaderPacket { link, packet });
                }
            }
            Event::Snapshot { at, zxid, tree } => {
                if let Some((leader, learner, link)) =
                    self.open(at).map(|c| (c.leader, c.learner, c.learner_link))
                {
                    self.input(leader, Input::SnapshotSent { link: at });
                    let packet = QuorumPacket::new(palisade_wire::quorum::PacketType::Snap, zxid, None);
                    self.input(learner, Input::LeaderPacket { link, packet });
                    self.node(learner).staged = tree;
                    self.input(learner, Input::LeaderSnapshotReceived { link, zxid });
                }
            }
            Event::ToLeader { at, packet } => {
                if let Some(leader) = self.open(at).map(|c| c.leader) {
                    self.input(leader, Input::LearnerPacket { link: at, packet });
                }
            }
            Event::Disk { sid } => {
                let node = self.node(sid);
                node.disk_busy = false;
                if let Some(input) = node.disk.complete() {
                    if let Input::Truncated { .. } | Input::SnapshotInstalled { .. } = input {
                        node.tree = node.disk.log.clone();
                    }
                    self.input(sid, input);
                }
                self.drain(sid);
            }
        }
    }

    fn open(&self, at: LinkId) -> Option<&Conn> {
        self.conns.get(&at).filter(|c| self.connected(c.leader, c.learner))
    }

    fn on_dial(&mut self, from: Sid, to: Sid, link: LinkId) {
        if !self.connected(from, to) {
            return;
        }
        let listens = self.nodes[&to].peer.as_ref().is_some_and(|p| p.role() == Role::Leading);
        self.post(LATENCY, Event::Dialed { to: from, link, refused: !listens });
        if listens {
            self.seq += 1;
            let at = LinkId(1_000_000 + self.seq);
            self.conns.insert(at, Conn { leader: to, learner: from, learner_link: link });
            self.input(to, Input::LearnerUp { link: at });
        }
    }

    fn drop_conns(&mut self, which: impl Fn(&Conn) -> bool) {
        let dropped = self.conns.extract_if(.., |_, c| which(c)).collect::<Vec<_>>();
        for (at, conn) in dropped {
            let connected = self.connected(conn.leader, conn.learner);
            let downs = [
                (conn.leader, Input::LearnerDown { link: at }),
                (conn.learner, Input::LeaderLinkDown { link: conn.learner_link }),
            ];
            for (sid, down) in downs {
                if connected {
                    self.input(sid, down);
                } else {
                    self.unnoticed.push((sid, down));
                }
            }
        }
    }

    fn at_leader(&self, sid: Sid, link: LinkId) -> Option<LinkId> {
        self.conns.iter().find(|(_, c)| c.learner == sid && c.learner_link == link).map(|(at, _)| *at)
    }

    /// Carries out what a peer wants done.
    fn drain(&mut self, sid: Sid) {
        while let Some(output) = self.node(sid).peer.as_mut().and_then(Peer::poll_output) {
            self.trace.push_back((self.now, sid, output.clone()));
            let node = self.node(sid);
            let staged = std::mem::take(&mut node.staged);
            let for_disk = node.disk.submit(&output, &staged);
            node.staged = staged;
            if !for_disk {
                self.on_output(sid, output);
            }
        }
        let delay = self.slow_disks.get(&sid).copied().unwrap_or(LATENCY);
        let node = self.node(sid);
        if !node.disk_busy && !node.disk.queue.is_empty() {
            node.disk_busy = true;
            self.post(delay, Event::Disk { sid });
        }
    }

    fn on_output(&mut self, sid: Sid, output: Output) {
        match output {
            Output::SendNotification { to, notification } => {
                self.post(LATENCY, Event::Notify { from: sid, to, notification });
            }
            Output::ConnectLeader { link, sid: to } => {
                self.post(LATENCY, Event::Dial { from: sid, to, link });
            }
            Output::CloseLeader { link, reason } => {
                self.node(sid).closed.push(reason);
                self.drop_conns(|c| c.learner == sid && c.learner_link == link);
            }
            Output::SendToLeader { link, packet } => {
                if let Some(at) = self.at_leader(sid, link) {
                    self.post(LATENCY, Event::ToLeader { at, packet });
                }
            }
            Output::SendToLearner { link: at, packet } => self.post(LATENCY, Event::ToLearner { at, packet }),
            Output::SendSnapshot { link: at, zxid } => {
                let tree = self.node(sid).tree.clone();
                assert_eq!(last_of(&tree), zxid);
                self.post(LATENCY, Event::Snapshot { at, zxid, tree });
            }
            Output::CloseLearner { link: at, reason } => {
                self.node(sid).closed.push(reason);
                if let Some(conn) = self.conns.remove(&at)
                    && self.connected(conn.leader, conn.learner)
                {
                    let link = conn.learner_link;
                    self.post(LATENCY, Event::Dialed { to: conn.learner, link, refused: true });
                }
            }
            Output::Deliver { zxid, payload } => {
                let node = self.node(sid);
                assert!(
                    zxid > last_of(&node.tree),
                    "{zxid} delivered to {sid} after {}",
                    last_of(&node.tree)
                );
                node.tree.push((zxid, payload));
                self.note_commits(sid);
            }
            Output::Serving { epoch } => {
                self.node(sid).serving = Some(epoch);
                self.note_commits(sid);
            }
            Output::RoleChanged(_) => self.node(sid).serving = None,
            Output::SyncReady { token } => self.node(sid).synced.push(token),
            Output::LearnerPacket { .. } | Output::LeaderPacket { .. } => {}
            other => panic!("{other:?} is for the disk"),
        }
    }

    /// What a serving leader has delivered is committed, for ever.
    fn note_commits(&mut self, sid: Sid) {
        let node = &self.nodes[&sid];
        if node.serving.is_none() || node.peer.as_ref().is_none_or(|p| p.role() != Role::Leading) {
            return;
        }
        let common = node.tree.len().min(self.committed.len());
        assert_eq!(node.tree[..common], self.committed[..common], "{sid} contradicts what was committed");
        self.committed.extend_from_slice(&node.tree[common..]);
    }
}
