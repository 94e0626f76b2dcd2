//! Which parts `palisade dev` runs, where they keep their files, and on which ports.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use palisade_gateway::throttle::config::Limit;
use palisade_server::{Ports, Reservation};
use palisade_zab::{Ensemble, Member, MemberRole};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::cli::DevArgs;
use crate::failure::Failure;

/// The tenants, in the order of their ports.
pub(super) const TENANTS: [&str; 3] = ["discovery", "messaging", "scheduling"];
/// Voters; one may fail.
const VOTERS: i64 = 3;
/// Gateways' ids begin here, clear of the voters'.
const FIRST_GATEWAY: i64 = 101;
/// Short, so that an election takes little of it; the limits make up for it on a busy machine.
const TICK: Duration = Duration::from_millis(200);
/// Ticks in which a learner must have caught up: 20 s.
const INIT_LIMIT: u32 = 100;
/// Ticks without a word after which a peer is given up: 5 s.
const SYNC_LIMIT: u32 = 25;
/// Bytes by which log files grow: small, as six of them are written.
const LOG_PREALLOCATION: u64 = 1 << 20;
/// Recent transactions that each voter keeps in memory, in bytes: there are three voters in this one process.
const COMMIT_LOG_BYTES: usize = 16 << 20;
/// Time between purges of old logs and snapshots.
const PURGE_INTERVAL: Duration = Duration::from_secs(600);

/// Everything that is taken before anything starts: the folder and the ports.
#[derive(Debug)]
pub(super) struct Layout {
    data_dir: PathBuf,
    temporary: Option<Arc<TempDir>>,
    /// Settings and ports of each voter.
    pub(super) voters: Vec<(palisade_server::Config, Ports)>,
    /// Settings and client port of each tenant's gateway.
    pub(super) gateways: Vec<(palisade_gateway::Config, TcpListener)>,
}

impl Layout {
    /// Takes the ports, then the folder: if a port is in use, no file has been touched.
    pub(super) async fn prepare(args: DevArgs) -> Result<Self, Failure> {
        let clients = client_ports(args.client_port).await?;
        let ports = (0..VOTERS).map(|_| voter_ports()).collect::<Result<Vec<_>, _>>()?;
        let (data_dir, temporary) = folder(args.data_dir)?;
        let members = (1..).zip(&ports).map(|(sid, (at, _))| at.member(sid));
        let ensemble = Ensemble::new(members).map_err(|error| Failure::runtime("the member list", &error))?;
        let quorum_ports: Vec<String> = ports.iter().map(|(at, _)| at.quorum.to_string()).collect();
        let voters =
            (1..).zip(ports).map(|(sid, (_, ports))| (voter(sid, &ensemble, &data_dir), ports)).collect();
        let gateways = (0..)
            .zip(TENANTS)
            .zip(clients)
            .map(|((n, tenant), client)| {
                (gateway(FIRST_GATEWAY + n, tenant, &quorum_ports, &data_dir), client)
            })
            .collect();
        Ok(Self { data_dir, temporary, voters, gateways })
    }

    /// Where the data is.
    pub(super) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Whether the data stays when the process ends.
    pub(super) const fn is_kept(&self) -> bool {
        self.temporary.is_none()
    }

    /// The temporary folder, if there is one: it is removed when the last of these is dropped.
    pub(super) fn folder(&self) -> Option<Arc<TempDir>> {
        self.temporary.clone()
    }
}

/// The ports of one voter.
#[derive(Debug)]
struct VoterPorts {
    quorum: SocketAddr,
    election: SocketAddr,
}

impl VoterPorts {
    fn member(&self, sid: i64) -> Member {
        Member {
            sid,
            host: self.quorum.ip().to_string(),
            quorum_port: self.quorum.port(),
            election_port: self.election.port(),
            role: MemberRole::Participant,
            client: None,
        }
    }
}

