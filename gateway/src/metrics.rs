//! What a gateway counts. One line more is all that a new number needs: it then shows in `mntr`, the AdminServer's
//! `monitor` and Prometheus' `/metrics` by itself.

use crate::replica::disk::Opened;

palisade_admin::metrics! {
    /// Everything that is counted. Written by whoever does the work, read by anybody.
    pub(crate) struct Metrics {
        /// Bytes of events.
        watch_bytes: Counter,
        /// Requests that a limit refused.
        throttled_ops: Counter,
        /// Connections refused because there were too many.
        connection_rejected: Counter,
        /// Connections closed because no session was begun in time.
        sessionless_connections_expired: Counter,
        /// Connections whose clients went away without closing their sessions.
        connection_drop_count: Counter,
        /// Bytes of requests.
        bytes_received_count: Counter,
        /// Transactions received from the leader.
        learner_commit_received_count: Counter,
        /// Clients that asked for a session, be it a new or an old one.
        connection_request_count: Counter,
        /// Clients that asked for an old session.
        connection_revalidate_count: Counter,
        /// Sessions known to this gateway only that expired.
        stale_sessions_expired: Counter,
        /// Watches that a creation fired.
        node_created_watch_count: Summary,
        /// Watches that a deletion fired.
        node_deleted_watch_count: Summary,
        /// Time of replaying the log at the start, ms.
        startup_txns_load_time: Timing,
        /// Time of a flush of the log, ms.
        fsynctime: Timing,
        /// Time of writing a snapshot, ms.
        snapshottime: Timing,
        /// Transactions replayed from the log at the start.
        startup_txns_loaded: Summary,
        /// Time of loading the replica at the start, ms.
        dbinittime: Timing,
        /// Watches that a change of children fired.
        node_children_watch_count: Summary,
        /// Time from finding a leader to being up to date with it, ms.
        observer_sync_time: Timing,
        /// Watches that a change of data fired.
        node_changed_watch_count: Summary,
        /// Time of loading the snapshot at the start, ms.
        startup_snap_load_time: Timing,
        /// Time from receiving a write to its answer, ms.
        updatelatency: Timing,
        /// Time from receiving any other request to its answer, ms.
        readlatency: Timing,
        /// Time from a transaction's making by the leader to its arrival here, by the wall clocks, ms.
        commit_propagation_latency: Timing,
        /// Time from a transaction's making by the leader to its being applied here, by the wall clocks, ms.
        propagation_latency: Timing,
        /// Connections closed by this gateway, not by their clients.
        palisade_connections_closed: Counter,
        /// Events that were held back, to be told in waves.
        palisade_events_held: Counter,
        /// Events that were held back, and left.
        palisade_events_released: Counter,
        /// Sessions whose events are held back, or were until another frame left.
        palisade_sessions_held: Gauge,
        /// How long the eldest of a client's events was held back, ms.
        palisade_event_hold: Timing,
        /// The longest of these times, ms.
        palisade_event_longest_hold: Longest,
        /// Held events that gave way to newer ones of the same path.
        palisade_events_merged: Counter,
        /// Watches beyond a limit: new ones were refused, and of those that were to be set again after a reconnect, clients
        /// were told that they fired.
        palisade_watches_refused: Counter,
        /// Persistent ones of the latter: their clients are told of everything at and below what these have in common.
        palisade_watches_covered: Counter,
        /// Events that persistent watches missed while their clients were away, and were told then.
        palisade_events_replayed: Counter,
        /// Clients whose persistent watches may have missed more than was remembered.
        palisade_replays_incomplete: Counter,
        /// What clients can do here: 0 nothing yet, 1 read and write, 2 read what may be stale, 3 nothing any more.
        palisade_mode: Gauge,
        /// Requests for the core that wait for their session's turn.
        palisade_requests_backlog: Gauge,
        /// Bytes of requests that wait to be carried out and of answers that are not read, beyond 64 KiB of each client's.
        palisade_pending_bytes: Gauge,
        /// Acquisitions of locks and candidacies: ephemeral sequential creates.
        palisade_lock_acquisitions: Counter,
        /// Locks and candidacies that were given back within seconds.
        palisade_lock_short_holds: Counter,
        /// Paths below which locks are fine-grained now.
        palisade_lock_fine_grained: Gauge,
        /// Requests beyond a limit that only reports.
        palisade_throttle_reported: Counter,
        /// Requests that a limit held back.
        palisade_throttle_delayed: Counter,
        /// Requests that a limit refused.
        palisade_throttle_refused: Counter,
        /// Limits that were reached within the last seconds, one for each address that reached them.
        palisade_limits_reached: Gauge,
        /// How often the limit of writes was reached, whatever followed; of the other limits below likewise.
        palisade_limit_writes: Counter,
        /// Of their bytes.
        palisade_limit_write_bytes: Counter,
        /// Of acquisitions of locks.
        palisade_limit_locks: Counter,
        /// Of those that are held for a short time.
        palisade_limit_short_locks: Counter,
        /// Of new parents of fine-grained locks.
        palisade_limit_lock_parents: Counter,
        /// Of unanswered requests.
        palisade_limit_in_flight: Counter,
        /// Of new sessions.
        palisade_limit_sessions: Counter,
        /// Of connections.
        palisade_limit_connections: Counter,
        /// Of watches.
        palisade_limit_watches: Counter,
        /// Of znodes.
        palisade_limit_znodes: Counter,
        /// Of their bytes.
        palisade_limit_bytes: Counter,
    }
}

impl Metrics {
    /// Notes what the start took.
    pub(crate) fn restored(&self, opened: &Opened) {
        self.startup_snap_load_time.record(opened.load_time);
        self.startup_txns_loaded.record(opened.replayed);
        self.startup_txns_load_time.record(opened.replay_time);
        self.dbinittime.record(opened.load_time + opened.replay_time);
    }
}
