//! Zab, ZooKeeper's atomic broadcast, as state machines: no I/O, no clock, no threads, no randomness.
//!
//! * [`Peer`]: a voter. Fast leader election, then leading or following, speaking Apache ZooKeeper's messages.
//! * [`Learner`]: an observer alone, for a replica that takes no part in elections (a gateway).
//! * [`Ensemble`]: who the members are and what a quorum of them is.
//!
//! # Driving a machine
//!
//! The owner calls [`Peer::handle`] with each [`Input`] and [`Peer::handle_timeout`] when [`Peer::next_timeout`]
//! is reached, and after *each* call takes outputs with [`Peer::poll_output`] until there are none. Outputs are
//! carried out **in the order in which they come**:
//!
//! * Disk outputs (`Append`, `Truncate`, `InstallSnapshot`, `WriteAcceptedEpoch`, `WriteCurrentEpoch`) go through
//!   one queue, are carried out one after another, and their completions ([`Input::Flushed`], ...) are handed in
//!   in that same order. Appends may share a flush. A failed write is fatal: the process stops.
//! * Packets to one link leave in order; a snapshot stands in the same queue as the packets around it.
//! * `Deliver` is applied to the tree in order.
//!
//! A promise to another server (ACK, ACKEPOCH, LEADERINFO, ...) is only emitted after the completion of the write
//! on which it rests was handed in: the owner need not know which packet depends on which write.
//!
//! # What counts as history
//!
//! Everything logged is history, committed or not, as in Apache since ZOOKEEPER-2845. The owner starts with a tree to
//! which the *whole* recovered log was applied, and when a peer goes back to looking for a leader it is told to
//! `Deliver` the rest of its log. If the next leader disagrees, it says so with TRUNC or SNAP: then `Truncate` or
//! `InstallSnapshot` is emitted, the owner replaces its tree, and only afterwards does anything else follow.
//! So a voter's tree may run ahead of what is committed except while [`Output::Serving`] holds. An observer's
//! never does: it applies nothing that a leader sent before that leader said UPTODATE.

mod config;
mod election;
mod ensemble;
mod history;
mod io;
mod leader;
mod learner;
mod log;
mod peer;
#[cfg(test)]
mod testing;

pub use config::{ConfigError, LearnerConfig, PeerConfig, Recovered, Timing};
pub use ensemble::{Ensemble, EnsembleError, Member, MemberRole};
pub use io::{CloseReason, Input, LearnerInput, LearnerOutput, LinkId, Output, Role};
pub use learner::Learner;
pub use peer::Peer;
