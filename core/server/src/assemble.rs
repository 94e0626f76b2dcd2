//! Putting a voter together: ports, files, queues and tasks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Duration;

use palisade_disk::{DataDir, DiskError, LogOptions, RestoreOptions, Restored, TxnLog};
use palisade_store::prepare::PrepareConfig;
use palisade_wire::Sid;
use palisade_zab::{Member, Peer, PeerConfig, Recovered, Timing};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::AdminPort;
use crate::alone::Foreground;
use crate::config::Config;
use crate::disk::{DiskThread, JobQueue};
use crate::driver::{Clock, Driver, Inputs, LeadingConfig, Links, Schedule, Shares, Sources, set_config};
use crate::election::{ElectionConfig, ElectionPort};
use crate::metrics::Metrics;
use crate::net::{Listener, Opening, PortStats, Reservation, resolve};
use crate::quorum::{LeaderPort, LearnerPort};
use crate::state::SharedTree;
use crate::status::Shared;
use crate::voter::{Addresses, Ports, StartError};

/// Longest time between two notifications of an electing voter. Apache waits up to a minute; a voter that comes
/// back late is found sooner with this.
const MAX_NOTIFICATION_INTERVAL: Duration = Duration::from_secs(5);

/// The ports of a voter, all taken.
pub(crate) struct Bound {
    quorum: Reservation,
    election: Reservation,
    admin: Option<Reservation>,
}

impl Bound {
    /// Takes the ports that were not taken before.
    pub(crate) async fn take(config: &Config, ports: Ports) -> Result<Self, StartError> {
        let Some(me) = config.ensemble.member(config.sid) else {
            return Err(StartError::Internal(format!("{} is not a member", config.sid)));
        };
        let limit = config.timing.connect_timeout;
        let quorum = match ports.quorum {
            Some(reserved) => reserved,
            None => bind("quorum", config.bind.quorum, &quorum_address(me), limit).await?,
        };
        let election = match ports.election {
            Some(reserved) => reserved,
            None => bind("election", config.bind.election, &election_address(me), limit).await?,
        };
        let admin = match (ports.admin, config.bind.admin) {
            (Some(reserved), _) => Some(reserved),
            (None, Some(address)) => Some(reserve("admin", address)?),
            (None, None) => None,
        };
        Ok(Self { quorum, election, admin })
    }

    pub(crate) fn addresses(&self) -> Addresses {
        Addresses {
            quorum: self.quorum.address(),
            election: self.election.address(),
            admin: self.admin.as_ref().map(Reservation::address),
        }
    }
}

async fn bind(
    port: &'static str,
    configured: Option<SocketAddr>,
    listed: &str,
    limit: Duration,
) -> Result<Reservation, StartError> {
    let address = match configured {
        Some(address) => address,
        None => {
            let found = resolve(listed, limit).await;
            let found = found.map_err(|error| StartError::Resolve { port, reason: error.to_string() })?;
            let first = found.first().copied();
            first.ok_or_else(|| StartError::Resolve { port, reason: format!("{listed} has no address") })?
        }
    };
    reserve(port, address)
}

fn reserve(port: &'static str, address: SocketAddr) -> Result<Reservation, StartError> {
    Reservation::bind(address).map_err(|source| StartError::Port { port, address, source })
}

fn open(port: &'static str, reserved: Reservation) -> Result<Opening, StartError> {
    let address = reserved.address();
    reserved.listen().map(Opening::Open).map_err(|source| StartError::Port { port, address, source })
}

/// What a voter finds on its disk.
pub(crate) struct Files {
    dir: DataDir,
    log: TxnLog,
    restored: Restored,
}

impl Files {
    /// Opens and reads them. Blocks.
    pub(crate) fn open(config: &Config) -> Result<Self, DiskError> {
        let data: &Path = &config.storage.data_dir;
        let dir = DataDir::open(data, config.log_dir(), Some(config.sid))?;
        let restored = dir.restore(&restore_options(config))?;
        let options = LogOptions {
            preallocate: config.storage.log_preallocation,
            max_record: config.max_txn(),
            force_sync: config.storage.force_sync,
        };
        let log = dir.open_log(&restored.tail, options)?;
        Ok(Self { dir, log, restored })
    }
}

fn restore_options(config: &Config) -> RestoreOptions {
    RestoreOptions {
        max_record: config.max_txn(),
        recent_count: config.limits.commit_log_count,
        recent_bytes: config.limits.commit_log_bytes,
        ..RestoreOptions::default()
    }
}

