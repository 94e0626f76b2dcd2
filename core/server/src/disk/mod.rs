//! The disk thread: everything that blocks on files, in order, one at a time.
//!
//! Jobs are queued by the driver and never awaited: each is answered by a [`Done`]. Appends that wait together
//! share one flush. The first error ends the thread and, through [`Done`], the voter.

mod queue;
mod snapshot;
mod thread;

pub(crate) use queue::{Job, JobQueue};
pub(crate) use thread::{DiskThread, Done};

#[cfg(test)]
mod tests;
