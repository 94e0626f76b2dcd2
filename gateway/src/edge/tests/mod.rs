//! The edge over real sockets, before a core of one node that the test steps by hand.

mod core;
mod events;
mod handshake;
mod limits;
mod link_loss;
mod local_sessions;
mod memory;
mod modes;
mod order;
mod raw;
mod replay;
mod waiting;
mod watch_limits;
mod words;

use std::sync::Arc;

use palisade_store::DataTree;
use tokio::net::TcpListener;

use self::core::Core;
use self::raw::{Raw, Session};
use super::{Edge, EdgeHandle, Hub, Listeners};
use crate::config::Config;
use crate::replica::Replica;
use crate::session::SessionIds;

/// An edge and its core.
struct Bench {
    core: Arc<Core>,
    edge: EdgeHandle,
}

fn config() -> Config {
    let mut config = Config { id: 101, ..Config::default() };
    config.tenant.name = "test".to_owned();
    config.sessions.local = false;
    config
}

impl Bench {
    /// With a core that answers by itself.
    async fn start() -> Self {
        let bench = Self::with(config()).await;
        bench.core.answer_all();
        bench
    }

    /// With a core that answers when it is told to.
    async fn with(config: Config) -> Self {
        let hub = Hub::new(&config);
        let replica = Replica::new(DataTree::new(), Arc::clone(&hub) as _);
        let (core, link) = Core::new(replica.clone(), &config);
        let bind = || TcpListener::bind("127.0.0.1:0");
        let (client, admin) = (bind().await.unwrap(), bind().await.unwrap());
        let ids = SessionIds::starting_at(config.id, 1_700_000_000_000);
        let listeners = Listeners { client, admin: Some(admin) };
        Self { core, edge: super::start(config, ids, hub, replica, link, listeners) }
    }

    /// Another edge before the same core.
    async fn beside(&self, config: Config) -> Self {
        let bench = Self::with(config).await;
        bench.core.join(&self.core);
        bench
    }

    /// Waits until the edge has no connections.
    async fn disconnected(&self) {
        while self.edge.edge.hub.connections().count() > 0 {
            tokio::task::yield_now().await;
        }
    }

    async fn raw(&self) -> Raw {
        Raw::connect(self.edge.client_address()).await
    }

    /// A client with a new session.
    async fn session(&self) -> Session {
        Session::new(self.raw().await, 10_000).await
    }

    /// The same, while the core must be stepped for it.
    async fn session_by_hand(&self) -> Session {
        let opening = Session::new(self.raw().await, 10_000);
        let (session, ()) = tokio::join!(opening, self.core.step());
        session
    }
}
