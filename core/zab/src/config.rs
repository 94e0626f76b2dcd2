//! What a machine is started with.

use std::time::Duration;

use bytes::Bytes;
use palisade_wire::{Sid, Zxid};

use crate::ensemble::Ensemble;

/// A setting that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The server's id is not that of a voter.
    #[error(
        "server {0} is not a participant of the ensemble: add `server.{0}=host:quorum-port:election-port`"
    )]
    NotAVoter(Sid),
    /// The tick is zero or longer than a minute.
    #[error("tick of {0:?} is out of range: use 1 ms to 60 s")]
    Tick(Duration),
    /// The init limit is below 1.
    #[error("init limit is 0 ticks: use 1 or more")]
    InitLimit,
    /// The sync limit is below 1.
    #[error("sync limit is 0 ticks: use 1 or more")]
    SyncLimit,
    /// The shortest wait for votes is zero, or longer than the longest.
    #[error("notification interval of {0:?} is out of range: use 1 ms up to the maximum interval")]
    NotificationInterval(Duration),
    /// Recovered epochs and log contradict one another.
    #[error("recovered state is inconsistent: {0}; the data directory is damaged or mixed up")]
    Recovered(&'static str),
}

/// Timing that leader and learners must share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Length of a tick (`tickTime`). Pings are sent every half tick. Default 2 s.
    pub tick: Duration,
    /// Ticks for connecting and synchronising (`initLimit`). Default 10.
    pub init_limit: u32,
    /// Ticks of silence that end a synchronised link (`syncLimit`). Default 5.
    pub sync_limit: u32,
}

impl Default for Timing {
    fn default() -> Self {
        Self { tick: Duration::from_secs(2), init_limit: 10, sync_limit: 5 }
    }
}

impl Timing {
    /// How long connecting and synchronising may take.
    pub fn init(&self) -> Duration {
        self.tick * self.init_limit
    }

    /// How long a synchronised link may be silent.
    pub fn sync(&self) -> Duration {
        self.tick * self.sync_limit
    }

    /// The first mistake in it, if any.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.tick.is_zero() || self.tick > Duration::from_secs(60) {
            return Err(ConfigError::Tick(self.tick));
        }
        if self.init_limit == 0 {
            return Err(ConfigError::InitLimit);
        }
        if self.sync_limit == 0 {
            return Err(ConfigError::SyncLimit);
        }
        Ok(())
    }
}

/// Settings of a [`crate::Peer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// This server.
    pub sid: Sid,
    /// The members; this server must be a participant.
    pub ensemble: Ensemble,
    /// Ticks and limits.
    pub timing: Timing,
    /// How many committed transactions are kept in memory to bring learners up to date without a snapshot. Default
    /// 10 000. Uncommitted ones are kept in any case.
    pub log_count: usize,
    /// How many bytes of payload those may have. Default 64 MiB.
    pub log_bytes: usize,
    /// How many bytes of packets may have been sent to a synchronised learner without its having confirmed them
    /// (by answering a later ping, every half tick). Checked every half tick: a learner
    /// that exceeds it is disconnected. What a learner lacks is sent as a snapshot if it has more bytes than this. Default
    /// 256 MiB.
    pub max_backlog: usize,
    /// How long an electing peer waits for votes before it repeats its own, at first; doubled each time. Default 200 ms.
    pub min_notification_interval: Duration,
    /// The longest such wait. Default 60 s, as Apache; lower is friendlier to a peer that comes back late.
    pub max_notification_interval: Duration,
    /// How long a better vote may still arrive after a quorum agrees. Default 200 ms.
    pub finalize_wait: Duration,
    /// How many observers may be sent a snapshot at a time; others wait for their turn, at most the init limit. Voters are
    /// never kept waiting. Default 10, as Apache.
    pub max_snapshots: usize,
}

impl PeerConfig {
    /// Default settings for this member of this ensemble.
    pub fn new(sid: Sid, ensemble: Ensemble) -> Self {
        Self {
            sid,
            ensemble,
            timing: Timing::default(),
            log_count: 10_000,
            log_bytes: 64 << 20,
            max_backlog: 256 << 20,
            min_notification_interval: Duration::from_millis(200),
            max_notification_interval: Duration::from_secs(60),
            finalize_wait: Duration::from_millis(200),
            max_snapshots: 10,
        }
    }

    /// The first mistake in it, if any.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.timing.validate()?;
        if self.min_notification_interval < Duration::from_millis(1)
            || self.min_notification_interval > self.max_notification_interval
        {
            return Err(ConfigError::NotificationInterval(self.min_notification_interval));
        }
        if !self.ensemble.is_voter(self.sid) {
            return Err(ConfigError::NotAVoter(self.sid));
        }
        Ok(())
    }
}

/// Settings of a lone [`crate::Learner`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearnerConfig {
    /// The id that it gives the leader. Must not be a voter's; need not be listed.
    pub sid: Sid,
    /// Ticks and limits, as the ensemble's.
    pub timing: Timing,
    /// How many bytes of payload it may hold back until UPTODATE. A leader that sends more is disconnected, and asked
    /// for a snapshot next time. Default 256 MiB.
    pub max_held: usize,
}

impl LearnerConfig {
    /// Default settings for an observer with this id.
    pub fn new(sid: Sid) -> Self {
        Self { sid, timing: Timing::default(), max_held: 256 << 20 }
    }
}

/// What was found on disk. All of it must be durable already: a log that was merely found after a crash of the
/// process is flushed first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Content of the `acceptedEpoch` file: the newest epoch that this server has promised to take part in.
    pub accepted_epoch: u32,
    /// Content of the `currentEpoch` file: the newest epoch whose leader this server's history agrees with.
    pub current_epoch: u32,
    /// The last logged transaction, or the snapshot's zxid if that is later. All of it is applied to the tree.
    pub last_zxid: Zxid,
    /// The end of the log: ascending, contiguous, ending in `last_zxid`; may be empty.
    pub recent: Vec<(Zxid, Bytes)>,
}
