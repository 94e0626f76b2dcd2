//! A linearizability checker for znodes used as registers.
//!
//! # Model
//! A znode is a register whose state is its version and its value. It starts with version 0 and no data.
//! - A *write* (`setData` without a version) raises the version by one; when acknowledged, its Stat tells which version
//!   it made. A *compare-and-set* (`setData` with a version) does so only if that version is the present one, and is
//!   refused otherwise.
//! - A *read* is `sync` followed by `getData`: it returns a state that the register had between its two ends. A read
//!   without `sync` is only sequentially consistent in ZooKeeper, so it takes no part here; [`history::History::check`]
//!   holds it to what a session may rely on.
//! - A write that was not answered is *unknown*: it may take effect at any moment after it began, for ever, or never.
//!
//! A history is correct if all operations can be put into one order that respects real time (what ended before another
//! began comes first) and explains every answer. Registers are independent, so each is checked by itself.

pub mod history;
pub mod register;
