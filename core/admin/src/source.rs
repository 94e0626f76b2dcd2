//! What a server knows about itself: the same facts for every layout.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use palisade_wire::{SessionId, Sid, Zxid};

use crate::json::{Batches, Json};
use crate::metric::Sample;
pub use crate::system::LastSnapshot;

/// What comes of reading settings again, for people: what is in force then, or everything that is wrong with them, so that
/// nothing has changed.
pub type Reloading = Pin<Box<dyn Future<Output = Result<String, String>> + Send>>;

/// A server that can be asked about itself.
///
/// What may be long comes in batches, each of which holds locks for a moment only.
pub trait Source: Send + Sync + 'static {
    /// Whether it serves requests: a leader with a quorum, a follower or observer that was brought up to date.
    fn is_serving(&self) -> bool;

    /// Whether clients and peers should be sent here.
    ///
    /// # Errors
    /// Why not, for people.
    fn readiness(&self) -> Result<(), String>;

    /// The server in brief.
    fn status(&self) -> Status;

    /// Everything that `mntr` tells after the version, in any order.
    fn samples(&self) -> Vec<Sample>;

    /// Settings.
    fn configuration(&self) -> Configuration;

    /// Connections of clients. `asking` is the number of the one that asks.
    fn connections(self: Arc<Self>, asking: Option<usize>) -> Batches<Connection>;

    /// Sessions.
    fn sessions(self: Arc<Self>) -> Sessions;

    /// Sessions with paths of their ephemerals; a session with many comes in several batches that follow each other.
    fn ephemerals(self: Arc<Self>) -> Batches<(SessionId, Vec<String>)>;

    /// How many sessions own ephemerals.
    fn ephemeral_owners(&self) -> usize;

    /// How many watches there are.
    fn watch_summary(&self) -> WatchSummary;

    /// Watched paths with those who watch them.
    fn watches_by_path(self: Arc<Self>) -> Batches<(String, Vec<SessionId>)>;

    /// Who watches, with the paths; whoever watches many comes in several batches that follow each other.
    fn watches_by_session(self: Arc<Self>) -> Batches<(SessionId, Vec<String>)>;

    /// Its place among the servers.
    fn quorum(&self) -> Quorum;

    /// The last snapshot that it wrote or began with.
    fn last_snapshot(&self) -> LastSnapshot;

    /// Starts its counters again (`srst`).
    fn reset_statistics(&self);

    /// Starts the counters of its connections again (`crst`).
    fn reset_connections(&self);

    /// Reads its settings again, and takes over what may change while it runs (`POST /reload`); `None` if it reads them
    /// when it starts only.
    fn reload(self: Arc<Self>) -> Option<Reloading> {
        None
    }

    /// A page that only this server has, such as `/top`.
    fn page(&self, path: &str, query: &str) -> Option<Json>;
}

/// What `srvr` says.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// Whether writes fail for now.
    pub read_only: bool,
    /// Least, mean and largest time to an answer, ms.
    pub latency: (u64, f64, u64),
    /// Packets received.
    pub received: u64,
    /// Packets sent.
    pub sent: u64,
    /// Connections.
    pub connections: usize,
    /// Requests without an answer.
    pub outstanding: u64,
    /// The last transaction.
    pub zxid: Zxid,
    /// `leader`, `follower`, `observer`, `read-only`.
    pub mode: &'static str,
    /// Znodes.
    pub nodes: usize,
    /// Sizes of proposals, last, least and largest, for leaders; −1 each before the first.
    pub proposal_sizes: Option<[i64; 3]>,
    /// Since the start, ms.
    pub uptime_ms: u64,
}

