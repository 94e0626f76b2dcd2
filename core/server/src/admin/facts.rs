//! What a voter knows about itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use palisade_admin::json::{Batches, Json};
use palisade_admin::metric::{Cell, KEY, Sample, Timing, Value};
use palisade_admin::source::{
    self, Configuration, Connection, GlobalSessions, LastSnapshot, Quorum, Sessions, Source, WatchSummary,
};
use palisade_admin::system;
use palisade_admin::tree::{self, HasTree};
use palisade_store::DataTree;
use palisade_wire::{SessionId, Sid, Zxid};
use palisade_zab::Member;

use crate::assemble::{election_address, quorum_address};
use crate::status::{Phase, Shared, Status};

impl HasTree for Shared {
    fn with_tree<R>(&self, look: impl FnOnce(&DataTree) -> R) -> R {
        look(&self.tree.read())
    }
}

impl Source for Shared {
    fn is_serving(&self) -> bool {
        self.status().phase.is_serving()
    }

    fn readiness(&self) -> Result<(), String> {
        match self.status().phase {
            phase if phase.is_serving() => Ok(()),
            Phase::Looking => Err("looking for a leader".to_owned()),
            Phase::Following { leader, .. } => Err(format!("synchronising with leader {leader}")),
            Phase::Leading { .. } => Err("waiting for a quorum to follow".to_owned()),
        }
    }

    fn status(&self) -> source::Status {
        let status = Self::status(self);
        let leading = matches!(status.phase, Phase::Leading { .. });
        source::Status {
            read_only: false,
            // Clients are answered by gateways.
            latency: (0, 0.0, 0),
            received: self.metrics.packets_received.get(),
            sent: self.metrics.packets_sent.get(),
            connections: self.admins.load(Ordering::Relaxed),
            outstanding: self.metrics.outstanding_requests.get(),
            zxid: last_zxid(self, status),
            mode: mode(status.phase),
            nodes: self.tree.read().node_count(),
            proposal_sizes: leading.then(|| self.proposal_size.get()),
            uptime_ms: millis(self.started.elapsed()),
        }
    }

    fn samples(&self) -> Vec<Sample> {
        let status = Self::status(self);
        let mut samples = gauges(self, status);
        if let Phase::Leading { .. } = status.phase {
            samples.extend(leading(self, status));
        }
        samples.extend(self.metrics.samples());
        samples.extend(acks(self));
        samples.extend(ports(self));
        samples
    }

    fn configuration(&self) -> Configuration {
        let config = &self.config;
        Configuration {
            client_port: -1,
            data_dir: config.storage.data_dir.join("version-2"),
            log_dir: config.log_dir().join("version-2"),
            tick_ms: millis(config.timing.tick),
            max_client_connections: 0,
            min_session_timeout_ms: millis(config.min_session_timeout()),
            max_session_timeout_ms: millis(config.max_session_timeout()),
            server_id: config.sid,
            init_limit: config.timing.init_limit.into(),
            sync_limit: config.timing.sync_limit.into(),
            election_port: self.addresses.election.port().into(),
            quorum_port: self.addresses.quorum.port().into(),
            observer: false,
            membership: config.ensemble.to_text(),
        }
    }

    fn connections(self: Arc<Self>, _asking: Option<usize>) -> Batches<Connection> {
        Box::new(std::iter::empty())
    }

    fn sessions(self: Arc<Self>) -> Sessions {
        let count = self.tree.read().sessions().len();
        Sessions { local: None, global: GlobalSessions::Known(count, tree::sessions(self)) }
    }

    fn ephemerals(self: Arc<Self>) -> Batches<(SessionId, Vec<String>)> {
        tree::ephemerals(self)
    }

    fn ephemeral_owners(&self) -> usize {
        tree::ephemeral_owners(self).count()
    }

    fn watch_summary(&self) -> WatchSummary {
        WatchSummary::default()
    }

    fn watches_by_path(self: Arc<Self>) -> Batches<(String, Vec<SessionId>)> {
        Box::new(std::iter::empty())
    }

    fn watches_by_session(self: Arc<Self>) -> Batches<(SessionId, Vec<String>)> {
        Box::new(std::iter::empty())
    }

    fn quorum(&self) -> Quorum {
        let status = Self::status(self);
        let ensemble = &self.config.ensemble;
        let leader = match status.phase {
            Phase::Looking => None,
            Phase::Following { leader, .. } => Some(leader),
            Phase::Leading { .. } => Some(self.config.sid),
        };
        let host = |sid| ensemble.member(sid).map(|member| member.host.clone()).unwrap_or_default();
        Quorum {
            sid: self.config.sid,
            is_leader: leader == Some(self.config.sid),
            voting: ensemble.is_voter(self.config.sid),
            quorum_address: Some(self.addresses.quorum),
            election_address: Some(self.addresses.election),
            client_address: None,
            last_zxid: last_zxid(self, status),
            phase: zab_phase(status.phase),
            leader: leader.map(|sid| (Some(sid), host(sid))),
            voters: ensemble.members().filter(|member| ensemble.is_voter(member.sid)).map(voter).collect(),
            synced_observers: status.learners.synced_observers,
            observers: Vec::new(),
        }
    }

    fn last_snapshot(&self) -> LastSnapshot {
        system::last_snapshot(&self.config.storage.data_dir.join("version-2"))
    }

    fn reset_statistics(&self) {
        self.metrics.reset();
        self.proposal_size.reset();
        self.acks.values().for_each(Cell::reset);
    }

    fn reset_connections(&self) {}

    fn page(&self, _path: &str, _query: &str) -> Option<Json> {
        None
    }
}

