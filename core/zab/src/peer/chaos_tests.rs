//! Random faults, then none: what was committed stays, and all agree in the end.

use std::time::Duration;

use palisade_wire::Zxid;

use crate::testing::{Net, Rng};

/// A while of faults and proposals, then a while without faults.
fn chaos(seed: u64) {
    let mut rng = Rng::new(seed);
    let voters = [1, 3, 3, 3, 5][rng.below(5) as usize];
    let count = [2, 5, 1000][rng.below(3) as usize];
    // How long a disk takes at most, and how long the faults leave things alone at most, in ms.
    let disk = [2, 20, 60][rng.below(3) as usize];
    let pause = [20, 60, 200][rng.below(3) as usize];
    let mut net = Net::with(voters, |config| {
        config.log_count = count;
        config.finalize_wait = Duration::from_millis(10);
        config.min_notification_interval = Duration::from_millis(10);
        config.max_notification_interval = Duration::from_millis(80);
    });
    net.start_all();
    for _ in 0..150 {
        let sid = 1 + rng.below(voters as u64) as i64;
        let up = net.node(sid).peer.is_some();
        match rng.below(20) {
            0..=2 if up => net.crash(sid),
            0..=5 if !up => net.start(sid),
            6 => {
                net.crash_all();
                net.start_all();
            }
            7 | 8 => net.cut(sid),
            9..=12 => net.heal(),
            13 | 14 => net.slow_disk(sid, Duration::from_millis(1 + rng.below(disk))),
            15 => net.node(sid).disk.cannot_truncate ^= true,
            _ => {}
        }
        for _ in 0..rng.below(4) {
            for sid in net.leaders() {
                net.propose(sid, &rng.below(1000).to_string());
            }
            net.run(Duration::from_millis(rng.below(4)));
        }
        net.run(Duration::from_millis(rng.below(pause)));
    }
    net.heal();
    for sid in 1..=voters {
        if net.node(sid).peer.is_none() {
            net.start(sid);
        }
    }
    net.run_until("all serve one leader", |net| {
        net.nodes.values().all(|n| n.serving.is_some() && n.serving == net.nodes[&1].serving)
    });
    let leader = net.leader().unwrap();
    let last = net.propose(leader, "last");
    net.run_until("all have the last", |net| {
        net.nodes.values().all(|n| n.disk.log.last().map_or(Zxid::ZERO, |(z, _)| *z) == last)
            && net.committed.last().is_some_and(|(z, _)| *z == last)
    });
    net.run(Duration::from_millis(300));
    net.assert_agreement();
}

#[test]
fn what_is_committed_survives_any_faults() {
    let seeds = std::env::var("ZAB_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(300);
    let first = std::env::var("ZAB_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(0);
    for seed in first..first + seeds {
        let result = std::panic::catch_unwind(|| chaos(seed));
        assert!(result.is_ok(), "failed with ZAB_SEED={seed} ZAB_SEEDS=1");
    }
}
