//! The servers that are compared.

use palisade_wire::connect::{ConnectRequest, PASSWORD_LEN};
use palisade_wire::request::{Create, Request};
use palisade_wire::{Acl, OpCode, Zxid};

use super::connection::Connection;
use super::step::Call;
use super::targets::Kind;
use super::{SUPER_DIGEST, Sessions, TIMEOUTS_MS, Target, Targets, Version, View};
use crate::apache::ApacheServer;
use crate::folder::Folder;
use crate::palisade::{Core, Gateway};
use crate::ports::Ports;
use crate::{tools, zoo_cfg};

/// The servers of one comparison: Apache, a gateway before three voters, and one before an Apache voter.
#[derive(Debug)]
pub struct Servers {
    kind: Kind,
    apache: ApacheServer,
    apache_core: ApacheServer,
    before_apache: Gateway,
    _core: Core,
    before_palisade: Gateway,
    _folder: Folder,
    _ports: Ports,
}

impl Servers {
    /// Starts them, with such sessions and such a view at the gateways.
    #[track_caller]
    pub fn start(sessions: Sessions, view: View) -> Self {
        let version = if tools::apache_jars().is_some() { Version::V39 } else { Version::V38 };
        let kind = Kind { version, sessions, view };
        let (folder, mut ports) = (Folder::new(), Ports::lease());
        let (least, most) = TIMEOUTS_MS;
        let digest = format!("-Dzookeeper.DigestAuthenticationProvider.superDigest={SUPER_DIGEST}");
        let options = ["-Dzookeeper.enforceQuota=true", &digest];
        let (least, most) = (format!("minSessionTimeout={least}"), format!("maxSessionTimeout={most}"));
        let mut apache = |name, settings: &[&str]| {
            let settings = [&[&*least, &*most], settings].concat();
            ApacheServer::start_quiet(&folder.subfolder(name), &mut ports, &settings, &options)
        };
        let standalone = apache("apache", &[]);
        let apache_core = apache("apache-core", &[zoo_cfg::ENSEMBLE_OF_ONE]);
        let mut core = Core::start_with(&format!("{}\nenforceQuota=true", zoo_cfg::QUIET));
        let (min, max) = (TIMEOUTS_MS.0.to_string(), TIMEOUTS_MS.1.to_string());
        let digest = format!("\"{SUPER_DIGEST}\"");
        let settings = [
            ("sessions.local", if sessions == Sessions::Local { "true" } else { "false" }),
            ("sessions.min_timeout", &*min),
            ("sessions.max_timeout", &*max),
            ("auth.super_digest", &*digest),
            // Apache's servers do not tell persistent watches what they missed.
            ("notifications.replay", "false"),
            ("tenant.root", if view == View::Part { "\"/tenants/tests\"" } else { "\"/\"" }),
        ];
        let before_palisade = core.gateway_with(101, "gateway", &settings);
        let members = [apache_core.member().clone()];
        let before_apache =
            Gateway::start_with(&folder.subfolder("gateway"), 102, &members, &mut ports, &settings);
        if view == View::Part {
            age(&standalone);
        }
        Self {
            kind,
            apache: standalone,
            apache_core,
            before_apache,
            _core: core,
            before_palisade,
            _folder: folder,
            _ports: ports,
        }
    }

    /// Their addresses, and how they are compared.
    pub fn targets(&self) -> Targets {
        let target = |name, address, counts_late| Target { name, address, counts_late };
        let reference = target("Apache", format!("127.0.0.1:{}", self.apache.client_port()), false);
        let palisade = target("Palisade", self.before_palisade.address(), false);
        // An Apache leader applies after it has told its learners to.
        let apache_core = target("gateway before Apache", self.before_apache.address(), true);
        Targets::new(self.kind, reference, vec![palisade, apache_core])
    }

    /// Checks that no replica differs from what its leader says of its own. An Apache leader announces wrong digests now
    /// and then, at which its own tree is surprised, too.
    #[track_caller]
    pub fn assert_equal_trees(&mut self) {
        assert!(disagreements(&mut self.before_apache) <= self.apache_core.digest_mismatches());
        assert_eq!(disagreements(&mut self.before_palisade), 0);
    }
}

/// Makes the counters of a fresh tree's znodes what they are in a tenant's, where the first znodes were made by
/// requests: the rule on znodes that are there from the beginning.
fn age(apache: &ApacheServer) {
    let request = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid::ZERO,
        timeout_ms: TIMEOUTS_MS.0,
        session: 0,
        password: &[0; PASSWORD_LEN],
        read_only: None,
    };
    let mut connection = Connection::open(&format!("127.0.0.1:{}", apache.client_port()), &request);
    assert!(matches!(connection.connected(), Ok(Some(_))), "a fresh server has room");
    for path in ["/x", "/zookeeper/x", "/zookeeper/x"] {
        let create = Create { path: path.into(), data: None, acl: Acl::open(), flags: 0, ttl_ms: None };
        let delete = Request::Delete { path: path.into(), version: -1 };
        for (op, request) in [(OpCode::Create, Request::Create(create)), (OpCode::Delete, delete)] {
            connection.send(&Call::new(op, &request).frame(1, 0, super::ROOT));
            assert!(matches!(connection.frame(), Ok(Some(_))), "a fresh server answers");
        }
    }
}

/// How often a gateway's replica was not what its leader had announced.
fn disagreements(gateway: &mut Gateway) -> u64 {
    let log = gateway.process().log();
    log.lines().filter(|line| line.contains("their digests disagree")).count() as u64
}
