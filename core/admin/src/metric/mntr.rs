//! As Apache's `mntr` and its AdminServer's `monitor` have it (`PrometheusMetricsProvider`'s names come from there too).

use std::fmt::Write;

use super::{Distribution, KEY, Sample, Value};

/// Apache's names in the order in which its `mntr` has them.
const ORDER: &[&str] = &[
    "server_state",
    "peer_state",
    "ephemerals_count",
    "num_alive_connections",
    "avg_latency",
    "min_proposal_size",
    "outstanding_requests",
    "znode_count",
    "global_sessions",
    "packets_sent",
    "packets_received",
    "max_proposal_size",
    "synced_followers",
    "watch_count",
    "synced_non_voting_followers",
    "synced_observers",
    "auth_failed_count",
    "min_latency",
    "max_file_descriptor_count",
    "approximate_data_size",
    "open_file_descriptor_count",
    "last_proposal_size",
    "pending_syncs",
    "leader_uptime",
    "local_sessions",
    "uptime",
    "max_latency",
    "learners",
    "quorum_size",
    "proposal_count",
    "watch_bytes",
    "throttled_ops",
    "connection_rejected",
    "sessionless_connections_expired",
    "looking_count",
    "connection_drop_count",
    "learner_proposal_received_count",
    "digest_mismatches_count",
    "bytes_received_count",
    "learner_commit_received_count",
    "connection_request_count",
    "response_bytes",
    "diff_count",
    "connection_revalidate_count",
    "snap_count",
    "commit_count",
    "stale_sessions_expired",
    "revalidate_count",
    "leader_unavailable_time",
    "node_created_watch_count",
    "node_deleted_watch_count",
    "startup_txns_load_time",
    "follower_sync_time",
    "fsynctime",
    "inflight_snap_count",
    "snapshottime",
    "unavailable_time",
    "startup_txns_loaded",
    "dbinittime",
    "inflight_diff_count",
    "election_time",
    "sync_processor_batch_size",
    "node_children_watch_count",
    "observer_sync_time",
    "node_changed_watch_count",
    "startup_snap_load_time",
    "updatelatency",
    "readlatency",
    "quorum_ack_latency",
    "commit_propagation_latency",
    "proposal_ack_creation_latency",
    "proposal_latency",
    "propagation_latency",
    "ack_latency",
];

/// Puts samples in Apache's order; what Apache does not have comes last, as it stands.
pub fn in_order(mut samples: Vec<Sample>) -> Vec<Sample> {
    samples.sort_by_key(|sample| ORDER.iter().position(|name| *name == sample.name).unwrap_or(ORDER.len()));
    samples
}

/// A number as Java prints it.
#[derive(Clone, Debug, PartialEq)]
pub enum Number {
    /// A `long`.
    Whole(i64),
    /// A `double` with at most four decimals.
    Fraction(f64),
    /// No number, but words.
    Text(String),
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole(value) => value.fmt(f),
            Self::Fraction(value) => write!(f, "{:?}", rounded(*value)),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// With at most four decimals.
pub fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

/// Keys without `zk_`, and their values: one for a plain number, five or nine for a distribution.
pub fn numbers(samples: &[Sample]) -> Vec<(String, Number)> {
    let mut numbers = Vec::new();
    for sample in samples {
        let mut name = sample.name.to_string();
        match &sample.label {
            // As Apache names the members of a set.
            Some((KEY, value)) => name = format!("{value}_{name}"),
            Some((_, value)) => name = format!("{name}_{value}"),
            None => {}
        }
        match &sample.value {
            Value::Counter(value) => numbers.push((name, whole(*value as f64))),
            Value::Gauge(value) => numbers.push((name, Number::Whole(*value))),
            Value::Ratio(value) | Value::Total(value) => numbers.push((name, Number::Fraction(*value))),
            Value::Text(text) => numbers.push((name, Number::Text(text.clone()))),
            Value::Distribution(distribution) => spread(&name, distribution, &mut numbers),
        }
    }
    numbers
}

fn whole(value: f64) -> Number {
    Number::Whole(value as i64)
}

fn spread(name: &str, distribution: &Distribution, numbers: &mut Vec<(String, Number)>) {
    let Distribution { count, sum, min, max, quantiles } = *distribution;
    let mut put = |prefix: &str, value| numbers.push((format!("{prefix}_{name}"), value));
    put("avg", Number::Fraction(distribution.mean()));
    put("min", whole(min));
    put("max", whole(max));
    put("cnt", whole(count as f64));
    put("sum", whole(sum));
    for (prefix, value) in ["p50", "p95", "p99", "p999"].into_iter().zip(quantiles.into_iter().flatten()) {
        put(prefix, whole(value));
    }
}

/// The lines of `mntr`.
pub fn lines(samples: &[Sample]) -> String {
    let mut text = String::new();
    for (key, value) in numbers(samples) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "zk_{key}\t{value}");
    }
    text
}
