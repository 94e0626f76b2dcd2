//! An observer alone.

use palisade_store::Timestamp;
use palisade_wire::Zxid;

use crate::config::{ConfigError, LearnerConfig, Recovered};
use crate::io::{LearnerInput, LearnerOutput};

/// An observer: joins whoever leads, over links that its owner dials. Driven as a [`crate::Peer`] is.
#[derive(Debug)]
pub struct Learner {}

impl Learner {
    /// An observer without a link. Of `recovered` only epochs and `last_zxid` matter.
    pub fn new(_config: LearnerConfig, _recovered: Recovered) -> Result<Self, ConfigError> {
        Ok(Self {})
    }

    /// Takes in what happened.
    pub fn handle(&mut self, _now: Timestamp, _input: LearnerInput) {}

    /// Takes in that [`Learner::next_timeout`] was reached. Harmless when early.
    pub fn handle_timeout(&mut self, _now: Timestamp) {}

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<LearnerOutput> {
        None
    }

    /// When to call [`Learner::handle_timeout`]; ask again after each call of a handler.
    pub fn next_timeout(&self) -> Option<Timestamp> {
        None
    }

    /// The last delivered transaction.
    pub fn last_zxid(&self) -> Zxid {
        Zxid::ZERO
    }
}
