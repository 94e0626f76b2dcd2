//! Words about the gateway as a whole.

use std::fs;
use std::path::Path;

use palisade_admin::metric::mntr;

use super::put;
use crate::edge::Edge;

/// What tools see as the version: the protocol's, then ours.
const VERSION: &str =
    concat!("3.9.5-palisade-", env!("CARGO_PKG_VERSION"), ", built on 2026-01-01 00:00 UTC");

/// A mean as Java prints a double of at most four decimals.
pub(super) fn mean(avg: f64) -> String {
    format!("{:?}", (avg * 10_000.0).round() / 10_000.0)
}

pub(super) fn version_line() -> String {
    format!("Zookeeper version: {VERSION}\n")
}

/// `srvr`.
pub(super) fn srvr(edge: &Edge) -> String {
    let mut text = version_line();
    summary(edge, &mut text);
    text
}

/// What `srvr` and `stat` share.
pub(super) fn summary(edge: &Edge, text: &mut String) {
    let stats = edge.hub.stats();
    let latency = stats.latency.view();
    let (received, sent) = stats.packets();
    put(text, format_args!("Latency min/avg/max: {}/{}/{}\n", latency.min, mean(latency.avg), latency.max));
    put(text, format_args!("Received: {received}\nSent: {sent}\n"));
    put(text, format_args!("Connections: {}\n", edge.hub.connection_count()));
    put(text, format_args!("Outstanding: {}\n", edge.link.in_flight()));
    let tree = edge.replica.read();
    put(text, format_args!("Zxid: {}\nMode: observer\n", tree.last_zxid()));
    put(text, format_args!("Node count: {}\n", tree.node_count()));
}

/// `conf`.
pub(super) fn conf(edge: &Edge) -> String {
    let config = &edge.config;
    let dir = config.storage.data_dir.join("version-2");
    let size = directory_size(&dir);
    let client_port = edge.client_port();
    let mut text = String::new();
    put(&mut text, format_args!("clientPort={client_port}\nsecureClientPort=-1\n"));
    for (name, size_name) in [("dataDir", "dataDirSize"), ("dataLogDir", "dataLogSize")] {
        put(&mut text, format_args!("{name}={}\n{size_name}={size}\n", dir.display()));
    }
    put(&mut text, format_args!("maxClientCnxns={}\n", config.client.max_per_address));
    let sessions = &config.sessions;
    put(&mut text, format_args!("minSessionTimeout={}\n", sessions.min_timeout.as_millis()));
    put(&mut text, format_args!("maxSessionTimeout={}\n", sessions.max_timeout.as_millis()));
    put(&mut text, format_args!("clientPortListenBacklog=-1\nserverId={}\npeerType=1\n", config.id));
    put(&mut text, format_args!("membership: \n{}\n", membership(edge)));
    text
}

fn membership(edge: &Edge) -> String {
    let tree = edge.replica.read();
    let data = tree.node("/zookeeper/config").and_then(|node| node.data()).unwrap_or_default();
    String::from_utf8_lossy(data).into_owned()
}

/// `dirs`.
pub(super) fn dirs(edge: &Edge) -> String {
    let size = directory_size(&edge.config.storage.data_dir.join("version-2"));
    format!("datadir_size: {size}\nlogdir_size: {size}\n")
}

/// Bytes of the files in a folder; a folder that cannot be read has none.
fn directory_size(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).map(|meta| meta.len()).sum()
}

/// `envi`. What has no meaning without a Java machine is left empty.
pub(super) fn envi() -> String {
    let mut text = "Environment:\n".to_owned();
    put(&mut text, format_args!("zookeeper.version={VERSION}\n"));
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    put(&mut text, format_args!("host.name={}\n", host.trim()));
    put(&mut text, format_args!("os.name={}\nos.arch={}\n", std::env::consts::OS, std::env::consts::ARCH));
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    put(&mut text, format_args!("os.version={}\n", release.trim()));
    let dir = std::env::current_dir().unwrap_or_default();
    put(&mut text, format_args!("user.dir={}\n", dir.display()));
    text
}

/// `mntr`.
pub(super) fn mntr(edge: &Edge) -> String {
    let stats = edge.hub.stats();
    let latency = stats.latency.view();
    let (received, sent) = stats.packets();
    let mut text = String::new();
    put(&mut text, format_args!("zk_version\t{VERSION}\nzk_server_state\tobserver\n"));
    let mut line = |key: &str, value: u64| put(&mut text, format_args!("zk_{key}\t{value}\n"));
    line("max_latency", latency.max);
    line("min_latency", latency.min);
    line("packets_received", received);
    line("packets_sent", sent);
    line("num_alive_connections", edge.hub.connection_count() as u64);
    line("outstanding_requests", edge.link.in_flight() as u64);
    line("uptime", u64::try_from(stats.started.elapsed().as_millis()).unwrap_or(u64::MAX));
    line("watch_count", edge.hub.watches().lock().len() as u64);
    let tree = edge.replica.read();
    line("znode_count", tree.node_count() as u64);
    line("ephemerals_count", tree.ephemeral_count() as u64);
    line("approximate_data_size", tree.approximate_data_size());
    line("global_sessions", tree.sessions().len() as u64);
    drop(tree);
    line("local_sessions", edge.hub.local().len() as u64);
    line("open_file_descriptor_count", open_files());
    line("palisade_core_connected", edge.link.state().borrow().is_connected().into());
    line("palisade_replica_differs", edge.replica.differs().into());
    put(&mut text, format_args!("zk_avg_latency\t{}\n", mean(latency.avg)));
    text.push_str(&mntr::lines(&edge.hub.metrics().samples()));
    text
}

fn open_files() -> u64 {
    fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_look_like_java_doubles() {
        assert_eq!(mean(0.0), "0.0");
        assert_eq!(mean(1.0 / 3.0), "0.3333");
        assert_eq!(mean(12.0), "12.0");
    }
}
