//! The quorum port: links between the leader and its learners, as streams of packets.
//!
//! A link is two halves: a bounded [`Outbox`] drained by a writer, and a reader that hands packets to the driver.
//! What a reader has handed over and the driver has not yet dealt with is bounded per link, so that one learner can
//! fill neither memory nor the driver's queue. Packets travel in batches, as they were read and are written: a wake-up and a
//! system call for each would cost more than all else that is done with them.

mod leader;
mod learner;
mod outbox;
mod reader;

pub(crate) use leader::{LeaderEvent, LeaderLink, LeaderPort, Received};
pub(crate) use learner::{LearnerEvent, LearnerPort};
pub(crate) use outbox::{Outbox, Outgoing, Overflow};
pub(crate) use reader::Admission;

/// Bytes read from one link and not yet dealt with.
const MAX_UNHANDLED: usize = 8 << 20;

#[cfg(test)]
mod tests;
