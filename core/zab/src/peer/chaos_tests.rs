//! Random faults, then none: what was committed stays, and all agree in the end.

use std::time::Duration;

use palisade_wire::Zxid;

use crate::testing::{Net, Rng};

/// A round of faults and proposals.
fn chaos(seed: u64) {
    let mut rng = Rng::new(seed);
    let voters = [1, 3, 3, 5][rng.below(4) as usize];
    let count = [2, 5, 1000][rng.below(3) as usize];
    let mut net = Net::with(voters, |config| config.log_count = count);
    net.start_all();
    for _ in 0..60 {
        let sid = 1 + rng.below(voters as u64) as i64;
        let up = net.node(sid).peer.is_some();
        match rng.below(12) {
            0 if up => net.crash(sid),
            1 | 2 if !up => net.start(sid),
            3 => net.cut(sid),
            4 | 5 => net.heal(),
            6 => net.slow_disk(sid, Duration::from_millis(1 + rng.below(60))),
            7 => net.node(sid).disk.cannot_truncate ^= true,
            _ => {}
        }
        for _ in 0..rng.below(6) {
            for sid in net.leaders() {
                net.propose(sid, &rng.below(1000).to_string());
            }
            net.run(Duration::from_millis(rng.below(4)));
        }
        net.run(Duration::from_millis(rng.below(10) * rng.below(100)));
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
