//! Connections between clients and gateways: each way in order, delayed at random, and now and then stuck.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use palisade_wire::Zxid;

use crate::network::NodeId;

/// Number of a client's connection.
pub(crate) type WireId = u64;

/// Which end something travels to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Toward {
    /// The gateway.
    Gateway,
    /// The client.
    Client,
}

/// What travels.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    /// Bytes.
    Bytes(Bytes),
    /// A mark that no real client gets: the gateway's tree was replaced.
    Replaced(Zxid),
    /// Another: what lasting watches missed since this zxid is remembered there.
    Remembers(Zxid),
    /// The end.
    Closed,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Wire {
    /// Whose.
    pub(crate) client: usize,
    /// To which gateway, in which of its lives.
    pub(crate) node: NodeId,
    pub(crate) life: u32,
    /// Nothing gets through before this.
    pub(crate) stuck_until: u64,
    /// Whether nothing reaches the client any more. What reaches it late would let it believe for longer than its
    /// server may know: no timeout on its side can help against that.
    pub(crate) mute: bool,
    /// Whether the gateway has had it.
    pub(crate) accepted: bool,
    to_gateway: VecDeque<(u64, Item)>,
    to_client: VecDeque<(u64, Item)>,
}

impl Wire {
    /// What travels to that end, with the time of arrival.
    pub(crate) const fn queue(&mut self, toward: Toward) -> &mut VecDeque<(u64, Item)> {
        match toward {
            Toward::Gateway => &mut self.to_gateway,
            Toward::Client => &mut self.to_client,
        }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Wires {
    wires: BTreeMap<WireId, Wire>,
    next: WireId,
}

impl Wires {
    /// A new one.
    pub(crate) fn connect(&mut self, client: usize, node: NodeId, life: u32) -> WireId {
        self.next += 1;
        let (to_gateway, to_client) = (VecDeque::new(), VecDeque::new());
        self.wires.insert(
            self.next,
            Wire { client, node, life, stuck_until: 0, mute: false, accepted: false, to_gateway, to_client },
        );
        self.next
    }

    pub(crate) fn get(&mut self, id: WireId) -> Option<&mut Wire> {
        self.wires.get_mut(&id)
    }

    /// Those of a gateway.
    pub(crate) fn of_node(&self, node: NodeId) -> Vec<WireId> {
        self.wires.iter().filter(|(_, wire)| wire.node == node).map(|(id, _)| *id).collect()
    }

    /// Neither end is there any more.
    pub(crate) fn forget(&mut self, id: WireId) {
        self.wires.remove(&id);
    }
}
