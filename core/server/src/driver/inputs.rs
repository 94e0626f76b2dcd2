//! The driver's queues.

use tokio::sync::mpsc;

use crate::disk::Done;
use crate::election::ElectionEvent;
use crate::quorum::{LeaderEvent, LearnerEvent};

/// Where the driver's inputs arrive.
pub(crate) struct Inputs {
    pub(crate) disk: mpsc::Receiver<Done>,
    pub(crate) election: mpsc::Receiver<ElectionEvent>,
    pub(crate) leader: mpsc::Receiver<LeaderEvent>,
    pub(crate) learners: mpsc::Receiver<LearnerEvent>,
}

/// The other ends of [`Inputs`].
pub(crate) struct Sources {
    pub(crate) disk: mpsc::Sender<Done>,
    pub(crate) election: mpsc::Sender<ElectionEvent>,
    pub(crate) leader: mpsc::Sender<LeaderEvent>,
    pub(crate) learners: mpsc::Sender<LearnerEvent>,
}

impl Inputs {
    /// Queues that hold back their sources when the driver is behind.
    pub(crate) fn new() -> (Sources, Self) {
        let (disk_in, disk) = mpsc::channel(256);
        let (election_in, election) = mpsc::channel(64);
        let (leader_in, leader) = mpsc::channel(1024);
        let (learners_in, learners) = mpsc::channel(1024);
        let sources =
            Sources { disk: disk_in, election: election_in, leader: leader_in, learners: learners_in };
        (sources, Self { disk, election, leader, learners })
    }
}
