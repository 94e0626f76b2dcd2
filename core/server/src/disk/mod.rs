//! The disk thread: everything that blocks on files, in order, one at a time.
//!
//! Jobs are queued by the driver and never awaited: each is answered by a [`Done`]. Appends that wait together
//! share one flush. The first error ends the thread and, through [`Done`], the voter.
//!
//! While the disk is quick, the driver's own thread flushes a few appends itself, if it is one that may
//! ([`crate::alone`]): to hand them over and to hear of them would take longer.

mod queue;
mod snapshot;
mod thread;

pub(crate) use queue::{Job, JobQueue};
pub(crate) use thread::{DiskThread, Done};

#[cfg(test)]
mod tests;
