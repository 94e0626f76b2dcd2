//! What a gateway tells its operators; `palisade_admin` lays it out.

mod listing;
pub mod reload;
mod top;

use std::sync::Arc;
use std::time::Duration;

use palisade_admin::json::{Batches, Json};
use palisade_admin::metric::{Sample, Value};
use palisade_admin::source::{
    Configuration, Connection, LastSnapshot, Quorum, Reloading, Sessions, Source, Status, Voter, WatchSummary,
};
use palisade_admin::system;
use palisade_store::Usage;
use palisade_wire::{SessionId, Zxid};
use palisade_zab::{Ensemble, Member};

use crate::core_link::LinkState;
use crate::edge::Edge;

impl Source for Edge {
    fn is_serving(&self) -> bool {
        Self::is_serving(self)
    }

    fn readiness(&self) -> Result<(), String> {
        Self::readiness(self)
    }

    fn status(&self) -> Status {
        let stats = self.hub.stats();
        let latency = stats.latency.view();
        let (received, sent) = stats.packets();
        let (zxid, nodes) = {
            let tree = self.replica.read();
            (tree.last_zxid(), self.hub.root().usage(&tree).znodes + 1)
        };
        Status {
            // A client that was let in to read asks for this until it finds a server that writes.
            read_only: !self.link.state().borrow().is_connected(),
            latency: (latency.min, latency.avg, latency.max),
            received,
            sent,
            connections: self.hub.connections().count(),
            outstanding: self.link.in_flight() as u64,
            zxid,
            mode: "observer",
            nodes,
            proposal_sizes: None,
            uptime_ms: millis(stats.started.elapsed()),
        }
    }

    fn samples(&self) -> Vec<Sample> {
        let mut samples = gauges(self, &Source::status(self));
        let stats = self.hub.stats();
        samples.extend(stats.metrics.samples());
        samples.push(Sample::counter("response_bytes", "Bytes of replies.", stats.response_bytes()));
        samples.extend(operations(stats.operations.samples()));
        let connected = self.link.state().borrow().is_connected();
        samples.extend([
            Sample::gauge(
                "palisade_core_connected",
                "Whether there is a leader to follow.",
                u8::from(connected),
            ),
            Sample::gauge(
                "palisade_replica_differs",
                "Whether the replica is known to differ from the leader's tree.",
                u8::from(self.replica.differs()),
            ),
            Sample::gauge(
                "palisade_replica_on_disk",
                "Whether the disk takes what the core sends; without it the gateway goes on in memory.",
                u8::from(self.replica.is_on_disk()),
            ),
        ]);
        if let Some(proven) = self.link.proven() {
            let age = millis(proven.elapsed());
            samples.push(Sample::gauge(
                "palisade_staleness_ms",
                "The replica is proven to be no older, ms.",
                age,
            ));
        }
        samples
    }

    fn configuration(&self) -> Configuration {
        let config = &self.config;
        let dir = config.storage.data_dir.join("version-2");
        // Apache's shortest timeout is two ticks.
        let tick = config.sessions.min_timeout / 2;
        let ticks = |span: Duration| span.as_millis().div_ceil(tick.as_millis().max(1)) as u64;
        Configuration {
            client_port: self.client_address().port().into(),
            log_dir: dir.clone(),
            data_dir: dir,
            tick_ms: millis(tick),
            max_client_connections: usize::try_from(self.throttle.connections().address)
                .unwrap_or(usize::MAX),
            min_session_timeout_ms: millis(config.sessions.min_timeout),
            max_session_timeout_ms: millis(config.sessions.max_timeout),
            server_id: config.id,
            init_limit: ticks(config.core.init_timeout),
            sync_limit: ticks(config.core.sync_timeout),
            election_port: -1,
            quorum_port: -1,
            observer: true,
            membership: if self.hub.root().is_confined() { String::new() } else { self.membership() },
        }
    }

    fn connections(self: Arc<Self>, asking: Option<usize>) -> Batches<Connection> {
        listing::connections(self, asking)
    }

    fn sessions(self: Arc<Self>) -> Sessions {
        listing::sessions(self)
    }

    fn ephemerals(self: Arc<Self>) -> Batches<(SessionId, Vec<String>)> {
        listing::ephemerals(self)
    }

    fn ephemeral_owners(&self) -> usize {
        listing::ephemeral_owners(self)
    }

    fn watch_summary(&self) -> WatchSummary {
        let palisade_watch::WatchSummary { connections, paths, watches } =
            self.hub.watches().lock().summary();
        WatchSummary { connections, paths, watches }
    }

    fn watches_by_path(self: Arc<Self>) -> Batches<(String, Vec<SessionId>)> {
        listing::watches_by_path(self)
    }

    fn watches_by_session(self: Arc<Self>) -> Batches<(SessionId, Vec<String>)> {
        listing::watches_by_session(self)
    }

    fn quorum(&self) -> Quorum {
        let (phase, leader) = match &*self.link.state().borrow() {
            LinkState::Connected { leader, .. } => ("broadcast", Some(leader.clone())),
            LinkState::Synchronising { leader } => ("synchronization", Some(leader.clone())),
            LinkState::Searching | LinkState::Stopped => ("discovery", None),
        };
        Quorum {
            sid: self.config.id,
            client_address: Some(self.client_address()),
            last_zxid: self.replica.last_zxid(),
            phase,
            leader: leader.map(|address| (None, host(&address))),
            voters: if self.hub.root().is_confined() { Vec::new() } else { voters(&self.membership()) },
            ..Quorum::default()
        }
    }

