//! Connections between learners and leaders: FIFO each way, delayed at random, held up by partitions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use palisade_wire::Zxid;
use palisade_wire::quorum::QuorumPacket;
use palisade_zab::LinkId;

/// Index of a server.
pub(crate) type NodeId = usize;

/// Number of a connection.
pub(crate) type ConnId = u64;

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// From the learner.
    ToLeader,
    /// From the leader.
    ToLearner,
}

/// What travels.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    /// A packet.
    Packet(QuorumPacket),
    /// SNAP and its tree stream, filled in by the leader's cursor; nothing overtakes it.
    Snapshot {
        /// Zxid of the SNAP packet.
        zxid: Zxid,
        /// The stream, once it is complete.
        stream: Option<Bytes>,
        /// What the sender had applied up to `zxid` (for the oracle).
        applied: Vec<Zxid>,
        /// From where on a replica that replays behind it is exact.
        exact_from: Zxid,
    },
    /// The end of the connection.
    Closed,
}

/// One end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    /// The server.
    pub(crate) node: NodeId,
    /// Its number for this connection.
    pub(crate) link: LinkId,
    /// Whether it still listens.
    pub(crate) open: bool,
}

/// A connection of the quorum port.
#[derive(Debug)]
pub(crate) struct Conn {
    /// The learner's end.
    pub(crate) learner: End,
    /// The leader's end.
    pub(crate) leader: End,
    /// What is on its way to the leader does not arrive before this.
    pub(crate) held_until: u64,
    to_leader: VecDeque<(u64, Message)>,
    to_learner: VecDeque<(u64, Message)>,
}

impl Conn {
    /// The end that messages of this way arrive at.
    pub(crate) const fn receiver(&self, way: Way) -> &End {
        match way {
            Way::ToLeader => &self.leader,
            Way::ToLearner => &self.learner,
        }
    }

    /// The end that a message of this way leaves from.
    pub(crate) const fn sender(&mut self, way: Way) -> &mut End {
        match way {
            Way::ToLeader => &mut self.learner,
            Way::ToLearner => &mut self.leader,
        }
    }

    /// What is on its way, with the time of arrival.
    pub(crate) const fn queue(&mut self, way: Way) -> &mut VecDeque<(u64, Message)> {
        match way {
            Way::ToLeader => &mut self.to_leader,
            Way::ToLearner => &mut self.to_learner,
        }
    }
}

/// All connections and cuts.
#[derive(Debug, Default)]
pub(crate) struct Network {
    conns: BTreeMap<ConnId, Conn>,
    next: ConnId,
    cut: BTreeSet<(NodeId, NodeId)>,
    /// Established election connections, each pair once, the smaller first.
    election: BTreeSet<(NodeId, NodeId)>,
}

impl Network {
    /// Cuts or mends the way between two servers.
    pub(crate) fn set_cut(&mut self, a: NodeId, b: NodeId, cut: bool) {
        let pair = (a.min(b), a.max(b));
        if cut {
            self.cut.insert(pair);
            self.election.remove(&pair);
        } else {
            self.cut.remove(&pair);
        }
    }

    /// Mends everything.
    pub(crate) fn heal(&mut self) {
        self.cut.clear();
    }

    /// Whether nothing gets through between two servers.
    pub(crate) fn is_cut(&self, a: NodeId, b: NodeId) -> bool {
        self.cut.contains(&(a.min(b), a.max(b)))
    }

    /// Establishes the election connection of a pair; false if it stood already.
    pub(crate) fn join_election(&mut self, a: NodeId, b: NodeId) -> bool {
        self.election.insert((a.min(b), a.max(b)))
    }

    /// Drops all election connections of a server.
    pub(crate) fn leave_election(&mut self, node: NodeId) {
        self.election.retain(|(a, b)| *a != node && *b != node);
    }

    /// Establishes a connection.
    pub(crate) fn connect(&mut self, learner: (NodeId, LinkId), leader: (NodeId, LinkId)) -> ConnId {
        self.next += 1;
        let end = |(node, link)| End { node, link, open: true };
        let conn = Conn {
            learner: end(learner),
            leader: end(leader),
            held_until: 0,
            to_leader: VecDeque::new(),
            to_learner: VecDeque::new(),
        };
        self.conns.insert(self.next, conn);
        self.next
    }

    /// The connection, unless it is gone.
    pub(crate) fn conn(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.conns.get_mut(&id)
    }

    /// The open connection that `node` knows as `link`, and the way of what it sends there.
    pub(crate) fn find(&self, node: NodeId, link: LinkId, way: Way) -> Option<ConnId> {
        self.conns
            .iter()
            .rev()
            .find(|(_, conn)| {
                let end = conn.receiver(if way == Way::ToLeader { Way::ToLearner } else { Way::ToLeader });
                end.node == node && end.link == link && end.open
            })
            .map(|(id, _)| *id)
    }

    /// All connections that a server is an end of, with the way of what it sends there.
    pub(crate) fn of_node(&self, node: NodeId) -> Vec<(ConnId, Way)> {
        let ways = |conn: &Conn| {
            [(conn.learner, Way::ToLeader), (conn.leader, Way::ToLearner)]
                .into_iter()
                .filter(|(end, _)| end.node == node && end.open)
                .map(|(_, way)| way)
                .collect::<Vec<_>>()
        };
        self.conns.iter().flat_map(|(id, conn)| ways(conn).into_iter().map(|way| (*id, way))).collect()
    }

    /// Forgets connections of which both ends are closed.
    pub(crate) fn sweep(&mut self) {
        self.conns.retain(|_, conn| conn.learner.open || conn.leader.open);
    }
}
