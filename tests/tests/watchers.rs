//! A thousand watchers, told in waves, whose connections break all the time, before real gateways.
//!
//! By hand: `WATCHERS=5000 WATCHED_CHANGES=2000 cargo test -p palisade-tests --test watchers -- --nocapture`, and
//! `BURST_WATCHERS=10000 BURST_CHANGES=10000` for the burst.

use palisade_tests::palisade::{Core, Gateway};
use palisade_tests::procfs;
use palisade_tests::watchers::{self, Size};

fn from_environment(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Sessions move between two gateways of a tenant, too: what they miss meanwhile, persistent watches are told there.
#[test]
fn nobody_is_told_wrongly_or_not_at_all() {
    let mut core = Core::start();
    let paced = [
        ("notifications.pace_above", "0"),
        ("notifications.rate", "2000"),
        ("notifications.window", "\"500ms\""),
    ];
    let gateways = [core.gateway_with(101, "one", &paced), core.gateway_with(102, "other", &paced)];
    let size = Size {
        watchers: from_environment("WATCHERS", 1_000),
        changes: from_environment("WATCHED_CHANGES", 300),
    };
    let addresses = gateways.each_ref().map(Gateway::address);
    let tally = watchers::run(&addresses, size, 0);
    println!("{tally:?}");
    assert!(tally.events > 10 * size.watchers && tally.reconnects > size.watchers, "{tally:?}");
    for gateway in &gateways {
        let [held, released, replayed, incomplete] = [
            "palisade_events_held",
            "palisade_events_released",
            "palisade_events_replayed",
            "palisade_replays_incomplete",
        ]
        .map(|name| gateway.counter(name));
        println!("{held} held, {released} of them released, {replayed} replayed");
        assert!(held > 0 && released > 0 && replayed > 0);
        assert_eq!(incomplete, 0);
    }
}

/// A thousand changes a second, which are merged while they are held.
#[test]
fn a_burst_is_merged_and_takes_no_memory() {
    const MORE: u64 = 64 << 20;
    let mut core = Core::start();
    let merging = [
        ("notifications.rate", "2000"),
        ("notifications.window", "\"500ms\""),
        ("notifications.merge", "true"),
    ];
    let mut gateway = core.gateway_with(101, "gateway", &merging);
    let size = Size {
        watchers: from_environment("BURST_WATCHERS", 500),
        changes: from_environment("BURST_CHANGES", 4_000),
    };
    let pid = gateway.process().pid();
    let before = procfs::resident_memory(pid);
    let tally = watchers::burst(&gateway.address(), size, 1_000, true);
    let more = procfs::resident_memory(pid).saturating_sub(before);
    let [held, merged] = ["palisade_events_held", "palisade_events_merged"].map(|name| gateway.counter(name));
    println!("{tally:?}, {held} held, {merged} merged, {} KiB more memory", more >> 10);
    assert!(tally.events >= size.watchers && merged > held / 2, "{merged} of {held}, {tally:?}");
    assert!(more < MORE + 8_000 * size.watchers as u64, "{more} bytes");
}
