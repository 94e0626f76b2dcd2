use std::time::Duration;

use super::*;

crate::metrics! {
    /// What the tests count.
    struct Tested {
        /// Commits.
        commit_count: Counter,
        /// Learners,
        /// now.
        learners: Gauge,
        /// Watches that fired.
        node_deleted_watch_count: Summary,
        /// Reads, ms.
        readlatency: Timing,
    }
}

fn tested() -> Tested {
    let tested = Tested::default();
    tested.commit_count.add(7);
    tested.learners.set(3);
    tested.node_deleted_watch_count.record_many(2, 3);
    for ms in [1, 2, 4] {
        tested.readlatency.record(Duration::from_millis(ms));
    }
    tested
}

#[test]
fn lines_are_those_of_mntr() {
    assert_eq!(
        mntr::lines(&tested().samples()),
        "zk_commit_count\t7\nzk_learners\t3\n\
         zk_avg_node_deleted_watch_count\t2.0\nzk_min_node_deleted_watch_count\t2\n\
         zk_max_node_deleted_watch_count\t2\nzk_cnt_node_deleted_watch_count\t3\n\
         zk_sum_node_deleted_watch_count\t6\nzk_p50_node_deleted_watch_count\t2\n\
         zk_p95_node_deleted_watch_count\t2\nzk_p99_node_deleted_watch_count\t2\n\
         zk_p999_node_deleted_watch_count\t2\n\
         zk_avg_readlatency\t2.3333\nzk_min_readlatency\t1\nzk_max_readlatency\t4\nzk_cnt_readlatency\t3\n\
         zk_sum_readlatency\t7\nzk_p50_readlatency\t2\nzk_p95_readlatency\t4\nzk_p99_readlatency\t4\n\
         zk_p999_readlatency\t4\n"
    );
}

#[test]
fn prometheus_reads_types_labels_and_quantiles() {
    let mut samples = tested().samples();
    for port in ["admin", "quorum"] {
        samples.push(Sample::gauge("palisade_listener_up", "Whether.", 1).labelled("port", port));
    }
    samples.push(Sample::new("process_cpu_seconds_total", "Seconds.", Value::Total(1.5)));
    samples.push(Sample::text("version", "1"));
    let text = prometheus::text(&samples);
    for line in [
        "# HELP commit_count Commits.",
        "# TYPE commit_count counter",
        "commit_count 7",
        "# HELP learners Learners, now.",
        "learners 3",
        "# TYPE readlatency summary",
        "readlatency{quantile=\"0.999\"} 4",
        "readlatency_sum 7",
        "readlatency_count 3",
        "palisade_listener_up{port=\"quorum\"} 1",
        "# TYPE process_cpu_seconds_total counter",
        "process_cpu_seconds_total 1.5",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\nis not in\n{text}");
    }
    assert_eq!(text.matches("# TYPE palisade_listener_up").count(), 1);
    assert!(!text.contains("version"));
}

#[test]
fn members_of_a_set_are_named_as_apache_names_them() {
    let of = |key: &str| {
        Sample::new("ack_latency", "", Value::Distribution(Distribution::default())).labelled(KEY, key)
    };
    let names: Vec<_> = mntr::numbers(&[of("1"), of("2")]).into_iter().map(|(name, _)| name).collect();
    assert_eq!((&*names[0], &*names[5]), ("avg_1_ack_latency", "avg_2_ack_latency"));
    let port = Sample::gauge("palisade_listener_up", "", 1).labelled("port", "admin");
    assert_eq!(mntr::numbers(&[port])[0].0, "palisade_listener_up_admin");
}

#[test]
fn resetting_leaves_the_present() {
    let tested = tested();
    tested.reset();
    let fresh = Tested::default();
    fresh.learners.set(3);
    assert_eq!(tested.samples(), fresh.samples());
}

#[test]
fn sizes_are_minus_one_before_the_first() {
    let sizes = Sizes::default();
    assert_eq!(sizes.get(), [-1; 3]);
    for size in [5, 2, 3] {
        sizes.record(size);
    }
    assert_eq!(sizes.get(), [3, 2, 5]);
    sizes.reset();
    assert_eq!(sizes.get(), [-1; 3]);
}

#[test]
fn doubles_look_like_java_s() {
    for (value, text) in [(0.0, "0.0"), (1.0 / 3.0, "0.3333"), (12.0, "12.0")] {
        assert_eq!(mntr::Number::Fraction(value).to_string(), text);
    }
}