/// Starts everything but the driver, which it returns.
pub(crate) fn assemble(
    config: Config,
    ports: Bound,
    files: Files,
    foreground: Option<Foreground>,
    (shutdown, tasks): (&CancellationToken, &TaskTracker),
) -> Result<Driver, StartError> {
    let Files { dir, log, restored } = files;
    log_restored(&restored);
    let metrics = Arc::<Metrics>::default();
    metrics.restored(&restored);
    // That is how it begins.
    metrics.looking_count.inc();
    let clock = Clock::start();
    let (recovered, mut tree, replayed) = split(restored);
    let peer = Peer::new(peer_config(&config), recovered, clock.now())?;
    let stats = Stats::new();
    set_config(&mut tree, &config.ensemble, clock.wall_ms());
    let tree = Arc::new(SharedTree::new(tree));
    let shared = Arc::new(Shared::new(config, ports.addresses(), (tree, metrics), stats.all()));
    let config = &shared.config;
    let (sources, inputs) = Inputs::new();
    let jobs = JobQueue::default();
    let (quorum_open, leading) = watch::channel(false);

    let seed = clock.wall_ms() as u64 ^ (config.sid as u64).rotate_left(48);
    let schedule = Schedule::new(config.storage.snap_count, config.storage.snap_size_limit, replayed, seed)
        .purge_every(config.storage.purge_interval, clock.now());
    let election = start_election(&shared, &stats, &sources, shutdown, tasks);
    let leader_port = LeaderPort {
        events: sources.leader.clone(),
        tree: shared.tree.clone(),
        max_data: config.max_txn(),
        backlog_bytes: config.limits.learner_backlog_bytes,
        connect_timeout: config.timing.connect_timeout,
        stall: config.timing.tick * config.timing.init_limit,
        shutdown: shutdown.clone(),
        tasks: tasks.clone(),
    };
    let listening = Listening { shared: &shared, stats: &stats, shutdown, tasks };
    listening.start(ports, &election, &sources, leading)?;
    let disk = DiskThread {
        dir,
        log,
        tree: shared.tree.clone(),
        restore: restore_options(config),
        purge_retain: config.storage.purge_retain,
        metrics: shared.metrics.clone(),
        jobs: jobs.clone(),
        done: sources.disk,
    };
    disk.spawn(foreground.as_ref()).map_err(StartError::Thread)?;
    Ok(Driver {
        peer,
        clock,
        inputs,
        election,
        jobs,
        foreground,
        leader_port,
        quorum_addresses: others(config, quorum_address),
        quorum_open,
        leading_config: leading_config(config),
        schedule,
        links: Links::default(),
        shared,
    })
}

fn log_restored(restored: &Restored) {
    tracing::info!(
        last = %restored.last_zxid, snapshot = %restored.snapshot_zxid, replayed = restored.replayed,
        accepted_epoch = restored.epochs.accepted, current_epoch = restored.epochs.current,
        znodes = restored.tree.node_count(), "data restored"
    );
    if let Some(zxid) = restored.digest_mismatch {
        tracing::error!(%zxid, "the restored tree differs from the one that the log was written for");
    }
}

/// What of the restored state goes to the Zab machine, what to the tree.
fn split(restored: Restored) -> (Recovered, palisade_store::DataTree, u64) {
    let recovered = Recovered {
        accepted_epoch: restored.epochs.accepted,
        current_epoch: restored.epochs.current,
        last_zxid: restored.last_zxid,
        recent: restored.recent,
    };
    (recovered, restored.tree, restored.replayed)
}

fn peer_config(config: &Config) -> PeerConfig {
    PeerConfig {
        timing: Timing {
            tick: config.timing.tick,
            init_limit: config.timing.init_limit,
            sync_limit: config.timing.sync_limit,
        },
        log_count: config.limits.commit_log_count,
        log_bytes: config.limits.commit_log_bytes,
        max_backlog: config.limits.learner_backlog_bytes,
        max_notification_interval: MAX_NOTIFICATION_INTERVAL,
        ..PeerConfig::new(config.sid, config.ensemble.clone())
    }
}

fn leading_config(config: &Config) -> LeadingConfig {
    LeadingConfig {
        sid: config.sid,
        tick: config.timing.tick,
        prepare: PrepareConfig {
            extended_types: config.sessions.extended_types,
            enforce_quota: config.limits.enforce_quota,
            ..PrepareConfig::default()
        },
        local_sessions: config.sessions.local,
        reap_interval: config.sessions.container_check_interval,
        reap_per_minute: config.sessions.container_max_per_minute,
        shares: Shares {
            weights: config.fairness.weights.clone(),
            together_with: config.fairness.together_with.clone(),
        },
    }
}

