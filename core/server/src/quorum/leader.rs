//! The learner's side: dialing the leader and reading what it sends.

use std::sync::Arc;
use std::time::Duration;

use palisade_store::DataTree;
use palisade_wire::Zxid;
use palisade_wire::quorum::{PacketType, QuorumPacket};
use palisade_wire::txn::TxnRecord;
use palisade_zab::LinkId;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::MAX_UNHANDLED;
use super::outbox::{Drain, Outbox, Outgoing, Overflow};
use super::reader::{Admission, LinkError, PacketReader};
use crate::net::dial;
use crate::state::SharedTree;

/// What the link to the leader tells the driver.
pub(crate) enum LeaderEvent {
    /// It stands.
    Up {
        /// Its number.
        link: LinkId,
    },
    /// Packets, in order; SNAP is the last before its tree.
    Packets {
        /// From this link.
        link: LinkId,
        /// The packets.
        packets: Vec<Received>,
        /// Held until they are dealt with.
        admission: Admission,
    },
    /// The tree stream behind SNAP was read whole.
    Tree {
        /// From this link.
        link: LinkId,
        /// Of the SNAP packet; the tree's last zxid.
        zxid: Zxid,
        /// The tree.
        tree: Box<DataTree>,
    },
    /// It has ended, or could not be established.
    Down {
        /// The link.
        link: LinkId,
        /// Why.
        reason: String,
    },
}

/// A packet, and the transaction that it brings to be logged.
pub(crate) struct Received {
    pub(crate) packet: QuorumPacket,
    pub(crate) txn: Option<TxnRecord>,
}

/// What dialing needs.
#[derive(Clone)]
pub(crate) struct LeaderPort {
    pub(crate) events: mpsc::Sender<LeaderEvent>,
    pub(crate) tree: Arc<SharedTree>,
    pub(crate) max_data: usize,
    pub(crate) backlog_bytes: usize,
    pub(crate) connect_timeout: Duration,
    /// A tree stream, or a write, that does not move for this long is given up.
    pub(crate) stall: Duration,
    pub(crate) shutdown: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

/// The link to the leader, from the first dial on. Dropping it closes it.
pub(crate) struct LeaderLink {
    pub(crate) link: LinkId,
    outbox: Outbox,
    _end: DropGuard,
}

impl LeaderLink {
    /// Queues a packet.
    pub(crate) fn send(&mut self, packet: QuorumPacket) -> Result<(), Overflow> {
        self.outbox.push(Outgoing::Packet(packet))
    }

    /// Lets what was queued be sent.
    pub(crate) fn announce(&mut self) {
        self.outbox.announce_all();
    }
}

impl LeaderPort {
    /// Dials `address` in the background; how it went is told by an event.
    pub(crate) fn open(&self, link: LinkId, address: String) -> LeaderLink {
        let (outbox, drain) = Outbox::new(self.backlog_bytes);
        let end = self.shutdown.child_token();
        let (port, ended) = (self.clone(), end.clone());
        self.tasks.spawn(async move {
            let Some(outcome) = ended.run_until_cancelled(port.run(link, &address, drain)).await else {
                return;
            };
            if let Err(reason) = outcome {
                // Refused only at shutdown.
                let _ = port.events.send(LeaderEvent::Down { link, reason }).await;
            }
        });
        LeaderLink { link, outbox, _end: end.drop_guard() }
    }

    async fn run(&self, link: LinkId, address: &str, drain: Drain) -> Result<(), String> {
        let stream = dial(address, self.connect_timeout).await.map_err(|error| error.to_string())?;
        self.tell(LeaderEvent::Up { link }).await.map_err(|error| error.to_string())?;
        self.talk(link, stream, drain).await.map_err(|error| format!("{address}: {error}"))
    }

    async fn talk(&self, link: LinkId, stream: TcpStream, drain: Drain) -> Result<(), LinkError> {
        let (read, mut write) = stream.into_split();
        let mut reader = PacketReader::new(read, self.max_data, MAX_UNHANDLED);
        let reading = async {
            loop {
                let (packets, admission) = reader.next().await?;
                let packets = packets.into_iter().map(received).collect::<Result<Vec<_>, _>>()?;
                let last = packets.last().map(|received| &received.packet);
                let snap = last.filter(|packet| packet.packet_type() == Some(PacketType::Snap));
                let snap = snap.map(|packet| packet.zxid);
                self.tell(LeaderEvent::Packets { link, packets, admission }).await?;
                if let Some(zxid) = snap {
                    let tree = Box::new(reader.tree(zxid, self.stall).await?);
                    self.tell(LeaderEvent::Tree { link, zxid, tree }).await?;
                }
            }
        };
        let no_tree = Notify::new();
        let writing = drain.run(&mut write, &self.tree, self.stall, &no_tree);
        tokio::select! {
            ended = reading => ended,
            ended = writing => ended.map_err(LinkError::Io),
        }
    }

    async fn tell(&self, event: LeaderEvent) -> Result<(), LinkError> {
        self.events.send(event).await.map_err(|_| LinkError::Shutdown)
    }
}

/// Reads the transaction in a packet. Refuses one that could be logged but not applied, or not be logged under its
/// zxid: it would stop this voter, and the log might be unreadable for ever.
fn received(packet: QuorumPacket) -> Result<Received, LinkError> {
    let payload = match (packet.packet_type(), &packet.data) {
        (Some(PacketType::Proposal | PacketType::Inform), Some(payload)) => payload,
        // The id of the designated leader comes first.
        (Some(PacketType::InformAndActivate), Some(payload)) => &payload.slice(payload.len().min(8)..),
        _ => return Ok(Received { packet, txn: None }),
    };
    let txn = TxnRecord::decode(payload)?;
    if txn.header.zxid == packet.zxid {
        Ok(Received { packet, txn: Some(txn) })
    } else {
        Err(LinkError::OtherZxid)
    }
}
