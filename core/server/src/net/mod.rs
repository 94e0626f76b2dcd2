//! What all ports have in common: binding, supervised listening, resolving, and keeping bad peers cheap.

mod dial;
mod listener;
mod log_gate;
mod reservation;

pub(crate) use dial::{DialError, dial, resolve};
pub(crate) use listener::{Listener, Opening, PortStats, Stranger};
pub(crate) use log_gate::LogGate;
pub use reservation::Reservation;
