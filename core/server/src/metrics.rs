//! What is counted, for the monitoring port.

use palisade_disk::Restored;

// One line more is all that a new one needs.
palisade_admin::metrics! {
    /// Everything that is counted. Written by one task or thread each, read by anybody.
    pub(crate) struct Metrics {
        /// Packets from other servers.
        packets_received: Counter,
        /// Packets to other servers.
        packets_sent: Counter,
        /// Requests and proposals of this leader that are not yet applied.
        outstanding_requests: Gauge,
        /// Proposals of this server as the leader.
        proposal_count: Counter,
        /// Elections begun.
        looking_count: Counter,
        /// Proposals received from the leader.
        learner_proposal_received_count: Counter,
        /// Transactions after which the tree's digest was not the leader's.
        digest_mismatches_count: Counter,
        /// Commits received from the leader.
        learner_commit_received_count: Counter,
        /// Learners brought up to date without a tree.
        diff_count: Counter,
        /// Learners that were sent a tree.
        snap_count: Counter,
        /// Transactions committed by this server as the leader.
        commit_count: Counter,
        /// Sessions that expired.
        stale_sessions_expired: Counter,
        /// Sessions revalidated for learners.
        revalidate_count: Counter,
        /// Time until this server was of use again, then as the leader, ms.
        leader_unavailable_time: Timing,
        /// Time of replaying the log at the start, ms.
        startup_txns_load_time: Timing,
        /// Time from finding a leader to being up to date with it, ms.
        follower_sync_time: Timing,
        /// Time of a flush of the log, ms.
        fsynctime: Timing,
        /// Learners that were being sent a tree, whenever one more or one less was.
        inflight_snap_count: Summary,
        /// Time of writing a snapshot, ms.
        snapshottime: Timing,
        /// Time without a leader and a quorum, until this server was of use again, ms.
        unavailable_time: Timing,
        /// Transactions replayed from the log at the start.
        startup_txns_loaded: Summary,
        /// Time of loading all data at the start, ms.
        dbinittime: Timing,
        /// Learners that were being brought up to date without a tree, whenever one more or one less was.
        inflight_diff_count: Summary,
        /// Time from looking for a leader to having found one, ms.
        election_time: Timing,
        /// Transactions that one flush of the log made durable.
        sync_processor_batch_size: Summary,
        /// Time of loading the snapshot at the start, ms.
        startup_snap_load_time: Timing,
        /// Time from a transaction's making to a quorum's having it, ms; of the leader.
        quorum_ack_latency: Timing,
        /// Time from a transaction's making by the leader to its commit's arrival here, by the wall clocks, ms.
        commit_propagation_latency: Timing,
        /// Time from a transaction's making by the leader to its being durable here, by the wall clocks, ms.
        proposal_ack_creation_latency: Timing,
        /// Time from a transaction's making by the leader to its proposal's arrival here, by the wall clocks, ms.
        proposal_latency: Timing,
        /// Time from a transaction's making by the leader to its being applied here, by the wall clocks, ms.
        propagation_latency: Timing,
    }
}

impl Metrics {
    /// Notes what the start took.
    pub(crate) fn restored(&self, restored: &Restored) {
        self.startup_snap_load_time.record(restored.load_time);
        self.startup_txns_loaded.record(restored.replayed);
        self.startup_txns_load_time.record(restored.replay_time);
        self.dbinittime.record(restored.load_time + restored.replay_time);
    }
}
