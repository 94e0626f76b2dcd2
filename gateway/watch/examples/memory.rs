//! What watches cost: memory of the process, and time.
//!
//! `cargo run --release -p palisade-watch --example memory -- --sessions 200 --paths 5000` lets every session watch
//! every path; with `--apart`, every session its own paths.

use std::time::Instant;

use clap::Parser;
use palisade_watch::{Slot, WatchIndex};
use palisade_wire::reply::EventType;

#[derive(Parser)]
struct Args {
    /// Sessions.
    #[arg(long, default_value_t = 200)]
    sessions: usize,
    /// Paths that each of them watches.
    #[arg(long, default_value_t = 5_000)]
    paths: usize,
    /// Whether no two sessions watch the same path.
    #[arg(long)]
    apart: bool,
}

/// Bytes of memory that this process occupies.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok()).unwrap_or(0) * 1024
}

fn main() {
    let Args { sessions, paths, apart } = Args::parse();
    let slots: Vec<_> = (0..sessions).filter_map(Slot::new).collect();
    let path = |session: usize, i: usize| {
        let service = if apart { session } else { 0 };
        format!("/services/region-{service:05}/node-{i:010}")
    };
    let mut index = WatchIndex::default();
    let mut buffer = Vec::new();
    let count = sessions * paths;
    let report = |what: &str, started: Instant, count: usize| {
        let (time, bytes) = (started.elapsed(), resident());
        println!(
            "{what:<10}{:>8.0} ns each{:>9.1} MB resident",
            time.as_nanos() as f64 / count as f64,
            bytes as f64 / 1e6
        );
    };
    println!("{count} watches of {sessions} sessions, paths of {} bytes", path(0, 0).len());
    report("empty", Instant::now(), 1);

    let started = Instant::now();
    for i in 0..paths {
        for slot in &slots {
            index.add_data(*slot, &path(slot.index(), i));
        }
    }
    report("added", started, count);

    let started = Instant::now();
    let mut fired = 0;
    for i in 0..paths {
        for session in 0..if apart { sessions } else { 1 } {
            index.fire(EventType::NodeDataChanged, &path(session, i), &mut buffer);
            fired += buffer.len();
            buffer.iter().for_each(|fired| index.add_data(fired.slot, &path(session, i)));
        }
    }
    assert_eq!(fired, count);
    report("fired, set", started, count);

    let started = Instant::now();
    slots.iter().for_each(|slot| index.remove_slot(*slot));
    assert!(index.is_empty());
    report("removed", started, count);
}
