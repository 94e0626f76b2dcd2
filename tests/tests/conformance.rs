//! Palisade answers as Apache ZooKeeper does, and so does its gateway in front of Apache's voters.
//!
//! `CONFORMANCE_CALLS` and `CONFORMANCE_SEED` run more than the default, and from another seed; `APACHE_JARS` compares
//! with Apache 3.9.5.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use palisade_tests::apache::ApacheServer;
use palisade_tests::conformance::{SUPER_DIGEST, Sessions, TIMEOUTS_MS, Target, Targets, Version, generate};
use palisade_tests::folder::Folder;
use palisade_tests::palisade::{Core, Gateway};
use palisade_tests::ports::Ports;
use palisade_tests::{tools, zoo_cfg};

const CALLS: usize = 3500;
const CALLS_OF_LOCAL_SESSIONS: usize = 1500;
const CALLS_OF_A_SEQUENCE: usize = 40;
/// After so many, the rest will not be clearer.
const ENOUGH: usize = 5;

/// The servers of one comparison.
struct Servers {
    apache: ApacheServer,
    apache_core: ApacheServer,
    before_apache: Gateway,
    _core: Core,
    before_palisade: Gateway,
    _folder: Folder,
    _ports: Ports,
}

impl Servers {
    fn start(sessions: Sessions) -> Self {
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
        ];
        let before_palisade = core.gateway_with(101, "gateway", &settings);
        let members = [apache_core.member().clone()];
        let before_apache =
            Gateway::start_with(&folder.subfolder("gateway"), 102, &members, &mut ports, &settings);
        Self {
            apache: standalone,
            apache_core,
            before_apache,
            _core: core,
            before_palisade,
            _folder: folder,
            _ports: ports,
        }
    }

    fn targets(&self, sessions: Sessions) -> Targets {
        let version = if tools::apache_jars().is_some() { Version::V39 } else { Version::V38 };
        let reference =
            Target { name: "Apache", address: format!("127.0.0.1:{}", self.apache.client_port()) };
        let others = [("Palisade", &self.before_palisade), ("gateway before Apache", &self.before_apache)]
            .map(|(name, gateway)| Target { name, address: gateway.address() });
        Targets::new((version, sessions), reference, others.into())
    }
}

/// How often a gateway's replica was not what its leader had announced.
fn disagreements(gateway: &mut Gateway) -> u64 {
    let log = gateway.process().log();
    log.lines().filter(|line| line.contains("their digests disagree")).count() as u64
}

#[test]
fn generated_sequences_are_answered_alike() {
    compare(Sessions::Global, CALLS);
}

#[test]
fn local_sessions_are_answered_alike() {
    compare(Sessions::Local, CALLS_OF_LOCAL_SESSIONS);
}

fn compare(sessions: Sessions, calls: usize) {
    let number = |name, default| std::env::var(name).map_or(default, |value| value.parse().unwrap());
    let (calls, first) = (number("CONFORMANCE_CALLS", calls), number("CONFORMANCE_SEED", 1));
    let mut servers = Servers::start(sessions);
    let targets = servers.targets(sessions);
    let (mut run, mut found) = (0, 0);
    let sequences = calls.div_ceil(CALLS_OF_A_SEQUENCE);
    for seed in (first as u64..).take(sequences) {
        run += 1;
        let steps = generate(seed, CALLS_OF_A_SEQUENCE, targets.version());
        let Some(first) = targets.compare(&steps) else { continue };
        found += 1;
        match targets.shrink(&steps) {
            Some(difference) => println!("seed {seed}:\n{difference}"),
            None => println!("seed {seed}, but not when it was run again:\n{first}"),
        }
        if found == ENOUGH {
            break;
        }
    }
    println!("{run} of {sequences} sequences, {found} differ");
    assert_eq!(found, 0, "see the differences above");
    // An Apache leader announces wrong digests now and then, at which its own tree is surprised, too.
    assert!(disagreements(&mut servers.before_apache) <= servers.apache_core.digest_mismatches());
    assert_eq!(disagreements(&mut servers.before_palisade), 0);
}
