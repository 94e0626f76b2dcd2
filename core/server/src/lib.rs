//! The voter: runs Zab over sockets, disks and timers. It has no client port; its peers are other voters and
//! learners.

mod config;
mod reservation;
mod validate;
mod voter;

pub use config::{Bind, Config, Limits, Sessions, Storage, Timing};
pub use reservation::Reservation;
pub use validate::Mistake;
pub use voter::{Addresses, Fatal, Ports, StartError, Voter, VoterHandle};

/// The member list, as `server.N=…` lines.
pub type Ensemble = String;
