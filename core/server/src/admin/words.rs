//! The four-letter words and their texts (Apache `org.apache.zookeeper.server.command`).

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::Ordering;

use palisade_wire::Zxid;

use crate::status::{Phase, Shared, Status};
use palisade_admin::metric::mntr;

/// What Apache says instead of most answers while there is no leader.
const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests\n";

/// The words that are answered by that.
const NEED_LEADER: [&[u8; 4]; 9] =
    [b"srvr", b"stat", b"mntr", b"conf", b"dirs", b"srst", b"crst", b"cons", b"wchs"];

/// As Apache words its version line. Scrapers take the first number.
const VERSION: &str = concat!("palisade-", env!("CARGO_PKG_VERSION"), ", built on 2026-01-01 00:00 UTC");

/// The answer to a word; `None` if there is no such word.
pub(super) fn answer(word: &[u8; 4], shared: &Shared, connections: usize) -> Option<String> {
    let status = shared.status();
    let serving = status.phase.is_serving();
    Some(match word {
        b"ruok" => "imok".to_owned(),
        b"isro" => if serving { "rw" } else { "null" }.to_owned(),
        b"gtmk" => "306".to_owned(),
        b"envi" => environment(),
        word if !serving && NEED_LEADER.contains(&word) => NOT_SERVING.to_owned(),
        b"srvr" => stats(shared, status, connections, false),
        b"stat" => stats(shared, status, connections, true),
        b"mntr" => monitor(shared, status, connections),
        b"conf" => configuration(shared),
        b"dirs" => directories(shared),
        b"srst" => "Server stats reset.\n".to_owned(),
        b"crst" => "Connection stats reset.\n".to_owned(),
        // No clients, hence none of their connections and watches.
        b"cons" => "\n".to_owned(),
        b"wchs" => "0 connections watching 0 paths\nTotal watches:0\n".to_owned(),
        _ => return None,
    })
}

const fn mode(phase: Phase) -> &'static str {
    match phase {
        Phase::Leading { .. } => "leader",
        _ => "follower",
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

fn stats(shared: &Shared, status: Status, connections: usize, clients: bool) -> String {
    let m = &shared.metrics;
    let mut out = format!("Zookeeper version: {VERSION}\n");
    if clients {
        out.push_str("Clients:\n\n");
    }
    let nodes = shared.tree.read().node_count();
    let zxid = last_zxid(shared, status);
    put(
        &mut out,
        format_args!(
            "Latency min/avg/max: 0/0.0/0\nReceived: {}\nSent: {}\nConnections: {connections}\nOutstanding: {}\n\
             Zxid: {zxid}\nMode: {}\nNode count: {nodes}\n",
            m.packets_received.get(),
            m.packets_sent.get(),
            m.outstanding_requests.get(),
            mode(status.phase)
        ),
    );
    if let Phase::Leading { .. } = status.phase {
        let [last, min, max] = shared.proposal_size.get();
        put(&mut out, format_args!("Proposal sizes last/min/max: {last}/{min}/{max}\n"));
    }
    out
}

fn monitor(shared: &Shared, status: Status, connections: usize) -> String {
    let mut out = format!("zk_version\t{VERSION}\n");
    let mut line =
        |key: &str, value: &dyn std::fmt::Display| put(&mut out, format_args!("zk_{key}\t{value}\n"));
    line("server_state", &mode(status.phase));
    let peer = if matches!(status.phase, Phase::Leading { .. }) { "leading" } else { "following" };
    line("peer_state", &format_args!("{peer} - broadcast"));
    let (nodes, ephemerals, bytes, sessions) = {
        let tree = shared.tree.read();
        (tree.node_count(), tree.ephemeral_count(), tree.approximate_data_size(), tree.sessions().len())
    };
    for (key, value) in [
        ("avg_latency", "0.0"),
        ("max_latency", "0"),
        ("min_latency", "0"),
        ("watch_count", "0"),
        ("local_sessions", "0"),
    ] {
        line(key, &value);
    }
    line("num_alive_connections", &connections);
    line("uptime", &shared.started.elapsed().as_millis());
    line("znode_count", &nodes);
    line("ephemerals_count", &ephemerals);
    line("approximate_data_size", &bytes);
    line("global_sessions", &sessions);
    line("quorum_size", &shared.config.ensemble.voters().count());
    if let Phase::Leading { .. } = status.phase {
        let learners = status.learners;
        line("learners", &learners.connected);
        line("synced_followers", &learners.synced_followers);
        line("synced_observers", &learners.synced_observers);
        let [last, min, max] = shared.proposal_size.get();
        line("last_proposal_size", &last);
        line("min_proposal_size", &min);
        line("max_proposal_size", &max);
    }
    for port in &shared.ports {
        let up = u8::from(port.up.load(Ordering::Relaxed));
        line(&format!("listener_up_{}", port.name), &up);
        line(&format!("listener_restarts_{}", port.name), &port.restarts.load(Ordering::Relaxed));
        line(&format!("listener_accepted_{}", port.name), &port.accepted.load(Ordering::Relaxed));
        line(&format!("listener_refused_{}", port.name), &port.refused.load(Ordering::Relaxed));
    }
    out.push_str(&mntr::lines(&shared.metrics.samples()));
    out
}

fn configuration(shared: &Shared) -> String {
    let config = &shared.config;
    let data = config.storage.data_dir.join("version-2");
    let logs = config.log_dir().join("version-2");
    format!(
        "clientPort=-1\nsecureClientPort=-1\ndataDir={}\ndataDirSize={}\ndataLogDir={}\ndataLogSize={}\ntickTime={}\n\
         maxClientCnxns=0\nminSessionTimeout={}\nmaxSessionTimeout={}\nclientPortListenBacklog=-1\nserverId={}\n\
         initLimit={}\nsyncLimit={}\nelectionAlg=3\nelectionPort={}\nquorumPort={}\npeerType=0\nmembership: \n{}",
        data.display(),
        size_of(&data),
        logs.display(),
        size_of(&logs),
        config.timing.tick.as_millis(),
        config.min_session_timeout().as_millis(),
        config.max_session_timeout().as_millis(),
        config.sid,
        config.timing.init_limit,
        config.timing.sync_limit,
        shared.addresses.election.port(),
        shared.addresses.quorum.port(),
        config.ensemble.to_text(),
    )
}

fn directories(shared: &Shared) -> String {
    let data = size_of(&shared.config.storage.data_dir.join("version-2"));
    let logs = size_of(&shared.config.log_dir().join("version-2"));
    format!("datadir_size: {data}\nlogdir_size: {logs}\n")
}

/// Bytes of the files in a folder; what cannot be read counts as nothing.
fn size_of(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    files
        .filter_map(|file| file.metadata().ok())
        .filter(std::fs::Metadata::is_file)
        .map(|meta| meta.len())
        .sum()
}

fn environment() -> String {
    let folder = std::env::current_dir().unwrap_or_default();
    format!(
        "Environment:\nzookeeper.version={VERSION}\nos.name={}\nos.arch={}\nuser.dir={}\n",
        std::env::consts::OS,
        std::env::consts::ARCH,
        folder.display(),
    )
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = out.write_fmt(text);
}
