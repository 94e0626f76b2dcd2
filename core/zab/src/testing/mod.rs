//! A network of peers in virtual time: links with latency, disks with delay, crashes that lose what was not flushed.

mod disk;
mod net;

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
