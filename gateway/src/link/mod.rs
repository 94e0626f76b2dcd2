//! The link to the core: finds the leader, follows it as an observer, and carries requests to it.

pub(crate) mod queue;
