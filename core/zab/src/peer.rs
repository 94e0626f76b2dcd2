//! A voter.

use palisade_store::Timestamp;
use palisade_wire::Zxid;

use crate::config::{ConfigError, PeerConfig, Recovered};
use crate::io::{Input, Output, Role};

/// A voter: elects, leads, follows. See the crate's documentation for how to drive it.
#[derive(Debug)]
pub struct Peer {}

impl Peer {
    /// A voter that starts looking for a leader at once.
    pub fn new(_config: PeerConfig, _recovered: Recovered, _now: Timestamp) -> Result<Self, ConfigError> {
        Ok(Self {})
    }

    /// Takes in what happened.
    pub fn handle(&mut self, _now: Timestamp, _input: Input) {}

    /// Takes in that [`Peer::next_timeout`] was reached. Harmless when early.
    pub fn handle_timeout(&mut self, _now: Timestamp) {}

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        None
    }

    /// When to call [`Peer::handle_timeout`]; ask again after each call of a handler.
    pub fn next_timeout(&self) -> Option<Timestamp> {
        None
    }

    /// The present role.
    pub fn role(&self) -> Role {
        Role::Looking
    }

    /// The zxid for the next proposal. `None` if this peer does not lead (yet), or has used up its epoch's counter:
    /// then it gives up its leadership as soon as the last one is committed.
    pub fn next_zxid(&self) -> Option<Zxid> {
        None
    }

    /// How many proposals are not committed yet.
    pub fn in_flight(&self) -> usize {
        0
    }

    /// The last logged transaction (flushed or not).
    pub fn last_zxid(&self) -> Zxid {
        Zxid::ZERO
    }
}
