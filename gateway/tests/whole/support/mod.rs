//! Voters and gateways in this process, and a client written by hand.

mod client;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

pub(crate) use client::{Client, Session};
use palisade_gateway::core_link::LinkState;
use palisade_gateway::{Gateway, GatewayHandle, Listeners};
use palisade_server::{Addresses, Config, Ports, Reservation, Voter, VoterHandle};
use palisade_wire::Sid;
use palisade_zab::Ensemble;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Far longer than anything takes that works.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Three voters on free ports.
pub(crate) struct Core {
    voters: BTreeMap<Sid, VoterHandle>,
    addresses: BTreeMap<Sid, Addresses>,
    folders: BTreeMap<Sid, TempDir>,
    ensemble: Ensemble,
    adjust: Box<dyn Fn(&mut Config) + Send + Sync>,
}

fn reserve(address: Option<SocketAddr>) -> Option<Reservation> {
    Some(Reservation::bind(address.unwrap_or(([127, 0, 0, 1], 0).into())).unwrap())
}

impl Core {
    pub(crate) async fn start() -> Self {
        Self::with(|_| ()).await
    }

    /// Learners that miss more than so many transactions are sent a snapshot.
    pub(crate) async fn remembering(commit_log_count: usize) -> Self {
        Self::with(move |config| config.limits.commit_log_count = commit_log_count).await
    }

    /// Voters with other settings.
    pub(crate) async fn with(adjust: impl Fn(&mut Config) + Send + Sync + 'static) -> Self {
        let ports: BTreeMap<Sid, Ports> = (1..=3)
            .map(|sid| (sid, Ports { quorum: reserve(None), election: reserve(None), admin: None }))
            .collect();
        let port = |r: &Option<Reservation>| r.as_ref().unwrap().address().port();
        let lines = ports.iter().map(|(sid, p)| {
            format!("server.{sid}=127.0.0.1:{}:{}:participant", port(&p.quorum), port(&p.election))
        });
        let mut core = Self {
            voters: BTreeMap::new(),
            addresses: BTreeMap::new(),
            folders: (1..=3).map(|sid| (sid, TempDir::new().unwrap())).collect(),
            ensemble: Ensemble::parse(&lines.collect::<Vec<_>>().join("\n")).unwrap(),
            adjust: Box::new(adjust),
        };
        for (sid, ports) in ports {
            core.launch(sid, ports).await;
        }
        core
    }

    async fn launch(&mut self, sid: Sid, ports: Ports) {
        let mut config = Config::new(sid, self.ensemble.clone(), self.folders[&sid].path());
        config.timing.tick = Duration::from_millis(200);
        config.timing.init_limit = 20;
        config.timing.sync_limit = 10;
        config.storage.log_preallocation = 1 << 16;
        (self.adjust)(&mut config);
        let voter = Voter::start(config, ports).await.unwrap();
        self.addresses.insert(sid, voter.addresses());
        self.voters.insert(sid, voter);
    }

    /// Ends a voter as a crash of its process does.
    pub(crate) async fn kill(&mut self, sid: Sid) {
        self.voters.remove(&sid).unwrap().kill().await;
    }

    pub(crate) async fn kill_all(&mut self) {
        for sid in 1..=3 {
            if self.voters.contains_key(&sid) {
                self.kill(sid).await;
            }
        }
    }

    pub(crate) async fn restart(&mut self, sid: Sid) {
        let Addresses { quorum, election, .. } = self.addresses[&sid];
        let ports = Ports { quorum: reserve(Some(quorum)), election: reserve(Some(election)), admin: None };
        self.launch(sid, ports).await;
    }

    pub(crate) async fn restart_all(&mut self) {
        for sid in 1..=3 {
            self.restart(sid).await;
        }
    }

    /// A gateway with its data in this folder, not yet connected.
    pub(crate) async fn gateway(&self, id: Sid, folder: &Path) -> GatewayHandle {
        self.tenant(id, folder, "/").await
    }

    /// The same for a tenant whose clients see this sub-tree.
    pub(crate) async fn tenant(&self, id: Sid, folder: &Path, root: &str) -> GatewayHandle {
        let mut config = self.config(id, folder);
        config.tenant.root = root.to_owned();
        Gateway::start(config, Listeners::default()).await.unwrap()
    }

    /// What a gateway before this core needs to know.
    pub(crate) fn config(&self, id: Sid, folder: &Path) -> palisade_gateway::Config {
        let mut config = palisade_gateway::Config { id, ..palisade_gateway::Config::default() };
        // Of one tenant: sessions move between its gateways only.
        config.tenant.name = "tests".to_owned();
        config.client.address = "127.0.0.1:0".to_owned();
        config.admin.address = Some("127.0.0.1:0".to_owned());
        config.core.voters = self.addresses.values().map(|a| a.quorum.to_string()).collect();
        config.core.init_timeout = Duration::from_secs(4);
        config.core.sync_timeout = Duration::from_secs(2);
        config.storage.data_dir = folder.to_owned();
        config
    }

    /// The sid of the leader that this gateway follows, as soon as it does.
    pub(crate) async fn leader_of(&self, gateway: &GatewayHandle) -> Sid {
        let mut state = gateway.core().state();
        let state =
            timeout(PATIENCE, state.wait_for(LinkState::is_connected)).await.expect("no leader").unwrap();
        let LinkState::Connected { leader, .. } = &*state else { unreachable!("waited for it") };
        *self.addresses.iter().find(|(_, a)| a.quorum.to_string() == *leader).unwrap().0
    }
}

/// Waits until a gateway follows a leader.
pub(crate) async fn connected(gateway: &GatewayHandle) {
    let mut state = gateway.core().state();
    timeout(PATIENCE, state.wait_for(LinkState::is_connected)).await.expect("no leader").unwrap();
}

/// Waits until a gateway has noticed that it follows none.
pub(crate) async fn disconnected(gateway: &GatewayHandle) {
    let mut state = gateway.core().state();
    timeout(PATIENCE, state.wait_for(|s| !s.is_connected())).await.expect("still connected").unwrap();
}

/// A four-letter word's answer.
pub(crate) async fn ask(gateway: &GatewayHandle, word: &str) -> String {
    let mut stream = TcpStream::connect(gateway.admin_address().unwrap()).await.unwrap();
    stream.write_all(word.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
