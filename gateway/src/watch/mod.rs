//! Watches: who is told of which change.
//!
//! Apache keeps two tables per server (`DataTree.dataWatches`, `childWatches`), and so does [`WatchIndex`]. Watches
//! belong to a connection, not to a session: a client that reconnects registers them again.
//!
//! The index knows connections only by [`Slot`], a small number, and a path once per table, so that a plain watch
//! costs about a hundred bytes, and one more watcher of the same path about fifteen.

mod index;
mod set;
mod table;

pub(crate) use index::{WatchIndex, WatchKind};
pub(crate) use set::Slot;
