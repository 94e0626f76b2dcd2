//! Settings from files, environment and flags, converted into the tiers' own configuration types.
//!
//! * [`load_core`]: a voter, from TOML (`*.toml`) or from Apache's `zoo.cfg` (any other name) and `myid`.
//! * [`load_gateway`]: a gateway, from TOML.
//! * [`load`]: either, for checking a file.
//!
//! Everything is read before anything is judged: a [`ConfigError`] lists all mistakes at once, each with its
//! place, its key, the value that was given and what is allowed. Nothing is ever written.

mod core_toml;
mod duration;
mod ensemble;
mod gateway_toml;
mod load;
mod mistake;
mod properties;
mod report;
mod section;
mod size;
mod suggest;
mod zoo_cfg;
mod zoo_file;
mod zoo_keys;

pub use load::{Any, CoreOverrides, GatewayOverrides, load, load_core, load_gateway};
pub use mistake::{ConfigError, Loaded, Mistake, Origin};

#[cfg(test)]
mod tests;
