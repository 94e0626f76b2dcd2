//! Three voters of either make, and gateways before them that can be cut off.

use crate::apache::ApacheEnsemble;
use crate::folder::Folder;
use crate::palisade::{Core, Gateway};
use crate::ports::Ports;
use crate::proxy::Proxy;
use crate::zoo_cfg::{self, Member};

/// Voters that follow one leader.
#[derive(Debug)]
pub enum Ensemble {
    /// Palisade's.
    Palisade(Box<Core>),
    /// Apache's, with folder and ports for gateways.
    Apache(ApacheEnsemble, Folder, Ports),
}

impl Ensemble {
    /// Three of Palisade's.
    #[track_caller]
    pub fn palisade() -> Self {
        Self::palisade_with(zoo_cfg::SNAPSHOT_OFTEN)
    }

    /// The same with another line in their `zoo.cfg` files.
    #[track_caller]
    pub fn palisade_with(setting: &str) -> Self {
        Self::Palisade(Box::new(Core::start_with(setting)))
    }

    /// Three of Apache's.
    #[track_caller]
    pub fn apache() -> Self {
        Self::Apache(ApacheEnsemble::start(3), Folder::new(), Ports::lease())
    }

    /// The voters, with their quorum ports.
    pub fn members(&self) -> &[Member] {
        match self {
            Self::Palisade(core) => &core.members,
            Self::Apache(apache, ..) => apache.members(),
        }
    }

    /// The index of the voter that leads.
    #[track_caller]
    pub fn leader(&self) -> usize {
        match self {
            Self::Palisade(core) => core.leader(),
            Self::Apache(apache, ..) => apache.leader(),
        }
    }

    /// kill -9 of one voter.
    pub fn kill(&mut self, voter: usize) {
        match self {
            Self::Palisade(core) => core.voters[voter].kill(),
            Self::Apache(apache, ..) => apache.servers[voter].kill(),
        }
    }

    /// kill -9 of all.
    pub fn kill_all(&mut self) {
        (0..self.members().len()).for_each(|voter| self.kill(voter));
    }

    /// Starts a voter that was killed.
    pub fn start(&mut self, voter: usize) {
        match self {
            Self::Palisade(core) => core.voters[voter].restart(),
            Self::Apache(apache, ..) => apache.servers[voter].restart(),
        }
    }

    /// Starts all voters that were killed, and waits until they are an ensemble.
    #[track_caller]
    pub fn start_all(&mut self) {
        (0..self.members().len()).for_each(|voter| self.start(voter));
        self.wait_until_complete();
    }

    /// Waits until one voter leads and all others follow.
    #[track_caller]
    pub fn wait_until_complete(&self) {
        match self {
            Self::Palisade(core) => core.wait_until_complete(),
            Self::Apache(apache, ..) => apache.servers.iter().for_each(|server| server.wait_until_serving()),
        }
    }

    /// A gateway before these voters, with other values of some keys.
    #[track_caller]
    pub fn gateway(&mut self, id: u8, settings: &[(&str, &str)]) -> Gateway {
        let members = self.members().to_vec();
        self.gateway_before(id, &members, settings)
    }

    /// The same behind a network that can fail.
    #[track_caller]
    pub fn gateway_behind_cut(&mut self, id: u8, settings: &[(&str, &str)]) -> Behind {
        let proxy = |member: &Member| Proxy::start(&format!("127.0.0.1:{}", member.quorum_port));
        let proxies: Vec<Proxy> = self.members().iter().map(proxy).collect();
        let moved =
            |(member, proxy): (&Member, &Proxy)| Member { quorum_port: proxy.port(), ..member.clone() };
        let members: Vec<Member> = self.members().iter().zip(&proxies).map(moved).collect();
        Behind { gateway: self.gateway_before(id, &members, settings), proxies }
    }

    fn gateway_before(&mut self, id: u8, members: &[Member], settings: &[(&str, &str)]) -> Gateway {
        let (folder, ports) = match self {
            Self::Palisade(core) => (&core.folder, &mut core.ports),
            Self::Apache(_, folder, ports) => (&*folder, ports),
        };
        Gateway::start_with(&folder.subfolder(&format!("gateway-{id}")), id, members, ports, settings)
    }
}

/// A gateway, and the network between it and its core.
#[derive(Debug)]
pub struct Behind {
    /// The gateway.
    pub gateway: Gateway,
    proxies: Vec<Proxy>,
}

impl Behind {
    /// Ends all connections to the core; there will be none before [`Self::restore`].
    pub fn cut(&self) {
        self.proxies.iter().for_each(Proxy::cut);
    }

    /// Connections to the core stay, and nothing comes through.
    pub fn silence(&self) {
        self.proxies.iter().for_each(Proxy::silence);
    }

    /// How many bytes the gateway has sent to the core.
    pub fn sent(&self) -> usize {
        self.proxies.iter().map(Proxy::sent).sum()
    }

    /// The network is well again.
    pub fn restore(&self) {
        self.proxies.iter().for_each(Proxy::restore);
    }

    /// Where clients connect.
    pub fn address(&self) -> String {
        self.gateway.address()
    }
}
