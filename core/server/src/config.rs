//! What a voter needs to know before it starts, with the defaults of Apache ZooKeeper.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use palisade_wire::{DEFAULT_MAX_FRAME, Sid};
use palisade_zab::Ensemble;

/// Transactions up to this size are accepted whatever the limit of a client's request, bytes.
const MAX_TXN: usize = 64 << 20;

/// Settings of one voter. Built by the caller, checked by [`Config::validate`], never changed afterwards.
#[derive(Clone, Debug)]
pub struct Config {
    /// This voter's id (`myid`); must be a participant of the ensemble.
    pub sid: Sid,
    /// The members, their addresses and quorum rule (`server.N`, `group.N`, `weight.N`).
    pub ensemble: Ensemble,
    /// Where the ports are opened, where that differs from the ensemble's addresses.
    pub bind: Bind,
    /// Files: places, durability, snapshots, purging.
    pub storage: Storage,
    /// Ticks and the limits counted in them.
    pub timing: Timing,
    /// Bounds of session timeouts, and reaping of containers and TTL znodes.
    pub sessions: Sessions,
    /// How gateways share the leader.
    pub fairness: Fairness,
    /// Bounds of queues, sizes and sockets.
    pub limits: Limits,
}

/// Local addresses that replace those of the ensemble's member list.
#[derive(Clone, Debug, Default)]
pub struct Bind {
    /// Quorum port; `None` binds the name and port in the member list (`quorumListenOnAllIPs=false`).
    pub quorum: Option<SocketAddr>,
    /// Election port; `None` binds the name and port in the member list.
    pub election: Option<SocketAddr>,
    /// Monitoring port (four-letter words and HTTP); `None` opens none.
    pub admin: Option<SocketAddr>,
}

/// Files.
#[derive(Clone, Debug)]
pub struct Storage {
    /// Folder of snapshots, epoch files and `myid` (`dataDir`).
    pub data_dir: PathBuf,
    /// Folder of the transaction log (`dataLogDir`); `None` is the data folder.
    pub data_log_dir: Option<PathBuf>,
    /// Wait for the disk before anything is promised (`forceSync`). Off risks acknowledged writes.
    pub force_sync: bool,
    /// Transactions between snapshots; each is taken after half of this plus a random part of the other half
    /// (`snapCount`).
    pub snap_count: u32,
    /// Log bytes between snapshots, by the same rule (`snapSizeLimitInKb`, here in bytes).
    pub snap_size_limit: u64,
    /// Bytes by which a log file grows ahead of what is written (`preAllocSize`, here in bytes); 0 is off.
    pub log_preallocation: u64,
    /// Snapshots that purging keeps (`autopurge.snapRetainCount`); at least 3.
    pub purge_retain: usize,
    /// Time between purges (`autopurge.purgeInterval`); `None` never purges.
    pub purge_interval: Option<Duration>,
}

/// Time.
#[derive(Clone, Debug)]
pub struct Timing {
    /// The unit of the limits below, and the granularity of session expiry (`tickTime`).
    pub tick: Duration,
    /// Ticks within which a learner must connect and be synchronised (`initLimit`).
    pub init_limit: u32,
    /// Ticks without a word after which a peer is given up (`syncLimit`).
    pub sync_limit: u32,
    /// Longest wait for a TCP connection to a peer (`zookeeper.cnxTimeout`).
    pub connect_timeout: Duration,
}

/// Sessions and znodes that end by themselves.
#[derive(Clone, Debug)]
pub struct Sessions {
    /// Whether sessions that the core was never told of may write (`localSessionsEnabled`): local ones of Apache's
    /// observers. A gateway's do not need it. With it, a late write of a session that has expired may be applied after
    /// a change of leaders.
    pub local: bool,
    /// Shortest session timeout; `None` is 2 ticks (`minSessionTimeout`).
    pub min_timeout: Option<Duration>,
    /// Longest session timeout; `None` is 20 ticks (`maxSessionTimeout`).
    pub max_timeout: Option<Duration>,
    /// Time between searches for empty containers and outlived TTL znodes (`znode.container.checkIntervalMs`).
    pub container_check_interval: Duration,
    /// Containers and TTL znodes deleted per minute at most (`znode.container.maxPerMinute`).
    pub container_max_per_minute: u32,
    /// Whether TTL znodes may be created (`extendedTypesEnabled`). Must be equal on all members.
    pub extended_types: bool,
}