struct Stats {
    quorum: Arc<PortStats>,
    election: Arc<PortStats>,
    admin: Arc<PortStats>,
}

impl Stats {
    fn new() -> Self {
        Self {
            quorum: PortStats::new("quorum"),
            election: PortStats::new("election"),
            admin: PortStats::new("admin"),
        }
    }

    fn all(&self) -> Vec<Arc<PortStats>> {
        vec![self.quorum.clone(), self.election.clone(), self.admin.clone()]
    }
}

fn start_election(
    shared: &Shared,
    stats: &Stats,
    sources: &Sources,
    shutdown: &CancellationToken,
    tasks: &TaskTracker,
) -> ElectionPort {
    let config = &shared.config;
    let election = ElectionConfig {
        sid: config.sid,
        own_address: config.ensemble.member(config.sid).map(election_address).unwrap_or_default(),
        peers: others(config, election_address),
        connect_timeout: config.timing.connect_timeout,
        identify_timeout: config.limits.identify_timeout,
    };
    ElectionPort::start(
        election,
        stats.election.clone(),
        sources.election.clone(),
        shutdown.clone(),
        tasks.clone(),
    )
}

struct Listening<'a> {
    shared: &'a Arc<Shared>,
    stats: &'a Stats,
    shutdown: &'a CancellationToken,
    tasks: &'a TaskTracker,
}

impl Listening<'_> {
    fn start(
        &self,
        ports: Bound,
        election: &ElectionPort,
        sources: &Sources,
        leading: watch::Receiver<bool>,
    ) -> Result<(), StartError> {
        let limits = &self.shared.config.limits;
        let port = election.clone();
        let listener = self.listener(&self.stats.election, &ports.election, None, limits.max_unidentified);
        let opening = open("election", ports.election)?;
        self.tasks.spawn(
            listener.run(opening, move |stream, from, stranger| port.clone().serve(stream, from, stranger)),
        );

        let port = self.learner_port(sources);
        let listener =
            self.listener(&self.stats.quorum, &ports.quorum, Some(leading), limits.max_unidentified);
        let opening = Opening::Reserved(ports.quorum);
        self.tasks.spawn(
            listener.run(opening, move |stream, from, stranger| port.clone().serve(stream, from, stranger)),
        );

        if let Some(reserved) = ports.admin {
            let port = AdminPort { shared: self.shared.clone(), stats: self.stats.admin.clone() };
            let listener = self.listener(&self.stats.admin, &reserved, None, limits.max_admin_connections);
            let opening = open("admin", reserved)?;
            self.tasks.spawn(
                listener
                    .run(opening, move |stream, from, stranger| port.clone().serve(stream, from, stranger)),
            );
        }
        Ok(())
    }

    fn listener(
        &self,
        stats: &Arc<PortStats>,
        reserved: &Reservation,
        open: Option<watch::Receiver<bool>>,
        max_unidentified: usize,
    ) -> Listener {
        Listener {
            stats: stats.clone(),
            address: reserved.address(),
            // Without a sender the value stays as it is.
            open: open.unwrap_or_else(|| watch::channel(true).1),
            max_unidentified,
            shutdown: self.shutdown.clone(),
            tasks: self.tasks.clone(),
        }
    }

    fn learner_port(&self, sources: &Sources) -> LearnerPort {
        let config = &self.shared.config;
        LearnerPort {
            events: sources.learners.clone(),
            tree: self.shared.tree.clone(),
            stats: self.stats.quorum.clone(),
            max_data: config.max_request(),
            // A learner that joins may be sent all that is kept in memory at once.
            backlog_bytes: config.limits.learner_backlog_bytes.saturating_add(config.limits.commit_log_bytes),
            max_learners: config.limits.max_learners,
            identify_timeout: config.limits.identify_timeout,
            stall: config.timing.tick * config.timing.init_limit,
            next_link: Arc::new(AtomicU64::new(1)),
            learners: Arc::new(AtomicUsize::new(0)),
        }
    }
}

fn others(config: &Config, address: fn(&Member) -> String) -> BTreeMap<Sid, String> {
    let others = config.ensemble.members().filter(|member| member.sid != config.sid);
    others.map(|member| (member.sid, address(member))).collect()
}

pub(crate) fn quorum_address(member: &Member) -> String {
    host_port(&member.host, member.quorum_port)
}

pub(crate) fn election_address(member: &Member) -> String {
    host_port(&member.host, member.election_port)
}

fn host_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
