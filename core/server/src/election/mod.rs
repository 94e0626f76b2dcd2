//! The election port: one connection per pair of voters, dialed by the larger sid, over which votes are told
//! (Apache `QuorumCnxManager`).
//!
//! Every peer has a task that owns its connection and a slot for the vote to be sent next; a newer vote
//! replaces one that was not sent yet. Votes received go to the driver by one bounded queue.

mod inbound;
mod peer;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use palisade_wire::Sid;
use palisade_wire::election::Notification;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::net::{LogGate, PortStats, Stranger};
use peer::{Entry, Peer};

/// Peers outside the member list that may be connected at the same time.
const MAX_UNLISTED: usize = 32;

/// What the election port tells the driver.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ElectionEvent {
    /// A connection to a peer stands.
    Up(Sid),
    /// A peer told its vote.
    Vote(Sid, Notification),
}

/// What the port needs to know.
pub(crate) struct ElectionConfig {
    pub(crate) sid: Sid,
    /// Election address (`host:port`) of this voter, told to those it dials.
    pub(crate) own_address: String,
    /// Election addresses of the other members.
    pub(crate) peers: BTreeMap<Sid, String>,
    /// Bounds a lookup, a dial, and a write to a connection that takes no more.
    pub(crate) connect_timeout: Duration,
    /// Time in which a stranger must say who it is.
    pub(crate) identify_timeout: Duration,
}

/// The connections to the other voters. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ElectionPort {
    shared: Arc<Shared>,
}

struct Shared {
    config: ElectionConfig,
    stats: Arc<PortStats>,
    events: mpsc::Sender<ElectionEvent>,
    peers: Mutex<BTreeMap<Sid, Entry>>,
    /// For the log lines about connections that end.
    gate: LogGate,
    shutdown: CancellationToken,
    tasks: TaskTracker,
}

impl ElectionPort {
    /// Starts a task per listed peer. Nothing is dialed before there is something to say.
    pub(crate) fn start(
        config: ElectionConfig,
        stats: Arc<PortStats>,
        events: mpsc::Sender<ElectionEvent>,
        shutdown: CancellationToken,
        tasks: TaskTracker,
    ) -> Self {
        let listed: Vec<_> = config.peers.iter().map(|(sid, address)| (*sid, address.clone())).collect();
        let port = Self {
            shared: Arc::new(Shared {
                config,
                stats,
                events,
                peers: Mutex::default(),
                gate: LogGate::default(),
                shutdown,
                tasks,
            }),
        };
        for (sid, address) in listed {
            let entry = port.spawn(sid, Some(address));
            port.shared.peers.lock().insert(sid, entry);
        }
        port
    }

    /// Queues a vote for a peer in place of one that was not sent yet. Dropped if the peer is neither a member
    /// nor connected.
    pub(crate) fn send(&self, to: Sid, vote: Notification) {
        if let Some(entry) = self.shared.peers.lock().get(&to) {
            entry.outbox.send_replace(Some(vote));
        }
    }

    /// Serves one accepted connection until it is handed to its peer's task.
    pub(crate) async fn serve(self, stream: TcpStream, from: SocketAddr, stranger: Stranger) {
        if let Err(reason) = inbound::identify(&self, stream).await {
            self.shared.stats.refuse(from, reason);
        }
        drop(stranger);
    }

    fn is_connected(&self, sid: Sid) -> bool {
        self.shared.peers.lock().get(&sid).is_some_and(|entry| *entry.connected.borrow())
    }

    /// The task of a peer; a new one for a peer outside the member list, if there is room.
    fn entry(&self, sid: Sid) -> Option<Entry> {
        let mut peers = self.shared.peers.lock();
        if let Some(entry) = peers.get(&sid) {
            return Some(entry.clone());
        }
        if peers.len() >= self.shared.config.peers.len() + MAX_UNLISTED {
            return None;
        }
        let entry = self.spawn(sid, None);
        peers.insert(sid, entry.clone());
        Some(entry)
    }

    fn spawn(&self, sid: Sid, address: Option<String>) -> Entry {
        let (outbox, outgoing) = watch::channel(None);
        let (handover, inbound) = mpsc::channel(1);
        let (connected_tx, connected) = watch::channel(false);
        let listed = address.is_some();
        let shared = self.shared.clone();
        let peer = Peer { shared: shared.clone(), sid, address, outgoing, inbound, connected: connected_tx };
        self.shared.tasks.spawn(async move {
            shared.shutdown.run_until_cancelled(peer.run()).await;
            if !listed {
                shared.peers.lock().remove(&sid);
            }
        });
        Entry { outbox: Arc::new(outbox), handover, connected }
    }
}

#[cfg(test)]
mod tests;
