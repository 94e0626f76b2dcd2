//! The gateway: an observer of the core that terminates one tenant's client sessions.
//!
//! * [`config`]: what a gateway is told.
//! * [`Gateway`]: starts one.
//! * [`replica`]: its copy of the tree; who changes it, who is told.
//! * [`driven`]: a gateway without sockets, for the simulator.
//! * [`core_link`]: the narrow interface from the edge towards the core.
//! * `link`: what is behind that interface: finds the leader, follows it, carries requests to it.
//! * `edge`: the ports, and one task for each client's connection; the order in which each client sees things.
//! * `exec`: what requests do; `session`: ids, and sessions that the core does not know; `tenancy`: what of the tree
//!   clients see; [`throttle`]: how much they may ask of the core; `admin`: what operators are told; `metrics`:
//!   what is counted, and `operations`, how many requests of each type; `top`: who asks for most. Who is told of which change is [`palisade_watch`]'s concern.

pub mod config;
pub mod core_link;
pub mod replica;

mod admin;
mod edge;
mod exec;
mod gateway;
mod link;
mod metrics;
mod operations;
mod session;
mod tenancy;
pub mod throttle;
mod top;

pub use admin::reload;
pub use config::Config;
pub use edge::driven;
pub use gateway::{Gateway, GatewayError, GatewayHandle, Listeners, StartError};
pub use tenancy::RootCollision;
