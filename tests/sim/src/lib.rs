//! Whole ensembles in one thread, from one seed: voters and observers run the very state machines that the product
//! runs, over a network that delays, holds up and cuts, and disks that are slow and forget what was not flushed.
//!
//! A run has two phases. First faults: crashes with loss of what was not flushed, pauses, cuts, restarts, snapshots,
//! while clients write. Then calm: all must heal by itself within a minute of virtual time. At every step
//! an oracle compares all histories. A seed decides everything, so a failing one replays exactly.

mod agenda;
mod chance;
mod disk;
mod execute;
mod machine;
mod network;
mod node;
mod oracle;
mod params;
mod sabotage;
mod scenario;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use sabotage::Sabotage;

use crate::world::World;

/// More events than any healthy run has: beyond, something spins.
const MAX_EVENTS: u64 = 3_000_000;

/// What a run was like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Events that were carried out.
    pub events: u64,
    /// Transactions that were committed.
    pub committed: usize,
    /// Virtual time, ms.
    pub virtual_ms: u64,
}

/// Runs one seed.
///
/// # Errors
/// The guarantee that was broken, or the panic, as text.
pub fn run(seed: u64, sabotage: Option<Sabotage>, trace: bool) -> Result<Report, String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(seed, sabotage, trace).map_err(|v| v.0)?;
        while world.step().map_err(|v| format!("at {} ms: {}", world.now, v.0))? {
            if world.events > MAX_EVENTS {
                return Err(format!("at {} ms: {MAX_EVENTS} events, something spins", world.now));
            }
        }
        Ok(Report { events: world.events, committed: world.oracle.committed().len(), virtual_ms: world.now })
    }));
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default())
    })
}
