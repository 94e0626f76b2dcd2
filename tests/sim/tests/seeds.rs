//! A fixed block of seeds, with debug assertions; and mistakes made on purpose, which must be found.

use palisade_sim::{Report, Sabotage, run};

/// Seeds that every change must pass. `cargo run --release -p palisade-sim -- --count 20000` runs more.
const SEEDS: u64 = 400;

#[test]
fn a_block_of_seeds_keeps_every_guarantee() {
    let run_all = |first| {
        let failed = (first..SEEDS).step_by(2).find_map(|seed| Some((seed, run(seed, None, false).err()?)));
        failed.map(|(seed, what)| {
            format!(
                "seed {seed}: {what}\n  replay: cargo run --release -p palisade-sim -- --seed {seed} --trace"
            )
        })
    };
    let failures: Vec<_> = std::thread::scope(|scope| {
        let halves = [0, 1].map(|first| scope.spawn(move || run_all(first)));
        halves.into_iter().filter_map(|half| half.join().expect("a run catches its own panics")).collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 0..5 {
        assert_eq!(run(seed, None, false), run(seed, None, false));
    }
}

#[test]
fn runs_do_something() {
    let mut sum = Report::default();
    for seed in 0..20 {
        sum += run(seed, None, false).unwrap_or_default();
    }
    assert!(sum.committed > 1_000 && sum.answered > 200 && sum.again > 20 && sum.lost > 0, "{sum:?}");
}

#[test]
fn promises_before_their_fsync_are_found() {
    for sabotage in [Sabotage::AckBeforeFsync, Sabotage::EpochBeforeFsync] {
        let found = (0..3_000).find_map(|seed| run(seed, Some(sabotage), false).err());
        assert!(found.is_some(), "{sabotage:?} was not found");
    }
}
