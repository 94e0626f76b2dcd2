//! Watches: who is told of which change, when, and in which order. Pure machines: no sockets, no clock, no chance.
//!
//! * [`WatchIndex`]: who watches what. Apache keeps two tables per server (`DataTree.dataWatches`, `childWatches`);
//!   here each path is kept once, with the connections that watch it by kind. Watches belong to a connection, not to a
//!   session: a client that reconnects registers them again. The index knows connections only by [`Slot`], a small
//!   number.
//! * [`Event`]: what they are told, encoded once.
//! * [`Outbox`]: what leaves for one client, in which order; what is held back.
//! * [`Herds`]: what very many hear again and again, kept once for all who have yet to be told.
//! * [`Pacer`]: when what is held back leaves, if very many are told at once.
//! * [`Recent`] and [`Lasting`]: what persistent watches missed while their client was away.
//! * [`check`]: what every client may rely on, for tests.

mod budget;
pub mod check;
mod covers;
mod event;
mod herd;
mod index;
mod kinds;
mod missed;
mod outbox;
mod pacer;
mod paths;
mod pieces;
mod recent;
mod slab;
mod watchers;

pub use budget::Budget;
pub use event::Event;
pub use herd::{Added, Changes, Hearers, Herds, Share, Told};
pub use index::{Fired, TooMany, WatchIndex, WatchLimits, WatchSummary};
pub use kinds::{Slot, WatchKind};
pub use missed::{Lasting, Missed};
pub use outbox::{End, Holding, Outbox, Released};
pub use pacer::{Pacer, Pacing, WAVE, WaveId};
pub use recent::{Recent, RecentEvent};
