//! Settings from files, environment and flags, converted into the tiers' own configuration types.

mod address;
mod duration;
mod mistake;
mod properties;
mod section;
mod suggest;

pub use mistake::{ConfigError, Loaded, Mistake, Origin};
