//! Requests on their way to the core, over any number of leaders, without sockets and clocks: what the link drives, and
//! the simulator too.

pub use crate::link::in_flight::Settled;
pub use crate::link::queue::{Limits, Outgoing, Queue};
pub use crate::link::requests::{Requests, Resolved};
