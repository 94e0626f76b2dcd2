//! The servers that a client program runs against, one after the other: the original first.

use std::fmt::Debug;

use crate::apache::ApacheEnsemble;
use crate::folder::Folder;
use crate::palisade::{Core, Gateway};
use crate::ports::Ports;
use crate::zoo_cfg;

/// A server for clients, and all that stands behind it.
#[derive(Debug)]
pub struct Target(Front);

#[derive(Debug)]
enum Front {
    Apache(ApacheEnsemble),
    // Dropped in this order. `held` counts the events that were held back before the gateway was started again.
    Gateway { gateway: Gateway, held: u64, _behind: Box<dyn Debug> },
}

impl Target {
    /// A standalone Apache server.
    #[track_caller]
    pub fn apache() -> Self {
        Self(Front::Apache(ApacheEnsemble::start(1)))
    }

    /// A standalone Apache server that takes larger requests than it does by default.
    #[track_caller]
    pub fn apache_for_large_requests() -> Self {
        Self(Front::Apache(ApacheEnsemble::start_with(1, &["-Djute.maxbuffer=16777216"])))
    }

    /// A gateway before three voters.
    #[track_caller]
    pub fn palisade() -> Self {
        let mut core = Core::start_with(zoo_cfg::ALL_TYPES);
        let gateway = core.gateway(101, "gateway");
        Self(Front::Gateway { gateway, held: 0, _behind: Box::new(core) })
    }

    /// The same for a gateway that holds back every event, for as long as it may: few clients are told at a time.
    #[track_caller]
    pub fn palisade_that_paces() -> Self {
        let mut core = Core::start_with(zoo_cfg::ALL_TYPES);
        let settings = [
            ("notifications.pace_above", "0"),
            ("notifications.rate", "5"),
            ("notifications.window", "\"300ms\""),
        ];
        let gateway = core.gateway_with(101, "gateway", &settings);
        Self(Front::Gateway { gateway, held: 0, _behind: Box::new(core) })
    }

    /// A gateway before three Apache servers.
    #[track_caller]
    pub fn gateway_before_apache() -> Self {
        let ensemble = ApacheEnsemble::start(3);
        let (folder, mut ports) = (Folder::new(), Ports::lease());
        let gateway = Gateway::start(folder.path(), 101, ensemble.members(), &mut ports);
        Self(Front::Gateway { gateway, held: 0, _behind: Box::new((ensemble, folder, ports)) })
    }

    /// Where clients connect (host:port).
    pub fn address(&self) -> String {
        match &self.0 {
            Front::Apache(ensemble) => ensemble.hosts(),
            Front::Gateway { gateway, .. } => gateway.address(),
        }
    }

    /// Whether persistent watches are told what they missed while their client was away.
    pub const fn tells_what_was_missed(&self) -> bool {
        matches!(self.0, Front::Gateway { .. })
    }

    /// Events that were held back so far.
    #[track_caller]
    pub fn held_events(&self) -> u64 {
        match &self.0 {
            Front::Apache(_) => 0,
            Front::Gateway { gateway, held, .. } => held + gateway.counter("palisade_events_held"),
        }
    }

    /// kill -9 of the server that clients connect to. It serves again when this returns.
    #[track_caller]
    pub fn restart(&mut self) {
        match &mut self.0 {
            Front::Apache(ensemble) => {
                ensemble.servers[0].restart();
                ensemble.servers[0].wait_until_serving();
            }
            Front::Gateway { gateway, held, .. } => {
                *held += gateway.counter("palisade_events_held");
                gateway.restart();
            }
        }
    }
}
