//! A network of peers in virtual time: links with latency, disks with delay, crashes that lose what was not flushed.

mod disk;
mod net;
pub(crate) mod script;

pub(crate) use net::Net;

use std::time::Duration;

use crate::config::Timing;
use crate::ensemble::Ensemble;

/// An ensemble of `n` voters, 1 to `n`.
pub(crate) fn ensemble(n: i64) -> Ensemble {
    let lines = (1..=n).map(|sid| format!("server.{sid}=h{sid}:2888:3888")).collect::<Vec<_>>();
    Ensemble::parse(&lines.join("\n")).unwrap()
}

/// A tick of 100 ms, 10 to join, 5 to be silent.
pub(crate) fn timing() -> Timing {
    Timing { tick: Duration::from_millis(100), init_limit: 10, sync_limit: 5 }
}

/// Numbers that depend on the seed alone (SplitMix64).
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}