fn voter(member: &Member) -> source::Voter {
    source::Voter {
        sid: member.sid,
        quorum_address: quorum_address(member),
        election_address: election_address(member),
    }
}

const fn mode(phase: Phase) -> &'static str {
    match phase {
        Phase::Leading { .. } => "leader",
        Phase::Following { .. } => "follower",
        Phase::Looking => "looking",
    }
}

/// As Apache calls it (`QuorumPeer.ZabState`).
const fn zab_phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Looking => "election",
        Phase::Following { epoch: None, .. } | Phase::Leading { epoch: None } => "synchronization",
        Phase::Following { .. } | Phase::Leading { .. } => "broadcast",
    }
}

fn last_zxid(shared: &Shared, status: Status) -> Zxid {
    let applied = shared.tree.read().last_zxid();
    match status.phase {
        // A leader stands at the beginning of its epoch before it has proposed anything.
        Phase::Leading { epoch: Some(epoch) } => applied.max(Zxid::new(epoch, 0)),
        _ => applied,
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// What stands for the present in every voter.
fn gauges(shared: &Shared, status: Status) -> Vec<Sample> {
    let (nodes, ephemerals, bytes, sessions) = {
        let tree = shared.tree.read();
        (tree.node_count(), tree.ephemeral_count(), tree.approximate_data_size(), tree.sessions().len())
    };
    let [open_files, max_files] = system::descriptors();
    let doing = match status.phase {
        Phase::Looking => "looking",
        Phase::Following { .. } => "following",
        Phase::Leading { .. } => "leading",
    };
    let connections = shared.admins.load(Ordering::Relaxed) as u64;
    let g = |name, help, value: u64| Sample::gauge(name, help, value);
    vec![
        Sample::text("server_state", mode(status.phase)),
        Sample::text("peer_state", format!("{doing} - {}", zab_phase(status.phase))),
        g("ephemerals_count", "Ephemeral znodes.", ephemerals as u64),
        g("num_alive_connections", "Connections to the monitoring port.", connections),
        Sample::new("avg_latency", "Gateways answer clients: always 0.", Value::Ratio(0.0)),
        g("min_latency", "Gateways answer clients: always 0.", 0),
        g("max_latency", "Gateways answer clients: always 0.", 0),
        g("znode_count", "Znodes.", nodes as u64),
        g("global_sessions", "Sessions.", sessions as u64),
        g("watch_count", "Gateways keep the watches: always 0.", 0),
        g("local_sessions", "Gateways keep local sessions: always 0.", 0),
        g("max_file_descriptor_count", "Descriptors that may be open.", max_files),
        g("approximate_data_size", "Bytes of paths and data.", bytes),
        g("open_file_descriptor_count", "Descriptors that are open.", open_files),
        g("uptime", "Time since the start, ms.", millis(shared.started.elapsed())),
        g("quorum_size", "Voters.", shared.config.ensemble.voters().count() as u64),
    ]
}

/// What stands for the present in a leader.
fn leading(shared: &Shared, status: Status) -> Vec<Sample> {
    let learners = status.learners;
    let uptime = millis(shared.started.elapsed()).saturating_sub(status.since.as_millis());
    let [last, min, max] = shared.proposal_size.get();
    vec![
        Sample::gauge("min_proposal_size", "Least proposal, bytes.", min),
        Sample::gauge("max_proposal_size", "Largest proposal, bytes.", max),
        Sample::gauge("last_proposal_size", "Last proposal, bytes.", last),
        Sample::gauge(
            "pending_syncs",
            "Syncs that wait for what was proposed before.",
            shared.pending_syncs.get(),
        ),
        Sample::gauge("synced_followers", "Followers in sync.", learners.synced_followers),
        Sample::gauge("synced_non_voting_followers", "Always 0.", 0),
        Sample::gauge("synced_observers", "Observers and gateways in sync.", learners.synced_observers),
        Sample::gauge("learners", "Followers, observers and gateways.", learners.connected),
        Sample::gauge("leader_uptime", "Time since it leads, ms.", uptime),
    ]
}

/// What each voter's acknowledgements took, if it has sent this leader any.
fn acks(shared: &Shared) -> Vec<Sample> {
    const HELP: &str = "Time from a transaction's making by this leader to a voter's acknowledgement, ms.";
    let sample = |(sid, timing): (&Sid, &Timing)| {
        Sample::new("ack_latency", HELP, timing.value()).labelled(KEY, sid.to_string())
    };
    shared.acks.iter().filter(|(_, timing)| timing.view().count > 0).map(sample).collect()
}

/// What the listening ports do, by name.
fn ports(shared: &Shared) -> Vec<Sample> {
    type Read = fn(&crate::net::PortStats) -> Value;
    let all: [(&'static str, &'static str, Read); 4] = [
        ("listener_up", "Whether the port accepts connections.", |port| {
            Value::Gauge(port.up.load(Ordering::Relaxed).into())
        }),
        ("listener_restarts", "How often the port was opened again after a failure.", |port| {
            Value::Counter(port.restarts.load(Ordering::Relaxed))
        }),
        ("listener_accepted", "Connections accepted.", |port| {
            Value::Counter(port.accepted.load(Ordering::Relaxed))
        }),
        ("listener_refused", "Connections closed for what their other end did.", |port| {
            Value::Counter(port.refused.load(Ordering::Relaxed))
        }),
    ];
    let told = all.into_iter().flat_map(|(name, help, read)| {
        shared.ports.iter().map(move |port| Sample::new(name, help, read(port)).labelled("port", port.name))
    });
    told.collect()
}
