//! What everybody may look at: the tree, counters, and where the voter stands.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use palisade_admin::metric::{Gauge, Sizes, Timing};
use palisade_store::Timestamp;
use palisade_wire::Sid;
use parking_lot::Mutex;

use crate::config::Config;
use crate::driver::LearnerCounts;
use crate::metrics::Metrics;
use crate::net::PortStats;
use crate::state::SharedTree;
use crate::voter::Addresses;

/// What a voter is doing. An epoch is known once it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Electing.
    Looking,
    /// Joining or following a leader.
    Following {
        /// The leader.
        leader: Sid,
        /// The epoch, once synchronised.
        epoch: Option<u32>,
    },
    /// Establishing itself or leading.
    Leading {
        /// The epoch, once a quorum follows.
        epoch: Option<u32>,
    },
}

impl Phase {
    /// Whether it serves: leading with a quorum, or following in sync.
    pub(crate) const fn is_serving(self) -> bool {
        matches!(self, Self::Following { epoch: Some(_), .. } | Self::Leading { epoch: Some(_) })
    }
}

/// Where the voter stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Status {
    pub(crate) phase: Phase,
    /// Since when, by the driver's clock.
    pub(crate) since: Timestamp,
    /// Since when it is of no use, if it is not.
    unavailable_since: Option<Timestamp>,
    /// Who follows and observes it; zeros unless it leads.
    pub(crate) learners: LearnerCounts,
}

/// What the voter's tasks share. Only the driver changes the tree and the status.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) addresses: Addresses,
    pub(crate) tree: Arc<SharedTree>,
    pub(crate) metrics: Arc<Metrics>,
    /// Bytes of what this leader proposes.
    pub(crate) proposal_size: Sizes,
    /// Syncs that wait for what this leader proposed before them.
    pub(crate) pending_syncs: Gauge,
    /// Time from a transaction's making by this leader to its acknowledgement, ms, by voter.
    pub(crate) acks: BTreeMap<Sid, Timing>,
    pub(crate) ports: Vec<Arc<PortStats>>,
    /// Connections to the monitoring port.
    pub(crate) admins: AtomicUsize,
    pub(crate) started: Instant,
    status: Mutex<Status>,
}

impl Shared {
    pub(crate) fn new(
        config: Config,
        addresses: Addresses,
        (tree, metrics): (Arc<SharedTree>, Arc<Metrics>),
        ports: Vec<Arc<PortStats>>,
    ) -> Self {
        let status = Status {
            phase: Phase::Looking,
            since: Timestamp::ZERO,
            unavailable_since: Some(Timestamp::ZERO),
            learners: LearnerCounts::default(),
        };
        let acks = config.ensemble.voters().map(|sid| (sid, Timing::default())).collect();
        Self {
            config,
            addresses,
            tree,
            metrics,
            proposal_size: Sizes::default(),
            pending_syncs: Gauge::default(),
            acks,
            ports,
            admins: AtomicUsize::new(0),
            started: Instant::now(),
            status: Mutex::new(status),
        }
    }

    pub(crate) fn status(&self) -> Status {
        *self.status.lock()
    }

    pub(crate) fn set_phase(&self, phase: Phase, now: Timestamp) {
        let mut status = self.status.lock();
        let metrics = &self.metrics;
        if status.phase == Phase::Looking && phase != Phase::Looking {
            metrics.election_time.record(now.since(status.since));
        }
        if !phase.is_serving() {
            status.unavailable_since.get_or_insert(now);
        } else if let Some(since) = status.unavailable_since.take() {
            metrics.unavailable_time.record(now.since(since));
            match phase {
                Phase::Leading { .. } => metrics.leader_unavailable_time.record(now.since(since)),
                _ => metrics.follower_sync_time.record(now.since(status.since)),
            }
        }
        (status.phase, status.since) = (phase, now);
    }

    pub(crate) fn set_learners(&self, learners: LearnerCounts) {
        self.status.lock().learners = learners;
    }
}
