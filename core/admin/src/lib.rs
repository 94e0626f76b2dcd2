//! What voters and gateways tell their operators, shared by both tiers.
//!
//! * [`metric`]: numbers that are counted on hot paths and told to whoever asks; [`metrics!`] declares them.

pub mod metric;
