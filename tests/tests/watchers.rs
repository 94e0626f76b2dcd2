//! A thousand watchers, told in waves, whose connections break all the time, before real gateways; bursts; and waves that
//! the operator changes while everything runs.
//!
//! By hand: `WATCHERS=5000 WATCHED_CHANGES=2000 cargo test -p palisade-tests --test watchers -- --nocapture`, and
//! `BURST_WATCHERS=10000 BURST_CHANGES=10000` for the burst.

use palisade_tests::palisade::{Core, Gateway};
use palisade_tests::procfs;
use palisade_tests::raw::RawClient;
use palisade_tests::wait::wait_for;
use palisade_tests::watchers::{self, Size};
use palisade_wire::request::{PathWatch, Request};
use palisade_wire::{ErrorCode, OpCode};

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

/// Sessions whose only gateway is killed miss nothing either: its log tells it what happened before, whether or not it has
/// just taken a snapshot.
#[test]
fn nobody_misses_anything_by_a_gateway_that_is_killed() {
    let mut core = Core::start();
    let writer = core.gateway(101, "writer");
    let mut gateway = core.gateway_with(102, "watched", &[("storage.snap_count", "100")]);
    let size = Size { watchers: from_environment("KILLED_WATCHERS", 400), changes: 360 };
    let (mut replayed, mut incomplete) = (0, 0);
    let mut count = |gateway: &Gateway| {
        replayed += gateway.counter("palisade_events_replayed");
        incomplete += gateway.counter("palisade_replays_incomplete");
    };
    let tally =
        watchers::run_while(&writer.address(), &[gateway.address()], size, 0, |change| match change % 60 {
            20 => {
                count(&gateway);
                gateway.kill();
            }
            35 => gateway.restart(),
            _ => {}
        });
    count(&gateway);
    println!("{tally:?}, {replayed} replayed");
    assert!(tally.reconnects > 6 * size.watchers, "{tally:?}");
    assert!(replayed > 0);
    assert_eq!(incomplete, 0);
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

/// The same number of changes, of which everybody is told every one.
#[test]
fn a_burst_that_is_not_merged_is_told_in_full() {
    const MORE: u64 = 64 << 20;
    let mut core = Core::start();
    let paced = [("notifications.rate", "2000"), ("notifications.window", "\"500ms\"")];
    let mut gateway = core.gateway_with(101, "gateway", &paced);
    let size = Size {
        watchers: from_environment("FULL_BURST_WATCHERS", 200),
        changes: from_environment("FULL_BURST_CHANGES", 2_000),
    };
    let pid = gateway.process().pid();
    let before = procfs::resident_memory(pid);
    let tally = watchers::burst(&gateway.address(), size, 1_000, false);
    let more = procfs::resident_memory(pid).saturating_sub(before);
    println!("{tally:?}, {} KiB more memory", more >> 10);
    assert_eq!(tally.events, size.watchers * size.changes);
    assert_eq!(gateway.counter("palisade_events_merged"), 0);
    assert!(more < MORE + 8_000 * size.watchers as u64, "{more} bytes");
}

/// Counters of the gateway: held, released, the sum of the times for which events were held, and the longest, ms.
fn holds(gateway: &Gateway) -> [u64; 4] {
    [
        "palisade_events_held",
        "palisade_events_released",
        "palisade_event_hold_sum",
        "palisade_event_longest_hold",
    ]
    .map(|name| gateway.counter(name))
}

#[test]
fn waves_are_changed_while_it_runs() {
    const WATCHERS: u64 = 100;
    let mut core = Core::start();
    let mut gateway = core.gateway_with(101, "gateway", &[("notifications.rate", "0")]);
    let clients = (0..WATCHERS).map(|_| RawClient::connect(&gateway.address()));
    let mut clients: Vec<_> = clients.collect();
    let mut writer = RawClient::connect(&gateway.address());
    let read = Request::GetData(PathWatch { path: "/".into(), watch: true });
    let write = Request::SetData { path: "/".into(), data: Some(b"x"), version: -1 };
    let mut change = |while_held: &mut dyn FnMut()| {
        for client in &mut clients {
            assert_eq!(client.call(OpCode::GetData, &read).map(|(error, _)| error), Some(ErrorCode::OK));
        }
        assert_eq!(writer.call(OpCode::SetData, &write).map(|(error, _)| error), Some(ErrorCode::OK));
        while_held();
        clients.iter_mut().for_each(RawClient::wait_for_event);
    };
    change(&mut || {});
    assert_eq!(holds(&gateway), [0; 4], "not paced");

    // A hundred within two seconds: one every 20 ms.
    let slow = ("notifications.rate", "50");
    assert!(gateway.reload(&[slow, ("notifications.pace_above", "10")]));
    change(&mut || {});
    let released = || Some(holds(&gateway)).filter(|[_, released, ..]| *released == WATCHERS);
    let [held, _, time, longest] = wait_for("what is released to be counted", released);
    assert_eq!(held, WATCHERS);
    assert!(time / WATCHERS > 500, "{time} ms in all");
    assert!(longest >= time / WATCHERS && longest < time / 2, "{longest} of {time} ms");
    assert!(!gateway.reload(&[slow, ("notifications.window", "\"1h\"")]), "nobody may be held that long");

    // What is held leaves with the next wave once nothing is to be held.
    change(&mut || {
        assert_eq!(holds(&gateway)[0], 2 * WATCHERS);
        assert!(gateway.reload(&[("notifications.rate", "0")]));
    });
    let released = || (holds(&gateway)[1] == 2 * WATCHERS).then_some(());
    wait_for("what is released to be counted", released);
    change(&mut || {});
    assert_eq!(holds(&gateway)[..2], [2 * WATCHERS; 2], "not paced");

    assert!(gateway.reload(&[slow, ("notifications.pace_above", "1000")]));
    change(&mut || {});
    assert_eq!(holds(&gateway)[..2], [2 * WATCHERS; 2], "few are not paced");
}