/// How learners share what their leader can propose: those who ask for more than there is get it by weight.
#[derive(Clone, Debug)]
pub struct Fairness {
    /// Transactions proposed and not yet committed, at most. What comes beyond waits for its learner's turn: the fewer,
    /// the less stands before it then, and the less a slow disk can do at once.
    pub in_flight: usize,
    /// Bytes of those transactions.
    pub in_flight_bytes: usize,
    /// Weights of learners by their id, 1 to [`MAX_WEIGHT`](palisade_fair::MAX_WEIGHT): gateways, and servers that
    /// forward their clients' requests. All others have 1.
    pub weights: BTreeMap<Sid, u32>,
    /// Learners that take turns as if they were another one, whose id this is: a tenant's second gateway as its first one,
    /// so that the tenant has one share. They have that one's weight.
    pub together_with: BTreeMap<Sid, Sid>,
}

/// Bounds.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest client request, and with an equal margin largest packet and log record (`jute.maxbuffer`), bytes.
    pub jute_max_buffer: usize,
    /// Whether the hard limits of quotas are enforced, and not only counted (`enforceQuota`).
    pub enforce_quota: bool,
    /// Committed transactions kept in memory for learners that fall behind (`commitLogCount`, Apache's default is 500).
    pub commit_log_count: usize,
    /// Bytes of those transactions.
    pub commit_log_bytes: usize,
    /// Bytes queued for one learner before it is disconnected.
    pub learner_backlog_bytes: usize,
    /// Learners connected at the same time.
    pub max_learners: usize,
    /// Sockets on one port that have not yet said who they are; more are refused.
    pub max_unidentified: usize,
    /// Time in which a socket must say who it is.
    pub identify_timeout: Duration,
    /// Monitoring connections at the same time.
    pub max_admin_connections: usize,
}

impl Config {
    /// A voter of `ensemble` with id `sid` that keeps its files in `data_dir`; everything else as Apache
    /// defaults it.
    pub fn new(sid: Sid, ensemble: Ensemble, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            sid,
            ensemble,
            bind: Bind::default(),
            storage: Storage { data_dir: data_dir.into(), ..Storage::default() },
            timing: Timing::default(),
            sessions: Sessions::default(),
            fairness: Fairness::default(),
            limits: Limits::default(),
        }
    }

    /// Folder of the transaction log.
    pub fn log_dir(&self) -> &std::path::Path {
        self.storage.data_log_dir.as_deref().unwrap_or(&self.storage.data_dir)
    }

    /// Shortest session timeout.
    pub fn min_session_timeout(&self) -> Duration {
        self.sessions.min_timeout.unwrap_or(self.timing.tick * 2)
    }

    /// Longest session timeout.
    pub fn max_session_timeout(&self) -> Duration {
        self.sessions.max_timeout.unwrap_or(self.timing.tick * 20)
    }

    /// Largest data field of a learner's packet, in bytes: the client's limit and as much again for what wraps a
    /// request (`zookeeper.jute.maxbuffer.extrasize`).
    pub fn max_request(&self) -> usize {
        self.limits.jute_max_buffer.saturating_mul(2)
    }

    /// Largest transaction that is read from a leader or a log, and largest znode of a snapshot, in bytes. Larger than
    /// any request, because the end of a session lists all its ephemeral znodes (ZOOKEEPER-4306).
    pub fn max_txn(&self) -> usize {
        self.max_request().max(MAX_TXN)
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::new(),
            data_log_dir: None,
            force_sync: true,
            snap_count: 100_000,
            snap_size_limit: 4 << 30,
            log_preallocation: 64 << 20,
            purge_retain: 3,
            purge_interval: None,
        }
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            tick: Duration::from_millis(3000),
            init_limit: 10,
            sync_limit: 5,
            connect_timeout: Duration::from_secs(5),
        }
    }
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            local: false,
            min_timeout: None,
            max_timeout: None,
            container_check_interval: Duration::from_secs(60),
            container_max_per_minute: 10_000,
            extended_types: false,
        }
    }
}

impl Default for Fairness {
    fn default() -> Self {
        Self {
            in_flight: 1_000,
            in_flight_bytes: 4 << 20,
            weights: BTreeMap::new(),
            together_with: BTreeMap::new(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            jute_max_buffer: DEFAULT_MAX_FRAME,
            enforce_quota: false,
            commit_log_count: 10_000,
            commit_log_bytes: 64 << 20,
            learner_backlog_bytes: 128 << 20,
            max_learners: 1000,
            max_unidentified: 64,
            identify_timeout: Duration::from_secs(5),
            max_admin_connections: 32,
        }
    }
}