    fn last_snapshot(&self) -> LastSnapshot {
        system::last_snapshot(&self.config.storage.data_dir.join("version-2"))
    }

    fn reset_statistics(&self) {
        self.hub.stats().reset();
    }

    fn reset_connections(&self) {
        self.hub.connections().all().iter().for_each(|client| client.stats.reset());
    }

    fn reload(self: Arc<Self>) -> Option<Reloading> {
        Some(Box::pin(async move { self.reloads.ask().await }))
    }

    fn page(&self, path: &str, query: &str) -> Option<Json> {
        (path == "/top").then(|| top::page(self, query))
    }
}

impl Edge {
    /// Whether the replica was ever brought up to date, so that it may be read.
    pub(crate) fn is_serving(&self) -> bool {
        (self.replica.is_whole() && self.replica.last_zxid() > Zxid::ZERO)
            || self.link.state().borrow().is_connected()
    }

    /// Whether clients should be sent here. A core that is away for a while changes nothing: that is when they need
    /// a gateway most.
    fn readiness(&self) -> Result<(), String> {
        if self.link.last_contact().is_none() && !self.link.state().borrow().is_connected() {
            return Err("the core has not brought this gateway up to date since its start".to_owned());
        }
        if self.is_draining() {
            return Err("draining".to_owned());
        }
        if !self.is_rooted() {
            return Err("the tenant has no root yet; the log tells why".to_owned());
        }
        Ok(())
    }

    /// The ensemble's members, as the core tells them.
    fn membership(&self) -> String {
        let tree = self.replica.read();
        let data = tree.node("/zookeeper/config").and_then(|node| node.data()).unwrap_or_default();
        String::from_utf8_lossy(data).into_owned()
    }
}

/// What stands for the present.
fn gauges(edge: &Edge, status: &Status) -> Vec<Sample> {
    let Usage { ephemerals, bytes, .. } = edge.hub.root().usage(&edge.replica.read());
    let sessions = listing::session_count(edge);
    let [open_files, max_files] = system::descriptors();
    let watches = edge.hub.watches().lock().len();
    let quorum = edge.quorum();
    let (least, mean, most) = status.latency;
    let g = |name, help, value: u64| Sample::gauge(name, help, value);
    vec![
        Sample::text("server_state", status.mode),
        Sample::text("peer_state", format!("observing - {}", quorum.phase)),
        g("ephemerals_count", "Ephemeral znodes.", ephemerals as u64),
        g("num_alive_connections", "Connections of clients.", status.connections as u64),
        Sample::new("avg_latency", "Mean time to an answer, ms.", Value::Ratio(mean)),
        g("outstanding_requests", "Requests that the core has not answered.", status.outstanding),
        g("znode_count", "Znodes.", status.nodes as u64),
        g("global_sessions", "Sessions that the core knows.", sessions as u64),
        g("packets_sent", "Replies and events.", status.sent),
        g("packets_received", "Requests.", status.received),
        g("watch_count", "Watches.", watches as u64),
        g("auth_failed_count", "Credentials that were refused.", edge.hub.stats().auth_failed.get()),
        g("min_latency", "Least time to an answer, ms.", least),
        g("max_file_descriptor_count", "Descriptors that may be open.", max_files),
        g("approximate_data_size", "Bytes of paths and data.", bytes),
        g("open_file_descriptor_count", "Descriptors that are open.", open_files),
        g("local_sessions", "Sessions that only this gateway knows.", edge.hub.local().len() as u64),
        g("uptime", "Time since the start, ms.", status.uptime_ms),
        g("max_latency", "Largest time to an answer, ms.", most),
        g("quorum_size", "Voters.", quorum.voters.len() as u64),
    ]
}

/// How many requests of each type were carried out, and of all types.
fn operations(mut each: Vec<Sample>) -> Vec<Sample> {
    let number = |sample: &Sample| if let Value::Counter(number) = sample.value { number } else { 0 };
    let all = each.iter().map(number).sum();
    each.push(Sample::counter("op_count_total", "Requests that were carried out.", all));
    each
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// What stands before the port.
fn host(address: &str) -> String {
    address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']).to_owned()
}

fn voters(membership: &str) -> Vec<Voter> {
    let Ok(ensemble) = Ensemble::parse(membership) else { return Vec::new() };
    let voting = ensemble.members().filter(|member| ensemble.is_voter(member.sid));
    let voter = |member: &Member| Voter {
        sid: member.sid,
        quorum_address: host_port(&member.host, member.quorum_port),
        election_address: host_port(&member.host, member.election_port),
    };
    voting.map(voter).collect()
}

fn host_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voters_are_read_from_the_configuration() {
        let text = "server.1=a:2888:3888:participant\nserver.2=[::1]:2888:3888:participant;0.0.0.0:2181\n\
                    server.9=o:2888:3888:observer\nversion=0";
        let voters = voters(text);
        assert_eq!(voters.iter().map(|voter| voter.sid).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(voters[1].quorum_address, "[::1]:2888");
        assert_eq!(voters[0].election_address, "a:3888");
    }

    #[test]
    fn hosts_lose_their_port_and_brackets() {
        assert_eq!(["zk1:2888", "[::1]:2888", "zk"].map(host), ["zk1", "::1", "zk"]);
    }
}
