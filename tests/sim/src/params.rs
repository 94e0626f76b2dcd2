//! The shape of a run: everything that does not change while it goes on, derived from the seed.

use std::time::Duration;

use crate::chance::Chance;

/// How a run is set up. Times are virtual milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Params {
    /// Voters.
    pub(crate) voters: usize,
    /// Observers outside of the member list.
    pub(crate) observers: usize,
    /// Length of a tick.
    pub(crate) tick: Duration,
    /// Transactions that a leader keeps to bring learners up to date.
    pub(crate) log_count: usize,
    /// Longest delay of a message.
    pub(crate) max_delay: u64,
    /// Longest time of a disk write.
    pub(crate) max_disk: u64,
    /// Mean time between two requests of clients.
    pub(crate) request_every: u64,
    /// Mean time between two faults.
    pub(crate) fault_every: u64,
    /// When the faults end.
    pub(crate) faults_until: u64,
    /// How many times in a hundred a voter takes a snapshot between two faults.
    pub(crate) snapshot_percent: u64,
}

impl Params {
    /// The set-up of a seed.
    pub(crate) fn derive(chance: &mut Chance) -> Self {
        Self {
            voters: chance.pick(&[3, 3, 3, 3, 3, 5, 5, 1, 2, 4]),
            observers: chance.pick(&[0, 1, 1, 2]),
            tick: Duration::from_millis(chance.pick(&[100, 200])),
            log_count: chance.pick(&[1, 5, 50, 10_000]),
            max_delay: chance.pick(&[1, 5, 20, 60]),
            max_disk: chance.pick(&[1, 5, 30, 120]),
            request_every: chance.pick(&[5, 20, 60]),
            fault_every: chance.pick(&[150, 500, 1500]),
            faults_until: chance.between(5_000, 25_000),
            snapshot_percent: chance.pick(&[0, 10, 40]),
        }
    }
}
