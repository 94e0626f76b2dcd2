//! A running gateway: both halves, wired.

use std::net::SocketAddr;
use std::sync::Arc;

use palisade_disk::DiskError;
use palisade_wire::{DecodeError, Zxid};
use socket2::SockRef;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::debug;

use crate::admin::reload::Reloads;
use crate::config::{Config, ConfigMistake};
use crate::core_link::CoreLink;
use crate::edge::{self, Remembered};
use crate::link::{self, LinkTask};
use crate::replica::ReplicaObserver;
use crate::replica::disk::{self, Opened};
use crate::session::SessionIds;
use crate::tenancy::RootCollision;
use crate::throttle::LockUse;

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
    /// The replica could not be brought to life.
    #[error(transparent)]
    Run(#[from] GatewayError),
}

impl From<DiskError> for StartError {
    fn from(e: DiskError) -> Self {
        Self::Run(e.into())
    }
}

/// Starts gateways.
#[derive(Debug)]
pub struct Gateway;

impl Gateway {
    /// Restores the replica from disk, opens the ports, and begins to search a leader. Does not wait for one.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: Config, listeners: Listeners) -> Result<GatewayHandle, StartError> {
        let mistakes = config.validate();
        if !mistakes.is_empty() {
            return Err(StartError::Config(mistakes));
        }
        // Ports first: a second process on the same port must not touch the first one's files.
        let listeners = bind(&config, listeners).await?;
        let (opened, ids, remembered) = open(&config).await?;
        let hub = edge::Hub::with_past(&config, remembered);
        let stop = CancellationToken::new();
        let observer = (Arc::clone(&hub) as Arc<dyn ReplicaObserver>, Arc::clone(&hub.stats().metrics));
        let (replica, core, link) = link::start(&config, opened, observer, stop.clone())?;
        let edge = edge::start(config, ids, hub, replica, core.clone(), listeners);
        Ok(GatewayHandle { edge, link, core, stop: stop.drop_guard() })
    }
}

/// Connections that the system keeps until they are accepted, as far as it will keep so many. After an outage all
/// clients come at once, and one that finds the queue full tries again only a second later.
const BACKLOG: i32 = 16_384;

async fn bind(config: &Config, listeners: Listeners) -> Result<edge::Listeners, StartError> {
    let client = match listeners.client {
        Some(bound) => bound,
        None => listen("client.address", &config.client.address).await?,
    };
    if let Err(error) = SockRef::from(&client).listen(BACKLOG) {
        debug!(%error, "the queue of the clients' port stays as it is");
    }
    let admin = match (listeners.admin, &config.admin.address) {
        (Some(bound), _) => Some(bound),
        (None, Some(address)) => Some(listen("admin.address", address).await?),
        (None, None) => None,
    };
    Ok(edge::Listeners { client, admin })
}

async fn listen(key: &'static str, address: &str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Bind {
        key,
        address: address.to_owned(),
        source,
    })
}

async fn open(config: &Config) -> Result<(Opened, SessionIds, Remembered), StartError> {
    let (id, storage, max_record) = (config.id, config.storage.clone(), link::max_packet(config));
    let mut remembered = Remembered::new(config);
    let opening = tokio::task::spawn_blocking(move || {
        let opened = disk::open(&storage, max_record, &mut remembered)?;
        let ids = opened.reserve_ids(id)?;
        Ok::<_, DiskError>((opened, ids, remembered))
    });
    Ok(opening.await.map_err(|_| GatewayError::Panicked)??)
}

/// A running gateway. Dropped, it stops without waiting.
#[derive(Debug)]
pub struct GatewayHandle {
    edge: edge::EdgeHandle,
    link: LinkTask,
    core: CoreLink,
    stop: DropGuard,
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
    /// The tenant's root is not to be had.
    #[error("tenant.root: {0}")]
    Root(RootCollision),
    /// The data directory cannot be opened, or was asked for what makes no sense, which is a defect. A disk that fails
    /// later does not end the gateway.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The thread that writes the data directory ended without a word.
    #[error("the disk thread has ended; see the log")]
    DiskGone,
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
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
    pub fn client_address(&self) -> SocketAddr {
        self.edge.client_address()
    }

    /// Where monitoring connects, if anywhere.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.edge.admin_address()
    }

    /// The link to the core: to see or to wait whether there is a leader.
    pub const fn core(&self) -> &CoreLink {
        &self.core
    }

    /// The paths below which most locks are acquired of late, at most `limit`, the busiest first.
    pub fn busiest_locks(&self, limit: usize) -> Vec<LockUse> {
        self.edge.busiest_locks(limit)
    }

    /// The locks with the longest queues, at most `limit`: the parent's path, and how many hold or wait, as far as
    /// this gateway's clients are concerned.
    pub fn longest_queues(&self, limit: usize) -> Vec<(String, u32)> {
        self.edge.longest_queues(limit)
    }

    /// Wishes of the admin port that the settings be read again: to be answered with what [`Self::reload`] says. As long
    /// as nobody takes them, `POST /reload` fails.
    pub fn reloads(&self) -> Reloads {
        self.edge.reloads()
    }

    /// Takes over what may change while the gateway runs: the sections `[throttle]` and `[notifications]`. The rest of
    /// `config` is not looked at. Nobody is disconnected.
    ///
    /// # Errors
    /// The configuration has mistakes: nothing is changed.
    pub fn reload(&self, config: &Config) -> Result<(), Vec<ConfigMistake>> {
        let mistakes = config.validate();
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        self.edge.set_throttle(config.throttle.clone());
        self.edge.set_notifications(&config.notifications);
        Ok(())
    }

    /// Waits until the gateway ends by itself, which it does only when it cannot go on. Call [`Self::stop`] then.
    /// Cancel-safe.
    pub async fn wait(&mut self) -> GatewayError {
        let ended = async {
            match self.link.join().await {
                Some(error) => error,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            error = ended => error,
            collision = self.edge.collision() => GatewayError::Root(collision),
        }
    }

    /// Lets nobody in any more, and asks the clients to leave for other gateways, spread over `[gateway] drain`. Their
    /// sessions live on. Call [`Self::stop`] then.
    pub async fn drain(&self) {
        self.edge.drain().await;
    }

    /// Closes the ports and the connections, makes the replica durable, and ends.
    pub async fn stop(self) {
        let Self { edge, mut link, stop, .. } = self;
        edge.stop().await;
        drop(stop);
        link.join().await;
    }
}
