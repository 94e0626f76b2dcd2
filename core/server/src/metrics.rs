//! What is counted, for the monitoring port.

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
        /// Proposals made or received.
        proposal_count: Counter,
        /// Elections begun.
        looking_count: Counter,
        /// Transactions after which the tree's digest was not the leader's.
        digest_mismatches_count: Counter,
        /// Learners brought up to date without a tree.
        diff_count: Counter,
        /// Learners that were sent a tree.
        snap_count: Counter,
        /// Transactions applied.
        commit_count: Counter,
        /// Sessions that expired.
        stale_sessions_expired: Counter,
        /// Sessions revalidated for learners.
        revalidate_count: Counter,
        /// Time of a flush of the log, ms.
        fsynctime: Timing,
        /// Time of writing a snapshot, ms.
        snapshottime: Timing,
        /// Time from looking for a leader to having found one, ms.
        election_time: Timing,
        /// Time from a transaction's making by the leader to its being applied here, by the wall clocks, ms.
        propagation_latency: Timing,
    }
}
