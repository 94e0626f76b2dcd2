//! A running gateway: both halves, wired.

use std::net::SocketAddr;

use palisade_disk::DiskError;
use palisade_wire::{DecodeError, Zxid};
use tokio::net::TcpListener;

use crate::config::{Config, ConfigMistake};
use crate::core_link::CoreLink;

/// Ports that the caller has bound already; what is missing is bound as the configuration says.
#[derive(Debug, Default)]
pub struct Listeners {
    /// For clients.
    pub client: Option<TcpListener>,
    /// For monitoring.
    pub admin: Option<TcpListener>,
}

/// Why a gateway did not start. Nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration makes no sense.
    #[error("the gateway's configuration has mistakes: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Config(Vec<ConfigMistake>),
    /// A port could not be bound.
    #[error("{key}: cannot listen on {address}: {source}")]
    Bind {
        /// The configuration key.
        key: &'static str,
        /// The address.
        address: String,
        /// Why.
        source: std::io::Error,
    },
}

/// Starts gateways.
#[derive(Debug)]
pub struct Gateway;

impl Gateway {
    /// Restores the replica from disk, opens the ports, and begins to search a leader. Does not wait for one.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(_config: Config, _listeners: Listeners) -> Result<GatewayHandle, StartError> {
        todo!()
    }
}

/// A running gateway. Dropped, it stops without waiting.
#[derive(Debug)]
pub struct GatewayHandle {
    client: SocketAddr,
    admin: Option<SocketAddr>,
    core: CoreLink,
}

/// Why a gateway ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The ensemble lists this gateway's id as a voter's: following it would make this gateway vote.
    #[error("id {id} is that of a voter of the ensemble; give this gateway an id that no voter has")]
    IdIsVoter {
        /// The id.
        id: i64,
    },
    /// The data directory failed: what it holds is unknown until it is opened again.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The thread that writes the data directory ended without a word.
    #[error("the disk thread has ended; see the log")]
    DiskGone,
    /// A transaction that is history cannot be applied.
    #[error("transaction {zxid} cannot be decoded: {source}; this version is too old for the core")]
    Txn {
        /// Which one.
        zxid: Zxid,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// The learner cannot go on. This is a defect.
    #[error("the learner failed: {0}")]
    Learner(String),
    /// A task panicked. This is a defect.
    #[error("a task panicked; see the log")]
    Panicked,
}

impl GatewayHandle {
    /// Where clients connect.
    pub const fn client_address(&self) -> SocketAddr {
        self.client
    }

    /// Where monitoring connects, if anywhere.
    pub const fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// The link to the core: to see or to wait whether there is a leader.
    pub const fn core(&self) -> &CoreLink {
        &self.core
    }

    /// Waits until the gateway ends by itself, which it does only when it cannot go on.
    pub async fn wait(&mut self) -> GatewayError {
        std::future::pending().await
    }

    /// Closes the ports and the connections, makes the replica durable, and ends.
    pub async fn stop(self) {}
}
