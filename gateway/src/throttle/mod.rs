//! Limits on what the clients of one tenant ask of the core, so that a busy client hurts nobody but itself.
//!
//! Every write is `Work`; before it is forwarded, its connection's `Gate` takes it through the limits that apply,
//! the most specific first: the session's own, its address's, its path's, the tenant's. So whoever asks too much
//! meets its own limit before it uses up what it shares with others.
//!
//! What is never held up: deletes, closes, pings, syncs, and watches that are registered again. All of these let go of
//! something, or keep a session alive; to slow them down would make holds longer.
//!
//! Besides writes, `Throttle` limits what clients hold here: connections, watches, and how fast they begin sessions.
//!
//! These are an operator's policy, which can be changed at any time. What the process can bear at all is said by
//! [`config::Limits`](crate::config::Limits).
//!
//! # Locks
//!
//! Lock and election recipes create ephemeral sequential znodes. A coarse lock does so seldom, and below one parent
//! for ever; a registration of a service holds what it creates. Fine-grained use is many parents, each for a short
//! hold: an order, a user, a row. `LockTable` tells them apart by what happens below each prefix, and only locks
//! below prefixes of short holds are limited as `short_locks`, and their new parents as `lock_parents`.

mod bites;
mod buckets;
pub mod config;
mod debt;
mod found;
mod gate;
mod kind;
mod limits;
mod lock_table;
mod prefixes;
mod presence;
mod queue;
mod recent;
mod turns;
mod work;

pub use prefixes::LockUse;

pub(crate) use gate::{Brought, Gate, Progress, Verdict};
pub(crate) use limits::{Asking, Crowded, Place, Throttle, Waiting, WatchCounts};
pub(crate) use work::Work;
