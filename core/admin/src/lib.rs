//! What voters and gateways tell their operators, shared by both tiers.
//!
//! A server implements [`source::Source`]: the facts. The layouts are here:
//!
//! * [`port`]: the admin port, where four-letter words and HTTP meet.
//! * [`words`]: Apache's four-letter words.
//! * `commands`: Apache's AdminServer, `/commands/...`.
//! * [`metric`]: numbers that are counted on hot paths; [`metrics!`] declares them. `mntr` and `/metrics`.
//!
//! Over HTTP there are also `/livez` (the process answers) and `/readyz` (clients should be sent here).

mod commands;
pub mod json;
pub mod metric;
pub mod port;
pub mod source;
pub mod system;

pub mod tree;
pub mod words;
