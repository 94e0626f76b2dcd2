//! Whole gateways' worth of watchers in memory, from one seed: changes, pacing that changes, slow readers, connections
//! that break at any byte; and everything that a client saw is checked.
//!
//! `HERD_SEEDS=50000 cargo test --release -p palisade-watch --test herd -- --nocapture` runs more seeds, and
//! `HERD_FIRST=n` begins with another one.

mod client;
mod gateway;
mod tree;

use std::time::Duration;

use palisade_watch::Pacing;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use self::client::Client;
use self::gateway::Gateway;

const CLIENTS: usize = 6;
const STEPS: usize = 250;

fn pacing(random: &mut ChaCha8Rng, merge: bool) -> Pacing {
    Pacing {
        above: random.random_range(0..4),
        rate: [0, 1, 20, 200, 100_000][random.random_range(0..5)],
        window: Duration::from_millis(random.random_range(0..2_000)),
        reread_rate: [0, 5, 1_000][random.random_range(0..3)],
        merge,
    }
}

/// Runs one seed; what went wrong.
fn run(seed: u64) -> Result<(), String> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let merge = random.random_bool(0.3);
    let window = if random.random_bool(0.5) { 200_000 } else { random.random_range(0..4_000) };
    let mut gateway = Gateway::new(pacing(&mut random, merge), window);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::default()).collect();
    for _ in 0..STEPS {
        let client = &mut clients[random.random_range(0..CLIENTS)];
        match random.random_range(0..100) {
            0..25 => gateway.write(&mut random),
            25..55 => client.ask(&mut gateway, &mut random),
            55..80 => client.receive(&mut gateway, random.random_range(0..200)),
            80..90 => gateway.pass(Duration::from_millis(random.random_range(0..100))),
            90..94 => client.disconnect(&mut gateway),
            94..96 => gateway.set_pacing(pacing(&mut random, merge)),
            _ => client.connect(&mut gateway),
        }
    }
    // Whatever is held leaves within the window; then everybody asks once more.
    for _ in 0..120 {
        gateway.pass(Duration::from_millis(20));
    }
    let held = clients.iter().filter(|client| client.is_held_back(&gateway)).count();
    if held > 0 {
        return Err(format!("{held} clients wait for events that never leave"));
    }
    for (i, client) in clients.iter_mut().enumerate() {
        client.connect(&mut gateway);
        client.receive(&mut gateway, usize::MAX);
        client.ping(&mut gateway);
        client.receive(&mut gateway, usize::MAX);
        client.check(&gateway, merge).map_err(|violation| format!("client {i}: {violation}"))?;
    }
    Ok(())
}

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn nobody_is_told_wrongly_or_not_at_all() {
    let (first, count) = (from_environment("HERD_FIRST", 0), from_environment("HERD_SEEDS", 3_000));
    for seed in first..first + count {
        if let Err(what) = run(seed) {
            panic!("seed {seed}: {what}");
        }
    }
}
