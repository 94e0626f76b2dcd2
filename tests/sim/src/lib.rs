//! Whole ensembles in one thread, from one seed: voters and observers run the very state machines that the product
//! runs, over a network that delays, holds up and cuts, and disks that are slow and forget what was not flushed.
//!
//! Observers are gateways: what serves clients is the product's edge, without its sockets. Clients read, watch, write, many
//! requests at a time, lose their connections, move from one gateway to another, and compare all that they are told
//! with what was committed: what they read, which events they got, and that nobody else has what they take for theirs.
//!
//! A run has two phases. First faults: crashes with loss of what was not flushed, pauses, cuts, restarts, snapshots,
//! while clients write. Then calm: all must heal by itself within a minute of virtual time. At every step
//! an oracle compares all histories. A seed decides everything, so a failing one replays exactly.

mod agenda;
mod chance;
mod client;
mod clients;
mod disk;
mod effects;
mod execute;
mod front;
mod history;
mod leader;
mod machine;
mod network;
mod node;
mod oracle;
mod params;
mod sabotage;
mod scenario;
mod wires;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

pub use sabotage::Sabotage;

use crate::front::Clock;
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
    /// Clients' writes that were answered with their outcome.
    pub answered: usize,
    /// Requests that were in doubt when a leader was lost, found to be without effect, and sent again.
    pub again: usize,
    /// Clients' writes of which nobody could tell what became of them.
    pub lost: usize,
}

impl std::ops::AddAssign for Report {
    fn add_assign(&mut self, other: Self) {
        self.events += other.events;
        self.committed += other.committed;
        self.virtual_ms += other.virtual_ms;
        self.answered += other.answered;
        self.again += other.again;
        self.lost += other.lost;
    }
}

/// Runs one seed.
///
/// # Errors
/// The guarantee that was broken, or the panic, as text.
pub fn run(seed: u64, sabotage: Option<Sabotage>, trace: bool) -> Result<Report, String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().map_err(|e| e.to_string())?;
        let runtime = Rc::new(runtime);
        let _entered = runtime.enter();
        let clock = Clock::new(Rc::clone(&runtime));
        let mut world = World::new(seed, sabotage, trace, clock).map_err(|v| v.0)?;
        while world.step().map_err(|v| format!("at {} ms: {}", world.now, v.0))? {
            if world.events > MAX_EVENTS {
                return Err(format!("at {} ms: {MAX_EVENTS} events, something spins", world.now));
            }
        }
        Ok(Report {
            events: world.events,
            committed: world.oracle.committed().len(),
            virtual_ms: world.now,
            ..world.report
        })
    }));
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default())
    })
}