fn voter_ports() -> Result<(VoterPorts, Ports), Failure> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let take = || {
        Reservation::bind(any).map_err(|error| Failure::runtime("cannot take a port on 127.0.0.1", &error))
    };
    let (quorum, election, admin) = (take()?, take()?, take()?);
    let at = VoterPorts { quorum: quorum.address(), election: election.address() };
    Ok((at, Ports { quorum: Some(quorum), election: Some(election), admin: Some(admin) }))
}

async fn client_ports(first: u16) -> Result<Vec<TcpListener>, Failure> {
    let mut listeners = Vec::with_capacity(TENANTS.len());
    for (tenant, n) in TENANTS.iter().zip(0..) {
        let port = if first == 0 { 0 } else { first.saturating_add(n) };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| {
            let what = format!(
                "cannot listen on 127.0.0.1:{port} for the clients of {tenant}; choose three other ports with \
                 --client-port"
            );
            Failure::runtime(what, &error)
        })?;
        listeners.push(listener);
    }
    Ok(listeners)
}

fn folder(given: Option<PathBuf>) -> Result<(PathBuf, Option<Arc<TempDir>>), Failure> {
    match given {
        Some(path) => {
            fs::create_dir_all(&path).map_err(|error| {
                Failure::runtime(format!("--data-dir {}: cannot create the folder", path.display()), &error)
            })?;
            Ok((path, None))
        }
        None => {
            let folder = TempDir::with_prefix("palisade-dev-").map_err(|error| {
                Failure::runtime("cannot create a temporary folder; name one with --data-dir", &error)
            })?;
            Ok((folder.path().to_owned(), Some(Arc::new(folder))))
        }
    }
}

fn voter(sid: i64, ensemble: &Ensemble, data_dir: &Path) -> palisade_server::Config {
    let folder = data_dir.join(format!("voter-{sid}"));
    let mut config = palisade_server::Config::new(sid, ensemble.clone(), folder);
    config.timing.tick = TICK;
    config.timing.init_limit = INIT_LIMIT;
    config.timing.sync_limit = SYNC_LIMIT;
    config.storage.log_preallocation = LOG_PREALLOCATION;
    config.storage.purge_interval = Some(PURGE_INTERVAL);
    config.limits.commit_log_bytes = COMMIT_LOG_BYTES;
    config.sessions.extended_types = true;
    config
}

fn gateway(id: i64, tenant: &str, voters: &[String], data_dir: &Path) -> palisade_gateway::Config {
    let mut config = palisade_gateway::Config { id, ..palisade_gateway::Config::default() };
    config.tenant.name = tenant.to_owned();
    // All clients are on this machine.
    config.throttle.connections = Limit::NONE;
    config.core.voters = voters.to_vec();
    config.core.init_timeout = TICK * INIT_LIMIT;
    config.core.sync_timeout = TICK * SYNC_LIMIT;
    config.storage.data_dir = data_dir.join(tenant);
    config.sessions.min_timeout = Duration::from_secs(1);
    config.admin.address = Some(format!("{}:0", Ipv4Addr::LOCALHOST));
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn prepare(data_dir: Option<PathBuf>, client_port: u16) -> Result<Layout, Failure> {
        Layout::prepare(DevArgs { data_dir, client_port }).await
    }

    #[tokio::test]
    async fn all_parts_have_settings_that_are_allowed() {
        let layout = prepare(None, 0).await.unwrap();
        assert_eq!(layout.voters.len(), 3);
        assert_eq!(layout.gateways.len(), 3);
        for (config, _) in &layout.voters {
            assert_eq!(config.validate(), Ok(()));
        }
        for (config, _) in &layout.gateways {
            assert_eq!(config.validate(), []);
        }
        let path = layout.data_dir().to_owned();
        assert!(path.is_dir() && !layout.is_kept());
        drop(layout);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_port_in_use_is_named_before_any_folder_is_made() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let parent = TempDir::new().unwrap();
        let data = parent.path().join("data");
        let failure = prepare(Some(data.clone()), port).await.unwrap_err();
        assert!(failure.to_string().contains(&format!("127.0.0.1:{port}")), "{failure}");
        assert!(!data.exists());
    }
}