/// What `conf` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// Where clients connect; −1 for nowhere.
    pub client_port: i32,
    /// Folder of the snapshots.
    pub data_dir: PathBuf,
    /// Folder of the log.
    pub log_dir: PathBuf,
    /// The unit of time, ms.
    pub tick_ms: u64,
    /// Connections from one address, at most; 0 is no limit.
    pub max_client_connections: usize,
    /// The shortest session timeout, ms.
    pub min_session_timeout_ms: u64,
    /// The longest session timeout, ms.
    pub max_session_timeout_ms: u64,
    /// The server's number.
    pub server_id: Sid,
    /// Ticks to find and follow a leader.
    pub init_limit: u64,
    /// Ticks without a sign of life.
    pub sync_limit: u64,
    /// Where voters elect; −1 for nowhere.
    pub election_port: i32,
    /// Where learners connect; −1 for nowhere.
    pub quorum_port: i32,
    /// Whether it does not vote.
    pub observer: bool,
    /// The members, as in `/zookeeper/config`.
    pub membership: String,
}

/// A client's connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The client.
    pub peer: SocketAddr,
    /// 1 for one that is read from, 0 for the one that asks.
    pub interest: u8,
    /// Requests without an answer.
    pub queued: usize,
    /// Packets received.
    pub received: u64,
    /// Packets sent.
    pub sent: u64,
    /// The session, 0 before there is one.
    pub session: SessionId,
    /// The last operation, as `cons` calls it.
    pub last_op: &'static str,
    /// Since when it is connected, ms since 1970.
    pub established_ms: u64,
    /// The session's timeout, ms.
    pub timeout_ms: i64,
    /// Xid of the last request; negative before the first.
    pub last_cxid: i64,
    /// Zxid of the last answer.
    pub last_zxid: Zxid,
    /// When it was given, ms since some moment.
    pub last_response_ms: u64,
    /// How long it took, ms.
    pub last_latency_ms: u64,
    /// Least, mean and largest time to an answer, ms.
    pub latency: (u64, u64, u64),
    /// When it is given up if nothing is heard of it, ms since 1970.
    pub expires_ms: u64,
}

/// Moments, ms since 1970, at which these sessions expire, ascending.
pub type Expiries = Vec<(u64, Vec<SessionId>)>;

/// Sessions.
pub struct Sessions {
    /// Those that only this server knows, if it has any such.
    pub local: Option<Expiries>,
    /// Those of the ensemble.
    pub global: GlobalSessions,
}

/// Sessions of the ensemble.
pub enum GlobalSessions {
    /// As a leader knows them: with when they expire.
    Expiring(Expiries),
    /// As a learner knows them: how many, and each with its timeout in ms.
    Known(usize, Batches<(SessionId, i32)>),
}

/// What `wchs` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchSummary {
    /// Connections with a watch.
    pub connections: usize,
    /// Watched paths.
    pub paths: usize,
    /// Watches.
    pub watches: usize,
}

/// A server's place among the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quorum {
    /// Its own id.
    pub sid: Sid,
    /// Whether it leads.
    pub is_leader: bool,
    /// Whether it votes.
    pub voting: bool,
    /// Where learners reach it.
    pub quorum_address: Option<SocketAddr>,
    /// Where voters reach it.
    pub election_address: Option<SocketAddr>,
    /// Where clients reach it.
    pub client_address: Option<SocketAddr>,
    /// The last transaction.
    pub last_zxid: Zxid,
    /// `election`, `discovery`, `synchronization` or `broadcast`.
    pub phase: &'static str,
    /// The leader's id, if it is known, and host.
    pub leader: Option<(Option<Sid>, String)>,
    /// Who votes.
    pub voters: Vec<Voter>,
    /// How many observers are in sync with this server.
    pub synced_observers: usize,
    /// Who observes this server, if it keeps a list of them.
    pub observers: Vec<Observer>,
}

/// A member that votes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voter {
    /// Its id.
    pub sid: Sid,
    /// `host:port` for learners.
    pub quorum_address: String,
    /// `host:port` for elections.
    pub election_address: String,
}

/// A server that observes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observer {
    /// From where.
    pub address: SocketAddr,
    /// Its id.
    pub sid: Sid,
    /// Since when it is connected, ms since 1970.
    pub established_ms: u64,
}
