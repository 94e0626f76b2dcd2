//! The voter: runs Zab over sockets, disks and timers. It has no client port; its peers are other voters and
//! learners.

mod admin;
pub mod alone;
mod assemble;
mod config;
mod disk;
mod driver;
mod election;
mod metrics;
mod net;
mod quorum;
mod state;
mod status;
mod validate;
mod voter;

pub use config::{Bind, Config, Fairness, Limits, Sessions, Storage, Timing};
pub use driver::Fatal;
pub use net::Reservation;
pub use validate::Mistake;
pub use voter::{Addresses, Ports, StartError, Voter, VoterHandle};
